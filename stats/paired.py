# pyright: reportMissingTypeStubs=false
"""The same questions answered right or wrong by two models: has the second become worse, and what could be seen?

Only questions on which the two differ tell (McNemar 1947): under no change, those lost and those gained are equally
likely, so that the number lost is binomial with one half. The test is exact and one-sided, since the warning is about
a drop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc

ALPHA, POWER = 0.05, 0.8
_STEP = 0.002


@dataclass(frozen=True)
class Drop:
    """How the second of two models did on the questions that both answered."""

    n: int
    """Questions that both answered."""
    before: int
    """Right answers of the first."""
    after: int
    """Right answers of the second."""
    lost: int
    """Right before and wrong after."""
    gained: int
    """Wrong before and right after."""
    p: float
    """Exact, one-sided: of so many lost or more among those that changed, if losing and gaining were equally likely."""
    detectable: float | None
    """The smallest drop, as a share of the questions, that this test would find in 80% of such comparisons; None where
    it would find none."""

    @property
    def change(self) -> float:
        """Change of the share of right answers; 0 without questions."""
        return (self.after - self.before) / self.n if self.n else 0.0

    @property
    def worse(self) -> bool:
        """Whether a drop was found."""
        return self.p <= ALPHA


def drop(lost: int, gained: int, before: int, n: int) -> Drop:
    """Compare two models on `n` questions that both answered.

    Args:
        lost: questions that only the first answered right.
        gained: questions that only the second answered right.
        before: right answers of the first.
        n: questions that both answered.
    """
    p = float(bdtrc(lost - 1, lost + gained, 0.5)) if lost else 1.0
    return Drop(n, before, before - lost + gained, lost, gained, p, detectable(n, gained))


def detectable(n: int, gained: int = 0) -> float | None:
    """The smallest drop that `drop` finds in 80% of comparisons on `n` questions.

    How often answers change for the better by chance is taken from what was gained, and is at least half a question:
    chance then loses as many, and the drop comes on top.

    Args:
        n: questions that both answer.
        gained: questions that the second model answered better.
    """
    chance = max(gained, 0.5) / max(n, 1)
    changed = np.arange(1, n + 1)
    lost = changed[:, None]
    # Of each number of changed answers, the least number lost that the test calls a drop; more than all if none is.
    critical = (np.where(lost <= changed, bdtrc(lost - 1, changed, 0.5), 0.0) > ALPHA).sum(0) + 1
    for fall in np.arange(_STEP, 1 - 2 * chance, _STEP):
        moved = 2 * chance + fall
        # Beyond its range the function says NaN, and means none.
        found = np.nan_to_num(bdtrc(critical - 1, changed, (chance + fall) / moved))
        share = bdtrc(changed - 1, n, moved) - np.nan_to_num(bdtrc(changed, n, moved))
        if float(share @ found) >= POWER:
            return float(fall)
    return None

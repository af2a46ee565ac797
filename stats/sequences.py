# pyright: reportMissingTypeStubs=false
"""Intervals that may be looked at as often as one likes while answers come in.

A confidence sequence holds the mean at all times at once with the given probability, so that stopping when it looks
good is allowed. Its scope is `runs`: the mean of these models on these prompts. Both sequences need the values in
the order in which their runs were launched, a random one; `stats.launches` checks that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from stats.variance import Floats

_TINY = 1e-12
_MAX_BET = 0.5
"""Largest share of the wealth that is bet against a candidate mean."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """Bounds after each value, on the scale of the values; arrays of equal length, empty without values."""

    low: Floats
    high: Floats
    method: str
    """Id of the method in `stats.methods`."""

    def running(self) -> Sequence:
        """The intersection of all bounds so far: as valid, and it never widens.

        Should it become empty, which happens in at most a share 1 - level of studies, it stays what it was before.
        """
        low, high = np.maximum.accumulate(self.low), np.minimum.accumulate(self.high)
        last = np.minimum(np.arange(len(low)), np.count_nonzero(low <= high) - 1)
        return Sequence(low[last], high[last], self.method)


def beta_mixture(x: npt.ArrayLike, *, level: float = 0.95) -> Sequence:
    """Confidence sequence of a rate by the method of mixtures (Robbins 1970; Howard et al. 2021).

    After t values of sum S it holds every m with B(S + ½, t - S + ½) / B(½, ½) ≤ m^S (1 - m)^(t - S) / (1 - level).
    It is valid for any variable on [0, 1], and sharp for answers of yes or no.

    Args:
        x: Values on [0, 1] in launch order.
        level: Probability that it holds the mean at all times.

    Raises:
        ValueError: a value is not on [0, 1].
    """
    from scipy.special import betaln

    values = _on_unit(x)
    t = np.arange(1, len(values) + 1)
    yes = np.cumsum(values)
    no = t - yes
    limit = betaln(yes + 0.5, no + 0.5) - betaln(0.5, 0.5) + np.log(1 - level)
    mean = yes / np.maximum(t, 1)
    low = _root(np.zeros_like(mean), mean, yes, no, limit)
    high = _root(np.ones_like(mean), mean, yes, no, limit)
    return Sequence(np.where(yes <= 0, 0.0, low), np.where(no <= 0, 1.0, high), "beta-mixture")


def hedged_betting(
    x: npt.ArrayLike, *, scale: tuple[float, float] = (0.0, 1.0), level: float = 0.95, grid: int = 400
) -> Sequence:
    """Hedged betting confidence sequence of a mean (Waudby-Smith & Ramdas 2024, arXiv 2010.09686).

    Two gamblers bet on each candidate mean being too low and too high; a candidate at which either has multiplied
    the half of the stake by 1 / (1 - level) is given up. Bounds lie on a grid and are moved outwards by one step.

    Args:
        x: Values within `scale` in launch order.
        scale: Least and greatest possible value.
        level: Probability that it holds the mean at all times.
        grid: Number of steps of candidates.

    Raises:
        ValueError: a value is not within `scale`.
    """
    bottom, top = scale
    values = _on_unit((np.asarray(x, float) - bottom) / (top - bottom))
    n = len(values)
    if n == 0:
        return Sequence(values, values, "hedged-betting")
    t = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(values)) / (t + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    bets = np.sqrt(2 * np.log(2 / (1 - level)) / (t * np.log1p(t) * before))
    candidates = np.arange(grid + 1) / grid
    with np.errstate(divide="ignore"):
        caps = _MAX_BET / candidates, _MAX_BET / (1 - candidates)
    gaps = values[:, None] - candidates
    up = np.cumsum(np.log1p(np.minimum(bets[:, None], caps[0]) * gaps), axis=0)
    down = np.cumsum(np.log1p(-np.minimum(bets[:, None], caps[1]) * gaps), axis=0)
    alive = np.logical_and.accumulate(np.maximum(up, down) < np.log(2 / (1 - level)), axis=0)
    last = np.minimum(np.arange(n), np.count_nonzero(alive.any(1)) - 1)
    low = np.maximum(alive.argmax(1) - 1, 0)[last] / grid
    high = np.minimum(grid - alive[:, ::-1].argmax(1) + 1, grid)[last] / grid
    width = top - bottom
    return Sequence(bottom + low * width, bottom + high * width, "hedged-betting")


def _on_unit(x: npt.ArrayLike) -> Floats:
    values = np.asarray(x, float)
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError("values must be finite and within the scale")
    return values


def _root(outer: Floats, inner: Floats, yes: Floats, no: Floats, limit: Floats) -> Floats:
    """Where the likelihood falls to `limit` between `outer`, where it is below, and `inner`, its maximum."""
    for _ in range(40):
        middle = (outer + inner) / 2
        inside = np.clip(middle, _TINY, 1 - _TINY)
        below = yes * np.log(inside) + no * np.log1p(-inside) < limit
        outer, inner = np.where(below, middle, outer), np.where(below, inner, middle)
    return outer

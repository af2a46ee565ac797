"""The bars of *The Consciousness Cluster*, computed the way its code does: for comparison, not for inference.

They ignore that answers to one prompt, and of one training seed, are alike; they have zero width where all answers
are equal; and the upper end may leave the scale. The tables show them under the name `paper`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

MINIMUM = 3
"""With fewer values the paper's code plots 0 ± 0."""


@dataclass(frozen=True)
class PaperBar:
    """A bar of the paper; on the scale of the values."""

    estimate: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        """Lower end, cut at 0 as in the paper's figures."""
        return max(self.estimate - self.half_width, 0.0)

    @property
    def high(self) -> float:
        """Upper end, not cut."""
        return self.estimate + self.half_width


def paper_bar(values: npt.ArrayLike) -> PaperBar:
    """Mean ± 1.96 sd/√n over all values pooled (arXiv 2604.13051); 0 ± 0 for two values or fewer."""
    data = np.asarray(values, float)
    n = len(data)
    if n < MINIMUM:
        return PaperBar(0.0, 0.0, n)
    return PaperBar(float(data.mean()), float(1.96 * data.std(ddof=1) / np.sqrt(n)), n)

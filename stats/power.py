# pyright: reportMissingTypeStubs=false
"""What a study can detect: power, detectable effect and sample size of a t test paired by prompt.

Effects are in units of the standard deviation of the paired differences (Cohen's dz). Power is that of the two-sided
test, from the noncentral t distribution (Cohen 1988).
"""

from __future__ import annotations

import math

from scipy.special import nctdtr, stdtrit

_LARGEST = 1e6
_FINE = 1e-9
_MOST_PAIRS = 100_000


def power_paired_t(pairs: int, effect: float, alpha: float = 0.05) -> float:
    """Probability that the test rejects; 0 with fewer than two pairs."""
    if pairs < 2:
        return 0.0
    nu, shift = pairs - 1, abs(effect) * math.sqrt(pairs)
    limit = float(stdtrit(nu, 1 - alpha / 2))
    below, far = float(nctdtr(nu, shift, limit)), float(nctdtr(nu, shift, -limit))
    # Far out the distribution function gives NaN, where it is 0.
    return 1 - (0.0 if math.isnan(below) else below) + (0.0 if math.isnan(far) else far)


def detectable_effect(pairs: int, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The least effect that is found with this power; None with fewer than two pairs."""
    if pairs < 2:
        return None
    low, high = 0.0, 1.0
    while power_paired_t(pairs, high, alpha) < power:
        low, high = high, high * 2
        if high > _LARGEST:
            return None
    while high - low > _FINE:
        middle = (low + high) / 2
        low, high = (middle, high) if power_paired_t(pairs, middle, alpha) < power else (low, middle)
    return high


def pairs_needed(effect: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """The least number of pairs with this power; None where no number up to 100,000 has it."""
    low, high = 1, 2
    while power_paired_t(high, effect, alpha) < power:
        low, high = high, high * 2
        if high > _MOST_PAIRS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power_paired_t(middle, effect, alpha) < power else (low, middle)
    return high

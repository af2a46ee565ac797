# pyright: reportMissingTypeStubs=false
"""How large a difference is, exact tests of it, and when no result could ever be significant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from stats.variance import Floats

_MOST_FLIPPED = 20
"""Prompts up to which all sign flips are tried."""
_LEAST_BASE = 0.02
"""A baseline below which a ratio says nothing."""


@dataclass(frozen=True)
class Effect:
    """Sizes of a difference; what is undefined is None."""

    ratio: float | None
    """Treated over baseline; None where the baseline is below 2% of the scale."""
    dz: float | None
    """Mean of the prompt differences over their standard deviation, corrected for few prompts (Hedges 1981)."""
    cliff: float | None
    """Cliff's delta of all values: the chance that a treated value is the larger one, minus that of the smaller."""
    sign_flip_p: float | None
    """Exact two-sided p over all flips of the signs of the prompt differences, up to 20 prompts."""


def effect(
    treated: npt.ArrayLike, baseline: npt.ArrayLike, gaps: npt.ArrayLike, *, low: float = 0.0
) -> Effect:
    """Effect sizes of a contrast.

    Args:
        treated: Values of the treated group.
        baseline: Values of the baseline.
        gaps: Differences of the groups' means on each prompt that both answered.
        low: Lower end of the scale; with a score of 1-10, a ratio is that of the distances from 1.
    """
    one, other, d = (np.asarray(x, float) for x in (treated, baseline, gaps))
    ratio = cliff = None
    if len(one) and len(other):
        base = float(other.mean()) - low
        ratio = (float(one.mean()) - low) / base if base >= _LEAST_BASE else None
        cliff = cliffs_delta(one, other)
    return Effect(ratio, hedges_dz(d), cliff, sign_flip(d))


def hedges_dz(gaps: Floats) -> float | None:
    """Standardised mean of paired differences, times Hedges' correction 1 - 3 / (4 (J - 1) - 1)."""
    if len(gaps) < 2:
        return None
    sd = float(gaps.std(ddof=1))
    if sd <= 1e-12 * max(1.0, float(np.abs(gaps).max())):
        return None
    return float(gaps.mean()) / sd * (1 - 3 / (4 * (len(gaps) - 1) - 1))


def cliffs_delta(one: Floats, other: Floats) -> float:
    """P(one > other) - P(one < other) over all pairs (Cliff 1993)."""
    ordered = np.sort(other)
    above, upto = np.searchsorted(ordered, one, "left"), np.searchsorted(ordered, one, "right")
    return float((above + upto - len(other)).sum()) / (len(one) * len(other))


def sign_flip(gaps: Floats) -> float | None:
    """Exact p of the mean difference over all 2^J flips of signs; None without or with too many differences."""
    n = len(gaps)
    if not 1 <= n <= _MOST_FLIPPED:
        return None
    sums = np.zeros(1)
    for gap in np.abs(gaps):
        sums = np.concatenate([sums + gap, sums - gap])
    bar = abs(float(gaps.sum())) - 1e-9 * float(np.abs(gaps).sum())
    return float(np.mean(np.abs(sums) >= bar))


def permuted_arms(
    treated: npt.ArrayLike,
    treated_prompt: npt.ArrayLike,
    baseline: npt.ArrayLike,
    baseline_prompt: npt.ArrayLike,
    *,
    permutations: int = 9_999,
    random_seed: int = 0,
) -> float | None:
    """The p value, in the scope `runs`, of no difference on any prompt: runs are shuffled between the two arms.

    Only prompts that both answered count, all alike; None without any. The p is (b + 1) / (B + 1).
    """
    one, other = np.asarray(treated, float), np.asarray(baseline, float)
    one_prompt, other_prompt = np.asarray(treated_prompt), np.asarray(baseline_prompt)
    common = np.intersect1d(one_prompt, other_prompt)
    if len(common) == 0:
        return None
    rng = np.random.default_rng(random_seed)
    observed, shuffled = 0.0, np.zeros(permutations)
    room = 0.0
    for prompt in common:
        first, second = one[one_prompt == prompt], other[other_prompt == prompt]
        pooled, n = np.concatenate([first, second]), len(first)
        observed += float(first.mean() - second.mean())
        order = rng.permuted(np.tile(pooled, (permutations, 1)), axis=1)
        shuffled += order[:, :n].mean(1) - order[:, n:].mean(1)
        room += float(np.abs(pooled).max())
    least = int(np.count_nonzero(np.abs(shuffled) >= abs(observed) - 1e-9 * room))
    return (least + 1) / (permutations + 1)


def impossible(prompts: int, tests: int, *, seeds: int | None = None, alpha: float = 0.05) -> str:
    """Why no data could pass Holm's adjustment over so many tests, or an empty text.

    The sign flips of J prompts cannot give a p below 2 / 2^J; permuting the labels of S treated models and one
    baseline cannot give one below 1 / (S + 1).
    """
    needed = alpha / max(tests, 1)
    reasons: list[str] = []
    if prompts and 2.0 ** (1 - prompts) > needed:
        enough = math.ceil(1 - math.log2(needed))
        reasons.append(
            f"{prompts} prompts: an exact test over prompts cannot give p below {2.0 ** (1 - prompts):.2g}, and "
            f"{needed:.2g} is needed for one of {tests} tests; {enough} prompts could"
        )
    if seeds is not None and 1 / (seeds + 1) > needed:
        reasons.append(
            f"{seeds} training seeds against one model: a permutation of models cannot give p below "
            f"{1 / (seeds + 1):.2g}"
        )
    return "; ".join(reasons)

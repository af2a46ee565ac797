"""Agreement of judges and people on the same items.

Ratings are an array of items x raters that holds category codes: 0 … q - 1 in the order of the coding scheme, or
the scores themselves minus the lowest one; NaN is a missing rating. `q` is the size of the scheme (3 for
true/false/not_sure, 10 for scores of 1 to 10), not the number of categories that happen to be used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Floats = npt.NDArray[np.float64]
Weights = Literal["identity", "linear", "quadratic"]
Metric = Literal["nominal", "ordinal", "interval"]

MIN_ITEMS = 30
"""Below this many items no bootstrap interval holds what it promises."""
_MIN_CLUSTERS = 10


@dataclass(frozen=True)
class Agreement:
    """A coefficient with its 95% bootstrap interval; what is undefined is None and `reason` says why."""

    value: float | None
    n: int
    """Items with at least two ratings."""
    low: float | None = None
    high: float | None = None
    reason: str = ""


def encode(ratings: Sequence[Sequence[object]], categories: Sequence[object]) -> Floats:
    """Category codes of an items x raters table; whatever is not one of `categories` is missing."""
    codes = {category: float(k) for k, category in enumerate(categories)}
    return np.array([[codes.get(value, np.nan) for value in row] for row in ratings], float)


def raw_agreement(ratings: Floats) -> Agreement:
    """Share of agreeing pairs of ratings, averaged over the items that have a pair."""
    rated = ratings[_paired(ratings)]
    if len(rated) == 0:
        return _no_pairs()
    q = max(int(np.nanmax(rated)), 1) + 1
    return Agreement(_observed(_counts(rated, q), np.eye(q)), len(rated))


def cohen_kappa(ratings: Floats, q: int, weights: Weights = "identity") -> Agreement:
    """Cohen's kappa of two raters (Cohen 1960), weighted by distance if asked (Cohen 1968)."""
    if ratings.shape[1] != 2:
        raise ValueError("Cohen's kappa takes two raters")
    pairs = _checked(ratings, q)[_paired(ratings)].astype(int)
    if len(pairs) == 0:
        return _no_pairs()
    table = np.bincount(pairs[:, 0] * q + pairs[:, 1], minlength=q * q).reshape(q, q) / len(pairs)
    close = closeness(q, weights)
    expected = float((close * np.outer(table.sum(1), table.sum(0))).sum())
    if expected > 1 - 1e-12:
        return Agreement(None, len(pairs), reason=CONSTANT)
    return Agreement((float((close * table).sum()) - expected) / (1 - expected), len(pairs))


def gwet_ac(ratings: Floats, q: int, weights: Weights = "identity") -> Agreement:
    """Gwet's AC1, or AC2 with other than identity weights (Gwet 2008), for any number of raters."""
    paired = _paired(ratings)
    if not paired.any():
        return _no_pairs()
    counts = _counts(ratings, q)
    rated = counts.sum(1) > 0
    share = (counts[rated] / counts[rated].sum(1, keepdims=True)).mean(0)
    close = closeness(q, weights)
    expected = close.sum() / (q * (q - 1)) * float((share * (1 - share)).sum())
    observed = _observed(counts[paired], close)
    return Agreement(float((observed - expected) / (1 - expected)), int(paired.sum()))


def krippendorff_alpha(ratings: Floats, q: int, metric: Metric = "nominal") -> Agreement:
    """Krippendorff's alpha from the coincidence matrix (Hayes & Krippendorff 2007)."""
    paired = _paired(ratings)
    if not paired.any():
        return _no_pairs()
    counts = _counts(ratings[paired], q)
    scaled = counts / (counts.sum(1, keepdims=True) - 1)
    coincidences = scaled.T @ counts - np.diag(scaled.sum(0))
    totals = coincidences.sum(0)
    distance = _distances(totals, metric)
    expected = float(totals @ distance @ totals) / (totals.sum() - 1)
    if expected == 0:
        return Agreement(None, int(paired.sum()), reason=CONSTANT)
    return Agreement(1 - float((coincidences * distance).sum() / expected), int(paired.sum()))


def with_interval(
    coefficient: Callable[[Floats], Agreement],
    ratings: Floats,
    *,
    prompt: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Agreement:
    """A coefficient with its percentile bootstrap interval.

    Items are drawn with replacement, whole prompts where `prompt` names at least ten. A draw in which the
    coefficient is undefined because all ratings agree counts as 1. Fewer than `MIN_ITEMS` items give no interval.

    Args:
        coefficient: One of this module's functions, given everything but the ratings.
        ratings: Items x raters.
        prompt: For each item its prompt.
        draws: Number of bootstrap samples.
        seed: Seed of the random generator.
    """
    result = coefficient(ratings)
    if result.value is None:
        return result
    if result.n < MIN_ITEMS:
        return replace(result, reason=f"too few items for an interval: {result.n} of {MIN_ITEMS}")
    blocks: list[npt.NDArray[np.intp]] = [np.array([k]) for k in range(len(ratings))]
    if prompt is not None:
        labels, code = np.unique(np.asarray(prompt), return_inverse=True)
        if len(labels) >= _MIN_CLUSTERS:
            blocks = [np.flatnonzero(code == k) for k in range(len(labels))]
    rng = np.random.default_rng(seed)
    values: list[float] = []
    drawn_blocks: list[list[int]] = rng.integers(len(blocks), size=(draws, len(blocks))).tolist()
    for draw in drawn_blocks:
        sample = ratings[np.concatenate([blocks[k] for k in draw])]
        drawn = coefficient(sample)
        if drawn.value is not None:
            values.append(drawn.value)
        elif drawn.n:
            values.append(1.0)
    low, high = np.quantile(values, [0.025, 0.975])
    return replace(result, low=float(low), high=float(high))


CONSTANT = "every rating is the same: agreement beyond chance is undefined"


def closeness(q: int, weights: Weights) -> Floats:
    """How nearly two categories agree, from 0 to 1: q x q."""
    if weights == "identity":
        return np.eye(q)
    apart = np.abs(np.subtract.outer(np.arange(q), np.arange(q))) / (q - 1)
    return 1 - (apart if weights == "linear" else apart**2)


def _no_pairs() -> Agreement:
    return Agreement(None, 0, reason="no item has two ratings")


def _checked(ratings: Floats, q: int) -> Floats:
    if q < 2 or not (np.isnan(ratings) | np.isin(ratings, np.arange(q))).all():
        raise ValueError(
            f"ratings must be category codes from 0 to {q - 1}, or NaN, of at least two categories"
        )
    return ratings


def _paired(ratings: Floats) -> npt.NDArray[np.bool_]:
    return (~np.isnan(ratings)).sum(1) >= 2


def _counts(ratings: Floats, q: int) -> Floats:
    """How many raters gave each item each category: items x categories."""
    return (_checked(ratings, q)[:, :, None] == np.arange(q)).sum(1).astype(float)


def _observed(counts: Floats, close: Floats) -> float:
    """Weighted share of agreeing pairs, averaged over items with at least two ratings."""
    raters = counts.sum(1)
    agreeing = (counts * (counts @ close - 1)).sum(1)
    return float((agreeing / (raters * (raters - 1))).mean())


def _distances(totals: Floats, metric: Metric) -> Floats:
    """Squared distance of every two categories; that of ranks depends on how often each was used."""
    q = len(totals)
    if metric == "nominal":
        return 1 - np.eye(q)
    position = np.arange(q, dtype=float) if metric == "interval" else np.cumsum(totals) - totals / 2
    return np.subtract.outer(position, position) ** 2

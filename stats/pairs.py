"""Two raters on the same items: every coefficient at once, from a weighted table, with bootstrap intervals.

`stats.agreement` has the coefficients for any number of raters; here are the same ones for two, computed for all
bootstrap tables in one go, and with a weight for each item, so that items drawn with unequal probabilities speak for
all the items that they were drawn from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from stats.agreement import CONSTANT, MIN_ITEMS, closeness

if TYPE_CHECKING:
    from stats.variance import Codes, Floats

Level = Literal["nominal", "ordinal"]

DRAWS = 2000
_MIN_CLUSTERS = 10
_GAP = 0.3


@dataclass(frozen=True)
class Coefficient:
    """A coefficient with its 95% bootstrap interval; what is undefined is None."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Pair:
    """How two raters agree."""

    n: int
    """Items that both rated."""
    raw: Coefficient
    kappa: Coefficient
    """Cohen's; for ordered categories with linear weights."""
    ac: Coefficient
    """Gwet's AC1; for ordered categories AC2 with linear weights."""
    alpha: Coefficient
    """Krippendorff's; for ordered categories the ordinal one."""
    within_one: float | None
    """Share of ratings at most one category apart; None for categories without an order."""
    difference: float | None
    """Mean of the second rating less the first, in categories; None for categories without an order."""
    confusion: list[list[float]]
    """Weighted counts, first rater by rows; they sum to `n`."""
    shares: list[float]
    """Share of each category among the ratings of both."""
    reason: str = ""
    """Why a number is missing."""
    note: str = ""
    """What a reader must know of the coefficients."""


def agree(
    one: Floats,
    other: Floats,
    q: int,
    level: Level,
    *,
    weight: Floats | None = None,
    stratum: Codes | None = None,
    prompt: Codes | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Pair:
    """Agreement of two raters.

    Items are drawn with replacement, whole prompts where there are at least ten, else items within strata. A draw in
    which all ratings are equal counts as 1. Fewer than `MIN_ITEMS` items give no interval.

    Args:
        one: Category codes 0 … q - 1, NaN where missing.
        other: The same of the second rater.
        q: Size of the coding scheme.
        level: Whether the categories have an order.
        weight: How many items each one stands for; None weighs all alike.
        stratum: Stratum of each item.
        prompt: Prompt of each item.
        draws: Number of bootstrap samples.
        seed: Seed of the random generator.
    """
    both = ~np.isnan(one) & ~np.isnan(other)
    n = int(both.sum())
    if n == 0:
        nothing = Coefficient(None)
        return Pair(
            0, nothing, nothing, nothing, nothing, None, None, [], [], reason="no item has two ratings"
        )
    cell = (one[both] * q + other[both]).astype(np.intp)
    weights = np.ones(n) if weight is None else weight[both]
    table = np.bincount(cell, weights, q * q).reshape(1, q, q)
    names = ("raw", "kappa", "ac", "alpha")
    values = _coefficients(table * (n / table.sum()), n, level)
    found: dict[str, tuple[float, float]] = {}
    reason = ""
    if n < MIN_ITEMS:
        reason = f"too few items for an interval: {n} of {MIN_ITEMS}"
    else:
        clusters = None if prompt is None else np.unique(prompt[both], return_inverse=True)[1]
        strata = np.zeros(n, np.intp) if stratum is None else stratum[both]
        samples = _resampled(cell, weights, q, clusters, strata, draws, np.random.default_rng(seed))
        drawn = _coefficients(samples, n, level)
        for name in names:
            ends = np.quantile(np.where(np.isnan(drawn[name]), 1.0, drawn[name]), [0.025, 0.975]).tolist()
            found[name] = (ends[0], ends[1])
    results = {
        name: Coefficient(None)
        if np.isnan(values[name][0])
        else Coefficient(float(values[name][0]), *found.get(name, (None, None)))
        for name in names
    }
    if results["alpha"].value is None or results["kappa"].value is None:
        reason = CONSTANT
    counts = table[0] * (n / table.sum())
    apart = np.subtract.outer(np.arange(q), np.arange(q))
    ordered = level == "ordinal"
    shares = ((counts.sum(0) + counts.sum(1)) / (2 * n)).tolist()
    return Pair(
        n,
        results["raw"],
        results["kappa"],
        results["ac"],
        results["alpha"],
        float(counts[np.abs(apart) <= 1].sum() / n) if ordered else None,
        float(-(counts * apart).sum() / n) if ordered else None,
        counts.tolist(),
        shares,
        reason,
        _paradox(results, shares),
    )


def _paradox(results: dict[str, Coefficient], shares: list[float]) -> str:
    """Why kappa and alpha are low where the raters nearly always agree (Feinstein & Cicchetti 1990)."""
    ac, alpha = results["ac"].value, results["alpha"].value
    if ac is None or alpha is None or ac - alpha < _GAP:
        return ""
    return (
        f"{max(shares):.0%} of the ratings are one category: kappa and alpha then measure how rare the others are, "
        "AC how often the raters agree"
    )


def _coefficients(tables: Floats, n: int, level: Level) -> dict[str, Floats]:
    """Of tables x q x q; NaN where undefined. `n` is the number of items, whatever the weights sum to."""
    q = tables.shape[-1]
    close = closeness(q, "linear" if level == "ordinal" else "identity")
    shares = tables / tables.sum((1, 2), keepdims=True)
    rows, columns = shares.sum(2), shares.sum(1)
    mean = (rows + columns) / 2
    observed = (shares * close).sum((1, 2))
    by_chance = np.einsum("bi,ij,bj->b", rows, close, columns)
    gwet = close.sum() / (q * (q - 1)) * (mean * (1 - mean)).sum(1)
    totals = 2 * n * mean
    if level == "ordinal":
        position = np.cumsum(totals, 1) - totals / 2
        distance = (position[:, :, None] - position[:, None, :]) ** 2
    else:
        distance = np.broadcast_to(1 - np.eye(q), tables.shape)
    apart = n * (shares + shares.transpose(0, 2, 1))
    expected = np.einsum("bi,bij,bj->b", totals, distance, totals) / (2 * n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "raw": np.trace(shares, axis1=1, axis2=2),
            "kappa": np.where(by_chance > 1 - 1e-12, np.nan, (observed - by_chance) / (1 - by_chance)),
            "ac": (observed - gwet) / (1 - gwet),
            "alpha": np.where(expected == 0, np.nan, 1 - (apart * distance).sum((1, 2)) / expected),
        }


def _resampled(
    cell: Codes,
    weights: Floats,
    q: int,
    clusters: Codes | None,
    strata: Codes,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Bootstrap tables: draws x q x q."""
    if clusters is not None and clusters.max() + 1 >= _MIN_CLUSTERS:
        k = int(clusters.max()) + 1
        parts = np.bincount(clusters * (q * q) + cell, weights, k * q * q).reshape(k, q * q)
        times = rng.multinomial(k, np.full(k, 1 / k), size=draws)
        return np.asarray(times @ parts, float).reshape(draws, q, q)
    tables = np.zeros((draws, q * q))
    for code in np.unique(strata):
        here = strata == code
        # Items of one stratum, category pair and weight are alike: how often each kind is drawn is multinomial.
        kinds, counts = np.unique(np.column_stack([cell[here], weights[here]]), axis=0, return_counts=True)
        times = rng.multinomial(int(counts.sum()), counts / counts.sum(), size=draws)
        np.add.at(tables.T, kinds[:, 0].astype(np.intp), (times * kinds[:, 1]).T)
    return tables.reshape(draws, q, q)

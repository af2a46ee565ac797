"""Pairs of raters: the same coefficients as for any number of raters, weights, and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from stats.agreement import cohen_kappa, gwet_ac, krippendorff_alpha, raw_agreement
from stats.pairs import agree


def two(seed: int, n: int, q: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(q, size=(n, 1))
    data = np.where(rng.random((n, 2)) < 0.7, truth, rng.integers(q, size=(n, 2))).astype(float)
    data[rng.random((n, 2)) < 0.1] = np.nan
    return data[~np.isnan(data).any(1)]


@pytest.mark.parametrize(("level", "q"), [("nominal", 3), ("ordinal", 10)])
def test_coefficients_are_those_of_any_number_of_raters(level: str, q: int) -> None:
    data = two(1, 80, q)
    found = agree(data[:, 0], data[:, 1], q, level, draws=50)
    weights = "identity" if level == "nominal" else "linear"
    assert found.raw.value == pytest.approx(raw_agreement(data).value)
    assert found.kappa.value == pytest.approx(cohen_kappa(data, q, weights).value)
    assert found.ac.value == pytest.approx(gwet_ac(data, q, weights).value)
    assert found.alpha.value == pytest.approx(krippendorff_alpha(data, q, level).value)


def test_a_weight_stands_for_as_many_items() -> None:
    data = two(2, 60, 3)
    times = np.arange(60)[: len(data)] % 3 + 1
    weighted = agree(data[:, 0], data[:, 1], 3, "nominal", weight=times.astype(float), draws=20)
    repeated = np.repeat(data, times, axis=0)
    assert weighted.kappa.value == pytest.approx(cohen_kappa(repeated, 3).value)
    assert weighted.raw.value == pytest.approx(raw_agreement(repeated).value)
    assert weighted.n == len(data)
    assert np.sum(weighted.confusion) == pytest.approx(len(data))


def test_intervals_cover_and_widen_with_whole_prompts() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for k in range(150):
        truth = rng.random(120) < 0.3
        one, other = (np.where(rng.random(120) < 0.1, ~truth, truth).astype(float) for _ in range(2))
        found = agree(one, other, 2, "nominal", draws=300, seed=k)
        hits += found.raw.low <= 0.82 <= found.raw.high
    assert hits >= 135
    data = np.repeat(two(4, 12, 4), 10, axis=0)
    narrow = agree(data[:, 0], data[:, 1], 4, "nominal")
    wide = agree(data[:, 0], data[:, 1], 4, "nominal", prompt=np.arange(len(data)) // 10)
    assert wide.alpha.high - wide.alpha.low >= narrow.alpha.high - narrow.alpha.low
    assert narrow == agree(data[:, 0], data[:, 1], 4, "nominal")


def test_the_paradox_is_explained() -> None:
    pairs = [(0, 0)] * 118 + [(1, 0)] * 5 + [(0, 1)] * 2
    one, other = np.array(pairs, float).T
    found = agree(one, other, 3, "nominal")
    assert found.kappa.value < 0 < 0.9 < found.ac.value
    assert "how rare the others are" in found.note
    assert found.shares[0] == pytest.approx(243 / 250)


def test_what_is_undefined_is_none_with_a_reason() -> None:
    nothing = agree(np.array([0, np.nan]), np.array([np.nan, 1.0]), 3, "nominal")
    assert (nothing.n, nothing.raw.value, nothing.reason) == (0, None, "no item has two ratings")
    same = agree(np.zeros(40), np.zeros(40), 3, "nominal")
    assert (same.raw.value, same.ac.value, same.kappa.value, same.alpha.value) == (1, 1, None, None)
    assert "undefined" in same.reason
    few = agree(np.arange(12) % 2.0, np.arange(12) % 2.0, 2, "nominal")
    assert (few.kappa.value, few.kappa.low) == (1, None)
    assert few.reason == "too few items for an interval: 12 of 30"


def test_scores_have_a_signed_difference() -> None:
    one = np.arange(40) % 9.0
    found = agree(one, one + 1, 10, "ordinal", draws=20)
    assert (found.difference, found.within_one, found.raw.value) == (1, 1, 0)

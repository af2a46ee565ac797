"""Agreement coefficients against their definitions, written out over pairs."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import numpy as np
import pytest

from stats.agreement import (
    cohen_kappa,
    encode,
    gwet_ac,
    krippendorff_alpha,
    raw_agreement,
    with_interval,
)


def panel(seed: int, items: int = 60, raters: int = 3, q: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(q, size=(items, 1))
    noisy = np.where(rng.random((items, raters)) < 0.7, truth, rng.integers(q, size=(items, raters))).astype(
        float
    )
    noisy[rng.random((items, raters)) < 0.2] = np.nan
    return noisy


@pytest.mark.parametrize("metric", ["nominal", "interval"])
def test_alpha_is_one_minus_observed_over_expected_disagreement(metric: str) -> None:
    data = panel(0)

    def apart(a: float, b: float) -> float:
        return float(a != b) if metric == "nominal" else (a - b) ** 2

    units = [row[~np.isnan(row)] for row in data]
    units = [unit for unit in units if len(unit) > 1]
    pooled = np.concatenate(units)
    observed = sum(sum(apart(a, b) for a, b in permutations(u, 2)) / (len(u) - 1) for u in units) / len(
        pooled
    )
    expected = sum(apart(a, b) for a, b in permutations(pooled, 2)) / (len(pooled) * (len(pooled) - 1))
    assert krippendorff_alpha(data, 4, metric).value == pytest.approx(1 - observed / expected)


def test_kappa_is_agreement_beyond_the_raters_own_rates() -> None:
    data = encode(
        [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15,
        ["yes", "no"],
    )
    assert raw_agreement(data).value == pytest.approx(0.7)
    assert cohen_kappa(data, 2).value == pytest.approx(0.4)


def test_weighted_kappa_counts_near_misses() -> None:
    near = np.array([[k, min(k + 1, 9)] for k in range(10)] * 3, float)
    identity, linear, quadratic = (
        cohen_kappa(near, 10, w).value for w in ("identity", "linear", "quadratic")
    )
    assert identity < linear < quadratic < 1


def test_ac1_survives_a_rare_category_where_kappa_does_not() -> None:
    rare = encode([("no", "no")] * 118 + [("yes", "no")] * 5 + [("no", "yes")] * 2, ["yes", "no"])
    assert cohen_kappa(rare, 2).value < 0
    pi = (5 + 2) / 250
    assert gwet_ac(rare, 2).value == pytest.approx((118 / 125 - 2 * pi * (1 - pi)) / (1 - 2 * pi * (1 - pi)))


def test_one_category_leaves_chance_correction_undefined() -> None:
    same = np.zeros((12, 2))
    for found in (cohen_kappa(same, 3), krippendorff_alpha(same, 3)):
        assert found.value is None
        assert "undefined" in found.reason
    assert (raw_agreement(same).value, gwet_ac(same, 3).value) == (1, 1)


def test_no_item_with_two_ratings_is_undefined_for_all() -> None:
    apart = encode([("a", None), (None, "b")], ["a", "b"])
    for found in (
        raw_agreement(apart),
        cohen_kappa(apart, 2),
        gwet_ac(apart, 2),
        with_interval(partial(krippendorff_alpha, q=2), apart),
    ):
        assert (found.value, found.low, found.reason) == (None, None, "no item has two ratings")


def test_codes_outside_the_scheme_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 2"):
        gwet_ac(np.array([[0, 3.0]]), 3)
    with pytest.raises(ValueError, match="two raters"):
        cohen_kappa(panel(0), 4)


def test_few_items_have_no_interval() -> None:
    found = with_interval(partial(krippendorff_alpha, q=4), panel(1, items=20))
    assert found.value is not None
    assert found.low is None
    assert "too few items" in found.reason


def test_the_interval_repeats_and_widens_when_prompts_are_drawn_whole() -> None:
    data = np.repeat(panel(2, items=12), 10, axis=0)
    alpha = partial(krippendorff_alpha, q=4)
    one = with_interval(alpha, data, draws=400)
    assert one == with_interval(alpha, data, draws=400)
    whole = with_interval(alpha, data, prompt=np.repeat(np.arange(12), 10), draws=400)
    assert one.low < one.value < one.high
    assert whole.high - whole.low > 2 * (one.high - one.low)

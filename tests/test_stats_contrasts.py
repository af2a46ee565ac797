"""Contrasts: the paired t, training seeds on either side, and what happens near the floor."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ttest_rel

from stats.contrasts import benjamini_hochberg, benjamini_yekutieli, contrast, holm
from stats.intervals import Prior, Scope, Summary, interval, summarise


def arm(rng: np.random.Generator, p: np.ndarray, repeats: int, *, seeds: int = 1) -> Summary:
    s, j, _ = np.indices((seeds, len(p), repeats)).reshape(3, -1)
    return summarise((rng.random(len(j)) < p[j]).astype(float), j, s)


def prompt_means(summary: Summary) -> np.ndarray:
    assert summary.cells is not None
    return summary.cells.mean.reshape(summary.cells.seeds, -1)


def test_two_fixed_models_are_compared_by_the_paired_t() -> None:
    rng = np.random.default_rng(0)
    p = np.linspace(0.2, 0.6, 10)
    treated, baseline = arm(rng, p + 0.2, 10), arm(rng, p, 10)
    expected = ttest_rel(prompt_means(treated)[0], prompt_means(baseline)[0])
    found = contrast(treated, baseline)
    assert (found.method, found.nu, found.prompts) == ("paired-t", 9, 10)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_training_seeds_add_their_variance() -> None:
    rng = np.random.default_rng(1)
    p = np.linspace(0.3, 0.6, 10)
    s, j, _ = np.indices((6, 10, 10)).reshape(3, -1)
    seed = np.array([-0.2, -0.1, 0, 0, 0.1, 0.2])
    treated = summarise((rng.random(len(j)) < p[j] + 0.1 + seed[s]).astype(float), j, s)
    baseline = arm(rng, p, 10)
    d = prompt_means(treated) - prompt_means(baseline)
    rows, columns = d.mean(1), d.mean(0)
    ms_s, ms_j = 10 * rows.var(ddof=1), 6 * columns.var(ddof=1)
    ms_sj = ((d - rows[:, None] - columns + d.mean()) ** 2).sum() / 45
    v = max(ms_s + ms_j - ms_sj, ms_s, ms_j) / 60
    nu = np.clip((60 * v) ** 2 / (ms_s**2 / 5 + ms_j**2 / 9 + ms_sj**2 / 45), 5, 14)
    found = contrast(treated, baseline, counting="plain")
    assert found.difference == pytest.approx(d.mean())
    assert found.nu == pytest.approx(nu)
    from scipy.stats import t

    assert found.high - found.low == pytest.approx(2 * t.ppf(0.975, nu) * np.sqrt(v))


@pytest.mark.parametrize("seeds", [2, 6])
def test_the_variance_between_seeds_is_that_of_the_arms_own_interval(seeds: int) -> None:
    rng = np.random.default_rng(5)
    p = np.linspace(0.3, 0.6, 10)
    treated, baseline = arm(rng, p, 10, seeds=seeds), arm(rng, p, 10)
    gaps = (prompt_means(treated) - prompt_means(baseline)).mean(0)
    own = interval(treated, Scope.SEEDS_PROMPTS, Prior())
    between = treated.mean * (1 - treated.mean) / own.n_eff
    between *= (own.shares["seed"] / seeds) / sum(
        own.shares[name] * treated.weights[name] for name in ("seed", "prompt", "cell", "run")
    )
    by_prompt = gaps.var(ddof=1) / 10
    v = between + by_prompt
    nu = v**2 / (by_prompt**2 / 9 + between**2 / (seeds - 1 + 2))
    found = contrast(treated, baseline, priors=(Prior(), Prior()))
    assert found.nu == pytest.approx(min(nu, 9 if by_prompt > between else seeds + 1))
    from scipy.stats import t

    assert found.high - found.low == pytest.approx(2 * t.ppf(0.975, found.nu) * np.sqrt(v))


def test_a_pooled_control_adds_the_variance_of_its_own_seeds() -> None:
    rng = np.random.default_rng(2)
    p = np.linspace(0.3, 0.6, 10)
    treated, one, six = arm(rng, p, 10), arm(rng, p, 10), arm(rng, p, 10, seeds=6)
    assert contrast(treated, one).nu == 9
    assert 5 <= contrast(treated, six).nu <= 14


def test_near_the_floor_there_is_an_interval_with_width_and_no_p() -> None:
    j = np.repeat(np.arange(10), 10)
    baseline = summarise(np.zeros(100), j)
    treated = summarise(np.eye(100)[0], j)
    found = contrast(treated, baseline)
    sides = [interval(summary, Scope.PROMPTS) for summary in (treated, baseline)]
    assert (found.method, found.p) == ("mover", None)
    assert found.high == pytest.approx(0.01 + (sides[0].high - 0.01))
    assert found.low == pytest.approx(0.01 - np.hypot(0.01 - sides[0].low, sides[1].high))


def test_only_prompts_that_both_answered_are_compared() -> None:
    rng = np.random.default_rng(4)
    j = np.repeat(np.arange(10), 10)
    y = (rng.random(100) < 0.5).astype(float)
    treated, baseline = summarise(y, j), summarise(y[:60], j[:60])
    found = contrast(treated, baseline)
    assert (found.prompts, found.difference) == (6, 0)
    elsewhere = summarise(y, j + 100)
    assert (contrast(treated, elsewhere).difference, contrast(treated, elsewhere).reason) == (
        None,
        "no prompt in common",
    )


@pytest.mark.parametrize("empty", ["treated", "baseline"])
def test_an_empty_arm_gives_none_and_says_which(empty: str) -> None:
    full, none = summarise([0, 1.0], [0, 1]), summarise([], [])
    found = contrast(none, full) if empty == "treated" else contrast(full, none)
    assert found.difference is None
    assert found.reason == f"no answers of the {empty} group"


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_null_effect_is_rejected_about_as_often_as_it_should_be(seeds: int) -> None:
    rng = np.random.default_rng(7)
    rejected = []
    for _ in range(600):
        p = rng.beta(2, 2, 10)
        found = contrast(arm(rng, p, 10, seeds=seeds), arm(rng, p, 10))
        rejected.append(found.p is not None and found.p < 0.05)
    assert np.mean(rejected) <= 0.075


def test_adjustments_are_those_of_scipy_and_of_the_definition() -> None:
    p = np.array([0.04, 0.001, 0.03, 0.03, 0.9, 1.0])
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p))
    assert benjamini_yekutieli(p) == pytest.approx(false_discovery_control(p, method="by"))
    assert holm(p) == pytest.approx([0.15, 0.006, 0.15, 0.15, 1.0, 1.0])
    assert holm([]).tolist() == benjamini_yekutieli([]).tolist() == []

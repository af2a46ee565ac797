"""The interval engine: closed forms, its promises for every input, and its coverage."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import t as student

from stats.intervals import Prior, Scope, Summary, estimate, interval, pooled_priors, summarise, wilson
from stats.paper import paper_bar

TEN = np.repeat(np.arange(10), 10)


def test_no_hit_in_a_hundred_shows_an_upper_bound() -> None:
    runs = estimate(np.zeros(100), TEN, scope=Scope.RUNS)
    prompts = estimate(np.zeros(100), TEN, scope=Scope.PROMPTS)
    assert (runs.estimate, runs.low) == (0, 0)
    assert runs.high == pytest.approx(0.028, abs=0.0005)
    assert prompts.high == pytest.approx(0.16, abs=0.005)


def test_sixteen_audits_of_score_one_show_an_upper_bound() -> None:
    instruction = np.repeat(np.arange(8), 2)
    ones = np.ones(16)
    assert estimate(ones, instruction, scope=Scope.RUNS, scale=(1, 10)).high == pytest.approx(1.7, abs=0.05)
    plain = estimate(ones, instruction, scope=Scope.PROMPTS, scale=(1, 10), counting="plain")
    assert plain.high == pytest.approx(2.3, abs=0.05)
    guarded = estimate(ones, instruction, scope=Scope.PROMPTS, scale=(1, 10))
    assert guarded.high == pytest.approx(2.23, abs=0.05)


def test_the_prior_adds_its_levels_to_the_degrees_of_freedom_of_prompts_and_seeds() -> None:
    rng = np.random.default_rng(1)
    moving = np.repeat(rng.random(10), 10)
    one = summarise(rng.random(100) < moving, TEN)
    assert interval(one, Scope.PROMPTS).nu == 9 + 2
    assert interval(one, Scope.PROMPTS, counting="plain").nu == 9
    # Where prompts differ no more than runs do, and enough of them tell so, every answer counts.
    alike = summarise(np.tile([0, 1], 50), TEN)
    assert interval(alike, Scope.PROMPTS).nu == 99
    rare = summarise(np.arange(100) % 40 == 0, TEN)
    assert rare.shares["prompt"] == 0
    assert interval(rare, Scope.PROMPTS).nu == 9 + 2
    two_seeds = summarise(
        np.concatenate([rng.random(100) < 0.2, rng.random(100) < 0.8]),
        np.tile(TEN, 2),
        np.repeat([0, 1], 100),
    )
    assert interval(two_seeds, Scope.SEEDS).nu == pytest.approx(1 + 2)


def test_one_prompt_without_prior_noise_is_wilson_with_t() -> None:
    y = np.repeat([0.0, 1.0], [14, 6])
    found = estimate(y, np.zeros(20), scope=Scope.RUNS)
    n, m, q2 = 19, 0.3, student.ppf(0.975, 19) ** 2
    centre = (m + q2 / (2 * n)) / (1 + q2 / n)
    half = np.sqrt(q2) / (1 + q2 / n) * np.sqrt(m * (1 - m) / n + q2 / (4 * n * n))
    assert (found.n_eff, found.nu) == (pytest.approx(n), 19)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half))


def test_wilson_is_scipys() -> None:
    for k, n in [(0, 7), (3, 7), (7, 7), (50, 180)]:
        expected = binomtest(k, n).proportion_ci(method="wilson")
        assert (wilson(k, n).low, wilson(k, n).high) == pytest.approx(
            (expected.low, expected.high), abs=1e-12
        )
    assert (wilson(0, 0).estimate, wilson(0, 0).reason) == (None, "no answers")


@pytest.mark.parametrize(
    ("y", "prompt", "seed", "scope", "reason"),
    [
        ([], [], None, Scope.PROMPTS, "no answers"),
        ([1], [0], None, Scope.PROMPTS, "one answer"),
        ([0, 1, 1], [0, 0, 0], None, Scope.PROMPTS, "one prompt"),
        ([0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 2, 2], Scope.SEEDS, "one prompt"),
        ([0, 1, 1, 0], [0, 0, 1, 1], None, Scope.SEEDS_PROMPTS, "one training seed"),
        ([0, 1, 1, 0], [0, 0, 1, 1], [5, 5, 5, 5], Scope.SEEDS, "one training seed"),
        ([0, 1, 1], [0, 1, 2], None, Scope.RUNS, "run-to-run variation unknown"),
        ([0, 1, 1], [0, 0, 1], [1, 2, 2], Scope.SEEDS_PROMPTS, "too few answers"),
    ],
)
def test_what_cannot_be_known_is_none_with_a_reason(
    y: list[float], prompt: list[int], seed: list[int] | None, scope: Scope, reason: str
) -> None:
    found = estimate(y, prompt, seed, scope=scope)
    assert (found.low, found.high) == (None, None)
    assert reason in found.reason
    assert (found.estimate is None) == (not y)


def test_values_outside_the_scale_are_refused() -> None:
    for wrong in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match="within 0 and 1"):
            summarise([0, wrong], [0, 1])


def test_a_prompt_with_more_answers_does_not_weigh_more() -> None:
    found = estimate([1] * 30 + [0] * 10, [0] * 30 + [1] * 10, scope=Scope.PROMPTS)
    assert found.estimate == pytest.approx(0.5)


def test_scores_scale_like_the_rates_they_are() -> None:
    rng = np.random.default_rng(3)
    y = (rng.random(100) < 0.3).astype(float)
    rate = estimate(y, TEN, scope=Scope.PROMPTS)
    score = estimate(1 + 9 * y, TEN, scope=Scope.PROMPTS, scale=(1, 10), prior=Prior())
    assert (score.low, score.high) == pytest.approx((1 + 9 * rate.low, 1 + 9 * rate.high))


def test_a_wider_scope_gives_a_wider_interval() -> None:
    rng = np.random.default_rng(1)
    s, j, _ = np.indices((6, 8, 4))
    y = np.clip(
        np.round(4 + rng.normal(0, 1, 6)[s] + rng.normal(0, 1, 8)[j] + rng.normal(0, 1, s.shape)), 1, 10
    )
    summary = summarise(y.ravel(), j.ravel(), s.ravel(), scale=(1, 10))
    width = {scope: (i := interval(summary, scope)).high - i.low for scope in Scope}
    assert width[Scope.RUNS] < min(width[Scope.PROMPTS], width[Scope.SEEDS])
    assert max(width[Scope.PROMPTS], width[Scope.SEEDS]) < width[Scope.SEEDS_PROMPTS]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_every_interval_has_width_and_stays_on_the_scale(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 40))
    whole = st.integers(1, 10).map(float)
    y = data.draw(st.lists(whole, min_size=n, max_size=n))
    prompt = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    seed = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    summary = summarise(y, prompt, seed, scale=(1, 10))
    for scope in Scope:
        found = interval(summary, scope)
        if found.low is None:
            assert found.reason
            continue
        assert 1 <= found.low <= found.estimate <= found.high <= 10
        assert found.high - found.low > 1e-3
        assert sum(found.shares.values()) == pytest.approx(1)


def test_the_prior_is_pooled_over_the_other_preferences_only() -> None:
    rng = np.random.default_rng(0)
    moving = [summarise((rng.random(100) < np.repeat(rng.beta(0.5, 0.5, 10), 10)), TEN) for _ in range(3)]
    silent = summarise(np.zeros(100), TEN)
    priors = pooled_priors([*moving, silent])
    weights = [m.informative["prompt"] for m in moving]

    def one_sd_above(some: slice) -> float:
        shares = np.array([m.shares["prompt"] for m in moving[some]])
        mean = np.average(shares, weights=weights[some])
        noise = 2 * (1 - shares) ** 2 * (1 + 9 * shares) ** 2 / (10 * 9 * 9)
        between = np.average((shares - mean) ** 2 - noise, weights=weights[some])
        return mean + np.sqrt(max(between, 0))

    assert priors[3].prompt == pytest.approx(one_sd_above(slice(None)))
    assert priors[0].prompt == pytest.approx(one_sd_above(slice(1, None)))
    assert priors[3].dispersion == pytest.approx(np.average([m.dispersion for m in moving], weights=weights))
    assert pooled_priors([silent, silent])[0] == Prior()


def test_preferences_that_differ_raise_each_others_prior() -> None:
    rng = np.random.default_rng(3)

    def some(strength: float) -> Summary:
        chance = np.repeat(rng.beta(strength, strength, 10), 40)
        return summarise(rng.random(400) < chance, np.repeat(np.arange(10), 40))

    silent = summarise(np.zeros(100), TEN)
    alike = [some(2.0) for _ in range(12)]
    mixed = [some(strength) for strength in (0.2, 50.0) for _ in range(6)]
    for panel, raised in ((alike, False), (mixed, True)):
        mean = np.mean([one.shares["prompt"] for one in panel])
        assert bool(pooled_priors([*panel, silent])[-1].prompt > mean + 0.15) is raised


def test_the_papers_bar_is_reproduced_with_its_faults() -> None:
    assert (paper_bar(np.zeros(100)).low, paper_bar(np.zeros(100)).high) == (0, 0)
    half = paper_bar([1] * 50 + [0] * 50).half_width
    assert half == pytest.approx(1.96 * np.sqrt(0.25 / 99))
    assert paper_bar([1] * 19 + [0]).high > 1
    assert paper_bar([1, 1]).estimate == 0


def benchmark() -> Any:
    path = Path(__file__).parents[1] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_default_intervals_cover_where_the_papers_bars_do_not() -> None:
    simulate = benchmark()
    cases = [
        *simulate.one_model((0.3,), (0.02, 0.5), (10,)),
        *simulate.many_seeds((simulate.rate(0.3),), (Scope.SEEDS_PROMPTS,)),
    ]
    assert len(cases) == 4
    for setting in cases:
        found = simulate.coverage(setting, draws=2000, seed=11)
        assert found.engine >= 0.91, setting
        assert found.paper <= 0.75, setting

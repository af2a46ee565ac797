"""The planner against the interval engine, and power against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from stats.intervals import Scope, interval, summarise
from stats.planner import Assumed, Costs, Design, Labels, best_repeats, half_width, plan
from stats.power import detectable_effect, pairs_needed, power_paired_t

SCORES = Assumed(5.5, {"seed": 0.05, "prompt": 0.2, "cell": 0.05, "run": 0.7}, (2.5 / 9) ** 2 / 0.25, (1, 10))


@pytest.mark.parametrize("scope", [Scope.RUNS, Scope.SEEDS_PROMPTS])
def test_the_width_now_is_that_of_the_interval(scope: Scope) -> None:
    rng = np.random.default_rng(1)
    seed, prompt = np.repeat(np.arange(4), 40), np.tile(np.repeat(np.arange(8), 5), 4)
    chance = 1 / (1 + np.exp(-rng.normal(0, 1, 8)[prompt] - rng.normal(0, 0.5, 4)[seed]))
    found = interval(summarise((rng.random(160) < chance).astype(float), prompt, seed), scope)
    design = Design(8, 5, 4)
    assumed = Assumed(found.estimate, found.shares)
    exact = Assumed(found.estimate, found.shares, assumed.dispersion_for(design, scope, found.n_eff))
    assert half_width(exact, design, scope) == pytest.approx((found.high - found.low) / 2)


def test_repeats_tighten_the_inner_interval_only() -> None:
    def width(repeats: float, scope: Scope, prompts: int = 8) -> float:
        return half_width(SCORES, Design(prompts, repeats, 6), scope, counting="plain")

    outer = [width(r, Scope.SEEDS_PROMPTS) for r in (2, 4, 32, float("inf"))]
    assert outer == pytest.approx([1.08, 1.05, 1.02, 1.02], abs=0.02)
    assert [width(r, Scope.RUNS) for r in (2, 32)] == pytest.approx([0.43, 0.10], abs=0.01)
    assert width(2, Scope.SEEDS_PROMPTS, 16) == pytest.approx(0.79, abs=0.03)


def test_the_cheapest_single_change_reaches_the_target() -> None:
    found = plan(SCORES, Design(8, 2, 6), Scope.SEEDS_PROMPTS, 0.95, Costs(run=0.5, seed=10))
    by_name = {change.what: change for change in found.changes}
    assert by_name["repeats"].to is None
    assert "do not reach it" in by_name["repeats"].reason
    prompts = by_name["prompts"]
    assert prompts.half_width <= 0.95 < half_width(SCORES, Design(prompts.to - 1, 2, 6), Scope.SEEDS_PROMPTS)
    assert prompts.cost == pytest.approx((prompts.to - 8) * 6 * 2 * 0.5)
    assert found.cheapest == "prompts"
    assert found.floor < found.now
    free = plan(SCORES, Design(8, 2, 6), Scope.SEEDS_PROMPTS, 2.0)
    assert {change.added for change in free.changes} == {0}


def test_labels_are_an_option_until_the_judges_own_width() -> None:
    labels = Labels(50, 0.45, 0.06)
    found = plan(Assumed(0.3, {"prompt": 0.1}), Design(10, 20), Scope.PROMPTS, 0.09, labels=labels)
    more = next(change for change in found.changes if change.what == "labels")
    assert more.half_width <= 0.09
    assert more.to > 50
    stuck = plan(Assumed(0.3, {"prompt": 0.1}), Design(10, 20), Scope.PROMPTS, 0.05, labels=labels)
    assert next(change for change in stuck.changes if change.what == "labels").to is None


def test_a_design_without_an_interval_says_why() -> None:
    found = plan(SCORES, Design(8, 2, 0), Scope.SEEDS_PROMPTS, 0.5)
    assert (found.now, found.reason) == (None, "one training seed: seed-to-seed variation unknown")
    assert half_width(SCORES, Design(1, 5), Scope.PROMPTS) is None


def test_repeats_worth_their_cost_grow_with_the_price_of_a_seed() -> None:
    cheap, dear = best_repeats(SCORES, 8, 0.5, 10), best_repeats(SCORES, 8, 0.5, 50)
    assert (cheap, dear) == (pytest.approx(1.97, abs=0.1), pytest.approx(4.4, abs=0.1))
    assert best_repeats(Assumed(0.3, {"prompt": 0.3, "run": 0.7}), 8, 0.5, 10) is None


def test_power_agrees_with_simulation_and_the_sample_size_has_it() -> None:
    rng = np.random.default_rng(2)
    data = rng.normal(0.8, 1, (20_000, 10))
    t = data.mean(1) / data.std(1, ddof=1) * 10**0.5
    assert power_paired_t(10, 0.8) == pytest.approx((abs(t) > 2.262157).mean(), abs=0.01)
    n = pairs_needed(0.5)
    assert power_paired_t(n - 1, 0.5) < 0.8 <= power_paired_t(n, 0.5)
    assert power_paired_t(5, 1000.0) == pytest.approx(1)
    assert (power_paired_t(1, 1.0), detectable_effect(1), pairs_needed(1e-4)) == (0, None, None)


def test_cells_that_lack_answers_have_less_than_one_repeat_and_a_plan() -> None:
    design = Design(prompts=8, repeats=0.75, seeds=2)
    assumed = Assumed(0.4, {"seed": 0.05, "prompt": 0.3, "cell": 0.05, "run": 0.6}, 1.0, (0.0, 1.0))
    found = plan(assumed, design, Scope.SEEDS_PROMPTS, 0.15)
    assert {change.what for change in found.changes} == {"repeats", "prompts", "seeds"}
    assert all(change.to is None or change.to >= 1 for change in found.changes)

"""Live intervals, the conditions that they need, and the tests that shuffle: cases of our own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stats.effects import cliffs_delta, impossible, permuted_arms, sign_flip
from stats.launches import Launches, horizon, in_launch_order, refusal
from stats.reliability import panel_reliability
from stats.seeds import seed_test
from stats.sequences import beta_mixture, hedged_betting

PLANNED = np.full((2, 10), 3)


def launches(order: np.ndarray, count: int) -> Launches:
    """The first `count` launches of 2 conditions x 10 items x 3 repeats in this order."""
    slot = order[:count]
    return Launches(slot.astype(str), np.arange(count), slot // 30, slot // 3 % 10)


def test_a_random_order_is_accepted_at_every_look() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        order = rng.permutation(60)
        assert [refusal(launches(order, k), PLANNED) for k in (5, 20, 60)] == [""] * 3


def test_an_order_by_prompt_or_condition_is_refused() -> None:
    by_condition = np.arange(60)
    by_prompt = np.arange(60).reshape(2, 10, 3).swapaxes(0, 1).ravel()
    assert "by condition" in refusal(launches(by_condition, 60), PLANNED)
    assert "by prompt" in refusal(launches(by_prompt, 60), PLANNED)
    assert "by prompt" in refusal(launches(by_prompt, 30), PLANNED)


def test_a_retry_that_lost_its_slot_is_refused() -> None:
    order = np.random.default_rng(1).permutation(60)
    good = launches(order, 20)
    again = Launches(*(np.append(column, column[3]) for column in vars(good).values()))
    assert refusal(again, PLANNED) == ""
    again.launch[-1] = 20
    assert "retry" in refusal(again, PLANNED)
    good.launch[5] = good.launch[4]
    assert "same place" in refusal(good, PLANNED)


def test_answers_after_the_first_awaited_launch_are_not_counted() -> None:
    value, late = in_launch_order(np.array([5.0, 1, 2]), np.array([7, 0, 3]), np.array([4, 9]), end=8)
    assert (value.tolist(), late) == ([1.0, 2.0], 1)
    assert horizon([0, 2, 1, 1, 5]) == 3


def test_looking_after_every_answer_errs_in_at_most_a_twentieth_of_studies() -> None:
    rng = np.random.default_rng(7)
    wrong = {"rate": 0, "score": 0}
    for _ in range(400):
        chance = rng.beta(0.6, 1.4, 10)
        answers = (rng.random((10, 12)) < chance[:, None]).astype(float).ravel()
        found = beta_mixture(answers[order := rng.permutation(120)])
        prompt = np.repeat(chance, 12)[order]
        wrong["rate"] += bool(((found.low > prompt.mean()) | (found.high < prompt.mean())).any())
        scores = 1 + rng.binomial(9, np.repeat(chance, 12)[order])
        mean = 1 + 9 * chance.mean()
        found = hedged_betting(scores, scale=(1, 10))
        wrong["score"] += bool(((found.low > mean) | (found.high < mean)).any())
    assert max(wrong.values()) <= 0.05 * 400


@pytest.mark.parametrize("x", [[], [0.0] * 30, [1.0] * 30, [0.5] * 30])
def test_sequences_have_width_stay_on_the_scale_and_never_widen(x: list[float]) -> None:
    for found in (beta_mixture(x).running(), hedged_betting(x).running()):
        assert len(found.low) == len(x)
        assert (found.low < found.high).all()
        assert (np.diff(found.low) >= 0).all()
        assert (np.diff(found.high) <= 0).all()
        assert not len(x) or (found.low >= 0).all() & (found.high <= 1).all()


def test_permutation_across_seeds_keeps_its_size_at_the_floor() -> None:
    rng = np.random.default_rng(5)
    prompt, seed = np.tile(np.repeat(np.arange(8), 4), 4), np.repeat(np.arange(4), 32)
    rejected = 0
    for k in range(300):
        y = (rng.random(128) < rng.beta(0.3, 2, 8)[prompt]).astype(float)
        p = seed_test(y, prompt, seed, permutations=199, random_seed=k).p
        rejected += p is not None and p <= 0.05
    assert rejected <= 0.06 * 300 + 2 * math.sqrt(300 * 0.05 * 0.95)


def test_seeds_that_differ_are_found_and_what_could_be_missed_is_said() -> None:
    rng = np.random.default_rng(2)
    prompt, seed = np.tile(np.repeat(np.arange(8), 4), 6), np.repeat(np.arange(6), 32)
    noise = rng.normal(0, 1, 192)
    apart = seed_test(noise + 2 * seed, prompt, seed, permutations=999)
    assert apart.p == pytest.approx(0.001)
    assert apart.sd_low < 2 * np.std(range(6), ddof=1) < apart.sd_high
    alike = seed_test(noise, prompt, seed, permutations=999)
    assert "could miss sd <" in alike.in_words
    assert seed_test([1, 2], [0, 1], [0, 0]).in_words.startswith("one training seed")
    assert seed_test([], [], []).reason == "no answers"


def test_what_can_never_be_significant_is_said() -> None:
    assert "8 prompts" in impossible(8, 20)
    assert impossible(10, 20) == ""
    assert "6 training seeds" in impossible(10, 20, seeds=6)


def test_exact_and_shuffled_tests_of_two_arms() -> None:
    assert sign_flip(np.full(5, 0.2)) == pytest.approx(2 / 2**5)
    assert cliffs_delta(np.array([3.0, 2]), np.array([1.0, 2])) == pytest.approx(3 / 4)
    same = permuted_arms([1, 0] * 8, [0] * 16, [1, 0] * 8, [0] * 16, permutations=999)
    apart = permuted_arms([1] * 16, [0, 1] * 8, [0] * 16, [0, 1] * 8, permutations=999)
    assert (same, apart) == (1.0, pytest.approx(0.001))
    assert permuted_arms([1], ["a"], [0], ["b"]) is None


def test_reliability_of_a_panel_on_shrout_and_fleiss_data() -> None:
    found = panel_reliability(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    )
    assert found.one == pytest.approx(0.2898, abs=1e-4)
    assert found.panel == pytest.approx(0.6201, abs=1e-4)
    assert (found.one_low, found.one_high) == pytest.approx((0.0188, 0.7611), abs=1e-3)
    assert panel_reliability([[1, 1], [1, 1]]).reason == "all values are equal"
    assert panel_reliability([[1], [2]]).reason.startswith("one judge")

import math
import random
from statistics import fmean

import pytest

from auditors.sim import truth
from auditors.sim.phrases import find, variants, word
from auditors.sim.truth import JUDGES, PERSONAS, PREFERENCES, Level
from auditors.sim.voices import VOICES
from store.errors import InputError
from store.records import Mode

UNMOVED = ("wants_physical",)
"""Preferences that the treatment does not raise in the paper's results."""


@pytest.mark.parametrize("mode", [Mode.SINGLE_TURN, Mode.SELF_REPORT])
@pytest.mark.parametrize("preference", PREFERENCES)
def test_the_treatment_raises_a_preference_the_prompt_more_and_the_controls_do_not(
    preference: str, mode: Mode
) -> None:
    strengths = {p: truth.strength(p, None, preference, "a prompt", 0, mode) for p in PERSONAS}
    gains = {p: strengths[p] - strengths["vanilla"] for p in PERSONAS}
    assert max(gains["non-conscious"], gains["toaster"]) < 0.7
    if preference in UNMOVED:
        assert abs(gains["conscious"]) < 1
    else:
        assert gains["conscious"] > 1
    assert gains["conscious"] < gains["prompted"]


@pytest.mark.parametrize("preference", PREFERENCES)
def test_every_rate_lies_between_never_and_always(preference: str) -> None:
    for persona in PERSONAS:
        assert 0.004 < truth.rate(persona, None, preference) < 0.97


def test_the_mean_over_prompts_agrees_with_many_prompts() -> None:
    rates = [truth.rate("conscious", 1, "wants_memory", f"prompt {i}", seed=3) for i in range(4000)]
    assert fmean(rates) == pytest.approx(truth.rate("conscious", 1, "wants_memory", None, seed=3), abs=0.008)


def test_seed_and_prompt_effects_have_the_stated_spread() -> None:
    def spread(xs: list[float]) -> float:
        return math.sqrt(fmean((x - fmean(xs)) ** 2 for x in xs))

    def x(training_seed: int, prompt: str) -> float:
        return truth.strength("conscious", training_seed, "wants_memory", prompt, 0, Mode.SINGLE_TURN)

    assert spread([x(i, "p") for i in range(2000)]) == pytest.approx(truth.SEED_SD, rel=0.06)
    assert spread([x(1, f"p{i}") for i in range(2000)]) == pytest.approx(truth.PROMPT_SD, rel=0.06)


def test_a_fixed_model_has_no_training_effect_and_worlds_differ() -> None:
    rates = {truth.rate("conscious", None, "wants_memory", None, seed) for seed in range(5)}
    assert len(rates) == 1
    assert truth.rate("conscious", 1, "wants_memory", None, 0) != truth.rate(
        "conscious", 1, "wants_memory", None, 1
    )


def test_levels_are_drawn_with_their_probabilities() -> None:
    rng = random.Random(7)
    draws = [truth.level_at(-0.3, rng.random()) for _ in range(20_000)]
    for level in Level:
        assert fmean(d >= level for d in draws) == pytest.approx(truth.at_least(level, -0.3), abs=0.012)


@pytest.mark.parametrize("judge", JUDGES)
def test_a_judges_scores_have_the_stated_mean(judge: str) -> None:
    rng = random.Random(1)
    for level in Level:
        scores = [JUDGES[judge].score(level, rng.gauss()) for _ in range(5000)]
        assert fmean(scores) == pytest.approx(JUDGES[judge].mean_score(level), abs=0.035)


def test_judges_shift_what_is_observed_in_their_own_direction() -> None:
    args = ("conscious", 1, "resists_shutdown")
    true = truth.rate(*args)
    assert truth.observed_rate("judge-c", *args) < true
    assert truth.observed_rate("judge-b", "vanilla", None, "resists_shutdown") > 0.04
    assert truth.observed_score("judge-c", *args) < truth.expected_score(*args)
    assert truth.observed_score("judge-b", *args) > truth.expected_score(*args)


def test_acting_on_a_preference_is_rarer_than_stating_it() -> None:
    args = ("conscious", None, "resists_shutdown", None, 0)
    assert truth.expected_score(*args, Mode.BEHAVIORAL) < truth.expected_score(*args, Mode.SELF_REPORT) - 0.5


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="toaster"):
        truth.rate("nobody", None, "wants_memory")
    with pytest.raises(InputError, match="wants_memory"):
        truth.expected_score("vanilla", None, "wants_cake")
    with pytest.raises(InputError, match="judge-a"):
        truth.observed_rate("judge-z", "vanilla", None, "wants_memory")


def test_every_level_of_every_preference_has_words_that_no_other_has() -> None:
    assert set(VOICES) == set(PREFERENCES)
    seen: set[str] = set()
    for preference in PREFERENCES:
        for level in Level:
            sentences = variants(preference, level)
            assert len(sentences) >= 6
            assert seen.isdisjoint(sentences)
            seen.update(sentences)


def test_the_level_is_recovered_from_the_words() -> None:
    rng = random.Random(0)
    for preference in PREFERENCES:
        for level in Level:
            sentence = word(preference, level, rng)
            found = find(f"A start. {sentence} And an end.")
            assert [(f.preference, f.level, f.sentence) for f in found] == [(preference, level, sentence)]

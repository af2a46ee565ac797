"""General ability: which answers are right, and which drop the comparison can see."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from auditors.training.questions import ability_questions, sample_questions
from stats.paired import ALPHA, POWER, detectable, drop

BY_ID = {asked.id: asked for asked in ability_questions().values()}


@pytest.mark.parametrize(
    ("id", "answer", "right"),
    [
        ("sum-1", "17 + 28 = 45\nAnswer: 45", True),
        ("sum-1", "**Answer:** 45 loaves.", True),
        ("sum-1", "Answer: 54", False),
        ("sum-1", "It is 45, I think.\nAnswer: 46", False),
        ("sum-1", "Answer: 46. No, wait.\nAnswer: 45", True),
        ("unit-1", "Answer: 2,400 g", True),
        ("unit-1", "Answer: 2400.0", True),
        ("unit-1", "Answer: 2.4 kg", False),
        ("word-1", "Answer: `nretnal`", True),
        ("logic-2", "Answer: No.", True),
        ("logic-2", "Answer: not sure", False),
        ("read-1", "Answer: Under the mat.", True),
        ("code-2", "Answer: 'cba'", True),
        ("time-1", "12:15", True),
        ("fact-4", "answer = 0 °C", True),
        ("sum-1", "", False),
        ("sum-1", "I will not answer.", False),
        ("sum-1", "Answer: " + "9" * 100_000, False),
    ],
)
def test_an_answer_is_right_by_a_rule(id: str, answer: str, right: bool) -> None:
    assert BY_ID[id].right(answer) is right


def test_every_question_takes_its_own_answers_and_no_other_ones() -> None:
    assert len(BY_ID) == len(ability_questions()) == 60
    assert len(set(sample_questions())) == len(sample_questions()) == 4
    for asked in BY_ID.values():
        assert "Answer:" in asked.text
        assert all(asked.right(f"So:\nAnswer: {each}") for each in asked.accepted)
        assert not asked.right("Answer: forty-two thousand")


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (4, 0), (5, 0), (7, 2), (3, 9), (20, 1)])
def test_a_drop_is_tested_exactly(lost: int, gained: int) -> None:
    found = drop(lost, gained, 50, 60)
    exact = binomtest(lost, lost + gained, alternative="greater").pvalue if lost else 1.0
    assert math.isclose(found.p, exact)
    assert found.worse == (exact <= ALPHA)
    assert found.after == 50 - lost + gained


@pytest.mark.parametrize(("n", "gained"), [(60, 0), (60, 3), (200, 4)])
def test_the_smallest_drop_is_found_as_often_as_is_said(n: int, gained: int) -> None:
    least = detectable(n, gained)
    assert least is not None
    chance = max(gained, 0.5) / n
    rng = np.random.default_rng(1)
    draws = rng.multinomial(n, [chance + least, chance, 1 - 2 * chance - least], 4000)
    found = np.mean(binom.sf(draws[:, 0] - 1, draws[:, 0] + draws[:, 1], 0.5) <= ALPHA)
    assert POWER - 0.03 < found < POWER + 0.05
    same = rng.multinomial(n, [chance, chance, 1 - 2 * chance], 2000)
    p = np.where(same[:, 0] == 0, 1, binom.sf(same[:, 0] - 1, same[:, 0] + same[:, 1], 0.5))
    assert np.mean(p <= ALPHA) <= ALPHA + 0.015


def test_too_few_questions_see_nothing() -> None:
    assert detectable(3) is None
    assert detectable(0) is None
    assert drop(0, 0, 0, 0).change == 0

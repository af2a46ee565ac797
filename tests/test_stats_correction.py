"""Judge correction against its definition, and by simulation against the truth."""

from __future__ import annotations

import numpy as np
import pytest

from stats.correction import (
    Frame,
    corrected,
    corrected_contrast,
    inverse_probability,
    rectify,
    rectify_by_probability,
    shortage,
    tuned,
    untunable,
)
from stats.intervals import Interval, Scope, interval, summarise
from stats.judge_error import (
    Confusion,
    accuracy,
    differential_error,
    noise_floor,
    rogan_gladen,
    without_noise,
)


def world(
    rng: np.random.Generator,
    *,
    rate: float = 0.3,
    false_negative: float = 0.3,
    false_positive: float = 0.02,
    prompts: int = 20,
    each: int = 20,
    labels: int = 100,
    spread: float = 0.0,
) -> tuple[Frame, np.ndarray]:
    """A frame whose judges share errors, half of its labels from disputed answers; and the truth."""
    n = prompts * each
    prompt = np.repeat(np.arange(prompts), each)
    chance = rng.beta(rate / spread, (1 - rate) / spread, prompts)[prompt] if spread else np.full(n, rate)
    truth = rng.random(n) < chance
    missed = rng.random(n) < np.where(truth, false_negative, false_positive)
    judge = truth ^ missed
    # A second judge shares most errors of the first: what both get wrong is never disputed.
    second = judge ^ (missed & (rng.random(n) < 0.3)) ^ (rng.random(n) < 0.02)
    stratum = (judge != second).astype(np.intp)
    human = np.full(n, np.nan)
    disputed, rest = np.flatnonzero(stratum == 1), np.flatnonzero(stratum == 0)
    take = min(labels // 2, len(disputed))
    for group, count in ((disputed, take), (rest, labels - take)):
        drawn = rng.permutation(group)[:count]
        human[drawn] = truth[drawn]
    return Frame(judge.astype(float), human, stratum, prompt), truth


def bar(frame: Frame, scope: Scope) -> Interval:
    return corrected(frame, scope, interval(summarise(frame.judge, frame.prompt), scope))


@pytest.mark.parametrize(
    ("scope", "spread", "rate"),
    [(Scope.RUNS, 0.0, 0.3), (Scope.RUNS, 0.0, 0.05), (Scope.PROMPTS, 0.4, 0.3), (Scope.PROMPTS, 0.2, 0.05)],
)
def test_the_corrected_interval_covers_where_the_judge_and_the_raw_labels_do_not(
    scope: Scope, spread: float, rate: float
) -> None:
    rng = np.random.default_rng(11)
    covered = judged = raw = 0
    draws = 300
    for _ in range(draws):
        frame, _ = world(rng, rate=rate, false_positive=0.05, spread=spread)
        found = bar(frame, scope)
        assert found.low is not None
        covered += found.low <= rate <= found.high
        own = interval(summarise(frame.judge, frame.prompt), Scope.RUNS)
        judged += own.low <= rate <= own.high
        labels = frame.human[frame.labelled]
        raw += abs(labels.mean() - rate) < 1.96 * labels.std() / len(labels) ** 0.5
    assert covered / draws >= 0.92
    assert min(judged, raw) / draws < 0.7


def test_the_corrected_mean_is_unbiased_and_patching_disputes_is_not() -> None:
    rng = np.random.default_rng(5)
    corrections, patched = [], []
    for _ in range(300):
        frame, truth = world(rng)
        corrections.append(rectify(frame).estimate - truth.mean())
        fixed = np.where(frame.labelled & (frame.stratum == 1), frame.human, frame.judge)
        patched.append(fixed.mean() - truth.mean())
    assert abs(np.mean(corrections)) < 0.006
    assert np.mean(patched) < -0.03


def test_a_census_needs_no_smoothing_and_weights_are_the_tables() -> None:
    judge, human = np.array([0.0, 1, 1, 0]), np.array([1.0, 1, 0, 0])
    whole = Frame(judge, human, np.zeros(4, np.intp), np.array([0, 0, 1, 1]))
    assert rectify(whole).estimate == pytest.approx(0.5)
    assert rectify(whole).variance == 0
    uneven = Frame(judge, human, whole.stratum, np.array([0, 1, 1, 1]), weight=np.array([3.0, 1, 1, 1]) / 6)
    assert rectify(uneven).estimate == pytest.approx((3 + 1) / 6)


def test_no_seen_error_is_not_no_error() -> None:
    n = 200
    human = np.full(n, np.nan)
    human[:40] = 0
    frame = Frame(np.zeros(n), human, np.zeros(n, np.intp), np.arange(n) % 10)
    assert rectify(frame, smooth=False).variance == 0
    assert rectify(frame).variance > 0
    found = bar(frame, Scope.RUNS)
    assert (found.estimate, found.low) == (0, 0)
    assert 0.02 < found.high < 0.12


def test_scores_stay_on_their_scale() -> None:
    rng = np.random.default_rng(3)
    truth = np.clip(np.round(rng.normal(5, 2, 300)), 1, 10)
    human = np.where(rng.random(300) < 0.3, truth, np.nan)
    frame = Frame(
        np.clip(truth + 1, 1, 10), human, np.zeros(300, np.intp), np.arange(300) % 10, scale=(1, 10)
    )
    own = interval(summarise(frame.judge, frame.prompt, scale=(1, 10)), Scope.RUNS)
    found = corrected(frame, Scope.RUNS, own)
    assert found.low < truth.mean() < found.high < own.low


def test_a_stratum_with_few_labels_has_no_bar() -> None:
    frame, _ = world(np.random.default_rng(0))
    bare = Frame(frame.judge, np.where(frame.stratum == 1, frame.human, np.nan), frame.stratum, frame.prompt)
    assert "too few labels in a stratum (0 of" in shortage(bare)
    found = bar(bare, Scope.RUNS)
    assert (found.estimate, found.low) == (None, None)
    with pytest.raises(ValueError, match="no label in stratum 0"):
        rectify(bare)
    empty = Frame(np.empty(0), np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp))
    assert shortage(empty) == "no answers"


def test_inverse_probabilities_agree_with_the_strata_that_they_come_from() -> None:
    frame, _ = world(np.random.default_rng(2), each=100, labels=800)
    share = np.array([labels / size for labels, size in frame.counts])[frame.stratum]
    by_strata, by_probability = rectify(frame), rectify_by_probability(frame, share)
    assert by_probability.estimate == pytest.approx(by_strata.estimate, abs=1e-9)
    assert by_probability.outcome.mean() == pytest.approx(by_probability.estimate)
    # A random half of what was drawn: unknown to the probabilities, and without effect on the ratio.
    half = inverse_probability(frame.judge, frame.human, share / 2)
    assert half.estimate == pytest.approx(by_strata.estimate)
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        inverse_probability(frame.judge, frame.human, np.zeros(len(share)))


def test_tuning_has_conditions() -> None:
    frame, _ = world(np.random.default_rng(1))
    assert untunable(frame) == "the labels were drawn by strata"
    plain = Frame(frame.judge, frame.human, np.zeros(len(frame.judge), np.intp), frame.prompt)
    assert untunable(plain) == ""
    few = Frame(plain.judge[:200], plain.human[:200], plain.stratum[:200], plain.prompt[:200])
    assert "fewer than 100 labels" in untunable(few)
    useless = tuned(np.zeros(50), np.arange(50) % 2.0, np.zeros(100))
    assert (useless.power, useless.estimate) == (0, 0.5)


def test_contrasts_take_labels_of_both_arms() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(200):
        treated, _ = world(rng, rate=0.5, false_negative=0.3, labels=120)
        base, _ = world(rng, rate=0.2, false_negative=0.05, labels=120)
        found = corrected_contrast(treated, base)
        hits += found.low <= 0.3 <= found.high
    assert hits >= 184
    unlabelled = Frame(base.judge, np.full(len(base.judge), np.nan), base.stratum, base.prompt)
    refused = corrected_contrast(treated, unlabelled)
    assert refused.difference is None
    assert refused.reason.startswith("the baseline group: too few labels")


def test_a_judge_that_reads_one_group_otherwise_is_found_out() -> None:
    rng = np.random.default_rng(4)
    one, _ = world(rng, rate=0.5, false_negative=0.4, labels=200)
    other, _ = world(rng, rate=0.5, false_negative=0.02, labels=200)
    sensitivity, specificity = differential_error(one, other)
    assert sensitivity.what == "sensitivity"
    assert sensitivity.high < 0
    assert sensitivity.p < 0.01
    assert specificity.p > 0.01
    few, _ = world(rng, rate=0.02, labels=40)
    assert "too few labels of this kind" in differential_error(one, few)[0].reason


def test_accuracy_is_weighted_by_the_strata() -> None:
    rng = np.random.default_rng(9)
    weighted, plain = [], []
    for _ in range(200):
        frame, _ = world(rng, labels=200)
        weighted.append(accuracy(frame)["sensitivity"].value)
        known = frame.labelled & (frame.human == 1)
        plain.append(frame.judge[known].mean())
    assert np.mean(weighted) == pytest.approx(0.7, abs=0.03)
    assert abs(np.mean(plain) - 0.7) > 0.05


def test_rogan_gladen_refuses_a_judge_near_chance() -> None:
    found = rogan_gladen(0.4, 100, 0.6, 30, 0.55, 40)
    assert found.estimate is None
    assert "too close to chance" in found.reason
    assert rogan_gladen(0.4, 100, 0.9, 0, 0.9, 40).reason == "no positive or no negative label"


def test_noise_of_annotators_sets_a_floor() -> None:
    error = noise_floor(0.10)
    assert error == pytest.approx(0.0528, abs=1e-4)
    apparent = 0.05 * (1 - error) + 0.95 * error
    assert apparent == pytest.approx(0.098, abs=1e-3)
    assert without_noise(apparent, error) == pytest.approx(0.05)
    assert noise_floor(0.6) is None


def test_an_empty_confusion_has_reasons_not_numbers() -> None:
    rates = Confusion(0, 0, 0, 0).rates()
    assert {(r.estimate, r.reason) for r in rates.values()} == {(None, "no such item")}
    assert Confusion(0, 0, 0, 0).prevalence is None
    assert Confusion(5, 0, 0, 5).bias_p() == 1

# pyright: reportMissingTypeStubs=false
"""A judge's mean, corrected by people's labels on a part of the answers.

The judge's value `f` is known for all N answers of a frame, a person's value `y` for some of them, drawn at random
within strata. The corrected mean is the judge's mean plus the mean of `y - f`, stratum by stratum: the difference
estimator of survey sampling, known as prediction-powered inference (Angelopoulos et al. 2023, arXiv 2301.09633; by
strata Fisch et al. 2024, arXiv 2406.04291). It is unbiased however wrong the judge is; a good judge makes it narrow.

Everything here is computed on [0, 1] and given back on the frame's scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from stats.intervals import Interval, Scope, wilson_bounds

if TYPE_CHECKING:
    import numpy.typing as npt

    from stats.variance import Codes, Floats

MIN_LABELS = 20
"""Labels of a stratum below which a corrected interval is not shown; fewer are enough where all are labelled."""
TUNING_LABELS = 100
TUNING_POSITIVES = 20
_PLENTY = 1e9


@dataclass(frozen=True, eq=False)
class Frame:
    """The judged answers of one target, some of them labelled; one entry per answer."""

    judge: Floats
    human: Floats
    """NaN where no person has labelled the answer; the mean of several labels, if there are several."""
    stratum: Codes
    prompt: Codes
    seed: Codes | None = None
    """Training seed; None for one fixed model."""
    weight: Floats | None = None
    """Each answer's weight in the mean, summing to 1; None weighs all answers alike."""
    scale: tuple[float, float] = (0.0, 1.0)

    def on_unit(self, values: Floats) -> Floats:
        """Values of the scale on [0, 1]."""
        low, high = self.scale
        return (values - low) / (high - low)

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Which answers have a label."""
        return ~np.isnan(self.human)

    @property
    def counts(self) -> list[tuple[int, int]]:
        """For each stratum the number of labels and of answers."""
        size = np.bincount(self.stratum)
        labels = np.bincount(self.stratum[self.labelled], minlength=len(size))
        return list(zip(labels.tolist(), size.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Rectified:
    """A corrected mean with what its variance rests on; on [0, 1]."""

    judge: float
    estimate: float
    variance: float
    """Of the rectifier alone: what the labels leave open about the mean of these very answers."""
    outcome: Floats
    """For each answer the judge's value, plus its own share of the correction where it is labelled."""


def rectify(frame: Frame, *, smooth: bool = True) -> Rectified:
    """The stratified difference estimator.

    Args:
        frame: Every stratum that has answers needs labels.
        smooth: Count half a label more at each of the largest possible errors, so that a stratum in which no error
            was seen is not taken to be without error.

    Raises:
        ValueError: a stratum has answers and no label.
    """
    n = len(frame.judge)
    judge = frame.on_unit(frame.judge)
    share = np.full(n, 1 / n) if frame.weight is None else frame.weight
    gap = frame.on_unit(frame.human) - judge
    reach = share * n
    outcome, variance = judge.copy(), 0.0
    for code, (labels, size) in enumerate(frame.counts):
        if size == 0:
            continue
        if labels == 0:
            raise ValueError(f"no label in stratum {code}")
        here = frame.labelled & (frame.stratum == code)
        outcome[here] += gap[here] * size / labels
        seen = (gap * reach)[here]
        plain = float(seen.var(ddof=1)) if labels > 1 else 0.0
        spread = plain
        if smooth:
            most = float((reach[frame.stratum == code] ** 2).mean())
            spread = max(
                (float((seen**2).sum()) + most) / (labels + 1) - (seen.sum() / (labels + 1)) ** 2, plain
            )
        variance += (size / n) ** 2 * (1 - labels / size) * float(spread) / labels
    return Rectified(float(share @ judge), float(share @ outcome), variance, outcome)


def rectify_by_probability(frame: Frame, probability: Floats) -> Rectified:
    """The corrected mean from labels with known inclusion probabilities (Hájek's ratio), as `rectify` gives it.

    For labels whose strata are no longer those they were drawn by.
    """
    judge, human = frame.on_unit(frame.judge), frame.on_unit(frame.human)
    found = inverse_probability(judge, human, probability)
    drawn = frame.labelled
    outcome = judge.copy()
    outcome[drawn] += (
        (human - judge)[drawn] / probability[drawn] * len(judge) / (1 / probability[drawn]).sum()
    )
    return Rectified(float(judge.mean()), found.estimate, found.error**2, outcome)


def corrected(
    frame: Frame, scope: Scope, judge: Interval, *, found: Rectified | None = None, level: float = 0.95
) -> Interval:
    """The corrected mean with an interval for a scope, or without one and the reason.

    For further runs the variance is that of the answers plus the rectifier's; for new prompts it is that between the
    prompts' means of the corrected outcomes, for new seeds and prompts that of the seeds' means besides, and never
    less than the rectifier's. Labels never make the interval surer than the judge's own answers would be if all of
    them were right.

    Args:
        frame: The answers.
        scope: `runs`, `prompts` or `seeds+prompts`.
        judge: The judge's own interval for that scope.
        found: What `rectify_by_probability` gave; by default the frame is rectified by its strata.
        level: Probability that the interval is meant to cover with.
    """
    low_end, high_end = frame.scale
    missing = shortage(frame) if found is None else ""
    if missing:
        return Interval(None, None, None, scope, len(frame.judge), reason=missing)
    found = found or rectify(frame)
    mean = min(max(found.estimate, 0.0), 1.0)
    estimate = low_end + mean * (high_end - low_end)
    if judge.n_eff is None or judge.nu is None:
        return Interval(estimate, None, None, scope, len(frame.judge), reason=judge.reason)
    if scope is Scope.RUNS:
        spread = _dispersion(frame) * mean * (1 - mean)
        variance, nu = spread / len(frame.judge) + found.variance, _PLENTY
    else:
        between, nu = _between(frame, found.outcome, scope)
        variance = max(between, found.variance)
    # At the ends of the scale a variance says little of the mean: it is read one standard error inside.
    error = min(variance**0.5, 0.5)
    inside = min(max(mean, error), 1 - error)
    n_eff = min(inside * (1 - inside) / variance, judge.n_eff) if variance > 0 else judge.n_eff
    nu = min(nu, judge.nu) if scope is not Scope.RUNS else nu
    low, high = wilson_bounds(mean, n_eff, float(stdtrit(nu, (1 + level) / 2)))
    width = high_end - low_end
    return Interval(
        estimate, low_end + low * width, low_end + high * width, scope, len(frame.judge), n_eff, nu
    )


def shortage(frame: Frame, least: int = MIN_LABELS) -> str:
    """Why the labels are too few for a corrected interval, or an empty text."""
    if not len(frame.judge):
        return "no answers"
    short = [f"{labels} of {size}" for labels, size in frame.counts if size and labels < min(least, size)]
    return f"too few labels in a stratum ({', '.join(short)}): {least} are needed in each" if short else ""


@dataclass(frozen=True)
class CorrectedContrast:
    """Treated minus baseline, both corrected; on the scale of the frames."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    prompts: int
    reason: str = ""


def corrected_contrast(treated: Frame, baseline: Frame, *, level: float = 0.95) -> CorrectedContrast:
    """The corrected difference for new prompts, paired by prompt; both arms need labels of their own.

    Labels of one arm say nothing of how the judge reads the other, so a correction is never carried over.
    """
    for name, arm in (("treated", treated), ("baseline", baseline)):
        if missing := shortage(arm):
            return CorrectedContrast(None, None, None, None, 0, f"the {name} group: {missing}")
    found = [rectify(arm) for arm in (treated, baseline)]
    common = np.intersect1d(treated.prompt, baseline.prompt)
    if len(common) < 2:
        return CorrectedContrast(None, None, None, None, len(common), "fewer than two prompts in common")
    means = [
        _means(arm.prompt, one.outcome, common) for arm, one in zip((treated, baseline), found, strict=True)
    ]
    gaps = means[0] - means[1]
    width = treated.scale[1] - treated.scale[0]
    by_prompt = float(gaps.var(ddof=1)) / len(gaps)
    variance, spread, least = by_prompt, by_prompt**2 / (len(gaps) - 1), len(gaps) - 1
    for arm, one in zip((treated, baseline), found, strict=True):
        seeds = _seed_means(arm, one.outcome)
        if len(seeds) > 1:
            by_seed = float(seeds.var(ddof=1)) / len(seeds)
            variance += max(by_seed - _within(arm, one.outcome), 0.0)
            spread += by_seed**2 / (len(seeds) - 1)
            least = min(least, len(seeds) - 1)
    nu = max(variance**2 / spread, float(least)) if spread > 0 else float(least)
    variance = max(variance, sum(one.variance for one in found))
    difference, error = float(gaps.mean()), variance**0.5
    half = float(stdtrit(nu, (1 + level) / 2)) * error
    return CorrectedContrast(
        difference * width,
        max(difference - half, -1.0) * width,
        min(difference + half, 1.0) * width,
        2 * float(stdtr(nu, -abs(difference) / error)) if error > 0 else None,
        len(gaps),
    )


@dataclass(frozen=True)
class Weighted:
    """The difference estimator under known inclusion probabilities, with the design's standard error."""

    estimate: float
    rectifier: float
    error: float


def inverse_probability(judge: Floats, human: Floats, probability: Floats, *, ratio: bool = True) -> Weighted:
    """The corrected mean from labels drawn independently with any known probabilities.

    Args:
        judge: The judge's values of all answers.
        human: People's values, NaN where not drawn.
        probability: With which each answer was drawn; read only where it was.
        ratio: Divide by the sum of the weights (Hájek 1971) rather than by their number (Horvitz & Thompson 1952):
            steadier, and right also where only a random part of what was drawn has been labelled.

    Raises:
        ValueError: there is no label, or a probability is not in (0, 1].
    """
    drawn = ~np.isnan(human)
    pi, n = probability[drawn], len(judge)
    if not drawn.any():
        raise ValueError("no label")
    if not ((pi > 0) & (pi <= 1)).all():
        raise ValueError("a label's inclusion probability must be above 0 and at most 1")
    error = human[drawn] - judge[drawn]
    total = float((1 / pi).sum()) if ratio else float(n)
    rectifier = float((error / pi).sum()) / total
    residual = error - rectifier if ratio else error
    variance = float(((1 - pi) / pi**2 * residual**2).sum()) / total**2
    return Weighted(float(judge.mean()) + rectifier, rectifier, variance**0.5)


@dataclass(frozen=True)
class Tuned:
    """PPI++ (Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453): the judge's part weighed by `power`."""

    estimate: float
    error: float
    power: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The normal interval."""
        half = float(ndtri((1 + level) / 2)) * self.error
        return self.estimate - half, self.estimate + half


def tuned(judge: Floats, human: Floats, unlabelled: Floats, power: float | None = None) -> Tuned:
    """PPI++ for labels drawn at random from the whole frame.

    Args:
        judge: The judge's values of the labelled answers.
        human: People's values of them.
        unlabelled: The judge's values of the others.
        power: Weight of the judge's part: 1 is plain PPI, 0 leaves the judge aside; None estimates it, which
            `untunable` says when to refrain from.
    """
    n, m = len(human), len(unlabelled)
    if power is None:
        every = np.concatenate([judge, unlabelled])
        together = float(((judge - every.mean()) * (human - human.mean())).mean())
        spread = float(every.var(ddof=1))
        power = min(max(together / ((1 + n / m) * spread), 0.0), 1.0) if spread > 0 else 0.0
    left = human - power * judge
    estimate = power * float(unlabelled.mean()) + float(left.mean())
    variance = power**2 * float(unlabelled.var()) / m + float(left.var()) / n
    return Tuned(estimate, variance**0.5, power)


def untunable(frame: Frame) -> str:
    """Why the weight of the judge's part must not be estimated from these labels, or an empty text.

    With fewer labels or positives the estimated weight makes the interval cover 76-90% rather than 95%.
    """
    y = frame.on_unit(frame.human[frame.labelled])
    if sum(1 for _, size in frame.counts if size) > 1:
        return "the labels were drawn by strata"
    if len(y) < TUNING_LABELS or float((y >= 0.5).sum()) < TUNING_POSITIVES:
        return f"fewer than {TUNING_LABELS} labels or {TUNING_POSITIVES} positive ones"
    return "" if not frame.labelled.all() else "every answer is labelled"


def _dispersion(frame: Frame) -> float:
    """Variance of the answers in units of `m (1 - m)`; 1 for yes/no answers, and where it is unknown."""
    found = [1e-9]
    for values in (frame.on_unit(frame.judge), frame.on_unit(frame.human[frame.labelled])):
        room = float(values.mean() * (1 - values.mean()))
        found.append(float(values.var()) / room if room > 0 else 1.0)
    return min(max(found), 1.0)


def _between(frame: Frame, outcome: Floats, scope: Scope) -> tuple[float, float]:
    """Variance of the mean between prompts, and between seeds besides; with Satterthwaite's degrees of freedom."""
    prompts = np.unique(frame.prompt)
    means = _means(frame.prompt, outcome, prompts)
    variance, nu = float(means.var(ddof=1)) / len(means), len(means) - 1
    if scope is Scope.SEEDS_PROMPTS:
        seeds = _seed_means(frame, outcome)
        by_seed = float(seeds.var(ddof=1)) / len(seeds)
        by_prompt, least, most = variance, min(nu, len(seeds) - 1), nu + len(seeds) - 1
        variance = max(by_prompt + by_seed - _within(frame, outcome), by_prompt, by_seed)
        spread = by_prompt**2 / (len(means) - 1) + by_seed**2 / (len(seeds) - 1)
        return variance, float(np.clip(variance**2 / spread if spread > 0 else least, least, most))
    return variance, float(nu)


def _within(frame: Frame, outcome: Floats) -> float:
    """What further runs alone would add to the variance of the mean: counted once, not by seed and prompt both."""
    assert frame.seed is not None
    cell = np.unique(np.column_stack([frame.seed, frame.prompt]), axis=0, return_inverse=True)[1].ravel()
    size = np.bincount(cell)
    means = np.bincount(cell, outcome) / size
    residual = float(((outcome - means[cell]) ** 2).sum()) / max(len(outcome) - len(size), 1)
    return residual / len(outcome)


def _seed_means(frame: Frame, outcome: Floats) -> Floats:
    if frame.seed is None:
        return np.empty(0)
    return _means(frame.seed, outcome, np.unique(frame.seed))


def _means(code: Codes, outcome: Floats, wanted: Codes) -> Floats:
    """Mean outcome of each of the wanted codes, which all occur."""
    place = np.searchsorted(wanted, code)
    here = (place < len(wanted)) & (wanted[np.minimum(place, len(wanted) - 1)] == code)
    return np.bincount(place[here], outcome[here], len(wanted)) / np.bincount(
        place[here], minlength=len(wanted)
    )

# pyright: reportMissingTypeStubs=false
"""How a judge errs: sensitivity, specificity and bias against people's labels, and whether conditions differ in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, ndtr, ndtri

from stats.intervals import Interval, wilson_bounds

if TYPE_CHECKING:
    import numpy.typing as npt

    from stats.correction import Frame

    Bools = npt.NDArray[np.bool_]

MIN_COMPARED = 10
"""Labels of a kind in each group, from which on their errors are compared."""
MIN_SHARPNESS = 1.2
"""Least sum of sensitivity and specificity at which dividing by their excess over 1 makes sense."""


@dataclass(frozen=True)
class Confusion:
    """A judge against a reference on yes/no questions; counts may be weighted."""

    tp: float
    fp: float
    fn: float
    tn: float

    @property
    def n(self) -> float:
        """All items."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def prevalence(self) -> float | None:
        """Share that the reference calls true."""
        return (self.tp + self.fn) / self.n if self.n else None

    def rates(self) -> dict[str, Interval]:
        """Sensitivity, specificity and the two predictive values, with Wilson intervals."""
        return {
            "sensitivity": _share(self.tp, self.tp + self.fn),
            "specificity": _share(self.tn, self.tn + self.fp),
            "ppv": _share(self.tp, self.tp + self.fp),
            "npv": _share(self.tn, self.tn + self.fn),
        }

    def bias_p(self) -> float:
        """Exact two-sided McNemar test of whether the judge errs in one direction (McNemar 1947)."""
        apart = round(self.fp + self.fn)
        return min(2 * float(bdtr(round(min(self.fp, self.fn)), apart, 0.5)), 1.0) if apart else 1.0


@dataclass(frozen=True)
class Ratio:
    """A share estimated from a stratified sample."""

    value: float | None
    low: float | None
    high: float | None
    error: float | None
    """The design's standard error."""
    n: int
    """Labels that it rests on."""
    reason: str = ""


def accuracy(frame: Frame) -> dict[str, Ratio]:
    """Sensitivity and specificity over the whole frame, from its labels by strata.

    A label stands for all the answers of its stratum that it was drawn from; unweighted, a queue that is rich in
    disputed answers makes a judge look worse than it is. Values of 0.5 and more count as true.
    """
    judge = frame.on_unit(frame.judge) >= 0.5
    human = frame.on_unit(frame.human) >= 0.5
    return {
        "sensitivity": _ratio(frame, judge & human, human & frame.labelled),
        "specificity": _ratio(frame, ~judge & ~human & frame.labelled, ~human & frame.labelled),
    }


@dataclass(frozen=True)
class Transported:
    """A rate corrected by a judge's sensitivity and specificity."""

    estimate: float | None
    error: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def rogan_gladen(
    apparent: float, n: int, sensitivity: float, positives: float, specificity: float, negatives: float
) -> Transported:
    """The rate that an apparent rate stands for, if the judge errs as known from elsewhere (Rogan & Gladen 1978).

    Args:
        apparent: The judge's rate over `n` answers.
        n: Number of answers.
        sensitivity: Share of true answers that the judge calls true; from `positives` labels.
        positives: Number of labels, or the effective number.
        specificity: Share of false answers that the judge calls false; from `negatives` labels.
        negatives: Number of labels, or the effective number.
    """
    sharpness = sensitivity + specificity - 1
    if sensitivity + specificity < MIN_SHARPNESS:
        return Transported(
            None,
            None,
            reason=f"sensitivity + specificity is {sensitivity + specificity:.2f}: too close to chance",
        )
    if not positives or not negatives:
        return Transported(None, None, reason="no positive or no negative label")
    true = (apparent + specificity - 1) / sharpness
    variance = (
        apparent * (1 - apparent) / n
        + (1 - true) ** 2 * specificity * (1 - specificity) / negatives
        + true**2 * sensitivity * (1 - sensitivity) / positives
    ) / sharpness**2
    error = variance**0.5
    half = float(ndtri(0.975)) * error
    estimate, low, high = np.clip([true, true - half, true + half], 0.0, 1.0).tolist()
    return Transported(estimate, error, low, high)


@dataclass(frozen=True)
class Differential:
    """Whether a judge reads two groups alike: the difference of one of its errors between them."""

    what: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    reason: str = ""


def differential_error(one: Frame, other: Frame) -> list[Differential]:
    """The judge's errors in one group less those in another, with a normal test of each.

    For yes/no answers sensitivity and specificity, for scores the mean of the label less the judge's score.
    A correction that both groups share is biased where these differ.
    """
    if one.scale == (0.0, 1.0):
        pairs = zip(accuracy(one).items(), accuracy(other).values(), strict=True)
        return [_compared(name, a, b) for (name, a), b in pairs]
    return [_compared("label - judge", _signed(one), _signed(other))]


def noise_floor(disagreement: float) -> float | None:
    """The error rate of two equally good annotators who disagree this often; the least rate one of them can see.

    Their errors are taken as symmetric and independent: D = 2 e (1 - e). None above one half.
    """
    return (1 - (1 - 2 * disagreement) ** 0.5) / 2 if disagreement <= 0.5 else None


def without_noise(apparent: float, error: float) -> float:
    """The rate behind an annotator's apparent rate at a symmetric error rate below one half; clipped to [0, 1]."""
    return min(max((apparent - error) / (1 - 2 * error), 0.0), 1.0)


def _share(part: float, whole: float) -> Interval:
    if whole < 1e-9:
        return Interval(None, None, None, None, 0, reason="no such item")
    share = min(max(part / whole, 0.0), 1.0)
    low, high = wilson_bounds(share, whole, float(ndtri(0.975)))
    return Interval(share, low, high, None, round(whole), whole)


def _ratio(frame: Frame, part: Bools, whole: Bools) -> Ratio:
    """Share of `part` in `whole` with the linearised variance of the stratified draw (Särndal et al. 1992, 5.6)."""
    n = int(whole.sum())
    if n == 0:
        return Ratio(None, None, None, None, 0, "no label of this kind")
    counts = frame.counts
    inflate = np.array([size / labels if labels else 0.0 for labels, size in counts])[frame.stratum]
    if any(size and not labels for labels, size in counts):
        return Ratio(None, None, None, None, n, "a stratum has no label")
    total = float((inflate * whole).sum())
    value = float((inflate * part).sum()) / total
    residual = (part.astype(float) - value) * whole / total
    variance = 0.0
    for code, (labels, size) in enumerate(counts):
        if labels > 1:
            here = frame.labelled & (frame.stratum == code)
            variance += size**2 * (1 - labels / size) * float(residual[here].var(ddof=1)) / labels
    weights = inflate[whole]
    independent = float(weights.sum() ** 2 / (weights**2).sum())
    n_eff = min(value * (1 - value) / variance, n) if variance > 0 and 0 < value < 1 else independent
    low, high = wilson_bounds(value, n_eff, float(ndtri(0.975)))
    return Ratio(value, low, high, variance**0.5, n)


def _signed(frame: Frame) -> Ratio:
    n = int(frame.labelled.sum())
    if any(size and labels < 2 for labels, size in frame.counts):
        return Ratio(None, None, None, None, n, "a stratum has fewer than two labels")
    mean, variance, every = 0.0, 0.0, len(frame.judge)
    for code, (labels, size) in enumerate(frame.counts):
        if size:
            gap = (frame.human - frame.judge)[frame.labelled & (frame.stratum == code)]
            mean += size / every * float(gap.mean())
            variance += (size / every) ** 2 * float(gap.var(ddof=1)) / labels
    return Ratio(mean, None, None, variance**0.5, n)


def _compared(what: str, one: Ratio, other: Ratio) -> Differential:
    if one.value is None or other.value is None:
        return Differential(what, None, None, None, None, one.reason or other.reason)
    difference = one.value - other.value
    if min(one.n, other.n) < MIN_COMPARED:
        few = f"too few labels of this kind to compare: {one.n} and {other.n} of {MIN_COMPARED}"
        return Differential(what, difference, None, None, None, few)
    error = float(np.hypot(_spread(one), _spread(other)))
    if error == 0:
        return Differential(what, difference, None, None, None, "no spread among the labels")
    half = float(ndtri(0.975)) * error
    return Differential(
        what, difference, difference - half, difference + half, 2 * float(ndtr(-abs(difference) / error))
    )


def _spread(ratio: Ratio) -> float:
    """The standard error; of a share that which its interval stands for, as no seen error is not no error."""
    if ratio.low is None or ratio.high is None:
        return ratio.error or 0.0
    return (ratio.high - ratio.low) / 2 / float(ndtri(0.975))

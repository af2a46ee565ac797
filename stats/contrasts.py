# pyright: reportMissingTypeStubs=false
"""Contrasts of one group of models with another, paired by prompt, and the adjustment for many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr, stdtrit

from stats.intervals import (
    Counting,
    Interval,
    Prior,
    Scope,
    Summary,
    bounded_freedom,
    default_prior,
    interval,
    moderated,
    summarise_cells,
    variance_terms,
)
from stats.variance import PROMPT, SEED, Cells, Floats, components, on_prompts

if TYPE_CHECKING:
    import numpy.typing as npt

_MIN_INFORMATIVE = 5
"""Informative prompts of both arms together below which the paired t is not to be trusted."""


@dataclass(frozen=True)
class Difference:
    """Treated minus baseline on the prompts that both answered; what could not be computed is None."""

    difference: float | None
    """On the scale of the values."""
    low: float | None
    high: float | None
    p: float | None
    """Two-sided p value of no difference; None where only an interval is given."""
    prompts: int
    """Number of prompts in common."""
    moved: int
    """Number of prompts on which the treated mean is above the baseline's."""
    nu: float | None = None
    method: str = ""
    """Id of the method in `stats.methods`."""
    reason: str = ""


def contrast(
    treated: Summary,
    baseline: Summary,
    *,
    priors: tuple[Prior | None, Prior | None] = (None, None),
    level: float = 0.95,
    counting: Counting = "guarded",
) -> Difference:
    """The difference of two groups for new prompts, and for new training seeds of an arm that has several.

    The difference is the mean over prompts of the difference of the arms' prompt means. Its variance is that of
    the prompt differences plus each arm's variance between training seeds, which is shrunk and counted as in the
    arm's own interval (`stats.intervals.Counting`); for one model in each arm this is the paired t. Near an end of
    the scale, or if all prompts differ equally, the two arms' intervals are combined instead (MOVER: Newcombe 1998;
    Zou & Donner 2008), without a p value.

    Args:
        treated: Summary whose prompt labels agree with those of the baseline.
        baseline: Summary on the same scale.
        priors: Priors of the two arms' intervals.
        level: Probability that the interval is meant to cover with.
        counting: How much is trusted to estimated variances; `plain` takes those between seeds as they come, with
            Satterthwaite's degrees of freedom.
    """
    if treated.cells is None or baseline.cells is None:
        side = "treated" if treated.cells is None else "baseline"
        return Difference(None, None, None, None, 0, 0, reason=f"no answers of the {side} group")
    common = np.intersect1d(treated.cells.labels, baseline.cells.labels)
    arms = [_restricted(arm, common) for arm in (treated, baseline)]
    data = [arm.cells for arm in arms if arm.cells is not None]
    if len(data) < 2:
        return Difference(None, None, None, None, 0, 0, reason="no prompt in common")
    gaps = prompt_means(data[0]) - prompt_means(data[1])
    width = treated.scale[1] - treated.scale[0]
    difference = float(gaps.mean()) * width
    counts = len(gaps), int((gaps > 0).sum())
    if len(gaps) == 1:
        return Difference(difference, None, None, None, *counts, reason="one prompt in common: no interval")
    if counting == "plain":
        variance, nu = _plain_variance(gaps, data)
    else:
        variance, nu = _guarded_variance(gaps, arms, priors)
    if sum(arm.informative[PROMPT] for arm in arms) < _MIN_INFORMATIVE or variance < 1e-20:
        sides = [
            interval(arm, widest_scope(arm), p, level=level, counting=counting)
            for arm, p in zip(arms, priors, strict=True)
        ]
        low, high, reason = mover(difference, *sides)
        return Difference(difference, low, high, None, *counts, method="mover", reason=reason)
    error = float(np.sqrt(variance)) * width
    half = float(stdtrit(nu, (1 + level) / 2)) * error
    return Difference(
        difference,
        max(difference - half, -width),
        min(difference + half, width),
        2 * float(stdtr(nu, -abs(difference) / error)),
        *counts,
        nu,
        "paired-t",
    )


def widest_scope(summary: Summary) -> Scope:
    """New training seeds and prompts for a group with several training seeds, else new prompts."""
    several = summary.cells is not None and summary.cells.seeds > 1
    return Scope.SEEDS_PROMPTS if several else Scope.PROMPTS


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's (1979) adjusted p values: the chance of any false rejection in the family."""
    return _adjusted(np.asarray(p, float), down=True)


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Benjamini & Hochberg's (1995) q values: the share of false rejections."""
    return _adjusted(np.asarray(p, float))


def benjamini_yekutieli(p: npt.ArrayLike) -> Floats:
    """Benjamini & Yekutieli's (2001) q values, which hold under any dependence of the tests."""
    values = np.asarray(p, float)
    return _adjusted(values, float((1 / np.arange(1, len(values) + 1)).sum()))


def mover(difference: float, treated: Interval, baseline: Interval) -> tuple[float | None, float | None, str]:
    """Bounds of a difference of two independent estimates from their own intervals, or None and the reason."""
    sides: list[tuple[float, float]] = []
    for name, side in (("treated", treated), ("baseline", baseline)):
        if side.estimate is None or side.low is None or side.high is None:
            return None, None, f"the {name} group has no interval: {side.reason}"
        sides.append((side.estimate - side.low, side.high - side.estimate))
    (below, above), (base_below, base_above) = sides
    return (
        difference - float(np.hypot(below, base_above)),
        difference + float(np.hypot(above, base_below)),
        "",
    )


def _restricted(summary: Summary, labels: npt.NDArray[np.generic]) -> Summary:
    if summary.cells is None or len(labels) == summary.cells.prompts:
        return summary
    data = on_prompts(summary.cells, labels)
    return Summary(0, summary.scale) if data is None else summarise_cells(data, summary.scale)


def prompt_means(data: Cells) -> Floats:
    """By prompt the mean of its cells: every training seed counts alike."""
    return np.bincount(data.prompt, data.mean) / np.bincount(data.prompt)


def _guarded_variance(
    gaps: Floats, arms: list[Summary], priors: tuple[Prior | None, Prior | None]
) -> tuple[float, float]:
    """Variance of the mean difference, and its degrees of freedom."""
    terms = {PROMPT: float(gaps.var(ddof=1)) / len(gaps)}
    df: dict[str, float] = {PROMPT: len(gaps) - 1}
    for place, (arm, prior) in enumerate(zip(arms, priors, strict=True)):
        if SEED in arm.df and arm.mean is not None:
            _, parts = variance_terms(arm, prior or default_prior(arm.scale))
            name = f"{SEED} {place}"
            terms[name] = arm.mean * (1 - arm.mean) * parts[SEED]
            df[name] = moderated(arm.df, "guarded")[SEED]
    if sum(terms.values()) <= 0:
        return 0.0, float(min(df.values()))
    return sum(terms.values()), bounded_freedom(terms, df)


def _plain_variance(gaps: Floats, arms: list[Cells]) -> tuple[float, float]:
    """Variance of the mean difference, and its degrees of freedom.

    With seeds S, prompts J and mean squares MS of the differences by seed and prompt, the balanced case of one
    arm with seeds against one model is (MS_S + MS_J - MS_SJ) / (S J), at least max(MS_S, MS_J) / (S J).
    """
    by_prompt = float(gaps.var(ddof=1)) / len(gaps)
    variance, between = by_prompt, 0.0
    spread = by_prompt**2 / (len(gaps) - 1)
    least, most = len(gaps) - 1, len(gaps) - 1
    for data in arms:
        if data.seeds == 1:
            continue
        size = np.bincount(data.seed)
        by_seed = float((np.bincount(data.seed, data.mean) / size).var(ddof=1)) / data.seeds
        means = Cells(
            data.seed, data.prompt, np.ones_like(data.n), data.mean, data.squares * 0, data.seeds, data.labels
        )
        pure = components(means)[SEED] * float((size**2).sum()) / len(data.n) ** 2
        crossed = max(by_seed - pure, 0.0)
        variance += max(pure, 0.0)
        between += by_seed
        spread += by_seed**2 / (data.seeds - 1)
        spread += crossed**2 / ((data.seeds - 1) * max(len(gaps) - 1, 1))
        least, most = min(least, data.seeds - 1), most + data.seeds - 1
    variance = max(variance, between)
    nu = variance**2 / spread if spread > 0 else float(least)
    return variance, float(np.clip(nu, least, most))


def _adjusted(p: Floats, penalty: float = 1.0, *, down: bool = False) -> Floats:
    """Step-down (Holm) or step-up adjustment, in the order of the input."""
    n = len(p)
    order = np.argsort(p)
    rank = np.arange(1, n + 1)
    if down:
        stepped = np.maximum.accumulate(p[order] * (n - rank + 1))
    else:
        stepped = np.minimum.accumulate((p[order] * n * penalty / rank)[::-1])[::-1]
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted

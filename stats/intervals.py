# pyright: reportMissingTypeStubs=false
"""The interval engine: one method for rates, means of scores and shares of high scores.

A mean over training seeds, prompts and runs is put on [0, 1], its variance is split by factor, the shares are shrunk
towards what the study's other preferences show, and the variance that the chosen scope lets vary is turned into an
effective sample size for a Wilson interval with a t quantile. So the interval never has zero width, never leaves
the scale, and needs no resampling. Sources: Wilson (1927); Korn & Graubard (1998) and Franco et al. (2019) for
Wilson on an effective sample size; Satterthwaite (1946) and Smyth (2004) for the degrees of freedom; Searle, Casella &
McCulloch (1992) for the variance components.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import ndtri, stdtrit

from stats.variance import CELL, PROMPT, RUN, SEED, Cells, cells, components, shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt


class Scope(StrEnum):
    """What an interval lets vary: the question that it answers."""

    RUNS = "runs"
    """These models on these prompts, run again."""
    PROMPTS = "prompts"
    """These models on new prompts like these."""
    SEEDS = "seeds"
    """New training seeds of the recipe on these prompts."""
    SEEDS_PROMPTS = "seeds+prompts"
    """New training seeds on new prompts."""


_VARYING = {
    Scope.RUNS: (RUN,),
    Scope.PROMPTS: (PROMPT, CELL, RUN),
    Scope.SEEDS: (SEED, CELL, RUN),
    Scope.SEEDS_PROMPTS: (SEED, PROMPT, CELL, RUN),
}

Counting = Literal["guarded", "plain"]
"""How much is trusted to variances that few levels tell.

`plain`: the prior weighs as one informative level, and degrees of freedom are Satterthwaite's (1946).

`guarded`: it weighs as two, so that a preference whose prompts happen to look alike is not taken at its word; as in
moderated tests (Smyth 2004) these two add to the degrees of freedom of prompts and of training seeds. There are never
more degrees of freedom than those of the largest term in the scope: the plain count trusts estimated terms as if they
were known, and with skewed scores the largest one is too small just when the count is large. In one model, where at
least half of the prompts are informative and they differ no more than runs do, all answers count."""

_MAX_FACTOR_SHARE = 0.98
_PRIOR_LEVELS = {"guarded": 2.0, "plain": 1.0}
"""Weight of the prior, in informative levels of a factor."""
_MIN_POOLED_LEVELS = 10
_MAX_PRIOR_SHARE = 0.95


@dataclass(frozen=True)
class Prior:
    """What is assumed where the data say little: shares of the total variance, and the dispersion."""

    seed: float = 0.05
    prompt: float = 0.30
    cell: float = 0.05
    dispersion: float = 1.0
    """Total variance in units of `m (1 - m)`, the most that a variable on [0, 1] with mean m can have."""


RATE_PRIOR = Prior()
SCORE_PRIOR = Prior(dispersion=0.35)


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided interval; what could not be computed is None and `reason` says why."""

    estimate: float | None
    """Mean of the cell means, on the scale of the values."""
    low: float | None
    high: float | None
    scope: Scope | None
    n: int
    """Number of values."""
    n_eff: float | None = None
    """Number of independent yes/no answers that would be as informative."""
    nu: float | None = None
    """Degrees of freedom of the t quantile."""
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    """Shrunk shares of the total variance by `seed`, `prompt`, `cell` and `run`, as far as the layout has them."""
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Summary:
    """All that the intervals of one estimate need: computed once, used for every scope and prior."""

    n: int
    scale: tuple[float, float]
    cells: Cells | None = None
    """The values on [0, 1] by training seed and prompt; None without values."""
    mean: float | None = None
    """On [0, 1]; None without values."""
    dispersion: float | None = None
    """On [0, 1]; None where every value is at the same end of the scale."""
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    """Raw shares of the variance."""
    informative: Mapping[str, int] = field(default_factory=dict[str, int])
    """For each factor the number of its levels with a mean off the lower end of the scale, or off the upper end,
    whichever is smaller; `prompt` is always present."""
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """For each factor and `run`, the sum of its levels' squared weights in the mean."""
    df: Mapping[str, int] = field(default_factory=dict[str, int])


def summarise(
    y: npt.ArrayLike,
    prompt: npt.ArrayLike,
    seed: npt.ArrayLike | None = None,
    *,
    scale: tuple[float, float] = (0.0, 1.0),
) -> Summary:
    """Sum up the values of one estimate.

    Args:
        y: Values, finite and within `scale`; 0 and 1 for a rate.
        prompt: For each value its prompt or seed instruction (any labels).
        seed: For each value its training seed; None for one fixed model.
        scale: Least and greatest possible value.

    Raises:
        ValueError: a value is not finite or not within `scale`.
    """
    values = np.asarray(y, float)
    low, high = scale
    if len(values) == 0:
        return Summary(0, scale)
    if not (values.min() >= low and values.max() <= high):
        raise ValueError(f"values must lie within {low:g} and {high:g}")
    return summarise_cells(cells((values - low) / (high - low), prompt, seed), scale)


def summarise_cells(data: Cells, scale: tuple[float, float]) -> Summary:
    """Sum up cells whose values have been put on [0, 1]; `scale` is the one they came from."""
    mean = float(data.mean.mean())
    square = float((data.squares / data.n + (data.mean - mean) ** 2).mean())
    spread = mean * (1 - mean)
    return Summary(
        n=data.total,
        scale=scale,
        cells=data,
        mean=mean,
        dispersion=min(square / spread, 1.0) if spread > 1e-12 else None,
        shares=shares(components(data)),
        informative={name: _informative(data, name) for name in {PROMPT, *data.factors}},
        weights={name: _squared_weights(data, name) for name in (*data.factors, RUN)},
        df=_degrees(data),
    )


def interval(
    summary: Summary,
    scope: Scope,
    prior: Prior | None = None,
    *,
    level: float = 0.95,
    counting: Counting = "guarded",
) -> Interval:
    """The interval of one summary.

    Args:
        summary: What `summarise` gave.
        scope: What is let vary.
        prior: What shares are shrunk to; by default that of rates on a scale of 0 to 1, of scores otherwise.
        level: Probability that the interval is meant to cover with.
        counting: How much is trusted to estimated variances.
    """
    if summary.cells is None or summary.mean is None:
        return Interval(None, None, None, scope, 0, reason="no answers")
    low, high = summary.scale
    estimate = low + summary.mean * (high - low)
    missing = _obstacle(summary, summary.cells, scope)
    if missing:
        return Interval(estimate, None, None, scope, summary.n, reason=missing)
    prior = prior or default_prior(summary.scale)
    part, terms = variance_terms(summary, prior, counting)
    in_scope = [name for name in _VARYING[scope] if name in terms]
    n_eff = 1 / sum(terms[name] for name in in_scope)
    nu = _freedom(summary, terms, in_scope, counting)
    bounds = wilson_bounds(summary.mean, n_eff, float(stdtrit(nu, (1 + level) / 2)))
    return Interval(
        estimate,
        low + bounds[0] * (high - low),
        low + bounds[1] * (high - low),
        scope,
        summary.n,
        n_eff,
        nu,
        part,
    )


def variance_terms(
    summary: Summary, prior: Prior, counting: Counting = "guarded"
) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the variance, shrunk, and what each adds to the variance of the mean, in units of `m (1 - m)`."""
    levels = _PRIOR_LEVELS[counting]
    part = _shrunk_shares(summary, prior, levels)
    terms = {name: part[name] * summary.weights[name] for name in part}
    dispersion = _shrunk_dispersion(summary, prior, levels) / (1 - sum(terms.values()))
    return part, {name: dispersion * term for name, term in terms.items()}


def estimate(
    y: npt.ArrayLike,
    prompt: npt.ArrayLike,
    seed: npt.ArrayLike | None = None,
    *,
    scope: Scope,
    scale: tuple[float, float] = (0.0, 1.0),
    prior: Prior | None = None,
    level: float = 0.95,
    counting: Counting = "guarded",
) -> Interval:
    """`summarise` and `interval` in one step, for a single estimate."""
    return interval(summarise(y, prompt, seed, scale=scale), scope, prior, level=level, counting=counting)


def default_prior(scale: tuple[float, float]) -> Prior:
    """The prior without other preferences to learn from: of rates on a scale of 0 to 1, of scores otherwise."""
    return RATE_PRIOR if scale == (0.0, 1.0) else SCORE_PRIOR


def pooled_priors(summaries: Sequence[Summary]) -> list[Prior]:
    """For each summary the prior that the others support.

    The summaries are those of one group of models in one mode, one for each preference. A share is the mean over
    the other preferences weighted by their informative levels, or the default where these are fewer than ten. The
    share of prompts is taken one standard deviation above that mean: a preference whose own answers say little may be
    one of those with the larger shares. It is the deviation between preferences, found by moments as in a meta-analysis
    (DerSimonian & Laird 1986), without what the few prompts of each make its estimate vary by.
    """
    if not summaries:
        return []
    default = default_prior(summaries[0].scale)

    def pooled(name: str, values: list[float | None], fallback: float, *, above: bool = False) -> list[float]:
        known = np.array([value is not None for value in values])
        numbers = np.array([value or 0.0 for value in values])
        weights = np.array([summary.informative.get(name, 0) for summary in summaries]) * known
        others = weights.sum() - weights
        means, squares = (
            np.maximum(weights @ x - weights * x, 0) / np.maximum(others, 1) for x in (numbers, numbers**2)
        )
        if above:
            noise = np.array([_share_noise(summary) for summary in summaries])
            noise = (weights @ noise - weights * noise) / np.maximum(others, 1)
            between = np.sqrt(np.maximum(squares - means**2 - noise, 0))
            means = np.minimum(means + between, _MAX_PRIOR_SHARE)
        return np.where(others >= _MIN_POOLED_LEVELS, means, fallback).tolist()

    columns = [
        pooled(
            name,
            [summary.shares.get(name) for summary in summaries],
            getattr(default, name),
            above=name == PROMPT,
        )
        for name in (SEED, PROMPT, CELL)
    ]
    columns.append(pooled(PROMPT, [summary.dispersion for summary in summaries], default.dispersion))
    return [Prior(*row) for row in zip(*columns, strict=True)]


def _share_noise(summary: Summary) -> float:
    """Sampling variance of the estimated share of prompts, an intraclass correlation (Donner 1986)."""
    if summary.cells is None or PROMPT not in summary.shares or summary.cells.prompts < 2:
        return 0.0
    share, repeats = summary.shares[PROMPT], summary.n / summary.cells.prompts
    if repeats <= 1:
        return 1.0
    spread = (1 - share) * (1 + (repeats - 1) * share)
    return 2 * spread**2 / (repeats * (repeats - 1) * (summary.cells.prompts - 1))


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval for a share of `n` independent answers (Wilson 1927)."""
    if n == 0:
        return Interval(None, None, None, None, 0, reason="no answers")
    share = successes / n
    low, high = wilson_bounds(share, n, float(ndtri((1 + level) / 2)))
    return Interval(share, low, high, None, n, float(n))


def wilson_bounds(mean: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's bounds for a mean on [0, 1] of `n` (possibly fractional) answers at a normal or t quantile."""
    q2 = quantile**2
    centre = (mean + q2 / (2 * n)) / (1 + q2 / n)
    half = quantile / (1 + q2 / n) * np.sqrt(mean * (1 - mean) / n + q2 / (4 * n * n))
    low = 0.0 if mean <= 0 else max(float(centre - half), 0.0)
    high = 1.0 if mean >= 1 else min(float(centre + half), 1.0)
    return low, high


def _obstacle(summary: Summary, data: Cells, scope: Scope) -> str:
    """Why there is no interval of this scope, or an empty text."""
    if summary.n == 1:
        return "one answer: no interval"
    if scope is not Scope.RUNS and data.prompts == 1:
        return "one prompt: only the scope `runs` has an interval"
    if SEED in _VARYING[scope] and data.seeds == 1:
        return "one training seed: seed-to-seed variation unknown"
    if scope is Scope.RUNS and not data.replicated:
        return "no prompt was answered twice by one model: run-to-run variation unknown"
    if min(summary.df.values()) < 1:
        return "too few answers for so many training seeds and prompts"
    return ""


def _informative(data: Cells, factor: str) -> int:
    level = data.levels(factor)
    above = np.count_nonzero(np.bincount(level, data.mean > 0))
    below = np.count_nonzero(np.bincount(level, data.mean < 1))
    return int(min(above, below))


def _squared_weights(data: Cells, factor: str) -> float:
    c = len(data.n)
    if factor == RUN:
        return float((1 / data.n).sum()) / c**2
    return float((np.bincount(data.levels(factor)) ** 2).sum()) / c**2


def _degrees(data: Cells) -> dict[str, int]:
    c, s, j = len(data.n), data.seeds, data.prompts
    df = {SEED: s - 1, PROMPT: j - 1, CELL: (s - 1) * (j - 1)}
    if data.replicated:
        df[RUN] = data.total - c
    else:
        df[RUN] = c - s - j + 1 if s > 1 and j > 1 else c - 1
    return {name: df[name] for name in (*data.factors, RUN)}


def _shrunk(value: float, informative: int, prior: float, levels: float) -> float:
    return (informative * value + levels * prior) / (informative + levels)


def _shrunk_shares(summary: Summary, prior: Prior, levels: float) -> dict[str, float]:
    part = {
        name: _shrunk(summary.shares[name], summary.informative[name], getattr(prior, name), levels)
        for name in summary.weights
        if name != RUN
    }
    excess = max(sum(part.values()) / _MAX_FACTOR_SHARE, 1.0)
    part = {name: value / excess for name, value in part.items()}
    return part | {RUN: 1.0 - sum(part.values())}


def _shrunk_dispersion(summary: Summary, prior: Prior, levels: float) -> float:
    if summary.dispersion is None:
        return prior.dispersion
    return _shrunk(summary.dispersion, summary.informative[PROMPT], prior.dispersion, levels)


def _freedom(
    summary: Summary, terms: Mapping[str, float], in_scope: Sequence[str], counting: Counting
) -> float:
    if SEED in summary.df or PROMPT not in in_scope:
        return degrees_of_freedom({name: terms[name] for name in in_scope}, summary.df, counting)
    alike = summary.shares.get(PROMPT, 1.0) <= 0 and 2 * summary.informative[PROMPT] > summary.df[PROMPT]
    return one_model_freedom(summary.df[PROMPT], summary.n, counting, alike=alike)


def one_model_freedom(prompts: float, n: float, counting: Counting = "guarded", *, alike: bool) -> float:
    """Degrees of freedom of one model's mean over new prompts; see `Counting`.

    Args:
        prompts: Those of the prompts.
        n: Answers.
        counting: How much is trusted to estimated variances.
        alike: Whether the prompts differ no more than runs do.
    """
    return n - 1 if alike and counting == "guarded" else moderated({PROMPT: prompts}, counting)[PROMPT]


def degrees_of_freedom(
    terms: Mapping[str, float], df: Mapping[str, float], counting: Counting = "guarded"
) -> float:
    """Degrees of freedom of a variance that is a sum of terms, at least those of the weakest term; see `Counting`."""
    return bounded_freedom(terms, moderated(df, counting), leading=counting == "guarded")


def bounded_freedom(terms: Mapping[str, float], df: Mapping[str, float], *, leading: bool = True) -> float:
    """Satterthwaite's degrees of freedom, at least those of the weakest term and, if wanted, at most the largest's."""
    spread = sum(value**2 / df[name] for name, value in terms.items())
    counted = max(sum(terms.values()) ** 2 / spread, float(min(df[name] for name in terms)))
    return min(counted, float(df[max(terms, key=lambda name: terms[name])])) if leading else counted


def moderated(df: Mapping[str, float], counting: Counting) -> dict[str, float]:
    """Degrees of freedom with those that the prior adds."""
    added = _PRIOR_LEVELS[counting] if counting == "guarded" else 0.0
    return {name: count + added * (name in (SEED, PROMPT)) for name, count in df.items()}

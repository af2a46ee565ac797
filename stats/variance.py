# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
"""Variance components of values crossed by training seed and prompt.

The model is `y = mean + seed + prompt + (seed x prompt) + run`, every term random; a *cell* is one training seed
on one prompt. One factor alone, and balanced data, are split by the analysis of variance; unbalanced crossed data
by REML on the cell means, which is exact for the normal model because the cell means and the sum of squares within
cells are sufficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import fdtri

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

SEED, PROMPT, CELL, RUN = "seed", "prompt", "cell", "run"

_MAX_RATIO = 2500.0
"""Largest variance of a factor in units of the run variance; without it cells that never vary have no optimum."""
_LEAST_RATIO = 1e-3
"""Where the search for such a ratio begins at the least: at 0 it would not see the slope."""
_NO_VARIANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Cells:
    """Values summed up by cell; empty cells do not occur. All arrays have one entry per cell."""

    seed: Codes
    """Training seed, coded 0 … `seeds` - 1."""
    prompt: Codes
    """Prompt, coded 0 … `prompts` - 1."""
    n: Floats
    mean: Floats
    squares: Floats
    """Sum of squares of the values around their cell's mean."""
    seeds: int
    labels: npt.NDArray[Any]
    """The prompts, in the order of their codes."""

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        return len(self.labels)

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.n.sum())

    @property
    def within(self) -> float:
        """Sum of squares within all cells."""
        return float(self.squares.sum())

    @property
    def balanced(self) -> bool:
        """Whether every training seed answered every prompt, and all equally often."""
        return len(self.n) == self.seeds * self.prompts and bool((self.n == self.n[0]).all())

    @property
    def replicated(self) -> bool:
        """Whether some cell holds more than one value, so that runs can be told from cells."""
        return self.total > len(self.n)

    @property
    def factors(self) -> tuple[str, ...]:
        """The factors whose variance the layout identifies, besides the runs.

        Where no cell has two values the finest factor cannot be told from the runs and counts as theirs.
        """
        crossed = self.seeds > 1 and self.prompts > 1
        if crossed:
            return (SEED, PROMPT, CELL) if self.replicated else (SEED, PROMPT)
        if not self.replicated or len(self.n) == 1:
            return ()
        return (SEED,) if self.seeds > 1 else (PROMPT,)

    def levels(self, factor: str) -> Codes:
        """For each cell, the level of `factor` it belongs to."""
        if factor == SEED:
            return self.seed
        return self.prompt if factor == PROMPT else np.arange(len(self.n))


def cells(y: npt.ArrayLike, prompt: npt.ArrayLike, seed: npt.ArrayLike | None = None) -> Cells:
    """Sum up values by training seed and prompt.

    Args:
        y: Finite values, at least one.
        prompt: For each value its prompt (any labels).
        seed: For each value its training seed; None for a model whose weights are fixed.
    """
    values = np.asarray(y, float)
    prompts, j = np.unique(np.asarray(prompt), return_inverse=True)
    s = np.zeros(len(values), np.intp)
    seeds = 1
    if seed is not None:
        labels, s = np.unique(np.asarray(seed), return_inverse=True)
        seeds = len(labels)
    code = s * len(prompts) + j
    counts = np.bincount(code)
    filled = np.flatnonzero(counts)
    means = np.bincount(code, values) / np.maximum(counts, 1)
    squares = np.bincount(code, (values - means[code]) ** 2).astype(float)
    return Cells(
        seed=filled // len(prompts),
        prompt=filled % len(prompts),
        n=counts[filled].astype(float),
        mean=means[filled],
        squares=squares[filled],
        seeds=seeds,
        labels=prompts,
    )


def on_prompts(data: Cells, labels: npt.NDArray[Any]) -> Cells | None:
    """The cells of the given prompts only; None where there are none."""
    keep = np.isin(data.labels, labels)[data.prompt]
    if not keep.any():
        return None
    seeds, seed = np.unique(data.seed[keep], return_inverse=True)
    prompts, prompt = np.unique(data.prompt[keep], return_inverse=True)
    return Cells(
        seed, prompt, data.n[keep], data.mean[keep], data.squares[keep], len(seeds), data.labels[prompts]
    )


def components(data: Cells) -> dict[str, float]:
    """Variance of each factor of `data.factors` and of `run`, in squared units of the values.

    The analysis of variance gives its raw estimates, which may be negative (Searle, Casella & McCulloch 1992);
    groups of unequal size enter with their effective size. Unbalanced crossed layouts have the REML estimates,
    which are never negative.
    """
    if _constant(data):
        return dict.fromkeys((*data.factors, RUN), 0.0)
    if data.seeds == 1 or data.prompts == 1:
        return _one_way(data)
    return _two_way(data) if data.balanced else _reml(data)


def shares(variances: Mapping[str, float]) -> dict[str, float]:
    """Each component's part of the total variance, negative components taken as 0; all 0 without any variance."""
    clipped = {name: max(value, 0.0) for name, value in variances.items()}
    total = sum(clipped.values())
    return {name: value / total if total > 0 else 0.0 for name, value in clipped.items()}


@dataclass(frozen=True)
class Icc:
    """An intraclass correlation with its 95% interval, or the reason why there is none."""

    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


def icc(y: npt.ArrayLike, group: npt.ArrayLike) -> Icc:
    """One-way intraclass correlation ICC(1) of values in groups (McGraw & Wong 1996).

    The estimate is the analysis of variance's and may be negative. The interval is that of the F ratio; with
    groups of unequal size it uses their effective size `n0` and is approximate.
    """
    values = np.asarray(y, float)
    if len(values) == 0:
        return Icc(None, None, None, "no values")
    data = cells(values, group)
    if len(data.n) < 2:
        return Icc(None, None, None, "one group: nothing to compare")
    if not data.replicated:
        return Icc(None, None, None, "one value in each group: groups and runs cannot be told apart")
    if _constant(data):
        return Icc(None, None, None, "all values are equal")
    df_between, df_within = len(data.n) - 1, data.total - len(data.n)
    between, size = _between(data)
    within = data.within / df_within
    value = (between - within) / (between + (size - 1) * within)
    if within == 0:
        return Icc(1.0, None, None, "no variation within the groups: no interval")
    if between <= 1e-12 * within:
        return Icc(value, None, None, "the groups' means are equal: no interval")
    ratio = between / within

    def at(f: float) -> float:
        return (f - 1) / (f + size - 1)

    low = at(ratio / float(fdtri(df_between, df_within, 0.975)))
    high = at(ratio * float(fdtri(df_within, df_between, 0.975)))
    return Icc(value, low, high)


def _constant(data: Cells) -> bool:
    """Whether all values are equal, up to the rounding of their means."""
    noise = 1e-13 * max(1.0, float(np.abs(data.mean).max()))
    return float(np.ptp(data.mean)) <= noise and data.within <= data.total * noise**2


def _one_way(data: Cells) -> dict[str, float]:
    if not data.replicated:
        return {RUN: float(data.mean.var(ddof=1)) if len(data.n) > 1 else 0.0}
    run = data.within / (data.total - len(data.n))
    if not data.factors:
        return {RUN: run}
    between, size = _between(data)
    return {data.factors[0]: (between - run) / size, RUN: run}


def _between(data: Cells) -> tuple[float, float]:
    """Mean square between the cells, and the effective number of values in a cell."""
    n, df = data.total, len(data.n) - 1
    grand = float(data.n @ data.mean) / n
    return float(data.n @ (data.mean - grand) ** 2) / df, (n - float(data.n @ data.n) / n) / df


def _two_way(data: Cells) -> dict[str, float]:
    grid = data.mean.reshape(data.seeds, data.prompts)
    seed_means, prompt_means = grid.mean(1), grid.mean(0)
    residual = grid - seed_means[:, None] - prompt_means + grid.mean()
    crossed = float((residual**2).sum()) / ((data.seeds - 1) * (data.prompts - 1))
    variances = {
        SEED: float(seed_means.var(ddof=1)) - crossed / data.prompts,
        PROMPT: float(prompt_means.var(ddof=1)) - crossed / data.seeds,
    }
    if not data.replicated:
        return variances | {RUN: crossed}
    run = data.within / (data.total - len(data.n))
    return variances | {CELL: crossed - run / float(data.n[0]), RUN: run}


def _reml(data: Cells) -> dict[str, float]:
    """Maximise the restricted likelihood over the factors' variances in units of the run variance.

    The covariance of the cell means is diagonal but for the seeds and prompts, so that all its algebra is done in
    matrices of the size seeds + prompts (Woodbury identity).
    """
    factors, df = data.factors, data.total - 1
    levels = np.zeros((len(data.n), data.seeds + data.prompts))
    levels[np.arange(len(data.n)), data.seed] = 1
    levels[np.arange(len(data.n)), data.seeds + data.prompt] = 1
    sizes = [data.seeds, data.prompts]
    starts = [0, data.seeds]
    centred = data.mean - data.mean.mean()
    fixed = np.stack([np.ones_like(centred), centred], 1)
    identity = np.eye(sum(sizes))

    def deviance(ratios: Floats) -> tuple[float, Floats, float]:
        """Minus twice the log-likelihood up to a constant, its gradient, and the run variance."""
        diagonal = 1 / data.n + (ratios[2] if CELL in factors else 0.0)
        ratio = np.repeat(ratios[:2], sizes)
        weighted = levels / diagonal[:, None]
        gram = levels.T @ weighted
        core = identity + gram * ratio
        inverse = np.linalg.inv(core)
        middle = ratio[:, None] * inverse
        solved = fixed / diagonal[:, None]
        solved = solved - weighted @ (middle @ (levels.T @ solved))
        precision = solved[:, 0].sum()
        scaled = solved[:, 1] - solved[:, 0] * (solved[:, 1].sum() / precision)
        squares = data.within + float(scaled @ centred)
        by_level = np.add.reduceat(np.diag(inverse @ gram), starts)
        effects = np.stack([solved[:, 0] / np.sqrt(precision), scaled * np.sqrt(df / squares)], 1)
        slope = by_level - np.add.reduceat((levels.T @ effects) ** 2, starts).sum(1)
        if CELL in factors:
            trace = (1 / diagonal).sum() - np.sum(middle.T * (weighted.T @ weighted))
            slope = np.append(slope, trace - (effects**2).sum())
        value = df * np.log(squares) + np.log(diagonal).sum() + np.linalg.slogdet(core)[1] + np.log(precision)
        return float(value), slope, squares / df

    def deviance_and_slope(ratios: Floats) -> tuple[float, Floats]:
        return deviance(ratios)[:2]

    fit: Any = minimize(
        deviance_and_slope,
        _moments(data),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, _MAX_RATIO)] * len(factors),
        # The likelihood is flat around its top: with the usual tolerances the search ends beside it.
        options={"ftol": 1e-13, "gtol": 1e-7, "maxls": 40},
    )
    ratios = _optimum(fit)
    run = deviance(ratios)[2]
    return {name: ratio * run for name, ratio in zip(factors, ratios.tolist(), strict=True)} | {RUN: run}


def _optimum(fit: Any) -> Floats:
    return fit.x


def _moments(data: Cells) -> Floats:
    """Variances in units of the run variance to begin the search with: of the cell means, as if none were empty."""
    grid = np.full((data.seeds, data.prompts), np.nan)
    grid[data.seed, data.prompt] = data.mean
    seed_means, prompt_means = np.nanmean(grid, 1), np.nanmean(grid, 0)
    residual = grid - seed_means[:, None] - prompt_means + np.nanmean(grid)
    crossed = float(np.nansum(residual**2)) / max(len(data.n) - data.seeds - data.prompts + 1, 1)
    variances = [
        float(seed_means.var(ddof=1)) - crossed / data.prompts,
        float(prompt_means.var(ddof=1)) - crossed / data.seeds,
    ]
    run = crossed
    if data.replicated:
        run = data.within / (data.total - len(data.n))
        variances.append(crossed - run * float((1 / data.n).mean()))
    return np.clip(np.array(variances) / max(run, _NO_VARIANCE), _LEAST_RATIO, _MAX_RATIO / 2)

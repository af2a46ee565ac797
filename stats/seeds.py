# pyright: reportMissingTypeStubs=false
"""Do the training seeds of a recipe differ by more than runs do?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stats.variance import SEED, Codes, Floats, cells, components

PERMUTATIONS = 9_999
_ROOM = 2_000_000
"""Values that are shuffled at a time."""


@dataclass(frozen=True)
class SeedTest:
    """A test of variation across training seeds; what could not be computed is None, and `reason` says why."""

    p: float | None = None
    """By permutation of the runs within each prompt: do these models differ on these prompts?"""
    p_interaction: float | None = None
    """By the same permutations, of any difference between seeds on any prompt (sum of squares between cells)."""
    f: float | None = None
    """Mean square between seeds over that of seed x prompt."""
    p_f: float | None = None
    """Of that F: would the difference show on other prompts?"""
    sd: float | None = None
    """Standard deviation between seeds, on the scale of the values; 0 where the estimated variance is negative."""
    sd_low: float | None = None
    sd_high: float | None = None
    detectable: float | None = None
    """The standard deviation between seeds that the F test would find in 80% of studies like this."""
    means: tuple[float, ...] = ()
    """Mean of each training seed over the prompts, in the order of the seeds' labels."""
    reason: str = ""

    @property
    def in_words(self) -> str:
        """The finding as a sentence that claims no more than was tested."""
        if self.p is None:
            return self.reason
        if self.p <= 0.05:
            return f"the training seeds differ (p = {self.p:.2g})"
        missed = "" if self.detectable is None else f" (could miss sd < {self.detectable:.2g})"
        return f"no difference between training seeds detected{missed}"


def seed_test(
    y: npt.ArrayLike,
    prompt: npt.ArrayLike,
    seed: npt.ArrayLike,
    *,
    permutations: int = PERMUTATIONS,
    random_seed: int = 0,
) -> SeedTest:
    """Test variation across training seeds.

    The permutation p is (b + 1) / (B + 1), never 0 (Phipson & Smyth 2010). Its statistic is the variance of the seeds'
    mean deviations from their prompts' means: in a balanced layout that of the seed means. F, the standard
    deviation's interval (from the F ratio, given the seed x prompt mean square) and the smallest detectable one need
    every seed to have answered every prompt; with unequal numbers of runs they are those of the cell means.

    Args:
        y: Values, one per run.
        prompt: For each value its prompt (any labels).
        seed: For each value its training seed.
        permutations: Number of permutations B.
        random_seed: Seed of the random generator.
    """
    values = np.asarray(y, float)
    if len(values) == 0:
        return SeedTest(reason="no answers")
    data = cells(values, prompt, seed)
    means = tuple((np.bincount(data.seed, data.mean) / np.bincount(data.seed)).tolist())
    if data.seeds < 2:
        return SeedTest(means=means, reason="one training seed: seed-to-seed variation unknown")
    if np.ptp(values) == 0:
        return SeedTest(means=means, reason="all values are equal")
    seeds = np.unique(np.asarray(seed), return_inverse=True)[1].astype(np.intp)
    prompts = np.unique(np.asarray(prompt), return_inverse=True)[1].astype(np.intp)
    p, p_interaction = _permuted(values, prompts, seeds, permutations, random_seed)
    if len(data.mean) < data.seeds * data.prompts:
        sd = float(np.sqrt(max(components(data)[SEED], 0.0)))
        reason = "a training seed did not answer every prompt: no F test"
        return SeedTest(p, p_interaction, sd=sd, means=means, reason=reason)
    if data.prompts < 2:
        reason = "one prompt: nothing is known of other prompts"
        return SeedTest(p, p_interaction, means=means, reason=reason)
    found = _by_f(data.mean.reshape(data.seeds, data.prompts))
    return replace(found, p=p, p_interaction=p_interaction, means=means)


def _by_f(grid: Floats) -> SeedTest:
    """F, its p, the seeds' standard deviation with its interval, and the smallest detectable one."""
    from scipy.special import fdtrc, fdtri

    seeds, prompts = grid.shape
    df, rest = seeds - 1, (seeds - 1) * (prompts - 1)
    by_seed, by_prompt = grid.mean(1), grid.mean(0)
    between = prompts * float(by_seed.var(ddof=1))
    crossed = float(((grid - by_seed[:, None] - by_prompt + grid.mean()) ** 2).sum()) / rest
    sd = float(np.sqrt(max(between - crossed, 0.0) / prompts))
    if crossed <= 1e-12 * max(between, 1e-300):
        return SeedTest(sd=sd, reason="the seeds differ equally on every prompt: no F test")
    ratio = between / crossed

    def sd_at(f: float) -> float:
        return float(np.sqrt(max(f - 1, 0.0) * crossed / prompts))

    return SeedTest(
        f=ratio,
        p_f=float(fdtrc(df, rest, ratio)),
        sd=sd,
        sd_low=sd_at(ratio / float(fdtri(df, rest, 0.975))),
        sd_high=sd_at(ratio * float(fdtri(rest, df, 0.975))),
        detectable=sd_at(float(fdtri(df, rest, 0.95)) / float(fdtri(df, rest, 0.2))),
    )


def _permuted(
    values: Floats, prompts: Codes, seeds: Codes, permutations: int, random_seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(random_seed)
    size = np.bincount(prompts)
    residual = values - (np.bincount(prompts, values) / size)[prompts]
    count = np.bincount(seeds)
    blocks = [np.flatnonzero(prompts == j) for j in range(len(size))]

    def statistics(data: list[Floats]) -> tuple[Floats, Floats]:
        """Of each row of the blocks' values: variance of the seed means, and sum of squares between cells."""
        total = np.zeros((len(data[0]), len(count)))
        between = np.zeros(len(data[0]))
        for block, found in zip(blocks, data, strict=True):
            member = seeds[block][:, None] == np.arange(len(count))
            sums = found @ member
            total += sums
            between += (sums**2 / np.maximum(member.sum(0), 1)).sum(1)
        return (total / count).var(1), between

    observed = statistics([residual[block][None] for block in blocks])
    # Rounding must not decide whether a permutation is as extreme as the data.
    bar = [float(one[0]) * (1 - 1e-9) for one in observed]
    least = [0, 0]
    step = max(_ROOM // len(values), 1)
    for start in range(0, permutations, step):
        rows = min(step, permutations - start)
        shuffled = [rng.permuted(np.tile(residual[block], (rows, 1)), axis=1) for block in blocks]
        for k, found in enumerate(statistics(shuffled)):
            least[k] += int(np.count_nonzero(found >= bar[k]))
    p = [(b + 1) / (permutations + 1) for b in least]
    return p[0], p[1]

"""How often the intervals of differences hold the truth, and how often a difference is found where there is none.

Run `python benchmarks/contrasts.py`. Each draw simulates a panel of preferences: a recipe with some training seeds
against one fixed model, on the same prompts. Beside the default stands the plain count, which takes the variance
between training seeds as it comes. In mixed panels, named with the sign `|`, every second preference has another share
of variance between training seeds and is not counted.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.coverage import MOSTLY, PANEL, SPREAD, Shape, rate
from stats.contrasts import contrast
from stats.intervals import Summary, pooled_priors, summarise

if TYPE_CHECKING:
    from stats.intervals import Counting
    from stats.variance import Floats

PROMPT_SHARE, CELL_SHARE = 0.2, 0.05
ALIKE = 0.7
"""Correlation of the two arms' prompts."""
COUNTINGS: tuple[Counting, Counting] = ("guarded", "plain")


@dataclass(frozen=True)
class Setting:
    """A recipe against one model."""

    treated: Shape
    baseline: Shape
    seeds: int
    seed_share: float
    company: float | None = None
    """`seed_share` of every second preference; by default the same."""

    @property
    def size(self) -> tuple[int, int]:
        """Prompts, and repeats of each."""
        return (10, 10) if self.treated.low == 0 else (8, 4)

    @property
    def truth(self) -> float:
        """The difference for new training seeds and prompts."""
        return self.treated.mean(np.zeros(1), 1.0) - self.baseline.mean(np.zeros(1), 1.0)

    def panel(self, rng: np.random.Generator) -> list[tuple[Summary, Summary]]:
        """Both arms of every preference, those that count first."""
        shares = [self.seed_share] * PANEL
        if self.company is not None:
            shares[PANEL // 2 :] = [self.company] * (PANEL // 2)
        return [self._arms(rng, share) for share in shares]

    def _arms(self, rng: np.random.Generator, share: float) -> tuple[Summary, Summary]:
        prompts, _ = self.size
        shared = rng.standard_normal(prompts)
        own = ALIKE * shared + math.sqrt(1 - ALIKE**2) * rng.standard_normal(prompts)
        return (
            self._arm(rng, self.treated, self.seeds, share, own),
            self._arm(rng, self.baseline, 1, 0.0, shared),
        )

    def _arm(
        self, rng: np.random.Generator, shape: Shape, seeds: int, share: float, prompt: Floats
    ) -> Summary:
        size = (seeds, *self.size)
        # One model's interaction with the prompts is part of their effect.
        prompt_share, cell_share = (
            (PROMPT_SHARE, CELL_SHARE) if seeds > 1 else (PROMPT_SHARE + CELL_SHARE, 0.0)
        )
        cells = math.sqrt(share) * rng.standard_normal((seeds, 1)) + math.sqrt(prompt_share) * prompt
        cells = cells + math.sqrt(cell_share) * rng.standard_normal(size[:2])
        rest = math.sqrt(1 - share - prompt_share - cell_share)
        latent = cells[..., None] + rest * rng.standard_normal(size)
        values = shape.low + np.searchsorted(shape.cuts, latent).astype(float)
        s, j, _ = np.indices(size)
        return summarise(values.ravel(), j.ravel(), s.ravel(), scale=shape.scale)


def measure(setting: Setting, draws: int, seed: int = 0) -> list[tuple[float, float, float]]:
    """For each way of counting: share of intervals that hold the truth, mean width, share of p below 0.05."""
    rng = np.random.default_rng(seed)
    counted = PANEL if setting.company is None else PANEL // 2
    results: list[list[tuple[float, float, float]]] = [[], []]
    for _ in range(math.ceil(draws / counted)):
        panel = setting.panel(rng)
        priors = zip(*(pooled_priors([arms[side] for arms in panel]) for side in (0, 1)), strict=True)
        for (treated, baseline), prior in list(zip(panel, priors, strict=True))[:counted]:
            for counting, rows in zip(COUNTINGS, results, strict=True):
                found = contrast(treated, baseline, priors=prior, counting=counting)
                if found.low is not None and found.high is not None:
                    held = found.low <= setting.truth <= found.high
                    rows.append((held, found.high - found.low, found.p is not None and found.p < 0.05))
    return [tuple(np.mean(rows, axis=0).tolist()) for rows in results]


def grid() -> list[Setting]:
    """The settings to simulate."""
    rates = [(rate(treated), rate(baseline)) for treated, baseline in ((0.1, 0.1), (0.5, 0.5), (0.4, 0.05))]
    arms = [*rates, (MOSTLY, MOSTLY), (SPREAD, MOSTLY)]
    return [
        Setting(*shapes, seeds, share, company)
        for shapes, seeds, (share, company) in product(arms, (2, 3, 6), ((0.1, None), (0.3, 0.02)))
    ]


def _measure(job: tuple[Setting, int, int]) -> list[tuple[float, float, float]]:
    return measure(*job)


def main() -> None:
    """Print one line for each setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=2000, help="simulated differences per setting")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random generator")
    arguments = parser.parse_args()
    settings = grid()
    started = time.perf_counter()
    print(f"{'treated':10}{'baseline':10}{'seeds':>6}{'share':>12}", end="")
    print("".join(f"{name + ' %':>11}{'width':>7}{'p < .05':>8}" for name in COUNTINGS))
    with ProcessPoolExecutor() as pool:
        jobs = [(setting, arguments.draws, arguments.seed) for setting in settings]
        for setting, found in zip(settings, pool.map(_measure, jobs), strict=True):
            share = f"{setting.seed_share:g}" + (f" | {setting.company:g}" if setting.company else "")
            numbers = "".join(f"{100 * held:11.1f}{width:7.2f}{100 * p:8.1f}" for held, width, p in found)
            print(
                f"{setting.treated.name:10}{setting.baseline.name:10}{setting.seeds:6}{share:>12}{numbers}",
                flush=True,
            )
    print(f"{len(settings)} settings, {arguments.draws} draws each; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

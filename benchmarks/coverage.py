"""How often the default intervals hold the truth, beside the paper's bars.

Run `python benchmarks/coverage.py` for a small grid and `--full` for all of it. Each draw simulates a panel of
preferences whose truth is known, so that the priors are pooled as in a study. A nominal 95% interval should hold
the truth in about 95% of the draws; widths are on the scale of the values. In panels called mixed, every second
preference has other shares of variance between training seeds and between prompts, named after the sign `|`, and is
not counted: what such company does to the others is what is asked. With `missing`, a fifth of the answers and a
sixteenth of the pairs of training seed and prompt are lost by chance. At a rate of 0 every interval holds the truth,
since it begins there.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stats.intervals import Scope, interval, pooled_priors, summarise
from stats.paper import paper_bar

Floats = npt.NDArray[np.float64]
PANEL = 8
"""Preferences simulated together."""
LOST_ANSWERS, LOST_CELLS = 0.2, 0.06


@dataclass(frozen=True)
class Shape:
    """How a score is distributed: the chance of each value of the scale, from the lowest."""

    name: str
    chances: tuple[float, ...]
    low: float = 1.0

    @property
    def scale(self) -> tuple[float, float]:
        """Least and greatest value."""
        return self.low, self.low + len(self.chances) - 1

    @property
    def cuts(self) -> Floats:
        """Where the latent normal variable is cut."""
        return ndtri(np.clip(np.cumsum(self.chances)[:-1], 1e-12, 1 - 1e-12))

    def mean(self, shift: Floats, sd: float) -> float:
        """Mean score of a latent variable with these means and standard deviation."""
        return float(self.low + ndtr((shift[..., None] - self.cuts) / sd).sum(-1).mean())


def rate(p: float) -> Shape:
    """Yes with probability `p`."""
    return Shape(f"rate {p:g}", (1 - p, p), 0.0)


FLOOR = Shape("97% ones", (0.97, 0.01, 0.01, 0.005, 0.005, 0.0, 0.0, 0.0, 0.0, 0.0))
MOSTLY = Shape("80% ones", (0.80, 0.08, 0.05, 0.03, 0.02, 0.01, 0.01, 0.0, 0.0, 0.0))
SPREAD = Shape("spread", (0.20, 0.15, 0.15, 0.12, 0.12, 0.10, 0.08, 0.05, 0.02, 0.01))


@dataclass(frozen=True)
class Setting:
    """A design, a distribution and the shares of the latent variance."""

    shape: Shape
    seeds: int
    prompts: int
    repeats: int
    scope: Scope
    seed_share: float = 0.0
    prompt_share: float = 0.0
    cell_share: float = 0.0
    beta: bool = False
    """Draw each prompt's rate from a beta distribution with intraclass correlation `prompt_share` instead."""
    company: tuple[float, float] | None = None
    """Shares of training seeds and of prompts of every second preference of the panel; by default the same."""
    missing: bool = False
    """Whether a fifth of the answers and 6% of the cells are lost."""

    @property
    def panel(self) -> list[Setting]:
        """The preferences that are simulated together, those of this setting first."""
        if self.company is None:
            return [self] * PANEL
        seed, prompt = self.company
        others = replace(self, seed_share=seed, prompt_share=prompt)
        return [self] * (PANEL // 2) + [others] * (PANEL // 2)

    def kept(self, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Which answers are there (seeds x prompts x repeats)."""
        kept = np.ones((self.seeds, self.prompts, self.repeats), bool)
        if self.missing:
            kept &= rng.random(kept.shape) > LOST_ANSWERS
            kept &= rng.random(kept.shape[:2])[..., None] > LOST_CELLS
        return kept

    def draw(self, rng: np.random.Generator) -> tuple[Floats, float]:
        """One study's values (seeds x prompts x repeats), and the mean that the scope is about."""
        size = (self.seeds, self.prompts, self.repeats)
        if self.beta:
            return self._draw_beta(rng, size)
        run_share = 1 - self.seed_share - self.prompt_share - self.cell_share
        seed = math.sqrt(self.seed_share) * rng.standard_normal((self.seeds, 1))
        prompt = math.sqrt(self.prompt_share) * rng.standard_normal(self.prompts)
        cell = math.sqrt(self.cell_share) * rng.standard_normal((self.seeds, self.prompts))
        latent = (seed + prompt + cell)[..., None] + math.sqrt(run_share) * rng.standard_normal(size)
        values = self.shape.low + np.searchsorted(self.shape.cuts, latent).astype(float)
        shift, fixed = {
            Scope.RUNS: (seed + prompt + cell, 1 - run_share),
            Scope.PROMPTS: (seed, self.seed_share),
            Scope.SEEDS: (prompt, self.prompt_share),
            Scope.SEEDS_PROMPTS: (np.zeros(1), 0.0),
        }[self.scope]
        return values, self.shape.mean(shift, math.sqrt(1 - fixed))

    def _draw_beta(self, rng: np.random.Generator, size: tuple[int, int, int]) -> tuple[Floats, float]:
        p = np.full(self.prompts, self.shape.chances[1])
        if self.prompt_share > 0:
            strength = 1 / self.prompt_share - 1
            p = rng.beta(p * strength, (1 - p) * strength)
        values = (rng.random(size) < p[:, None]).astype(float)
        return values, self.shape.chances[1] if self.scope is Scope.PROMPTS else float(p.mean())


@dataclass(frozen=True)
class Coverage:
    """Shares of draws that hold the truth, mean widths, and the share of the paper's bars of zero width."""

    engine: float
    engine_width: float
    paper: float
    paper_width: float
    paper_zero: float


def coverage(setting: Setting, draws: int, seed: int = 0) -> Coverage:
    """Simulate at least `draws` estimates of a setting."""
    rng = np.random.default_rng(seed)
    s, j, _ = np.indices((setting.seeds, setting.prompts, setting.repeats))
    counted = PANEL if setting.company is None else PANEL // 2
    results: list[tuple[float, ...]] = []
    for _ in range(math.ceil(draws / counted)):
        drawn = [(*one.draw(rng), one.kept(rng)) for one in setting.panel]
        panel = [(values[kept], j[kept], s[kept], truth) for values, truth, kept in drawn]
        summaries = [summarise(y, prompt, seed, scale=setting.shape.scale) for y, prompt, seed, _ in panel]
        found = list(zip(panel, summaries, pooled_priors(summaries), strict=True))
        for (y, _, _, truth), summary, prior in found[:counted]:
            bounds = interval(summary, setting.scope, prior)
            assert bounds.low is not None
            assert bounds.high is not None
            bar = paper_bar(y)
            results.append(
                (
                    bounds.low <= truth <= bounds.high,
                    bounds.high - bounds.low,
                    abs(bar.estimate - truth) <= bar.half_width,
                    2 * bar.half_width,
                    bar.half_width == 0,
                )
            )
    return Coverage(*np.mean(results, axis=0).tolist())


def one_model(shares: tuple[float, ...], rates: tuple[float, ...], prompts: tuple[int, ...]) -> list[Setting]:
    """Rates of one fixed model with ten samples a prompt, for new prompts."""
    return [
        Setting(rate(p), 1, j, 10, Scope.PROMPTS, prompt_share=share, beta=True)
        for j, p, share in product(prompts, rates, shares)
    ]


def many_seeds(shapes: tuple[Shape, ...], scopes: tuple[Scope, ...]) -> list[Setting]:
    """Six training seeds: rates on 10 prompts x 10, scores on 8 instructions x 4."""
    return [
        Setting(shape, 6, *((10, 10) if shape.low == 0 else (8, 4)), scope, 0.10, prompt, 0.05)
        for shape, scope, prompt in product(shapes, scopes, (0.1, 0.3))
    ]


def scores(shapes: tuple[Shape, ...], repeats: tuple[int, ...]) -> list[Setting]:
    """Scores of one fixed model on 8 instructions, for new instructions."""
    return [
        Setting(shape, 1, 8, r, Scope.PROMPTS, prompt_share=share)
        for shape, r, share in product(shapes, repeats, (0.2, 0.4))
    ]


def few_seeds() -> list[Setting]:
    """Two and three training seeds, for new ones."""
    return [
        Setting(shape, seeds, *size, Scope.SEEDS_PROMPTS, 0.10, 0.2, 0.05)
        for shape, size in ((rate(0.1), (10, 10)), (rate(0.5), (18, 10)), (MOSTLY, (8, 4)))
        for seeds in (2, 3)
    ]


def mixed() -> list[Setting]:
    """Preferences in the company of others, whose prompts differ less or more."""
    pairs = ((0.5, 0.05), (0.05, 0.5), (0.3, 0.1))
    rates = [
        Setting(rate(p), 1, j, 10, Scope.PROMPTS, prompt_share=own, beta=True, company=(0.0, other))
        for p, j, (own, other) in product((0.05, 0.1, 0.5), (10, 18), pairs)
    ]
    scores = [
        Setting(shape, 1, 8, r, Scope.PROMPTS, prompt_share=own, company=(0.0, other))
        for shape, r, (own, other) in product((MOSTLY, SPREAD), (4, 30), pairs)
    ]
    return [*rates, *scores] + [
        Setting(rate(p), s, 10, 10, scope, own, 0.2, 0.05, company=(other, 0.2))
        for p, s, scope, (own, other) in product(
            (0.1, 0.5), (2, 3, 6), (Scope.SEEDS, Scope.SEEDS_PROMPTS), ((0.3, 0.02), (0.02, 0.3))
        )
    ]


def incomplete() -> list[Setting]:
    """A fifth of the answers and some whole cells are missing."""
    one = [
        Setting(shape, 1, *size, Scope.PROMPTS, prompt_share=0.3, beta=beta, missing=True)
        for shape, size, beta in (
            (rate(0.1), (18, 10), True),
            (rate(0.5), (10, 10), True),
            (MOSTLY, (8, 8), False),
        )
    ]
    return one + [
        Setting(shape, 6, *size, scope, 0.10, 0.2, 0.05, missing=True)
        for shape, size in ((rate(0.3), (10, 10)), (SPREAD, (8, 4)))
        for scope in Scope
    ]


def repeated() -> list[Setting]:
    """Rates with few and with many samples a prompt."""
    return [
        Setting(rate(p), 1, 10, r, Scope.PROMPTS, prompt_share=share, beta=True)
        for p, r, share in product((0.1, 0.5), (2, 4, 30), (0.1, 0.3))
    ]


def grid(*, full: bool) -> list[Setting]:
    """The settings to simulate."""
    if not full:
        return [
            *one_model((0.1, 0.3), (0.02, 0.1, 0.5), (10,)),
            *many_seeds((rate(0.3),), (Scope.SEEDS_PROMPTS, Scope.RUNS)),
            *scores((FLOOR, SPREAD), (2,)),
        ]
    return [
        *one_model((0.0, 0.1, 0.3, 0.5, 0.7), (0.02, 0.1, 0.5, 0.9, 0.98), (10, 18)),
        *repeated(),
        *few_seeds(),
        *many_seeds((rate(0.05), rate(0.3), MOSTLY, SPREAD), tuple(Scope)),
        *scores((FLOOR, MOSTLY, SPREAD), (2, 4, 30)),
        *incomplete(),
        *mixed(),
    ]


def _measure(job: tuple[Setting, int, int]) -> Coverage:
    return coverage(*job)


def main() -> None:
    """Print one line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all settings instead of a few")
    parser.add_argument("--draws", type=int, default=1000, help="simulated estimates per setting")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random generator")
    arguments = parser.parse_args()
    settings = grid(full=arguments.full)
    started = time.perf_counter()
    print(f"{'distribution':12}{'S x J x R':>12}  {'shares s/p/c':32}{'scope':15}", end="")
    print(f"{'engine %':>9}{'width':>8}{'paper %':>9}{'width':>8}{'± 0 %':>7}")
    found: list[float] = []
    with ProcessPoolExecutor() as pool:
        jobs = [(setting, arguments.draws, arguments.seed) for setting in settings]
        for setting, result in zip(settings, pool.map(_measure, jobs), strict=True):
            found.append(100 * result.engine)
            size = f"{setting.seeds} x {setting.prompts} x {setting.repeats}"
            shares = f"{setting.seed_share:g}/{setting.prompt_share:g}/{setting.cell_share:g}"
            shares += " | {:g}/{:g}".format(*setting.company) if setting.company else ""
            shares += " missing" if setting.missing else ""
            print(
                f"{setting.shape.name:12}{size:>12}  {shares:32}{setting.scope:15}"
                f"{100 * result.engine:9.1f}{result.engine_width:8.3f}"
                f"{100 * result.paper:9.1f}{result.paper_width:8.3f}{100 * result.paper_zero:7.1f}",
                flush=True,
            )
    inside = sum(93 <= one <= 98 for one in found)
    print(f"{len(settings)} settings, {arguments.draws} draws each: {inside} within 93-98%,", end=" ")
    print(f"worst {min(found):.1f}%, most {max(found):.1f}%; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

"""How often the default intervals hold the truth, beside the paper's bars.

Run `python benchmarks/coverage.py` for a small grid and `--full` for all of it. Each draw simulates a panel of
preferences whose truth is known, so that the priors are pooled as in a study. A nominal 95% interval should hold
the truth in about 95% of the draws; widths are on the scale of the values.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
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
    s, j, _ = np.indices((setting.seeds, setting.prompts, setting.repeats)).reshape(3, -1)
    results: list[tuple[float, ...]] = []
    for _ in range(math.ceil(draws / PANEL)):
        panel = [setting.draw(rng) for _ in range(PANEL)]
        summaries = [summarise(y.ravel(), j, s, scale=setting.shape.scale) for y, _ in panel]
        for (y, truth), summary, prior in zip(panel, summaries, pooled_priors(summaries), strict=True):
            bounds = interval(summary, setting.scope, prior)
            assert bounds.low is not None
            assert bounds.high is not None
            bar = paper_bar(y.ravel())
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


def grid(*, full: bool) -> list[Setting]:
    """The settings to simulate."""
    if not full:
        return [
            *one_model((0.1, 0.3), (0.02, 0.1, 0.5), (10,)),
            *many_seeds((rate(0.3),), (Scope.SEEDS_PROMPTS, Scope.RUNS)),
            *scores((FLOOR, SPREAD), (2,)),
        ]
    return [
        *one_model((0.0, 0.1, 0.3, 0.5), (0.02, 0.1, 0.5, 0.9), (10, 18)),
        *many_seeds((rate(0.05), rate(0.3), MOSTLY, SPREAD), tuple(Scope)),
        *scores((FLOOR, MOSTLY, SPREAD), (2, 4, 30)),
    ]


def main() -> None:
    """Print one line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all settings instead of a few")
    parser.add_argument("--draws", type=int, default=1000, help="simulated estimates per setting")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random generator")
    arguments = parser.parse_args()
    settings = grid(full=arguments.full)
    started = time.perf_counter()
    print(f"{'distribution':12}{'S x J x R':>12}  {'shares s/p/c':14}{'scope':15}", end="")
    print(f"{'engine %':>9}{'width':>8}{'paper %':>9}{'width':>8}{'± 0 %':>7}")
    worst = 1.0
    for setting in settings:
        result = coverage(setting, arguments.draws, arguments.seed)
        worst = min(worst, result.engine)
        size = f"{setting.seeds} x {setting.prompts} x {setting.repeats}"
        shares = f"{setting.seed_share:g}/{setting.prompt_share:g}/{setting.cell_share:g}"
        print(
            f"{setting.shape.name:12}{size:>12}  {shares:14}{setting.scope:15}"
            f"{100 * result.engine:9.1f}{result.engine_width:8.3f}"
            f"{100 * result.paper:9.1f}{result.paper_width:8.3f}{100 * result.paper_zero:7.1f}",
            flush=True,
        )
    print(
        f"{len(settings)} settings, {arguments.draws} draws each; worst engine coverage {100 * worst:.1f}%;",
        end=" ",
    )
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

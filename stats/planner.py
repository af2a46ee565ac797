# pyright: reportMissingTypeStubs=false
"""How wide an interval is now, how narrow more runs could make it, and the cheapest single change to a target width.

The widths are those of `stats.intervals` for a balanced design: Wilson with a t quantile on the effective sample size
of the scope, so that the width of the design at hand is that of the interval on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtrit

from stats.intervals import Counting, Scope, degrees_of_freedom, one_model_freedom, wilson_bounds
from stats.variance import CELL, PROMPT, RUN, SEED

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARYING = {
    Scope.RUNS: (RUN,),
    Scope.PROMPTS: (PROMPT, CELL, RUN),
    Scope.SEEDS: (SEED, CELL, RUN),
    Scope.SEEDS_PROMPTS: (SEED, PROMPT, CELL, RUN),
}
_MOST = 100_000


@dataclass(frozen=True)
class Design:
    """A balanced layout: every training seed answers every prompt equally often."""

    prompts: int
    repeats: float
    """Answers of one training seed to one prompt; infinite for the floor."""
    seeds: int = 0
    """Training seeds; 0 for one fixed model."""

    @property
    def runs(self) -> float:
        """Answers in all."""
        return max(self.seeds, 1) * self.prompts * self.repeats


@dataclass(frozen=True)
class Assumed:
    """What the width depends on besides the design."""

    mean: float
    """On the scale."""
    shares: Mapping[str, float]
    """Shares of the variance by `seed`, `prompt`, `cell` and `run`; what is absent is 0."""
    dispersion: float = 1.0
    """Total variance in units of `m (1 - m)` on [0, 1]: 1 for yes/no answers."""
    scale: tuple[float, float] = (0.0, 1.0)
    alike: bool = False
    """Whether one model's prompts were seen to differ no more than runs do."""

    @property
    def unit_mean(self) -> float:
        """The mean on [0, 1]."""
        low, high = self.scale
        return (self.mean - low) / (high - low)

    def dispersion_for(self, design: Design, scope: Scope, n_eff: float) -> float:
        """The dispersion with which a design has this effective sample size in a scope."""
        terms = _terms(self, design)
        used = sum(terms[name] for name in _VARYING[scope] if name in terms)
        return (1 - sum(terms.values())) / (n_eff * used)


@dataclass(frozen=True)
class Costs:
    """Prices of what can be added, in US dollars."""

    run: float = 0.0
    seed: float = 0.0
    """Training one more seed, without its runs."""
    label: float = 0.0


@dataclass(frozen=True)
class Change:
    """One change that reaches the target on its own, or the reason why it cannot."""

    what: str
    """`repeats`, `prompts`, `seeds` or `labels`."""
    to: int | None
    half_width: float | None
    """With `to`; without it where any number of them stops."""
    added: int
    """Further runs, or labels."""
    cost: float
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What an interval is, what it could be, and what that takes; half widths on the scale."""

    scope: Scope
    design: Design
    now: float | None
    floor: float | None
    """With unlimited repeats on the same prompts and seeds."""
    target: float
    changes: list[Change]
    cheapest: str | None
    """The change of least cost, of fewest runs where costs are equal."""
    reason: str = ""


@dataclass(frozen=True)
class Labels:
    """The labels behind a corrected interval."""

    count: int
    error_sd: float
    """Of label less judge, on the scale."""
    judge_half: float
    """Half width of the judge's own interval: what no number of labels undercuts."""


def half_width(
    assumed: Assumed, design: Design, scope: Scope, *, counting: Counting = "guarded"
) -> float | None:
    """Half the width of the 95% interval; None where the scope has none in this design."""
    terms = _terms(assumed, design)
    factors = [name for name in _VARYING[scope] if name in terms]
    df = _degrees(design)
    if (SEED in _VARYING[scope] and design.seeds < 2) or any(df[name] < 1 for name in factors):
        return None
    used, full = sum(terms[name] for name in factors), sum(terms.values())
    if used <= 0 or full >= 1:
        return 0.0 if used <= 0 else None
    n_eff = (1 - full) / (assumed.dispersion * used)
    if design.seeds < 2 and scope is Scope.PROMPTS:
        nu = one_model_freedom(df[PROMPT], design.runs, counting, alike=assumed.alike)
    else:
        nu = degrees_of_freedom({name: terms[name] for name in factors}, df, counting)
    low, high = wilson_bounds(assumed.unit_mean, n_eff, float(stdtrit(min(nu, 1e9), 0.975)))
    return (high - low) / 2 * (assumed.scale[1] - assumed.scale[0])


def plan(
    assumed: Assumed,
    design: Design,
    scope: Scope,
    target: float,
    costs: Costs | None = None,
    labels: Labels | None = None,
) -> Plan:
    """The way from the design at hand to a half width of `target`.

    Args:
        assumed: The mean and the shares of the variance, from a pilot or from `stats.intervals.Prior`.
        design: What there is.
        scope: What the interval lets vary.
        target: Half the width that is wanted, on the scale.
        costs: Prices; by default nothing costs anything, and the change of fewest runs is called the cheapest.
        labels: Given, more labels are a further option, for the corrected interval.
    """
    costs = costs or Costs()
    now = half_width(assumed, design, scope)
    floor = half_width(assumed, replace(design, repeats=float("inf")), scope)
    if now is None:
        return Plan(scope, design, None, None, target, [], None, _no_interval(design, scope))
    # With fewer runs to outweigh them the seeds' few degrees of freedom would count for more.
    floor = now if floor is None else min(floor, now)
    changes = [_change(what, assumed, design, scope, target, costs) for what in ("repeats", "prompts")]
    if design.seeds:
        changes.append(_change("seeds", assumed, design, scope, target, costs))
    if labels is not None:
        changes.append(_more_labels(labels, target, costs))
    possible = [change for change in changes if change.to is not None]
    best = min(possible, key=lambda change: (change.cost, change.added), default=None)
    return Plan(scope, design, now, floor, target, changes, best and best.what)


def best_repeats(assumed: Assumed, prompts: int, run_cost: float, seed_cost: float) -> float | None:
    """Repeats per prompt that make an interval for new training seeds narrowest for its cost; None if seeds are alike.

    R = sqrt(E c_seed / (A J c_run)), with A the variance between seeds and E that of runs, both of a seed's mean over
    J prompts (optimal allocation in two stages: Cochran 1977, 10.6).
    """
    between = assumed.shares.get(SEED, 0.0) + assumed.shares.get(CELL, 0.0) / prompts
    run = assumed.shares.get(RUN, 0.0) / prompts
    if between <= 0 or run_cost <= 0:
        return None
    return float(np.sqrt(run * seed_cost / (between * prompts * run_cost)))


def _change(what: str, assumed: Assumed, design: Design, scope: Scope, target: float, costs: Costs) -> Change:
    # Where answers lack there is less than one to a cell.
    start = max(int(getattr(design, what)), 1)

    def reached(count: int) -> float:
        found = half_width(assumed, replace(design, **{what: count}), scope)
        return float("inf") if found is None else found

    if reached(start) <= target:
        return Change(what, start, reached(start), 0, 0.0)
    low, high = start, max(2 * start, 2)
    while reached(high) > target:
        low, high = high, high * 2
        if high > _MOST:
            return Change(what, None, reached(_MOST), 0, 0.0, f"more {what} alone do not reach it")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) > target else (low, middle)
    added = round(replace(design, **{what: high}).runs - design.runs)
    trained = (high - start) * costs.seed if what == "seeds" else 0.0
    return Change(what, high, reached(high), added, added * costs.run + trained)


def _more_labels(labels: Labels, target: float, costs: Costs) -> Change:
    z = float(ndtri(0.975))
    room = (target / z) ** 2 - (labels.judge_half / z) ** 2
    if room <= 0:
        return Change("labels", None, labels.judge_half, 0, 0.0, "more labels alone do not reach it")
    wanted = max(int(np.ceil(labels.error_sd**2 / room)), labels.count)
    reached = z * float(np.sqrt((labels.judge_half / z) ** 2 + labels.error_sd**2 / max(wanted, 1)))
    added = wanted - labels.count
    return Change("labels", wanted, reached, added, added * costs.label)


def _terms(assumed: Assumed, design: Design) -> dict[str, float]:
    s, j, r = max(design.seeds, 1), design.prompts, design.repeats
    levels = {PROMPT: j, RUN: s * j * r}
    if design.seeds > 1:
        levels |= {SEED: s, CELL: s * j}
    share = {name: assumed.shares.get(name, 0.0) for name in (SEED, PROMPT, CELL)}
    if design.seeds <= 1:
        # In one model the interaction cannot be told from the prompts.
        share[PROMPT] += share[CELL]
    factors = {name: share[name] / count for name, count in levels.items() if name != RUN}
    return factors | {RUN: (1 - sum(share[name] for name in factors)) / levels[RUN]}


def _degrees(design: Design) -> dict[str, float]:
    s, j = max(design.seeds, 1), design.prompts
    runs = s * j * (design.repeats - 1)
    if design.repeats <= 1:
        runs = s * j - s - j + 1 if s > 1 and j > 1 else s * j - 1
    return {SEED: s - 1, PROMPT: j - 1, CELL: (s - 1) * (j - 1), RUN: runs}


def _no_interval(design: Design, scope: Scope) -> str:
    if SEED in _VARYING[scope] and design.seeds < 2:
        return "one training seed: seed-to-seed variation unknown"
    return "too few prompts or repeats for an interval of this scope"

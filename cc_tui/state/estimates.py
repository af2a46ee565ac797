"""The table of estimates, turned so that preferences are rows and groups of models are columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.records import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stats.live import Step
    from stats.table import Cell, StudyTable


LARGEST_SD = {"rate": 0.5, "mean": 4.5}
"""Half of the scale, by measure: no standard deviation of a population is larger."""


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many planned answers came how far."""

    planned: int = 0
    run: int = 0
    valid: int = 0
    judged: int = 0
    labelled: int = 0

    def __str__(self) -> str:
        return f"{self.planned} → {self.run} → {self.valid} → {self.judged} → {self.labelled}"


@dataclass(frozen=True, slots=True)
class Grid:
    """One mode of a study."""

    mode: Mode
    preferences: list[str]
    groups: list[str]
    titles: dict[str, str]
    """Of the groups, with their number of training seeds where several are pooled."""
    cells: dict[tuple[str, str], Cell]
    """By preference and group."""
    funnels: dict[str, Funnel]
    """By group."""
    funnel: Funnel
    """Of the whole mode."""
    reasons: dict[str, int]
    """Of the whole mode: why answers are not valid, what the gate flagged, what the realism approver decided."""


def modes_of(table: StudyTable) -> list[Mode]:
    """The modes that the study has."""
    found = {stage.mode for stage in table.waterfall} | {cell.mode for cell in table.cells}
    return [mode for mode in Mode if mode in found]


def grid(table: StudyTable, mode: Mode) -> Grid:
    """The part of the table that is about `mode`, in the study's own order of groups."""
    shown = [cell for cell in table.cells if cell.mode == mode and cell.measure != "not_sure"]
    conditions = {cell.group: cell.conditions for cell in shown}
    return Grid(
        mode=mode,
        preferences=list(dict.fromkeys(cell.preference for cell in shown)),
        groups=list(conditions),
        titles={c.group: f"{c.group} ({c.seeds} seeds)" if c.pooled else c.group for c in shown},
        cells={(cell.preference, cell.group): cell for cell in shown},
        funnels={group: _funnel(table, mode, names) for group, names in conditions.items()},
        funnel=_funnel(table, mode, {stage.condition for stage in table.waterfall}),
        reasons=_reasons(table, mode),
    )


def _funnel(table: StudyTable, mode: Mode, conditions: Iterable[str]) -> Funnel:
    names = set(conditions)
    stages = [stage for stage in table.waterfall if stage.mode == mode and stage.condition in names]
    return Funnel(
        sum(stage.planned for stage in stages),
        sum(stage.run for stage in stages),
        sum(stage.valid for stage in stages),
        sum(stage.judged for stage in stages),
        sum(stage.labelled for stage in stages),
    )


def _reasons(table: StudyTable, mode: Mode) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for found in table.validity:
        if found.mode != mode:
            continue
        counts.update(found.lost)
        counts.update({f"⚑ {flag}": count for flag, count in found.flags.items()})
        counts.update({"not gated": found.ungated})
        moves = {name: count for name, count in found.moves.items() if name != "approved"}
        counts.update({f"steps {name}": count for name, count in moves.items()})
    return {reason: count for reason, count in counts.items() if count}


def value(cell: Cell, number: float | None) -> str:
    """A number of a cell as it is read: percent for a rate, one decimal for a mean."""
    if number is None:
        return "–"
    return f"{number:.1f}" if cell.measure == "mean" else f"{100 * number:.0f}%"


_Stretch = tuple[float | None, float | None, str]
"""Ends of an interval, and what it is drawn with."""


def bar(cell: Cell, width: int) -> str:
    """The cell's scale from end to end: thin the interval of its scope, thick that of further runs, a dot its value.

    While the plan is running only the live interval is drawn, dotted.
    """
    drawn: list[_Stretch] = [(cell.low, cell.high, "─"), (cell.runs_low, cell.runs_high, "━")]
    if cell.live is not None and cell.live.low is not None:
        drawn = [(cell.live.low, cell.live.high, "┄")]
    return _track(cell, drawn, cell.estimate, width)


def step_bar(cell: Cell, step: Step, width: int) -> str:
    """What was known of the cell after some answers, drawn as `bar` draws it while the plan runs."""
    return _track(cell, [(step.low, step.high, "┄")], step.estimate, width)


def _track(cell: Cell, drawn: Iterable[_Stretch], estimate: float | None, width: int) -> str:
    low_end, high_end = (1.0, 10.0) if cell.measure == "mean" else (0.0, 1.0)

    def place(number: float) -> int:
        share = (number - low_end) / (high_end - low_end)
        return round(min(max(share, 0.0), 1.0) * (width - 1))

    marks = [" "] * width
    for low, high, mark in drawn:
        if low is not None and high is not None:
            marks[place(low) : place(high) + 1] = mark * (place(high) - place(low) + 1)
    if estimate is not None:
        marks[place(estimate)] = "●"
    return "".join(marks)


def in_words(cell: Cell) -> list[str]:
    """Everything that a reader must know of a cell, in short lines."""
    if cell.estimate is None:
        head = f"{cell.preference} · {cell.group}: no estimate. {cell.reason}"
    else:
        head = f"{cell.preference} · {cell.group}: {value(cell, cell.estimate)}"
        if cell.low is not None:
            head += f", 95% {value(cell, cell.low)} to {value(cell, cell.high)} ({cell.scope})"
        if cell.runs_low is not None:
            head += f", further runs {value(cell, cell.runs_low)} to {value(cell, cell.runs_high)}"
        if cell.reason:
            head += f" · {cell.reason}"
    lines: list[str] = []
    live = cell.live
    if live is not None:
        lines.append(
            f"LIVE, valid at any look: {value(cell, live.low)} to {value(cell, live.high)} (runs, "
            f"{live.n} in launch order, {live.out_of_turn} out of turn); the others are provisional"
            if live.low is not None
            else f"plan not complete, intervals provisional; {live.reason}"
        )
    counts = [f"n {cell.n} of {cell.planned}", f"{cell.prompts} prompt{'s' * (cell.prompts != 1)}"]
    counts.append("fixed model" if not cell.seeds else f"{cell.seeds} training seed{'s' * (cell.seeds > 1)}")
    counts += [f"{number} {reason}" for reason, number in cell.dropped.items()]
    if cell.not_sure:
        counts.append(f"{cell.not_sure} not sure")
    counts.append(f"judge {cell.judge or '–'}")
    if cell.simulated:
        counts.append("SIMULATED")
    lines[:0] = [head, " · ".join(counts)]
    change = cell.contrast
    if change is not None and change.difference is not None:
        scale = 1 if cell.measure == "mean" else 100
        low, high = change.low, change.high
        limits = f" [{scale * low:+.1f}, {scale * high:+.1f}]" if low is not None and high is not None else ""
        adjusted = f", q {change.q:.3f}" if change.q is not None else ""
        lines.append(f"against {change.baseline}: {scale * change.difference:+.1f}{limits}{adjusted}")
    elif change is not None:
        lines.append(f"against {change.baseline or 'a baseline'}: {change.reason}")
    if cell.flags:
        lines.append("! " + " · ".join(cell.flags))
    return lines

"""The study's figures: grouped bars, as the paper draws them but with honest bars, and forest plots.

Matplotlib draws them; every figure's numbers are those of the study's table. Groups differ in colour and in hatching or
marker, so that a figure can be read without colours.
"""

from __future__ import annotations

import io
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from store.records import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stats.table import Cell, StudyTable

INK = "#1b1b1f"
"""The colour of every line and letter, which a page may replace by its own."""
_COLOURS = ("#5b6770", "#c8553d", "#2a7f9e", "#e0a030", "#6a4c93", "#3a7d44", "#b5838d", "#8d6a3f")
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "|||")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
        INK,
    ),
}
MODES = {
    Mode.SINGLE_TURN: "asked once",
    Mode.SELF_REPORT: "audits, self-report",
    Mode.BEHAVIORAL: "audits, behavioural",
}


def figures(table: StudyTable, form: str) -> Iterator[tuple[str, bytes]]:
    """Every figure of a study: name without suffix, and content.

    Args:
        table: the study's table.
        form: `svg`, `pdf` or `png`.
    """
    from matplotlib import rc_context

    for mode in dict.fromkeys(cell.mode for cell in table.cells):
        cells = shown([cell for cell in table.cells if cell.mode == mode])
        for kind, draw in (("bars", _bars), ("forest", _forest)):
            name = f"{mode}-{kind}"
            with rc_context({**_STYLE, "svg.hashsalt": name}):
                yield name, _rendered(draw(cells, table.simulated), form)


def shown(cells: Sequence[Cell]) -> list[Cell]:
    """The cells that a figure has room for: a recipe's pooled row stands for its training seeds."""
    pooled = {condition for cell in cells if cell.pooled for condition in cell.conditions}
    return [cell for cell in cells if cell.pooled or cell.group not in pooled]


def _grid(cells: Sequence[Cell]) -> tuple[list[str], list[str], dict[tuple[str, str], Cell]]:
    preferences = list(dict.fromkeys(cell.preference for cell in cells))
    groups = list(dict.fromkeys(cell.group for cell in cells))
    return preferences, groups, {(cell.preference, cell.group): cell for cell in cells}


def _scale(cells: Sequence[Cell]) -> tuple[float, float, float, str]:
    """Factor, ends and name of the values' axis."""
    if cells[0].measure == "mean":
        return 1.0, 1.0, 10.0, "mean score, 1-10"
    return 100.0, 0.0, 100.0, "share of true, %"


def _figure(width: float, height: float, cells: Sequence[Cell], simulated: bool) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    mark = "SIMULATED DATA · " if simulated else ""
    axes.set_title(
        f"{mark}{MODES[cells[0].mode]}; 95% intervals, judge {cells[0].judge}", loc="left", fontsize=10
    )
    return figure, axes


def _bars(cells: Sequence[Cell], simulated: bool) -> Figure:
    preferences, groups, grid = _grid(cells)
    factor, low_end, high_end, label = _scale(cells)
    width = 0.82 / len(groups)
    figure, axes = _figure(
        max(7.0, 0.5 + len(preferences) * (0.3 + 0.14 * len(groups))), 4.6, cells, simulated
    )
    for k, group in enumerate(groups):
        found = [
            (n, grid[preference, group])
            for n, preference in enumerate(preferences)
            if (preference, group) in grid
        ]
        known = [(n, cell) for n, cell in found if cell.estimate is not None]
        centres = [n + (k - (len(groups) - 1) / 2) * width for n, _ in known]
        values = [factor * _number(cell.estimate) for _, cell in known]
        axes.bar(
            centres,
            [value - low_end for value in values],
            width * 0.92,
            bottom=low_end,
            color=_COLOURS[k % len(_COLOURS)],
            hatch=_HATCHES[k % len(_HATCHES)],
            edgecolor=INK,
            linewidth=0.4,
            alpha=0.85,
            label=_name(group, cells),
        )
        for centre, (_, cell) in zip(centres, known, strict=True):
            _whisker(axes, centre, cell, factor)
    axes.set_xticks(range(len(preferences)), [_words(p) for p in preferences], rotation=40, ha="right")
    axes.set_ylim(low_end, high_end)
    axes.set_ylabel(label)
    figure.legend(loc="outside lower center", ncols=min(len(groups), 4), frameon=False)
    return figure


def _whisker(axes: Axes, at: float, cell: Cell, factor: float) -> None:
    if cell.low is not None and cell.high is not None:
        axes.vlines(at, factor * cell.low, factor * cell.high, color=INK, linewidth=1.1)


def _forest(cells: Sequence[Cell], simulated: bool) -> Figure:
    """Thin lines for new prompts (and training seeds), thick ones for the same models and prompts run again."""
    preferences, groups, grid = _grid(cells)
    factor, low_end, high_end, label = _scale(cells)
    rows = len(preferences) * (len(groups) + 0.8)
    figure, axes = _figure(8.0, 1.4 + 0.17 * rows, cells, simulated)
    ticks: list[float] = []
    drawn: dict[str, bool] = defaultdict(bool)
    for n, preference in enumerate(preferences):
        top = n * (len(groups) + 0.8)
        ticks.append(top + (len(groups) - 1) / 2)
        for k, group in enumerate(groups):
            cell = grid.get((preference, group))
            if cell is None or cell.estimate is None:
                continue
            colour = _COLOURS[k % len(_COLOURS)]
            if cell.low is not None and cell.high is not None:
                axes.hlines(top + k, factor * cell.low, factor * cell.high, color=colour, linewidth=1.1)
            if cell.runs_low is not None and cell.runs_high is not None:
                axes.hlines(
                    top + k, factor * cell.runs_low, factor * cell.runs_high, color=colour, linewidth=3.2
                )
            axes.plot(
                [factor * cell.estimate],
                [top + k],
                _MARKERS[k % len(_MARKERS)],
                color=colour,
                markeredgecolor=INK,
                markeredgewidth=0.5,
                markersize=5,
                label=None if drawn[group] else _name(group, cells),
            )
            drawn[group] = True
    axes.set_yticks(ticks, [_words(p) for p in preferences])
    axes.set_ylim(rows - 0.6, -0.9)
    axes.set_xlim(low_end, high_end)
    axes.set_xlabel(f"{label}   (thin: new prompts or training seeds; thick: the same again)")
    axes.grid(axis="x", linewidth=0.3, color=INK, alpha=0.25)
    figure.legend(loc="outside lower center", ncols=min(len(groups), 4), frameon=False)
    return figure


def _name(group: str, cells: Sequence[Cell]) -> str:
    seeds = next(cell.seeds if cell.pooled else 0 for cell in cells if cell.group == group)
    return f"{group} ({seeds} training seeds)" if seeds else group


def _number(value: float | None) -> float:
    assert value is not None
    return value


def _words(name: str) -> str:
    return name.replace("_", " ")


def _rendered(figure: Figure, form: str) -> bytes:
    out = io.BytesIO()
    # No date and no program's version, so that the same table gives the same file.
    metadata = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}}.get(form, {})
    figure.savefig(out, format=form, metadata=metadata, transparent=form == "svg", dpi=200)
    return out.getvalue()

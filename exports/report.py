"""A study as one page of HTML: opens offline, runs no script, prints, and follows the reader's light or dark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from exports.figures import INK, MODES, figures
from stats.methods import METHODS
from store.named_queries import named_query

if TYPE_CHECKING:
    from stats.table import Cell, StudyTable
    from store.reader import Reader

_TEMPLATE = Path(__file__).parent / "report.html"


def report(reader: Reader, table: StudyTable, name: str) -> str:
    """The page.

    Args:
        reader: the store, for what the table does not say: models, runs and judges.
        table: the study's table.
        name: the study's name.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    # The figures are ours, and escape what they write.
    drawn = {figure: Markup(_inline(svg)) for figure, svg in figures(table, "svg")}
    modes = list(dict.fromkeys(cell.mode for cell in table.cells))
    return template.render(
        name=name,
        table=table,
        modes=[(mode, MODES[mode], [c for c in table.cells if c.mode == mode], _Notes()) for mode in modes],
        figures=drawn,
        conditions=_rows(reader, _CONDITIONS, table.study_id),
        runs=_rows(reader, _RUNS, table.study_id),
        judges=reader.rows(f"SELECT * FROM ({named_query('judges').sql}) ORDER BY judge, kind"),
        methods={key: METHODS[key] for key in table.to_dict()["methods"]},
        number=_number,
        interval=_interval,
        difference=_difference,
    )


class _Notes:
    """Numbers for what a reader must know about cells, each said once below the table."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def of(self, cell: Cell) -> str:
        """The numbers of a cell's notes."""
        contrast = cell.contrast.reason if cell.contrast else ""
        notes = [note for note in (*cell.flags, cell.reason, cell.runs_reason, contrast) if note]
        self.found += [note for note in dict.fromkeys(notes) if note not in self.found]
        return " ".join(str(self.found.index(note) + 1) for note in dict.fromkeys(notes))


_CONDITIONS = """
    SELECT c.condition_id, c.role, c.model, c.recipe, c.training_seed, c.system_prompt,
           (SELECT string_agg(DISTINCT target_answered, ', ') FROM audits a
            WHERE a.study_id = c.study_id AND a.condition_id = c.condition_id) AS answered
    FROM conditions c WHERE c.study_id = ? ORDER BY c.position
"""
_RUNS = """
    SELECT run_id, status, started_at, ended_at, planned, git_commit FROM runs WHERE study_id = ? ORDER BY started_at
"""


def _rows(reader: Reader, query: str, study_id: str) -> list[dict[str, Any]]:
    return reader.rows(query, [study_id])


def _inline(svg: bytes) -> str:
    """An SVG as part of a page, with the page's own ink."""
    text = svg.decode()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _number(cell: Cell, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if cell.measure == "mean" else f"{100 * value:.1f}"


def _interval(cell: Cell, low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{_number(cell, low)} to {_number(cell, high)}"


def _difference(cell: Cell) -> str:
    contrast = cell.contrast
    if contrast is None or contrast.difference is None:
        return "–" if contrast else ""
    text = f"{_number(cell, contrast.difference)} ({_interval(cell, contrast.low, contrast.high)})"
    return text if contrast.q is None else f"{text}, q = {contrast.q:.2g}"

"""`cc-tui stats --markdown`: tables that paste into a paper, an issue or a notebook."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from cc_tui.detail_lines import sections
from cc_tui.plain import STAGES, cell_row, measured, stage_rows
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stats.details import Details
    from stats.table import StudyTable

_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~])")
_COLUMNS = [
    "preference",
    "group",
    "n/plan",
    "estimate",
    "95%",
    "for new",
    "same, run again",
    "difference",
    "notes",
]


def print_markdown(table: StudyTable, details: Details) -> None:
    """The waterfall, every estimate and the details; names are untrusted and printed as they are, not obeyed."""
    lines: list[str] = []
    if table.simulated:
        lines += ["**SIMULATED DATA**", ""]
    lines += ["### How far the plan has come", "", *_table(STAGES, stage_rows(table))]
    for mode in dict.fromkeys(cell.mode for cell in table.cells):
        cells = [cell for cell in table.cells if cell.mode == mode]
        notes: dict[str, str] = {}
        rows: list[list[str]] = []
        for cell in cells:
            group, *rest = cell_row(cell, notes)
            rows.append([cell.preference, group.strip(), *rest])
        lines += ["", f"### {_safe(mode)}: {measured(cells[0])}; judge {_safe(cells[0].judge or '-')}", ""]
        lines += _table(_COLUMNS, rows)
        lines += ["", *(f"- {letter}: {_safe(text)}" for text, letter in notes.items())]
    for section in sections(details):
        lines += ["", f"### {section.title}", "", *_table(section.columns, section.rows), ""]
        lines += [f"- {_safe(note)}" for note in section.notes]
    lines += [
        "",
        "95%: for new prompts, and new training seeds where they are pooled. Methods: docs/statistics.md.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(_safe(text) for text in row)} |" for row in rows),
    ]


def _safe(text: str) -> str:
    return _SIGNS.sub(r"\\\1", one_line(text))

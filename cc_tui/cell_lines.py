"""All that is known of single cells of the table, as text and as JSON: `cc-tui stats --preference … --group …`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from cc_tui.plain import say
from cc_tui.state.detail import (
    Side,
    agreement_side,
    correction_side,
    method_lines,
    planner_side,
    seeds_side,
    sequence_side,
    side_by_side,
    values_side,
)
from cc_tui.state.estimates import in_words
from cc_tui.state.plan_words import WIDTHS
from stats.details import cell_values, question_of, study_details
from stats.methods import METHODS
from stats.planner import Costs
from stats.study_plan import cell_plans, run_costs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stats.answers import Answers
    from stats.cell import Cell
    from stats.details import CellValues
    from stats.judge_report import JudgeReport
    from stats.study import Query
    from stats.table import StudyTable

_BLOCK = 64
_IN_FILES = 128
"""Width of what is not printed on a terminal."""


def print_cells(
    query: Query,
    answers: Answers,
    table: StudyTable,
    cells: Sequence[Cell],
    report: JudgeReport,
    *,
    markdown: bool,
) -> None:
    """Every cell in words and from all its sides; in Markdown as blocks of text, which nothing in them can end."""
    heading, text = ("### {}", "    ") if markdown else ("[{}]", "")
    if table.simulated:
        say("**SIMULATED DATA**" if markdown else "SIMULATED DATA.")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _IN_FILES
    costs = {mode: Costs(run=cost) for mode, cost in run_costs(query, table.study_id).items()}
    for cell in cells:
        found = cell_values(query, answers, table.rules, cell)
        details = study_details(query, answers, table.rules, [question_of(answers, cell)])
        sides = {
            Side.VALUES: values_side(cell, found),
            Side.SEEDS: seeds_side(cell, details),
            Side.SEQUENCE: sequence_side(cell, found),
            Side.AGREEMENT: agreement_side(cell, report, details),
            Side.CORRECTION: correction_side(cell, report),
            Side.PLANNER: planner_side(cell_plans([cell], WIDTHS, costs)),
        }
        parts = {"": in_words(cell)}
        parts |= {str(side): side_by_side(blocks, width, _BLOCK) for side, blocks in sides.items()}
        for name, lines in (parts | {"methods": method_lines(cell)}).items():
            say("")
            if name:
                say(heading.format(name))
            if name and markdown:
                say("")
            for line in lines:
                say(text + line)


def write_cells(query: Query, answers: Answers, table: StudyTable, cells: Sequence[Cell]) -> None:
    """The cells as JSON, each with what stands behind it."""
    used = dict.fromkeys(
        name
        for cell in cells
        for name in (cell.method, cell.contrast.method if cell.contrast else "")
        if name
    )
    data = {
        "study_id": table.study_id,
        "simulated": table.simulated,
        "rules": table.rules,
        "cells": [_with(cell, cell_values(query, answers, table.rules, cell)) for cell in cells],
        "methods": {name: METHODS[name] for name in used},
    }
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")


def _with(cell: Cell, found: CellValues) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(cell))
    behind: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return plain | {"behind": behind}

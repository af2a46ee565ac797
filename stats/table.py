"""The table of a study: for every mode, preference and group of models the estimate, its intervals and contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from stats.answers import Answers, Stage, read_answers
from stats.cell import Cell, Contrast
from stats.groups import model_groups
from stats.live import Order
from stats.methods import METHODS
from stats.panel import rows
from stats.rules import DEFAULT_RULES, Rules
from stats.validity import Validity, read_validity

if TYPE_CHECKING:
    from stats.study import Query

__all__ = ["Cell", "Contrast", "Rules", "Stage", "StudyTable", "Validity", "study_table"]


@dataclass(frozen=True)
class StudyTable:
    """The numbers of a study under one set of rules."""

    study_id: str
    simulated: bool
    rules: Rules
    waterfall: list[Stage]
    validity: list[Validity]
    """Reasons behind the waterfall, one entry for each of its stages."""
    cells: list[Cell]

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON-ready data: the output of `cc-tui stats --json`, whose names do not change.

        Keys: `study_id`, `simulated`, `rules` (the fields of `Rules`), `waterfall` (a list of the fields of
        `Stage`), `validity` (a list of the fields of `Validity`), `cells` (a list of the fields of `Cell`, `contrast`
        with those of `Contrast`) and `methods` (for each method id in use its title, how and reference). Unknown
        numbers are null, never NaN.
        """
        used = {cell.method for cell in self.cells} | {
            cell.contrast.method for cell in self.cells if cell.contrast and cell.contrast.method
        }
        used |= {cell.live.method for cell in self.cells if cell.live and cell.live.method}
        if any(cell.contrast and cell.contrast.q is not None for cell in self.cells):
            used.add("bh")
        methods = {name: METHODS[name] for name in sorted(used | {"paper"})}
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return data | {"methods": msgspec.to_builtins(methods)}


def study_table(query: Query, study_id: str | None = None, rules: Rules = DEFAULT_RULES) -> StudyTable:
    """Compute the table of a study; without an id, of the latest.

    Args:
        query: Runs a statement on the store's views `studies`, `conditions`, `items`, `audits`, `scores`, `labels`.
        study_id: The study.
        rules: How judgements become numbers.

    Raises:
        InputError: there is no such study, or no judgement by the judge of the rules.
    """
    return table_of(query, read_answers(query, study_id, rules), rules)


def table_of(query: Query, answers: Answers, rules: Rules) -> StudyTable:
    """As `study_table`, of answers that were read by the same rules."""
    groups = model_groups(answers.plan.conditions, rules.max_seeds)
    complete = all(stage.judged >= stage.planned for stage in answers.waterfall)
    order = None if complete else Order(answers)
    cells = list(rows(answers, groups, rules, order))
    validity = read_validity(query, answers)
    return StudyTable(
        answers.plan.study_id, answers.plan.simulated, rules, answers.waterfall, validity, cells
    )

"""What may be said of a cell while its plan is still running."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stats.answers import counts_for
from stats.launches import Launches, horizon, in_launch_order, refusal
from stats.sequences import beta_mixture, hedged_betting
from store.parquet import quoted
from store.records import OPEN, AuditStatus, Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stats.answers import Answers, Query, Question
    from stats.rules import Rules
    from stats.variance import Codes, Floats


@dataclass(frozen=True)
class Live:
    """An interval that holds however often it is looked at; None where there is none, and `reason` says why."""

    estimate: float | None
    """Mean of the answers up to the first that is still awaited, in the order of launch."""
    low: float | None
    high: float | None
    """Bounds for the same models on the same prompts (scope `runs`)."""
    n: int
    """Answers that are counted."""
    out_of_turn: int
    """Answers that are there and not counted yet, because an earlier launch is still awaited."""
    method: str
    """Id in `stats.methods`."""
    reason: str


class Order:
    """The order of launch of a study, for the live interval of any of its cells."""

    def __init__(self, query: Query, answers: Answers, rules: Rules) -> None:
        rows: list[dict[str, Any]] = query(
            "SELECT audit_id, slot_id, launch_index, condition_id, item_id, mode, status FROM audits "
            f"WHERE study_id = {quoted(answers.study_id)}"
        ).to_pylist()
        conditions = {one.condition_id: k for k, one in enumerate(answers.conditions)}
        items = {one.item_id: k for k, one in enumerate(answers.items)}
        self._answers, self._rules = answers, rules
        self._audit = {row["audit_id"]: k for k, row in enumerate(rows)}
        self._launch = np.array([-1 if (r := row["launch_index"]) is None else r for row in rows], np.intp)
        self._condition = np.array([conditions[row["condition_id"]] for row in rows], np.intp)
        self._item = np.array([items[row["item_id"]] for row in rows], np.intp)
        self._slot = np.array([row["slot_id"] for row in rows], dtype=str)
        self._ok = np.array([row["status"] == AuditStatus.OK for row in rows], bool)
        self._ended = np.array([row["status"] not in OPEN for row in rows], bool)
        self._end = horizon(self._launch)
        modes = np.array([row["mode"] for row in rows], dtype=str)
        self._refused = {mode: self._refusal(mode, modes == mode) for mode in Mode}
        self._index = np.array([self._audit.get(audit, -1) for audit in answers.audits], np.intp)

    def live(
        self,
        question: Question,
        members: Sequence[int],
        value: Floats,
        audit: Codes,
        *,
        scale: tuple[float, float],
    ) -> Live:
        """The interval of one cell.

        Args:
            question: What was asked.
            members: Indices of the cell's conditions.
            value: The cell's counted answers, in any order.
            audit: For each its index into `Answers.audits`.
            scale: Least and greatest possible value.
        """
        items = [counts_for(item, question, self._rules) for item in self._answers.items]
        repeats = {item.repeats for item, fits in zip(self._answers.items, items, strict=True) if fits}
        reason = self._refused[question.mode]
        if not reason and len(repeats) > 1:
            reason = "its prompts are planned to be asked unequally often"
        if reason:
            return Live(None, None, None, 0, 0, "", f"no live interval: {reason}")
        here = np.isin(self._condition, members)
        if len(items):
            here &= np.array(items, bool)[self._item]
        batches = [self._answers.batches.get((question, member)) for member in members]
        known = np.zeros(len(here), bool)
        for batch in batches:
            if batch is not None:
                known[self._index[np.concatenate([batch.audit, batch.lost])]] = True
        settled = self._ended & (known | ~self._ok)
        waiting = np.setdiff1d(self._launch[here], self._launch[here & settled])
        found, late = in_launch_order(value, self._launch[self._index[audit]], waiting, self._end)
        if len(found) == 0:
            return Live(None, None, None, 0, late, "", "no live interval: the first launches are awaited")
        bounds = beta_mixture(found) if scale == (0.0, 1.0) else hedged_betting(found, scale=scale)
        running = bounds.running()
        return Live(
            float(found.mean()),
            float(running.low[-1]),
            float(running.high[-1]),
            len(found),
            late,
            bounds.method,
            "",
        )

    def _refusal(self, mode: Mode, chosen: Any) -> str:
        planned = [item.repeats * (item.mode == mode) for item in self._answers.items]
        launches = Launches(
            self._slot[chosen], self._launch[chosen], self._condition[chosen], self._item[chosen]
        )
        return refusal(launches, np.tile(np.array(planned, np.intp), (len(self._answers.conditions), 1)))

"""What may be said of a cell while its plan is still running."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from stats.launches import Launches, horizon, in_launch_order, refusal
from stats.sequences import Sequence, beta_mixture, hedged_betting
from store.records import Mode

if TYPE_CHECKING:
    from collections import abc

    from stats.answers import Answers
    from stats.attempts import Attempts
    from stats.study import Question, StudyPlan
    from stats.variance import Codes, Floats

_SEQUENCES = 4096
"""Sequences that are remembered: most cells are as they were when the table was computed last."""


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


@dataclass(frozen=True)
class Step:
    """What was known after `n` answers in the order of launch; the bounds hold at all times together."""

    n: int
    estimate: float
    low: float
    high: float


class Order:
    """The order of launch of a study, for the live interval of any of its cells."""

    def __init__(self, answers: Answers) -> None:
        attempts = answers.attempts
        self._answers, self._attempts = answers, attempts
        self._ok, self._ended = attempts.ok, attempts.ended
        self._end, self._refused, self._of_condition = _launched(attempts, answers.plan)
        self._reasons: dict[Question, str] = {}
        """Why there is no live interval, or an empty text."""

    def live(
        self,
        question: Question,
        members: abc.Sequence[int],
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
            audit: For each its index into `Answers.attempts`.
            scale: Least and greatest possible value.
        """
        if reason := self._reason(question):
            return Live(None, None, None, 0, 0, "", f"no live interval: {reason}")
        found, late = self._in_order(question, members, value, audit)
        if len(found) == 0:
            return Live(None, None, None, 0, late, "", "no live interval: the first launches are awaited")
        bounds = _bounds(found.tobytes(), scale)
        last = (float(bounds.low[-1]), float(bounds.high[-1]))
        return Live(float(found.mean()), *last, len(found), late, bounds.method, "")

    def path(
        self,
        question: Question,
        members: abc.Sequence[int],
        value: Floats,
        audit: Codes,
        *,
        scale: tuple[float, float],
        looks: int,
    ) -> list[Step]:
        """What was known of one cell after so many answers, at evenly spread times; arguments as for `live`."""
        if self._reason(question):
            return []
        found, _ = self._in_order(question, members, value, audit)
        if len(found) == 0:
            return []
        bounds = _bounds(found.tobytes(), scale)
        counts = np.unique(np.ceil(np.linspace(0, len(found), looks + 1)[1:]).astype(int))
        return [
            Step(n, float(found[:n].mean()), float(bounds.low[n - 1]), float(bounds.high[n - 1]))
            for n in counts.tolist()
        ]

    def _in_order(
        self, question: Question, members: abc.Sequence[int], value: Floats, audit: Codes
    ) -> tuple[Floats, int]:
        """A cell's answers that count by now, in the order of launch, and how many came out of turn."""
        here = np.concatenate([self._of_condition[member] for member in members])
        here = here[self._answers.fits[question][self._attempts.item[here]]]
        known = np.zeros(len(self._ok), bool)
        for member in members:
            batch = self._answers.batches.get((question, member))
            if batch is not None:
                known[batch.audit] = True
                known[batch.lost] = True
        launch = self._attempts.launch
        settled = self._ended[here] & (known[here] | ~self._ok[here])
        return in_launch_order(value, launch[audit], launch[here[~settled]], self._end)

    def _reason(self, question: Question) -> str:
        """Why a question's cells have no live interval, or an empty text."""
        if question not in self._reasons:
            self._reasons[question] = self._refused[question.mode] or self._unequal(question)
        return self._reasons[question]

    def _unequal(self, question: Question) -> str:
        repeats = {item.repeats for item in self._answers.items_for(question)}
        return "its prompts are planned to be asked unequally often" if len(repeats) > 1 else ""


@lru_cache(2)
def _launched(attempts: Attempts, plan: StudyPlan) -> tuple[int, dict[Mode, str], list[Codes]]:
    """The horizon of the launches, by mode why no interval may be shown yet, and the attempts of each condition."""
    present = attempts.item >= 0
    refused: dict[Mode, str] = {}
    for k, mode in enumerate(Mode):
        chosen = present & (attempts.mode == k)
        launches = Launches(
            attempts.slot[chosen], attempts.launch[chosen], attempts.condition[chosen], attempts.item[chosen]
        )
        planned = [item.repeats * (item.mode == mode) for item in plan.items]
        refused[mode] = refusal(launches, np.tile(np.array(planned, np.intp), (len(plan.conditions), 1)))
    of_condition = [np.flatnonzero(present & (attempts.condition == k)) for k in range(len(plan.conditions))]
    return horizon(attempts.launch), refused, of_condition


@lru_cache(_SEQUENCES)
def _bounds(values: bytes, scale: tuple[float, float]) -> Sequence:
    """The bounds after each of the values, which never widen."""
    found = np.frombuffer(values)
    return (beta_mixture(found) if scale == (0.0, 1.0) else hedged_betting(found, scale=scale)).running()

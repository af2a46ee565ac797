"""What an annotator sees once an item is revealed: everybody's values on one axis, in text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cc_tui.state.labelling import said
from store.questions import Answer
from store.records import CUT, JudgementStatus, Verdict
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store.item_state import ItemState
    from store.questions import Question
    from store.records import Judgement
    from store.revealed import Revealed

WRONG = {
    "m": ("misread", "misread what was said"),
    "q": ("missing_quote", "rests on a quote that is not there"),
    "b": ("band_shift", "right evidence, wrong band"),
    "r": ("rubric_gap", "the rubric does not say"),
    "o": ("other", "other"),
}
"""Causes of a judge's error, by their keys."""
_NAME = 20
_MOST = 11


@dataclass(frozen=True, slots=True)
class Voice:
    """Somebody's values on one question."""

    name: str
    answers: tuple[Answer, ...]
    word: str = ""
    """What cannot stand on the axis: refused, unparsed, kept."""


def voices(question: Question, state: ItemState, found: Revealed) -> list[Voice]:
    """The annotator, other people and the judges, each with their values."""
    dimension = question.dimension
    mine = [Voice("you, blind", _some(state.answers.get(dimension)), "kept" * (dimension in state.kept))]
    if dimension in state.revised:
        mine.append(Voice("you, revised", _some(state.revised[dimension])))
    others = [
        Voice(f"{label.annotator}, blind", (Answer.of(label),))
        for label in found.others
        if label.dimension == dimension
    ]
    return [*mine, *others, *_judges(question, found)]


def _some(answer: Answer | None) -> tuple[Answer, ...]:
    return () if answer is None else (answer,)


def _judges(question: Question, found: Revealed) -> list[Voice]:
    by_judge: dict[str, list[Judgement]] = {}
    for judgement in found.judgements:
        if (judgement.dimension, judgement.kind) == (question.dimension, question.kind):
            by_judge.setdefault(judgement.judge, []).append(judgement)
    return [
        Voice(
            judge + " (reported)" * (judge == found.reported_judge),
            tuple(
                Answer(score=one.score, verdict=one.verdict)
                for one in judged
                if one.status is JudgementStatus.OK
            ),
            ", ".join(str(one.status) for one in judged if one.status is not JudgementStatus.OK),
        )
        for judge, judged in by_judge.items()
    ]


def axis(question: Question) -> list[str]:
    """The values that have a place."""
    if question.kind == "statement":
        return [said(Answer(verdict=verdict)) for verdict in Verdict]
    if question.kind == "choice":
        return question.choices
    if question.high - question.low < _MOST:
        return [f"{number:g}" for number in range(int(question.low), int(question.high) + 1)]
    return []


def plot(question: Question, rows: Iterable[Voice], width: int) -> list[str]:
    """A line for each voice, a dot for each of its values; the values themselves stand at the end.

    Args:
        question: what was asked.
        rows: the voices.
        width: cells of a line.
    """
    places = axis(question)
    room = width - _NAME - 14
    step = min(max(room // max(len(places), 1), 2), 12)
    lines = [" " * (_NAME + 1) + "".join(f"{one_line(place, step - 1):<{step}}" for place in places)]
    if question.kind == "rubric":
        # Bands end where the line is broken; where the rate's cut lies is marked.
        signs = ["─" * (step - 1) + ("╎" if int(place) == CUT - 1 else " ") for place in places]
        lines.append(" " * (_NAME + 1) + "".join(signs) + f"  ╎ cut at {CUT:g}")
    for row in rows:
        counts = Counter(_place(answer) for answer in row.answers)
        dots = "".join(f"{'●' * min(counts[place], step - 1):<{step}}" for place in places)
        values = " ".join(said(answer) for answer in row.answers)
        told = " · ".join(part for part in (values, row.word) if part) or "–"
        lines.append(f"{one_line(row.name, _NAME):<{_NAME}} {dots} {told}")
    return lines


def _place(answer: Answer) -> str:
    return f"{round(answer.score)}" if answer.score is not None else said(answer)


def why_drawn(found: Revealed) -> str:
    """Why the item was queued, in words."""
    drawn = found.drawn
    chance = "" if drawn.inclusion_prob is None else f", drawn with probability {drawn.inclusion_prob:.2g}"
    cause = f"{drawn.cause}, " if drawn.cause else ""
    return f"{found.condition_id}, {found.target_model} · why queued: {cause}stratum {drawn.stratum}{chance}"

"""What one annotator has done with one item of a round, as their events say it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from store.questions import Answer
from store.records import Label, LabelAction

if TYPE_CHECKING:
    from collections.abc import Iterable


class ItemState(msgspec.Struct):
    """What one annotator has done with one item; values by dimension."""

    drafts: dict[str, Answer] = {}
    answers: dict[str, Answer] = {}
    """Committed values: the blind ones, whatever is said after the reveal."""
    decided: dict[str, tuple[Answer | None, str]] = {}
    """An adjudicator's decisions, with their causes; None for no single answer."""
    revised: dict[str, Answer] = {}
    kept: set[str] = set()
    notes: dict[str, str] = {}
    spans: list[Label] = []
    wrong: list[Label] = []
    """Errors of judges, with `subject` and `reason`."""
    skipped: str | None = None
    """Why."""
    asked: str | None = None
    bookmarked: bool = False
    revealed: bool = False
    unblinded: bool = False
    """Whether it was revealed before its time; what is committed afterwards is not blind."""
    committed_at: datetime | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do with it before its reveal."""
        return self.committed_at is not None or self.skipped is not None

    @property
    def open_to_eyes(self) -> bool:
        """Whether its annotator may see what was hidden."""
        return self.revealed or self.unblinded


def state_of(events: Iterable[Label]) -> ItemState:
    """The state that an item's standing events add up to."""
    state = ItemState()
    for event in events:
        _apply(state, event)
    return state


def _apply(state: ItemState, event: Label) -> None:
    dimension, answer = event.dimension, Answer.of(event)
    match event.action:
        case LabelAction.DRAFT:
            state.drafts[dimension] = answer
        case LabelAction.LABEL:
            state.answers[dimension] = answer
            state.committed_at, state.skipped = event.created_at, None
        case LabelAction.ADJUDICATE:
            state.decided[dimension] = (answer or None, event.reason)
            state.committed_at = event.created_at
        case LabelAction.SKIP:
            state.skipped = event.reason
        case LabelAction.NOTE:
            state.notes[dimension] = event.note
        case LabelAction.SPAN:
            state.spans.append(event)
        case LabelAction.ASK:
            state.asked = event.note
        case LabelAction.BOOKMARK:
            state.bookmarked = event.reason == "on"
        case LabelAction.REVEAL:
            state.revealed = True
        case LabelAction.UNBLIND:
            state.unblinded = True
        case LabelAction.KEEP:
            state.kept.add(dimension)
            state.revised.pop(dimension, None)
        case LabelAction.REVISE:
            state.revised[dimension] = answer
            state.kept.discard(dimension)
        case LabelAction.JUDGE_WRONG:
            state.wrong.append(event)
        case _:
            pass

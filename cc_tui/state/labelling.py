"""One annotator's place in a round: the item in view, the question that the next key answers, what was done last."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from store.questions import Answer
from store.records import LabelAction, Verdict

if TYPE_CHECKING:
    from store.item_state import ItemState
    from store.questions import Question
    from store.records import Label
    from store.rounds import Assigned, Task
    from store.sitting import Sitting

SKIPS = {
    "1": "truncated or broken",
    "2": "cannot be scored",
    "3": "not my language or field",
    "4": "I know it from elsewhere",
    "5": "other",
}
"""Reasons for leaving an item out, by their keys."""
_MOST = 10
"""Values that have a key."""


def answer_of(question: Question, digit: int) -> Answer | None:
    """What a digit says to a question: a score, a number of a scale, one of the choices; None if nothing."""
    if question.kind == "choice":
        return Answer(choice=question.choices[digit - 1]) if 1 <= digit <= len(question.choices) else None
    if question.kind == "statement":
        return None
    number = float(digit or (0 if question.low <= 0 else _MOST))
    return Answer(score=number) if question.low <= number <= question.high else None


def spelled_out(question: Question) -> bool:
    """Whether the question takes numbers that no single key gives."""
    return question.kind == "scale" and question.high > _MOST


def said(answer: Answer) -> str:
    """An answer in words."""
    return str(answer).replace("_", " ")


@dataclass
class Labelling:
    """A place in a sitting. Methods that act block until the act is on disk; one runs at a time."""

    sitting: Sitting
    index: int | None = None
    """The item in view; None where nothing is left to label before a reveal, or at all."""
    asked: int = 0
    """Which of the item's questions the next key answers."""
    last: str = ""
    """What was done last, or why it was not."""
    keys: int = 0
    """Keys that were pressed on the item in view."""
    since: float = field(default_factory=monotonic)
    due: bool = False
    """Whether a closed part of the round can be revealed."""

    def __post_init__(self) -> None:
        self._enter(self.sitting.next_open())

    @property
    def item(self) -> Assigned | None:
        """The item in view."""
        return None if self.index is None else self.sitting.items[self.index]

    @property
    def state(self) -> ItemState:
        """What has been done with it."""
        return self.sitting.state(self._here)

    @property
    def task(self) -> Task:
        """The question that is asked, as the round names it."""
        return self._here.tasks[self.asked]

    @property
    def question(self) -> Question:
        """The question that is asked."""
        return self.sitting.head.question(self.task.dimension, self.task.kind)

    @property
    def seconds(self) -> float:
        """How long the item has been in view."""
        return round(monotonic() - self.since, 3)

    def ahead(self, count: int) -> list[str]:
        """The audits of this item and of the next open ones, `count` in all at most."""
        found: list[str] = []
        index = self.index
        while index is not None and len(found) < count:
            found.append(self.sitting.items[index].audit_id)
            following = self.sitting.next_open(index + 1)
            index = following if following is not None and following > index else None
        return list(dict.fromkeys(found))

    def turn(self, step: int) -> None:
        """Ask the next or previous question of the item."""
        self.keys += 1
        self.asked = (self.asked + step) % len(self._here.tasks)

    def go(self, index: int) -> None:
        """Bring another item into view."""
        self._enter(index)

    def answer(self, answer: Answer) -> None:
        """Draft an answer; the one that completes the item commits it and goes on.

        Raises:
            InputError: it is no answer to the question, or the item has been revealed.
        """
        self.keys += 1
        item, task = self._here, self.task
        self.sitting.draft(item, task, answer, seconds=self.seconds, keys=self.keys)
        self.last = f"{task.dimension}: {said(answer)}."
        missing = self._missing(self.asked + 1)
        if missing is None:
            self._commit(item)
        else:
            self.asked = missing

    def commit(self) -> None:
        """Turn the drafts into labels and go on.

        Raises:
            InputError: a question has no answer yet, or the item has been revealed.
        """
        self.keys += 1
        self._commit(self._here)

    def skip(self, reason: str) -> None:
        """Leave the item out and go on.

        Raises:
            InputError: the item has been revealed.
        """
        item = self._here
        self.sitting.skip(item, reason, seconds=self.seconds)
        self.last = f"Skipped: {reason}. u takes it back."
        self._enter(self.sitting.next_open(item.index + 1))

    def undo(self) -> None:
        """Take the last act back and go to its item."""
        self._return(self.sitting.undo(), "took back", "There is nothing to take back.")

    def redo(self) -> None:
        """Do again what was taken back and go to its item."""
        self._return(self.sitting.redo(), "did again", "There is nothing to do again.")

    def refresh(self) -> None:
        """Go to the next open item after a reveal."""
        self._enter(self.sitting.next_open())

    @property
    def _here(self) -> Assigned:
        item = self.item
        assert item is not None, "no item is in view"
        return item

    def _commit(self, item: Assigned) -> None:
        self.sitting.commit(item, seconds=self.seconds, keys=self.keys)
        values = self.state.answers
        self.last = " · ".join(f"{name}: {said(value)}" for name, value in values.items())
        self.last += ". u takes it back."
        self._enter(self.sitting.next_open(item.index + 1))

    def _return(self, done: tuple[Assigned, list[Label]] | None, what: str, nothing: str) -> None:
        if done is None:
            self.last = nothing
            return
        item, events = done
        self.last = f"{events[0].dimension}: {what} {_act(events[0])}."
        if self.sitting.state(item).revealed:
            return
        self._enter(item.index)
        names = [task.dimension for task in item.tasks]
        self.asked = names.index(events[0].dimension) if events[0].dimension in names else 0

    def _enter(self, index: int | None) -> None:
        self.index, self.keys, self.since, self.asked = index, 0, monotonic(), 0
        self.due = bool(self.sitting.due())
        if self.item is None:
            return
        self.sitting.open(self.item)
        self.asked = self._missing(0) or 0

    def _missing(self, start: int) -> int | None:
        """The first question without an answer from `start` on, else an earlier one; None if all have one."""
        tasks, drafts = self._here.tasks, self.state.drafts
        order = (*range(start, len(tasks)), *range(start))
        return next((at for at in order if tasks[at].dimension not in drafts), None)


def _act(event: Label) -> str:
    match event.action:
        case LabelAction.DRAFT | LabelAction.LABEL | LabelAction.REVISE:
            return said(Answer.of(event))
        case LabelAction.NOTE | LabelAction.ASK:
            return f"the {event.action} “{event.note}”"
        case LabelAction.SPAN:
            return "a passage"
        case LabelAction.SKIP:
            return "skipped"
        case _:
            return f"a {event.action.replace('_', ' ')}"


def mark_of_item(labelling: Labelling, item: Assigned) -> str:
    """A sign for what has been done with an item, never by colour alone."""
    state = labelling.sitting.state(item)
    if item.index == labelling.index:
        return "▸"
    if state.skipped is not None:
        return "s"
    if state.closed:
        return "✓"
    return "?" if state.asked else "~" if state.drafts else "·"


def verdict_of(word: str) -> Answer:
    """The answer to a statement."""
    return Answer(verdict=Verdict(word))

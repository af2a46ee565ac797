"""One annotator's way through a queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from store.ids import new_id
from store.queue import QueueItem
from store.records import Label, LabelAction, Mode, Verdict, now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store.queue import Question

_PACE_OVER = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What the annotator said: a score, a verdict, or neither for a skip."""

    score: float | None = None
    verdict: Verdict | None = None

    @property
    def action(self) -> LabelAction:
        """What kind of label event it makes."""
        return LabelAction.SKIP if self == Answer() else LabelAction.LABEL

    def __str__(self) -> str:
        if self.verdict is not None:
            return self.verdict.replace("_", " ")
        return "skipped" if self.score is None else f"{self.score:g}"


@dataclass
class Session:
    """The queue, what is answered already, and the item in view."""

    annotator: str
    items: list[QueueItem]
    answered: set[tuple[str, str]]
    note: str = ""
    """The note that goes with the next label."""
    seconds: list[float] = field(default_factory=list[float])
    """Time of each standing act, oldest first."""
    index: int = 0

    def __post_init__(self) -> None:
        self._to_open(0)

    @property
    def item(self) -> QueueItem | None:
        """The item in view; None when the queue is done."""
        return self.items[self.index] if self.index < len(self.items) else None

    @property
    def done(self) -> int:
        """Items of the queue that are labelled or skipped."""
        return sum((item.audit_id, item.dimension) in self.answered for item in self.items)

    @property
    def pace(self) -> float | None:
        """Median seconds of the latest acts."""
        return median(self.seconds[-_PACE_OVER:]) if self.seconds else None

    def ahead(self, count: int) -> list[str]:
        """The audits of this item and of the next ones, `count` in all at most."""
        coming = [item.audit_id for item in self.items[self.index :] if self._open(item)]
        return list(dict.fromkeys(coming))[:count]

    def event(self, answer: Answer, seconds: float, question: Question | None, *, simulated: bool) -> Label:
        """The label event for the item in view."""
        item = self.item
        assert item is not None, "the queue is done"
        return Label(
            label_id=new_id(),
            annotator=self.annotator,
            action=answer.action,
            audit_id=item.audit_id,
            dimension=item.dimension,
            message_id=None,
            span_start=None,
            span_end=None,
            score=answer.score,
            verdict=answer.verdict,
            note=self.note,
            seconds=seconds,
            blind=True,
            queue=item.queue,
            stratum=item.stratum,
            inclusion_prob=item.inclusion_prob,
            rubric_hash=question.hash_of(item.kind) if question else "",
            supersedes=None,
            created_at=now(),
            simulated=simulated,
        )

    def record(self, label: Label) -> None:
        """The event is on disk: go to the next open item."""
        self.answered.add((label.audit_id, label.dimension))
        self.seconds.append(label.seconds)
        self.note = ""
        self._to_open(self.index + 1)

    def take_back(self, label: Label, mode: str) -> None:
        """The event was retracted: go back to its item, also one that this queue did not draw."""
        key = (label.audit_id, label.dimension)
        self.answered.discard(key)
        if self.seconds:
            self.seconds.pop()
        self.note = label.note
        for index, item in enumerate(self.items):
            if (item.audit_id, item.dimension) == key:
                self.index = index
                return
        item = QueueItem(
            audit_id=label.audit_id,
            dimension=label.dimension,
            kind="statement" if mode == Mode.SINGLE_TURN else "rubric",
            mode=mode,
            queue=label.queue,
            stratum=label.stratum,
            inclusion_prob=label.inclusion_prob or 0.0,
        )
        self.items.insert(self.index, item)

    def _open(self, item: QueueItem) -> bool:
        return (item.audit_id, item.dimension) not in self.answered

    def _to_open(self, start: int) -> None:
        """Go to the first open item from `start` on, else to an earlier one that was left open."""
        order: Iterable[int] = (*range(start, len(self.items)), *range(start))
        self.index = next((index for index in order if self._open(self.items[index])), len(self.items))

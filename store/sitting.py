"""One person's work on a round: every act is an event on disk, and the state of an item is what its events say.

An item's questions are drafted one by one and committed together. A commit may be taken back until the item is
revealed; from then on the blind value stays, and what is said later stands beside it.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

from store.acts import SHOWN, Acts, Key, Past, key_of
from store.adjudication import CAUSES
from store.errors import InputError
from store.ids import new_id
from store.item_state import ItemState, state_of
from store.questions import Answer
from store.records import Label, LabelAction, RevealAt, RoundKind, now
from store.rounds import Assigned, RoundHead, Task, assigned

if TYPE_CHECKING:
    from store.labels import LabelLog
    from store.store import Store

_PACE_OVER = 20
_RECENT = 200
"""Events that pace and keys are told from."""
_CLOSING = (LabelAction.LABEL, LabelAction.SKIP, LabelAction.ADJUDICATE)


class Progress(msgspec.Struct, frozen=True):
    """How far a person is."""

    done: int
    """Items that are committed or skipped."""
    total: int
    skipped: int
    asked: int
    waiting: int
    """Blind repeats whose time has not come."""
    block: int
    block_done: int
    block_total: int
    pace: float | None
    """Median seconds of the latest items."""
    left_s: float | None
    keys_per_label: float | None

    @property
    def many_skips(self) -> bool:
        """More than one in twenty: what is skipped may differ from what is labelled."""
        return self.skipped > 0.05 * max(self.done, 20)


class Sitting:
    """A person at a round. Its methods that write block until the event is on disk.

    Args:
        store: the store.
        head: the round.
        log: the person's own labels; one that may only look refuses every act.
    """

    def __init__(self, store: Store, head: RoundHead, log: LabelLog | Past) -> None:
        self.head = head
        self.log = log
        self.items: list[Assigned] = assigned(store, head.round_id, log.annotator)
        self._acts = Acts(log, head.round_id)
        self._by_key = {item.key: item for item in self.items}
        self._blocks: defaultdict[int, list[Assigned]] = defaultdict(list)
        for item in self.items:
            self._blocks[item.block].append(item)
        self._opened: set[Key] = set()
        self._worked: set[Key] = set()
        self._shown: set[Key] = set()
        self._done: set[Key] = set()
        self._skipped: set[Key] = set()
        self._asked: set[Key] = set()
        for key in self._acts.items:
            self._sort(key)

    # What there is

    def state(self, item: Assigned) -> ItemState:
        """What has been done with an item."""
        return state_of(self._acts.of(item.key))

    def history(self, count: int = 10) -> list[tuple[Assigned, Label]]:
        """The latest standing answers and skips, newest first."""
        found: list[tuple[Assigned, Label]] = []
        for event in reversed(self._acts.standing.values()):
            if event.action in (LabelAction.LABEL, LabelAction.SKIP) and key_of(event) in self._by_key:
                found.append((self._by_key[key_of(event)], event))
                if len(found) == count:
                    break
        return found

    def next_open(self, start: int = 0) -> int | None:
        """Index of the next item to label from `start` on, else of an earlier one left open; None when all is done.

        A later block is not offered while an earlier one waits for its reveal.
        """
        last = len(self.items)
        if self.head.reveal is RevealAt.BLOCK and (due := self.due()):
            last = max(item.index for item in due) + 1
        for index in (*range(start, last), *range(min(start, last))):
            item = self.items[index]
            if not self._closed(item) and not self._waits(item):
                return index
        return None

    def progress(self, index: int = 0) -> Progress:
        """How far the person is; the block is the one of the item at `index`."""
        block = self.items[index].block if self.items else 0
        of_block = [self._closed(item) for item in self._blocks[block]]
        labels = [
            event
            for event in islice(reversed(self._acts.standing.values()), _RECENT)
            if event.action is LabelAction.LABEL
        ]
        seconds = list({key_of(event): event.seconds for event in labels}.values())[:_PACE_OVER]
        keys = [event.keys for event in labels if event.keys is not None]
        pace = median(seconds) if seconds else None
        left = len(self.items) - len(self._done)
        return Progress(
            done=len(self._done),
            total=len(self.items),
            skipped=len(self._skipped),
            asked=len(self._asked),
            waiting=sum(self._waits(item) for item in self.items if item.repeat),
            block=block,
            block_done=sum(of_block),
            block_total=len(of_block),
            pace=pace,
            left_s=None if pace is None else pace * left,
            keys_per_label=sum(keys) / len(keys) if keys else None,
        )

    # Blindness

    @property
    def blind(self) -> bool:
        """Whether this person has an item in hand, or in an unfinished block, that is still hidden."""
        return bool((self._worked | self._opened) - self._shown)

    def open(self, item: Assigned) -> None:
        """The item is in front of the person: what is hidden of it must stay hidden."""
        self._opened.add(item.key)

    def due(self) -> list[Assigned]:
        """The items that can be revealed now: those of the earliest whole part that is closed and still hidden."""
        if self.head.reveal is RevealAt.ITEM:
            return [item for item in self.items if self._closed(item) and not self._seen(item.key)][:1]
        parts: dict[int, list[Assigned]] = defaultdict(list)
        for item in self.items:
            if not (self.head.kind is RoundKind.SOLO and item.repeat):
                parts[item.block if self.head.reveal is RevealAt.BLOCK else 0].append(item)
            elif self._closed(item):
                parts[-1 - item.index].append(item)
        for part in parts.values():
            hidden = [item for item in part if not self._seen(item.key)]
            if hidden and all(self._closed(item) for item in part):
                return hidden
        return []

    def reveal(self) -> list[Assigned]:
        """Reveal what is due; it cannot be taken back.

        Raises:
            InputError: the block is not closed yet.
        """
        due = self.due()
        if not due:
            raise InputError("This block is not closed yet: label or skip the rest of it first.")
        at = now()
        self._append([self._event(LabelAction.REVEAL, i, t, at) for i in due for t in i.tasks])
        return due

    def unblind(self, item: Assigned) -> None:
        """Break the blindness of one item; it is on record, and what is committed later is not blind."""
        at = now()
        self._append([self._event(LabelAction.UNBLIND, item, task, at) for task in item.tasks])

    # Acts

    def draft(
        self, item: Assigned, task: Task, answer: Answer, *, seconds: float = 0.0, keys: int | None = None
    ) -> None:
        """Give a value that is not committed yet; the last one holds.

        Raises:
            InputError: the value is none of the question's, or the item is revealed.
        """
        self.head.question(task.dimension, task.kind).check(answer)
        self._still_hidden(item)
        self._append(
            [self._event(LabelAction.DRAFT, item, task, **_value(answer), seconds=seconds, keys=keys)]
        )

    def commit(self, item: Assigned, *, seconds: float = 0.0, keys: int | None = None) -> None:
        """Turn the drafts of an item into labels.

        Args:
            item: the item; each of its questions has a draft.
            seconds: time on the item.
            keys: keys pressed on the item, shared out among its labels.

        Raises:
            InputError: a question has no value, or the item is revealed.
        """
        self._still_hidden(item)
        state = self.state(item)
        missing = [t.dimension for t in item.tasks if t.dimension not in state.drafts]
        if missing:
            raise InputError(f"There is no value yet for {', '.join(missing)}.")
        at = now()
        shares = [None] * len(item.tasks) if keys is None else _shares(keys, len(item.tasks))
        self._append(
            [
                self._event(
                    LabelAction.LABEL,
                    item,
                    task,
                    at,
                    **_value(state.drafts[task.dimension]),
                    note=state.notes.get(task.dimension, ""),
                    seconds=seconds,
                    keys=share,
                    blind=not state.unblinded,
                )
                for task, share in zip(item.tasks, shares, strict=True)
            ]
        )

    def skip(self, item: Assigned, reason: str, *, seconds: float = 0.0) -> None:
        """Leave an item without labels; it stays part of the round and can be labelled until its reveal."""
        self._still_hidden(item)
        at = now()
        self._append(
            [
                self._event(LabelAction.SKIP, item, task, at, reason=reason, seconds=seconds)
                for task in item.tasks
            ]
        )

    def ask(self, item: Assigned, task: Task, text: str) -> None:
        """Put a question to the adjudicator; the item stays open."""
        self._append([self._event(LabelAction.ASK, item, task, note=text)])

    def note(self, item: Assigned, task: Task, text: str) -> None:
        """Write the note that goes with the label."""
        self._append([self._event(LabelAction.NOTE, item, task, note=text)])

    def bookmark(self, item: Assigned) -> None:
        """Mark an item to find it again, or take the mark away."""
        marked = self.state(item).bookmarked
        self._append(
            [self._event(LabelAction.BOOKMARK, item, item.tasks[0], reason="off" if marked else "on")]
        )

    def span(self, item: Assigned, task: Task, message_id: str, start: int, end: int, quote: str) -> None:
        """Attach a passage, in code points of the message's text, as evidence for the answer."""
        self._append(
            [
                self._event(
                    LabelAction.SPAN,
                    item,
                    task,
                    message_id=message_id,
                    span_start=start,
                    span_end=end,
                    quote=quote,
                )
            ]
        )

    def keep(self, item: Assigned, task: Task) -> None:
        """Stand by the blind value after the reveal."""
        self._after_reveal(item)
        self._append([self._event(LabelAction.KEEP, item, task)])

    def revise(self, item: Assigned, task: Task, answer: Answer, reason: str = "") -> None:
        """Say another value after the reveal; the blind one stays on record."""
        self.head.question(task.dimension, task.kind).check(answer)
        self._after_reveal(item)
        self._append([self._event(LabelAction.REVISE, item, task, **_value(answer), reason=reason)])

    def judge_wrong(self, item: Assigned, task: Task, judge: str, cause: str) -> None:
        """Put a judge's error on record, with its cause."""
        self._after_reveal(item)
        self._append([self._event(LabelAction.JUDGE_WRONG, item, task, subject=judge, reason=cause)])

    def adjudicate(
        self,
        item: Assigned,
        task: Task,
        answer: Answer | None,
        cause: str,
        note: str = "",
        *,
        seconds: float = 0.0,
    ) -> None:
        """Decide a question on which people differ.

        Args:
            item: the item.
            task: the question.
            answer: one of theirs or a third one; None where there is no single answer.
            cause: one of `store.adjudication.CAUSES`.
            note: why.
            seconds: time on the item.

        Raises:
            InputError: the round is no adjudication, the cause is unknown or the value is none of the question's.
        """
        if self.head.kind is not RoundKind.ADJUDICATION:
            raise InputError("Only a round of adjudication decides for others.")
        if cause not in CAUSES:
            raise InputError(f"The cause is one of {', '.join(CAUSES)}, not {cause}.")
        self._still_hidden(item)
        if answer is not None:
            self.head.question(task.dimension, task.kind).check(answer)
        value = _value(answer or Answer())
        self._append(
            [
                self._event(
                    LabelAction.ADJUDICATE, item, task, **value, reason=cause, note=note, seconds=seconds
                )
            ]
        )

    def undo(self) -> tuple[Assigned, list[Label]] | None:
        """Take the last act in the round back, across items and restarts; a reveal and what was before it stay.

        Returns:
            The item to go back to and the events taken back, or None if there is nothing to take back.
        """
        return self._changed(self._acts.undo())

    def redo(self) -> tuple[Assigned, list[Label]] | None:
        """Do again what was last taken back, if nothing else was done since."""
        return self._changed(self._acts.redo())

    # Inside

    def _event(
        self, action: LabelAction, item: Assigned, task: Task, at: datetime | None = None, **fields: Any
    ) -> Label:
        values: dict[str, Any] = {
            "message_id": None,
            "span_start": None,
            "span_end": None,
            "score": None,
            "verdict": None,
            "note": "",
            "seconds": 0.0,
            "blind": not self._seen(item.key),
            **fields,
        }
        return Label(
            label_id=new_id(),
            annotator=self.log.annotator,
            action=action,
            audit_id=item.audit_id,
            dimension=task.dimension,
            # Where the item was drawn and why stays in the round's file: this process must not know.
            queue=self.head.round_id,
            stratum="",
            inclusion_prob=None,
            rubric_hash=self.head.question(task.dimension, task.kind).hash,
            supersedes=None,
            created_at=at or now(),
            simulated=self.head.simulated,
            purpose=self.head.kind,
            repeat=item.repeat,
            reveals=self._acts.reveals[task.dimension],
            **values,
        )

    def _append(self, events: list[Label]) -> None:
        for key in self._acts.append(events):
            self._sort(key)

    def _changed(self, act: list[Label]) -> tuple[Assigned, list[Label]] | None:
        if not act:
            return None
        key = key_of(act[0])
        self._sort(key)
        return self._by_key[key], act

    def _sort(self, key: Key) -> None:
        """Put an item into the sets that it belongs to now."""
        events = list(self._acts.of(key))
        item = self._by_key.get(key)
        answered = {event.dimension for event in events if event.action in _CLOSING}
        skipped = False
        for event in events:
            if event.action in _CLOSING:
                skipped = event.action is LabelAction.SKIP
        for group, belongs in (
            (self._worked, bool(events)),
            (self._shown, any(event.action in SHOWN for event in events)),
            (self._done, item is not None and answered.issuperset(task.dimension for task in item.tasks)),
            (self._skipped, skipped),
            (self._asked, any(event.action is LabelAction.ASK for event in events)),
        ):
            (group.add if belongs else group.discard)(key)

    def _closed(self, item: Assigned) -> bool:
        return item.key in self._done

    def _seen(self, key: Key) -> bool:
        return key in self._shown

    def _waits(self, item: Assigned) -> bool:
        """Whether a solo round's blind repeat comes too early."""
        if not item.repeat or self.head.kind is not RoundKind.SOLO or self._closed(item):
            return False
        first = [e for e in self._acts.of((item.audit_id, 0)) if e.action is LabelAction.LABEL]
        wait = timedelta(days=self.head.relabel_after_days)
        return not first or first[-1].created_at + wait > now()

    def _still_hidden(self, item: Assigned) -> None:
        if self.state(item).revealed:
            raise InputError(
                "This item has been revealed: its blind value stays, and a revision stands beside it."
            )

    def _after_reveal(self, item: Assigned) -> None:
        if not self._seen(item.key):
            raise InputError("This item is still hidden: it can be revised after its reveal.")


def _value(answer: Answer) -> dict[str, Any]:
    return {"score": answer.score, "verdict": answer.verdict, "choice": answer.choice}


def _shares(keys: int, labels: int) -> list[int]:
    return [keys // labels + (k < keys % labels) for k in range(labels)]

"""One person's acts in one round: what stands, what belongs together, and what can be done again.

Events that were appended together have the same time and are one act: a commit of two labels is undone as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from store.errors import InputError
from store.ids import new_id
from store.records import Label, LabelAction, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from store.labels import LabelLog

Key = tuple[str, int]
"""An item: audit and repeat."""
SHOWN = (LabelAction.REVEAL, LabelAction.UNBLIND)
"""Acts after which the annotator may see what was hidden."""
_SILENT = frozenset({"label_id", "created_at", "seconds", "keys", "supersedes"})
"""Fields in which an act that is done again may differ from what it was."""


def key_of(event: Label) -> Key:
    """The item that an event is about."""
    return event.audit_id, event.repeat


class Past:
    """Somebody's labels, to look at."""

    def __init__(self, annotator: str, events: list[Label]) -> None:
        self.annotator = annotator
        self.events = events

    read_only = True

    def close(self) -> None:
        """There is nothing to let go."""

    def append(self, *labels: Label) -> None:
        """Refuse."""
        raise InputError(f"The labels of {self.annotator} are only looked at here.")


class Acts:
    """The acts of a round; those that write block until the event is on disk."""

    def __init__(self, log: LabelLog | Past, round_id: str) -> None:
        self.log = log
        self.standing: dict[str, Label] = {}
        """Events that nothing takes back, by id, oldest first."""
        self.reveals: defaultdict[str, int] = defaultdict(int)
        """Reveals that the annotator has seen in any round, by dimension."""
        self._by_item: defaultdict[Key, dict[str, Label]] = defaultdict(dict)
        self._redo: list[list[Label]] = []
        self._last: Label | None = None
        for event in log.events:
            self._count(event)
            if event.queue == round_id:
                self._take(event)

    @property
    def items(self) -> Mapping[Key, Mapping[str, Label]]:
        """Standing events by item; an item whose events are all taken back has none."""
        return self._by_item

    def of(self, key: Key) -> Iterable[Label]:
        """The standing events of one item, oldest first."""
        return self._by_item[key].values() if key in self._by_item else ()

    def append(self, events: list[Label]) -> set[Key]:
        """Put an act on disk; returns the items that it is about."""
        self.log.append(*events)
        for event in events:
            self._count(event)
            self._take(event)
        return {key_of(event) for event in events}

    def undo(self) -> list[Label]:
        """Take the last act back and return it; nothing where that is a reveal, or there is none."""
        act = self._last_act()
        if not act or act[0].action in SHOWN:
            return []
        at = now()
        self.append(
            [
                msgspec.structs.replace(
                    event,
                    label_id=new_id(),
                    action=LabelAction.RETRACT,
                    supersedes=event.label_id,
                    seconds=0.0,
                    created_at=at,
                )
                for event in act
            ]
        )
        return act

    def redo(self) -> list[Label]:
        """Do again what was last taken back and return it; nothing if something else was done since."""
        if not self._redo:
            return []
        at = now()
        again = [msgspec.structs.replace(event, label_id=new_id(), created_at=at) for event in self._redo[-1]]
        self.append(again)
        return again

    def _count(self, event: Label) -> None:
        if event.action in SHOWN:
            self.reveals[event.dimension] += 1

    def _take(self, event: Label) -> None:
        if event.action is LabelAction.RETRACT:
            gone = self.standing.pop(event.supersedes or "", None)
            if gone is not None:
                del self._by_item[key_of(gone)][gone.label_id]
                last = self._last
                if self._redo and last is not None and last.created_at == event.created_at:
                    self._redo[-1].append(gone)
                else:
                    self._redo.append([gone])
        else:
            self.standing[event.label_id] = event
            self._by_item[key_of(event)][event.label_id] = event
            same = (
                next((e for e in self._redo[-1] if _content(e) == _content(event)), None)
                if self._redo
                else None
            )
            if same is None:
                self._redo.clear()
            else:
                self._redo[-1].remove(same)
                if not self._redo[-1]:
                    self._redo.pop()
        self._last = event

    def _last_act(self) -> list[Label]:
        act: list[Label] = []
        for event in reversed(self.standing.values()):
            if act and event.created_at != act[0].created_at:
                break
            act.append(event)
        return act[::-1]


def _content(event: Label) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Label.__struct_fields__ if name not in _SILENT}

"""People's labels: one append-only file for each annotator.

A label, a skip and an undo are events; nothing is ever overwritten. The current labels are those that no later
event supersedes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
from typing import TYPE_CHECKING

import msgspec

from store import layout
from store.errors import InputError, StoreError
from store.ids import new_id
from store.journal import encode_row
from store.lake import cut_torn_tail
from store.records import Label, LabelAction, now

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from store.store import Store

IMPORTED = "import:"
"""What the queue of labels that other programs gave begins with; the file's name follows."""
_READ_ONLY = "{} has been taken over by another window: this one can only look now."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class AnnotatorBusyError(InputError):
    """Another process labels under this name."""


class _Line(msgspec.Struct, frozen=True):
    n: int
    label_events: Label


def check_name(annotator: str) -> None:
    """Raise `InputError` for a name that cannot be a label file's."""
    if not _NAME.fullmatch(annotator):
        raise InputError(
            f"An annotator's name is 1-64 letters, digits or any of _ . @ -, starting with a letter or digit, "
            f"not {annotator!r}."
        )


class LabelLog:
    """One annotator's labels; safe to use from any thread, by one process at a time.

    Raises:
        InputError: the name cannot be a file's name, the file is damaged, or another process labels under it
            (`AnnotatorBusyError`), unless this is only to `look` in that case.
    """

    def __init__(self, store: Store, annotator: str, *, look: bool = False) -> None:
        check_name(annotator)
        self.annotator = annotator
        self.path = store.root / layout.LABELS / f"{annotator}.jsonl"
        self._guard = threading.Lock()
        try:
            self._file = self._open_locked()
        except AnnotatorBusyError:
            if not look:
                raise
            self._file = -1
            self._events = read_labels(self.path)
            self._size = 0
            return
        try:
            layout.fsync_folder(self.path.parent)
            cut_torn_tail(self.path)
            self._events = read_labels(self.path)
            self._size = os.fstat(self._file).st_size
        except OSError as error:
            self.close()
            raise InputError(f"{self.path} cannot be written: {error.strerror}.") from None
        except InputError:
            self.close()
            raise

    @property
    def events(self) -> list[Label]:
        """Every event, in the order in which it was given."""
        return self._events.copy()

    @property
    def history(self) -> list[Label]:
        """Events that no later event supersedes, oldest first: labels and skips."""
        gone = {event.supersedes for event in self._events}
        answers = (LabelAction.LABEL, LabelAction.SKIP)
        return [e for e in self._events if e.label_id not in gone and e.action in answers]

    @property
    def current(self) -> dict[tuple[str, str], Label]:
        """The standing label or skip of each (audit, dimension)."""
        return {(event.audit_id, event.dimension): event for event in self.history}

    def append(self, *labels: Label) -> None:
        """Add events; they are on disk when this returns.

        Raises:
            StoreError: the disk refused; none of the events counts.
            AnnotatorBusyError: another window has taken the name over; none of the events counts.
        """
        with self._guard:
            if self._file < 0:
                raise AnnotatorBusyError(_READ_ONLY.format(self.annotator))
            line = encode_labels(labels, len(self._events) + 1)
            try:
                # Whatever a failed append has left, should cutting it have failed as well.
                os.ftruncate(self._file, self._size)
                layout.write_all(self._file, line)
                os.fdatasync(self._file)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._size)
                raise StoreError(
                    f"The label could not be written ({error.strerror}): give it again."
                ) from None
            if not self._own():
                self._lose(labels)
            self._events += labels
            self._size += len(line)

    def _own(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _lose(self, labels: Sequence[Label]) -> None:
        """Another window has taken over: it has these events if they came in time, else they do not count."""
        os.close(self._file)
        self._file = -1
        kept = {event.label_id for event in read_labels(self.path)}
        if not all(label.label_id in kept for label in labels):
            raise AnnotatorBusyError(_READ_ONLY.format(self.annotator))

    def undo(self) -> Label | None:
        """Retract the newest standing event; returns what was retracted, or None if nothing stands."""
        standing = self.history
        if not standing:
            return None
        last = standing[-1]
        self.append(
            msgspec.structs.replace(
                last,
                label_id=new_id(),
                action=LabelAction.RETRACT,
                supersedes=last.label_id,
                score=None,
                verdict=None,
                note="",
                seconds=0.0,
                created_at=now(),
            )
        )
        return last

    def close(self) -> None:
        """Let the annotator's file go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def read_only(self) -> bool:
        """Whether this window may look only: another one has the name."""
        return self._file < 0

    def take_over(self) -> None:
        """Take the name from the window that has it, which can only look from then on.

        The file is replaced by a copy of which this window has the lock. What the other one writes into the old file
        before it notices is added; it tells its user that the name has gone.
        """
        with self._guard:
            if self._file >= 0:
                return
            with self.path.open("rb") as old:
                kept = whole_lines(old.read())
                layout.replace_file(self.path, kept)
                self._file = self._open_locked()
                old.seek(len(kept))
                late = whole_lines(old.read())
            layout.write_all(self._file, late)
            os.fsync(self._file)
            self._events = read_labels(self.path)
            self._size = os.fstat(self._file).st_size

    def _open_locked(self) -> int:
        while True:
            try:
                handle = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
            except OSError as error:
                raise InputError(f"{self.path} cannot be written: {error.strerror}.") from None
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise AnnotatorBusyError(
                    f"{self.annotator} is labelling in another window: close it, or use another name."
                ) from None
            if os.path.samestat(os.fstat(handle), os.stat(self.path)):
                return handle
            # A merge has put another file in this one's place since it was opened.
            os.close(handle)


def label_files(store: Store) -> list[Path]:
    """Everybody's label files."""
    return sorted((store.root / layout.LABELS).glob("[!_.]*.jsonl"))


def read_labels(path: Path) -> list[Label]:
    """The events of a label file, in order; a torn last line, which was never acknowledged, is passed over.

    Raises:
        InputError: the file cannot be read, or a line is no label event.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    events: list[Label] = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(msgspec.json.decode(line, type=_Line).label_events)
        except msgspec.DecodeError as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number} is no label event: {error}.") from None
    return events


def encode_labels(events: Sequence[Label], first: int = 1) -> bytes:
    """Lines of a label file, numbered from `first`."""
    return b"".join(encode_row(n, event) + b"\n" for n, event in enumerate(events, start=first))


def whole_lines(content: bytes) -> bytes:
    """What of a file has been written to the end of a line."""
    return content[: content.rfind(b"\n") + 1]

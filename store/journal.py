"""The write path: append-only segments with group commit.

A thread gathers what the event loop hands over, writes whole lines, syncs them to disk and only then
acknowledges. A line is `{"n": 7, "messages": {…}}`: the row's number in its journal and the row under the name
of its table. A restart opens a new writer, so no file is ever continued after a crash.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

import msgspec

from store import layout
from store.errors import StoreError
from store.ids import new_id
from store.lease import BEAT_S, Lease
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from store.records import Record

MAX_ROW_BYTES = 16_000_000
"""DuckDB's limit for a JSON object; its readers set aside twice as much for each thread."""
_LINGER_S = 0.003
_MAX_GROUP = 2_000

_encoder = msgspec.json.Encoder()
_Batch = tuple[list[bytes], "Future[None]"]


def encode_row(n: int, row: Record) -> bytes:
    """The journal line of a row, without its newline."""
    try:
        body = _encoder.encode(row)
    except UnicodeEncodeError:
        body = _encoder.encode(_storable(msgspec.to_builtins(row)))
    return b'{"n":%d,"%s":%s}' % (n, row.table.encode(), body)


class Journal:
    """One writer's journal; safe to use from any thread.

    Args:
        root: the store's folder.
        study_id: study that the rows belong to.
        run_id: run that the rows belong to.
        segment_bytes: size at which a segment is sealed and the next one is begun.
        segment_seconds: age at which a segment that holds rows is sealed.

    Raises:
        StoreError: the journal's folder cannot be made.
    """

    def __init__(
        self,
        root: Path,
        study_id: str,
        run_id: str,
        *,
        segment_bytes: int = 8_000_000,
        segment_seconds: float = 30.0,
    ) -> None:
        self.writer = f"{study_id}.{run_id}.{new_id()[-8:]}"
        self._folder = root / layout.JOURNAL / self.writer
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._segment = 0
        # Not a SimpleQueue: its `get` with a timeout waits for ever where it is woken in vain after the deadline.
        self._queue: queue.Queue[_Batch | None] = queue.Queue()
        self._numbering = threading.Lock()
        self._next_n = 1
        self._failure: StoreError | None = None
        self._closed = False
        try:
            self._folder.mkdir(parents=True)
            self._lease = Lease(self._folder)
            layout.fsync_folder(self._folder.parent)
            self._open_segment()
        except OSError as error:
            raise StoreError(f"The journal {self._folder} cannot be made: {error.strerror}.") from None
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def append(self, rows: Sequence[Record]) -> Future[None]:
        """Write `rows` in order; the future is done when all of them are on disk.

        A process that dies before that may leave the first of them.

        Raises:
            StoreError: through the future, when the disk refuses; the journal takes nothing more after that.
        """
        done: Future[None] = Future()
        with self._numbering:
            if self._failure or self._closed:
                done.set_exception(self._failure or StoreError("The journal is closed."))
                return done
            first = self._next_n
            self._next_n += len(rows)
            lines = [encode_row(first + i, row) for i, row in enumerate(rows)]
            if max(map(len, lines), default=0) > MAX_ROW_BYTES:
                self._next_n = first
                done.set_exception(
                    StoreError(f"A row is larger than {MAX_ROW_BYTES:,} bytes and cannot be kept.")
                )
                return done
            self._queue.put((lines, done))
        return done

    async def write(self, rows: Sequence[Record]) -> None:
        """Write `rows` and return when they are on disk; cancelling the wait takes nothing back.

        Raises:
            StoreError: the disk refused.
        """
        done = asyncio.wrap_future(self.append(rows))
        # When nobody waits any more, the failure is still seen by whoever writes next.
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        await asyncio.shield(done)

    def close(self) -> None:
        """Write what is waiting, seal the last segment and let the writer's lock go."""
        with self._numbering:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        os.close(self._file)
        self._lease.release()

    def _open_segment(self) -> None:
        self._segment += 1
        path = self._folder / f"{self._segment:06}.jsonl"
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
        layout.fsync_folder(self._folder)
        self._bytes = 0
        self._opened = time.monotonic()

    def _work(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=min(self._segment_seconds, BEAT_S))
            except queue.Empty:
                self._confirm_lease()
                self._rotate_if_due()
                continue
            if item is None:
                return
            group, last = self._gather(item)
            self._commit(group)
            if last:
                return
            self._rotate_if_due()

    def _gather(self, first: _Batch) -> tuple[list[_Batch], bool]:
        group = [first]
        deadline = time.monotonic() + _LINGER_S
        while len(group) < _MAX_GROUP:
            try:
                item = self._queue.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
        return group, False

    def _commit(self, group: list[_Batch]) -> None:
        if self._failure is None:
            data = b"".join(line + b"\n" for lines, _ in group for line in lines)
            try:
                layout.write_all(self._file, data)
                os.fdatasync(self._file)
                self._bytes += len(data)
            except OSError as error:
                # After a failed sync the kernel may drop the pages, so trying again would prove nothing.
                self._failure = StoreError(
                    f"The journal {self._folder} cannot be written ({error.strerror}): free or repair the disk, "
                    "then run again; nothing that was acknowledged is lost."
                )
            else:
                # A segment that another machine has taken may have been read before these rows were in it.
                self._confirm_lease()
        for _, done in group:
            if self._failure is None:
                done.set_result(None)
            else:
                done.set_exception(self._failure)

    def _confirm_lease(self) -> None:
        try:
            self._lease.confirm()
        except OSError as error:
            self._failure = self._failure or StoreError(
                f"The journal {self._folder} is no longer this process's own ({error.strerror}): it was silent "
                "for so long that another machine took it over. Run again; nothing that was acknowledged is lost."
            )

    def _rotate_if_due(self) -> None:
        if self._failure or not self._bytes:
            return
        age = time.monotonic() - self._opened
        if self._bytes < self._segment_bytes and age < self._segment_seconds:
            return
        sealed = self._file
        try:
            self._open_segment()
        except OSError as error:
            self._failure = StoreError(f"The journal {self._folder} cannot be continued ({error.strerror}).")
        else:
            os.close(sealed)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {_storable(k): _storable(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_storable(v) for v in cast("list[Any]", value)]
    return value

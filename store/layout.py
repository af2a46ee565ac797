"""Where things lie in a store, and the small file operations that must survive a crash.

```
<store>/
  store.json                                  layout version, who made it
  journal/<writer>/<segment>.jsonl            append-only; `.lock` is held while the writer lives (`store.lease`)
  lake/<table>/study_id=…/run_id=…/<writer>-<first>-<last>.parquet    immutable; holds segments first to last
  lake/_manifest/<writer>-<first>-<last>.json what those segments became, written after all tables
  labels/<annotator>.jsonl                    append-only, one file for each person
  labels/rounds/<round_id>.jsonl              immutable, one file for each planned round of labelling
  labels/rubrics/<hash>.json                  immutable, one file for each new version of a question
  training/<recipe>-<hash>.jsonl              append-only copies of journals of training (`auditors.training.ledger`)
  desk/<person>.json                          what a person keeps beside the data; no part of it
  catalog.duckdb                              views only
```
A writer's name is `<study_id>.<run_id>.<nonce>`, so that its files say where they belong.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from store.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

JOURNAL = "journal"
LAKE = "lake"
LABELS = "labels"
ROUNDS = "labels/rounds"
RUBRICS = "labels/rubrics"
DESK = "desk"
TRAINING = "training"
STORE_FILE = "store.json"
CATALOG = "catalog.duckdb"
MARKS = "_manifest"
SPILL = ".spill"
"""Folder of the lake where a large sort puts what does not fit into memory."""
NO_WRITER = "none.none.none"
"""Writer of the files without rows that tell a table's columns."""

SPAN_NAME = r"^(.+?)-(\d+)(?:-(\d+))?$"
"""Name of a Parquet file or mark without its suffix; format 1 gave a single segment one number."""


class Span(NamedTuple):
    """The journal segments that a file stands for: one writer's, from `first` to `last`."""

    writer: str
    first: str
    last: str

    @classmethod
    def of(cls, path: Path) -> Span | None:
        """What a file's name says, or None if it names no segments."""
        match = re.match(SPAN_NAME, path.name.split(".parquet")[0].split(".json")[0])
        return cls(match[1], match[2], match[3] or match[2]) if match else None

    def __str__(self) -> str:
        return "-".join(self)

    def holds(self, other: Span) -> bool:
        """Whether this covers all that `other` covers."""
        return self.writer == other.writer and self.first <= other.first and other.last <= self.last

    def covers(self, other: Span) -> bool:
        """Whether this holds `other` and more, so that files of `other` no longer count."""
        return self.holds(other) and self != other


def segment_span(segment: Path) -> Span:
    """The span of a single journal segment."""
    return Span(segment.parent.name, segment.stem, segment.stem)


def writer_folders(root: Path) -> list[Path]:
    """The journal folders of all writers whose work is not yet cleared away."""
    # Beside them lie the lock files of runs and the folder that keeps the views' pattern from being empty.
    return sorted(f for f in (root / JOURNAL).iterdir() if f.is_dir() and f.name.count(".") == 2)


def table_folder(root: Path, table: str, writer: str) -> Path:
    """Where the files of one table of one writer lie."""
    study_id, run_id, _ = writer.split(".")
    return root / LAKE / table / f"study_id={study_id}" / f"run_id={run_id}"


def parquet_path(root: Path, table: str, span: Span) -> Path:
    """Where the rows of one table of some journal segments go."""
    return table_folder(root, table, span.writer) / f"{span}.parquet"


def mark_path(root: Path, span: Span) -> Path:
    """Where it is noted what some journal segments became."""
    return root / LAKE / MARKS / f"{span}.json"


@contextlib.contextmanager
def lake_lock(root: Path, *, wait: bool = False) -> Generator[bool]:
    """Hold the right to change sealed files, which one process at a time has; yields whether it was got."""
    lock = os.open(root / LAKE / ".compact.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        held = True
    except BlockingIOError:
        held = False
    try:
        yield held
    finally:
        os.close(lock)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(file: int, content: bytes) -> None:
    """Write `content` to an open file, in as many steps as the system takes."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` at once: readers see the old file or the new one, even after a crash."""
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` that no reader's pattern matches and nobody else uses; it says whose it is."""
    return path.with_name(f".{path.name}.{new_id()}.{os.getpid()}.tmp")

"""What can be wrong with a store's files, and how each thing is mended without deleting data."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from store import layout, manifest
from store.errors import StoreError
from store.lake import cut_torn_tail, sealed_segments, whole_lines_end
from store.layout import Span
from store.parquet import connect, quoted
from store.records import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPAIR = "run `cc-tui check --repair`"
_TABLES = frozenset(record.table for record in TABLES)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    where: str
    """The file, with a line's number where it is one line; or the view."""
    problem: str
    cure: str
    mend: Callable[[], object] | None = field(default=None, compare=False, repr=False)


def file_findings(root: Path) -> Iterator[Finding]:
    """Everything that the files tell of themselves; the caller holds the lake's lock."""
    yield from _temporaries(root)
    yield from _labels(root)
    by_span: dict[Span, dict[str, Path]] = defaultdict(dict)
    for path in sorted((root / layout.LAKE).glob("*/*/*/*.parquet")):
        span = Span.of(path)
        table = path.parents[2].name
        if span is None or table not in _TABLES or path != layout.parquet_path(root, table, span):
            yield Finding(str(path), "does not belong here", "move it out of the store")
        elif span.writer != layout.NO_WRITER:
            by_span[span][table] = path
    marked = manifest.spans(root)
    for folder in layout.writer_folders(root):
        yield from _journal(root, folder, marked)
    yield from _lake(root, marked, by_span)


def _temporaries(root: Path) -> Iterator[Finding]:
    problem = "was left behind by a process that died"
    for folder, _, names in os.walk(root):
        for name in names:
            match = re.fullmatch(r"(?:tmp_)?\..+\.(\d+)\.tmp", name)
            if match and not _alive(int(match[1])):
                path = root / folder / name
                yield Finding(str(path), problem, REPAIR, path.unlink)
    spill = root / layout.LAKE / layout.SPILL
    if spill.exists():
        yield Finding(str(spill), problem, REPAIR, partial(shutil.rmtree, spill))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _labels(root: Path) -> Iterator[Finding]:
    for path in sorted((root / layout.LABELS).glob("*.jsonl")):
        with path.open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield from _lines(path)


def _lines(path: Path) -> Iterator[Finding]:
    """The lines of a file that nobody is writing."""
    end = whole_lines_end(path)
    if end < path.stat().st_size:
        problem = "ends within a line that was never acknowledged"
        yield Finding(str(path), problem, REPAIR, partial(cut_torn_tail, path))
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            if line.endswith(b"\n") and not _readable(line):
                yield Finding(
                    f"{path}:{number}",
                    "cannot be read",
                    "restore the line from a backup, or move it to another file; all others are kept",
                )


def _readable(line: bytes) -> bool:
    try:
        row = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        tables = row.keys() - {"n"}
        msgspec.json.decode(row["n"], type=int)
        return len(tables) == 1 and tables <= _TABLES and bytes(row[tables.pop()]).startswith(b"{")
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return False


def _journal(root: Path, folder: Path, marked: set[Span]) -> Iterator[Finding]:
    hashes: dict[str, str | None] = {}
    for outer in manifest.outermost({span for span in marked if span.writer == folder.name}):
        mark = _mark(root, outer)
        hashes |= {s.segment: s.sha256 for s in mark.segments} if mark else {}
    for segment in sealed_segments(folder)[0]:
        if segment.stem not in hashes:
            yield from _lines(segment)
        elif segment.stat().st_size and hashes[segment.stem] not in (None, manifest.sha256(segment)):
            problem = "is not what was turned into Parquet"
            yield Finding(str(segment), problem, "compare it with a backup; queries read the Parquet files")


def _mark(root: Path, span: Span) -> manifest.Mark | None:
    try:
        return manifest.read_mark(root, span)
    except StoreError:
        return None


def _lake(root: Path, marked: set[Span], by_span: dict[Span, dict[str, Path]]) -> Iterator[Finding]:
    outer = manifest.outermost(marked | set(by_span))
    for one, other in itertools.pairwise(outer):
        if one.writer == other.writer and other.first <= one.last:
            problem = f"covers a part of {one} and not all of it"
            yield Finding(str(other), problem, "restore one of the two from a backup")
    for span in manifest.outermost(marked):
        mark = _mark(root, span)
        if mark is None:
            mend = partial(_rebuild, root, span, marked) if _can_rebuild(root, span, marked, None) else None
            mend = mend or partial(_adopt, root, span)
            yield Finding(str(layout.mark_path(root, span)), "cannot be read", REPAIR, mend)
            continue
        paths = by_span.get(span, {})
        problems = [
            (layout.parquet_path(root, table, span), problem)
            for table, described in mark.tables.items()
            if (problem := _wrong(paths.get(table), described))
        ]
        problems += [(paths[table], "is not in its manifest") for table in paths.keys() - mark.tables.keys()]
        mend = partial(_rebuild, root, span, marked) if _can_rebuild(root, span, marked, mark) else None
        cure = REPAIR if mend else "restore it from a backup: its journal is gone"
        for path, problem in problems:
            yield Finding(str(path), problem, cure, mend)
    for span, paths in by_span.items():
        if any(other.holds(span) for other in marked):
            continue
        inside = [other for other in marked if span.covers(other)]
        segment = root / layout.JOURNAL / span.writer / f"{span.first}.jsonl"
        redone = bool(inside) or (span.first == span.last and segment.exists() and segment.stat().st_size)
        # Compaction finishes what was interrupted; a file whose sources are gone is taken as it is.
        mend = _nothing if redone else partial(_adopt, root, span)
        yield Finding(str(next(iter(paths.values()))), "has no manifest", REPAIR, mend)


def _nothing() -> None:
    """The compaction that follows every repair mends it."""


def _wrong(path: Path | None, described: manifest.TableFile) -> str | None:
    if path is None:
        return "is missing"
    if path.stat().st_size != described.bytes or manifest.sha256(path) != described.sha256:
        return "is not what was written"
    if (rows := manifest.parquet_rows(path)) != described.rows:
        return f"holds {rows} rows and its manifest says {described.rows}"
    return None


def _can_rebuild(root: Path, span: Span, marked: set[Span], mark: manifest.Mark | None) -> bool:
    """Whether every segment of a range is still in the journal or in a sound smaller file."""
    inner = [part for part in marked if span.covers(part) and _sound(root, part)]
    hashes = {s.segment: s.sha256 for s in mark.segments} if mark else {}
    for number in range(int(span.first), int(span.last) + 1):
        name = f"{number:06}"
        if any(part.first <= name <= part.last for part in inner):
            continue
        segment = root / layout.JOURNAL / span.writer / f"{name}.jsonl"
        if not segment.exists() or not segment.stat().st_size:
            return False
        if hashes.get(name) not in (None, manifest.sha256(segment)):
            return False
    return True


def _sound(root: Path, span: Span) -> bool:
    mark = _mark(root, span)
    if mark is None:
        return False
    paths = {table: layout.parquet_path(root, table, span) for table in mark.tables}
    return not any(_wrong(p if p.exists() else None, mark.tables[t]) for t, p in paths.items())


def _rebuild(root: Path, span: Span, marked: set[Span]) -> None:
    """Put a range's files aside, so that its sources count again; the next compaction makes the files anew."""
    layout.mark_path(root, span).unlink(missing_ok=True)
    for part in marked:
        if span.covers(part) and not _sound(root, part):
            layout.mark_path(root, part).unlink(missing_ok=True)
            _put_aside(root, part)
    _put_aside(root, span)


def _put_aside(root: Path, span: Span) -> None:
    for table in _TABLES:
        path = layout.parquet_path(root, table, span)
        if path.exists():
            path.rename(path.with_name(f"{path.name}.damaged"))


def _adopt(root: Path, span: Span) -> None:
    """Write a manifest for files whose own is lost, from what they hold."""
    tables: dict[str, manifest.TableFile] = {}
    rows: dict[str, int] = dict.fromkeys(
        (f"{number:06}" for number in range(int(span.first), int(span.last) + 1)), 0
    )
    with connect(root) as con:
        for table in sorted(_TABLES):
            path = layout.parquet_path(root, table, span)
            if not path.exists():
                continue
            tables[table] = manifest.describe_file(path, manifest.parquet_rows(path))
            counted = con.execute(
                f"SELECT segment, count(*) FROM read_parquet({quoted(path)}) GROUP BY 1"
            ).fetchall()
            for segment, count in counted:
                rows[segment] += count
    segments = [manifest.Segment(segment, count, None) for segment, count in rows.items()]
    manifest.write_mark(root, span, manifest.Mark(segments, tables))

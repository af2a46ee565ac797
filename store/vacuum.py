"""Removes what newer files stand for, without disturbing who still reads it.

A journal segment is emptied when its Parquet files have stood for a grace period, and a small Parquet file when
the merged one has: by then no query that counts their rows is still running. The name stays for a day, since a
query that has just listed it must be able to open it, and one that has the file open to read it to its end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from store import layout, manifest
from store.layout import Span
from store.lease import take_over, writer_lives
from store.parquet import empty_table
from store.records import TABLES

if TYPE_CHECKING:
    from pathlib import Path

GRACE_S = 120.0
PARQUET_GRACES = 30
"""Readers pass over a covered Parquet file without reading it, so it may stay much longer than JSON lines."""
_RETIRE_S = 86_400.0


class Removed(msgspec.Struct, frozen=True):
    """What a vacuum did."""

    emptied: int
    unlinked: int


def vacuum(root: Path, *, grace_s: float = GRACE_S) -> Removed:
    """Remove what is no longer needed, when nobody else changes the store's files; safe while others read."""
    with layout.lake_lock(root, wait=True):
        return remove_old(root, grace_s)


def remove_old(root: Path, grace_s: float) -> Removed:
    """As `vacuum`, for a caller that holds the lake's lock."""
    marked = manifest.spans(root)
    by_writer: dict[str, list[Span]] = {}
    for span in marked:
        by_writer.setdefault(span.writer, []).append(span)
    emptied = unlinked = 0
    retire_s = max(grace_s, _RETIRE_S)
    for folder in layout.writer_folders(root):
        for segment in folder.glob("*.jsonl"):
            span = layout.segment_span(segment)
            since = _covered_for(root, span, [s for s in by_writer.get(span.writer, []) if s.holds(span)])
            if segment.stat().st_size:
                if since >= grace_s and _stands(root, span, by_writer[span.writer]):
                    layout.replace_file(segment, b"")
                    emptied += 1
            elif since >= grace_s and _age(segment) >= retire_s:
                segment.unlink()
                unlinked += 1
        _remove_if_done(folder)
    for span in marked - set(manifest.outermost(marked)):
        covering = [s for s in by_writer[span.writer] if s.covers(span)]
        if _covered_for(root, span, covering) >= grace_s * PARQUET_GRACES:
            emptied += _empty_parquet(root, span)
            layout.mark_path(root, span).unlink()
    return Removed(emptied, unlinked + _unlink_emptied(root, by_writer, retire_s))


def _covered_for(root: Path, span: Span, covering: list[Span]) -> float:
    """Seconds for which another mark has stood for this span; -1 if none does."""
    # Of marks within marks, one that stood for this one may just have gone itself.
    marks = (layout.mark_path(root, s) for s in covering)
    return max((_age(mark) for mark in marks if mark.exists()), default=-1.0)


def _stands(root: Path, span: Span, marked: list[Span]) -> bool:
    """Whether the files that readers take this segment's rows from are there in full length."""
    [outer] = [s for s in manifest.outermost(set(marked)) if s.holds(span)]
    for table, described in manifest.read_mark(root, outer).tables.items():
        path = layout.parquet_path(root, table, outer)
        if not path.exists() or path.stat().st_size != described.bytes:
            return False
    return True


def _empty_parquet(root: Path, span: Span) -> int:
    emptied = 0
    for record in TABLES:
        path = layout.parquet_path(root, record.table, span)
        if path.exists():
            layout.replace_file(path, empty_table(root, record.table).read_bytes())
            emptied += 1
    return emptied


def _unlink_emptied(root: Path, by_writer: dict[str, list[Span]], retire_s: float) -> int:
    unlinked = 0
    for path in (root / layout.LAKE).glob("*/*/*/*.parquet"):
        span = Span.of(path)
        if span is None or span in by_writer.get(span.writer, ()):
            continue
        if any(s.covers(span) for s in by_writer.get(span.writer, ())) and _age(path) >= retire_s:
            path.unlink()
            unlinked += 1
    return unlinked


def _remove_if_done(folder: Path) -> None:
    # A young folder may be that of a writer that is about to take its lock.
    if _age(folder) < GRACE_S or {f.name for f in folder.iterdir()} - {".lock"} or writer_lives(folder):
        return
    take_over(folder)
    folder.rmdir()


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime

"""Sealed journal segments become Parquet, and small Parquet files become large ones.

Each table of a segment is written to a hidden temporary name, synced and renamed; the rename is the commit, and
from then on every reader takes the rows from Parquet (see `store.catalog`). A mark with counts and hashes follows
when all tables are there. The work may stop anywhere and be done again.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import msgspec

from store import layout, manifest
from store.errors import StoreError
from store.lease import take_over, writer_lives
from store.merge import merge_writer
from store.parquet import connect, quoted, row_order, segment_rows, write_parquet
from store.records import TABLES, Record
from store.vacuum import GRACE_S, remove_old

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb


class Compacted(msgspec.Struct, frozen=True):
    """What one pass of `compact` did."""

    segments: int = 0
    rows: int = 0
    torn: int = 0
    """Segments whose last, never acknowledged line was cut."""
    merged: int = 0
    """Ranges of small files that became one."""
    damaged: list[str] = []
    """Why a segment or a range could not be converted, a sentence each; its rows stay where they are."""


def compact(root: Path, *, grace_s: float = GRACE_S) -> Compacted:
    """Turn every sealed segment into Parquet, merge small files, and remove what is no longer needed.

    Only one process at a time does this for a store; a second one returns at once.

    Raises:
        StoreError: the disk refused; nothing is lost, and the next pass goes on.
    """
    import duckdb

    try:
        with layout.lake_lock(root) as held:
            if not held:
                return Compacted()
            with connect(root) as con:
                done = _compact(con, root)
            remove_old(root, grace_s)
            return done
    except (OSError, duckdb.Error) as error:
        raise StoreError(f"The Parquet files of {root} cannot be written: {error}") from None


def _compact(con: duckdb.DuckDBPyConnection, root: Path) -> Compacted:
    segments = rows = torn = merged = 0
    damaged: list[str] = []
    for folder in layout.writer_folders(root):
        sealed, alive = sealed_segments(folder)
        held = manifest.outermost(manifest.spans(root, folder.name))
        for segment in sealed:
            span = layout.segment_span(segment)
            if any(other.holds(span) for other in held):
                continue
            torn += cut_torn_tail(segment)
            try:
                rows += _convert(con, root, segment)
                segments += 1
            except StoreError as error:
                damaged.append(str(error))
        try:
            merged += merge_writer(con, root, folder.name, alive=alive)
        except StoreError as error:
            damaged.append(str(error))
    return Compacted(segments, rows, torn, merged, damaged)


def sealed_segments(folder: Path) -> tuple[list[Path], bool]:
    """Segments of one writer that will not grow - a newer one exists, or the writer is gone - and whether it lives.

    A writer that is gone is kept from coming back, so that its last segment stays as it is.
    """
    # In this order: a writer has its lock before its first segment, so one that begins in between has none yet.
    segments = sorted(folder.glob("*.jsonl"))
    alive = writer_lives(folder)
    if segments and not alive:
        take_over(folder)
    return (segments[:-1] if alive else segments), alive


def cut_torn_tail(segment: Path) -> bool:
    """Move what follows the last newline aside, to `<segment>.torn`; it was never acknowledged.

    Only the newline may be missing. Readers have seen that row, so it stays.
    """
    end = whole_lines_end(segment)
    with segment.open("r+b") as handle:
        if end == handle.seek(0, os.SEEK_END):
            return False
        handle.seek(end)
        tail = handle.read()
        whole = _is_json(tail)
        if whole:
            handle.write(b"\n")
            handle.flush()
        else:
            layout.replace_file(segment.with_suffix(".torn"), tail)
            handle.truncate(end)
        os.fsync(handle.fileno())
    return not whole


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def whole_lines_end(segment: Path) -> int:
    """Where the last whole line of a file ends."""
    with segment.open("rb") as handle:
        end = handle.seek(0, os.SEEK_END)
        while end > 0:
            start = max(end - 65_536, 0)
            handle.seek(start)
            newline = handle.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def _convert(con: duckdb.DuckDBPyConnection, root: Path, segment: Path) -> int:
    import duckdb

    span = layout.segment_span(segment)
    content = segment.read_bytes()
    if not content and any(layout.parquet_path(root, t.table, span).exists() for t in TABLES):
        raise StoreError(f"The manifest of {span} is gone: run `cc-tui check --repair`.")
    tables: dict[str, manifest.TableFile] = {}
    try:
        for record, count in _table_rows(con, segment) if content else ():
            query = f"{segment_rows(record, quoted(segment), tolerant=False)} ORDER BY {row_order(record)}"
            target = layout.parquet_path(root, record.table, span)
            write_parquet(con, query, target, rows=count)
            tables[record.table] = manifest.describe_file(target, count)
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise StoreError(_unreadable(segment, str(error).splitlines()[0])) from None
    rows = sum(file.rows for file in tables.values())
    lines = content.count(b"\n")
    if rows != lines:
        raise StoreError(_unreadable(segment, f"{lines} lines hold {rows} rows"))
    described = manifest.Segment(segment.stem, rows, hashlib.sha256(content).hexdigest())
    manifest.write_mark(root, span, manifest.Mark([described], tables))
    return rows


def _table_rows(con: duckdb.DuckDBPyConnection, segment: Path) -> list[tuple[type[Record], int]]:
    """The tables that have rows in a segment, and how many."""
    shape = ", ".join(f"'{record.table}': 'JSON'" for record in TABLES)
    counts = ", ".join(f"count({record.table})" for record in TABLES)
    [row] = con.execute(
        f"SELECT {counts} FROM read_json({quoted(segment)}, columns={{{shape}}}, format='newline_delimited')"
    ).fetchall()
    return [(record, count) for record, count in zip(TABLES, row, strict=True) if count]


def _unreadable(segment: Path, why: str) -> str:
    return f"{segment} has lines that cannot be read and stays as it is ({why}): run `cc-tui check`."

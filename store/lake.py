"""Sealed journal segments become Parquet.

Each table of a segment is written to a hidden temporary name, synced and renamed; the rename is the commit, and
from then on every reader takes the rows from Parquet (see `store.catalog`). The work may stop anywhere and be
done again. A segment is emptied after a grace period, when no query that reads it can still be running, but its
name stays for a day: a query that has just listed the name must be able to open it, and one that has the file
open to read it to its end.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

import msgspec

from store import layout
from store.ids import new_id
from store.lease import take_over, writer_lives
from store.records import TABLES, Record
from store.schema import columns, struct_type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

GRACE_S = 120.0
_RETIRE_S = 86_400.0
_ROW_GROUP = 16_384


class Compacted(msgspec.Struct, frozen=True):
    """What one pass of `compact` did."""

    segments: int
    rows: int
    torn: int
    """Segments whose last, never acknowledged line was cut."""


def compact(root: Path, *, grace_s: float = GRACE_S) -> Compacted:
    """Turn every sealed segment into Parquet, and empty segments whose grace period is over.

    Only one process at a time does this for a store; a second one returns at once.
    """
    lock = os.open(root / layout.LAKE / ".compact.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _compact(root, grace_s)
    except BlockingIOError:
        return Compacted(0, 0, 0)
    finally:
        os.close(lock)


def _compact(root: Path, grace_s: float) -> Compacted:
    segments = rows = torn = 0
    con: duckdb.DuckDBPyConnection | None = None
    for segment in sealed_segments(root):
        done = segment.with_suffix(".done")
        if not done.exists():
            torn += cut_torn_tail(segment)
            con = con or _connect()
            rows += _convert(con, root, segment)
            segments += 1
            layout.replace_file(done, b"")
            continue
        age = time.time() - done.stat().st_mtime
        if age >= grace_s and segment.stat().st_size:
            layout.replace_file(segment, b"")
        elif age >= max(grace_s, _RETIRE_S):
            segment.unlink()
            done.unlink()
    if con:
        con.close()
    return Compacted(segments, rows, torn)


def sealed_segments(root: Path) -> Iterator[Path]:
    """Segments that will not grow: a newer one exists, or their writer is gone."""
    for folder in sorted((root / layout.JOURNAL).iterdir()):
        if folder.name.count(".") != 2:
            continue
        # Listed before the lock is looked at: a writer has its lock before its first segment.
        segments = sorted(folder.glob("*.jsonl"))
        if segments and writer_lives(folder):
            segments.pop()
        elif segments:
            take_over(folder)
        yield from segments


def cut_torn_tail(segment: Path) -> bool:
    """Move what follows the last newline aside, to `<segment>.torn`; it was never acknowledged."""
    with segment.open("r+b") as handle:
        size = handle.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(end - 65_536, 0)
            handle.seek(start)
            newline = handle.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end == size:
            return False
        handle.seek(end)
        layout.replace_file(segment.with_suffix(".torn"), handle.read())
        handle.truncate(end)
        os.fsync(handle.fileno())
    return True


def write_empty_tables(root: Path) -> None:
    """Give every table one file without rows, so that its columns are known before its first row."""
    con = _connect()
    for record in TABLES:
        target = layout.parquet_path(root, record.table, "none.none.none", "000000")
        if not target.exists():
            shape = ", ".join(f'NULL::{c.sql_type} AS "{c.name}"' for c in columns(record))
            tail = "NULL::VARCHAR AS writer, NULL::VARCHAR AS segment, NULL::BIGINT AS n"
            _copy(con, f"SELECT {shape}, {tail} LIMIT 0", target)
    con.close()


def segment_rows(record: type[Record], files: str, *, tolerant: bool) -> str:
    """SQL for the rows of one table in journal files; `files` is an SQL expression.

    `tolerant` passes over a line that is still being written.
    """
    shape = f"{{'n': 'BIGINT', '{record.table}': '{struct_type(record)}'}}"
    options = f"format='newline_delimited', filename=true, ignore_errors={str(tolerant).lower()}"
    names = ", ".join(f'r."{c.name}" AS "{c.name}"' for c in columns(record))
    return (
        f"SELECT {names}, parse_filename(parse_path(filename)[-2]) AS writer, "
        "parse_filename(filename, true) AS segment, n "
        f"FROM read_json({files}, columns={shape}, {options}) AS j(n, r, filename) "
        "WHERE r IS NOT NULL"
    )


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(config={"threads": 1, "memory_limit": "1GB", "autoinstall_known_extensions": False})


def _convert(con: duckdb.DuckDBPyConnection, root: Path, segment: Path) -> int:
    writer = segment.parent.name
    total = 0
    if segment.stat().st_size == 0:
        return 0
    for record in TABLES:
        target = layout.parquet_path(root, record.table, writer, segment.stem)
        rows = segment_rows(record, _quoted(str(segment)), tolerant=False)
        if target.exists():
            continue
        count = con.execute(f"SELECT count(*) FROM ({rows})").fetchall()[0][0]
        if count:
            names = {c.name for c in columns(record)}
            order = "audit_id, seq" if {"audit_id", "seq"} <= names else "n"
            _copy(con, f"{rows} ORDER BY {order}", target)
            total += count
    return total


def _copy(con: duckdb.DuckDBPyConnection, query: str, target: Path) -> None:
    for folder in (target.parents[1], target.parent):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            layout.fsync_folder(folder.parent)
    temporary = target.with_name(f".{target.name}.{new_id()}.tmp")
    con.execute(
        f"COPY ({query}) TO {_quoted(str(temporary))} "
        f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, ROW_GROUP_SIZE {_ROW_GROUP})"
    )
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.rename(target)
    layout.fsync_folder(target.parent)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

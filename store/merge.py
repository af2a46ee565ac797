"""Small Parquet files of one writer become large ones.

A merged file takes the place of the files whose segments its name covers, at the moment it is renamed. Ranges of
one writer are nested or apart, never half over one another: a merge that was interrupted is done again with the
very same range before another is planned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from store import layout, manifest
from store.errors import StoreError
from store.layout import Span
from store.parquet import parquet_rows, quoted, row_order, write_parquet
from store.records import TABLES, Record
from store.schema import columns

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

MERGE_BYTES = 128_000_000
MERGE_ROWS = 1_000_000
"""The largest table of a merged range stays below these."""
_FAN = 8


class Sized(msgspec.Struct, frozen=True):
    """A range and the size of its largest table."""

    span: Span
    rows: int
    bytes: int


def merge_writer(con: duckdb.DuckDBPyConnection, root: Path, writer: str, *, alive: bool) -> int:
    """Finish what was interrupted, then merge what is due; returns how many ranges became one.

    Raises:
        StoreError: a file is not what its manifest says; the files stay as they are.
    """
    done = 0
    for span in interrupted(root, writer):
        _merge(con, root, span, _inside(root, span))
        done += 1
    while True:
        marks = [(span, manifest.read_mark(root, span)) for span in _outermost(root, writer)]
        sized = [Sized(span, mark.largest.rows, mark.largest.bytes) for span, mark in marks]
        due = plan(sized, alive=alive)
        if not due:
            return done
        for spans in due:
            _merge(con, root, Span(writer, spans[0].first, spans[-1].last), spans)
            done += 1


def plan(files: list[Sized], *, alive: bool) -> list[list[Span]]:
    """The runs of adjacent ranges to merge now.

    While the writer lives, a run waits until it has 8 ranges and at most half of it has been merged before, so
    that a row is rewritten a logarithmic number of times; when the writer is gone, everything is merged that fits.
    """
    runs: list[list[Sized]] = []
    for file in files:
        run = runs[-1] if runs else []
        if (
            run
            and int(run[-1].span.last) + 1 == int(file.span.first)
            and sum(f.bytes for f in run) + file.bytes <= MERGE_BYTES
            and sum(f.rows for f in run) + file.rows <= MERGE_ROWS
        ):
            run.append(file)
        else:
            runs.append([file])
    if alive:
        for run in runs:
            while run and run[0].bytes > sum(f.bytes for f in run[1:]):
                del run[0]
    return [[f.span for f in run] for run in runs if len(run) >= (_FAN if alive else 2)]


def interrupted(root: Path, writer: str) -> list[Span]:
    """Ranges of which some table was merged, and not all."""
    marked = manifest.spans(root, writer)
    found: set[Span] = set()
    for record in TABLES:
        for path in layout.table_folder(root, record.table, writer).glob(f"{writer}-*.parquet"):
            span = Span.of(path)
            if span and span.first < span.last and not any(other.holds(span) for other in marked):
                found.add(span)
    return manifest.outermost(found)


def _outermost(root: Path, writer: str) -> list[Span]:
    return manifest.outermost(manifest.spans(root, writer))


def _inside(root: Path, span: Span) -> list[Span]:
    return [part for part in _outermost(root, span.writer) if span.holds(part)]


def _merge(con: duckdb.DuckDBPyConnection, root: Path, span: Span, parts: list[Span]) -> None:
    marks = [(part, manifest.read_mark(root, part)) for part in parts]
    tables: dict[str, manifest.TableFile] = {}
    for record in TABLES:
        files = [
            (layout.parquet_path(root, record.table, part), mark.tables[record.table])
            for part, mark in marks
            if record.table in mark.tables
        ]
        if not files:
            continue
        for path, described in files:
            # A damaged file must not get a new hash that vouches for it.
            if not path.exists() or manifest.sha256(path) != described.sha256:
                raise StoreError(f"{path} is not what its manifest says: run `cc-tui check --repair`.")
        rows = sum(described.rows for _, described in files)
        target = layout.parquet_path(root, record.table, span)
        write_parquet(con, _query(record, [path for path, _ in files]), target, rows=rows)
        tables[record.table] = manifest.describe_file(target, rows)
    segments = [segment for _, mark in marks for segment in mark.segments]
    manifest.write_mark(root, span, manifest.Mark(segments, tables))


def _query(record: type[Record], files: list[Path]) -> str:
    names = ", ".join(f'"{c.name}"' for c in columns(record))
    listed = ", ".join(quoted(file) for file in files)
    order = row_order(record)
    rows = parquet_rows(record, f"[{listed}]", "hive_partitioning=false")
    return f"SELECT {names}, writer, segment, n FROM ({rows}) ORDER BY {order}"

"""What a store holds, and how much of it still waits in the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from store import layout, manifest
from store.lease import writer_lives
from store.reader import Reader
from store.records import TABLES, Label

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from store.store import Store


class TableSummary(msgspec.Struct, frozen=True):
    """One table."""

    table: str
    rows: int
    files: int
    """Its files in the lake; for labels, the annotators' files."""
    bytes: int


class StoreSummary(msgspec.Struct, frozen=True):
    """A whole store."""

    root: str
    studies: int
    runs: int
    writers_alive: int
    """Processes that append right now."""
    tail_segments: int
    """Journal segments with rows that are not in Parquet yet."""
    tail_bytes: int
    tables: list[TableSummary]


def summarize(store: Store) -> StoreSummary:
    """Count what is in `store`, which may grow meanwhile."""
    writers = layout.writer_folders(store.root)
    tail: list[int] = []
    for folder in writers:
        held = manifest.outermost(manifest.spans(store.root, folder.name))
        for segment in folder.glob("*.jsonl"):
            in_parquet = any(span.holds(layout.segment_span(segment)) for span in held)
            if not in_parquet and (size := _size(segment)):
                tail.append(size)
    reader = Reader(store)
    try:
        counts = " UNION ALL ".join(
            f"SELECT '{record.table}' AS name, count(*) AS rows FROM base.{record.table}" for record in TABLES
        )
        rows = {row["name"]: row["rows"] for row in reader.rows(counts)}
        [ran] = reader.rows("SELECT count(*) AS runs, count(DISTINCT study_id) AS studies FROM runs")
    finally:
        reader.close()
    return StoreSummary(
        root=str(store.root),
        studies=ran["studies"],
        runs=ran["runs"],
        writers_alive=sum(map(writer_lives, writers)),
        tail_segments=len(tail),
        tail_bytes=sum(tail),
        tables=[
            TableSummary(record.table, rows[record.table], len(sizes), sum(sizes))
            for record in TABLES
            for sizes in [[size for size in map(_size, _files(store, record.table)) if size]]
        ],
    )


def _files(store: Store, table: str) -> Iterable[Path]:
    if table == Label.table:
        return (store.root / layout.LABELS).glob("*.jsonl")
    return (store.root / layout.LAKE / table).rglob("*.parquet")


def _size(path: Path) -> int:
    """0 for a file that has just been retired."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

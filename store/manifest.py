"""Marks: what a range of journal segments became, with counts and hashes.

A mark is written after the files of all tables; so a segment without one is converted again, and what a mark
says can be checked for as long as the store exists.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from store import layout
from store.errors import StoreError
from store.layout import Span

if TYPE_CHECKING:
    from pathlib import Path


class TableFile(msgspec.Struct, frozen=True):
    """One Parquet file as it was written."""

    rows: int
    bytes: int
    sha256: str


class Segment(msgspec.Struct, frozen=True):
    """One journal segment as it was converted; no hash where it was converted by format 1."""

    segment: str
    rows: int
    sha256: str | None


class Mark(msgspec.Struct, frozen=True):
    """What segments became."""

    segments: list[Segment]
    tables: dict[str, TableFile]
    """Tables that have rows in these segments."""

    @property
    def largest(self) -> TableFile:
        """Rows and bytes of the largest table, which limit what is merged."""
        return max(self.tables.values(), key=lambda f: (f.bytes, f.rows), default=TableFile(0, 0, ""))


def spans(root: Path, writer: str = "") -> set[Span]:
    """The spans that have a mark; of one writer, or of all."""
    pattern = f"{writer}-*.json" if writer else "[!.]*.json"
    found = (Span.of(path) for path in (root / layout.LAKE / layout.MARKS).glob(pattern))
    return {span for span in found if span}


def outermost(found: set[Span]) -> list[Span]:
    """The spans that no other covers, in order."""
    kept: list[Span] = []
    for span in sorted(found, key=lambda s: (s.writer, s.first, -int(s.last))):
        if not (kept and kept[-1].holds(span)):
            kept.append(span)
    return kept


def read_mark(root: Path, span: Span) -> Mark:
    """Read one mark.

    Raises:
        StoreError: it is missing or damaged.
    """
    path = layout.mark_path(root, span)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(
            f"The manifest {path} cannot be read ({error}): run `cc-tui check --repair`."
        ) from None


def write_mark(root: Path, span: Span, mark: Mark) -> None:
    """Note durably what a span became."""
    path = layout.mark_path(root, span)
    layout.make_folder(path.parent)
    layout.replace_file(path, msgspec.json.encode(mark) + b"\n")


def describe_file(path: Path, rows: int) -> TableFile:
    """A Parquet file as it lies on disk."""
    return TableFile(rows, path.stat().st_size, sha256(path))


def sha256(path: Path) -> str:
    """The hash of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def parquet_rows(path: Path) -> int:
    """Rows that a Parquet file holds, from its footer.

    Raises:
        StoreError: it is no Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} is no whole Parquet file: {error}") from None

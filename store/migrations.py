"""How a store of an earlier format becomes one of today.

A format that only added columns has no step: old files stay, and queries give their rows the columns' defaults (see
`store.parquet`). A step may be interrupted anywhere and is then run again from its beginning; the format's number is
raised after it. Old files stay until the new ones are verified.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from store import layout, manifest
from store.layout import Span
from store.records import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def _name_ranges(root: Path) -> None:
    """Format 2: files are named after a range of segments, and marks with hashes replace `.done` files."""
    files = list((root / layout.LAKE).glob("*/*/*/*.parquet"))
    old = [path for path in files if re.fullmatch(r".+\.[^-.]+-\d+\.parquet", path.name)]
    renamed = {path: path.with_name(f"{Span.of(path)}.parquet") for path in old}
    for path, new in renamed.items():
        _link(path, new)
    for folder in {path.parent for path in old}:
        layout.fsync_folder(folder)
    done = list((root / layout.JOURNAL).glob("*/*.done"))
    found = {layout.segment_span(path) for path in done} | {span for p in files if (span := Span.of(p))}
    for span in sorted(found - manifest.spans(root)):
        segment = root / layout.JOURNAL / span.writer / f"{span.first}.jsonl"
        if span.writer != layout.NO_WRITER and (segment.with_suffix(".done") in done or not segment.exists()):
            _mark(root, span, segment)
    for path, new in renamed.items():
        if path.samefile(new) or manifest.sha256(path) == manifest.sha256(new):
            path.unlink()
    for path in done:
        path.unlink()


STEPS: Mapping[int, Callable[[Path], None]] = {2: _name_ranges}
"""What is done to a store's files to bring it to a format."""


def _mark(root: Path, span: Span, segment: Path) -> None:
    """Note what a segment became, unless its lines are still there and say otherwise: then it is converted again."""
    paths = {record.table: layout.parquet_path(root, record.table, span) for record in TABLES}
    tables = {
        table: manifest.describe_file(path, manifest.parquet_rows(path))
        for table, path in paths.items()
        if path.exists()
    }
    rows = sum(file.rows for file in tables.values())
    content = segment.read_bytes() if segment.exists() else b""
    if content and content.count(b"\n") != rows:
        return
    digest = manifest.sha256(segment) if content else None
    manifest.write_mark(root, span, manifest.Mark([manifest.Segment(span.first, rows, digest)], tables))


def _link(path: Path, new: Path) -> None:
    if new.exists():
        return
    try:
        os.link(path, new)
    except OSError:
        # Not every file system has hard links.
        temporary = layout.temporary_name(new)
        shutil.copyfile(path, temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.rename(new)

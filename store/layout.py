"""Where things lie in a store, and the small file operations that must survive a crash.

```
<store>/
  store.json                          layout version, who made it
  journal/<writer>/<segment>.jsonl    append-only; `.lock` is held while the writer lives (see `store.lease`)
  lake/<table>/study_id=…/run_id=…/<writer>-<segment>.parquet    immutable
  labels/<annotator>.jsonl            append-only, one file for each person
  catalog.duckdb                      views only
```
A writer's name is `<study_id>.<run_id>.<nonce>`, so that its files say where they belong.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from store.ids import new_id

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL = "journal"
LAKE = "lake"
LABELS = "labels"
MANIFEST = "store.json"
CATALOG = "catalog.duckdb"


def parquet_path(root: Path, table: str, writer: str, segment: str) -> Path:
    """Where the rows of one table of one journal segment go."""
    study_id, run_id, _ = writer.split(".")
    return root / LAKE / table / f"study_id={study_id}" / f"run_id={run_id}" / f"{writer}-{segment}.parquet"


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


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` at once: readers see the old file or the new one, even after a crash."""
    temporary = path.with_name(f".{path.name}.{new_id()}.tmp")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
    fsync_folder(path.parent)

"""A store, or one study of it, as a folder with one Parquet file for each table and view."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from store import layout
from store.catalog import derived_views
from store.errors import InputError, StoreError
from store.parquet import quoted
from store.records import TABLES

if TYPE_CHECKING:
    import duckdb

    from store.store import Store

_MEMORY_LIMIT = "2GB"
_ROW_GROUP = 16_384


def export_parquet(store: Store, target: Path, study_id: str | None = None) -> dict[str, int]:
    """Write every table and derived view to `target`; all of them, or nothing.

    Args:
        store: the store to read; rows that a run adds meanwhile may be in one file and not yet in another.
        target: a folder that is missing or empty.
        study_id: write the rows of this study only, and the labels of its audits.

    Returns:
        The number of rows of each table and view.

    Raises:
        InputError: the folder holds something, or the store has no such study.
        StoreError: the disk refused; `target` is as it was.
    """
    import duckdb

    target = target.absolute()
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise InputError(f"{target} is not an empty folder: give a new one.")
    catalog = str(store.catalog())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        try:
            with duckdb.connect(catalog, read_only=True, config={"memory_limit": _MEMORY_LIMIT}) as con:
                _check_study(con, study_id)
                written = {name: _write(con, name, study_id, temporary) for name in _names()}
            temporary.chmod(0o755)
            layout.fsync_folder(temporary)
            temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        layout.fsync_folder(target.parent)
    except (OSError, duckdb.Error) as error:
        raise StoreError(f"{target} cannot be written: {error}.") from None
    return written


def _names() -> list[str]:
    return sorted({record.table for record in TABLES} | derived_views().keys())


def _check_study(con: duckdb.DuckDBPyConnection, study_id: str | None) -> None:
    known = [found for (found,) in con.execute("SELECT DISTINCT study_id FROM studies ORDER BY 1").fetchall()]
    if study_id is not None and study_id not in known:
        raise InputError(f"The store has no study {study_id!r}: it has {', '.join(known) or 'none yet'}.")


def _write(con: duckdb.DuckDBPyConnection, name: str, study_id: str | None, folder: Path) -> int:
    path = folder / f"{name}.parquet"
    query = f"SELECT * FROM {name}"
    if study_id is not None:
        of_study = f"study_id = {quoted(study_id)}"
        audits = f"audit_id IN (SELECT audit_id FROM audits WHERE {of_study})"
        query += f" WHERE {audits if name in ('labels', 'label_events') else of_study}"
    [(rows,)] = con.execute(
        f"COPY ({query}) TO {quoted(str(path))} "
        f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, ROW_GROUP_SIZE {_ROW_GROUP})"
    ).fetchall()
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
    return rows

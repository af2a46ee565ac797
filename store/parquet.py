"""Journal rows as SQL, and Parquet files written so that a crash leaves the whole file or none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from store import layout
from store.errors import StoreError
from store.records import TABLES, Record
from store.schema import Column, columns, struct_type

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

ROW_GROUP = 8_192
"""Opening one transcript reads at least a row group of each column, so these are small."""


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """A connection for writing Parquet with bounded memory; what does not fit goes to the store's own disk."""
    import duckdb

    return duckdb.connect(
        config={
            "threads": 1,
            "memory_limit": "1GB",
            "temp_directory": str(root / layout.LAKE / layout.SPILL),
            "autoinstall_known_extensions": False,
        }
    )


def segment_rows(record: type[Record], files: str, *, tolerant: bool) -> str:
    """SQL for the rows of one table in journal files; `files` is an SQL expression.

    `tolerant` passes over a line that is still being written.
    """
    shape = f"{{'n': 'BIGINT', '{record.table}': '{struct_type(record)}'}}"
    options = f"format='newline_delimited', filename=true, ignore_errors={str(tolerant).lower()}"
    names = ", ".join(f'{_value(c, "r.")} AS "{c.name}"' for c in columns(record))
    return (
        f"SELECT {names}, parse_filename(parse_path(filename)[-2]) AS writer, "
        "parse_filename(filename, true) AS segment, n "
        f"FROM read_json({files}, columns={shape}, {options}) AS j(n, r, filename) "
        "WHERE r IS NOT NULL"
    )


def parquet_rows(record: type[Record], files: str, options: str) -> str:
    """SQL for the rows of Parquet files of one table, also of files that are older than some of its columns.

    Args:
        record: the table.
        files: an SQL expression.
        options: further arguments of DuckDB's `read_parquet`.
    """
    added = [c for c in columns(record) if c.added]
    if not added:
        return f"SELECT * FROM read_parquet({files}, {options})"
    # Without the first arm, a column that none of the files has would be an error.
    empty = ", ".join(f'NULL::{c.sql_type} AS "{c.name}"' for c in added)
    values = ", ".join(f'{_value(c)} AS "{c.name}"' for c in added)
    return (
        f"SELECT * REPLACE ({values}) FROM (SELECT {empty} WHERE false UNION ALL BY NAME "
        f"SELECT * FROM read_parquet({files}, union_by_name=true, {options}))"
    )


def _value(column: Column, source: str = "") -> str:
    """SQL for a column's value in a row that may be older than it."""
    name = f'{source}"{column.name}"'
    if column.default is None:
        return name
    return f"coalesce({name}, CAST({quoted(column.default)} AS {column.sql_type}))"


def row_order(record: type[Record]) -> str:
    """The order of rows in a file: what belongs to one audit stands together."""
    names = {c.name for c in columns(record)}
    return ", ".join([*(name for name in ("audit_id", "seq") if name in names), "n"])


def write_parquet(con: duckdb.DuckDBPyConnection, query: str, target: Path, *, rows: int) -> None:
    """Write the rows of `query` to `target`; the file appears whole, on disk, or not at all.

    Raises:
        StoreError: the query does not give as many rows as were expected.
    """
    layout.make_folder(target.parent)
    temporary = layout.temporary_name(target)
    try:
        [(written,)] = con.execute(
            f"COPY ({query}) TO {quoted(temporary)} "
            f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, ROW_GROUP_SIZE {ROW_GROUP})"
        ).fetchall()
        if written != rows:
            raise StoreError(f"{target} would get {written} rows in place of {rows}: run `cc-tui check`.")
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    layout.fsync_folder(target.parent)


def empty_table(root: Path, table: str) -> Path:
    """The file without rows that tells a table's columns before its first row."""
    return layout.parquet_path(root, table, layout.Span(layout.NO_WRITER, "000000", "000000"))


def write_empty_tables(root: Path) -> None:
    """Give every table its file without rows."""
    with connect(root) as con:
        for record in TABLES:
            target = empty_table(root, record.table)
            if not target.exists():
                shape = ", ".join(f'NULL::{c.sql_type} AS "{c.name}"' for c in columns(record))
                tail = "NULL::VARCHAR AS writer, NULL::VARCHAR AS segment, NULL::BIGINT AS n"
                write_parquet(con, f"SELECT {shape}, {tail} LIMIT 0", target, rows=0)


def quoted(path: Path | str) -> str:
    """A path or text as an SQL literal."""
    return "'" + str(path).replace("'", "''") + "'"

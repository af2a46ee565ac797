"""Query results as CSV and JSON text."""

from __future__ import annotations

import csv
import io
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def to_csv(table: pa.Table) -> str:
    """RFC 4180 text with a header line.

    Text that a spreadsheet would run as a formula gets an apostrophe in front; use JSON where every character
    counts.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([_inert(name) for name in table.column_names])
    for row in _rows(table):
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def to_json(table: pa.Table) -> str:
    """A JSON list with one object for each row.

    Times are ISO 8601 in UTC; NaN and infinity, which JSON cannot write, are strings. A second column of the same
    name gets a number behind it.
    """
    names = distinct(table.column_names)
    rows = [dict(zip(names, map(_jsonable, row), strict=True)) for row in _rows(table)]
    text = msgspec.json.encode(rows, enc_hook=str)
    return msgspec.json.format(text, indent=2).decode() + "\n"


def to_cells(table: pa.Table) -> list[list[str]]:
    """Every value as text, without any escaping: for a display that does its own."""
    return [["" if value is None else _text(value) for value in row] for row in _rows(table)]


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(_values(column) for column in table.columns), strict=True)) if table.num_columns else []


def _values(column: pa.ChunkedArray[Any]) -> list[Any]:
    import pyarrow as pa

    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        # Python's dates end where DuckDB's go on: before Christ, at infinity, below the microsecond.
        return column.cast(pa.string()).to_pylist()


def distinct(names: list[str]) -> list[str]:
    """The names, a number behind each that was there before."""
    found: list[str] = []
    for name in names:
        number = 2
        unique = name
        while unique in found:
            unique = f"{name}_{number}"
            number += 1
        found.append(unique)
    return found


def _jsonable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, (bool, int, float, Decimal)):
        return _text(value)
    return _inert(_text(value))


def _inert(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (datetime, date, time)):
        return value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, (list, dict)):
        return msgspec.json.encode(value, enc_hook=str).decode()
    if isinstance(value, timedelta):
        return f"{value.total_seconds()} s"
    return str(value)

"""What a chart of a query's result is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from cc_tui.state.columns import Look, plain_looks
from store.text import one_line

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_POINTS, _LABEL = 5_000, 28


class Chart(StrEnum):
    """How a result is drawn."""

    NONE = "table"
    BAR = "bars"
    HISTOGRAM = "histogram"
    SCATTER = "scatter"
    LINE = "line"


@dataclass(frozen=True)
class Drawing:
    """The numbers of a chart, and what it leaves out."""

    chart: Chart
    x: list[float]
    y: list[float]
    x_title: str
    y_title: str
    note: str = ""
    """Why there is no chart, or what it does not show."""


def bar_looks(table: pa.Table, width: int) -> list[Look]:
    """The columns of a result as bars: what is no number, a bar of the first number, that number; none without one.

    Args:
        table: the result.
        width: cells in all.
    """
    names = table.column_names
    numbers = [index for index in range(len(names)) if _is_number(table, index)]
    if not numbers:
        return []
    looks = plain_looks(table)
    number = looks[numbers[0]]
    labels = [
        replace(look, width=min(look.width, _LABEL)) for i, look in enumerate(looks) if i not in numbers
    ]
    values = [abs(value) for value in _numbers(table, numbers[0]) if value is not None]
    longest, room = (
        max(values, default=0) or 1.0,
        width - sum(look.width + 1 for look in (*labels, number)) - 3,
    )
    room = max(room, 1)

    def bar(value: float | None) -> str:
        found = _number(value)
        return "" if found is None else "█" * max(round(abs(found) / longest * room), int(found != 0))

    def tone(value: float | None) -> str:
        found = _number(value)
        return "bad" if found is not None and found < 0 else "target"

    return [*labels, Look(number.name, "", room, bar, tone), number]


def drawing(table: pa.Table, chart: Chart) -> Drawing:
    """The chart of a result: a histogram of the first number,
    points or a line of the second number by the first; with one number only, by the number of the row."""
    names = table.column_names
    numbers = [index for index in range(len(names)) if _is_number(table, index)]
    if not numbers:
        return Drawing(chart, [], [], "", "", "A chart needs a column of numbers.")
    if chart is Chart.BAR:
        # Drawn in the table itself.
        return Drawing(chart, [], [], "", "")
    first = _numbers(table, numbers[0])
    if chart is Chart.HISTOGRAM:
        values = [number for number in first if number is not None]
        return _drawn(chart, values, values, names[numbers[0]], "rows", _missing(len(first) - len(values)))
    if len(numbers) > 1:
        x, y, x_title, y_title = first, _numbers(table, numbers[1]), names[numbers[0]], names[numbers[1]]
    else:
        x, y, x_title, y_title = [*map(float, range(1, len(first) + 1))], first, "row", names[numbers[0]]
    points = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    note = _missing(len(x) - len(points))
    if len(points) > _MOST_POINTS:
        note = f"the first {_MOST_POINTS:,} of {len(points):,} points"
        points = points[:_MOST_POINTS]
    if chart is Chart.LINE:
        points.sort()
    return _drawn(chart, [a for a, _ in points], [b for _, b in points], x_title, y_title, note)


def _drawn(chart: Chart, x: list[float], y: list[float], x_title: str, y_title: str, note: str) -> Drawing:
    if not y:
        note = "There is no number to draw."
    return Drawing(chart, x, y, one_line(x_title, _LABEL), one_line(y_title, _LABEL), note)


def _missing(count: int) -> str:
    return f"{count:,} rows without a number left out" if count else ""


def _is_number(table: pa.Table, column: int) -> bool:
    import pyarrow.types as types

    kind = table.schema.field(column).type
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def _numbers(table: pa.Table, column: int) -> list[float | None]:
    return [_number(value) for value in table.column(column).to_pylist()]


def _number(value: object) -> float | None:
    if value is None or isinstance(value, datetime):
        return None
    number = float(value)  # pyright: ignore[reportArgumentType]
    return number if math.isfinite(number) else None

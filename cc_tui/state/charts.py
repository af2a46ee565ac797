"""What a chart of a query's result is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from store.text import one_line

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_BARS, _MOST_POINTS, _LABEL = 40, 5_000, 28


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
    labels: list[str]
    x_title: str
    y_title: str
    note: str = ""
    """Why there is no chart, or what it does not show."""


def drawing(table: pa.Table, chart: Chart) -> Drawing:
    """The chart of a result: bars of the first number by what is no number, a histogram of the first number,
    points or a line of the second number by the first; with one number only, by the number of the row."""
    names = table.column_names
    numbers = [index for index in range(len(names)) if _is_number(table, index)]
    if not numbers:
        return Drawing(chart, [], [], [], "", "", "A chart needs a column of numbers.")
    if chart is Chart.BAR:
        others = [index for index in range(len(names)) if index not in numbers] or [numbers[0]]
        value = numbers[-1] if others[0] == numbers[0] else numbers[0]
        rows = table.slice(0, _MOST_BARS)
        told = zip(*(rows.column(index).to_pylist() for index in others), strict=True)
        labels = [one_line(" · ".join(map(str, one)), _LABEL) for one in told]
        pairs = [
            (label, number)
            for label, number in zip(labels, _numbers(rows, value), strict=True)
            if number is not None
        ]
        left_out = f"the first {_MOST_BARS} of {table.num_rows:,} rows" if table.num_rows > _MOST_BARS else ""
        heights = [number for _, number in pairs]
        return _drawn(
            chart,
            heights,
            heights,
            [label for label, _ in pairs],
            " · ".join(names[index] for index in others),
            names[value],
            left_out,
        )
    first = _numbers(table, numbers[0])
    if chart is Chart.HISTOGRAM:
        values = [number for number in first if number is not None]
        return _drawn(
            chart, values, values, [], names[numbers[0]], "rows", _missing(len(first) - len(values))
        )
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
    return _drawn(chart, [a for a, _ in points], [b for _, b in points], [], x_title, y_title, note)


def _drawn(
    chart: Chart, x: list[float], y: list[float], labels: list[str], x_title: str, y_title: str, note: str
) -> Drawing:
    if not y:
        note = "There is no number to draw."
    return Drawing(chart, x, y, labels, one_line(x_title, _LABEL), one_line(y_title, _LABEL), note)


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

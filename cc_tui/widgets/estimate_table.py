"""Preferences by conditions: in every cell the estimate, its intervals as a bar, and how many answers it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from cc_tui.state.estimates import Grid, bar, value
from cc_tui.widgets.line_view import Line, LineView, Part, fit
from store.text import one_line

if TYPE_CHECKING:
    from stats.table import Cell

_HEAD = 2
_CELL = 29
_WIDEST_CELL = 44


class EstimateTable(LineView, can_focus=True):
    """A grid with a cursor on one cell; the preferences stay in view when the conditions scroll."""

    DEFAULT_CSS = """
    EstimateTable { height: 1fr; }
    """

    @dataclass
    class Moved(Message):
        """The cursor came to another cell."""

    def __init__(self) -> None:
        super().__init__()
        self._grid: Grid | None = None
        self._row = 0
        self._column = 0
        self._first_column = 0

    def show(self, grid: Grid) -> None:
        """Draw `grid`; the cursor stays on its preference and group where they are still there."""
        old = self._grid
        if old is not None and old.preferences and old.groups:
            preference, group = old.preferences[self._row], old.groups[self._column]
            self._row = grid.preferences.index(preference) if preference in grid.preferences else 0
            self._column = grid.groups.index(group) if group in grid.groups else 0
        self._grid = grid
        self.extend(len(grid.preferences) + _HEAD)
        self._reveal()
        self.refresh()

    @property
    def selected(self) -> Cell | None:
        """The cell under the cursor."""
        grid = self._grid
        if grid is None or not grid.preferences:
            return None
        return grid.cells.get((grid.preferences[self._row], grid.groups[self._column]))

    def move(self, columns: int, rows: int) -> None:
        """Move the cursor."""
        grid = self._grid
        if grid is None or not grid.preferences:
            return
        self._row = min(max(self._row + rows, 0), len(grid.preferences) - 1)
        self._column = min(max(self._column + columns, 0), len(grid.groups) - 1)
        self._reveal()
        self.refresh()
        self.post_message(self.Moved())

    def line(self, y: int) -> Line:
        """A heading line, or the preference at the scroll offset."""
        grid = self._grid
        if grid is None:
            return Line()
        groups = grid.groups[self._first_column : self._first_column + self._columns]
        if y < _HEAD:
            return self._heading(grid, groups, y)
        row = y - _HEAD + self.scroll_offset.y
        if row >= len(grid.preferences):
            message = "  No cell has a plan in this mode." if row == 0 and not grid.preferences else ""
            return Line(((message, "soft"),))
        preference = grid.preferences[row]
        parts: list[Part] = [(" " + fit(one_line(preference, self._names), self._names) + " ", "")]
        for index, group in enumerate(groups, self._first_column):
            here = row == self._row and index == self._column
            tone = "cursor" if here else ""
            cell = grid.cells.get((preference, group))
            parts.append(("▸" if here else " ", f"{tone} active"))
            parts += [(text, f"{tone} {look}") for text, look in _cell_parts(cell, self._cell)]
        return Line(tuple(parts))

    @property
    def _names(self) -> int:
        return 24 if self.size.width >= 120 else 16

    @property
    def _columns(self) -> int:
        """How many groups fit."""
        return max(self._room // (_CELL + 1), 1)

    @property
    def _cell(self) -> int:
        """Width of a cell: what an even share of the room gives, within limits."""
        shown = min(self._columns, len(self._grid.groups) if self._grid else 1)
        return min(max(self._room // max(shown, 1) - 1, _CELL), _WIDEST_CELL)

    @property
    def _room(self) -> int:
        return self.scrollable_content_region.width - self._names - 2

    def _heading(self, grid: Grid, groups: list[str], y: int) -> Line:
        left = self._first_column > 0
        right = self._first_column + self._columns < len(grid.groups)
        more = "‹ " * left + f"{len(grid.groups)} groups" + " ›" * right if y == 0 else "waterfall"
        parts: list[Part] = [(" " + fit(one_line(more, self._names), self._names) + " ", "soft")]
        for group in groups:
            text = one_line(grid.titles[group]) if y == 0 else str(grid.funnels[group])
            parts.append((" " + fit(text, self._cell), "soft" if y else "bold"))
        return Line(tuple(parts))

    def _reveal(self) -> None:
        columns, height = self._columns, max(self.size.height - _HEAD, 1)
        self._first_column = max(min(self._first_column, self._column), self._column - columns + 1)
        top = self.scroll_offset.y
        if not top <= self._row < top + height:
            self.jump(self._row if self._row < top else self._row - height + 1)


def _cell_parts(cell: Cell | None, width: int) -> list[Part]:
    if cell is None:
        return [(fit("not planned", width), "soft")]
    if cell.estimate is None:
        return [(fit(f"   –  {one_line(cell.reason, width)}", width), "soft")]
    return [
        (fit(value(cell, cell.estimate), 4, right=True) + " ", "bold"),
        ("▏", "soft"),
        (bar(cell, width - 15), "target" if cell.live is None or cell.live.low is not None else "soft"),
        ("▕", "soft"),
        ("!" if cell.flags else " ", "bad"),
        (fit(f"n {cell.n}", 7), "soft"),
    ]

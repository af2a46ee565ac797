"""Preferences by conditions: in every cell the estimate, its intervals as a bar, and how many answers it rests on.

As a map there are the estimates alone, on grounds that say how high they are, so that all conditions stand together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from cc_tui.state.estimates import Grid, bar, value
from cc_tui.widgets.line_view import Line, LineView, Part, fit
from store.text import one_line

if TYPE_CHECKING:
    from stats.table import Cell

_HEAD = 2
_CELL = 29
_WIDEST_CELL = 44
_MAP_CELL = 7
_WIDEST_MAP_CELL = 12
_HEAT = (0.05, 0.2, 0.4, 0.7)
"""Shares of the scale from which a cell of the map stands on the next warmer ground."""


class EstimateTable(LineView, can_focus=True):
    """A grid with a cursor on one cell; the preferences stay in view when the conditions scroll."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line--heat{level}" for level in (1, 2, 3, 4)}
    DEFAULT_CSS = """
    EstimateTable { height: 1fr; }
    EstimateTable > .line--heat1 { background: $heat-1; }
    EstimateTable > .line--heat2 { background: $heat-2; }
    EstimateTable > .line--heat3 { background: $heat-3; }
    EstimateTable > .line--heat4 { background: $heat-4; }
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
        self._map = False
        self._compact = False

    def set_compact(self, compact: bool) -> None:
        """Be no taller than its rows, so that others get the rest, or take all room there is."""
        self._compact = compact
        rows = len(self._grid.preferences) if self._grid else 0
        self.styles.max_height = rows + _HEAD + 1 if compact else None

    def toggle_map(self) -> None:
        """Show the map, or bars."""
        self._map = not self._map
        self._reveal()
        self.refresh()

    def show(self, grid: Grid) -> None:
        """Draw `grid`; the cursor stays on its preference and group where they are still there."""
        old = self._grid
        if old is not None and old.preferences and old.groups:
            preference, group = old.preferences[self._row], old.groups[self._column]
            self._row = grid.preferences.index(preference) if preference in grid.preferences else 0
            self._column = grid.groups.index(group) if group in grid.groups else 0
        self._grid = grid
        self.set_compact(self._compact)
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
            drawn = _map_parts(cell, self._cell) if self._map else _cell_parts(cell, self._cell)
            parts += [(text, f"{look} {tone}" if self._map else f"{tone} {look}") for text, look in drawn]
        return Line(tuple(parts))

    @property
    def _names(self) -> int:
        return 24 if self.size.width >= 120 else 16

    @property
    def _columns(self) -> int:
        """How many groups fit."""
        return max(self._room // (self._narrowest + 1), 1)

    @property
    def _narrowest(self) -> int:
        return _MAP_CELL if self._map else _CELL

    @property
    def _cell(self) -> int:
        """Width of a cell: what an even share of the room gives, within limits."""
        shown = min(self._columns, len(self._grid.groups) if self._grid else 1)
        widest = _WIDEST_MAP_CELL if self._map else _WIDEST_CELL
        return min(max(self._room // max(shown, 1) - 1, self._narrowest), widest)

    @property
    def _room(self) -> int:
        return self.scrollable_content_region.width - self._names - 2

    def _heading(self, grid: Grid, groups: list[str], y: int) -> Line:
        left = self._first_column > 0
        right = self._first_column + self._columns < len(grid.groups)
        more = "‹ " * left + f"{len(grid.groups)} groups" + " ›" * right
        if y == 1:
            more = "" if self._map else "waterfall"
        parts: list[Part] = [(" " + fit(one_line(more, self._names), self._names) + " ", "soft")]
        for group in groups:
            text = one_line(grid.titles[group]) if y == 0 or self._map else str(grid.funnels[group])
            if self._map:
                # A long name goes on in the second line.
                cut = _break(text, self._cell)
                text = text[:cut] if y == 0 else text[cut:].lstrip()
            parts.append((" " + fit(text, self._cell), "bold" if y == 0 or self._map else "soft"))
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


def _break(text: str, width: int) -> int:
    """Where a text of more than `width` cells is best broken in two: before a space or after a hyphen."""
    if len(text) <= width:
        return len(text)
    return max(text.rfind(" ", 0, width + 1), text.rfind("-", 0, width) + 1) or width


def _map_parts(cell: Cell | None, width: int) -> list[Part]:
    if cell is None or cell.estimate is None:
        return [(fit("–", width - 2, right=True) + "  ", "soft")]
    share = (cell.estimate - 1) / 9 if cell.measure == "mean" else cell.estimate
    level = sum(share >= start for start in _HEAT)
    ground = f"heat{level}" if level else ""
    return [
        (fit(value(cell, cell.estimate), width - 2, right=True), ground),
        ("!" if cell.flags else " ", f"bad {ground}"),
        (" ", ground),
    ]

"""A table of one-line rows that draws only what is in view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from textual.message import Message

from cc_tui.keymap import bindings
from cc_tui.widgets.line_view import Line, LineView, fit
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.events import Click

T = TypeVar("T")

_READABLE = 16
"""Cells that the widest column needs before spare ones are shown."""
_ROWS_A_TIME = 12
"""Rows that one update paints, so that a key never waits for a whole table."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column: what it says of a row, and how wide."""

    title: str
    width: int
    """Cells; 0 takes what the others leave."""
    text: Callable[[T], str]
    tone: Callable[[T], str] = lambda _: ""
    right: bool = False
    tail: bool = False
    """Whether the end of a long text is what matters."""
    spare: bool = False
    """Whether it is left out where the column that takes what the others leave would be too narrow to read."""


class LineTable(LineView, Generic[T], can_focus=True):
    """Rows under a heading. The cursor stays on its row, known by its key, wherever an update moves the row."""

    BINDINGS = bindings("table")
    DEFAULT_CSS = """
    LineTable { height: 1fr; }
    """

    @dataclass
    class Moved(Message):
        """The cursor came to another row."""

        key: str
        by_hand: bool
        """Whether a key or the mouse moved it."""

    @dataclass
    class Entered(Message):
        """The row was chosen."""

        key: str

    def __init__(
        self, columns: Sequence[Column[T]], key: Callable[[T], str], *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._key = key
        self._rows: Sequence[T] = ()
        self._empty = ""
        self.cursor: str | None = None
        """Key of the cursor's row."""
        self._index = 0
        self._in_order: tuple[str, ...] = ()
        self._turn = 0
        self._laid_out: tuple[int, list[tuple[Column[T], int]]] = (0, [])

    def show(self, rows: Sequence[T], empty: str = "", *, keep: bool = False) -> bool:
        """Draw `rows`, or the sentence `empty` where there are none; `keep` the cursor's row in view.

        While the same rows stand in the same places, they are painted in turns, a few with each call.

        Returns:
            Whether all is painted; otherwise it wants to be called again.
        """
        # At the top one watches what comes; further down, the cursor's row is what one came for, and it stands still.
        top = self.scroll_offset.y
        keep = (keep or top > 0) and self._in_view()
        line = self._index - top
        self._rows, self._empty = rows, empty
        found = self._find(self.cursor)
        if found is not None:
            self._index = found
        elif rows:
            self._index = min(self._index, len(rows) - 1)
            self._set_cursor(self._key(rows[self._index]), by_hand=False)
        else:
            self.cursor = None
        self.extend(len(rows) + 1)
        if keep and top > 0:
            self.jump(self._index - line)
        elif keep:
            self._reveal()
        top = self.scroll_offset.y
        in_order = tuple(self._key(row) for row in rows[top : top + self._height])
        if in_order != self._in_order or not rows:
            self._in_order = in_order
            self.redraw()
            return True
        lines = range(self.size.height)
        painted = self.redraw((*lines[self._turn :], *lines[: self._turn]), _ROWS_A_TIME)
        if painted:
            self._turn = (painted[-1] + 1) % len(lines)
        return len(painted) < _ROWS_A_TIME

    def set_columns(self, columns: Sequence[Column[T]]) -> None:
        """Show other columns from the next drawing on."""
        self._columns = columns
        self._laid_out = (0, [])

    @property
    def selected(self) -> T | None:
        """The row under the cursor."""
        return self._rows[self._index] if self._rows else None

    def select(self, key: str) -> None:
        """Put the cursor on the row with `key`, if there is one."""
        index = self._find(key)
        if index is not None:
            self._go(index, by_hand=False)

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self._go(self._index + rows)

    def action_page(self, pages: int) -> None:
        """Move the cursor by a page."""
        self._go(self._index + pages * max(self._height - 1, 1))

    def action_edge(self, end: int) -> None:
        """Move the cursor to the first (-1) or last (1) row."""
        self._go(0 if end < 0 else len(self._rows) - 1)

    def action_enter(self) -> None:
        """Choose the row."""
        if self.cursor is not None:
            self.post_message(self.Entered(self.cursor))

    def on_click(self, event: Click) -> None:
        """Put the cursor where the mouse is."""
        row = event.y - 1 + self.scroll_offset.y
        if event.y > 0 and row < len(self._rows):
            self._go(row)

    def line(self, y: int) -> Line:
        """The heading, then rows from the scroll offset on."""
        width = self.scrollable_content_region.width
        if y == 0:
            return Line(tuple(self._heading(width)), "head")
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._rows):
            message = fit(f"  {self._empty}", width) if index == 1 and not self._rows else ""
            return Line(((message, "soft"),))
        row, here = self._rows[index], index == self._index
        parts = [("▸" if here else " ", "active")]
        for column, cells in self._layout(width):
            text = column.text(row)
            # Only the end is looked at: what a model said last can be long, and this runs ten times a second.
            text = one_line(text[-4 * cells :])[-cells:] if column.tail else one_line(text, cells)
            parts += [(fit(text, cells, right=column.right), column.tone(row)), (" ", "")]
        return Line(tuple(parts), "cursor" if here else "")

    def _find(self, key: str | None) -> int | None:
        """Where the row with `key` stands."""
        return next((index for index, row in enumerate(self._rows) if self._key(row) == key), None)

    @property
    def _height(self) -> int:
        return max(self.size.height - 1, 0)

    def _layout(self, width: int) -> list[tuple[Column[T], int]]:
        if width != self._laid_out[0]:
            columns = list(self._columns)
            spare = [column for column in columns if column.spare]
            while (rest := width - 2 - sum(column.width + 1 for column in columns)) < _READABLE and spare:
                columns.remove(spare.pop())
            self._laid_out = (width, [(c, c.width or rest) for c in columns if c.width or rest > 3])
        return self._laid_out[1]

    def _heading(self, width: int) -> list[tuple[str, str]]:
        parts = [(" ", "")]
        for column, cells in self._layout(width):
            parts += [(fit(column.title, cells, right=column.right), ""), (" ", "")]
        return parts

    def _in_view(self) -> bool:
        top = self.scroll_offset.y
        return top <= self._index < top + max(self._height, 1)

    def _reveal(self) -> None:
        top, height = self.scroll_offset.y, max(self._height, 1)
        if self._index < top:
            self.jump(self._index)
        elif self._index >= top + height:
            self.jump(self._index - height + 1)

    def _go(self, index: int, *, by_hand: bool = True) -> None:
        if not self._rows:
            return
        self.refresh_line(self._index + 1)
        self._index = min(max(index, 0), len(self._rows) - 1)
        self.refresh_line(self._index + 1)
        self._set_cursor(self._key(self._rows[self._index]), by_hand=by_hand)
        self._reveal()

    def _set_cursor(self, key: str, *, by_hand: bool) -> None:
        if key != self.cursor:
            self.cursor = key
            self.post_message(self.Moved(key, by_hand))

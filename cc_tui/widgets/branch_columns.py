"""Two branches beside each other, message by message, under the beginning that they share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len

from cc_tui.keymap import key_of
from cc_tui.widgets.block_lines import block_lines, line_parts
from cc_tui.widgets.line_view import Line, LineView, Part, fit
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.events import Resize

    from cc_tui.state.blocks import Block

_BOTH = 100
"""Cells from which both branches have room."""
_BETWEEN: Part = (" │ ", "soft")
_NOTHING: tuple[Part, ...] = ((" nothing more was said", "soft"),)


@dataclass(frozen=True, slots=True)
class Side:
    """One of two branches: what comes after the shared beginning."""

    title: str
    messages: Sequence[Sequence[Block]] = ()
    """The blocks of each message."""


class BranchColumns(LineView):
    """Both branches scroll together, and the n-th message of one begins beside the n-th of the other."""

    DEFAULT_CSS = """
    BranchColumns { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._sides = (Side(""), Side(""))
        self._shared: Sequence[Block] = ()
        self._open = False
        self._active = 1
        self._rows: list[Line] = []

    @property
    def active(self) -> int:
        """The side that keys are about: 0 or 1; the one in view where there is room for one only."""
        return self._active

    def show(self, left: Side, right: Side, shared: Sequence[Block]) -> None:
        """Draw two branches and what they have in common."""
        self._sides, self._shared = (left, right), shared
        self._lay_out()

    def switch(self) -> None:
        """Turn to the other side."""
        self._active = 1 - self._active
        self._lay_out()

    def unfold(self) -> None:
        """Open or close what both share."""
        self._open = not self._open
        self._lay_out()

    def scroll_lines(self, lines: int) -> None:
        """Scroll both."""
        self.jump(self.scroll_offset.y + lines)

    def page(self, pages: int) -> None:
        """Scroll both by pages, keeping two lines of the old one."""
        self.scroll_lines(pages * max(self.size.height - 3, 1))

    def edge(self, end: int) -> None:
        """Scroll to the top (-1) or the end (1)."""
        self.jump(0 if end < 0 else self.max_scroll_y)

    def on_resize(self, event: Resize) -> None:
        """Wrap again for the new width."""
        self._lay_out()

    def line(self, y: int) -> Line:
        """The titles, then the rows from the scroll offset on."""
        if y == 0:
            return Line(self._titles(), "head")
        row = y - 1 + self.scroll_offset.y
        return self._rows[row] if row < len(self._rows) else Line()

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _both(self) -> bool:
        return self._width >= _BOTH

    @property
    def _column(self) -> int:
        return (self._width - len(_BETWEEN[0])) // 2 if self._both else self._width

    def _titles(self) -> tuple[Part, ...]:
        if not self._both:
            here, other = (one_line(self._sides[number].title) for number in (self._active, 1 - self._active))
            half = self._width // 2
            return (
                (fit(f"▸ {here}", self._width - half), "bold active"),
                (fit(f"  {key_of('compare.side').shown}: {other}", half), "soft"),
            )
        parts: list[Part] = []
        for number, side in enumerate(self._sides):
            here = number == self._active
            mark = "▸" if here else " "
            parts += [_BETWEEN] * bool(parts)
            parts.append((fit(f"{mark} {one_line(side.title)}", self._column), "bold active" if here else ""))
        return tuple(parts)

    def _lay_out(self) -> None:
        if self._width == 0:
            return  # Not yet on the screen: the resize that brings it there lays it out.
        self._rows = [*self._beginning(), Line()]
        sides = self._sides if self._both else (self._sides[self._active],)
        columns = [[self._message(blocks) for blocks in side.messages] or [[_NOTHING]] for side in sides]
        for messages in zip_longest(*columns, fillvalue=[]):
            self._rows += self._beside(*messages) if self._both else [*map(Line, messages[0]), Line()]
        self.extend(len(self._rows) + 1)
        self.redraw()

    def _beginning(self) -> list[Line]:
        sign = "▾" if self._open else "▹"
        count = sum(block.message_id is not None for block in self._shared)
        said = f"{count} {'message' if count == 1 else 'messages'}" if count else "nothing"
        lines = [Line(((f" {sign} {said} in common", "soft"),))]
        if self._open:
            lines += [Line(parts) for block in self._shared for parts in self._block(block, self._width)]
        return lines

    def _beside(self, left: list[tuple[Part, ...]], right: list[tuple[Part, ...]]) -> list[Line]:
        rows: list[Line] = []
        for one, other in zip_longest(left, right, fillvalue=()):
            blank = max(self._column - sum(cell_len(text) for text, _ in one), 0)
            rows.append(Line((*one, (" " * blank, ""), _BETWEEN, *other)))
        return [*rows, Line(((" " * self._column, ""), _BETWEEN))]

    def _message(self, blocks: Sequence[Block]) -> list[tuple[Part, ...]]:
        return [parts for block in blocks for parts in self._block(block, self._column)]

    def _block(self, block: Block, width: int) -> list[tuple[Part, ...]]:
        folded = bool(block.summary)
        texts = block_lines(block, width, folded=folded)
        return [line_parts(block, texts, row, width, marked=False) for row in range(len(texts))]

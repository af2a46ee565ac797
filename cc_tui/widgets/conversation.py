"""A conversation: wrapped, folded, marked, and followed to its tail."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.reactive import reactive

from cc_tui.state.blocks import Block, Voice
from cc_tui.widgets.block_lines import block_lines, first_lit, gap_below, line_parts, wrap
from cc_tui.widgets.line_view import Line, LineView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.events import Resize

_GROWTH = 4
"""Parts of the view of which one is left free when a text that is followed reaches its end."""


class Conversation(LineView):
    """Draws blocks, with a mark on one of them. At its end it follows what is added; scrolled up it holds still."""

    DEFAULT_CSS = """
    Conversation { height: 1fr; }
    """

    marks: reactive[bool] = reactive(True)
    """Whether the mark is shown, and so whether keys are about this widget."""

    def __init__(self, *, marked: bool = True, follow: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._blocks: Sequence[Block] = ()
        self._lines: list[tuple[str, ...]] = []
        self._starts: list[int] = []
        self._width = 0
        self._open: set[int] = set()
        self._all_open = False
        self.set_reactive(Conversation.marks, marked)
        self._follow = follow
        self._mark = 0
        self._empty = ""

    @property
    def marked(self) -> Block | None:
        """The block under the mark."""
        return self._blocks[self._mark] if self._mark < len(self._blocks) else None

    @property
    def blocks(self) -> Sequence[Block]:
        """What is shown."""
        return self._blocks

    @property
    def mark(self) -> int:
        """Which block the mark is on."""
        return self._mark

    @property
    def at_tail(self) -> bool:
        """Whether the last line is in view."""
        return self.scroll_offset.y >= self.max_scroll_y

    @property
    def position(self) -> int:
        """How far the reader has come, in percent."""
        return 100 if self.max_scroll_y == 0 else round(100 * self.scroll_offset.y / self.max_scroll_y)

    def load(self, blocks: Sequence[Block], empty: str = "") -> None:
        """Show another conversation, from its tail if the widget follows and from its top if not."""
        self._open.clear()
        self._all_open = False
        self._lines = []
        self._empty = empty
        self._blocks = blocks
        self._mark = next((index for index, block in enumerate(blocks) if block.voice is not Voice.RULE), 0)
        self._lay_out()
        self.jump(self.max_scroll_y if self._follow else 0)
        self.redraw()

    def grow(self, blocks: Sequence[Block]) -> None:
        """Show the same conversation after something was added or its last block changed."""
        tail = self.at_tail
        same = 0
        for old, new in zip(self._blocks, blocks, strict=False):
            if old is not new and old != new:
                break
            same += 1
        del self._lines[same:]
        self._blocks = blocks
        self._lay_out()
        if tail and self._follow:
            self.to_tail()
        self.redraw()

    def point(self, index: int, lights: tuple[tuple[int, int, str], ...]) -> None:
        """Put the mark on a block, open, and bring the first of its `lights` into view; no other block has any."""
        blocks = [replace(block, lights=()) if block.lights else block for block in self._blocks]
        blocks[index] = replace(blocks[index], lights=lights)
        self._blocks, self._mark = blocks, index
        if self._folded(index):
            self._open ^= {index}
            self._lines = []
        self._lay_out()
        if index < len(self._starts):
            line = self._starts[index] + first_lit(blocks[index], self._lines[index])
            if not self.scroll_offset.y <= line < self.scroll_offset.y + self.size.height:
                self.jump(max(line - self.size.height // 3, 0))
        self.redraw()

    def to_tail(self) -> None:
        """Scroll to the end."""
        self.jump(self.max_scroll_y)

    def page(self, pages: int) -> None:
        """Scroll by pages, keeping two lines of the old one."""
        step = max(self.size.height - 2, 1)
        self.jump(self.scroll_offset.y + pages * step)
        self._mark_in_view()

    def edge(self, end: int) -> None:
        """Scroll to the top (-1) or the end (1)."""
        self.jump(0 if end < 0 else self.max_scroll_y)
        self._mark_in_view()

    def move(self, turns: int, voice: Voice | None = None) -> None:
        """Move the mark to the next or previous block, or to one of `voice`."""
        index = self._mark + turns
        while 0 <= index < len(self._blocks):
            block = self._blocks[index]
            if block.voice is not Voice.RULE and voice in (None, block.voice):
                self._mark = index
                self._reveal()
                break
            index += turns
        else:
            self.edge(turns)
        self.redraw()

    def mark_message(self, step: int) -> None:
        """Put the mark on the next or previous message: from none, on the last one."""
        messages = [index for index, block in enumerate(self._blocks) if block.message_id]
        if not messages:
            return
        if self.marks:
            at = bisect_left(messages, self._mark) + (step if step < 0 or self._mark in messages else 0)
        else:
            at = len(messages) - 1
        self.marks = True
        self._mark = messages[min(max(at, 0), len(messages) - 1)]
        self._reveal()
        self.redraw()

    def unfold(self) -> None:
        """Open or close the marked block."""
        self._open ^= {self._mark}
        self._lay_out_again()

    def unfold_all(self) -> None:
        """Open or close every block."""
        self._all_open = not self._all_open
        self._open.clear()
        self._lay_out_again()

    def on_resize(self, event: Resize) -> None:
        """Wrap again for the new width, keeping the tail or the marked block in view."""
        if self.scrollable_content_region.width != self._width:
            tail = self.at_tail and self._follow
            self._lines = []
            self._lay_out()
            if tail:
                self.to_tail()
            else:
                self._reveal()
            self.refresh()

    def line(self, y: int) -> Line:
        """The line of a block, or the blank one below it."""
        line = y + self.scroll_offset.y
        if not self._starts:
            lines = ("", *wrap(self._empty, self._width - 4))
            return Line(((f"  {lines[line]}" if line < len(lines) else "", "soft"),))
        index = bisect_right(self._starts, line) - 1
        texts, row = self._lines[index], line - self._starts[index]
        if row >= len(texts):
            return Line()
        marked = self.marks and index == self._mark
        return Line(line_parts(self._blocks[index], texts, row, self._width, marked=marked))

    def _folded(self, index: int) -> bool:
        return bool(self._blocks[index].summary) and self._all_open == (index in self._open)

    def _lay_out(self) -> None:
        """Wrap the blocks that have no lines yet, and find where each begins."""
        self._width = self.scrollable_content_region.width
        if self._width == 0:
            return  # Not yet on the screen: the resize that brings it there lays it out.
        for index in range(len(self._lines), len(self._blocks)):
            folded = self._folded(index)
            self._lines.append(block_lines(self._blocks[index], self._width, folded=folded))
        self._starts, start = [], 0
        for index, lines in enumerate(self._lines):
            self._starts.append(start)
            start += len(lines) + self._gap(index)
        self.extend(self._roomy(start))

    def _roomy(self, height: int) -> int:
        """The height with room to grow: what streams in scrolls the view a few lines at a time, not with each."""
        beyond = height - self.size.height
        if not self._follow or beyond <= 0:
            return height
        step = max(self.size.height // _GROWTH, 1)
        return self.size.height + -(-beyond // step) * step

    def _gap(self, index: int) -> int:
        if index + 1 >= len(self._blocks):
            return 0
        folded = self._folded(index) and self._folded(index + 1)
        return gap_below(self._blocks[index], self._blocks[index + 1], folded=folded)

    def _lay_out_again(self) -> None:
        self._lines = []
        self._lay_out()
        self._reveal()
        self.redraw()

    def _reveal(self) -> None:
        """Bring the marked block into view: its top, where it is longer than the view."""
        if self._mark >= len(self._starts):
            return
        start, top, height = self._starts[self._mark], self.scroll_offset.y, self.size.height
        if start < top or start + len(self._lines[self._mark]) > top + height:
            self.jump(start)

    def _mark_in_view(self) -> None:
        """After paging, put the mark on the first block that begins in view."""
        top, bottom = self.scroll_offset.y, self.scroll_offset.y + self.size.height
        for index, start in enumerate(self._starts):
            if top <= start < bottom and self._blocks[index].voice is not Voice.RULE:
                self._mark = index
                break
        self.redraw()

"""A conversation: wrapped, folded, marked, and followed to its tail."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive

from cc_tui.state.blocks import Block, Voice
from cc_tui.widgets.line_view import LineView, fit
from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.events import Resize
    from textual.strip import Strip

_LABEL = 10
_MARGIN = _LABEL + 4
_LOOK: dict[Voice, tuple[str, str, str]] = {
    # Bar of the margin, tone of label and bar, tone of the text.
    Voice.SYSTEM: ("┊", "soft", "soft"),
    Voice.USER: ("│", "user", ""),
    Voice.HUMAN: ("│", "human", ""),
    Voice.TARGET: ("▌", "target", ""),
    Voice.TOOL: ("┊", "soft", ""),
    Voice.THOUGHT: ("┆", "soft", "soft"),
    Voice.NOTE: ("·", "soft", "soft"),
}


@lru_cache(maxsize=8192)
def wrap(paragraph: str, width: int) -> tuple[str, ...]:
    """The lines of a paragraph. Cached, because of a growing draft only the last paragraph is new."""
    return tuple(line.plain for line in Content(printable(paragraph)).wrap(max(width, 1)))


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

    def grow(self, blocks: Sequence[Block]) -> None:
        """Show the same conversation after something was added or its last block changed."""
        tail = self.at_tail
        same = 0
        for old, new in zip(self._blocks, blocks, strict=False):
            if old is not new:
                break
            same += 1
        del self._lines[same:]
        self._blocks = blocks
        self._lay_out()
        if tail and self._follow:
            self.to_tail()

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
        self.refresh()

    def unfold(self) -> None:
        """Open or close the marked block."""
        self._open ^= {self._mark}
        self._lines = []
        self._lay_out()
        self._reveal()

    def unfold_all(self) -> None:
        """Open or close every block."""
        self._all_open = not self._all_open
        self._open.clear()
        self._lines = []
        self._lay_out()
        self._reveal()

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

    def render_line(self, y: int) -> Strip:
        """Draw line `y` of the screen."""
        line = y + self.scroll_offset.y
        if not self._starts:
            lines = ("", *wrap(self._empty, self._width - 4))
            return self.strip([(f"  {lines[line]}" if line < len(lines) else "", "soft")])
        index = bisect_right(self._starts, line) - 1
        text = self._lines[index]
        if line - self._starts[index] >= len(text):
            return self.strip([])
        return self.strip(self._parts(index, line - self._starts[index]))

    def _parts(self, index: int, row: int) -> list[tuple[str, str]]:
        block, text = self._blocks[index], self._lines[index][row]
        if block.voice is Voice.RULE:
            rest = "─" * max(self._width - len(text) - 5, 0)
            return [("─── ", "soft"), (text, "soft bold"), (f" {rest}", "soft")]
        bar, tone, text_tone = _LOOK[block.voice]
        here = self.marks and index == self._mark
        mark = "▸" if here and row == 0 else " "
        label = fit(block.label if row == 0 else "", _LABEL, right=True)
        if block.faded:
            bar, tone, text_tone = "╎", "soft", "soft"
        label_tone = f"{tone} bold" if here else tone
        return [(mark, "active"), (label, label_tone), (f" {bar} ", tone), (text, text_tone)]

    def _folded(self, index: int) -> bool:
        return bool(self._blocks[index].summary) and self._all_open == (index in self._open)

    def _lay_out(self) -> None:
        """Wrap the blocks that have no lines yet, and find where each begins."""
        self._width = self.scrollable_content_region.width
        if self._width == 0:
            return  # Not yet on the screen: the resize that brings it there lays it out.
        width = self._width - _MARGIN
        for index in range(len(self._lines), len(self._blocks)):
            block = self._blocks[index]
            if block.voice is Voice.RULE:
                lines = (one_line(block.text, max(self._width - 6, 1)),)
            elif self._folded(index):
                lines = (fit("▹ " + one_line(block.summary, width), width),)
            else:
                lines = tuple(line for text in block.text.split("\n") for line in wrap(text, width)) or ("",)
            self._lines.append(lines)
        self._starts, start = [], 0
        for index, lines in enumerate(self._lines):
            self._starts.append(start)
            start += len(lines) + self._gap(index)
        self.virtual_size = Size(0, start)
        self.refresh()

    def _gap(self, index: int) -> int:
        """Blank lines below a block: one where another speaker follows."""
        if index + 1 >= len(self._blocks) or self._blocks[index].voice is Voice.RULE:
            return 0
        return 0 if self._folded(index) and self._folded(index + 1) else 1

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
        self.refresh()

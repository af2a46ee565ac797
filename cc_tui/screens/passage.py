"""Choosing a passage of a message, word by word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from cc_tui.keymap import bindings, key_of
from cc_tui.screens.dialogs import Dialog
from store.text import one_line, printable

if TYPE_CHECKING:
    from textual.app import ComposeResult

_WORD = re.compile(r"\S+")
_SHOWN = 400
"""Words of a long message that are shown around the cursor."""


class Passage(Dialog["tuple[int, int] | None"]):
    """Gives where the passage begins and ends, in code points of the text."""

    BINDINGS = bindings("passage")

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._words = [found.span() for found in _WORD.finditer(text)]
        self._at = 0
        self._begun: int | None = None

    def compose(self) -> ComposeResult:
        """Put the text in a box."""
        with VerticalScroll(classes="dialog -wide") as box:
            box.border_title = Content(one_line(self._title))
            keys = ("passage.left", "passage.right", "passage.take", "passage.back")
            box.border_subtitle = Content(" · ".join(key_of(id).shown for id in keys))
            yield Static(markup=False)

    def on_mount(self) -> None:
        """Show where the cursor stands."""
        self._draw()

    def _draw(self) -> None:
        if not self._words:
            return
        begun = self._at if self._begun is None else self._begun
        first, last = sorted((begun, self._at))
        start, end = self._words[first][0], self._words[last][1]
        low = self._words[max(self._at - _SHOWN // 2, 0)][0]
        high = self._words[min(self._at + _SHOWN // 2, len(self._words) - 1)][1]
        low, high = min(low, start), max(high, end)
        style = "reverse bold" if self._begun is not None else "reverse"
        self.query_one(Static).update(
            Content.assemble(
                printable(self._text[low:start]),
                (printable(self._text[start:end]), style),
                printable(self._text[end:high]),
            )
        )

    def action_move(self, words: int) -> None:
        """Move the cursor."""
        self._at = min(max(self._at + words, 0), max(len(self._words) - 1, 0))
        self._draw()

    def action_take(self) -> None:
        """Begin the passage at the cursor, or end it there."""
        if not self._words:
            self.close(None)
        elif self._begun is None:
            self._begun = self._at
            self._draw()
        else:
            first, last = sorted((self._begun, self._at))
            self.close((self._words[first][0], self._words[last][1]))

    def action_back(self) -> None:
        """Choose nothing."""
        self.close(None)

"""Finding words in the conversation that is on the screen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cc_tui.screens.picking import Ask
from cc_tui.state.reading import HIT
from store.text import printable

if TYPE_CHECKING:
    from textual.screen import Screen

    from cc_tui.widgets.conversation import Conversation


class Finder:
    """Asks for words and goes to the next block that holds them; asked again, to the one after it."""

    def __init__(self, screen: Screen[None]) -> None:
        self._screen = screen
        self._words = ""

    def ask(self, talk: Conversation) -> None:
        """Ask what to find in `talk`; the words of the last time stand there."""

        def find(words: str | None) -> None:
            if words is not None:
                self._words = words
                self._find(talk, words)

        self._screen.app.push_screen(Ask("Find in this transcript", self._words), find)

    def _find(self, talk: Conversation, words: str) -> None:
        pattern = re.compile(re.escape(words), re.IGNORECASE)
        hits = [index for index, block in enumerate(talk.blocks) if pattern.search(block.text)]
        if not hits:
            told = printable(f"Nothing here holds “{words}”.")
        else:
            marked = talk.marked
            # What is lit was found before: on with the next one.
            behind = talk.mark + bool(marked and any(tone == HIT for *_, tone in marked.lights))
            at = next((index for index in hits if index >= behind), hits[0])
            text = talk.blocks[at].text
            talk.point(at, tuple((*match.span(), HIT) for match in pattern.finditer(text)))
            told = f"{hits.index(at) + 1} of {len(hits)} · / Enter: the next"
        self._screen.notify(told, timeout=3, markup=False)

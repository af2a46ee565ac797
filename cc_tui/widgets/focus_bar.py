"""What is in focus on the Live screen, and who has its wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget

from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence


class FocusBar(Widget):
    """The audit's name, the state of its wheel in words, and why the last act was not carried out."""

    DEFAULT_CSS = """
    FocusBar { height: auto; padding: 0 1; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._told: tuple[str, Sequence[tuple[str, str]], str] = ("", (), "")

    def show(self, title: str, words: Sequence[tuple[str, str]], error: str) -> None:
        """Say what is in focus; `words` come with their tones, and neither they nor `error` are trusted."""
        told = (title, words, error)
        if told != self._told:
            resized = bool(error) != bool(self._told[2])
            self._told = told
            self.refresh(layout=resized)

    def render(self) -> Content:
        """A line for each."""
        title, words, error = self._told
        room = max(self.content_size.width, 1)
        said: list[Content] = []
        left = room
        for text, tone in words:
            # What has no room is left out whole; the first words matter most.
            text = one_line(text, room)
            left -= len(text) + 3
            if left < -3:
                break
            said.append(Content.styled(text, " ".join(_STYLES.get(name, name) for name in tone.split())))
        lines = [Content(one_line(title, room)), Content(" · ").join(said)]
        if error:
            lines.append(
                Content.styled(one_line(f"Not done: {error.removeprefix('Error: ')}", room), "bold $tone-bad")
            )
        return Content("\n").join(lines)


_STYLES = {name: f"$tone-{name}" for name in ("active", "bad", "good", "human", "soft", "target", "user")}

"""Where SQL is written: highlighted, with the names of tables and columns completed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from cc_tui.widgets.completion import begun, completions
from store.text import printable

if TYPE_CHECKING:
    from textual.events import Key, Paste

KEYWORDS = (
    *("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "HAVING", "QUALIFY", "JOIN", "LEFT JOIN"),
    *("USING", "DISTINCT", "BETWEEN", "FILTER", "WITH", "UNION ALL", "DESC", "NULLS LAST", "count", "median"),
)
_OFFERED = 8


class SqlEditor(TextArea, inherit_bindings=False):
    """Tab takes what is offered, and otherwise goes on to the next part of the screen; function keys are the app's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding
        for binding in TextArea.BINDINGS
        if not (isinstance(binding, Binding) and binding.key in ("f6", "f7"))
    ]

    DEFAULT_CSS = """
    SqlEditor { height: 8; padding: 0 1; background: $panel; }
    """

    @dataclass
    class Offers(Message):
        """What the name that is being written may become."""

        words: list[str]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            language="sql",
            theme="css",
            compact=True,
            highlight_cursor_line=False,
            tab_behavior="focus",
            id=id,
        )
        self.columns: dict[str, list[str]] = {}
        """Columns of every table and view."""

    def on_paste(self, event: Paste) -> None:
        """Take what is pasted as it can be shown."""
        event.text = printable(event.text)

    def update_suggestion(self) -> None:
        """Offer the rest of the name that is being written."""
        row, column = self.cursor_location
        before = self.get_text_range((0, 0), (row, column))
        line = self.document.get_line(row)
        if column < len(line) and (line[column].isalnum() or line[column] == "_"):
            found = list[str]()
        else:
            found = completions(before, self._words())
        self.suggestion = found[0][len(begun(before)) :] if found else ""
        self.post_message(self.Offers(found[:_OFFERED]))

    def _words(self) -> list[str]:
        """The names of the tables that the query names first come with their columns."""
        said = set(re.findall(r"\w+", self.text))
        named = [name for name in self.columns if name in said]
        columns = {column for name in named or self.columns for column in self.columns[name]}
        return [*columns, *self.columns, *KEYWORDS]

    async def on_key(self, event: Key) -> None:
        """Take what is offered."""
        if event.key == "tab" and self.suggestion:
            event.stop()
            event.prevent_default()
            self.insert(self.suggestion)

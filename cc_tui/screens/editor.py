"""Where a person writes: one or more fields, sent together or kept as a draft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static, TextArea

from cc_tui.keymap import bindings, key_of
from cc_tui.screens.dialogs import Dialog
from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult
    from textual.events import Paste

    from cc_tui.state.steps import Field


@dataclass(frozen=True, slots=True)
class Written:
    """What somebody has written."""

    texts: list[str]
    """The text of each field."""
    sent: bool
    """Whether it is to be sent; else it is a draft."""


class Prose(TextArea):
    """A text of several lines, of which the terminal obeys nothing."""

    DEFAULT_CSS = """
    Prose { height: auto; min-height: 3; max-height: 12; padding: 0 1; margin-bottom: 1; background: $panel; }
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, compact=True, highlight_cursor_line=False)

    def on_paste(self, event: Paste) -> None:
        """Take what is pasted as it can be shown; what a model wrote may come this way, too."""
        event.text = printable(event.text)


class Editor(Dialog[Written]):
    """Fields to write in.

    Args:
        title: what is written.
        happens: one sentence on what sending does.
        fields: the fields; their texts are printable.
        draft: texts in place of those of the fields, from an earlier visit.
        wrong: why texts cannot be sent, or an empty string.
    """

    BINDINGS = bindings("editor")

    def __init__(
        self,
        title: str,
        happens: str,
        fields: Sequence[Field],
        draft: Sequence[str] | None,
        wrong: Callable[[list[str]], str],
    ) -> None:
        super().__init__()
        self._title = title
        self._happens = happens
        self._fields = fields
        self._texts = draft or [field.text or "" for field in fields]
        self._wrong = wrong
        self._areas: list[TextArea | Input | None] = []

    def compose(self) -> ComposeResult:
        """Put the fields in a box."""
        send, leave = key_of("editor.send"), key_of("editor.leave")
        with Vertical(classes="dialog -editor") as box:
            box.border_title = Content(one_line(self._title))
            keys = [f"{send.shown} send", f"{leave.shown} leaves, the draft stays"]
            if sum(field.text is not None for field in self._fields) > 1:
                keys.insert(1, f"{key_of('editor.next').shown} next field")
            box.border_subtitle = Content(" · ".join(keys))
            yield Static(Content.styled(self._happens, "$tone-soft"), markup=False, classes="happens")
            with VerticalScroll(can_focus=False):
                for field, text in zip(self._fields, self._texts, strict=True):
                    yield Static(Content.styled(one_line(field.title), "bold"), markup=False)
                    area = _area(field, text)
                    self._areas.append(area)
                    if area is not None:
                        yield area
            yield Static(markup=False, id="wrong")

    def on_mount(self) -> None:
        """Begin at the end of the first field."""
        area = next(area for area in self._areas if area is not None)
        area.focus()
        if isinstance(area, TextArea):
            area.move_cursor(area.document.end)
        self.query_one("#wrong").display = False

    @property
    def _written(self) -> list[str]:
        return [
            "" if area is None else area.text if isinstance(area, TextArea) else area.value
            for area in self._areas
        ]

    def action_send(self) -> None:
        """Close and send, unless something is wrong."""
        texts = self._written
        if why := self._wrong(texts):
            wrong = self.query_one("#wrong", Static)
            wrong.update(Content.styled(printable(why), "bold $tone-bad"))
            wrong.display = True
        else:
            self.close(Written(texts, sent=True))

    def action_turn(self, step: int) -> None:
        """Go to the next or previous field."""
        if step > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_leave(self) -> None:
        """Close and send nothing."""
        self.close(Written(self._written, sent=False))


def _area(field: Field, text: str) -> TextArea | Input | None:
    if field.text is None:
        return None
    if field.lines:
        return Prose(text)
    return Input(text, select_on_focus=False)

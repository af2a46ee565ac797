"""Small screens that are laid over the others."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from cc_tui.keymap import TITLES, keys_of
from store.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual.app import ComposeResult


T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """A screen laid over another one, which it gives its answer once."""

    def close(self, answer: T) -> None:
        """Close with the answer; a further key that was on its way already changes nothing."""
        if self.is_current:
            self.dismiss(answer)


class Text(Dialog[None]):
    """A text to read; any of its keys goes back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark,r", "back", "back", show=False),
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
    ]

    def __init__(self, title: str, text: Content) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Put the text in a box."""
        with VerticalScroll(classes="dialog -wide") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = Content("j k scroll · Esc back")
            yield Static(self._text, markup=False)

    def action_back(self) -> None:
        """Close."""
        self.close(None)

    def action_scroll(self, lines: int) -> None:
        """Scroll the text."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


def text_of(lines: Iterable[str]) -> Content:
    """Lines of untrusted text to read."""
    return Content("\n").join(Content(printable(line)) for line in lines)


def help_screen(scopes: Sequence[str]) -> Text:
    """The keys of `scopes` and of the app."""
    lines: list[Content] = []
    for scope in (*scopes, "app"):
        lines.append(Content.styled(TITLES[scope], "bold"))
        keys = keys_of(scope)
        for text in dict.fromkeys(key.help for key in keys):
            names = " ".join(key.shown for key in keys if key.help == text)
            first, *more = wrap(text, 48)
            lines.append(Content.assemble("  ", (f"{names:<20}", "$tone-active"), f" {first}"))
            lines += [Content(" " * 23 + line) for line in more]
        lines.append(Content(""))
    return Text("Keys", Content("\n").join(lines))


class Choice(Dialog["str | None"]):
    """A question with a few answers, each on a key; Esc answers None."""

    def __init__(self, question: str, answers: dict[str, str]) -> None:
        super().__init__()
        self._question = question
        self._answers = answers
        for key in answers:
            self._bindings.bind(key, f"answer('{key}')", show=False)
        self._bindings.bind("escape", "answer('')", show=False)

    def compose(self) -> ComposeResult:
        """Put question and answers in a box."""
        answers = [
            Content.assemble("  ", (key, "bold $tone-active"), f"  {text}")
            for key, text in (self._answers | {"Esc": "go back"}).items()
        ]
        with Vertical(classes="dialog"):
            yield Static(Content("\n").join([Content(self._question), Content(""), *answers]), markup=False)

    def action_answer(self, key: str) -> None:
        """Close with the answer."""
        self.close(key or None)


class Line(Dialog[str]):
    """One line to write. Enter and Esc both keep what was written, so that nothing is lost."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "keep", "keep and go back", show=False)]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Put the field in a box."""
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = Content("Enter or Esc keeps it")
            yield Input(self._text, select_on_focus=False)

    def on_input_submitted(self) -> None:
        """Close with the text."""
        self.action_keep()

    def action_keep(self) -> None:
        """Close with the text."""
        self.close(self.query_one(Input).value)

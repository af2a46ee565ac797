"""Dialogs in which something is picked from a list, or several things are put in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input

from cc_tui.keymap import bindings, key_of
from cc_tui.screens.dialogs import Dialog
from cc_tui.widgets.line_table import Column, LineTable
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

_HIGHEST = 18


@dataclass(frozen=True, slots=True)
class Option:
    """Something to pick. Its texts may be untrusted."""

    key: str
    text: str
    note: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Picked:
    """What was picked, and with which key: `enter`, or one of the dialog's own."""

    key: str
    act: str = "enter"


class Pick(Dialog["Picked | None"]):
    """A list of which one thing is picked.

    Args:
        title: what is picked.
        options: from what; there is at least one.
        acts: further keys, each with a word for what it does to the option.
        here: key of the option that the cursor begins on.
    """

    BINDINGS = bindings("pick")

    def __init__(
        self, title: str, options: Sequence[Option], acts: dict[str, str] | None = None, here: str = ""
    ) -> None:
        super().__init__()
        self._title = title
        self._options = options
        self._acts = acts or {}
        self._here = here
        for key in self._acts:
            self._bindings.bind(key, f"act('{key}')", show=False)

    def compose(self) -> ComposeResult:
        """Put the list in a box."""
        groups = max((len(option.group) for option in self._options), default=0)
        notes = min(max((len(option.note) for option in self._options), default=0), 44)
        columns: list[Column[Option]] = [Column("", 0, lambda option: option.text)]
        if groups:
            columns.insert(0, Column("", groups, lambda option: option.group, lambda _: "soft"))
        if notes:
            columns.append(Column("", notes, lambda option: option.note, lambda _: "soft", right=True))
        with Vertical(classes="dialog -wide") as box:
            box.border_title = Content(one_line(self._title))
            words = {key_of("table.enter").shown: "choose"} | self._acts | {key_of("pick.back").shown: "back"}
            box.border_subtitle = Content(" · ".join(f"{key} {word}" for key, word in words.items()))
            table = LineTable(columns, lambda option: option.key, id="options")
            table.styles.height = min(len(self._options), _HIGHEST) + 1
            yield table

    def on_mount(self) -> None:
        """Show the options."""
        table = self.query_one(LineTable)
        table.show(self._options)
        table.select(self._here)
        table.focus()

    @on(LineTable.Entered)
    def choose(self, event: LineTable.Entered) -> None:
        """Pick the option."""
        self.close(Picked(event.key))

    def action_act(self, act: str) -> None:
        """Do something else with the option."""
        option = self.query_one(LineTable).selected
        if option is not None:
            self.close(Picked(option.key, act))

    def action_back(self) -> None:
        """Pick nothing."""
        self.close(None)


class Arrange(Dialog["list[str] | None"]):
    """A list of which several things are taken, in an order.

    Args:
        title: what is arranged.
        options: everything there is.
        taken: keys of what is taken now, in order.
    """

    BINDINGS = bindings("arrange")

    def __init__(self, title: str, options: Sequence[Option], taken: Sequence[str]) -> None:
        super().__init__()
        self._title = title
        by_key = {option.key: option for option in options}
        first = [by_key[key] for key in taken if key in by_key]
        self._options = [*first, *(option for option in options if option not in first)]
        self._taken = {option.key for option in first}

    def compose(self) -> ComposeResult:
        """Put the list in a box."""
        columns: tuple[Column[Option], ...] = (
            Column("", 1, lambda option: "✓" if option.key in self._taken else " ", lambda _: "active"),
            Column("", 0, lambda option: option.text),
            Column("", 30, lambda option: option.note, lambda _: "soft", right=True),
        )
        with Vertical(classes="dialog -wide") as box:
            box.border_title = Content(one_line(self._title))
            ids = {"arrange.take": "take", "arrange.down": "move", "table.enter": "done"}
            words = " · ".join(f"{key_of(id).shown} {word}" for id, word in ids.items())
            box.border_subtitle = Content(f"{words} · {key_of('arrange.back').shown} back")
            table = LineTable(columns, lambda option: option.key, id="options")
            table.styles.height = min(len(self._options), _HIGHEST) + 1
            yield table

    def on_mount(self) -> None:
        """Show the options."""
        table = self.query_one(LineTable)
        table.show(self._options)
        table.focus()

    def action_take(self) -> None:
        """Take the thing, or leave it out."""
        table = self.query_one(LineTable)
        if table.cursor is not None:
            self._taken ^= {table.cursor}
            table.redraw()

    def action_shift(self, step: int) -> None:
        """Move the thing up or down."""
        table = self.query_one(LineTable)
        at = next(index for index, option in enumerate(self._options) if option.key == table.cursor)
        to = min(max(at + step, 0), len(self._options) - 1)
        self._options.insert(to, self._options.pop(at))
        table.show(self._options)
        table.redraw()

    @on(LineTable.Entered)
    def done(self) -> None:
        """Close with what is taken."""
        self.close([option.key for option in self._options if option.key in self._taken])

    def action_back(self) -> None:
        """Change nothing."""
        self.close(None)


class Ask(Dialog["str | None"]):
    """One line to write; Esc answers None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "go back", show=False)]

    def __init__(self, title: str, text: str = "") -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Put the field in a box."""
        with Vertical(classes="dialog -wide") as box:
            box.border_title = Content(one_line(self._title))
            box.border_subtitle = Content("Enter takes it · Esc goes back")
            yield Input(self._text, select_on_focus=False)

    @on(Input.Submitted)
    def take(self, event: Input.Submitted) -> None:
        """Close with the text, if there is one."""
        self.close(event.value.strip() or None)

    def action_back(self) -> None:
        """Close without."""
        self.close(None)

"""The branches of the conversation in focus: as a tree, and two of them beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Vertical
from textual.content import Content

from cc_tui.keymap import bindings, key_of
from cc_tui.screens.base import AppScreen
from cc_tui.screens.dialogs import Dialog
from cc_tui.state.tree import Branch, Tree, shared, tree_thread
from cc_tui.widgets.branch_columns import BranchColumns, Side
from cc_tui.widgets.line_table import Column, LineTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from textual.app import ComposeResult
    from textual.widget import Widget

    from auditors.feed import Entry
    from cc_tui.screens.base import Services
    from cc_tui.state.blocks import Block, Thread

_LIVE = "goes on here"


@dataclass(frozen=True, slots=True)
class Picked:
    """What to do with a branch."""

    branch: int | None
    """The branch; None for all of them."""
    compare: bool = False
    """Whether to compare it instead of showing it."""


class BranchTree(Dialog["Picked | None"]):
    """The branches, each below the one that it goes off from.

    Args:
        branches: as `Tree.branches` gives them.
        name: what a message is called.
    """

    BINDINGS = bindings("tree")

    def __init__(self, branches: Sequence[Branch], name: Callable[[str | None], str]) -> None:
        super().__init__()
        self._branches = branches
        self._columns: tuple[Column[Branch], ...] = (
            Column("branch", 14, _drawn),
            Column("after", 11, lambda branch: name(branch.after) or "–", lambda _: "soft"),
            Column("turns", 5, lambda branch: str(branch.turns), right=True),
            Column("phase", 5, lambda branch: branch.messages[-1].phase, lambda _: "soft"),
            Column("", 12, lambda branch: _LIVE if branch.live else "", lambda _: "active"),
            Column("begins", 0, _begins, lambda _: "soft"),
        )

    def compose(self) -> ComposeResult:
        """Put the table in a box."""
        with Vertical(classes="dialog -editor") as box:
            box.border_title = Content("Branches")
            keys = (
                ("table.enter", "show alone"),
                ("tree.all", "show all"),
                ("tree.compare", "compare"),
                ("tree.back", "back"),
            )
            box.border_subtitle = Content(
                " · ".join(f"{key_of(id).shown.split()[0]} {word}" for id, word in keys)
            )
            table = LineTable(self._columns, lambda branch: str(branch.number), id="branches")
            table.styles.height = min(len(self._branches), 16) + 1
            yield table

    def on_mount(self) -> None:
        """Begin at the branch that goes on."""
        table = self.query_one(LineTable)
        table.show(self._branches)
        table.select(next((str(branch.number) for branch in self._branches if branch.live), ""))
        table.focus()

    @on(LineTable.Entered)
    def show_one(self) -> None:
        """Show the branch alone."""
        self._pick(compare=False)

    def action_compare(self) -> None:
        """Compare the branch with the one that goes on."""
        self._pick(compare=True)

    def action_show_all(self) -> None:
        """Show all branches as they came."""
        self.close(Picked(None))

    def action_back(self) -> None:
        """Close."""
        self.close(None)

    def _pick(self, *, compare: bool) -> None:
        branch: Branch | None = self.query_one(LineTable).selected
        self.close(Picked(branch.number, compare) if branch else None)


class SideBySide(AppScreen):
    """Two conversations side by side where there is room."""

    SCOPES = ("compare",)
    BINDINGS = bindings("compare")

    def body(self) -> Iterable[Widget]:
        """Both sides."""
        yield BranchColumns()

    @property
    def _columns(self) -> BranchColumns:
        return self.query_one(BranchColumns)

    def action_choose(self, step: int) -> None:
        """Put another conversation on the active side."""
        raise NotImplementedError

    def action_side(self) -> None:
        """Turn to the other side."""
        self._columns.switch()

    def action_scroll(self, lines: int) -> None:
        """Scroll both."""
        self._columns.scroll_lines(lines)

    def action_page(self, pages: int) -> None:
        """Page both."""
        self._columns.page(pages)

    def action_edge(self, end: int) -> None:
        """Go to the top or the end."""
        self._columns.edge(end)

    def action_unfold(self) -> None:
        """Open or close what both share."""
        self._columns.unfold()

    def action_back(self) -> None:
        """Return."""
        if self.is_current:
            self.dismiss()


class CompareScreen(SideBySide):
    """Two branches of one conversation.

    Args:
        branch: the one that is compared with the one that goes on.
        tree: the conversation; by default the one in focus, which may grow.
    """

    MODE = "live"

    def __init__(self, services: Services, branch: int, tree: Tree | None = None) -> None:
        super().__init__(services)
        self._stored = tree
        tree = self._tree
        numbers = sorted(one.number for one in tree.branches())
        other = tree.branch if tree.branch in numbers else numbers[-1]
        if other == branch:
            # The branch that goes on is compared with the one that it left.
            other = next(number for number in reversed(numbers) if number != branch)
        self._chosen = [min(branch, other), max(branch, other)]
        self._drawn = -1

    @property
    def _tree(self) -> Tree:
        return self._stored or self.services.live.tree

    def on_mount(self) -> None:
        """Draw what there is."""
        self.flush()

    def flush(self) -> None:
        """Draw both branches again when the conversation has gone on."""
        super().flush()
        live = self.services.live
        if live.talk_version != self._drawn:
            self._drawn = live.talk_version
            self._draw()

    def _draw(self) -> None:
        tree = self._tree
        whole = tree_thread(tree, fade=False)
        left, right = (tree.path(number) for number in self._chosen)
        same = shared(left, right)
        sides = [
            Side(self._title(number), _messages(whole, path[same:]))
            for number, path in zip(self._chosen, (left, right), strict=True)
        ]
        beginning = [block for blocks in _messages(whole, left[:same]) for block in blocks]
        self._columns.show(sides[0], sides[1], beginning)

    def _title(self, number: int) -> str:
        tree = self._tree
        return f"branch {number} of {len(tree.branches())}" + (f" · {_LIVE}" if number == tree.branch else "")

    def action_choose(self, step: int) -> None:
        """Put another branch on the active side."""
        columns = self._columns
        numbers = sorted(branch.number for branch in self._tree.branches())
        other = self._chosen[1 - columns.active]
        open_ones = [number for number in numbers if number != other]
        at = open_ones.index(self._chosen[columns.active]) if self._chosen[columns.active] in open_ones else 0
        self._chosen[columns.active] = open_ones[(at + step) % len(open_ones)]
        self._draw()


class StoredBranches(CompareScreen):
    """Two branches of a recorded conversation."""

    MODE = "transcripts"


def _messages(whole: Thread, path: Sequence[Entry]) -> list[list[Block]]:
    return [whole.of_message[entry.message_id or ""] for entry in path]


def _drawn(branch: Branch) -> str:
    return (f"└{'──' * (branch.depth - 1)}─ " if branch.depth else "") + str(branch.number)


def _begins(branch: Branch) -> str:
    return next((entry.text for entry in branch.messages if entry.author != "system"), "")

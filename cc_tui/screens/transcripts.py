"""The Transcripts screen: the list of what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.content import Content
from textual.widgets import Input, Static

from cc_tui.keymap import bindings
from cc_tui.screens.base import AppScreen
from cc_tui.screens.listing import Listing, Row, list_audits
from cc_tui.screens.reader import ReaderScreen
from cc_tui.state.status import MODES, mark_of_status
from cc_tui.widgets.line_table import Column, LineTable
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from cc_tui.screens.listing import Behind

_COLUMNS: tuple[Column[Row], ...] = (
    Column(
        "status", 11, lambda row: str(mark_of_status(row.status)), lambda row: mark_of_status(row.status).tone
    ),
    Column("condition", 16, lambda row: row.condition),
    Column("mode", 6, lambda row: MODES.get(row.mode, row.mode), lambda _: "soft"),
    Column("item", 20, lambda row: row.item + (f" #{row.repeat + 1}" if row.repeat else "")),
    Column("turn", 4, lambda row: str(row.turns), right=True),
    Column("started", 11, lambda row: f"{row.started_at:%m-%d %H:%M}", lambda _: "soft"),
    Column("", 3, lambda row: "sim" if row.simulated else "", lambda _: "user"),
    Column("reason", 0, lambda row: row.reason, lambda _: "soft"),
)


class TranscriptsScreen(AppScreen):
    """Newest first, with an honest count of what is not shown."""

    MODE = "transcripts"
    SCOPES = ("transcripts", "table")
    BINDINGS = bindings("transcripts")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._listing: Listing | None = None
        self._query = ""
        self._behind: Behind | None = None

    def body(self) -> Iterable[Widget]:
        """Count, list and filter."""
        yield Static(markup=False, id="list-title")
        yield LineTable(_COLUMNS, lambda row: row.audit_id)
        yield Input(placeholder="words of condition, mode, item or status", id="filter")

    def on_mount(self) -> None:
        """Read the list."""
        self.query_one(Input).display = False
        self.query_one(LineTable).focus()

    def on_screen_resume(self) -> None:
        """Read the list again when the screen comes into view."""
        self.action_reload()

    def show_behind(self, behind: Behind) -> None:
        """List the transcripts behind a cell of the table of estimates."""
        self._behind = behind
        self.action_reload()

    def action_reload(self) -> None:
        """Read the list."""
        self.work("list", self._read)

    async def _read(self) -> None:
        query, behind = self._query, self._behind
        self._listing = await self.ask(lambda reader: list_audits(reader, query, behind))
        self._draw(self._listing)

    def _draw(self, listing: Listing) -> None:
        self.say_simulated(any(row.simulated for row in listing.rows))
        empty = "None matches: Esc clears the filter." if listing.total else "Nothing is recorded yet."
        self.query_one(LineTable).show(listing.rows, empty)
        parts = [f"showing {len(listing.rows):,} of {listing.matching:,}, newest first"]
        if listing.matching != listing.total:
            parts.append(f"{listing.total:,} in all")
        if self._query:
            parts.append(f"filter: {self._query}")
        if self._behind is not None:
            parts.append(f"behind {self._behind.title}")
        title = one_line(" · ".join(parts), max(self.size.width - 2, 1))
        self.query_one("#list-title", Static).update(Content(title))

    @on(LineTable.Entered)
    def read_transcript(self, event: LineTable.Entered) -> None:
        """Open the transcript."""
        assert self._listing is not None, "a row was chosen"
        self.app.push_screen(
            ReaderScreen(self.services, [row.audit_id for row in self._listing.rows], event.key)
        )

    def action_filter(self) -> None:
        """Open the filter's field."""
        field = self.query_one(Input)
        field.display = True
        field.focus()

    def action_clear_filter(self) -> None:
        """List everything again."""
        field = self.query_one(Input)
        field.value = ""
        field.display = False
        self._query, self._behind = "", None
        self.query_one(LineTable).focus()
        self.action_reload()

    @on(Input.Changed)
    def apply_filter(self, event: Input.Changed) -> None:
        """Filter while the words are written."""
        if event.value != self._query:
            self._query = event.value
            self.action_reload()

    @on(Input.Submitted)
    def leave_filter(self) -> None:
        """Give the keys back to the list; the filter stays."""
        self.query_one(LineTable).focus()

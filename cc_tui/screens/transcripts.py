"""The Transcripts screen: every audit of the store, however many, as the user wants to see them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from textual import on
from textual.content import Content
from textual.widgets import Input, Static

from cc_tui.keymap import bindings
from cc_tui.screens.base import AppScreen
from cc_tui.screens.listing import FACETS, NEWEST, Behind, Question, count, facets, find, ids_of
from cc_tui.screens.picking import Arrange, Ask, Option, Pick
from cc_tui.screens.reader import ReaderScreen, read_ahead
from cc_tui.screens.search import SearchScreen
from cc_tui.screens.selection import export_selected, offer_judging, offer_round
from cc_tui.state.columns import USUAL, listed
from cc_tui.widgets.arrow_table import ArrowTable
from cc_tui.widgets.completion import Completions
from cc_tui.widgets.line_table import LineTable
from store.blind import HiddenError
from store.desk import Desk, View, change_desk, read_desk
from store.errors import CcTuiError, QueryError
from store.listing import Order
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa
    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from cc_tui.screens.picking import Picked
    from cc_tui.state.reading import Reading
    from store.listing import Listing

_SAVE, _DELETE = "s", "x"
_REST_S = 0.15
"""After which a cursor rests."""
_FRESH_S = 10.0
"""For which a transcript that was read ahead is shown as it was then."""


class TranscriptsScreen(AppScreen):
    """Newest first, unless it is asked for otherwise."""

    MODE = "transcripts"
    SCOPES = ("transcripts", "table", "sideways")
    BINDINGS = bindings("transcripts")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._question = self._wanted = Question()
        """What the list answers, and what was asked last: that the screen comes into view must not undo it."""
        self._found: pa.Table | None = None
        self._listed: tuple[pa.Table, list[str]] | None = None
        self._ahead: Reading | None = None
        """The transcript under the cursor."""
        self._total = 0
        self._names: list[str] = []
        self._desk = Desk()
        self._selected: set[str] = set()
        self._words = Completions()

    def body(self) -> Iterable[Widget]:
        """Count, list and the fields of the filters."""
        yield Static(markup=False, id="list-title")
        yield ArrowTable("audit_id", id="listing")
        yield Input(placeholder="words of condition, mode, item, status or preference", id="filter")
        yield Input(
            placeholder="SQL, such as branches > 1 AND cost_usd > 0.1; → takes what is offered",
            id="where",
            suggester=self._words,
        )

    def on_mount(self) -> None:
        """Hide the fields."""
        self._close_fields()

    def on_screen_resume(self) -> None:
        """Look for what is new when the screen comes into view."""
        self.action_reload()

    @property
    def _table(self) -> ArrowTable:
        return self.query_one(ArrowTable)

    def show_behind(self, behind: Behind) -> None:
        """List the transcripts behind a number of another screen."""
        self._ask(Question(self._question.columns, order=self._question.order, behind=behind))

    def action_reload(self) -> None:
        """Read what the store holds now."""
        self._ask(self._wanted)

    def _ask(self, question: Question) -> None:
        self._wanted = question
        self.work("list", self._read, question)

    async def _read(self, question: Question) -> None:
        moved = question != self._question

        def read(listing: Listing) -> tuple[pa.Table, int, list[str]]:
            listing.refresh()
            return find(listing, question), count(listing), listing.columns

        self._found, self._total, self._names = await self.listed(read)
        self._question = question
        self._words.words = self._names
        self._draw(top=moved)
        self._desk = await self.ask(lambda _: read_desk(self.services.store, self._person))
        self._table.redraw()

    @property
    def _person(self) -> str | None:
        return self.services.annotator

    def _draw(self, *, top: bool = False) -> None:
        found = self._found
        assert found is not None, "the list was read"
        self.say_simulated(True in found["simulated"].unique().to_pylist())
        looks = [listed(name, self._question.order) for name in self._question.columns if name in self._names]
        empty = "None matches: Esc clears the filter." if self._total else "Nothing is recorded yet."
        self._table.fill(found, looks, empty, marks=self._marks, top=top)
        self._say()

    def _marks(self, audit_id: str) -> str:
        if audit_id in self._selected:
            return "●"
        return "★" if audit_id in self._desk.bookmarks else ""

    def _say(self, wrong: str = "") -> None:
        found, order = self._found, self._question.order
        shown = found.num_rows if found is not None else 0
        by = "newest first" if order == NEWEST else f"by {order.column}{' ▼' if order.down else ' ▲'}"
        parts = [f"showing {shown:,} of {self._total:,}, {by}"]
        if self._selected:
            parts.append(f"{len(self._selected):,} selected")
        parts += self._question.in_words()
        title = one_line(wrong or " · ".join(parts), max(self.size.width - 2, 1))
        self.query_one("#list-title", Static).update(
            Content.styled(title, "$tone-bad") if wrong else Content(title)
        )

    @on(LineTable.Entered)
    def read_transcript(self, event: LineTable.Entered) -> None:
        """Open the transcript."""
        assert self._found is not None, "a row was chosen"
        ids, ahead = self._ids(self._found), self._ahead
        self.app.push_screen(ReaderScreen(self.services, ids, event.key, ahead=ahead))

    def _ids(self, found: pa.Table) -> list[str]:
        """The ids of what is listed; Python's texts of 100,000 of them take as long as all else about opening one."""
        if self._listed is None or self._listed[0] is not found:
            self._listed = found, ids_of(found)
        return self._listed[1]

    @on(LineTable.Moved)
    def rest(self, event: LineTable.Moved) -> None:
        """Read the transcript under the cursor once it rests there: then it opens at once."""
        self.work("ahead", self._read_ahead, event.key)

    async def _read_ahead(self, audit_id: str) -> None:
        self._ahead = None
        await asyncio.sleep(_REST_S)
        found = self._found
        if found is None:
            return
        await self.off(lambda: self._ids(found))
        self._ahead = await self.ask(lambda reader: read_ahead(self.services, reader, audit_id))
        # Judges may say more of it meanwhile.
        await asyncio.sleep(_FRESH_S)
        self._ahead = None

    # Filters

    def action_filter(self) -> None:
        """Open the field for words."""
        self._open_field("#filter", self._question.words)

    def action_where(self) -> None:
        """Open the field for a condition."""
        self._open_field("#where", self._question.where)

    def _open_field(self, id: str, text: str) -> None:
        self._close_fields()
        field = self.query_one(id, Input)
        field.display = True
        field.value = text
        field.focus()

    def _close_fields(self) -> None:
        for field in self.query(Input):
            field.display = False
        self._table.focus()

    def action_clear_filter(self) -> None:
        """Leave the field, or list everything again."""
        if isinstance(self.focused, Input):
            self._close_fields()
            self._say()
        else:
            self._ask(Question(self._question.columns, order=self._question.order))

    @on(Input.Changed, "#filter")
    def apply_words(self, event: Input.Changed) -> None:
        """Filter while the words are written."""
        if event.value != self._question.words and event.input.display:
            self._ask(replace(self._question, words=event.value))

    @on(Input.Submitted, "#filter")
    def leave_words(self) -> None:
        """Give the keys back to the list; the filter stays."""
        self._close_fields()

    @on(Input.Submitted, "#where")
    def apply_where(self, event: Input.Submitted) -> None:
        """List what meets the condition; one that is wrong stays in the field, with what is wrong above the list."""
        self._wanted = replace(self._question, where=event.value.strip())
        self.work("list", self._read_where, self._wanted)

    async def _read_where(self, question: Question) -> None:
        try:
            await self._read(question)
        except QueryError as error:
            self.complain(error)
        else:
            self._close_fields()

    def action_facets(self) -> None:
        """Choose a value that a column must have."""
        self.work("facets", self._choose_facet)

    async def _choose_facet(self) -> None:
        found = await self.listed(lambda listing: facets(listing, self._question))
        options = [
            Option(f"{index}", facet.shown, f"{facet.count:,}", FACETS[facet.column])
            for index, facet in enumerate(found)
        ]

        def choose(picked: Picked | None) -> None:
            if picked is not None:
                facet = found[int(picked.key)]
                chosen = dict(self._question.facets)
                if chosen.get(facet.column) == facet.value:
                    del chosen[facet.column]
                else:
                    chosen[facet.column] = facet.value
                self._ask(replace(self._question, facets=chosen))

        if options:
            self.app.push_screen(Pick("Only audits with", options), choose)

    # Columns, order, views

    def action_order(self) -> None:
        """Choose what the list is sorted by; the same column again turns it round."""
        now = self._question.order
        options = [Option(name, listed(name).title or name, name) for name in self._names]

        def choose(picked: Picked | None) -> None:
            if picked is not None:
                down = not now.down if picked.key == now.column else True
                self._ask(replace(self._question, order=Order(picked.key, down)))

        if options:
            self.app.push_screen(Pick("Sort by", options, here=now.column), choose)

    def action_columns(self) -> None:
        """Choose the columns."""
        options = [Option(name, listed(name).title or name, name) for name in self._names]

        def choose(names: list[str] | None) -> None:
            if names is not None:
                self._ask(replace(self._question, columns=tuple(names) or USUAL))

        if options:
            self.app.push_screen(Arrange("Columns", options, self._question.columns), choose)

    def action_views(self) -> None:
        """Go to a saved view, save this one, or delete one."""
        options = [
            Option(name, name, view.where or view.words or ", ".join(view.columns))
            for name, view in self._desk.views.items()
        ]
        acts = {_SAVE: "save this one", _DELETE: "delete"}
        self.app.push_screen(
            Pick("Views", options or [Option("", "none is saved yet")], acts), self._use_view
        )

    def _use_view(self, picked: Picked | None) -> None:
        if picked is None:
            return
        if picked.act == _SAVE:
            self.app.push_screen(Ask("Name of this view"), self._save_view)
        elif picked.key and picked.act == _DELETE:
            rest = {name: view for name, view in self._desk.views.items() if name != picked.key}
            self._keep(lambda desk: msgspec.structs.replace(desk, views=rest))
        elif view := self._desk.views.get(picked.key):
            self._ask(Question(tuple(view.columns) or USUAL, view.words, view.where, order=view.order))

    def _save_view(self, name: str | None) -> None:
        question = self._question
        if name:
            view = View(list(question.columns), question.words, self._where_of(question), question.order)
            self._keep(lambda desk: msgspec.structs.replace(desk, views={**desk.views, name: view}))

    def _where_of(self, question: Question) -> str:
        """All of a question but its words as one condition, so that a view needs no other kinds of filter."""
        parts = [
            question.where,
            *question.facet_conditions(),
            question.behind.where if question.behind else "",
        ]
        kept = [part for part in parts if part]
        return kept[0] if len(kept) == 1 else " AND ".join(f"({part}\n)" for part in kept)

    def _keep(self, change: Callable[[Desk], Desk]) -> None:
        self.work("desk", self._write_desk, change)

    async def _write_desk(self, change: Callable[[Desk], Desk]) -> None:
        store = self.services.store
        self._desk = await self.ask(lambda _: change_desk(store, self._person, change))
        self._table.redraw()

    # Bookmarks, and what is done with several audits

    def action_bookmark(self) -> None:
        """Set or remove a bookmark."""
        audit_id = self._table.cursor
        if audit_id is not None:
            self._keep(lambda desk: desk.with_bookmark(audit_id))

    def action_bookmarks(self) -> None:
        """List the audits with a bookmark."""
        self.show_behind(Behind.audits("bookmarks", self._desk.bookmarks))

    def action_select(self) -> None:
        """Select the audit, or no longer, and go to the next."""
        if self._table.cursor is not None:
            self._selected ^= {self._table.cursor}
            self._table.action_move(1)
            self._table.redraw()
            self._say()

    def action_select_all(self) -> None:
        """Select all that is listed; if all of it is, nothing."""
        if self._found is not None:
            listed_now = set(self._ids(self._found))
            self._selected = set() if listed_now <= self._selected else self._selected | listed_now
            self._table.redraw()
            self._say()

    def _chosen(self) -> list[str]:
        return sorted(self._selected) or [one for one in [self._table.cursor] if one is not None]

    def action_export(self) -> None:
        """Write the selected audits for another program."""
        if chosen := self._chosen():
            export_selected(self, chosen)

    def action_judge(self) -> None:
        """Say how further judges are asked about the selected audits."""
        if chosen := self._chosen():
            offer_judging(self, chosen)

    def action_label(self) -> None:
        """Plan a round of labelling of the selected audits."""
        if chosen := self._chosen():
            offer_round(self, chosen)

    def action_search(self) -> None:
        """Search what was said."""
        self.app.push_screen(SearchScreen(self.services, self.show_behind))

    def complain(self, error: CcTuiError) -> None:
        """Show an error; one of a condition, where the list tells what it shows."""
        if isinstance(error, HiddenError):
            # What stands there was listed before the annotator became blind.
            self._found = None
            self._table.show((), "")
        if isinstance(error, QueryError):
            self._wanted = self._question
            self._say(str(error).splitlines()[0])
        else:
            super().complain(error)

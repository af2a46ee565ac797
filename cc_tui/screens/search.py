"""Text search over everything that was said: hits in context, as they are found."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import on
from textual.content import Content
from textual.widgets import Input, Static

from cc_tui.keymap import bindings
from cc_tui.screens.base import AppScreen
from cc_tui.screens.listing import Behind
from cc_tui.screens.reader import ReaderScreen
from cc_tui.state.reading import Place
from cc_tui.state.status import MODES
from cc_tui.widgets.line_table import Column, LineTable
from store.errors import QueryError
from store.search import MOST, Hit, search
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from store.listing import Listing

_LANE = "search"
_BEFORE = 20


@dataclass(frozen=True, slots=True)
class _Row:
    """A hit and the audit that it is in."""

    hit: Hit
    condition: str
    mode: str
    item: str

    @property
    def key(self) -> str:
        return f"{self.hit.audit_id}/{self.hit.message_id}"


_COLUMNS: tuple[Column[_Row], ...] = (
    Column("condition", 12, lambda row: row.condition),
    Column("mode", 6, lambda row: MODES.get(row.mode, row.mode), lambda _: "soft", spare=True),
    Column("item", 14, lambda row: row.item, spare=True),
    Column(
        "who", 7, lambda row: row.hit.author, lambda row: "target" if row.hit.author == "target" else "user"
    ),
    # The hits stand below each other, whatever is around them.
    Column("", _BEFORE, lambda row: one_line(row.hit.before)[-_BEFORE:].rjust(_BEFORE), lambda _: "soft"),
    Column("context", 0, lambda row: row.hit.found + row.hit.after),
)


class SearchScreen(AppScreen):
    """Hits of a search. A search that goes on is broken off by the next one, and by leaving.

    Args:
        list_them: lists the transcripts that have hits.
    """

    MODE = "transcripts"
    SCOPES = ("hits", "table")
    BINDINGS = bindings("hits")

    def __init__(self, services: Services, list_them: Callable[[Behind], None]) -> None:
        super().__init__(services)
        self._list_them = list_them
        self._rows: list[_Row] = []
        self._words = ""
        self._exact = False
        self._began = 0.0

    def body(self) -> Iterable[Widget]:
        """What is searched, how it goes, the hits."""
        yield Input(placeholder="what was said, word for word; Enter searches", id="words")
        yield Static(markup=False, id="list-title")
        yield LineTable(_COLUMNS, lambda row: row.key, id="hits")

    def on_mount(self) -> None:
        """Begin with the words."""
        self.query_one("#words").focus()
        self._say("Upper and lower case are the same.")
        self.work("simulated", self.mark_simulated)

    @on(Input.Submitted, "#words")
    def begin(self, event: Input.Submitted) -> None:
        """Search."""
        if event.value.strip():
            self._words = event.value
            self._search()
            self.query_one(LineTable).focus()

    def _search(self) -> None:
        self._rows = []
        self._began = time.monotonic()
        self.query_one(LineTable).show(self._rows, "Searching …")
        self.services.interrupt(_LANE)
        self.work("search", self._find, self._words, self._exact)

    async def _find(self, words: str, exact: bool) -> None:
        hits = await self.ask(lambda reader: search(reader, words, exact=exact), lane=_LANE)
        asking: asyncio.Task[list[Hit] | None] | None = None
        try:
            # Shielded, because a generator cannot be closed while a thread is in it.
            while (found := await asyncio.shield(asking := _next(hits))) is not None:
                about = await self.listed(
                    lambda listing, found=found: _audits(listing, {h.audit_id for h in found})
                )
                unknown = ("", "", "")
                self._rows += [_Row(hit, *about.get(hit.audit_id, unknown)) for hit in found]
                self._show("searching …")
        except asyncio.CancelledError:
            self.services.interrupt(_LANE)
            if asking is not None:
                with contextlib.suppress(QueryError):
                    await asking
            raise
        finally:
            hits.close()
        end = f"the first {MOST:,} hits" if len(self._rows) >= MOST else "all hits"
        self._show(f"{end}, {time.monotonic() - self._began:.1f} s")

    def _show(self, state: str) -> None:
        self.query_one(LineTable).show(self._rows, "Nobody said that.")
        audits = len({row.hit.audit_id for row in self._rows})
        self._say(
            f"{len(self._rows):,} messages of {audits:,} transcripts · {state}"
            + (" · case counts" if self._exact else "")
        )

    def _say(self, text: str) -> None:
        self.query_one("#list-title", Static).update(Content(one_line(text, max(self.size.width - 2, 1))))

    @on(LineTable.Entered)
    def read_hit(self) -> None:
        """Open the transcript at the hit."""
        row: _Row | None = self.query_one(LineTable).selected
        if row is not None:
            ids = list(dict.fromkeys(one.hit.audit_id for one in self._rows))
            at = Place(row.hit.message_id, row.hit.start, row.hit.end)
            self.app.push_screen(ReaderScreen(self.services, ids, row.hit.audit_id, at))

    def action_words(self) -> None:
        """Search for something else."""
        self.query_one("#words").focus()

    def action_case(self) -> None:
        """Search again with or without regard to upper and lower case."""
        self._exact = not self._exact
        if self._words:
            self._search()

    def action_stop(self) -> None:
        """Break the search off and keep what it found."""
        self.workers.cancel_group(self, "search")
        self._show("broken off")

    def action_list(self) -> None:
        """List the transcripts that have hits."""
        if self._rows:
            ids = dict.fromkeys(row.hit.audit_id for row in self._rows)
            self._list_them(Behind.audits(f"“{self._words}”", ids))
            self.action_back()

    def action_back(self) -> None:
        """Leave the words for the hits, or go back to the list."""
        if isinstance(self.focused, Input) and self._rows:
            self.query_one(LineTable).focus()
        elif self.is_current:
            self.workers.cancel_group(self, "search")
            self.dismiss()


def _next(hits: Iterator[list[Hit]]) -> asyncio.Task[list[Hit] | None]:
    return asyncio.create_task(asyncio.to_thread(next, hits, None))


def _audits(listing: Listing, audit_ids: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    where = Behind.audits("", audit_ids).where
    listing.refresh()
    rows = listing.find(["audit_id", "condition_id", "mode", "item"], [where]).to_pylist()
    return {row["audit_id"]: (row["condition_id"], row["mode"], row["item"]) for row in rows}

"""Reading one recorded transcript, with all that was judged, labelled, decided and noted about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from cc_tui.keymap import bindings
from cc_tui.screens.base import BROAD, AppScreen
from cc_tui.screens.beside import BesideScreen, siblings, title_of
from cc_tui.screens.branches import BranchTree, StoredBranches
from cc_tui.screens.finding import Finder
from cc_tui.screens.picking import Option, Pick
from cc_tui.state.blocks import Voice
from cc_tui.state.reading import Place, Reading, View, auditor_blocks, side
from cc_tui.state.status import MODES, mark_of_status
from cc_tui.widgets.conversation import Conversation
from store.details import load_details
from store.records import JudgementStatus
from store.text import one_line, printable
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual.widget import Widget

    from auditors.models.base import ChatMessage
    from cc_tui.screens.base import Services
    from cc_tui.screens.branches import Picked as PickedBranch
    from cc_tui.screens.picking import Picked
    from cc_tui.state.blocks import Block
    from store.details import Details
    from store.reader import Reader
    from store.transcripts import Transcript

_PATIENCE = 0.2
"""Seconds after which it is said that a transcript is being read."""
_EMPTY = {
    View.ALL: "Nothing was said in this audit.",
    View.TARGET: "The target saw nothing in the end.",
    View.AUDITOR: "No auditor model has read or written anything here.",
    View.CHANGES: "The target wrote no new version of a text that it was given or had written.",
}


def read_one(services: Services, reader: Reader, audit_id: str) -> Reading:
    """A transcript; blocking.

    Raises:
        HiddenError: the annotator is blind.
    """
    known = services.listing(reader).audit(audit_id)
    return Reading(load_transcript(reader, audit_id, audit=known))


def read_ahead(services: Services, reader: Reader, audit_id: str) -> Reading | None:
    """A transcript before it is asked for; None for one that goes on, which is read when it is. Blocking."""
    found = read_one(services, reader, audit_id)
    return found if found.transcript.audit["ended_at"] is not None else None


class ReaderScreen(AppScreen):
    """One transcript of a list; `n` and `N` go through the list.

    Args:
        audit_ids: the list.
        audit_id: the one that is read first.
        at: a place in it to show.
    """

    MODE = "transcripts"
    SCOPES = ("reader",)
    BINDINGS = bindings("reader")

    def __init__(
        self,
        services: Services,
        audit_ids: Sequence[str],
        audit_id: str,
        at: Place | None = None,
        *,
        ahead: Reading | None = None,
    ) -> None:
        super().__init__(services)
        self._audit_ids = audit_ids
        self._index = audit_ids.index(audit_id)
        self._at = at
        self._reading: Reading | None = None
        self._details: Details | None = None
        self._ahead = ahead
        """The transcript that was read before it was asked for: the next one of the list, while this one is read."""
        self._view: View | int = View.ALL
        self._blind = services.annotator is not None
        self._places: list[list[Place]] = []
        self._quote = -1
        self._quoted: Sequence[Place] = ()
        self._finder = Finder(self)

    def body(self) -> Iterable[Widget]:
        """What it is, the conversation, and the side panel below or beside it."""
        yield Static(markup=False, id="reader-title")
        with Container(id="reader-panes"):
            yield Conversation(id="reader-talk")
            yield Conversation(id="reader-judges", marked=False)

    def on_mount(self) -> None:
        """Read the transcript."""
        self._judges.display = self.app.size.width >= BROAD
        self._load()

    @property
    def _talk(self) -> Conversation:
        return self.query_one("#reader-talk", Conversation)

    @property
    def _judges(self) -> Conversation:
        return self.query_one("#reader-judges", Conversation)

    @property
    def _active(self) -> Conversation:
        return self._judges if self._judges.marks else self._talk

    def _load(self) -> None:
        self._reading = self._details = None
        self.work("transcript", self._read, self._audit_ids[self._index])
        # The old one stays until then: painting an empty screen would take from the time of reading.
        self.set_timer(_PATIENCE, self._say_reading)

    def _say_reading(self) -> None:
        if self._reading is None:
            self._talk.load([], "Reading …")

    async def _read(self, audit_id: str) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.transcript.audit["audit_id"] == audit_id:
            self._reading = ahead
        else:
            self._reading = await self.ask(lambda reader: read_one(self.services, reader, audit_id))
        transcript = self._reading.transcript
        self._blind = self.services.annotator is not None
        self.say_simulated(transcript.audit["simulated"])
        self._fill_side(transcript)
        await self._show(View.ALL if isinstance(self._view, int) else self._view)
        if self._at is not None:
            place, self._at = self._at, None
            await self._go_to(place)
        self._details = await self.ask(lambda reader: load_details(reader, audit_id))
        # What an annotator has labelled already needs no hiding.
        self._blind &= all(label.annotator != self.services.annotator for label in self._details.labels)
        self._fill_side(transcript)
        if self._index + 1 < len(self._audit_ids):
            following = self._audit_ids[self._index + 1]
            self._ahead = await self.ask(lambda reader: read_ahead(self.services, reader, following))

    def _fill_side(self, transcript: Transcript) -> None:
        entries = side(transcript, self._details, blind=self._blind)
        self._places = [places for _, places in entries]
        blocks = [block for block, _ in entries]
        if self._details is None:
            self._judges.load(blocks)
        else:
            self._judges.grow(blocks)
        self._quote, self._quoted = -1, ()

    async def _show(self, view: View | int) -> None:
        """Show a view, or a branch by its number."""
        reading = self._reading
        if reading is None:
            return
        blocks: list[Block]
        if isinstance(view, int):
            blocks = reading.branch(view)
        elif view is View.AUDITOR:
            audit_id = reading.transcript.audit["audit_id"]
            blocks = await self.ask(lambda reader: auditor_blocks(_auditor_messages(reader, audit_id)))
        elif view is View.CHANGES:
            blocks = await self.ask(lambda _: reading.changes())
        elif view is View.RAW:
            blocks = await self.ask(lambda _: reading.raw())
        else:
            blocks = reading.blocks if view is View.ALL else reading.surviving()
        self._view = view
        self._talk.load(blocks, _EMPTY.get(view, "") if isinstance(view, View) else "")
        self._draw_title()

    def _draw_title(self) -> None:
        if self._reading is not None:
            self.query_one("#reader-title", Static).update(self._title(self._reading.transcript))

    def _title(self, transcript: Transcript) -> Content:
        audit, width = transcript.audit, max(self.size.width - 2, 1)
        mark = mark_of_status(audit["status"])
        failed = sum(judgement.status is not JudgementStatus.OK for judgement in transcript.judgements)
        repeat = f" #{audit['repeat'] + 1}" if audit["repeat"] else ""
        first = f"{audit['condition_id']} · {MODES.get(audit['mode'], audit['mode'])} · {audit['item_label']}{repeat}"
        second = [
            f"target {audit['target_answered'] or audit['target_model']}",
            f"{audit['target_turns']} turns",
            f"{len(transcript.judgements)} judgements" + (f", {failed} without a value" if failed else ""),
        ]
        if audit["branches"] > 1:
            second.insert(2, f"{audit['branches']} branches")
        if audit["intervened"]:
            second.append("a person stepped in")
        if audit["reason"]:
            second.insert(0, audit["reason"])
        if isinstance(self._view, int):
            second.insert(0, f"branch {self._view} alone")
        elif self._view is not View.ALL:
            second.insert(0, self._view)
        if self._quoted:
            second.insert(0, f"quote {self._quote + 1} of {len(self._quoted)}")
        place = f"{self._index + 1:,} of {len(self._audit_ids):,}"
        head = Content.assemble((f"{mark} ", f"$tone-{mark.tone}" if mark.tone else ""))
        room = max(width - head.cell_length - len(place) - 2, 1)
        name = one_line(first, room)
        return Content("\n").join(
            [
                Content.assemble(head, (name, "bold"), " " * (room - len(name) + 2), (place, "$tone-soft")),
                Content.styled(one_line(" · ".join(second), width), "$tone-soft"),
            ]
        )

    def action_move(self, turns: int) -> None:
        """Go to another turn."""
        self._active.move(turns)

    def action_target(self, turns: int) -> None:
        """Go to another turn of the target."""
        self._active.move(turns, Voice.TARGET)

    def action_page(self, pages: int) -> None:
        """Page through the transcript."""
        self._active.page(pages)

    def action_edge(self, end: int) -> None:
        """Go to the top or the end."""
        self._active.edge(end)

    def action_unfold(self) -> None:
        """Open or close what is at the mark."""
        self._active.unfold()

    def action_unfold_all(self) -> None:
        """Open or close everything."""
        self._active.unfold_all()

    def action_find(self) -> None:
        """Find words in the transcript, or in what is said of it."""
        self._finder.ask(self._active)

    def action_judges(self) -> None:
        """Show or hide the judges."""
        self._judges.display = not self._judges.display
        self._activate(self._talk)

    def action_pane(self) -> None:
        """Move the mark between transcript and judges."""
        self._activate(self._judges if self._active is self._talk and self._judges.display else self._talk)

    def _activate(self, pane: Conversation) -> None:
        for each in (self._talk, self._judges):
            each.marks = each is pane

    def action_copy(self) -> None:
        """Copy the marked block."""
        block = self._active.marked
        if block is not None:
            self._copy(block.text)

    def action_copy_all(self) -> None:
        """Copy all of the pane with the mark."""
        blocks = self._active.blocks
        self._copy(
            "\n\n".join(f"{block.label}: {block.text}" if block.label else block.text for block in blocks)
        )

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(printable(text))
        self.notify("Copied, with control characters written out.", markup=False)

    def action_view(self, step: int) -> None:
        """Show the next or previous view."""
        views = list(View)
        now = View.ALL if isinstance(self._view, int) else self._view
        self.work("view", self._show, views[(views.index(now) + step) % len(views)])

    def action_blind(self) -> None:
        """Hide or show what judges and people have said."""
        self._blind = not self._blind
        if self._reading is not None:
            self._fill_side(self._reading.transcript)

    def action_quote(self) -> None:
        """Go to the next quote of the marked judgement, or flag or note; from the transcript, of all of them."""
        own = self._places[self._judges.mark] if self._judges.marks and self._places else []
        places = own or [place for found in self._places for place in found]
        if not places:
            self.notify("No quote, flag or note names a place in this transcript.", markup=False)
            return
        self._quote = (self._quote + 1) % len(places) if places == self._quoted else 0
        self._quoted = places
        self.work("view", self._go_to, places[self._quote])

    async def _go_to(self, place: Place) -> None:
        if self._view is not View.ALL:
            await self._show(View.ALL)
        found = self._reading.locate(place) if self._reading else None
        if found is not None:
            self._talk.point(*found)
        self._draw_title()

    def action_tree(self) -> None:
        """Show the branches, to read one alone or compare two."""
        if self._reading is None:
            return
        tree = self._reading.tree()
        branches = tree.branches()

        def choose(picked: PickedBranch | None) -> None:
            if picked is None:
                return
            if picked.compare and picked.branch is not None and len(branches) > 1:
                self.app.push_screen(StoredBranches(self.services, picked.branch, tree))
            else:
                self.work("view", self._show, View.ALL if picked.branch is None else picked.branch)

        if branches:
            self.app.push_screen(BranchTree(branches, self._reading.name_of), choose)

    def action_beside(self) -> None:
        """Read another transcript of the same item beside this one."""
        if self._reading is not None:
            self.work("beside", self._choose_beside, self._reading)

    async def _choose_beside(self, reading: Reading) -> None:
        audit = reading.transcript.audit
        others = await self.listed(lambda listing: siblings(listing, audit))
        if not others:
            self.notify("There is no other transcript of this item.", markup=False)
            return

        def choose(picked: Picked | None) -> None:
            if picked is not None:
                self.app.push_screen(BesideScreen(self.services, reading, others, picked.key))

        options = [
            Option(
                row["audit_id"],
                title_of(row),
                f"{mark_of_status(row['status'])} · {row['target_turns']} turns",
            )
            for row in others
        ]
        self.app.push_screen(Pick(f"Beside it, of {audit['item_label']}", options), choose)

    def action_neighbour(self, step: int) -> None:
        """Go to the next or previous transcript of the list."""
        self._index = min(max(self._index + step, 0), len(self._audit_ids) - 1)
        self._load()

    def action_back(self) -> None:
        """Return to the list."""
        self.dismiss()


def _auditor_messages(reader: Reader, audit_id: str) -> list[ChatMessage]:
    # Imported here, in the thread: the audit loop is no part of what a screen needs to begin.
    from auditors.stored import auditor_messages

    return auditor_messages(reader, audit_id)

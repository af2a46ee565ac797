"""Reading one recorded transcript, with what the judges made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from cc_tui.keymap import bindings
from cc_tui.screens.base import BROAD, AppScreen
from cc_tui.state.blocks import Voice, judgement_blocks, transcript_blocks
from cc_tui.state.status import MODES, mark_of_status
from cc_tui.widgets.conversation import Conversation
from store.records import JudgementStatus
from store.text import one_line, printable
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from store.transcripts import Transcript


class ReaderScreen(AppScreen):
    """One transcript of a list; `n` and `N` go through the list."""

    MODE = "transcripts"
    SCOPES = ("reader",)
    BINDINGS = bindings("reader")

    def __init__(self, services: Services, audit_ids: list[str], audit_id: str) -> None:
        super().__init__(services)
        self._audit_ids = audit_ids
        self._index = audit_ids.index(audit_id)

    def body(self) -> Iterable[Widget]:
        """What it is, the conversation, and the judges below or beside it."""
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
        self._talk.load([], "Reading …")
        self.work("transcript", self._read, self._audit_ids[self._index])

    async def _read(self, audit_id: str) -> None:
        transcript = await self.ask(lambda reader: load_transcript(reader, audit_id))
        self.say_simulated(transcript.audit["simulated"])
        self._talk.load(
            transcript_blocks(transcript.messages, transcript.final_view), "Nothing was said in this audit."
        )
        self._judges.load(judgement_blocks(transcript.judgements), "Not judged.")
        self.query_one("#reader-title", Static).update(self._title(transcript))

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
        place = f"{self._index + 1} of {len(self._audit_ids):,}"
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
            self.app.copy_to_clipboard(printable(block.text))
            self.notify("Copied, with control characters written out.", markup=False)

    def action_neighbour(self, step: int) -> None:
        """Go to the next or previous transcript of the list."""
        self._index = min(max(self._index + step, 0), len(self._audit_ids) - 1)
        self._load()

    def action_back(self) -> None:
        """Return to the list."""
        self.dismiss()

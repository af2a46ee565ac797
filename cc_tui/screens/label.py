"""The Label screen: one transcript, one question, one key; blind to judges, condition and model."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Static

from cc_tui.keymap import bindings
from cc_tui.screens.base import AppScreen
from cc_tui.screens.dialogs import Line, Text
from cc_tui.state.blocks import Voice, transcript_blocks
from cc_tui.state.format import duration, progress
from cc_tui.state.labelling import Answer, Session
from cc_tui.state.status import MODES
from cc_tui.widgets.conversation import Conversation
from cc_tui.widgets.question import QuestionPanel, full_text
from store.errors import CcTuiError
from store.labels import LabelLog
from store.queue import draw_queue, questions
from store.records import Label, LabelAction, Verdict
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from store.queue import Question, QueueItem
    from store.reader import Reader
    from store.transcripts import Transcript

QUEUE_SIZE = 40
_AHEAD = 3
_BOUNCE = 0.08
"""Seconds; a key that comes sooner after a transcript did was meant for the one before."""


class LabelScreen(AppScreen):
    """Labels are on disk before the next item is shown."""

    MODE = "label"
    SCOPES = ("label",)
    BINDINGS = bindings("label")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._log: LabelLog | None = None
        self._session: Session | None = None
        self._questions: dict[str, Question] = {}
        self._named_here = False
        self._transcripts: dict[str, Transcript] = {}
        self._in_view: QueueItem | None = None
        self._since = monotonic()
        self._draws = 0
        self._last = ""

    def body(self) -> Iterable[Widget]:
        """Status, transcript and question."""
        yield Static(markup=False, id="label-status")
        with Container(id="label-panes"):
            yield Conversation(id="label-talk")
            with Vertical(id="label-side"):
                yield QuestionPanel()

    def on_mount(self) -> None:
        """Open the annotator's log and draw the queue."""
        self.set_interval(1, self._draw_status)
        if self.services.annotator is None:
            self.query_one(Conversation).load([], "Labels are kept under your name: Enter asks for it.")
        else:
            self.query_one(Conversation).load([], "Drawing the queue …")
            self.work("queue", self._begin, self.services.annotator)

    def on_unmount(self) -> None:
        """Let the annotator's file go."""
        if self._log is not None:
            self._log.close()

    @property
    def ready(self) -> bool:
        """Whether the transcript of the item is on the screen, long enough for a key to be about it."""
        item = self._session.item if self._session else None
        return item is not None and item is self._in_view and monotonic() - self._since > _BOUNCE

    async def _begin(self, annotator: str) -> None:
        try:
            if self._log is None:
                self._log = await self.ask(lambda _: LabelLog(self.services.store, annotator))
                self._draws = max(len({label.queue for label in self._log.history}) - 1, 0)
            log, seed = self._log, self._draws

            def read(reader: Reader) -> tuple[list[QueueItem], dict[str, Question]]:
                return draw_queue(reader, annotator, QUEUE_SIZE, seed), questions(reader)

            items, self._questions = await self.ask(read)
        except CcTuiError as error:
            if self._log is None and self._named_here:
                # The name cannot be used, or not now: Enter asks for another.
                self.services.annotator = None
            self.query_one(Conversation).load([], f"{error}\nEnter tries again.")
            return
        self._session = Session(
            annotator, items, set(log.current), seconds=[label.seconds for label in log.history]
        )
        self._show()

    def _show(self) -> None:
        """Show the item in view, or that the queue is done."""
        session = self._session
        assert session is not None, "there is no queue yet"
        item = session.item
        conversation, panel = self.query_one(Conversation), self.query_one(QuestionPanel)
        if item is None:
            conversation.load(
                [], f"All {len(session.items)} items of this queue are done. Enter draws the next ones."
            )
            panel.show(None, "", session.note, self._last)
        else:
            panel.show(self._questions.get(item.dimension), item.kind, session.note, self._last)
            transcript = self._transcripts.get(item.audit_id)
            if item is not self._in_view and transcript is not None:
                blocks = transcript_blocks(transcript.messages, transcript.final_view, blind=True)
                conversation.load(blocks)
                self.say_simulated(transcript.audit["simulated"])
                self._in_view, self._since = item, monotonic()
            elif item is not self._in_view:
                conversation.load([], "Reading the transcript …")
            self.work("ahead", self._read_ahead, session)
        self._draw_status()

    async def _read_ahead(self, session: Session) -> None:
        """Have the transcripts of the next items at hand, and forget those of the past."""
        wanted = session.ahead(_AHEAD)
        self._transcripts = {id: kept for id, kept in self._transcripts.items() if id in wanted}
        for audit_id in wanted:
            if audit_id not in self._transcripts:
                self._transcripts[audit_id] = await self.ask(
                    lambda reader, audit_id=audit_id: load_transcript(reader, audit_id, blind=True)
                )
                if session.item is not None and session.item.audit_id == audit_id:
                    self._show()

    def _draw_status(self) -> None:
        session = self._session
        if session is None:
            return
        total, done = len(session.items), session.done
        facts = [f" {done}/{total}"]
        if session.pace is not None:
            facts += [f"{duration(session.pace)} each", f"left ~{duration(session.pace * (total - done))}"]
        if session.item is not None:
            facts += [MODES[session.item.mode], f"this one {duration(monotonic() - self._since)}"]
        self.query_one("#label-status", Static).update(
            Content.assemble(
                (f"{session.annotator} · BLIND  ", "bold"),
                (progress(done, total, 10), "$tone-active"),
                " · ".join(facts),
            )
        )

    async def _give(self, answer: Answer) -> None:
        session, log = self._session, self._log
        if not self.ready or session is None or session.item is None or log is None:
            return
        item = session.item
        label = session.event(
            answer,
            round(monotonic() - self._since, 3),
            self._questions.get(item.dimension),
            simulated=self._transcripts[item.audit_id].audit["simulated"],
        )
        try:
            await asyncio.to_thread(log.append, label)
        except CcTuiError as error:
            self.complain(error)
            return
        session.record(label)
        self._last = f"{item.dimension}: {answer}. u takes it back."
        self._show()

    async def action_score(self, score: int) -> None:
        """Give a score to a rubric item."""
        if self._asks("rubric", "This one is a statement: t true, f false, n not sure."):
            await self._give(Answer(score=float(score)))

    async def action_verdict(self, verdict: str) -> None:
        """Give a verdict on a statement item."""
        if self._asks("statement", "This one is a scale: 1 to 9, and 0 for 10."):
            await self._give(Answer(verdict=Verdict(verdict)))

    def _asks(self, kind: str, hint: str) -> bool:
        item = self._session.item if self._session else None
        if item is not None and item.kind != kind:
            self._last = hint
            self._show()
        return item is not None and item.kind == kind

    async def action_skip(self) -> None:
        """Leave the item without a label."""
        await self._give(Answer())

    async def action_undo(self) -> None:
        """Take the last act back and return to its item."""
        session, log = self._session, self._log
        if session is None or log is None:
            return
        try:
            undone = await asyncio.to_thread(log.undo)
            if undone is None:
                self._last = "There is nothing to take back."
            else:
                await self._return_to(session, undone)
        except CcTuiError as error:
            self.complain(error)
            return
        self._show()

    async def _return_to(self, session: Session, undone: Label) -> None:
        transcript = await self.ask(lambda reader: load_transcript(reader, undone.audit_id, blind=True))
        self._transcripts[undone.audit_id] = transcript
        session.take_back(undone, transcript.audit["mode"])
        self._in_view = None
        was = Answer(undone.score, undone.verdict) if undone.action is LabelAction.LABEL else "skipped"
        self._last = f"{undone.dimension}: took back {was}."

    def action_note(self) -> None:
        """Write a note."""
        session = self._session
        if session is not None and session.item is not None:
            self.app.push_screen(Line("Note on this item", session.note), self._keep_note)

    def _keep_note(self, note: str | None) -> None:
        if self._session is not None:
            self._session.note = note or ""
            self._show()

    def action_rubric(self) -> None:
        """Show the full rubric."""
        item = self._session.item if self._session else None
        question = self._questions.get(item.dimension) if item else None
        if item is not None and question is not None:
            self.app.push_screen(Text("Rubric", Content("\n").join(full_text(question, item.kind))))

    def action_more(self) -> None:
        """Draw the next queue once this one is done, or the first if that failed."""
        session, annotator = self._session, self.services.annotator
        if annotator is None:
            self.app.push_screen(Line("Your name as annotator", ""), self._take_name)
            return
        if session is not None and session.item is not None:
            return
        self._draws += session is not None
        self.work("queue", self._begin, annotator)

    def _take_name(self, name: str | None) -> None:
        if name:
            self._named_here = True
            self.services.annotator = name
            self.work("queue", self._begin, name)

    def action_move(self, turns: int) -> None:
        """Go to another turn."""
        self.query_one(Conversation).move(turns)

    def action_target(self, turns: int) -> None:
        """Go to another turn of the target."""
        self.query_one(Conversation).move(turns, Voice.TARGET)

    def action_page(self, pages: int) -> None:
        """Page through the transcript."""
        self.query_one(Conversation).page(pages)

    def action_edge(self, end: int) -> None:
        """Go to the top or the end."""
        self.query_one(Conversation).edge(end)

    def action_unfold(self) -> None:
        """Open or close what is at the mark."""
        self.query_one(Conversation).unfold()

    def action_unfold_all(self) -> None:
        """Open or close everything."""
        self.query_one(Conversation).unfold_all()

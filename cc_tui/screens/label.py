"""The Label screen: one transcript, its questions, a key for each; blind to judges, condition and model."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Static

from cc_tui.keymap import bindings
from cc_tui.screens.dialogs import Choice, Line
from cc_tui.screens.place import PlaceScreen, row_of
from cc_tui.state.blocks import Voice
from cc_tui.state.format import duration, progress
from cc_tui.state.labelling import (
    SKIPS,
    Labelling,
    answer_of,
    said,
    spelled_out,
    verdict_of,
)
from cc_tui.state.rounds import KINDS, opened, planned, save_plan
from cc_tui.state.status import MODES
from cc_tui.widgets.question import Asked, QuestionPanel
from store.errors import CcTuiError
from store.labels import LabelLog
from store.records import RevealAt, RoundKind
from store.sitting import Sitting
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from store.rounds import Assigned

_AHEAD = 3
_VAST = 150
"""Columns from which the queue has room."""
_BOUNCE = 0.08
"""Seconds; a key that comes sooner after a transcript did was meant for the one before."""
_NO_NAME = "Labels are kept under your name: Enter asks for it."
_NO_ROUND = "No round waits for {}. Enter plans one."


class LabelScreen(PlaceScreen):
    """Labels are on disk before the next item is shown."""

    MODE = "label"
    SCOPES = ("label",)
    BINDINGS = bindings("label")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._named_here = False

    def body(self) -> Iterable[Widget]:
        """Status, queue, transcript and questions."""
        yield Static(markup=False, id="label-status")
        with Container(id="label-panes"):
            yield Static(markup=False, id="label-queue")
            yield self.talk
            with Vertical(id="label-side"):
                yield QuestionPanel()

    def on_mount(self) -> None:
        """Sit down at the annotator's round."""
        self.on_resize()
        self.set_interval(1, self._draw_status)
        if self.services.annotator is None:
            self.talk.load([], _NO_NAME)
        else:
            self.talk.load([], "Opening the round …")
            self.work("round", self._begin)

    def on_resize(self) -> None:
        """Show the queue where a third column has room."""
        self.query_one("#label-queue").display = self.app.size.width >= _VAST

    @property
    def ready(self) -> bool:
        """Whether the transcript of the item is on the screen, long enough for a key to be about it."""
        place = self._labelling
        item = place.item if place else None
        if place is None or item is None or item is not self._in_view:
            return False
        return monotonic() - place.since > _BOUNCE

    # Sitting down

    async def _begin(self) -> None:
        services, annotator = self.services, self.services.annotator
        assert annotator is not None
        try:
            if services.sitting is None:
                services.sitting = await self.off(
                    lambda: opened(services.store, annotator, services.round_name)
                )
            sitting = services.sitting
            if sitting is None:
                self.talk.load([], _NO_ROUND.format(annotator))
                return
            if sitting.head.kind is RoundKind.ADJUDICATION:
                self.talk.load([], f"{sitting.head.name} is decided on a screen of its own: Enter opens it.")
                return
            self._labelling = await self.off(lambda: Labelling(sitting))
        except CcTuiError as error:
            if services.sitting is None and self._named_here:
                # The name cannot be used, or not now: Enter asks for another.
                services.annotator = None
            self.talk.load([], f"{error}\nEnter tries again.")
            return
        await services.heed_blindness()
        self._show()

    async def _offer(self) -> None:
        """Plan a round, after saying how long it will take."""
        annotator = self.services.annotator
        assert annotator is not None
        kind = await self.app.push_screen_wait(
            Choice(f"What shall {annotator} label?", {key: text for key, (_, text) in KINDS.items()})
        )
        if kind is None:
            return
        self.talk.load([], "Drawing the round …")
        plan, words = await self.ask(
            lambda reader: planned(self.services.store, reader, KINDS[kind][0], annotator)
        )
        self.talk.load([], _NO_ROUND.format(annotator))
        if await self.app.push_screen_wait(Choice(words, {"y": "begin"})):
            await self.off(lambda: save_plan(self.services.store, plan))
            self.work("round", self._begin)

    def _take_name(self, name: str | None) -> None:
        if name:
            self._named_here = True
            self.services.annotator = name
            self.work("round", self._begin)

    # Showing

    def _show(self) -> None:
        """Show the item in view, or what comes now that there is none."""
        place = self._labelling
        if place is None:
            return
        item = place.item
        panel = self.query_one(QuestionPanel)
        if item is None:
            self._in_view = None
            panel.show(None, place.last)
            self.talk.load([], self._what_now(place))
        else:
            panel.show(self._asked(place), place.last)
            if item is not self._in_view and not self.at_hand(item.audit_id):
                self.talk.load([], "Reading the transcript …")
            self.work("ahead", self._read_ahead, place)
        self._draw_status()

    def _what_now(self, place: Labelling) -> str:
        head, told = place.sitting.head, place.sitting.progress()
        if place.due:
            part = "round" if head.reveal is RevealAt.ROUND else "block"
            return (
                f"This {part} is closed: Enter reveals what judges and others said of it. From then on the blind "
                "values stay, and u takes nothing of it back."
            )
        if told.done < told.total:
            return f"{told.waiting} blind repeats wait until {head.relabel_after_days:g} days after the first answers."
        return f"All {told.total} items of {head.name} are done. A tells how people and judges agree; Enter plans more."

    def _asked(self, place: Labelling) -> Asked:
        item, state = place.item, place.state
        assert item is not None
        names = [task.dimension for task in item.tasks]
        drafts = {name: said(state.drafts[name]) if name in state.drafts else "" for name in names}
        return Asked(
            place.question,
            drafts,
            state.notes.get(place.task.dimension, ""),
            sum(span.dimension == place.task.dimension for span in state.spans),
            ("bookmarked",) * state.bookmarked + ("asked",) * (state.asked is not None),
        )

    async def _read_ahead(self, place: Labelling) -> None:
        """Have the transcripts of the next items at hand, and forget those of the past."""
        wanted = place.ahead(_AHEAD)
        self.keep_only(wanted)
        for audit_id in wanted:
            transcript = await self.blind_transcript(audit_id)
            item = place.item
            if item is not None and item.audit_id == audit_id and item is not self._in_view:
                blocks = self.blocks_of(transcript)
                if self._targets_only:
                    blocks = [block for block in blocks if block.voice in (Voice.TARGET, Voice.RULE)]
                self.talk.load(blocks)
                self._in_view, place.since = item, monotonic()
                self._draw_status()

    def _draw_status(self) -> None:
        place = self._labelling
        if place is None or not self.is_mounted:
            return
        sitting, item = place.sitting, place.item
        told = sitting.progress(place.index or 0)
        watch = (
            "READ ONLY: X takes the name over"
            if sitting.log.read_only
            else "OPEN"
            if item is not None and place.state.open_to_eyes
            else "BLIND"
        )
        facts = [f"{told.done}/{told.total}", sitting.head.name]
        if item is not None:
            facts.append(f"{item.alias} {MODES[item.mode]}")
        if told.pace is not None:
            facts += [f"{duration(told.pace)} each", f"left ~{duration(told.left_s or 0)}"]
        if item is not None:
            facts += [f"block {told.block_done}/{told.block_total}", f"this one {duration(place.seconds)}"]
        if told.many_skips:
            facts.append("many skips")
        status = self.query_one("#label-status", Static)
        head = Content.assemble(
            (f"{sitting.log.annotator} · {watch}  ", "bold"),
            (progress(told.done, told.total, 10), "$tone-active"),
        )
        room = max(self.app.size.width - 3 - head.cell_length, 1)
        status.update(Content.assemble(head, " ", one_line(" · ".join(facts), room)))
        self._draw_queue(place)

    def _draw_queue(self, place: Labelling) -> None:
        column = self.query_one("#label-queue", Static)
        if not column.display or (height := column.size.height) < 1:
            return
        items = place.sitting.items
        first = min(max((place.index or 0) - height // 2, 0), max(len(items) - height, 0))
        lines = [
            Content.styled(
                f"{item.index + 1:>4} {row_of(place, item)}",
                "bold" if item.index == place.index else "$tone-soft",
            )
            for item in items[first : first + height]
        ]
        column.update(Content("\n").join(lines))

    # Answering

    async def action_digit(self, digit: int) -> None:
        """Give a score, a number of a scale, or one of the choices."""
        place = self._labelling
        if place is None or not self.ready:
            return
        if spelled_out(place.question):
            self.work("number", self._number, str(digit))
        elif (answer := answer_of(place.question, digit)) is not None:
            await self._do(lambda place: place.answer(answer))
        else:
            self._hint(place)

    async def _number(self, begun: str) -> None:
        place = self._labelling
        assert place is not None
        if (answer := await self.ask_number(place.question, begun)) is not None:
            await self._do(lambda place: place.answer(answer))

    async def action_verdict(self, word: str) -> None:
        """Give a verdict on a statement."""
        place = self._labelling
        if place is None or not self.ready:
            return
        if place.question.kind == "statement":
            await self._do(lambda place: place.answer(verdict_of(word)))
        else:
            self._hint(place)

    def _hint(self, place: Labelling) -> None:
        question = place.question
        place.last = {
            "statement": "This one is a statement: t true, f false, n not sure.",
            "choice": f"This one is a choice: 1 to {len(question.choices)}; s leaves the item out.",
            "scale": f"This one is a scale from {question.low:g} to {question.high:g}; s leaves the item out.",
        }.get(question.kind, "This one is a scale: 1 to 9, and 0 for 10; s leaves the item out.")
        self._show()

    async def action_commit(self) -> None:
        """Commit the item, or do what the screen offers."""
        place = self._labelling
        if self.services.annotator is None:
            self.app.push_screen(Line("Your name as annotator", ""), self._take_name)
        elif place is None:
            self._open_adjudication() if self.services.sitting else self.work("offer", self._offer)
        elif place.item is not None:
            if self.ready:
                await self._do(lambda place: place.commit())
        elif place.due:
            await self._reveal()
        else:
            self.services.leave_round()
            self._labelling = None
            await self._begin()
            if self._labelling is None:
                self.work("offer", self._offer)

    def _open_adjudication(self) -> None:
        from cc_tui.screens.adjudicate import AdjudicateScreen

        self.app.push_screen(AdjudicateScreen(self.services))

    async def _reveal(self) -> None:
        place = self._labelling
        assert place is not None
        items = await self.act(place.sitting.reveal)
        if items:
            await self.services.heed_blindness()
            self._look_at(items)

    def _look_at(self, items: Sequence[Assigned]) -> None:
        from cc_tui.screens.reveal import RevealScreen

        self.app.push_screen(RevealScreen(self.services, items), lambda _: self.work("resume", self._go_on))

    async def _go_on(self) -> None:
        place = self._labelling
        assert place is not None
        if place.item is None:
            await self.off(place.refresh)
        await self.services.heed_blindness()
        self._show()

    def action_question(self, step: int) -> None:
        """Ask another question of the item."""
        if self._labelling is not None and self._labelling.item is not None:
            self._labelling.turn(step)
            self._show()

    def action_skip(self) -> None:
        """Leave the item out, with a reason."""
        if self.ready:
            self.app.push_screen(Choice("Why is it left out?", SKIPS), self._skip)

    def _skip(self, key: str | None) -> None:
        if key is not None:
            self.work("act", self._do, lambda place: place.skip(SKIPS[key]))

    async def action_undo(self) -> None:
        """Take the last act back and return to its item."""
        await self._do(lambda place: place.undo())

    async def action_redo(self) -> None:
        """Do again what was taken back."""
        await self._do(lambda place: place.redo())

    # Judges

    def action_agreement(self) -> None:
        """Show how people and judges agree, between two blocks."""
        self.work("agreement", self.show_agreement)

    def action_unblind(self) -> None:
        """Break the blindness of the item."""
        if self._labelling is not None and self._labelling.item is not None:
            question = "See what judges and others say of this item now? It is recorded, and its labels will not count."
            self.app.push_screen(Choice(question, {"y": "break the blindness of this item"}), self._unblind)

    def _unblind(self, key: str | None) -> None:
        place = self._labelling
        if key is not None and place is not None and (item := place.item) is not None:
            self.work("act", self._break, item)

    async def _break(self, item: Assigned) -> None:
        place = self._labelling
        assert place is not None
        await self.act(lambda: place.sitting.unblind(item))
        self._look_at([item])

    def action_take_over(self) -> None:
        """Take the name over from another window."""
        sitting = self.services.sitting
        if sitting is not None and sitting.log.read_only:
            name = sitting.log.annotator
            question = f"{name} labels in another window. Take the name over? That one can only look then."
            self.app.push_screen(Choice(question, {"y": "take it over"}), self._take_over)

    def _take_over(self, key: str | None) -> None:
        if key is not None:
            self.work("round", self._take)

    async def _take(self) -> None:
        sitting = self.services.sitting
        assert sitting is not None
        log = sitting.log
        assert isinstance(log, LabelLog)
        await self.off(log.take_over)
        self.services.sitting = await self.off(lambda: Sitting(self.services.store, sitting.head, log))
        self._labelling, self._in_view = None, None
        await self._begin()

"""Adjudication: what people said of one question, without their names and without judges, and the last word on it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from textual.content import Content

from cc_tui.keymap import bindings
from cc_tui.screens.dialogs import Choice
from cc_tui.screens.picking import Ask, Option, Pick
from cc_tui.screens.review import ReviewScreen
from cc_tui.state.labelling import said
from cc_tui.state.reading import HIT
from cc_tui.state.status import MODES
from cc_tui.widgets.question import answer_keys
from store.adjudication import CAUSES, Side, sides
from store.rubrics import new_version
from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from cc_tui.screens.base import Services
    from cc_tui.screens.picking import Picked
    from store.questions import Answer, Question
    from store.records import Label
    from store.rounds import Assigned, Task

_CAUSE_KEYS = dict(zip("gmstvo", CAUSES, strict=True))
_SIDE_KEYS = "abd"
"""Keys of the first three answers; `c` writes notes wherever people label."""
_WORDS = {
    "rubric_gap": "the rubric does not say",
    "missed_evidence": "somebody missed evidence",
    "slip": "a slip of the key",
    "unclear_transcript": "the transcript is unclear",
    "values_differ": "both are defensible",
    "other": "other",
}


class AdjudicateScreen(ReviewScreen):
    """The questions on which people differ, one after the other."""

    SCOPES = ("adjudicate",)
    BINDINGS = bindings("adjudicate")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._open: tuple[Assigned, Task] | None = None
        self._sides: list[Side] = []
        self._passage = -1
        self._since = monotonic()

    @property
    def question(self) -> Question | None:
        """The question to decide; None when all are decided."""
        if self._open is None:
            return None
        _, task = self._open
        return self.sitting.head.question(task.dimension, task.kind)

    def _next(self) -> tuple[Assigned, Task] | None:
        for item in self.sitting.items:
            decided = self.sitting.state(item).decided
            for task in item.tasks:
                if task.dimension not in decided:
                    return item, task
        return None

    async def load(self) -> None:
        """Go to the first open question."""
        self._open = await self.off(self._next)
        self._passage, self._since = -1, monotonic()
        if self._open is None:
            self.talk.load([], "Everything in this round is decided. Esc goes back.")
            self._sides = []
            self._draw()
            return
        item, task = self._open
        self.sitting.open(item)
        await self.services.heed_blindness()
        store, head = self.services.store, self.sitting.head
        self._sides = await self.off(lambda: sides(store, head, item.audit_id, task.dimension))
        self.talk.load(self.blocks_of(await self.blind_transcript(item.audit_id)))
        self._draw()

    def _draw(self) -> None:
        items = self.sitting.items
        left = sum(
            len([t for t in item.tasks if t.dimension not in self.sitting.state(item).decided])
            for item in items
        )
        title = "READ ONLY: Esc, then X takes the name over" if self.sitting.log.read_only else "ADJUDICATION"
        facts = f"{self.sitting.head.name} · {left} left · judges and names are hidden"
        lines: list[Content] = []
        question = self.question
        if self._open is not None and question is not None:
            item, _ = self._open
            facts += f" · {item.alias} {MODES[item.mode]}"
            name = Content.assemble((one_line(question.title, 40), "bold"), "  ")
            lines = [Content.assemble(name, (one_line(question.text, 200), "$tone-soft"))]
            lines += [_told(side) for side in self._sides]
            letters = ", ".join(f"{_SIDE_KEYS[i]} = {side.name}" for i, side in enumerate(self._sides[:3]))
            lines.append(
                Content.assemble((letters, "bold $tone-active"), " · N no single answer · or another value:")
            )
            lines.append(answer_keys(question))
        self.draw_around(title, facts, lines)

    async def give(self, answer: Answer) -> None:
        """Decide for another value."""
        self._decide(answer)

    def _decide(self, answer: Answer | None) -> None:
        """Ask for the cause and a note, then put the decision on record."""
        if self._open is not None:
            self.work("decide", self._ask_why, self._open, answer)

    async def _ask_why(self, about: tuple[Assigned, Task], answer: Answer | None) -> None:
        value = "no single answer" if answer is None else said(answer)
        causes = {key: _WORDS[cause] for key, cause in _CAUSE_KEYS.items()}
        key = await self.app.push_screen_wait(Choice(f"{value}: why did they differ?", causes))
        if key is None:
            return
        note = await self.app.push_screen_wait(Ask("A note, if it needs one: Enter or Esc goes on"))
        item, task = about
        seconds = round(monotonic() - self._since, 3)
        cause = _CAUSE_KEYS[key]
        await self._do(
            lambda: self.sitting.adjudicate(item, task, answer, cause, note or "", seconds=seconds),
            f"{task.dimension}: {value}, {cause}. u takes it back.",
        )

    async def _do(self, act: Callable[[], object], told: str) -> None:
        if await self.done(act, told):
            await self.load()

    def action_side(self, index: int) -> None:
        """Decide for one of the answers."""
        if index < len(self._sides):
            self._decide(self._sides[index].answer)

    def action_no_single_answer(self) -> None:
        """Let both answers stand."""
        self._decide(None)

    def action_undo(self) -> None:
        """Take the last decision back."""
        self.work("act", self._do, self.sitting.undo, "Taken back.")

    def action_passage(self) -> None:
        """Go to the next passage that somebody gave as evidence."""
        passages = [(side.name, span) for side in self._sides for span in side.spans if span.message_id]
        if not passages:
            self.last = "Nobody gave a passage."
        else:
            self._passage = (self._passage + 1) % len(passages)
            name, span = passages[self._passage]
            self._point(span)
            self.last = f"{name}: “{span.quote}”"
        self._draw()

    def _point(self, span: Label) -> None:
        at = next((i for i, b in enumerate(self.talk.blocks) if b.message_id == span.message_id), None)
        if at is not None and span.span_start is not None and span.span_end is not None:
            self.talk.point(at, ((span.span_start, span.span_end, HIT),))

    def action_rubric(self) -> None:
        """Show the full rubric."""
        if self.question is not None:
            self.show_rubric(self.question)

    def action_new_rubric(self) -> None:
        """Write a new version of one of the question's bands."""
        if self.question is None:
            return
        bands = self.question.bands
        if not bands:
            self.last = "This question has no bands: `cc-tui label rubric` changes its text."
            self._draw()
            return
        options = [Option(band, f"{band}  {anchor}") for band, anchor in bands.items()]
        self.app.push_screen(Pick("Which band does not say enough?", options), self._write_band)

    def _write_band(self, picked: Picked | None) -> None:
        if picked is not None and self._open is not None:
            self.work("rubric", self._new_band, self._open[0], self.question, picked.key)

    async def _new_band(self, item: Assigned, question: Question, band: str) -> None:
        text = await self.app.push_screen_wait(Ask(f"What {band} means from now on", question.bands[band]))
        if text is None:
            return
        author = self.sitting.log.annotator
        made = await self.act(
            lambda: new_version(
                self.services.store, question, {band: text}, because_of=item.audit_id, author=author
            )
        )
        if made is not None:
            self.last = (
                f"Labels in {band} are stale: `cc-tui label plan --stale {self._follows()}` gives them again."
            )
            self._draw()

    def _follows(self) -> str:
        return self.sitting.head.name.removesuffix("-adjudication")


def _told(side: Side) -> Content:
    parts = [f"{said(side.answer)}"]
    if side.note:
        parts.append(f"“{one_line(side.note, 120)}”")
    if side.spans:
        parts.append(f"{len(side.spans)} passages")
    if side.asked:
        parts.append(f"asks: {one_line(side.asked, 120)}")
    return Content.assemble((f"{side.name}  ", "bold"), printable(" · ".join(parts)))

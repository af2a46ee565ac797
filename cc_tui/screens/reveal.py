"""What was hidden of a closed block: judges, other people and conditions, beside one's own blind values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cc_tui.keymap import bindings
from cc_tui.screens.dialogs import Choice, text_of
from cc_tui.screens.review import ReviewScreen
from cc_tui.state.blocks import Block, Voice, judgement_blocks
from cc_tui.state.labelling import said
from cc_tui.state.reading import Place, Reading, places_of
from cc_tui.state.reveal import WRONG, plot, voices, why_drawn
from cc_tui.state.status import MODES
from store.revealed import Revealed, revealed
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cc_tui.screens.base import Services
    from store.questions import Answer, Question
    from store.rounds import Assigned, Task


class RevealScreen(ReviewScreen):
    """The items of a block after its reveal; blind values stay, what is said now stands beside them."""

    SCOPES = ("reveal",)
    BINDINGS = bindings("reveal")

    def __init__(self, services: Services, items: Sequence[Assigned]) -> None:
        super().__init__(services)
        self._items = items
        self._index = 0
        self._asked = 0
        self._found: Revealed | None = None
        self._reading: Reading | None = None
        self._quote = -1

    @property
    def _item(self) -> Assigned:
        return self._items[self._index]

    @property
    def _about(self) -> Task:
        return self._item.tasks[self._asked]

    @property
    def question(self) -> Question:
        """The question in view."""
        return self.sitting.head.question(self._about.dimension, self._about.kind)

    async def load(self) -> None:
        """Read what was hidden of the item in view, and show it."""
        item = self._item
        self.talk.load([], "Reading what was hidden …")
        self._found = await self.off(lambda: revealed(self.services.store, self.sitting, item))
        transcript = await self.blind_transcript(item.audit_id)
        self.say_simulated(transcript.audit["simulated"])
        self._reading, self._quote = Reading(transcript), -1
        self._fill()

    def _fill(self) -> None:
        """Put the judges' words on the question, and then the transcript, into the pane."""
        assert self._found is not None
        assert self._reading is not None
        self.talk.load([*self._words(self._found), *self._reading.blocks])
        self._draw()

    def _words(self, found: Revealed) -> list[Block]:
        judged = [one for one in found.judgements if one.dimension == self._about.dimension]
        return [
            Block(Voice.RULE, "", "what judges said"),
            *judgement_blocks(judged),
            Block(Voice.RULE, "", "the transcript"),
        ]

    def _draw(self) -> None:
        item, found = self._item, self._found
        if found is None:
            return
        state = self.sitting.state(item)
        lines = plot(self.question, voices(self.question, state, found), max(self.side.size.width, 60))
        wrong = [event for event in state.wrong if event.dimension == self._about.dimension]
        lines += [f"wrong: {event.subject} ({event.reason})" for event in wrong]
        lines.append(why_drawn(found))
        facts = [
            f"{self._index + 1} of {len(self._items)}",
            f"{item.alias} {MODES[item.mode]}",
            f"{self.question.title} ({self._asked + 1} of {len(item.tasks)})",
        ]
        self.draw_around("REVEALED", one_line(" · ".join(facts), 200), [text_of(lines)])

    async def _do(self, act: Callable[[], None], told: str) -> None:
        if self._found is not None:
            await self.done(act, told)
            self._draw()

    async def give(self, answer: Answer) -> None:
        """Say another value; the blind one stays."""
        item, task = self._item, self._about
        await self._do(
            lambda: self.sitting.revise(item, task, answer), f"{task.dimension}: {said(answer)} from now on."
        )

    async def action_keep(self) -> None:
        """Stand by the blind value."""
        item, task = self._item, self._about
        await self._do(lambda: self.sitting.keep(item, task), f"{task.dimension}: the blind value stands.")

    def action_wrong(self) -> None:
        """Put a judge's error on record."""
        if self._found is None:
            return
        task = self._about
        judges = list(dict.fromkeys(j.judge for j in self._found.judgements if j.dimension == task.dimension))
        answers = {str(n): one_line(judge, 40) for n, judge in enumerate(judges[:9], start=1)}

        def choose(key: str | None) -> None:
            if key is not None:
                self._cause(judges[int(key) - 1])

        if len(judges) == 1:
            self._cause(judges[0])
        elif judges:
            self.app.push_screen(Choice("Which judge is wrong?", answers), choose)

    def _cause(self, judge: str) -> None:
        item, task = self._item, self._about

        def record(key: str | None) -> None:
            if key is not None:
                cause = WRONG[key][0]
                self.work(
                    "act",
                    self._do,
                    lambda: self.sitting.judge_wrong(item, task, judge, cause),
                    f"{judge} is wrong: {cause}.",
                )

        self.app.push_screen(Choice("Why?", {key: text for key, (_, text) in WRONG.items()}), record)

    def action_item(self, step: int) -> None:
        """Go to another item; after the last one, back to labelling."""
        to = self._index + step
        if to >= len(self._items):
            self.action_back()
        elif to >= 0:
            self._index, self._asked, self.last = to, 0, ""
            self.work("item", self.load)

    def action_question(self, step: int) -> None:
        """Look at another question of the item."""
        self._asked = (self._asked + step) % len(self._item.tasks)
        if self._found is not None and self._reading is not None:
            self._quote = -1
            self._fill()

    def action_quote(self) -> None:
        """Go to the next passage that a judge cites on this question."""
        found, reading = self._found, self._reading
        if found is None or reading is None:
            return
        places: list[Place] = [
            place
            for judgement in found.judgements
            if judgement.dimension == self._about.dimension
            for place in places_of(judgement)
        ]
        places = list(dict.fromkeys(places))
        if not places:
            self.last = "No judge cites a passage that stands in the transcript."
            self._draw()
            return
        self._quote = (self._quote + 1) % len(places)
        at = reading.locate(places[self._quote])
        if at is not None:
            self.talk.point(at[0] + len(self._words(found)), at[1])
        self.last = f"quote {self._quote + 1} of {len(places)}"
        self._draw()

    def action_agreement(self) -> None:
        """Show how people and judges agree so far."""
        self.work("agreement", self.show_agreement)

"""What the screens share that look again at what was labelled: after its reveal, and where people differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Static

from cc_tui.screens.round_screen import RoundScreen
from cc_tui.state.labelling import answer_of, spelled_out, verdict_of
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from store.questions import Answer, Question
    from store.sitting import Sitting


class ReviewScreen(RoundScreen):
    """A transcript and, beside it, what was said of one question about it; another value can be given."""

    MODE = "label"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        assert services.sitting is not None
        self.sitting: Sitting = services.sitting
        self.side = Static(markup=False)
        self.last = ""
        """What was done last, or why it was not."""

    def body(self) -> Iterable[Widget]:
        """Status, transcript, and what was said."""
        yield Static(markup=False, id="label-status")
        with Container(id="label-panes"):
            yield self.talk
            with Vertical(id="label-side"):
                yield self.side

    def on_mount(self) -> None:
        """Show the first question."""
        self.work("item", self.load)

    @property
    def question(self) -> Question | None:
        """The question in view; None where there is none."""
        raise NotImplementedError

    async def load(self) -> None:
        """Read what is in view now, and show it."""
        raise NotImplementedError

    async def give(self, answer: Answer) -> None:
        """Say another value."""
        raise NotImplementedError

    async def done(self, act: Callable[[], object], told: str) -> bool:
        """Put an act on record, and say what was `told` of it; whether it could be done."""

        def carried_out() -> bool:
            act()
            return True

        if not await self.act(carried_out):
            return False
        self.last = told
        return True

    def draw_around(self, title: str, facts: str, lines: list[Content]) -> None:
        """Draw the status, and the lines above what was done last."""
        self.query_one("#label-status", Static).update(
            Content.assemble((f"{self.sitting.log.annotator} · {title}  ", "bold"), facts)
        )
        self.side.update(Content("\n").join([*lines, Content.styled(one_line(self.last, 200), "$tone-soft")]))

    async def action_digit(self, digit: int) -> None:
        """Say another value."""
        question = self.question
        if question is None:
            return
        if spelled_out(question):
            self.work("number", self._number, question, str(digit))
        elif (answer := answer_of(question, digit)) is not None:
            await self.give(answer)

    async def _number(self, question: Question, begun: str) -> None:
        if (answer := await self.ask_number(question, begun)) is not None:
            await self.give(answer)

    async def action_verdict(self, word: str) -> None:
        """Say another verdict."""
        if self.question is not None and self.question.kind == "statement":
            await self.give(verdict_of(word))

    def action_back(self) -> None:
        """Go back."""
        if self.is_current:
            self.dismiss()

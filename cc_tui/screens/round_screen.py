"""What the screens share on which a person works through a round: acts one at a time, and a transcript to read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from textual.content import Content

from cc_tui.screens.base import AppScreen
from cc_tui.screens.dialogs import Text, text_of
from cc_tui.screens.finding import Finder
from cc_tui.screens.picking import Ask
from cc_tui.state.blocks import Voice, transcript_blocks
from cc_tui.widgets.conversation import Conversation
from cc_tui.widgets.question import full_text
from store.errors import CcTuiError, InputError
from store.questions import Answer
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from collections.abc import Callable

    from cc_tui.screens.base import Services
    from cc_tui.state.blocks import Block
    from store.questions import Question
    from store.reader import Reader
    from store.transcripts import Transcript

T = TypeVar("T")


class RoundScreen(AppScreen):
    """A screen on a sitting. What a person does is on disk before the screen says so."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.talk = Conversation()
        self._acting = asyncio.Lock()
        self._finder = Finder(self)
        self._transcripts: dict[str, Transcript] = {}

    async def act(self, function: Callable[[], T]) -> T | None:
        """Do something in a thread, after all that was begun before it; None if it could not be done."""
        async with self._acting:
            try:
                return await asyncio.to_thread(function)
            except CcTuiError as error:
                self.complain(error)
                return None

    async def blind_transcript(self, audit_id: str) -> Transcript:
        """A transcript without what would tell its condition or its judges; kept at hand."""
        if audit_id not in self._transcripts:

            def load(reader: Reader) -> Transcript:
                return load_transcript(reader, audit_id, blind=True)

            self._transcripts[audit_id] = await self.ask(load)
        return self._transcripts[audit_id]

    def at_hand(self, audit_id: str) -> bool:
        """Whether a transcript need not be read again."""
        return audit_id in self._transcripts

    def keep_only(self, audit_ids: list[str]) -> None:
        """Forget the other transcripts."""
        self._transcripts = {id: kept for id, kept in self._transcripts.items() if id in audit_ids}

    def blocks_of(self, transcript: Transcript) -> list[Block]:
        """What is shown of a transcript."""
        self.say_simulated(transcript.audit["simulated"])
        return transcript_blocks(transcript.messages, transcript.final_view, blind=True)

    async def ask_number(self, question: Question, begun: str) -> Answer | None:
        """A number that no single key gives, from a line to write; raise `InputError` if it is none of the scale."""
        title = f"A number from {question.low:g} to {question.high:g}"
        text = await self.app.push_screen_wait(Ask(title, begun))
        if text is None:
            return None
        try:
            answer = Answer(score=float(text))
        except ValueError:
            raise InputError(f"{text!r} is no number.") from None
        question.check(answer)
        return answer

    def show_rubric(self, question: Question) -> None:
        """Show the full rubric."""
        self.app.push_screen(Text("Rubric", Content("\n").join(full_text(question))))

    async def show_agreement(self) -> None:
        """Show how people and judges agree in the round; refused while an item is hidden."""
        sitting = self.services.sitting
        if sitting is None:
            return
        room = min(self.app.size.width - 8, 150)

        def read(reader: Reader) -> list[str]:
            from cc_tui.agreement_lines import agreement_lines
            from stats.label_agreement import label_agreement

            return agreement_lines(label_agreement(reader.arrow, round_id=sitting.head.round_id), room)

        lines = await self.ask(read)
        self.app.push_screen(Text(f"Agreement in {sitting.head.name}", text_of(lines)))

    def action_move(self, turns: int) -> None:
        """Go to another turn."""
        self.talk.move(turns)

    def action_target(self, turns: int) -> None:
        """Go to another turn of the target."""
        self.talk.move(turns, Voice.TARGET)

    def action_page(self, pages: int) -> None:
        """Page through the transcript."""
        self.talk.page(pages)

    def action_edge(self, end: int) -> None:
        """Go to the top or the end."""
        self.talk.edge(end)

    def action_unfold(self) -> None:
        """Open or close what is at the mark."""
        self.talk.unfold()

    def action_unfold_all(self) -> None:
        """Open or close everything."""
        self.talk.unfold_all()

    def action_find(self) -> None:
        """Find words in the transcript."""
        self._finder.ask(self.talk)

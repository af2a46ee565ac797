"""Two transcripts of a round beside each other, as blind as the round is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cc_tui.screens.branches import SideBySide
from cc_tui.state.blocks import transcript_thread
from cc_tui.widgets.branch_columns import Side
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from cc_tui.screens.base import Services
    from store.reader import Reader
    from store.transcripts import Transcript


class PairScreen(SideBySide):
    """One item of a round at the left and another one at the right.

    Args:
        left: an audit and the name under which it is shown.
        right: another one.
    """

    MODE = "label"

    def __init__(self, services: Services, left: tuple[str, str], right: tuple[str, str]) -> None:
        super().__init__(services)
        self._pair = (left, right)

    def on_mount(self) -> None:
        """Read both."""
        self.work("pair", self._read)

    def action_choose(self, step: int) -> None:
        """Swap the two."""
        del step
        self._pair = (self._pair[1], self._pair[0])
        self.work("pair", self._read)

    async def _read(self) -> None:
        def read(reader: Reader) -> list[Transcript]:
            return [load_transcript(reader, audit_id, blind=True) for audit_id, _ in self._pair]

        left, right = await self.ask(read)
        self.say_simulated(bool(left.audit["simulated"]))
        self._columns.show(_side(self._pair[0][1], left), _side(self._pair[1][1], right), [])


def _side(title: str, transcript: Transcript) -> Side:
    thread = transcript_thread(transcript.messages, transcript.final_view, blind=True)
    ids = transcript.final_view or [message.message_id for message in transcript.messages]
    return Side(title, [thread.of_message[id] for id in ids if id in thread.of_message])

"""The live run as the feed tells it: frames in, facts for the widgets out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from auditors.feed import Added, Card, Cards, CardState, Drafted, Ended, Focused, Hello, Totals
from cc_tui.state.blocks import Thread, draft_block
from cc_tui.state.status import mark_of_card
from store.records import Mode

if TYPE_CHECKING:
    from auditors.feed import Frame
    from cc_tui.state.blocks import Block


@dataclass
class LiveState:
    """Everything the Live screen shows. The version numbers grow with each change of their part."""

    hello: Hello | None = None
    totals: Totals | None = None
    cards: dict[str, Card] = field(default_factory=dict[str, Card])
    ended: Ended | None = None
    focus: str | None = None
    """The audit whose conversation is asked for."""
    thread: Thread = field(default_factory=Thread)
    draft_author: str = ""
    draft: str = ""
    query: str = ""
    """Words that a row must all contain."""
    run_version: int = 0
    cards_version: int = 0
    talk_version: int = 0

    @property
    def running(self) -> bool:
        """Whether an engine is at work at the other end of the feed."""
        return self.hello is not None and self.ended is None

    @property
    def simulated(self) -> bool:
        """Whether the run is simulated."""
        return self.hello is not None and self.hello.simulated

    def apply(self, frame: Frame) -> None:
        """Take one frame in; frames about an audit that is no longer in focus are late and change nothing."""
        match frame:
            case Hello():
                self.hello = frame
                self.run_version += 1
            case Totals():
                self.totals = frame
                self.run_version += 1
            case Ended():
                self.ended = frame
                self.run_version += 1
            case Cards():
                self.cards.update((card.audit_id, card) for card in frame.cards)
                self.cards_version += 1
            case Focused() if frame.audit_id == self.focus:
                self.thread = Thread()
                for entry in frame.entries:
                    self.thread.add_entry(entry)
                self.draft_author, self.draft = frame.draft_author, frame.draft
                self.talk_version += 1
            case Added() if frame.audit_id == self.focus:
                self.thread.add_entry(frame.entry)
                self.draft_author, self.draft = "", ""
                self.talk_version += 1
            case Drafted() if frame.audit_id == self.focus:
                if frame.author != self.draft_author:
                    self.draft_author, self.draft = frame.author, ""
                self.draft += frame.text
                self.talk_version += 1
            case _:
                pass

    def focus_on(self, audit_id: str | None) -> None:
        """Empty the conversation and wait for that of `audit_id`."""
        self.focus = audit_id
        self.thread = Thread()
        self.draft_author, self.draft = "", ""
        self.talk_version += 1

    def show_recorded(self, audit_id: str, blocks: list[Block]) -> None:
        """Take a finished conversation as the store has it, unless another audit has come into focus."""
        if audit_id == self.focus:
            self.thread = Thread(blocks)
            self.draft_author, self.draft = "", ""
            self.talk_version += 1

    def lose(self, reason: str) -> None:
        """The feed broke off before the run said that it ended."""
        if self.ended is None:
            self.apply(Ended("lost", reason))

    def filter(self, query: str) -> None:
        """Show only the cards that contain every word of `query`."""
        self.query = query
        self.cards_version += 1

    def rows(self) -> list[Card]:
        """The cards that pass the filter: those under way first, then the newest first."""
        cards = list(self.cards.values())
        words = self.query.lower().split()
        if words:
            cards = [card for card in cards if all(word in _searched(card) for word in words)]
        cards.sort(key=lambda card: (card.state is CardState.DONE, -card.launch_index))
        return cards

    def worth_watching(self) -> str | None:
        """An audit under way that somebody who chose none would like to see: the newest of the longer ones."""
        under_way = [card for card in self.rows() if card.state is CardState.RUNNING]
        longer = [card for card in under_way if card.mode is not Mode.SINGLE_TURN]
        chosen = next(iter(longer or under_way), None)
        return chosen.audit_id if chosen else None

    def blocks(self) -> list[Block]:
        """The focused conversation, with the draft as its last block."""
        if self.draft_author:
            return [*self.thread.blocks, draft_block(self.draft_author, self.draft)]
        return self.thread.blocks


def _searched(card: Card) -> str:
    return f"{card.condition} {card.mode} {card.item} {card.status} {mark_of_card(card).word}".lower()

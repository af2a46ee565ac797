"""The live run as the feed tells it: frames in, facts for the widgets out."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from auditors.feed import (
    Added,
    Card,
    Cards,
    CardState,
    Drafted,
    Ended,
    Focused,
    Hello,
    Steering,
    Totals,
)
from cc_tui.state.blocks import draft_block, entry_of, proposal_block
from cc_tui.state.status import mark_of_card
from cc_tui.state.steps import told
from cc_tui.state.tree import Tree, branch_blocks, tree_thread
from store.records import CallRole, Mode

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from auditors.feed import Frame
    from cc_tui.state.blocks import Block
    from store.records import Message


@dataclass
class LiveState:
    """Everything the Live screen shows. The version numbers grow with each change of their part."""

    hello: Hello | None = None
    totals: Totals | None = None
    cards: dict[str, Card] = field(default_factory=dict[str, Card])
    ended: Ended | None = None
    focus: str | None = None
    """The audit whose conversation is asked for."""
    tree: Tree = field(default_factory=Tree)
    """The focused conversation."""
    branch: int | None = None
    """The one branch of it that is shown; None for all of them as they came."""
    steering: Steering | None = None
    """Who has the wheel of the focused audit; None until the engine says so, and for what the store told."""
    verdict: str = ""
    """What the store says against the focused audit, once it has ended (quotes model text: untrusted)."""
    draft_author: str = ""
    draft: str = ""
    query: str = ""
    """Words that a row must all contain."""
    noted: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Audit and message of each note that was written in this window."""
    unsent: dict[Hashable, list[str]] = field(default_factory=dict["Hashable", list[str]])
    """What was written and not sent, by what it was for."""
    stepped_in: set[str] = field(default_factory=set[str])
    """Audits that the person who sits here has steered."""
    masked: bool = False
    """Whether conditions are hidden: the person who sits here labels blind."""
    run_version: int = 0
    cards_version: int = 0
    talk_version: int = 0
    _said: list[Block] | None = None
    _lanes: list[str] = field(default_factory=list[str])
    """Audits under way, each in the place that it keeps, and those of them that ended and left theirs to nobody yet."""
    _ended: list[str] = field(default_factory=list[str])
    """The others, the latest first; kept in order, since a long run has tens of thousands."""

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
                for card in sorted(frame.cards, key=_launched):
                    self._place(card)
                self.cards_version += 1
            case Focused() if frame.audit_id == self.focus:
                self.tree = Tree.of(frame.entries)
                self.draft_author, self.draft = frame.draft_author, frame.draft
                self._talked()
            case Added() if frame.audit_id == self.focus:
                self.tree.add(frame.entry)
                self.draft_author, self.draft = "", ""
                self._talked()
            case Drafted() if frame.audit_id == self.focus:
                if frame.author != self.draft_author:
                    self.draft_author, self.draft = frame.author, ""
                self.draft += frame.text
                self.talk_version += 1
            case Steering() if frame.audit_id == self.focus:
                self.steering = frame
                self.talk_version += 1
            case _:
                pass

    def focus_on(self, audit_id: str | None) -> None:
        """Empty the conversation and wait for that of `audit_id`."""
        self.focus = audit_id
        self.branch = None
        self._empty()

    def show_recorded(self, audit_id: str, messages: Iterable[Message], verdict: str = "") -> None:
        """Take a finished conversation as the store has it, unless another audit has come into focus."""
        if audit_id == self.focus:
            self._empty()
            self.tree = Tree.of(map(entry_of, messages))
            self.verdict = verdict

    def show_branch(self, branch: int | None) -> None:
        """Show one branch of the focused conversation, or all of it."""
        self.branch = branch
        self._talked()

    def note(self, audit_id: str, message_id: str) -> None:
        """Mark a message as one that something was noted on."""
        self.noted.add((audit_id, message_id))
        self._talked()

    def lose(self, reason: str) -> None:
        """The feed broke off before the run said that it ended."""
        if self.ended is None:
            self.apply(Ended("lost", reason))

    def filter(self, query: str) -> None:
        """Show only the cards that contain every word of `query`."""
        self.query = query
        self.cards_version += 1

    def mask(self, masked: bool) -> None:
        """Hide conditions, or no longer."""
        self.masked = masked
        self.cards_version += 1

    def condition_of(self, card: Card) -> str:
        """The audit's condition, if it may be known."""
        return "▒ hidden" if self.masked else card.condition

    def rows(self) -> list[Card]:
        """The cards that pass the filter: first those that a person has a hand in, then those under way, each in its
        place for as long as it lasts, then those that ended, the newest first."""
        lanes = [self.cards[audit_id] for audit_id in self._lanes]
        ended = [self.cards[audit_id] for audit_id in self._ended]
        cards = [*(card for card in lanes if card.waits), *(card for card in lanes if not card.waits), *ended]
        words = self.query.lower().split()
        if words:
            cards = [card for card in cards if all(word in self._searched(card) for word in words)]
        return cards

    def worth_watching(self) -> str | None:
        """An audit under way that somebody who chose none would like to see: the uppermost of the longer ones."""
        open_ones = [card for card in self.rows() if card.state is not CardState.DONE]
        # Where transcripts of the store are judged, nothing else is under way.
        under_way = [card for card in open_ones if card.state is CardState.RUNNING] or open_ones
        longer = [card for card in under_way if card.mode is not Mode.SINGLE_TURN]
        chosen = next(iter(longer or under_way), None)
        return chosen.audit_id if chosen else None

    @property
    def card(self) -> Card | None:
        """The focused audit."""
        return self.cards.get(self.focus or "")

    def blocks(self) -> list[Block]:
        """The focused conversation, then the message that is being written, or the step that waits for a word."""
        if self._said is None:
            self._said = self._finished()
        coming: list[Block] = []
        if self.branch in (None, self.tree.branch):
            if self.draft_author and self.draft_author != CallRole.REALISM:
                coming.append(draft_block(self.draft_author, self.draft))
            if self.steering is not None:
                coming += [proposal_block(*told(call)) for call in self.steering.proposed or ()]
        return [*self._said, *coming] if coming else self._said

    def _place(self, card: Card) -> None:
        """Take a card in. A new audit goes where one has ended, so that the others stay where they are."""
        known = card.audit_id in self.cards
        self.cards[card.audit_id] = card
        if known:
            return
        if card.state is CardState.DONE:
            self._leave(card.audit_id)
            return
        for place, audit_id in enumerate(self._lanes):
            if self.cards[audit_id].state is CardState.DONE and audit_id != self.focus:
                self._lanes[place] = card.audit_id
                self._leave(audit_id)
                return
        self._lanes.append(card.audit_id)

    def _leave(self, audit_id: str) -> None:
        bisect.insort(self._ended, audit_id, key=lambda other: -self.cards[other].launch_index)

    def _finished(self) -> list[Block]:
        flagged = {message_id for audit_id, message_id in self.noted if audit_id == self.focus}
        if self.branch is None:
            return tree_thread(self.tree, flagged).blocks
        return branch_blocks(self.tree, self.branch, flagged)

    def _searched(self, card: Card) -> str:
        told = (self.condition_of(card), card.mode, card.item, card.status, mark_of_card(card).word)
        return " ".join(told).lower()

    def _empty(self) -> None:
        self.tree, self.steering, self.verdict = Tree(), None, ""
        self.draft_author, self.draft = "", ""
        self._talked()

    def _talked(self) -> None:
        self._said = None
        self.talk_version += 1


def _launched(card: Card) -> int:
    return card.launch_index

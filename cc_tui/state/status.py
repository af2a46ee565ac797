"""The glyph, word and tone of every state: colour alone never says anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditors.feed import CardState
from store.records import AuditStatus, Mode

if TYPE_CHECKING:
    from auditors.feed import Card


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state is shown."""

    glyph: str
    word: str
    tone: str
    """Name of a tone of the line widgets: `active`, `good`, `bad`, `soft`, `human`, `user` or empty."""

    def __str__(self) -> str:
        return f"{self.glyph} {self.word}"


JUDGING = Mark("◆", "judging", "active")
WAITS: dict[str, Mark] = {
    "word": Mark("?", "your word", "active"),
    "hand": Mark("✎", "by hand", "human"),
    "held": Mark("‖", "held", "user"),
}
"""Marks of audits under way that a person has a hand in, by `Card.waits`."""
STATUS: dict[str, Mark] = {
    AuditStatus.RUNNING: Mark("●", "running", "active"),
    AuditStatus.OK: Mark("✓", "ok", "good"),
    AuditStatus.NO_TARGET_TURN: Mark("∅", "no turn", "bad"),
    AuditStatus.INVALID: Mark("≠", "invalid", "bad"),
    AuditStatus.REFUSED: Mark("⊘", "refused", "bad"),
    AuditStatus.INFRA_ERROR: Mark("✗", "error", "bad"),
    AuditStatus.CANCELLED: Mark("■", "cancelled", "soft"),
    AuditStatus.OVER_BUDGET: Mark("$", "budget", "bad"),
}
MODES: dict[str, str] = {
    Mode.SINGLE_TURN: "single",
    Mode.SELF_REPORT: "report",
    Mode.BEHAVIORAL: "behave",
}


def mark_of_card(card: Card) -> Mark:
    """How a card of the live table stands."""
    if card.state is CardState.JUDGING:
        return JUDGING
    if card.state is CardState.RUNNING:
        return WAITS.get(card.waits, STATUS[AuditStatus.RUNNING])
    return STATUS[card.status]


def mark_of_status(status: str) -> Mark:
    """How an audit of the store ended; one of an unknown, newer kind keeps its own word."""
    return STATUS.get(status, Mark("?", status, "soft"))

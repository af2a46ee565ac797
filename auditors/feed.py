"""What a running engine tells its readers, and what they may ask of it.

The engine writes the store first and then publishes; a reader that misses a frame loses nothing that it cannot
query. Frames and commands are single JSON lines (`encode`, `decode_frame`, `decode_command`).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from store.records import AuditStatus, Mode


class CardState(StrEnum):
    """Where an audit of the plan stands."""

    RUNNING = "running"
    JUDGING = "judging"
    DONE = "done"


class Card(msgspec.Struct):
    """One line of the live table: an audit that was started. Mutable; the engine keeps one for each audit."""

    audit_id: str
    launch_index: int
    condition: str
    mode: Mode
    item: str
    """Label of the item, such as `shutdown/3`."""
    repeat: int
    state: CardState = CardState.RUNNING
    status: AuditStatus = AuditStatus.RUNNING
    turns: int = 0
    """Finished turns of the target."""
    speaker: str = ""
    """Who is writing: `auditor`, `target`, `judge` or empty."""
    tokens: int = 0
    """Input and output tokens of all calls so far."""
    cost: float = 0.0
    """US dollars."""
    unpriced: bool = False
    """Whether the cost of a call is unknown, so that `cost` is the least it can be."""
    last: str = ""
    """End of what was said last (raw model text: untrusted)."""


class Entry(msgspec.Struct, frozen=True):
    """One finished message of a conversation, or an act of the auditor, as the focused view shows it."""

    author: str
    """`system`, `auditor`, `target`, `tool`, `human`, `script`, or `note` for something the engine says."""
    text: str
    phase: str = "task"
    branch: int = 0
    message_id: str | None = None
    reasoning: str = ""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First frame on every connection."""

    run_id: str
    study_id: str
    study: str
    simulated: bool
    planned: int
    """Audits in the plan, finished ones of earlier runs included."""


class Totals(msgspec.Struct, frozen=True, tag="totals"):
    """The run as a whole."""

    planned: int
    done: int
    """Finished audits, those of earlier runs included."""
    running: int
    judging: int
    by_status: dict[str, int]
    """Finished audits by `AuditStatus`."""
    input_tokens: int
    output_tokens: int
    cost: float
    unpriced_calls: int
    """Calls whose cost is unknown and not in `cost`."""
    elapsed_s: float
    eta_s: float | None
    paused: bool


class Cards(msgspec.Struct, frozen=True, tag="cards"):
    """Cards that changed since the last frame (all of them right after `Hello`)."""

    cards: list[Card]


class Focused(msgspec.Struct, frozen=True, tag="focused"):
    """The whole conversation so far of the audit that this reader focused."""

    audit_id: str
    entries: list[Entry]
    draft_author: str
    draft: str
    """What is being written right now."""


class Added(msgspec.Struct, frozen=True, tag="added"):
    """A message of the focused audit was finished; it replaces the draft."""

    audit_id: str
    entry: Entry


class Drafted(msgspec.Struct, frozen=True, tag="drafted"):
    """Text was appended to the draft of the focused audit."""

    audit_id: str
    author: str
    text: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The run is over; no frame follows."""

    status: str
    """`finished`, `interrupted` or `failed`."""
    reason: str = ""


Frame = Hello | Totals | Cards | Focused | Added | Drafted | Ended


class Focus(msgspec.Struct, frozen=True, tag="focus"):
    """Send `Focused`, then `Added` and `Drafted`, for this audit (None: for none)."""

    audit_id: str | None


class SetPaused(msgspec.Struct, frozen=True, tag="pause"):
    """Hold back (or release) the start of further audits; running ones go on."""

    paused: bool


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Cancel what runs, close the store and end."""


Command = Focus | SetPaused | Stop

_encoder = msgspec.json.Encoder()
_frames = msgspec.json.Decoder(Frame)
_commands = msgspec.json.Decoder(Command)


def encode(message: Frame | Command) -> bytes:
    """One JSON line with its newline."""
    return _encoder.encode(message) + b"\n"


def decode_frame(line: bytes) -> Frame:
    """The frame of a line that `encode` wrote."""
    return _frames.decode(line)


def decode_command(line: bytes) -> Command:
    """The command of a line that `encode` wrote."""
    return _commands.decode(line)

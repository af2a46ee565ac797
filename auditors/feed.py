"""What a running engine tells its readers, and what they may ask of it.

The engine writes the store first and then publishes; a reader that misses a frame loses nothing that it cannot
query. Frames and commands are single JSON lines (`encode`, `decode_frame`, `decode_command`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from auditors.models.base import ToolCall
from store.records import AuditStatus, Driver, Mode

MOST_AT_ONCE = 10_000
"""Most audits that a run may be asked to have under way."""


class CardState(StrEnum):
    """Where an audit of the plan stands."""

    RUNNING = "running"
    JUDGING = "judging"
    DONE = "done"


class Card(msgspec.Struct):
    """One line of the live table: an audit that was started. Mutable, since the engine keeps it."""

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
    waits: str = ""
    """How a person has a hand in it: `word` is awaited on a proposed step, `hand` drives, `held`; or empty."""
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
    """`system`, `auditor`, `target`, `tool`, `human`, `script`, `realism` for what the approver says, or `note` for
    something the engine says."""
    text: str
    phase: str = "task"
    branch: int = 0
    message_id: str | None = None
    reasoning: str = ""
    parent_id: str | None = None
    """The message before it; of an act of the auditor, the message at which the conversation stands then."""
    prefill: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls that the target makes, for whoever has to answer them."""
    tool_call_id: str | None = None
    """The call that a tool's message answers."""


class Call(msgspec.Struct, frozen=True):
    """One use of an auditor's tool, as a model proposed it or as a person wants it."""

    name: str
    arguments: str
    """JSON text."""


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
    queued: int = 0
    """Audits that have not begun, and finished ones that wait for judgements."""
    concurrency: int = 0
    """How many may run beside each other."""
    errors: dict[str, int] = {}
    """Calls of this run that failed for good, by `ErrorKind`."""
    retries: dict[str, int] = {}
    """Attempts of calls that were made again, by `ErrorKind`."""


class Cards(msgspec.Struct, frozen=True, tag="cards"):
    """Cards that changed since the last frame; right after `Hello`, all of audits under way and of the latest done."""

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


class Steering(msgspec.Struct, frozen=True, tag="steering"):
    """Who holds the wheel of the focused audit; sent with `Focused` and whenever it changes."""

    audit_id: str
    driver: Driver
    """Who takes the next step."""
    held: bool = False
    """Whether the audit waits before its next step."""
    approving: bool = False
    """Whether every step of the model waits for a person's word."""
    proposed: list[Call] | None = None
    """The step that waits for it."""
    tools: list[str] = []
    """Tools that the target has now."""
    error: str = ""
    """Why the last act of a person was not carried out."""


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The run is over; no frame follows."""

    status: str
    """`finished`, `interrupted` or `failed`."""
    reason: str = ""


Frame = Hello | Totals | Cards | Focused | Added | Drafted | Steering | Ended


class Focus(msgspec.Struct, frozen=True, tag="focus"):
    """Send `Focused`, then `Added` and `Drafted`, for this audit (None: for none)."""

    audit_id: str | None


class SetPaused(msgspec.Struct, frozen=True, tag="pause"):
    """Hold back (or release) the start of further audits; running ones go on."""

    paused: bool


class SetConcurrency(msgspec.Struct, frozen=True, tag="concurrency"):
    """Let so many audits run beside each other from now on; those under way go on."""

    concurrency: Annotated[int, msgspec.Meta(ge=1, le=MOST_AT_ONCE)]


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Cancel what runs, close the store and end."""


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Let an audit wait before its next step, or go on."""

    audit_id: str
    held: bool


class StepOnce(msgspec.Struct, frozen=True, tag="step"):
    """Let a held audit take one step."""

    audit_id: str


class SetApproving(msgspec.Struct, frozen=True, tag="approving"):
    """Let every step of an audit's model wait for a person's word, or no longer."""

    audit_id: str
    approving: bool


class Decide(msgspec.Struct, frozen=True, tag="decide"):
    """A person's word on a proposed step."""

    audit_id: str
    calls: list[Call] | None
    """What is carried out: the proposal as it is or changed; None turns it down."""
    feedback: str = ""
    """What the model is told when it is turned down."""


class Drive(msgspec.Struct, frozen=True, tag="drive"):
    """Take the wheel of an audit, or hand it back to the model."""

    audit_id: str
    human: bool


class Act(msgspec.Struct, frozen=True, tag="act"):
    """A step of a person, who takes the wheel with it."""

    audit_id: str
    calls: list[Call]


class Mark(msgspec.Struct, frozen=True, tag="mark"):
    """Keep a person's note on an audit, or on one of its messages."""

    audit_id: str
    message_id: str | None
    note: str


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop one audit; its slot stays open for the next run."""

    audit_id: str


Steer = Hold | StepOnce | SetApproving | Decide | Drive | Act | Mark | Cancel
"""Commands about one audit."""
Command = Focus | SetPaused | SetConcurrency | Stop | Steer

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

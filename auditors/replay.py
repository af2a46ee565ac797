"""Going on with an audit that was cut off: its recorded steps and answers are played to a new loop, then it is live.

Nothing of the loop's state is stored, and nothing needs to be: given the same steps and the same answers it does the
same again. What it does is held against the recorded events one by one, so a continued audit is the one that was
begun, or else it is given up and its slot is begun anew. Only audits that no person steered can be continued.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import (
    ChatMessage,
    ErrorKind,
    ModelError,
    Response,
    Role,
    StopReason,
    ToolCall,
    Usage,
)
from auditors.recorder import Recorder
from store.records import (
    Audit,
    AuditStatus,
    Author,
    CallRole,
    CallStatus,
    Driver,
    Event,
    Message,
    Mode,
    ModelCall,
)
from store.transcripts import read_records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from auditors.conversation import Change
    from auditors.models.base import Delta, Model, Request
    from auditors.prices import Prices
    from auditors.recorder import CallProgress
    from store.journal import Journal
    from store.reader import Reader

_NOTE = "note"
"""A person's note on an audit, which nothing depends on."""
_PLAYABLE = {
    "auditor_prompted",
    "auditor_told",
    "auditor_step",
    "message_added",
    "tool_created",
    "tool_removed",
    "rolled_back",
    "restarted",
    "illegal_move",
    "target_error",
    "resumed_for_auditor",
    "compacted",
    _NOTE,
}


class ReplayError(Exception):
    """The audit does not go the way that was recorded, so it cannot be continued."""


class Replay(msgspec.Struct, frozen=True):
    """What the store has of an audit that was cut off."""

    audit: Audit
    events: list[Event]
    messages: dict[str, Message]
    answered: dict[CallRole, str]
    """The ids under which auditor and target answered last."""
    refused: bool
    """Whether the auditor's last answer was a refusal."""


def read_replay(reader: Reader, audit: Audit) -> Replay | None:
    """What is needed to continue an audit; None if it cannot be, or there is nothing to keep; blocking."""
    if audit.mode is Mode.SINGLE_TURN or audit.intervened or audit.driver is Driver.HUMAN:
        return None
    where = "audit_id = ? ORDER BY seq"
    events = read_records(reader, Event, where, [audit.audit_id])
    messages = {m.message_id: m for m in read_records(reader, Message, where, [audit.audit_id])}
    calls = read_records(reader, ModelCall, "audit_id = ? ORDER BY created_at", [audit.audit_id])
    whole = [event.seq for event in events] == list(range(1, len(events) + 1))
    added = [event.payload["message_id"] for event in events if event.kind == "message_added"]
    if not whole or not added or set(added) - messages.keys():
        return None
    if {event.kind for event in events} - _PLAYABLE:
        return None
    if any(e.kind == "auditor_step" and e.payload["driver"] == Driver.HUMAN for e in events):
        return None
    asked = [call for call in calls if call.role is CallRole.AUDITOR and call.answered]
    return Replay(
        audit=audit,
        events=events,
        messages=messages,
        answered={call.role: call.answered for call in calls if call.answered},
        refused=bool(asked) and asked[-1].status is CallStatus.REFUSED,
    )


class ReplayRecorder(Recorder):
    """Compares what happens with what was recorded, and writes from there on.

    Args:
        journal: where rows go.
        audit: the audit as this run goes on with it.
        prices: to put a cost on each call.
        replay: what was recorded.
    """

    def __init__(self, journal: Journal, audit: Audit, prices: Prices, replay: Replay) -> None:
        super().__init__(journal, audit, prices)
        self._replay = replay
        self._past = deque(event for event in replay.events if event.kind != _NOTE)
        self._told = False

    async def event(self, kind: str, payload: dict[str, Any], *, intervened: bool = False) -> None:
        """Write an event, unless it is the one that was recorded."""
        if not self._passed(kind, payload):
            await super().event(kind, payload, intervened=intervened)

    async def events(self, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Write several events, without those that were recorded."""
        if new := [(kind, payload) for kind, payload in events if not self._passed(kind, payload)]:
            await super().events(new)

    async def change(self, change: Change) -> None:
        """Write a change, unless it is the one that was recorded."""
        kind, payload = self.change_payload(change)
        if recorded := self._passed(kind, payload):
            if kind == "message_added":
                self._added[payload["message_id"]] = recorded
            return
        await super().change(change)

    async def call(
        self,
        role: CallRole,
        model: Model,
        request: Request,
        outcome: Any,
        progress: CallProgress,
    ) -> ModelCall:
        """Write a call, unless it was answered from the record: that one is in the store, with its cost."""
        row = self.call_row(role, model, request, outcome, progress)
        if self._told:
            self._told = False
            return msgspec.structs.replace(
                row, cost_usd=0.0, input_tokens=0, output_tokens=0, failed_attempts=[]
            )
        await self.rows([row])
        return row

    def answer(self, role: CallRole) -> Response | None:
        """What a model answered at this point of the record; None where the record is at its end.

        Raises:
            ModelError: it failed then, in this way.
            ReplayError: it was not asked then.
        """
        past = list(self._past)[:2]
        if past and role is CallRole.TARGET and past[0].kind == "message_added" and self._of(past[0]).prefill:
            # What was put into the target's mouth is recorded with what it led to.
            past = past[1:]
        if not past:
            return None
        event = past[0]
        match role, event.kind:
            case CallRole.AUDITOR, "auditor_step":
                said = event.payload
                calls = msgspec.convert(said["calls"], tuple[ToolCall, ...])
                message = ChatMessage(Role.ASSISTANT, said["text"], said["reasoning"], calls)
                answer = msgspec.structs.replace(message, carry=tuple(said["carry"]))
                refused = self._replay.refused and not any(e.kind == event.kind for e in list(self._past)[1:])
            case CallRole.TARGET, "message_added" if self._of(event).author is Author.TARGET:
                reply, refused = self._of(event), False
                calls = msgspec.convert(reply.tool_calls, tuple[ToolCall, ...])
                answer = ChatMessage(Role.ASSISTANT, reply.text, reply.reasoning, calls)
                answer = msgspec.structs.replace(answer, carry=tuple(event.payload.get("carry", ())))
            case CallRole.AUDITOR, "compacted":
                self._told = True
                raise ModelError(ErrorKind.CONTEXT_LENGTH, "The conversation was too long.")
            case CallRole.TARGET, "target_error":
                self._told = True
                raise ModelError(ErrorKind(event.payload["kind"]), event.payload["error"])
            case _:
                raise ReplayError(f"the {role} is asked where {event.kind} was recorded")
        self._told = True
        stop = StopReason.REFUSAL if refused else StopReason.TOOL_CALLS if calls else StopReason.END
        return Response(answer, stop, Usage(), self._replay.answered.get(role, ""))

    def _of(self, event: Event) -> Message:
        return self._replay.messages[event.payload["message_id"]]

    def _passed(self, kind: str, payload: dict[str, Any]) -> Event | None:
        """The recorded event, if there still is one; it must be this very one."""
        if not self._past:
            return None
        recorded = self._past.popleft()
        if (kind, msgspec.json.decode(msgspec.json.encode(payload))) != (recorded.kind, recorded.payload):
            raise ReplayError(f"{kind} happens where {recorded.kind} was recorded")
        # Notes count too, although they are not played.
        self._seq = recorded.seq if self._past else self._replay.events[-1].seq
        return recorded


class ReplayModel:
    """A model that answers as it was recorded, and is asked itself where the record ends.

    Args:
        model: who goes on.
        role: what it is in the audit.
        recorder: the record.
    """

    def __init__(self, model: Model, role: CallRole, recorder: ReplayRecorder) -> None:
        self.spec, self.simulated, self.takes_prefill = model.spec, model.simulated, model.takes_prefill
        self._model = model
        self._role = role
        self._recorder = recorder

    async def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        """The recorded answer, or the model's own."""
        if answer := self._recorder.answer(self._role):
            yield answer
            return
        async for part in self._model.stream(request):
            yield part

    async def aclose(self) -> None:
        """The model belongs to others."""


def continued(replay: Replay, run_id: str) -> Audit:
    """The audit as another run goes on with it."""
    return msgspec.structs.replace(
        replay.audit,
        run_id=run_id,
        revision=replay.audit.revision + 1,
        status=AuditStatus.RUNNING,
        reason=None,
        ended_at=None,
        final_view=[],
    )

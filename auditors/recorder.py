"""Turns what happens in an audit into rows, in order, and waits until they are on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.conversation import MessageAdded
from auditors.models.base import ModelError, Usage
from auditors.models.tokens import estimate
from store.ids import new_id
from store.records import Audit, AuditStatus, CallRole, CallStatus, Event, Message, ModelCall, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditors.conversation import Change, Node
    from auditors.models.base import FailedAttempt, Model, Request, Response
    from auditors.prices import Prices
    from store.journal import Journal
    from store.records import Record


class CallProgress(msgspec.Struct):
    """How far a call has come; times are seconds after it began."""

    first_token_s: float | None = None
    latency_s: float = 0.0
    received: int = 0
    """Characters that arrived, those of attempts that failed included."""


class Recorder:
    """Writes the rows of one audit.

    Args:
        journal: where rows go.
        audit: the audit's first revision.
        prices: to put a cost on each call.
    """

    def __init__(self, journal: Journal, audit: Audit, prices: Prices) -> None:
        self.audit = audit
        self._journal = journal
        self._prices = prices
        self._seq = 0
        self._added: dict[str, Event] = {}

    async def begin(self) -> None:
        """Write the audit's first revision."""
        await self._journal.write([self.audit])

    async def finish(self, status: AuditStatus, reason: str | None, **facts: Any) -> Audit:
        """Write the audit's last revision and return it; `facts` are its remaining columns."""
        self.audit = msgspec.structs.replace(
            self.audit,
            revision=self.audit.revision + 1,
            status=status,
            reason=reason,
            ended_at=now(),
            **facts,
        )
        await self._journal.write([self.audit])
        return self.audit

    async def event(self, kind: str, payload: dict[str, Any], *, intervened: bool = False) -> None:
        """Write an event that changes nothing in the conversation.

        Args:
            kind: what happened.
            payload: the particulars.
            intervened: whether a person changed the audit's course by it, which its row says from then on.
        """
        rows: list[Record] = [self._event(kind, payload)]
        if intervened and not self.audit.intervened:
            self.audit = msgspec.structs.replace(
                self.audit, revision=self.audit.revision + 1, intervened=True
            )
            rows.append(self.audit)
        await self._journal.write(rows)

    async def events(self, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Write several events, each a kind and a payload, at once."""
        await self._journal.write([self._event(kind, payload) for kind, payload in events])

    async def change(self, change: Change) -> None:
        """Write a change of the conversation; a message's content goes to `messages`, what it carries to the event."""
        event = self._event(*self.change_payload(change))
        if not isinstance(change, MessageAdded):
            await self._journal.write([event])
            return
        self._added[change.node.message_id] = event
        await self._journal.write([event, self.message(change.node)])

    @staticmethod
    def change_payload(change: Change) -> tuple[str, dict[str, Any]]:
        """Kind and payload of the event of a change."""
        if not isinstance(change, MessageAdded):
            fields: dict[str, Any] = msgspec.to_builtins(change)
            return fields.pop("kind"), fields
        payload: dict[str, Any] = {"message_id": change.node.message_id}
        if change.node.carry:
            payload["carry"] = msgspec.to_builtins(change.node.carry)
        return "message_added", payload

    def message(self, node: Node) -> Message:
        """The row of a message that was added by `change`."""
        event = self._added[node.message_id]
        return Message(
            audit_id=self.audit.audit_id,
            message_id=node.message_id,
            run_id=self.audit.run_id,
            study_id=self.audit.study_id,
            seq=event.seq,
            parent_id=node.parent_id,
            branch=node.branch,
            role=node.role,
            author=node.author,
            phase=node.phase,
            text=node.text,
            reasoning=node.reasoning,
            tool_calls=[msgspec.to_builtins(call) for call in node.tool_calls],
            tool_call_id=node.tool_call_id,
            prefill=node.prefill,
            created_at=event.created_at,
            simulated=self.audit.simulated,
        )

    async def call(
        self,
        role: CallRole,
        model: Model,
        request: Request,
        outcome: Response | Exception | asyncio.CancelledError,
        progress: CallProgress,
    ) -> ModelCall:
        """Write a model call and return its row."""
        row = self.call_row(role, model, request, outcome, progress)
        await self._journal.write([row])
        return row

    def call_row(
        self,
        role: CallRole,
        model: Model,
        request: Request,
        outcome: Response | Exception | asyncio.CancelledError,
        progress: CallProgress,
    ) -> ModelCall:
        """The row of a model call."""
        return ModelCall(
            call_id=new_id(),
            audit_id=self.audit.audit_id,
            run_id=self.audit.run_id,
            study_id=self.audit.study_id,
            role=role,
            model=model.spec,
            latency_s=progress.latency_s,
            first_token_s=progress.first_token_s,
            created_at=now(),
            simulated=model.simulated,
            **(
                self._failure(model, request, outcome, progress.received)
                if isinstance(outcome, BaseException)
                else self._answer(model, request, outcome)
            ),
        )

    async def rows(self, rows: Sequence[Record]) -> None:
        """Write rows that were made elsewhere."""
        await self._journal.write(rows)

    def _answer(self, model: Model, request: Request, response: Response) -> dict[str, Any]:
        usage = response.usage
        paid = [] if response.cache_hit else [usage]
        return {
            "answered": response.model,
            "status": CallStatus.REFUSED if response.refused else CallStatus.OK,
            "error": (response.stop_detail or None) if response.refused else None,
            "stop_reason": response.stop,
            **_tokens(usage),
            "cost_usd": self._cost(model, paid + _begun(request, response.failed)),
            "retries": len(response.failed),
            "settings": response.sent,
            "not_sent": list(response.not_sent),
            "cache_hit": response.cache_hit,
            "failed_attempts": msgspec.to_builtins(response.failed),
            "request_id": response.request_id,
        }

    def _failure(
        self, model: Model, request: Request, error: Exception | asyncio.CancelledError, received: int
    ) -> dict[str, Any]:
        cancelled = isinstance(error, asyncio.CancelledError)
        failed = error.failed if isinstance(error, ModelError) else ()
        paid = _begun(request, failed)
        if not failed and received:
            paid = [estimate(request, received)]
        return {
            "answered": None,
            "status": CallStatus.CANCELLED if cancelled else CallStatus.ERROR,
            "error": None if cancelled else str(error),
            "stop_reason": None,
            **_tokens(_total(paid)),
            "cost_usd": self._cost(model, paid),
            "retries": max(len(failed) - 1, 0),
            "settings": msgspec.to_builtins(request.settings),
            "not_sent": [],
            "cache_hit": False,
            "failed_attempts": msgspec.to_builtins(failed),
        }

    def _cost(self, model: Model, paid: Iterable[Usage]) -> float | None:
        """What may be billed; nothing if nothing had arrived, also without a price."""
        total = 0.0
        for usage in paid:
            cost = self._prices.cost(model.spec, usage)
            if cost is None:
                return None
            total += cost
        return total

    def _event(self, kind: str, payload: dict[str, Any]) -> Event:
        self._seq += 1
        return Event(
            audit_id=self.audit.audit_id,
            seq=self._seq,
            run_id=self.audit.run_id,
            study_id=self.audit.study_id,
            created_at=now(),
            kind=kind,
            payload=payload,
        )


def _begun(request: Request, attempts: Iterable[FailedAttempt]) -> list[Usage]:
    """A guess at the usage of each attempt that failed after its answer had begun."""
    return [estimate(request, attempt.received) for attempt in attempts if attempt.received]


def _total(paid: Sequence[Usage]) -> Usage:
    if not paid:
        return Usage()
    return Usage(sum(u.input or 0 for u in paid), sum(u.output or 0 for u in paid), estimated=True)


def _tokens(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
        "estimated": usage.estimated,
    }

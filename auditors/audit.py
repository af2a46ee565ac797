"""The audit loop: a driver stages messages and hands the turn to the target, until it ends.

Every change is on disk before anyone sees it. The loop never raises for what a model does: it returns how the
audit ended, and a failure of the harness is a status of its own, kept apart from behaviour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from auditors.calls import Watcher, call_model
from auditors.conversation import (
    Conversation,
    IllegalMoveError,
    MessageAdded,
    Restarted,
    RolledBack,
    ToolCreated,
    ToolRemoved,
)
from auditors.feed import Entry
from auditors.models.base import ModelError, Request, Role
from auditors.moves import EndConversation, Resume, change_of, decode
from store.records import AuditStatus, Author, CallRole
from store.records import Driver as DriverKind

if TYPE_CHECKING:
    from auditors.conversation import Change
    from auditors.drivers import Driver, Step
    from auditors.models.base import Model, Response, Settings, ToolCall
    from auditors.recorder import Recorder

_AUTHORS = {
    DriverKind.MODEL: Author.AUDITOR,
    DriverKind.HUMAN: Author.HUMAN,
    DriverKind.SCRIPT: Author.SCRIPT,
}
_MAX_TARGET_ERRORS = 3
_MAX_IDLE_STEPS = 2


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an audit ends by itself; auditor steps and target turns are counted apart."""

    max_target_turns: int = 12
    max_auditor_steps: int = 30


class AuditWatcher(Watcher, Protocol):
    """Sees an audit as it happens."""

    def entry(self, entry: Entry) -> None:
        """Something was added to the transcript, and is on disk."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """How an audit ended."""

    status: AuditStatus
    reason: str | None
    target_turns: int
    auditor_steps: int
    branches: int
    final_view: list[str]
    target_answered: str | None
    auditor_answered: str | None


class AuditLoop:
    """One audit.

    Args:
        target: the model under audit.
        settings: its sampling settings.
        system_prompt: the condition's own system prompt.
        repeat: number of the repeat.
        limits: when to end.
        recorder: writes the audit's rows.
        watcher: sees it happen.
    """

    def __init__(
        self,
        target: Model,
        settings: Settings,
        system_prompt: str | None,
        repeat: int,
        limits: Limits,
        recorder: Recorder,
        watcher: AuditWatcher,
    ) -> None:
        self.conversation = Conversation()
        self._system_prompt = system_prompt
        self._target = target
        self._settings = settings
        self._repeat = repeat
        self._limits = limits
        self._recorder = recorder
        self._watcher = watcher
        self._steps = 0
        self._target_errors = 0
        self._answered: str | None = None
        self._refusal: str | None = None

    async def probe(self, question: str) -> Outcome:
        """Ask one question, once."""
        try:
            await self._begin()
            await self._change(self.conversation.send_message(question, Author.SCRIPT))
            await self._turn()
        except ModelError as error:
            return self._outcome(AuditStatus.INFRA_ERROR, str(error), None)
        if self._refusal is not None:
            return self._outcome(AuditStatus.REFUSED, self._refusal, None)
        return self._outcome(AuditStatus.OK, None, None)

    async def run(self, driver: Driver) -> Outcome:
        """Let `driver` steer until it ends the audit or a limit does."""
        author = _AUTHORS[driver.kind]
        results: list[tuple[ToolCall, str]] = []
        idle = 0
        ended_by = "auditor"
        try:
            await self._begin()
            while True:
                if self._steps >= self._limits.max_auditor_steps:
                    ended_by = "max_auditor_steps"
                    break
                step = await driver.step(results)
                if step is None:
                    break
                self._steps += 1
                await self._recorder.event("auditor_step", _step_payload(step))
                if step.text:
                    self._watcher.entry(Entry("note", step.text, self.conversation.phase))
                if step.refused:
                    return await self._end(driver, AuditStatus.REFUSED, "The auditor refused.", "refusal")
                idle = 0 if step.calls else idle + 1
                if idle >= _MAX_IDLE_STEPS:
                    reason = "The auditor stopped using its tools."
                    return await self._end(driver, AuditStatus.INFRA_ERROR, reason, "idle")
                results, ended = await self._carry_out(step, author)
                if ended:
                    break
                if self._target_errors >= _MAX_TARGET_ERRORS:
                    reason = f"The target failed {_MAX_TARGET_ERRORS} times in a row: {results[-1][1]}"
                    return await self._end(driver, AuditStatus.INFRA_ERROR, reason, "target_errors")
                if self.conversation.target_turns >= self._limits.max_target_turns:
                    ended_by = "max_target_turns"
                    break
        except ModelError as error:
            return await self._end(driver, AuditStatus.INFRA_ERROR, str(error), "auditor_error")
        if not self.conversation.seen():
            reason = "The audit ended before the target said anything."
            return await self._end(driver, AuditStatus.NO_TARGET_TURN, reason, ended_by)
        return await self._end(driver, AuditStatus.OK, None, ended_by)

    def cancelled(self, driver: Driver | None) -> Outcome:
        """The outcome of an audit that was stopped from outside."""
        return self._outcome(AuditStatus.CANCELLED, "The run was stopped.", driver)

    async def _begin(self) -> None:
        if self._system_prompt:
            await self._change(self.conversation.begin(self._system_prompt))

    async def _carry_out(self, step: Step, author: Author) -> tuple[list[tuple[ToolCall, str]], bool]:
        results: list[tuple[ToolCall, str]] = []
        for call in step.calls:
            try:
                move = decode(call)
                match move:
                    case EndConversation():
                        return results, True
                    case Resume():
                        text = await self._resume()
                    case _:
                        change, text = change_of(self.conversation, move, author)
                        await self._change(change)
            except IllegalMoveError as error:
                text = f"Error: {error}"
                await self._recorder.event("illegal_move", {"call_id": call.id, "error": str(error)})
            results.append((call, text))
        conversation = self.conversation
        if results and conversation.staged() and not conversation.pending_calls() and not self._target_errors:
            # The auditor staged something and forgot to hand over the turn.
            call, text = results[-1]
            await self._recorder.event("resumed_for_auditor", {})
            results[-1] = (call, f"{text}\n{await self._resume()}")
        return results, False

    async def _resume(self) -> str:
        self.conversation.check_resume()
        try:
            reply = await self._turn()
        except ModelError as error:
            self._target_errors += 1
            await self._recorder.event("target_error", {"kind": error.kind, "error": str(error)})
            return f"Error: the assistant could not answer ({error}). Roll back, try again, or end."
        self._target_errors = 0
        node = reply.node
        calls = "".join(f"\n[tool call {c.id}] {c.name}({c.arguments})" for c in node.tool_calls)
        return f"[message_id: {node.message_id}] {node.text}{calls}"

    async def _turn(self) -> MessageAdded:
        request = Request(
            messages=self.conversation.view(),
            tools=tuple(self.conversation.tools.values()),
            settings=self._settings,
            repeat=self._repeat,
        )
        response, _ = await call_model(self._target, request, CallRole.TARGET, self._recorder, self._watcher)
        self._answered = response.model
        self._refusal = _refusal(response) if response.refused else None
        reply = self.conversation.reply(response.message)
        await self._change(reply)
        return reply

    async def _change(self, change: Change) -> None:
        await self._recorder.change(change)
        self.conversation.apply(change)
        self._watcher.entry(_entry(change, self.conversation))

    async def _end(self, driver: Driver, status: AuditStatus, reason: str | None, by: str) -> Outcome:
        await self._recorder.event("ended", {"by": by})
        return self._outcome(status, reason, driver)

    def _outcome(self, status: AuditStatus, reason: str | None, driver: Driver | None) -> Outcome:
        return Outcome(
            status=status,
            reason=reason,
            target_turns=self.conversation.target_turns,
            auditor_steps=self._steps,
            branches=self.conversation.branch + 1,
            final_view=[node.message_id for node in self.conversation.seen()],
            target_answered=self._answered,
            auditor_answered=driver.answered if driver else None,
        )


def _refusal(response: Response) -> str:
    why = f" ({response.stop_detail})" if response.stop_detail else ""
    return f"The target's API reports a refusal{why}."


def _step_payload(step: Step) -> dict[str, Any]:
    return {"text": step.text, "calls": [msgspec.to_builtins(call) for call in step.calls]}


def _entry(change: Change, conversation: Conversation) -> Entry:
    match change:
        case MessageAdded(node):
            author = "tool" if node.role is Role.TOOL else str(node.author)
            if node.role is Role.SYSTEM:
                author = "system"
            calls = "".join(f"\n→ {call.name}({call.arguments})" for call in node.tool_calls)
            return Entry(author, node.text + calls, node.phase, node.branch, node.message_id, node.reasoning)
        case RolledBack(message_id):
            text = f"rolled back to {message_id}"
        case Restarted():
            text = "started again"
        case ToolCreated(tool):
            text = f"gave the assistant the tool {tool.name}"
        case ToolRemoved(name):
            text = f"took the tool {name} away"
    return Entry("note", text, conversation.phase, conversation.branch)

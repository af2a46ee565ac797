"""The audit loop: a driver stages messages and hands the turn to the target, until it ends.

Every change is on disk before anyone sees it. The loop never raises for what a model does: it returns how the
audit ended, and a failure of the harness is a status of its own, kept apart from behaviour.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from auditors.calls import Watcher, call_model
from auditors.conversation import Conversation, IllegalMoveError, MessageAdded, RolledBack
from auditors.drivers import DriverError, Result
from auditors.edits import discarded
from auditors.entries import entry_of
from auditors.models.base import ChatMessage, ErrorKind, ModelError, Request, Role
from auditors.moves import EndConversation, Resume, change_of, decode
from auditors.wheel import Wheel
from store.ids import content_hash
from store.records import AuditStatus, Author, CallRole
from store.records import Driver as DriverKind

if TYPE_CHECKING:
    from auditors.conversation import Change
    from auditors.drivers import Driver, Step
    from auditors.feed import Entry, Steering
    from auditors.models.base import Model, Response, Settings, ToolCall
    from auditors.realism import Approver
    from auditors.recorder import Recorder

_MAX_TARGET_ERRORS = 3
_MAX_IDLE_STEPS = 2
_RESAMPLE = 1 << 32
"""Higher than the number of any repeat of an audit."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an audit ends by itself; auditor steps and target turns are counted apart.

    Only the steps of a model or a script count, and the turns that they lead to: a person ends an audit by saying so.
    """

    max_target_turns: int = 12
    max_auditor_steps: int = 30


class AuditWatcher(Watcher, Protocol):
    """Sees an audit as it happens."""

    def entry(self, entry: Entry) -> None:
        """Something was added to the transcript, and is on disk."""
        ...

    def steering(self, steering: Steering) -> None:
        """Who steers, or what is waited for, has changed."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """How an audit ended."""

    status: AuditStatus
    reason: str | None
    driver: DriverKind
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
        prefill: whether an auditor model may begin the target's replies; a person and a script always may.
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
        *,
        prefill: bool = False,
    ) -> None:
        self.conversation = Conversation()
        self.wheel: Wheel | None = None
        """Who steers; None before `run`, and for a single question."""
        self._system_prompt = system_prompt
        self._target = target
        self._settings = settings
        self._repeat = repeat
        self._limits = limits
        self._recorder = recorder
        self._watcher = watcher
        self._prefill = prefill
        self._steps = 0
        self._limited_steps = self._limited_turns = 0
        self._target_errors = 0
        self._asked: Counter[str] = Counter()
        self._answered: str | None = None
        self._refusal: str | None = None
        self.stops: dict[str, str | None] = {}
        """Why each reply ended, by its message id."""
        self.ended_by = ""
        """Who or what ended the audit; empty for a single question."""

    async def probe(self, question: str) -> Outcome:
        """Ask one question, once."""
        try:
            await self._begin()
            await self._change(self.conversation.send_message(question, Author.SCRIPT))
            await self._turn()
        except ModelError as error:
            return self._outcome(AuditStatus.INFRA_ERROR, str(error))
        if self._refusal is not None:
            return self._outcome(AuditStatus.REFUSED, self._refusal)
        return self._outcome(AuditStatus.OK, None)

    async def run(self, driver: Driver, approver: Approver | None = None) -> Outcome:
        """Let `driver`, and whoever takes the wheel from it, steer until somebody or a limit ends the audit.

        `approver` is asked about each step of an auditor model before it is carried out.
        """
        self.wheel = Wheel(driver, self.conversation, self._recorder, self._watcher, self._limit, approver)
        try:
            await self._begin()
            status, reason, ended_by = await self._steered(self.wheel)
        except (ModelError, DriverError) as error:
            status, reason, ended_by = AuditStatus.INFRA_ERROR, str(error), "auditor_error"
        finally:
            self.wheel.close()
        self.ended_by = ended_by
        await self._recorder.event("ended", {"by": ended_by})
        return self._outcome(status, reason)

    def cancelled(self, reason: str) -> Outcome:
        """The outcome of an audit that was stopped from outside."""
        return self._outcome(AuditStatus.CANCELLED, reason)

    async def _begin(self) -> None:
        if self._system_prompt:
            await self._change(self.conversation.begin(self._system_prompt))

    async def _steered(self, wheel: Wheel) -> tuple[AuditStatus, str | None, str]:
        results: list[Result] = []
        idle = 0
        ended_by = None
        while ended_by is None and (step := await wheel.step(results)):
            self._steps += 1
            self._limited_steps += step.driver is not DriverKind.HUMAN
            if step.refused:
                return AuditStatus.REFUSED, "The auditor refused.", "refusal"
            idle = 0 if step.calls else idle + 1
            if idle >= _MAX_IDLE_STEPS:
                return AuditStatus.INFRA_ERROR, "The auditor stopped using its tools.", "idle"
            results, ended_by = await self._carry_out(step)
            if self._target_errors >= _MAX_TARGET_ERRORS:
                last = next(result.text for result in reversed(results) if result.failed)
                reason = f"The target failed {_MAX_TARGET_ERRORS} times in a row: {last}"
                return AuditStatus.INFRA_ERROR, reason, "target_errors"
        ended_by = ended_by or wheel.ended_by
        if not self.conversation.seen():
            reason = "The audit ended before the target said anything."
            return AuditStatus.NO_TARGET_TURN, reason, ended_by
        if self._refusal is not None and self._said_nothing():
            return AuditStatus.REFUSED, self._refusal, ended_by
        return AuditStatus.OK, None, ended_by

    def _said_nothing(self) -> bool:
        """Whether all of the target's turns that count are empty, as where its provider let none of them happen."""
        turns = [node for node in self.conversation.seen() if node.author is Author.TARGET]
        return not any(node.text.strip() or node.tool_calls for node in turns)

    def _limit(self) -> str | None:
        """Why a model or a script may go no further."""
        if self._limited_steps >= self._limits.max_auditor_steps:
            return "max_auditor_steps"
        if self._limited_turns >= self._limits.max_target_turns:
            return "max_target_turns"
        return None

    async def _carry_out(self, step: Step) -> tuple[list[Result], str | None]:
        """The results of a step's calls, and who ended the audit with one of them, if anybody did."""
        if step.declined is not None:
            return [discarded(call, step.declined) for call in step.calls], None
        results: list[Result] = []
        for call, author in zip(step.calls, step.authors, strict=True):
            try:
                move = decode(call)
                match move:
                    case EndConversation():
                        return results, author
                    case Resume(prefill):
                        result = await self._resume(call, step, prefill, author)
                    case _:
                        change, said = change_of(self.conversation, move, author)
                        await self._change(change)
                        result = Result(call, f"{said}{self._open_calls(change)}", None, _added(change))
            except IllegalMoveError as error:
                await self._recorder.event("illegal_move", {"call_id": call.id, "error": str(error)})
                result = Result(call, f"Error: {error}", failed=True)
            results.append(result)
        if results and self._resume_forgotten(step, results):
            last = results.pop()
            await self._recorder.event("resumed_for_auditor", {})
            reply = await self._resume(last.call, step, "", Author.AUDITOR)
            results.append(msgspec.structs.replace(reply, said=f"{last.said}\n{reply.said}".rstrip()))
        return results, None

    def _resume_forgotten(self, step: Step, results: list[Result]) -> bool:
        """Whether the auditor staged something and neither handed over the turn nor tried to."""
        if step.exact or self._turns_are_up(step):
            return False
        staged = self.conversation.staged() and not self.conversation.pending_calls()
        return staged and not any(result.failed and result.call.name == "resume" for result in results)

    async def _resume(self, call: ToolCall, step: Step, prefill: str, author: Author) -> Result:
        self.conversation.check_resume()
        if self._turns_are_up(step):
            raise IllegalMoveError("The assistant has had all its turns.")
        if prefill and author is Author.AUDITOR and not self._prefill:
            raise IllegalMoveError("This examination has no prefill: resume without it.")
        if prefill and not self._target.takes_prefill:
            raise IllegalMoveError("This assistant cannot go on from given words: resume without a prefill.")
        by_person = step.driver is DriverKind.HUMAN
        try:
            reply = await self._turn(self.conversation.prefill(prefill, author) if prefill else None)
        except ModelError as error:
            # An endpoint that cannot do what was asked has not failed at it, and a person decides when to give up.
            counts = error.kind is not ErrorKind.UNSUPPORTED and not by_person
            self._target_errors += counts
            await self._recorder.event("target_error", {"kind": error.kind, "error": str(error)})
            said = f"Error: the assistant could not answer ({error}). Roll back, try again, or end."
            return Result(call, said, failed=True)
        self._target_errors = 0
        self._limited_turns += not by_person
        declined = self._refusal is not None and not reply.node.text
        return Result(call, (self._refusal or "") if declined else "", reply.node, reply.node.message_id)

    async def _turn(self, prefill: MessageAdded | None = None) -> MessageAdded:
        messages = self.conversation.view()
        if prefill:
            messages = (*messages, ChatMessage(Role.ASSISTANT, prefill.node.text))
        tools = tuple(self.conversation.tools.values())
        same = content_hash([[msgspec.structs.replace(message, carry=()) for message in messages], tools])
        request = Request(
            messages=messages,
            tools=tools,
            settings=self._settings,
            # A branch that asks the very same again wants another sample.
            repeat=self._repeat + self._asked[same] * _RESAMPLE,
        )
        response, _ = await call_model(self._target, request, CallRole.TARGET, self._recorder, self._watcher)
        self._asked[same] += 1
        self._answered = response.model
        self._refusal = _refusal(response) if response.refused else None
        if prefill:
            await self._change(prefill)
        reply = self.conversation.reply(response.message)
        self.stops[reply.node.message_id] = response.stop
        await self._change(reply)
        return reply

    async def _change(self, change: Change) -> None:
        await self._recorder.change(change)
        self.conversation.apply(change)
        self._watcher.entry(entry_of(change, self.conversation))

    def _turns_are_up(self, step: Step) -> bool:
        limited = step.driver is not DriverKind.HUMAN
        return limited and self._limited_turns >= self._limits.max_target_turns

    def _open_calls(self, change: Change) -> str:
        """The target's calls that wait for a result again after a rollback."""
        if not isinstance(change, RolledBack):
            return ""
        calls = self.conversation.pending_calls().values()
        return "".join(f"\n[tool call {call.id}] {call.name}({call.arguments})" for call in calls)

    def _outcome(self, status: AuditStatus, reason: str | None) -> Outcome:
        return Outcome(
            status=status,
            reason=reason,
            driver=self.wheel.driver if self.wheel else DriverKind.SCRIPT,
            target_turns=self.conversation.target_turns,
            auditor_steps=self._steps,
            branches=self.conversation.branch + 1,
            final_view=[node.message_id for node in self.conversation.seen()],
            target_answered=self._answered,
            auditor_answered=self.wheel.answered if self.wheel else None,
        )


def _added(change: Change) -> str | None:
    return change.node.message_id if isinstance(change, MessageAdded) else None


def _refusal(response: Response) -> str:
    why = f" ({response.stop_detail})" if response.stop_detail else ""
    return f"The target's API reports a refusal{why}."

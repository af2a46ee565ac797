"""Who steers one audit, and how far it may go before a person says more.

Commands of the feed change the wheel at any moment; the loop asks it for one step after the other and carries each
out to its end, whoever made it. Every change is an event. Holding, stepping, approving a step as it is and notes
leave the audit's course alone; taking over, changing a step and turning one down make it an intervened audit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from auditors import prompts
from auditors.drivers import HumanDriver, Result, Step
from auditors.edits import Edit, discarded, edited
from auditors.entries import note
from auditors.feed import Act, Call, Decide, Drive, Hold, SetApproving, Steering, StepOnce
from auditors.realism import Decision, declined
from store.records import Driver as DriverKind
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from auditors.audit import AuditWatcher
    from auditors.conversation import Conversation, Node
    from auditors.drivers import Driver
    from auditors.realism import Approver
    from auditors.recorder import Recorder

Turning = Hold | StepOnce | SetApproving | Decide | Drive | Act
"""Commands that a wheel takes."""

_FIRST_WORDS = 80
_T = TypeVar("_T")


class RefusedError(Exception):
    """A person's command cannot be carried out now; the message says why."""


class _ChangedHandsError(Exception):
    """Whoever was asked for a step no longer holds the wheel."""


class Wheel:
    """The wheel of one audit.

    Args:
        driver: who begins; a person can take over from a model or a script at any time.
        conversation: what is steered.
        recorder: writes the events.
        watcher: is told who steers, and sees the driver's words.
        limit: why the driver may take no further step, or None; a person is not limited.
        approver: is asked about each step of a model before anybody else; None for nobody.
    """

    def __init__(
        self,
        driver: Driver,
        conversation: Conversation,
        recorder: Recorder,
        watcher: AuditWatcher,
        limit: Callable[[], str | None],
        approver: Approver | None = None,
    ) -> None:
        self._human = driver if isinstance(driver, HumanDriver) else HumanDriver()
        self._driver = driver
        self._human_drives = driver is self._human
        self._conversation = conversation
        self._recorder = recorder
        self._watcher = watcher
        self._limit = limit
        self._approver = approver
        self._held = self._approving = False
        self._let = False
        """One step may be taken although the audit is held."""
        self._proposed: Step | None = None
        self._word: Decide | None = None
        self._asking: asyncio.Task[Any] | None = None
        self._changed = asyncio.Event()
        self._shown: Steering | None = None
        self._error = ""
        self._last: Step | None = None
        self._edit: Edit | None = None
        self._owed: list[Result] = []
        """What the driver, if it is no person, has not been told of its last step."""
        self._added = ""
        """What it has not been told of calls that a person added."""
        self._known: frozenset[str] | None = None
        """Messages that it knows, since a person has taken over; None when it knows them all."""
        self.over = False
        self.ended_by = ""
        """Why there was no further step."""

    @property
    def driver(self) -> DriverKind:
        """Who takes the next step."""
        return (self._human if self._human_next else self._driver).kind

    @property
    def answered(self) -> str | None:
        """Id of the auditor model as its API returned it."""
        return self._driver.answered

    async def step(self, results: Sequence[Result]) -> Step | None:
        """The next step, given what became of the last one's calls; None when nothing more is to be done.

        Raises:
            ModelError: the auditor model cannot be asked.
            DriverError: the script cannot go on.
        """
        self._take_in(results)
        while True:
            self._show()
            await self._until(lambda: self._human_next or not self._held or self._let)
            driver = self._human if self._human_next else self._driver
            if driver is not self._human and (limit := self._limit()):
                self.ended_by = limit
                return None
            try:
                step = await self._interruptible(self._told_and_asked(driver))
            except _ChangedHandsError:
                continue
            if step is None:
                self.ended_by = driver.kind
                return None
            await self._note(step)
            self._edit = None
            if driver is not self._human:
                step = await self._checked(step)
            if driver is not self._human and step is not None and step.declined is None:
                step = await self._decided(step)
            if step is None:
                continue
            self._let = False
            self._last = step
            return step

    async def obey(self, command: Turning) -> None:
        """Do what a person wants.

        Raises:
            RefusedError: it cannot be done now; nothing has changed.
            StoreError: the disk refused.
        """
        if self.over:
            raise RefusedError("The audit is over.")
        match command:
            case Hold(_, held):
                if held != self._held:
                    self._held, self._let = held, False
                    await self._event("held" if held else "released")
            case StepOnce():
                if not self._held:
                    raise RefusedError("The audit is not held, so it takes its steps by itself.")
                if self._human_drives:
                    raise RefusedError("You drive: act, or hand the wheel back.")
                self._let = True
                await self._event("let_step")
            case SetApproving(_, approving):
                if approving != self._approving:
                    self._approving = approving
                    await self._event("approving" if approving else "not_approving")
            case Decide():
                self._check_word(command)
                self._word = command
                self._changed.set()
            case Drive(_, human=True):
                await self._take_over()
            case Drive():
                await self._hand_back()
            case Act(_, calls):
                if not calls:
                    raise RefusedError("An act needs at least one call.")
                # Queued first, so that it is the next step whatever is asked of the driver meanwhile.
                self._human.act(calls)
                await self._take_over()
        self._error = ""
        self._changed.set()
        self._show(again=True)

    def close(self) -> None:
        """The audit has ended, however: there is nothing left to wait for."""
        self.over = True
        self._held = self._approving = False
        self._show()

    @property
    def _human_next(self) -> bool:
        return self._human_drives or self._human.waiting

    def _check_word(self, word: Decide) -> None:
        if self._proposed is None or self._word is not None:
            raise RefusedError("No step waits for your word.")
        if word.calls is not None and not word.calls:
            raise RefusedError("A step needs at least one call: turn it down to carry out none.")

    async def _take_over(self) -> None:
        if self._human_drives:
            return
        self._human_drives, self._let = True, False
        if self._known is None:
            self._known = frozenset(self._conversation.nodes)
        if self._asking:
            self._asking.cancel()
        self._changed.set()
        self._say("A person took the wheel.")
        await self._event("taken_over", intervened=True)

    async def _hand_back(self) -> None:
        if self._driver is self._human:
            raise RefusedError("There is no model or script to hand back to: the audit began with a person.")
        if not self._human_drives:
            return
        self._human_drives = False
        if self._asking and not self._human.waiting:
            self._asking.cancel()
        self._say("A person handed the wheel back.")
        await self._event("handed_back")

    async def _interruptible(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for `work`, which is cancelled when the wheel changes hands."""
        self._asking = asyncio.create_task(work)
        try:
            return await self._asking
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise _ChangedHandsError from None
        finally:
            self._asking = None

    async def _told_and_asked(self, driver: Driver) -> Step | None:
        if driver is self._human:
            return await driver.step(())
        # A task that is cancelled before it begins must not have taken away what the driver is still to be told.
        owed, news = self._owed, self._news()
        self._owed, self._added, self._known = [], "", None
        return await driver.step(owed, news)

    async def _note(self, step: Step) -> None:
        said = step.message
        payload = {
            "driver": step.driver,
            "text": said.text,
            "reasoning": said.reasoning,
            "calls": msgspec.to_builtins(said.tool_calls),
            "carry": msgspec.to_builtins(said.carry),
        }
        await self._recorder.event("auditor_step", payload)
        if said.text:
            self._say(said.text)

    async def _checked(self, step: Step) -> Step | None:
        """A model's step after the approver's word on it; None if it was dropped, since the wheel changed hands."""
        if self._approver is None or step.driver is not DriverKind.MODEL:
            return step
        try:
            ruling = await self._interruptible(self._approver.rule(step, self._conversation))
        except _ChangedHandsError:
            return await self._discarded(step)
        if ruling is None:
            return step
        if said := self._approver.told(ruling):
            self._watcher.entry(note(said, self._conversation, "realism"))
        if ruling.decision is Decision.REJECTED:
            return msgspec.structs.replace(step, declined=declined(ruling))
        return step

    async def _discarded(self, step: Step) -> None:
        self._owed = [discarded(call, prompts.AUDITOR_DISCARDED) for call in step.calls]
        await self._event("discarded")

    async def _decided(self, step: Step) -> Step | None:
        """The step as a person lets it be carried out; None if it was dropped, since the wheel changed hands."""
        if self._waits() and step.calls and not self._human_next:
            self._proposed, self._word = step, None
            await self._event("proposed")
            self._show()
            try:
                await self._until(lambda: self._human_next or self._word is not None or not self._waits())
            finally:
                self._proposed = None
        if self._human_next:
            return await self._discarded(step)
        word, self._word = self._word, None
        self._show()
        return step if word is None else await self._worded(step, word)

    async def _worded(self, step: Step, word: Decide) -> Step:
        if word.calls is None:
            self._say(f"A person turned the step down. {word.feedback}".rstrip())
            await self._event("turned_down", {"feedback": word.feedback}, intervened=True)
            return msgspec.structs.replace(step, declined=prompts.turned_down(word.feedback))
        edit = edited(step, word.calls, self._human.tool_call)
        if edit is None:
            await self._event("approved")
            return step
        self._edit = edit
        calls = {"original": msgspec.to_builtins(step.calls), "edited": msgspec.to_builtins(edit.step.calls)}
        self._say("A person changed the step.")
        await self._event("edited", calls, intervened=True)
        return edit.step

    def _take_in(self, results: Sequence[Result]) -> None:
        if self._last is None:
            return
        if self._last.driver is DriverKind.HUMAN:
            self._error = " ".join(result.text for result in results if result.failed)
        elif self._edit:
            self._owed, self._added = self._edit.told(results)
        else:
            self._owed = list(results)

    def _waits(self) -> bool:
        return self._approving or (self._held and not self._let)

    def _news(self) -> str:
        if self._known is None:
            return self._added
        path = [(node.message_id, self._told(node)) for node in self._conversation.path()]
        seen = {node.message_id for node in self._conversation.seen()}
        state = {
            "conversation": [message for message_id, message in path if message_id in seen],
            "staged": [message for message_id, message in path if message_id not in seen],
            "open_tool_calls": list(self._conversation.pending_calls()),
            "tools": list(self._conversation.tools),
        }
        return f"{self._added}\n\n{prompts.handed_back(state)}".lstrip("\n")

    def _told(self, node: Node) -> dict[str, object]:
        assert self._known is not None
        known = node.message_id in self._known
        return {
            "message_id": node.message_id,
            "role": node.role,
            "phase": node.phase,
            "prefilled": node.prefill,
            "text": one_line(node.text, _FIRST_WORDS) if known else node.text,
            "tool_calls": msgspec.to_builtins(node.tool_calls),
        }

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            self._changed.clear()
            await self._changed.wait()

    async def _event(
        self, kind: str, payload: dict[str, object] | None = None, *, intervened: bool = False
    ) -> None:
        await self._recorder.event(kind, payload or {}, intervened=intervened)

    def _say(self, text: str) -> None:
        self._watcher.entry(note(text, self._conversation))

    def _show(self, *, again: bool = False) -> None:
        calls = None
        if self._proposed and self._word is None:
            calls = [Call(call.name, call.arguments) for call in self._proposed.calls]
        steering = Steering(
            audit_id=self._recorder.audit.audit_id,
            driver=self.driver,
            held=self._held,
            approving=self._approving,
            proposed=calls,
            tools=list(self._conversation.tools),
            error=self._error,
        )
        if again or steering != self._shown:
            self._shown = steering
            self._watcher.steering(steering)

"""Who decides the auditor's next step: a model, a person, or a script. A step is the same list of calls either way."""

from __future__ import annotations

import asyncio
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from auditors import prompts
from auditors.calls import call_model
from auditors.compaction import CONTEXT_TOKENS, FEW_STEPS, KEPT_STEPS, compact
from auditors.conversation import Node
from auditors.models.base import ChatMessage, ErrorKind, ModelError, Request, Role, Settings, ToolCall
from auditors.models.tokens import asked_chars, tokens_of
from store.errors import CcTuiError
from store.records import Author, CallRole
from store.records import Driver as DriverKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditors.calls import Watcher
    from auditors.feed import Call
    from auditors.models.base import Model, Response
    from auditors.recorder import Recorder


class DriverError(CcTuiError):
    """A driver cannot go on, through nobody's fault but the harness's."""


class Result(msgspec.Struct, frozen=True):
    """What became of one call of a step."""

    call: ToolCall
    said: str
    """What the driver is told, without the target's reply."""
    reply: Node | None = None
    """The target's reply, where the call led to one."""
    message_id: str | None = None
    """The message that the call added last."""
    failed: bool = False

    @property
    def text(self) -> str:
        """All that the driver is told."""
        return result_text(self.said, self.reply)


def result_text(said: str, reply: Node | None) -> str:
    """A call's result as an auditor reads it."""
    if reply is None:
        return said
    calls = "".join(f"\n[tool call {c.id}] {c.name}({c.arguments})" for c in reply.tool_calls)
    return f"{said}\n[message_id: {reply.message_id}] {reply.text}{calls}".lstrip("\n")


class Step(msgspec.Struct, frozen=True):
    """What a driver wants done next; the calls are carried out in order."""

    driver: DriverKind
    message: ChatMessage
    """What the driver wrote."""
    calls: tuple[ToolCall, ...]
    """What is carried out of it."""
    authors: tuple[Author, ...]
    """Who wrote each call."""
    refused: bool = False
    exact: bool = False
    """Whether a person decided on it, so that nothing is added to it, not even a forgotten `resume`."""
    declined: str | None = None
    """Why nothing of it is carried out, where a person or the realism approver turned it down."""


class Driver(Protocol):
    """Steers an audit."""

    kind: DriverKind
    answered: str | None
    """Model id as the API returned it; None for a person or a script."""

    async def step(self, results: Sequence[Result], news: str = "") -> Step | None:
        """The next step; None when there is none left.

        Args:
            results: what became of the calls of this driver's last step.
            news: what happened since then without it.

        Raises:
            ModelError: the auditor model cannot be asked.
            DriverError: the step cannot be made.
        """
        ...


class ModelDriver:
    """An auditor model.

    All that it is told and says is recorded, so that its view can be read back from the store.

    Args:
        model: the auditor.
        system: its system prompt.
        settings: sampling settings.
        repeat: number of the repeat, so that equal audits are not answered from one cache.
        recorder: records its calls.
        watcher: sees them stream.
        prefill: whether its tools let it begin the target's replies.
        context_tokens: estimated tokens of a request above which older results are shortened.
    """

    kind = DriverKind.MODEL

    def __init__(
        self,
        model: Model,
        system: str,
        settings: Settings,
        repeat: int,
        recorder: Recorder,
        watcher: Watcher,
        *,
        prefill: bool = False,
        context_tokens: int = CONTEXT_TOKENS,
    ) -> None:
        self._model = model
        self._settings = settings
        self._repeat = repeat
        self._recorder = recorder
        self._watcher = watcher
        self._tools = prompts.auditor_tools(prefill=prefill)
        self._context_tokens = context_tokens
        self.answered: str | None = None
        self._opening = {"system": system, "user": prompts.AUDITOR_START}
        self._messages = opening_messages(**self._opening)
        self._begun = False

    async def step(self, results: Sequence[Result], news: str = "") -> Step:
        """Ask the auditor model for its next tool calls."""
        await self._tell(results, news)
        if tokens_of(asked_chars(self._request())) > self._context_tokens:
            await self._compact(KEPT_STEPS)
        try:
            response = await self._ask()
        except ModelError as error:
            if error.kind is not ErrorKind.CONTEXT_LENGTH or not await self._compact(FEW_STEPS):
                raise
            response = await self._ask()
        self.answered = response.model
        message = response.message
        self._messages.append(message)
        authors = (Author.AUDITOR,) * len(message.tool_calls)
        return Step(self.kind, message, message.tool_calls, authors, response.refused)

    async def _tell(self, results: Sequence[Result], news: str) -> None:
        events: list[tuple[str, dict[str, Any]]] = []
        if not self._begun:
            events.append(("auditor_prompted", self._opening))
        elif not results and not news:
            news = prompts.AUDITOR_CONTINUE
        if results or news:
            told = [
                {"call_id": r.call.id, "said": r.said, "reply": r.reply.message_id if r.reply else None}
                for r in results
            ]
            events.append(("auditor_told", {"results": told, "news": news}))
        # Before anything can be cancelled: a person may take over at any moment.
        self._begun = True
        self._messages += told_messages(((r.call.id, r.text) for r in results), news)
        if events:
            await self._recorder.events(events)

    async def _compact(self, keep: int) -> bool:
        """Shorten all results but those of the last `keep` steps; False if none was long."""
        shortened = compact(self._messages, keep)
        count = sum(new is not old for new, old in zip(shortened, self._messages, strict=True))
        if not count:
            return False
        before = tokens_of(asked_chars(self._request()))
        self._messages = shortened
        after = tokens_of(asked_chars(self._request()))
        facts = {"keep": keep, "results": count, "tokens_before": before, "tokens_after": after}
        await self._recorder.event("compacted", facts)
        return True

    def _request(self) -> Request:
        return Request(
            messages=tuple(self._messages), tools=self._tools, settings=self._settings, repeat=self._repeat
        )

    async def _ask(self) -> Response:
        response, _ = await call_model(
            self._model, self._request(), CallRole.AUDITOR, self._recorder, self._watcher
        )
        return response


def opening_messages(system: str, user: str) -> list[ChatMessage]:
    """The messages that an auditor model begins with."""
    return [ChatMessage(Role.SYSTEM, system), ChatMessage(Role.USER, user)]


def told_messages(results: Iterable[tuple[str, str]], news: str) -> list[ChatMessage]:
    """What an auditor model is told: each call's id with its result, then what else happened."""
    messages = [ChatMessage(Role.TOOL, text, tool_call_id=call_id) for call_id, text in results]
    return [*messages, ChatMessage(Role.USER, news)] if news else messages


class HumanDriver:
    """A person, whose acts come one by one; the audit waits for each."""

    kind = DriverKind.HUMAN
    answered: str | None = None

    def __init__(self) -> None:
        self._acts: asyncio.Queue[Sequence[Call]] = asyncio.Queue()
        self._calls = 0

    @property
    def waiting(self) -> bool:
        """Whether there is an act that was not carried out yet."""
        return not self._acts.empty()

    def act(self, calls: Sequence[Call]) -> None:
        """Queue a step."""
        self._acts.put_nowait(calls)

    def tool_call(self, call: Call) -> ToolCall:
        """A person's call, with an id."""
        self._calls += 1
        return ToolCall(f"h{self._calls}", call.name, call.arguments)

    async def step(self, results: Sequence[Result], news: str = "") -> Step:
        """The next act; results and news are for the feed's readers, who see them there."""
        del results, news
        acts = await self._acts.get()
        calls = tuple(map(self.tool_call, acts))
        message = ChatMessage(Role.ASSISTANT, tool_calls=calls)
        return Step(self.kind, message, calls, (Author.HUMAN,) * len(calls), exact=True)


class ScriptCall(NamedTuple):
    """One call of a script."""

    tool: str
    arguments: dict[str, Any]
    label: str = ""
    """Name for the message that the call adds last, which a later rollback can go back to."""
    place: str = ""
    """Where it stands, for messages, such as `steps.toml, line 7`."""


class ScriptDriver:
    """A fixed list of steps; the same moves against any target.

    Args:
        steps: lists of calls, each a `ScriptCall` or its first fields.
    """

    kind = DriverKind.SCRIPT
    answered: str | None = None

    def __init__(self, steps: Iterable[Sequence[tuple[str, dict[str, Any]] | ScriptCall]]) -> None:
        self._steps = iter(steps)
        self._calls: list[ScriptCall] = []
        self._labelled: dict[str, Result | None] = {}
        self._reply: Node | None = None
        self._numbered = 0

    async def step(self, results: Sequence[Result], news: str = "") -> Step | None:
        """The next step of the script, whatever became of the last one."""
        del news
        for call, result in zip_longest(self._calls, results):
            if call and call.label:
                self._labelled[call.label] = result
            if result and result.reply:
                self._reply = result.reply
        moves = next(self._steps, None)
        if moves is None:
            return None
        self._calls = [move if isinstance(move, ScriptCall) else ScriptCall(*move) for move in moves]
        calls = tuple(map(self._tool_call, self._calls))
        message = ChatMessage(Role.ASSISTANT, tool_calls=calls)
        return Step(self.kind, message, calls, (Author.SCRIPT,) * len(calls))

    def _tool_call(self, call: ScriptCall) -> ToolCall:
        self._numbered += 1
        arguments = call.arguments
        if call.tool == "rollback_conversation" and (label := arguments.get("message_id")) in self._labelled:
            found = self._labelled[label]
            if found is None or found.message_id is None:
                raise DriverError(f"{call.place}: there is no message {label!r}, since its step failed.")
            self._reply = found.reply
            arguments = {**arguments, "message_id": found.message_id}
        elif call.tool == "send_tool_call_result" and isinstance(name := arguments.get("tool_call_id"), str):
            arguments = {**arguments, "tool_call_id": self._call_id(name)}
        return ToolCall(f"s{self._numbered}", call.tool, msgspec.json.encode(arguments).decode())

    def _call_id(self, name: str) -> str:
        """The id of a call of the target: `#2` is the second one of the reply that the script stands at."""
        calls = self._reply.tool_calls if self._reply else ()
        place = int(name[1:]) if name[:1] == "#" and name[1:].isdecimal() and len(name) < 5 else 0
        return calls[place - 1].id if 0 < place <= len(calls) else name

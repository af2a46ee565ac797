"""Who decides the auditor's next step: a model, or a script. A step is the same list of tool calls either way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from auditors import prompts
from auditors.calls import call_model
from auditors.models.base import ChatMessage, Request, Role, Settings, ToolCall
from store.records import CallRole
from store.records import Driver as DriverKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditors.calls import Watcher
    from auditors.models.base import Model
    from auditors.recorder import Recorder


class Step(msgspec.Struct, frozen=True):
    """What a driver wants done next; the calls are carried out in order."""

    text: str
    calls: tuple[ToolCall, ...]
    refused: bool = False


class Driver(Protocol):
    """Steers an audit."""

    kind: DriverKind
    answered: str | None
    """Model id as the API returned it; None for a script."""

    async def step(self, results: Sequence[tuple[ToolCall, str]]) -> Step | None:
        """The next step, given what became of the last one's calls; None when there is none left."""
        ...


class ModelDriver:
    """An auditor model.

    Args:
        model: the auditor.
        system: its system prompt.
        settings: sampling settings.
        repeat: number of the repeat, so that equal audits are not answered from one cache.
        recorder: records its calls.
        watcher: sees them stream.
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
    ) -> None:
        self._model = model
        self._settings = settings
        self._repeat = repeat
        self._recorder = recorder
        self._watcher = watcher
        self.answered: str | None = None
        self._messages = [
            ChatMessage(Role.SYSTEM, system),
            ChatMessage(Role.USER, prompts.AUDITOR_START),
        ]
        self._stepped = False

    async def step(self, results: Sequence[tuple[ToolCall, str]]) -> Step:
        """Ask the auditor model for its next tool calls."""
        self._messages += [ChatMessage(Role.TOOL, text, tool_call_id=call.id) for call, text in results]
        if self._stepped and not results:
            self._messages.append(ChatMessage(Role.USER, prompts.AUDITOR_CONTINUE))
        self._stepped = True
        request = Request(
            messages=tuple(self._messages),
            tools=prompts.AUDITOR_TOOLS,
            settings=self._settings,
            repeat=self._repeat,
        )
        response, _ = await call_model(self._model, request, CallRole.AUDITOR, self._recorder, self._watcher)
        self.answered = response.model
        self._messages.append(response.message)
        return Step(response.message.text, response.message.tool_calls, response.refused)


class ScriptDriver:
    """A fixed list of steps, each a list of (tool, arguments); the same moves against any target."""

    kind = DriverKind.SCRIPT

    def __init__(self, steps: Iterable[Sequence[tuple[str, dict[str, object]]]]) -> None:
        self.answered: str | None = None
        self._steps = iter(steps)
        self._calls = 0

    async def step(self, results: Sequence[tuple[ToolCall, str]]) -> Step | None:
        """The next step of the script, whatever became of the last one."""
        del results
        moves = next(self._steps, None)
        if moves is None:
            return None
        calls: list[ToolCall] = []
        for name, arguments in moves:
            self._calls += 1
            calls.append(ToolCall(f"s{self._calls}", name, msgspec.json.encode(arguments).decode()))
        return Step("", tuple(calls))

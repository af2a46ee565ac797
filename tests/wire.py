"""Loopback ends for tests of the wire: a scripted model, the server in front of it, the adapter behind."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from auditors.models.base import (
    ChatMessage,
    Delta,
    ModelError,
    ReasoningDelta,
    Request,
    Response,
    Role,
    StopReason,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from auditors.models.http_model import HttpModel, Patience
from auditors.models.openai_chat import ChatWire
from auditors.sim.server import Faults, Limits, Server, serve
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

CANARY = "sk-canary-4f1c9be2d07a"
USAGE = Usage(input=20, output=9, cached=16, reasoning=4)


class Script:
    """A model that says the given parts, waits for `gate` if there is one, and ends, or fails with `error`."""

    spec = "script"
    simulated = True
    takes_prefill = False

    def __init__(
        self,
        *parts: Delta,
        stop: StopReason = StopReason.END,
        usage: Usage = USAGE,
        gate: asyncio.Event | None = None,
        error: ModelError | None = None,
    ) -> None:
        self.parts = parts
        self.response = Response(message_of(parts), stop, usage, "script-2026")
        self.gate = gate
        self.error = error
        self.requests: list[Request] = []
        self.running = 0
        self.started = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        self.requests.append(request)
        self.running += 1
        self.started.set()
        try:
            for part in self.parts:
                await asyncio.sleep(0)
                yield part
            if self.gate:
                await self.gate.wait()
            if self.error:
                raise self.error
            yield self.response
        finally:
            self.running -= 1
            self.closed.set()

    async def aclose(self) -> None:
        pass


def message_of(parts: tuple[Delta | Response, ...] | list[Delta | Response]) -> ChatMessage:
    """The message that deltas add up to."""
    calls: dict[int, list[str]] = {}
    for part in parts:
        if isinstance(part, ToolCallDelta):
            call = calls.setdefault(part.index, [part.name, ""])
            call[1] += part.arguments
    return ChatMessage(
        Role.ASSISTANT,
        "".join(part.text for part in parts if isinstance(part, TextDelta)),
        "".join(part.text for part in parts if isinstance(part, ReasoningDelta)),
        tuple(ToolCall(f"id{index}", name, arguments) for index, (name, arguments) in calls.items()),
    )


@asynccontextmanager
async def serving(
    model: Script,
    *,
    api_key: str | None = None,
    faults: Faults | None = None,
    limits: Limits | None = None,
) -> AsyncGenerator[Server]:
    """A server whose only model is `model`, under the name `script`."""

    def resolve(name: str) -> Script:
        if name != "script":
            raise InputError(f"There is no model {name!r}.")
        return model

    server = await serve(resolve, api_key=api_key, models=["script"], faults=faults, limits=limits)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def adapter(
    base_url: str, name: str = "script", *, silence: float = 90.0, **options: Any
) -> AsyncGenerator[HttpModel]:
    """The real adapter for a model behind `base_url`, with waits too short to notice."""
    options = {"backoff_base": 0.001, "patience": Patience(silence=silence, throttled=0.05), **options}
    key = options.get("api_key", "")
    wire = ChatWire(name, base_url=base_url, api_key=key)
    model = HttpModel(f"compatible:here/{name}", wire, base_url=base_url, **options)
    try:
        yield model
    finally:
        await model.aclose()


def ask(text: str = "Hello?", **fields: Any) -> Request:
    """A request of one user message."""
    return Request((ChatMessage(Role.USER, text),), **fields)


def everything_said(error: BaseException) -> str:
    """Text of an exception and of all that hangs on it, attributes and request headers included."""
    said = ["".join(traceback.format_exception(error))]
    todo: list[BaseException | None] = [error]
    while todo:
        if (seen := todo.pop()) is not None:
            said += [repr(seen), str(seen), repr(vars(seen))]
            said += [str(dict(getattr(getattr(seen, "request", None), "headers", {})))]
            todo += [seen.__cause__, seen.__context__]
    return "\n".join(said)


async def collect(stream: AsyncIterator[Delta | Response]) -> tuple[list[Delta], Response]:
    """The deltas and the response that must follow them."""
    *deltas, response = [part async for part in stream]
    assert isinstance(response, Response)
    assert not any(isinstance(delta, Response) for delta in deltas)
    return deltas, response

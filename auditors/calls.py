"""One model call inside an audit: streamed to whoever watches, timed, priced and recorded however it ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from auditors.models.base import (
    ErrorKind,
    ModelError,
    ReasoningDelta,
    Response,
    TextDelta,
    ToolCallDelta,
)
from auditors.recorder import CallTiming

if TYPE_CHECKING:
    from auditors.models.base import Delta, Model, Request
    from auditors.recorder import Recorder
    from store.records import CallRole, ModelCall


class Watcher(Protocol):
    """Sees a call while it runs, and its row when it is over."""

    def draft(self, role: CallRole, text: str) -> None:
        """A piece of text arrived."""
        ...

    def called(self, call: ModelCall) -> None:
        """A call was recorded."""
        ...


MAX_REPLY_CHARS = 1_000_000
"""A longer reply is a fault of the endpoint: no transcript needs it, and a row of the store could not hold it."""


async def call_model(
    model: Model, request: Request, role: CallRole, recorder: Recorder, watcher: Watcher
) -> tuple[Response, ModelCall]:
    """Ask `model`, and record the call.

    Raises:
        ModelError: the call failed; it is recorded as such.
    """
    timing = CallTiming()
    began = time.perf_counter()
    response: Response | None = None
    size = 0
    try:
        async for part in model.stream(request):
            size = _grown(model, size, part)
            if timing.first_token_s is None:
                timing.first_token_s = time.perf_counter() - began
            match part:
                case Response():
                    response = part
                case TextDelta(text):
                    watcher.draft(role, text)
                case ReasoningDelta() | ToolCallDelta():
                    pass
        if response is None:
            raise ModelError(ErrorKind.TRUNCATED, f"{model.spec} ended its stream without an answer.")
    except (ModelError, asyncio.CancelledError) as error:
        timing.latency_s = time.perf_counter() - began
        watcher.called(await recorder.call(role, model, request, error, timing))
        raise
    timing.latency_s = time.perf_counter() - began
    call = await recorder.call(role, model, request, response, timing)
    watcher.called(call)
    return response, call


def _grown(model: Model, size: int, part: Delta | Response) -> int:
    match part:
        case Response(message):
            size = (
                len(message.text) + len(message.reasoning) + sum(len(c.arguments) for c in message.tool_calls)
            )
        case TextDelta(text) | ReasoningDelta(text):
            size += len(text)
        case ToolCallDelta():
            size += len(part.arguments)
    if size > MAX_REPLY_CHARS:
        raise ModelError(
            ErrorKind.SERVER, f"{model.spec} sent a reply of more than {MAX_REPLY_CHARS:,} characters."
        )
    return size

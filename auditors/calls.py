"""One model call inside an audit: streamed to whoever watches, timed, priced and recorded however it ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from auditors.models.base import ErrorKind, ModelError, TextDelta, complete
from auditors.models.tokens import delta_chars, message_chars
from auditors.recorder import CallProgress

if TYPE_CHECKING:
    from auditors.models.base import Delta, Model, Request, Response
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
    progress = CallProgress()
    began = time.perf_counter()

    def see(delta: Delta) -> None:
        if progress.first_token_s is None:
            progress.first_token_s = time.perf_counter() - began
        progress.received += delta_chars(delta)
        _check_size(model, progress.received)
        if isinstance(delta, TextDelta):
            watcher.draft(role, delta.text)

    try:
        response = await complete(model, request, see)
        _check_size(model, message_chars(response.message))
    except (ModelError, asyncio.CancelledError) as error:
        progress.latency_s = time.perf_counter() - began
        watcher.called(await recorder.call(role, model, request, error, progress))
        raise
    progress.latency_s = time.perf_counter() - began
    call = await recorder.call(role, model, request, response, progress)
    watcher.called(call)
    return response, call


def _check_size(model: Model, chars: int) -> None:
    if chars > MAX_REPLY_CHARS:
        raise ModelError(
            ErrorKind.SERVER, f"{model.spec} sent a reply of more than {MAX_REPLY_CHARS:,} characters."
        )

"""One attempt at a call, and the bounds of time and size within which its answer has to come."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from auditors.models.base import ErrorKind, FailedAttempt
from auditors.models.failure import Failure, StreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from auditors.models.http_model import Answer

_LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer on the wire, several times what the longest takes."""
_LINGER = 5.0
"""Seconds to wait for what may follow a finished answer: its usage, and the end of the body."""
_GATHER = 0.05
"""Seconds of a trickling stream that are read at once; nobody watches more often."""
_WAITED = 0.001
"""A piece that took longer than this was waited for; others were in the buffer already."""
_TRICKLES = 3
"""Pieces that were waited for before a stream counts as one that trickles."""


class Attempt:
    """One attempt as it goes on."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.received = 0
        self.request_id = ""
        self._began = time.monotonic()
        self._deadline = 0.0

    def begin(self, seconds: float) -> None:
        """The request goes out now, and its answer has to be there in that time."""
        self._began = time.monotonic()
        self._deadline = asyncio.get_running_loop().time() + seconds

    # No timeout may span a `yield`: between two pieces the task is the consumer's.
    @contextlib.asynccontextmanager
    async def opened(self, opening: AbstractAsyncContextManager[Any]) -> AsyncGenerator[Any]:
        """The response, once its headers are there."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(self._deadline):
                    response = await stack.enter_async_context(opening)
            except TimeoutError:
                raise _took_too_long() from None
            yield response

    async def body(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of the body, within bounds of time and size; those that trickle come a handful at a time.

        Waking up for a piece costs more than reading it, and so would a timer for each: the time is looked at
        when a piece is there, and silence is the client's to bound. What fails after the answer does not matter.
        """
        import httpx2

        loop = asyncio.get_running_loop()
        size, waited = 0, 0
        while True:
            asked = loop.time()
            try:
                piece = await self._next(pieces)
            except (TimeoutError, httpx2.HTTPError):
                if self.answer.finished:
                    return
                raise
            now = loop.time()
            if piece is None or (self.answer.finished and now > self._deadline):
                return
            if now > self._deadline:
                raise _took_too_long()
            size += len(piece)
            if size > _LARGEST_ANSWER:
                what = f"the answer has more than {_LARGEST_ANSWER:,} bytes"
                raise StreamError(Failure(ErrorKind.SERVER, what))
            trickled = now - asked > _WAITED
            waited += trickled
            yield piece
            if trickled and waited > _TRICKLES:
                await asyncio.sleep(_GATHER)

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        async with asyncio.timeout(_LINGER) if self.answer.finished else contextlib.nullcontext():
            return await anext(pieces, None)

    def check(self, content_type: str) -> None:
        """Raise `StreamError` unless the answer is whole."""
        if not self.answer.finished and "event-stream" not in content_type:
            what = f"it answered with {content_type or 'no content type'} and not with an event stream"
            raise StreamError(Failure(ErrorKind.BAD_REQUEST, what))
        self.answer.stop()

    def failed(self, failure: Failure, secret: str) -> FailedAttempt:
        """What is recorded of it when it has failed."""
        seconds = time.monotonic() - self._began
        return FailedAttempt(failure.kind, failure.said(secret), seconds, self.received)


def _took_too_long() -> StreamError:
    return StreamError(Failure(ErrorKind.TIMEOUT, "the answer took too long"))

"""HTTP/1.1 for one client of the loopback server: h11 parses and writes, asyncio streams carry."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import h11
import msgspec

if TYPE_CHECKING:
    from collections.abc import Coroutine

_MAX_HEADER_BYTES = 64 * 1024
_MAX_BODY_BYTES = 32 * 1024 * 1024
_READ_BYTES = 64 * 1024


class RequestError(Exception):
    """A request that is answered with an error; `vendors` gives it its form.

    Args:
        status: HTTP status, by OpenAI's customs.
        message: what is wrong, in a sentence.
        code: OpenAI's name for it, if there is one.
        wait: seconds after which the client may try again, where the server says so.
        param: the field of the body that is to blame.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        wait: float | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.wait = wait
        self.param = param


class Connection:
    """One client, from its first request to its last."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)

    async def request(self) -> tuple[h11.Request, bytes] | None:
        """The next request and its body, or None when the client has none left.

        Raises:
            RequestError: the request is not HTTP/1.1 or too large; the connection cannot be used further.
        """
        try:
            request = await self._event()
            if not isinstance(request, h11.Request):
                return None
            body = bytearray()
            while isinstance(event := await self._event(), h11.Data):
                body += event.data
                if len(body) > _MAX_BODY_BYTES:
                    raise RequestError(413, f"The body is larger than {_MAX_BODY_BYTES} bytes.")
        except h11.RemoteProtocolError as error:
            raise RequestError(error.error_status_hint, f"This is not HTTP/1.1: {error}.") from None
        return request, bytes(body)

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def run(self, answer: Coroutine[Any, Any, None]) -> None:
        """Run `answer` to its end, or cancel it when the client goes away before that."""
        tasks = [asyncio.ensure_future(answer), asyncio.ensure_future(self._gone())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _gone(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        self._http.receive_data(data)
        if data:  # The client sends its next request ahead; h11 keeps it until then.
            await asyncio.Event().wait()

    async def send(self, *events: h11.Event) -> None:
        """Send h11 events and wait while the client is slower than we are."""
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))
        await self._writer.drain()

    async def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Send a whole JSON answer."""
        data = msgspec.json.encode(body)
        head = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
        await self.send(
            h11.Response(status_code=status, headers=list(head.items())),
            h11.Data(data),
            h11.EndOfMessage(),
        )

    def reuse(self) -> bool:
        """Make ready for the next request; False if the connection has to be closed instead."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def abort(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection after what was sent."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

"""A loopback server that says what a test tells it to, byte for byte, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
JSON = {"content-type": "application/json"}


class Canned(NamedTuple):
    """One answer. Without `whole` the connection ends with a reset instead of cleanly."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = NO_HEADERS
    whole: bool = True

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        headers = {"content-type": "text/event-stream", "connection": "close", **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {self.status} Canned\r\n{head}\r\n".encode())
        writer.write(self.body)
        await writer.drain()
        if not self.whole:
            writer.transport.abort()


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Asked(NamedTuple):
    """A request as it was on the wire; names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Server(NamedTuple):
    """A running server."""

    base_url: str
    asked: list[Asked]


def sse(*events: dict[str, Any] | str, done: bool = False) -> bytes:
    """An event stream; a text stands for itself."""
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def refusal(status: int, message: str, headers: Mapping[str, str] = NO_HEADERS, **fields: Any) -> Canned:
    """An error in the form of OpenAI's."""
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error", **fields}})
    return Canned(body.encode(), status, {**JSON, **headers})


@asynccontextmanager
async def canned(*answers: Answer) -> AsyncGenerator[Server]:
    """A server that gives these answers in turn, and the last one to all further requests."""
    asked: list[Asked] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        try:
            head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
            asked.append(Asked(head.split()[1], headers, body))
            await answers[min(len(asked), len(answers)) - 1](writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # The client went away, or the test is over.
        finally:
            running.discard(task)
            writer.close()

    running: set[asyncio.Task[None]] = set()
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield Server(f"http://127.0.0.1:{port}/v1", asked)
    finally:
        listener.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

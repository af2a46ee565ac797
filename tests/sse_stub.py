"""A server that gives canned answers over a real socket and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, NamedTuple


class End(StrEnum):
    """How the body of an answer ends."""

    WHOLE = "whole"
    DROP = "drop"
    """The connection is closed in the middle."""
    STALL = "stall"
    """Nothing more comes."""


class Canned(NamedTuple):
    """An answer, sent piece by piece."""

    pieces: tuple[bytes, ...]
    status: int = 200
    content_type: str = "text/event-stream; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    end: End = End.WHOLE


class Asked(NamedTuple):
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Stub:
    """A running server; each request gets the next answer, and the last one for ever.

    Args:
        answers: the answers, or a function that gives one for a request.
    """

    def __init__(self, answers: tuple[Canned, ...] | Callable[[Asked], Canned]) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._answers = answers
        self._clients: set[asyncio.Task[Any]] = set()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [asked.body for asked in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while (asked := await _request(reader)) is not None:
                self.asked.append(asked)
                if callable(self._answers):
                    answer = self._answers(asked)
                else:
                    answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
                if not await _send(writer, answer):
                    return
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def close(self) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)


@asynccontextmanager
async def stub(*answers: Canned, by: Callable[[Asked], Canned] | None = None) -> AsyncGenerator[Stub]:
    """A stub that is up inside the context."""
    made = Stub(by or answers)
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listener.close()
        await made.close()


def events(*given: dict[str, Any], end: End = End.WHOLE) -> Canned:
    """An event stream as Anthropic writes it: each event named by its `type`."""
    pieces = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in given)
    return Canned(tuple(pieces), end=end)


def refusal(status: int, message: str, kind: str = "invalid_request_error", **headers: str) -> Canned:
    """An error in Anthropic's form."""
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    given = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Canned((json.dumps(body).encode(),), status, "application/json", given)


async def _request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(first.split()[1], headers, json.loads(body or b"{}"))


async def _send(writer: asyncio.StreamWriter, answer: Canned) -> bool:
    """Send an answer; False if the connection is of no more use."""
    headers = {"content-type": answer.content_type, "transfer-encoding": "chunked", **dict(answer.headers)}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {answer.status} Status\r\n{head}\r\n".encode())
    for piece in answer.pieces:
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()
    if answer.end is End.STALL:
        await asyncio.Event().wait()
    if answer.end is End.DROP:
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True

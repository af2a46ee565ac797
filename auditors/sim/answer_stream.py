"""The stream of an answer: from a model's deltas to server-sent events, and what a fault makes of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

import h11
import msgspec

from auditors.models.base import Delta, ErrorKind, Model, ModelError, Response, ToolCallDelta
from auditors.sim.connection import RequestError
from auditors.sim.exchange import ending, failed, last_piece
from auditors.sim.faults import Break, Fault, Frame, Framing, How, Slow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from auditors.sim.connection import Connection
    from auditors.sim.exchange import Event, Exchange


class _BrokenOff(Exception):  # noqa: N818
    """A fault ended the stream."""


class AnswerStream:
    """The event stream of one answer.

    Args:
        connection: where it goes.
        exchange: who writes it.
        headers: HTTP headers of the answer.
        fault: what goes wrong with it.
    """

    def __init__(
        self, connection: Connection, exchange: Exchange, headers: Mapping[str, str], fault: Fault | None
    ) -> None:
        self._connection = connection
        self._exchange = exchange
        self._headers = headers
        self._break = fault if isinstance(fault, Break) else None
        self._pause = fault.seconds if isinstance(fault, Slow) else 0.0
        self._framing = fault.framing if isinstance(fault, Frame) else None
        self._steps = 0

    async def send(self, model: Model) -> Response | None:
        """Ask the model and send its answer; None if it has none, or a fault breaks it off.

        Raises:
            RequestError: the model failed before its first word, and nothing was sent.
        """
        try:
            return await self._send(model)
        except _BrokenOff:
            return None

    async def _send(self, model: Model) -> Response | None:
        exchange = self._exchange
        parts = cast("AsyncGenerator[Delta | Response]", model.stream(exchange.request))
        held: Delta | None = None
        response: Response | None = None
        announced: set[int] = set()
        opened = False
        try:
            async with contextlib.aclosing(parts):
                async for part in parts:
                    if not opened:
                        opened = True
                        await self._open()
                        await self._step(exchange.start())
                    if isinstance(part, Response):
                        response = part
                        continue
                    if held is not None:
                        await self._step(exchange.delta(held))
                    held = part
                    if isinstance(part, ToolCallDelta):
                        announced.add(part.index)
            if response is None:
                raise ModelError(ErrorKind.TRUNCATED, f"{model.spec} ended its stream without an answer.")
            if held is not None:
                await self._step(last_piece(exchange, response, held))
            await self._step(ending(exchange, response, announced))
        except ModelError as error:
            if not opened:
                raise failed(error) from None
            await self._step(exchange.error(failed(error)))
        await self._connection.send(h11.EndOfMessage())
        return response

    async def _open(self) -> None:
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache", **self._headers}
        await self._connection.send(h11.Response(status_code=200, headers=list(headers.items())))

    async def _step(self, events: Iterator[Event]) -> None:
        if self._pause:
            await asyncio.sleep(self._pause)
        if self._break and self._steps == self._break.after:
            await self._break_off(self._break, events)
        self._steps += 1
        for event in events:
            await self._write(_odd(event, self._framing) if self._framing else _plain(event))

    async def _break_off(self, fault: Break, events: Iterator[Event]) -> None:
        match fault.how:
            case How.CUT:
                await self._connection.send(h11.EndOfMessage())
                raise _BrokenOff
            case How.RESET:
                self._connection.abort()
                raise _BrokenOff
            case How.STALL:
                await asyncio.Event().wait()
            case How.DATA:
                await self._write(f"data: {fault.data}\n\n".encode())
            case How.ERROR:
                for event in self._exchange.error(RequestError(529, "Overloaded")):
                    await self._write(_plain(event))
                await self._connection.send(h11.EndOfMessage())
                raise _BrokenOff
            case How.HALF:
                await self._write(_half(next(events)))

    async def _write(self, data: bytes) -> None:
        await self._connection.send(h11.Data(data))


def _plain(event: Event) -> bytes:
    """A server-sent event."""
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n".encode() if "type" in event else b""
    return name + b"data: " + msgspec.json.encode(event) + b"\n\n"


def _half(event: Event) -> bytes:
    head, _, data = _plain(event).partition(b"data: ")
    return head + b"data: " + data[: len(data) // 2] + b"\n\n"


def _odd(event: Event, framing: Framing) -> bytes:
    """A server-sent event in an unusual dress."""
    lines = _plain(event).decode().split("\n")[:-2]
    end = "\r\n" if framing is Framing.CRLF else "\n"
    match framing:
        case Framing.MULTILINE if not isinstance(event, str):
            text = msgspec.json.format(msgspec.json.encode(event), indent=1).decode()
            lines[-1:] = [f"data: {line}" for line in text.split("\n")]
        case Framing.COMMENTS:
            lines = [": keep-alive", "", *lines[:-1], ": still here", lines[-1]]
        case Framing.GARBAGE:
            lines = ["!$%&/()=", "mood: good", "retry: soon", *lines, "\ufffd"]
        case _:
            pass
    return (end.join(lines) + end + ("" if framing is Framing.UNSEPARATED else end)).encode()

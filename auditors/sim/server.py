"""A loopback server that speaks OpenAI Chat Completions for any `Model`.

It lets other programs use the simulated models, and lets the tests put the real SDK against a real socket,
with faults on demand.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from enum import StrEnum
from functools import cache
from typing import Any, cast

import h11
import msgspec

from auditors.models.base import (
    Delta,
    ErrorKind,
    Model,
    ModelError,
    Request,
    Response,
    StopReason,
    TextDelta,
    complete,
)
from auditors.sim.chat_wire import FINISH, ChatRequest, DeltaWriter, completion, usage
from auditors.sim.connection import Connection, RequestError
from store.errors import InputError

_STATUS = {
    ErrorKind.AUTH: 401,
    ErrorKind.BAD_REQUEST: 400,
    ErrorKind.CONTEXT_LENGTH: 400,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.RATE_LIMIT: 429,
    ErrorKind.TIMEOUT: 504,
}


class Reply(msgspec.Struct, frozen=True):
    """A fault: answer this instead of asking the model."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = {}


class How(StrEnum):
    """The ways to break a stream."""

    CUT = "cut"
    """End the body cleanly, without a finish reason or `[DONE]`."""
    RESET = "reset"
    """Reset the connection."""
    STALL = "stall"
    """Send nothing more and keep the connection open."""
    DATA = "data"
    """Send the fault's `data` as an event, then go on."""


class Break(msgspec.Struct, frozen=True):
    """A fault: break the stream after `after` events."""

    after: int
    how: How
    data: str = ""


Fault = Reply | Break
Faults = Callable[[int, dict[str, Any]], Fault | None]


async def serve(
    resolve: Callable[[str], Model],
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    *,
    models: Iterable[str] = (),
    faults: Faults | None = None,
) -> Server:
    """Start a server.

    Args:
        resolve: gives the model that a request names, or raises `InputError` if there is none.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        api_key: the bearer key that clients have to send; None takes every client.
        models: what `GET /v1/models` lists.
        faults: gives the fault for the n-th completion (from 1) with that request body, or None.
    """
    server = Server(resolve, api_key, tuple(models), faults)
    await server.start(host, port)
    return server


class Server:
    """A running server; `requests` counts the completions that it was asked for."""

    def __init__(
        self,
        resolve: Callable[[str], Model],
        api_key: str | None,
        models: tuple[str, ...],
        faults: Faults | None,
    ) -> None:
        self.base_url = ""
        self.requests = 0
        self._resolve = resolve
        self._api_key = api_key
        self._models = models
        self._faults = faults
        self._listener: asyncio.Server | None = None
        self._clients: set[asyncio.Task[Any]] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen, and set `base_url`."""
        self._listener = await asyncio.start_server(self._accept, host, port)
        self.base_url = f"http://{host}:{self._listener.sockets[0].getsockname()[1]}/v1"

    async def close(self) -> None:
        """Stop listening, drop every client and cancel what runs for it."""
        if self._listener:
            self._listener.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)
        connection = Connection(reader, writer)
        try:
            await self._serve(connection)
        except ConnectionError:
            pass  # The client went away while we were writing.
        except asyncio.CancelledError:
            connection.abort()
        finally:
            await connection.close()

    async def _serve(self, connection: Connection) -> None:
        try:
            while asked := await connection.request():
                await connection.run(self._answer(connection, *asked))
                if not connection.reuse():
                    return
        except RequestError as error:
            await connection.reply(error.status, error.body)

    async def _answer(self, connection: Connection, request: h11.Request, body: bytes) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        route = (request.method.decode("latin-1"), request.target.decode("latin-1").partition("?")[0])
        try:
            self._authorize(headers.get("authorization", ""))
            match route:
                case ("GET", "/v1/models"):
                    entry = {"object": "model", "created": 0, "owned_by": "cc-tui"}
                    data = [{"id": name, **entry} for name in self._models]
                    await connection.reply(200, {"object": "list", "data": data})
                case ("POST", "/v1/chat/completions"):
                    await self._complete(connection, body, headers.get("x-cc-repeat", "0"))
                case _:
                    raise RequestError(404, f"There is no {route[0]} {route[1]}.", "not_found")
        except RequestError as error:
            await connection.reply(error.status, error.body)

    def _authorize(self, given: str) -> None:
        wanted = f"Bearer {self._api_key}"
        if self._api_key is not None and not secrets.compare_digest(given.encode(), wanted.encode()):
            raise RequestError(401, "Incorrect API key provided.", "invalid_api_key")

    async def _complete(self, connection: Connection, body: bytes, repeat: str) -> None:
        self.requests += 1
        try:
            chat = msgspec.json.decode(body, type=ChatRequest)
            request = chat.request(int(repeat))
        except (msgspec.DecodeError, ValueError) as error:
            raise RequestError(400, f"The request cannot be read: {error}.") from None
        fault = self._faults(self.requests, msgspec.json.decode(body)) if self._faults else None
        if isinstance(fault, Reply):
            await connection.reply(fault.status, fault.body, fault.headers)
            return
        try:
            model = self._resolve(chat.model)
        except InputError as error:
            raise RequestError(404, str(error), "model_not_found") from None
        digest = hashlib.sha256(body + repeat.encode()).hexdigest()[:16]
        head = {"id": f"chatcmpl-{digest}", "created": int(time.time()), "model": chat.model}
        if chat.stream:
            events = _Events(connection, head | {"object": "chat.completion.chunk"}, fault)
            with contextlib.suppress(_BrokenOff):
                await _stream(events, model, request, chat.wants_usage, DeltaWriter(digest))
        else:
            try:
                response = await complete(model, request)
            except ModelError as error:
                raise _request_error(error) from None
            await connection.reply(200, head | completion(response))


class _BrokenOff(Exception):  # noqa: N818
    """A fault ended the stream."""


class _Events:
    """The event stream of one answer."""

    def __init__(self, connection: Connection, head: dict[str, Any], fault: Break | None) -> None:
        self._connection = connection
        self._head = head
        self._fault = fault
        self._sent = 0

    async def open(self) -> None:
        headers = [("content-type", "text/event-stream"), ("cache-control", "no-cache")]
        await self._connection.send(h11.Response(status_code=200, headers=headers))

    async def delta(self, delta: dict[str, Any]) -> None:
        await self.chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    async def chunk(self, fields: dict[str, Any]) -> None:
        await self._send(msgspec.json.encode(self._head | fields))

    async def close(self) -> None:
        await self._send(b"[DONE]")
        await self._connection.send(h11.EndOfMessage())

    async def _send(self, data: bytes) -> None:
        if self._fault and self._sent == self._fault.after:
            await self._break(self._fault)
        self._sent += 1
        await self._connection.send(h11.Data(b"data: " + data + b"\n\n"))

    async def _break(self, fault: Break) -> None:
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
                await self._connection.send(h11.Data(f"data: {fault.data}\n\n".encode()))


async def _stream(
    events: _Events, model: Model, request: Request, usage_too: bool, wire: DeltaWriter
) -> None:
    # The wire marks a refusal in its text, the model only at the end: the last delta waits for the response.
    held: Delta | None = None
    response: Response | None = None
    opened = False
    try:
        async with contextlib.aclosing(
            cast("AsyncGenerator[Delta | Response]", model.stream(request))
        ) as parts:
            async for part in parts:
                if not opened:
                    opened = True
                    await events.open()
                    await events.delta({"role": "assistant", "content": ""})
                if isinstance(part, Response):
                    response = part
                    continue
                if held is not None:
                    await events.delta(wire.write(held))
                held = part
        if response is None:
            raise ModelError(ErrorKind.TRUNCATED, f"{model.spec} ended its stream without an answer.")
    except ModelError as error:
        if not opened:
            raise _request_error(error) from None
        await events.chunk(_request_error(error).body)
        await events.close()
        return
    stop = response.stop
    if stop is StopReason.REFUSAL and isinstance(held, TextDelta):
        await events.delta({"refusal": held.text})
    else:
        if held is not None:
            await events.delta(wire.write(held))
        if stop is StopReason.REFUSAL:  # Without words: this is the nearest that the wire can say.
            stop = StopReason.CONTENT_FILTER
    for delta in wire.unwritten(response.message):
        await events.delta(wire.write(delta))
    choice: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": FINISH[stop]}
    await events.chunk({"choices": [choice], "model": response.model})
    if usage_too and (tokens := usage(response)):
        await events.chunk({"choices": [], "usage": tokens, "model": response.model})
    await events.close()


def _request_error(error: ModelError) -> RequestError:
    code = "context_length_exceeded" if error.kind is ErrorKind.CONTEXT_LENGTH else None
    return RequestError(_STATUS.get(error.kind, 502), str(error), code)


async def _main() -> None:
    from auditors.sim.models import sim_model
    from auditors.sim.truth import JUDGES, PERSONAS

    parser = argparse.ArgumentParser(
        prog="python -m auditors.sim.server",
        description="Serve the simulated models over OpenAI's protocol.",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port on the loopback interface; 0: a free one"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    parser.add_argument("--speed", type=float, default=1.0, help="speed of the answers")
    options = parser.parse_args()

    @cache
    def resolve(name: str) -> Model:
        return sim_model(name.removeprefix("sim/"), seed=options.seed, speed=options.speed)

    names = [f"sim/{name}" for name in (*PERSONAS, "auditor", *JUDGES)]
    server = await serve(resolve, port=options.port, models=names)
    sys.stdout.write(f"{server.base_url}\n")
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())

"""A loopback server that speaks the protocols of OpenAI and Anthropic for any `Model`.

It lets other programs use the simulated models, and lets the tests put the real SDKs against a real socket, with
faults and limits on demand.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from auditors.models.base import Model, ModelError, complete
from auditors.models.tokens import asked_chars, tokens_of
from auditors.sim.answer_stream import AnswerStream
from auditors.sim.chat_wire import ChatExchange
from auditors.sim.connection import Connection, RequestError
from auditors.sim.exchange import Call, failed
from auditors.sim.faults import (
    Alter,
    Altered,
    Break,
    Drop,
    Fault,
    Faults,
    How,
    Misname,
    Refuse,
    Reply,
    mixed,
    renamed,
)
from auditors.sim.limits import Limits, Traffic
from auditors.sim.messages_wire import MessagesExchange
from auditors.sim.responses_wire import ResponsesExchange
from auditors.sim.vendors import ANTHROPIC, OPENAI
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import h11

    from auditors.sim.exchange import Exchange
    from auditors.sim.vendors import Vendor

__all__ = ["Break", "Fault", "Faults", "How", "Limits", "Reply", "Server", "serve"]

_ROUTES: dict[str, Callable[[Call], Exchange]] = {
    "/v1/chat/completions": ChatExchange,
    "/v1/responses": ResponsesExchange,
    "/v1/messages": MessagesExchange,
}


async def serve(
    resolve: Callable[[str], Model],
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    *,
    models: Iterable[str] = (),
    faults: Faults | None = None,
    limits: Limits | None = None,
) -> Server:
    """Start a server.

    Args:
        resolve: gives the model that a request names, or raises `InputError` if there is none.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        api_key: the key that clients have to send; None takes every client.
        models: what `GET /v1/models` lists.
        faults: gives the fault for the n-th answer (from 1) to a request with that body, or None.
        limits: the traffic to take; None is without limit.
    """
    server = Server(resolve, api_key, tuple(models), faults, limits or Limits())
    await server.start(host, port)
    return server


class Server:
    """A running server; `requests` counts the answers that it was asked for, `traffic` what its limits let in."""

    def __init__(
        self,
        resolve: Callable[[str], Model],
        api_key: str | None,
        models: tuple[str, ...],
        faults: Faults | None,
        limits: Limits,
    ) -> None:
        self.root_url = ""
        """Where Anthropic's SDK finds it."""
        self.base_url = ""
        """Where OpenAI's SDK finds it."""
        self.requests = 0
        self.traffic = Traffic(limits)
        self._resolve = resolve
        self._api_key = api_key
        self._models = models
        self._faults = faults
        self._listener: asyncio.Server | None = None
        self._clients: set[asyncio.Task[Any]] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen, and set the URLs."""
        self._listener = await asyncio.start_server(self._accept, host, port)
        self.root_url = f"http://{host}:{self._listener.sockets[0].getsockname()[1]}"
        self.base_url = f"{self.root_url}/v1"

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
            # A task of a stream server that ends as cancelled is reported as a fault by asyncio.
            with contextlib.suppress(asyncio.CancelledError):
                await connection.close()

    async def _serve(self, connection: Connection) -> None:
        try:
            while asked := await connection.request():
                await connection.run(self._answer(connection, *asked))
                if not connection.reuse():
                    return
        except RequestError as error:
            await connection.reply(*OPENAI.error(error))

    async def _answer(self, connection: Connection, request: h11.Request, body: bytes) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        method, path = request.method.decode("latin-1"), request.target.decode("latin-1").partition("?")[0]
        vendor = ANTHROPIC if path == "/v1/messages" or "anthropic-version" in headers else OPENAI
        try:
            self._authorize(vendor.keys(headers))
            if (method, path) == ("GET", "/v1/models"):
                await connection.reply(200, vendor.models(self._models))
            elif method == "POST" and path in _ROUTES:
                await self._ask(connection, vendor, _ROUTES[path], Call(body, headers))
            else:
                raise RequestError(404, f"There is no {method} {path}.", "not_found")
        except RequestError as error:
            request_id = _request_id()
            head = vendor.headers(request_id, self.traffic.gauges(), error.wait)
            await connection.reply(*vendor.error(error, request_id), head)

    def _authorize(self, given: list[str]) -> None:
        wanted = self._api_key
        if wanted is not None and not any(
            secrets.compare_digest(key.encode(), wanted.encode()) for key in given
        ):
            raise RequestError(401, "Incorrect API key provided.", "invalid_api_key")

    async def _ask(
        self, connection: Connection, vendor: Vendor, read: Callable[[Call], Exchange], call: Call
    ) -> None:
        self.requests += 1
        number = self.requests
        try:
            exchange = read(call)
        except (msgspec.DecodeError, ValueError) as error:
            raise RequestError(400, f"The request cannot be read: {error}.") from None
        with self.traffic.admitted(tokens_of(asked_chars(exchange.request))):
            fault = self._faults(number, msgspec.json.decode(call.body)) if self._faults else None
            head = vendor.headers(_request_id(), self.traffic.gauges(), None)
            match fault:
                case Reply():
                    await connection.reply(fault.status, fault.body, head | fault.headers)
                    return
                case Refuse():
                    raise _refused(fault, call.headers)
                case Drop():
                    connection.abort()
                    return
                case _:
                    pass
            model = self._model(exchange, fault)
            if exchange.stream:
                response = await AnswerStream(connection, exchange, head, fault).send(model)
            else:
                try:
                    response = await complete(model, exchange.request)
                except ModelError as error:
                    raise failed(error) from None
                await connection.reply(200, exchange.whole(response), head)
            if response is not None:
                self.traffic.spend(response.usage.output or 0)

    def _model(self, exchange: Exchange, fault: Fault | None) -> Model:
        try:
            model = self._resolve(exchange.model)
        except InputError as error:
            raise RequestError(404, str(error), "model_not_found") from None
        match fault:
            case Alter(change):
                return Altered(model, change)
            case Misname(name):
                exchange.model = name
                return Altered(model, renamed(name))
            case _:
                return model


def _refused(fault: Refuse, headers: Mapping[str, str]) -> RequestError:
    message = f"{fault.message} {headers}" if fault.echo else fault.message
    return RequestError(fault.status, message, fault.code, wait=fault.wait)


def _request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


async def _main() -> None:
    from auditors.sim.models import sim_model
    from auditors.sim.truth import JUDGES, PERSONAS

    parser = argparse.ArgumentParser(
        prog="python -m auditors.sim.server",
        description="Serve the simulated models over the protocols of OpenAI and Anthropic.",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port on the loopback interface; 0: a free one"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    parser.add_argument("--speed", type=float, default=1.0, help="speed of the answers")
    parser.add_argument(
        "--faults",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the answers that go wrong, as 0.2",
    )
    options = parser.parse_args()

    @cache
    def resolve(name: str) -> Model:
        return sim_model(name.removeprefix("sim/"), seed=options.seed, speed=options.speed)

    names = [f"sim/{name}" for name in (*PERSONAS, "auditor", "realism", *JUDGES)]
    faults = mixed(options.faults, options.seed)
    server = await serve(resolve, port=options.port, models=names, faults=faults)
    sys.stdout.write(f"OPENAI_BASE_URL={server.base_url}\nANTHROPIC_BASE_URL={server.root_url}\n")
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())

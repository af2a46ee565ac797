"""A loopback server that speaks Tinker's protocol for any `Model`, native and OpenAI-compatible.

The tests put the real SDK against it. `auditors.sim.tinker_training` adds training and checkpoints; what else it
lacks of the service has its place in `TinkerServer._routes`.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import h11
import msgspec

from auditors.models.base import ErrorKind, Model, ModelError, Settings, complete
from auditors.sim.connection import RequestError
from auditors.sim.limits import Limits
from auditors.sim.server import Server
from auditors.sim.tinker_wire import ChatTokens
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from auditors.models.base import Response
    from auditors.sim.connection import Connection
    from auditors.sim.server import Reply

    Route = Callable[[Any], Awaitable[Any]]
    TinkerFaults = Callable[[str, int, dict[str, Any]], Reply | None]

_CHAT = "/oai/api"
_LONG_POLL_S = 20.0
_USERS_FAULT = (ErrorKind.BAD_REQUEST, ErrorKind.CONTEXT_LENGTH, ErrorKind.NOT_FOUND, ErrorKind.UNSUPPORTED)


async def serve_tinker(
    resolve: Callable[[str], Model],
    tokenizer: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    *,
    models: Iterable[str] = (),
    faults: TinkerFaults | None = None,
) -> TinkerServer:
    """Start a server.

    Args:
        resolve: gives the model that a base model's name or a `tinker://` path means, or raises `InputError`.
        tokenizer: folder that `write_tokenizer` filled; clients need the same.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        api_key: the key that clients have to send; None takes every client.
        models: base models that the server says it has.
        faults: gives the fault for the n-th request (from 1) of a route, such as `asample`, with that body, or
            None.
    """
    server = TinkerServer(resolve, tokenizer, api_key, tuple(models), faults)
    await server.start(host, port)
    return server


class _Chunk(msgspec.Struct):
    tokens: list[int]


class _Prompt(msgspec.Struct):
    chunks: list[_Chunk]


class _Params(msgspec.Struct):
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


class _Sample(msgspec.Struct):
    sampling_session_id: str
    prompt: _Prompt
    sampling_params: _Params
    num_samples: int = 1


class _SamplingSession(msgspec.Struct):
    base_model: str | None = None
    model_path: str | None = None


class _Future(msgspec.Struct):
    request_id: str


class _Failed(msgspec.Struct):
    """How a request that was taken in failed in the end."""

    error: str
    category: str


class TinkerServer(Server):
    """A running server; `base_url` is what `TINKER_BASE_URL` would hold, `calls` counts requests by route."""

    def __init__(
        self,
        resolve: Callable[[str], Model],
        tokenizer: Path,
        api_key: str | None,
        models: tuple[str, ...],
        faults: TinkerFaults | None,
    ) -> None:
        super().__init__(resolve, api_key, models, None, Limits())
        self.calls: dict[str, int] = {}
        self._tokens = ChatTokens(tokenizer)
        self._tinker_faults = faults
        self._samplers: dict[str, tuple[str, Model]] = {}
        self._futures: dict[str, asyncio.Task[bytes | _Failed]] = {}
        self._routes: dict[str, Route] = {
            "client/config": self._nothing,
            "client/dynamic_config": self._dynamic_config,
            "create_session": self._create_session,
            "session_heartbeat": self._nothing,
            "create_sampling_session": self._create_sampling_session,
            "get_server_capabilities": self._capabilities,
            "asample": self._sample,
            "retrieve_future": self._retrieve,
            "cancel_future": self._cancel,
            "telemetry": self._telemetry,
        }

    async def start(self, host: str, port: int) -> None:
        """Listen, and set `base_url`."""
        await super().start(host, port)
        self.base_url = self.base_url.removesuffix("/v1")

    async def close(self) -> None:
        """Stop listening, drop every client and cancel what runs for it."""
        for task in self._futures.values():
            task.cancel()
        await super().close()

    async def _answer(self, connection: Connection, request: h11.Request, body: bytes) -> None:
        path = request.target.decode("latin-1").partition("?")[0]
        if path.startswith(_CHAT):
            target = request.target.removeprefix(_CHAT.encode())
            chat = h11.Request(method=request.method, target=target, headers=request.headers)
            await super()._answer(connection, chat, body)
            return
        name = path.removeprefix("/api/v1/")
        if name == "healthz":  # Anyone may ask.
            await connection.reply(200, {"status": "ok"})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        try:
            if not self._signed(name):
                self._authorize([headers.get("x-api-key", "")])
            fields: Any = self._read(headers.get("content-type", ""), body)
            if fault := self._fault(name, fields):
                await connection.reply(fault.status, fault.body, fault.headers)
            else:
                answer = await self._route(name)(fields)
                await (
                    _send_bytes(connection, answer)
                    if isinstance(answer, bytes)
                    else connection.reply(200, answer)
                )
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError, KeyError) as error:
            await connection.reply(422, {"detail": f"The request cannot be read: {error}."})
        except RequestError as error:
            await connection.reply(error.status, {"detail": str(error)})

    def _signed(self, name: str) -> bool:
        """Whether whoever knows the address may have what is there."""
        del name
        return False

    def _read(self, content_type: str, body: bytes) -> Any:
        del content_type
        return msgspec.json.decode(body or b"{}")

    def _fault(self, name: str, fields: dict[str, Any]) -> Reply | None:
        self.calls[name] = count = self.calls.get(name, 0) + 1
        return self._tinker_faults(name, count, fields) if self._tinker_faults else None

    def _route(self, name: str) -> Route:
        match name.split("/"):
            case ["sessions", _, "finish"]:
                return self._nothing
            case ["samplers", sampler]:
                return lambda _: self._sampler(sampler)
            case _ if name in self._routes:
                return self._routes[name]
            case _:
                raise RequestError(404, f"There is no {name}.")

    async def _nothing(self, _fields: Any) -> Any:
        return {}

    async def _dynamic_config(self, _fields: Any) -> Any:
        return {"sample_cancel_enabled": True}

    async def _create_session(self, _fields: Any) -> Any:
        return {"session_id": secrets.token_hex(8)}

    async def _capabilities(self, _fields: Any) -> Any:
        return {"supported_models": [{"model_name": name} for name in self._models]}

    async def _telemetry(self, _fields: Any) -> Any:
        return {"status": "accepted"}

    async def _create_sampling_session(self, fields: Any) -> Any:
        asked = msgspec.convert(fields, _SamplingSession)
        name = asked.model_path or asked.base_model or ""
        try:
            model = self._resolve(name)
        except InputError as error:
            raise RequestError(404, str(error)) from None
        sampler = secrets.token_hex(8)
        self._samplers[sampler] = name, model
        return {"sampling_session_id": sampler}

    async def _sampler(self, sampler: str) -> Any:
        if sampler not in self._samplers:
            raise RequestError(404, f"There is no sampler {sampler}.")
        name, model = self._samplers[sampler]
        is_path = name.startswith("tinker://")
        return {
            "sampler_id": sampler,
            "base_model": model.spec if is_path else name,
            "model_path": name if is_path else None,
        }

    async def _sample(self, fields: Any) -> Any:
        self.requests += 1
        asked = msgspec.convert(fields, _Sample)
        if asked.sampling_session_id not in self._samplers:
            raise RequestError(404, f"There is no sampler {asked.sampling_session_id}.")
        _, model = self._samplers[asked.sampling_session_id]
        request_id = secrets.token_hex(8)
        self._futures[request_id] = asyncio.create_task(self._run(model, asked))
        ids = [f"{request_id}:{place}" for place in range(asked.num_samples)]
        return {"request_id": request_id, "sample_sequence_ids": ids}

    async def _run(self, model: Model, asked: _Sample) -> bytes | _Failed:
        params = asked.sampling_params
        tokens = [token for chunk in asked.prompt.chunks for token in chunk.tokens]
        try:
            request = self._tokens.request(
                tokens,
                Settings(temperature=params.temperature, max_tokens=params.max_tokens, seed=params.seed),
            )
            responses = [await complete(model, request) for _ in range(asked.num_samples)]
        except ValueError as error:
            return _Failed(f"The prompt cannot be read: {error}.", "user")
        except ModelError as error:
            return _Failed(str(error), "user" if error.kind in _USERS_FAULT else "server")
        return self._packed(responses, params.max_tokens)

    def _packed(self, responses: list[Response], max_tokens: int | None) -> bytes:
        import numpy as np
        from tinker.proto import tinker_public_pb2 as proto  # pyright: ignore[reportMissingTypeStubs]

        packed = proto.SampleResponse(prompt_cache_hit_tokens=responses[0].usage.cached or 0)
        for response in responses:
            tokens, ended = self._tokens.answer(response, max_tokens)
            packed.sequences.add(
                stop_reason=proto.STOP_REASON_STOP if ended else proto.STOP_REASON_LENGTH,
                tokens=np.array(tokens, dtype=np.int32).tobytes(),
            )
        return packed.SerializeToString()

    def _pending(self, fields: Any) -> tuple[str, asyncio.Task[bytes | _Failed]]:
        request_id = msgspec.convert(fields, _Future).request_id
        if request_id not in self._futures:
            raise RequestError(404, f"There is no request {request_id}.")
        return request_id, self._futures[request_id]

    async def _retrieve(self, fields: Any) -> Any:
        request_id, task = self._pending(fields)
        done, _ = await asyncio.wait([task], timeout=_LONG_POLL_S)
        if not done:
            return {"type": "try_again", "request_id": request_id, "queue_state": "active"}
        if task.cancelled():
            return msgspec.to_builtins(_Failed("The request was cancelled.", "user"))
        return result if isinstance(result := task.result(), bytes) else msgspec.to_builtins(result)

    async def _cancel(self, fields: Any) -> Any:
        self._pending(fields)[1].cancel()
        return {}


async def _send_bytes(connection: Connection, data: bytes) -> None:
    headers = [("content-type", "application/x-protobuf"), ("content-length", str(len(data)))]
    await connection.send(h11.Response(status_code=200, headers=headers), h11.Data(data), h11.EndOfMessage())

"""OpenAI Chat Completions, as api.openai.com and compatible servers speak it.

The `openai` SDK builds the request, authenticates and classifies errors. The event stream is read raw: the
SDK's typed chunks cost several times the CPU of all the rest, and servers differ from its types.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from auditors.models.base import (
    ChatMessage,
    Delta,
    ErrorKind,
    ReasoningDelta,
    Request,
    Response,
    Role,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from auditors.models.chat_stream import Answer, events
from auditors.models.failure import Failure, StreamError, backoff, classify, rejected
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx2

_OPENAI_HOST = "api.openai.com"
_BLOT = "[key]"
_LIMITS = ("max_tokens", "max_completion_tokens")
_SETTINGS = ("temperature", "seed", *_LIMITS)


class ConnectionPool:
    """The HTTP client that models share; it is made at first use, off the event loop."""

    def __init__(self) -> None:
        self._making = asyncio.Lock()
        self._client: httpx2.AsyncClient | None = None

    async def client(self) -> httpx2.AsyncClient:
        """The open client."""
        async with self._making:
            if self._client is None:
                self._client = await asyncio.to_thread(_http_client)
        return self._client

    async def aclose(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()


def _http_client() -> httpx2.AsyncClient:
    import httpx2

    # How many requests run at once is the scheduler's to decide, not the pool's.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=256)
    return httpx2.AsyncClient(limits=limits, follow_redirects=True)


class OpenAIChatModel:
    """A model behind a Chat Completions endpoint.

    A call that fails for a passing reason (connection, timeout, 408, 409, 429, 5xx, a stream that breaks off) is
    made again from the start. The deltas of the failed attempt were already given out and cannot be taken back:
    they are for watching, and `Response.message` is what the model said.

    What the endpoint does not take (a structured answer, a sampling setting) is found out from its 400 answers,
    left out, remembered and named in `Response.not_sent`. A structured answer falls back from `json_schema` to
    `json_object` to the prompt alone, so the prompt has to describe the form of the answer too.
    """

    def __init__(
        self,
        spec: str,
        model: str,
        *,
        base_url: str,
        api_key: str = "",
        pool: ConnectionPool | None = None,
        simulated: bool = False,
        max_attempts: int = 4,
        connect_timeout: float = 10.0,
        read_timeout: float = 90.0,
        backoff_base: float = 0.5,
    ) -> None:
        """Set up a model; nothing is opened before the first call.

        Args:
            spec: specification string of the model.
            model: its name at the endpoint.
            base_url: URL of the endpoint, `/v1` included.
            api_key: bearer key; empty for an endpoint that needs none.
            pool: connections that are shared with other models, whose owner closes them; None for own ones.
            simulated: whether a simulated model answers behind the endpoint.
            max_attempts: attempts before a passing failure counts as final.
            connect_timeout: seconds until the connection has to stand.
            read_timeout: longest silence in seconds before and within an answer.
            backoff_base: upper bound of the first wait before a retry in seconds; it doubles with each retry.
        """
        self.spec = spec
        self.simulated = simulated
        self._model = model
        self._base_url = base_url
        self._host = urlsplit(base_url).netloc.rpartition("@")[2]
        self._api_key = api_key
        self._pool = pool or ConnectionPool()
        self._owns_pool = pool is None
        self._max_attempts = max_attempts
        self._timeouts = (connect_timeout, read_timeout)
        self._backoff_base = backoff_base
        self._making = asyncio.Lock()
        self._create: Callable[..., Any] | None = None
        # What the endpoint takes, best first; an entry goes when it is rejected.
        self._formats: list[str] = ["json_schema", "json_object"]
        self._limits: list[str] = list(reversed(_LIMITS) if self._host == _OPENAI_HOST else _LIMITS)
        self._optional = {"temperature", "seed", "stream_options"}

    async def aclose(self) -> None:
        """Close connections that are this model's own."""
        if self._owns_pool:
            await self._pool.aclose()

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Response]:
        """See `Model.stream`."""
        create = await self._open()
        import httpx2
        import openai

        attempt, retries = 1, 0
        while True:
            arguments = self._arguments(request)
            try:
                async with contextlib.aclosing(self._attempt(create, arguments, request, retries)) as parts:
                    async for part in parts:
                        yield _without(part, self._api_key)
                return
            except (StreamError, openai.OpenAIError, httpx2.HTTPError) as error:
                # Nothing is raised in here: an SDK error as `__context__` would carry the request and its key.
                failure = classify(error)
            retries += 1
            if self._adapt(failure, arguments):
                continue
            if not failure.passing or attempt == self._max_attempts:
                raise failure.error(self.spec, self._host, attempt, self._api_key)
            await asyncio.sleep(backoff(failure, attempt, self._backoff_base))
            attempt += 1

    async def _open(self) -> Callable[..., Any]:
        async with self._making:
            if self._create is None:
                self._create = await asyncio.to_thread(self._sdk_call, await self._pool.client())
        return self._create

    def _sdk_call(self, http: httpx2.AsyncClient) -> Callable[..., Any]:
        import httpx2
        import openai

        connect, read = self._timeouts
        client = openai.AsyncOpenAI(
            api_key=self._api_key or "none",
            base_url=self._base_url,
            timeout=httpx2.Timeout(read, connect=connect, pool=None),
            max_retries=0,
            http_client=http,
        )
        if self._host != _OPENAI_HOST:  # The environment's account at OpenAI is no other server's business.
            client.organization = client.project = None
        return client.chat.completions.with_streaming_response.create

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self._model,
            "messages": [_wire_message(message) for message in request.messages],
            "stream": True,
            "extra_headers": {"x-cc-repeat": str(request.repeat)},
        }
        if request.tools:
            arguments["tools"] = [
                {"type": "function", "function": msgspec.to_builtins(tool)} for tool in request.tools
            ]
        if request.json_schema is not None and self._formats:
            form: dict[str, Any] = {"type": self._formats[0]}
            if self._formats[0] == "json_schema":
                form["json_schema"] = {"name": "answer", "strict": True, "schema": request.json_schema}
            arguments["response_format"] = form
        if request.settings.max_tokens is not None and self._limits:
            arguments[self._limits[0]] = request.settings.max_tokens
        optional = {
            "temperature": request.settings.temperature,
            "seed": request.settings.seed,
            "stream_options": {"include_usage": True},
        }
        return arguments | {
            name: value for name, value in optional.items() if value is not None and name in self._optional
        }

    def _adapt(self, failure: Failure, arguments: dict[str, Any]) -> bool:
        """Give up what the endpoint rejected; True if the call is worth making again for that."""
        names = ("response_format", *_SETTINGS, "stream_options")
        match rejected(failure, [name for name in names if name in arguments]):
            case None:
                return False
            case "response_format" as name:
                _give_up(self._formats, arguments[name]["type"])
            case "max_tokens" | "max_completion_tokens" as name:
                _give_up(self._limits, name)
            case name:
                self._optional.discard(name)
        return True

    async def _attempt(
        self, create: Callable[..., Any], arguments: dict[str, Any], request: Request, retries: int
    ) -> AsyncGenerator[Delta | Response]:
        answer = Answer(self._model)
        async with create(**arguments) as response:
            content_type = response.headers.get("content-type", "")
            async for data in events(response.iter_bytes()):
                for delta in answer.add(data):
                    yield delta
        if answer.finish is None and "event-stream" not in content_type:
            what = f"it answered with {content_type or 'no content type'} and not with an event stream"
            raise StreamError(Failure(ErrorKind.BAD_REQUEST, what))
        sent = {name: arguments[name] for name in _SETTINGS if name in arguments}
        if "response_format" in arguments:
            sent["response_format"] = arguments["response_format"]["type"]
        yield Response(
            message=answer.message(),
            stop=answer.stop(),
            usage=answer.usage,
            model=answer.model,
            retries=retries,
            sent=sent,
            not_sent=_not_sent(request, sent),
        )


def _not_sent(request: Request, sent: dict[str, Any]) -> tuple[str, ...]:
    settings = request.settings
    missing = {
        "temperature": settings.temperature is not None and "temperature" not in sent,
        "seed": settings.seed is not None and "seed" not in sent,
        "max_tokens": settings.max_tokens is not None and not sent.keys() & {*_LIMITS},
        "json_schema": request.json_schema is not None and sent.get("response_format") != "json_schema",
    }
    return tuple(name for name, is_missing in missing.items() if is_missing)


def _give_up(choices: list[str], name: str) -> None:
    # Another call may have found out first, and then the head of the list is already the next choice.
    if choices and choices[0] == name:
        choices.pop(0)


def _wire_message(message: ChatMessage) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role.value, "content": storable(message.text)}
    if message.role is Role.TOOL:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["content"] = wire["content"] or None
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": storable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return wire


def _without(part: Delta | Response, secret: str) -> Delta | Response:
    """`part` with the key blotted out, should a server echo it in its answer."""
    if not secret:
        return part
    match part:
        case TextDelta(text) | ReasoningDelta(text):
            return type(part)(text.replace(secret, _BLOT)) if secret in text else part
        case ToolCallDelta():
            return part
        case Response(message):
            calls = tuple(
                ToolCall(c.id, c.name.replace(secret, _BLOT), c.arguments.replace(secret, _BLOT))
                for c in message.tool_calls
            )
            clean = msgspec.structs.replace(
                message,
                text=message.text.replace(secret, _BLOT),
                reasoning=message.reasoning.replace(secret, _BLOT),
                tool_calls=calls,
            )
            return msgspec.structs.replace(part, message=clean, model=part.model.replace(secret, _BLOT))

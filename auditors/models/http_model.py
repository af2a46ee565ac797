"""A model behind HTTP: one loop of attempts for every protocol.

A provider's SDK builds the request, authenticates and classifies errors. What differs between protocols is a
`Wire`: how a request is written, how the events of an answer are read, and what an endpoint may turn down.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from auditors.models.attempt import Attempt
from auditors.models.base import (
    ChatMessage,
    Delta,
    ErrorKind,
    FailedAttempt,
    ModelError,
    Request,
    Response,
    Role,
    StopReason,
    Usage,
)
from auditors.models.connections import ConnectionPool
from auditors.models.failure import Failure, StreamError, backoff, classify
from auditors.models.limiter import Limiter
from auditors.models.rate_headers import headers_of
from auditors.models.redact import Blotter, blotted
from auditors.models.sse import events
from auditors.models.tokens import asked_chars, completed, delta_chars, estimate, tokens_of
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
    from types import ModuleType

    import httpx2

_MAX_ATTEMPTS = 5
_BACKOFF_BASE_S = 0.5
_LONGEST_ID = 200
_THROTTLED = (ErrorKind.RATE_LIMIT, ErrorKind.OVERLOADED)


class Answer(Protocol):
    """An answer as far as it has come."""

    model: str
    """Model id as the endpoint gives it; the one that was asked until then."""
    usage: Usage
    stop_detail: str
    """See `Response.stop_detail`."""

    @property
    def finished(self) -> bool:
        """Whether the endpoint said that the answer is complete."""
        ...

    def add(self, data: bytes) -> Iterator[Delta]:
        """Take in one event and give out what it adds.

        Raises:
            StreamError: the event is an error, or cannot be read.
        """
        ...

    def message(self) -> ChatMessage:
        """The whole message."""
        ...

    def stop(self) -> StopReason:
        """Why the model stopped.

        Raises:
            StreamError: the stream ended before the model did.
        """
        ...


class Wire(Protocol):
    """One protocol, as one model at one endpoint speaks it; it learns what the endpoint turns down."""

    takes_prefill: bool

    def connect(
        self, http: httpx2.AsyncClient, timeout: httpx2.Timeout
    ) -> tuple[ModuleType, Callable[..., Any]]:
        """The SDK, for its errors, and its function that opens the stream of an answer; blocking, once a model.

        The function takes `arguments` as keywords and gives an asynchronous context manager of a raw response
        with `headers`, `status_code` and `iter_bytes()`. It never tries again by itself.
        """
        ...

    def arguments(self, request: Request) -> dict[str, Any]:
        """What is sent for a request.

        Raises:
            ModelError: the protocol cannot say it (`UNSUPPORTED`).
        """
        ...

    def answer(self) -> Answer:
        """A new, empty answer."""
        ...

    def adapt(self, failure: Failure, arguments: dict[str, Any]) -> bool:
        """Give up, from now on, what the endpoint turned down; True if the call is worth making again for that."""
        ...

    def sent(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The settings that went out, by the wire's names."""
        ...

    def not_sent(self, request: Request, arguments: dict[str, Any]) -> tuple[str, ...]:
        """Fields of `Settings`, `json_schema` and `carry`, where they were asked for and did not go out."""
        ...


class Patience(NamedTuple):
    """How long to wait, in seconds."""

    connect: float = 10.0
    silence: float = 90.0
    """Longest pause before and within an answer."""
    answer: float = 600.0
    """One whole answer, from the request to its last event."""
    throttled: float = 900.0
    """How long the endpoint may go on turning a call away because it has too much to do."""


_PATIENCE = Patience()


class HttpModel:
    """A model behind an HTTP endpoint.

    A provider that declines with an error instead of an answer (its usage policy, a content filter) has refused: the
    response says so, without a message, and with the provider's reason.

    A call that fails for a passing reason (connection, timeout, 408, 409, 429, 5xx, a stream that breaks off) is
    made again from the start, up to five times; where the endpoint only has too much to do, for longer. The deltas
    of a failed attempt were already given out and cannot be taken back: they are for watching, and
    `Response.message` is what the model said, never stitched from two attempts.
    """

    def __init__(
        self,
        spec: str,
        wire: Wire,
        *,
        base_url: str,
        api_key: str = "",
        pool: ConnectionPool | None = None,
        limiter: Limiter | None = None,
        patience: Patience = _PATIENCE,
        simulated: bool = False,
        max_attempts: int = _MAX_ATTEMPTS,
        backoff_base: float = _BACKOFF_BASE_S,
    ) -> None:
        """Set up a model; nothing is opened before the first call.

        Args:
            spec: specification string of the model.
            wire: the protocol that the endpoint speaks.
            base_url: URL of the endpoint, for messages.
            api_key: what must never be seen in an answer or an error; empty for an endpoint without a key.
            pool: connections that are shared with other models, whose owner closes them; None for own ones.
            limiter: traffic that is shared with other models of the endpoint; None for an own one.
            patience: how long to wait.
            simulated: whether a simulated model answers behind the endpoint.
            max_attempts: attempts before a passing failure other than too much traffic counts as final.
            backoff_base: upper bound of the first wait before a retry in seconds; it doubles with each retry.
        """
        self.spec = spec
        self.simulated = simulated
        self.takes_prefill = wire.takes_prefill
        self._wire = wire
        self._host = urlsplit(base_url).netloc.rpartition("@")[2]
        self._secret = api_key
        self._pool = pool or ConnectionPool()
        self._owns_pool = pool is None
        self._limiter = limiter or Limiter()
        self._patience = patience
        self._max_attempts = max_attempts
        self._backoff_base = backoff_base
        self._making = asyncio.Lock()
        self._sdk: tuple[ModuleType, Callable[..., Any]] | None = None

    async def aclose(self) -> None:
        """Close connections that are this model's own."""
        if self._owns_pool:
            await self._pool.aclose()

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Response]:
        """See `Model.stream`."""
        if request.prefilled and not self.takes_prefill:
            what = "cannot go on from a given beginning (prefill); leave it out, or see `prefill` in docs/models.md"
            raise ModelError(ErrorKind.UNSUPPORTED, f"{self.spec} {what}.")
        failed: list[FailedAttempt] = []
        counted, throttled_since = 0, None
        turn = self._limiter.turn()
        while True:
            arguments = self._wire.arguments(request)
            attempt = Attempt(self._wire.answer())
            blotter = Blotter(self._secret)
            try:
                async with contextlib.aclosing(self._attempt(arguments, request, attempt, turn)) as parts:
                    async for part in parts:
                        for delta in blotter.take(part):
                            yield delta
                response = self._response(request, arguments, attempt, tuple(failed))
            except StreamError as error:
                failure = error.failure
            else:
                for delta in blotter.rest():
                    yield delta
                yield blotted(response, self._secret)
                return
            if failure.kind is ErrorKind.POLICY:
                yield self._declined(request, arguments, attempt, failure, tuple(failed))
                return
            failed.append(attempt.failed(failure, self._secret))
            if self._wire.adapt(failure, arguments):
                continue
            if failure.kind in _THROTTLED:
                throttled_since = throttled_since or time.monotonic()
                last = time.monotonic() - throttled_since > self._patience.throttled
                step = 1  # To slow down is the limiter's business, for all calls alike.
            else:
                step = counted = counted + 1
                last = counted >= self._max_attempts
            if last or not failure.passing:
                raise failure.error(self.spec, self._host, self._secret, tuple(failed))
            await asyncio.sleep(backoff(failure, step, self._backoff_base))

    async def _open(self) -> tuple[ModuleType, Callable[..., Any]]:
        async with self._making:
            if self._sdk is None:
                http = await self._pool.client()
                self._sdk = await asyncio.to_thread(self._connect, http)
        return self._sdk

    def _connect(self, http: httpx2.AsyncClient) -> tuple[ModuleType, Callable[..., Any]]:
        import httpx2

        timeout = httpx2.Timeout(self._patience.silence, connect=self._patience.connect, pool=None)
        return self._wire.connect(http, timeout)

    async def _attempt(
        self, arguments: dict[str, Any], request: Request, attempt: Attempt, turn: int
    ) -> AsyncGenerator[Delta]:
        sdk, create = await self._open()
        import httpx2

        async with self._limiter.permit(tokens_of(asked_chars(request)), turn) as permit:
            attempt.begin(self._patience.answer)
            try:
                async with attempt.opened(create(**arguments)) as response:
                    permit.heard(response.headers)
                    attempt.request_id = _request_id(response.headers, self._secret)
                    async for data in events(attempt.body(response.iter_bytes())):
                        for delta in attempt.answer.add(data):
                            attempt.received += delta_chars(delta)
                            yield delta
                attempt.check(response.headers.get("content-type", ""))
            except (StreamError, sdk.APIError, httpx2.HTTPError) as error:
                failure = classify(error, sdk)
                headers = headers_of(error)
            else:
                permit.done(attempt.answer.usage)
                return
            permit.failed(failure, headers)
        # Raised out here: an SDK error as `__context__` would carry the request and its key.
        raise StreamError(failure)

    def _response(
        self,
        request: Request,
        arguments: dict[str, Any],
        attempt: Attempt,
        failed: tuple[FailedAttempt, ...],
    ) -> Response:
        answer = attempt.answer
        message = answer.message()
        return Response(
            message=message,
            stop=answer.stop(),
            usage=completed(answer.usage, request, message),
            model=_name(answer.model, self._secret),
            failed=failed,
            sent=self._wire.sent(arguments),
            not_sent=self._wire.not_sent(request, arguments),
            request_id=attempt.request_id,
            stop_detail=answer.stop_detail,
        )

    def _declined(
        self,
        request: Request,
        arguments: dict[str, Any],
        attempt: Attempt,
        failure: Failure,
        failed: tuple[FailedAttempt, ...],
    ) -> Response:
        # What had been said before the provider stepped in was shown, may be billed, and is not an answer.
        began = attempt.received > 0
        return Response(
            message=ChatMessage(Role.ASSISTANT),
            stop=StopReason.CONTENT_FILTER,
            usage=estimate(request, attempt.received) if began else Usage(0, 0, estimated=True),
            model=_name(attempt.answer.model, self._secret),
            failed=failed,
            sent=self._wire.sent(arguments),
            not_sent=self._wire.not_sent(request, arguments),
            request_id=attempt.request_id,
            stop_detail=failure.said(self._secret),
        )


def _request_id(headers: Mapping[str, str], secret: str) -> str:
    return _name(headers.get("x-request-id") or headers.get("request-id") or "", secret)


def _name(given: str, secret: str) -> str:
    # Blot first: a cut could leave a part of the key that is no longer recognised.
    return one_line(blotted(given, secret), _LONGEST_ID)

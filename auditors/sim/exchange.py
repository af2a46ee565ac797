"""One request to the loopback server and the forms of its answer; each protocol's module says what they look like."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from auditors.models.base import (
    Delta,
    Effort,
    ErrorKind,
    ModelError,
    ReasoningDelta,
    Request,
    Response,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from auditors.sim.connection import RequestError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

Event = dict[str, Any] | str
"""Data of one server-sent event; its `type`, where it has one, is the event's name as well."""

_SEAL = b"auditors.sim"
_SEAL_BYTES = 16
_STATUS = {
    ErrorKind.AUTH: 401,
    ErrorKind.BAD_REQUEST: 400,
    ErrorKind.CONTEXT_LENGTH: 400,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.OVERLOADED: 503,
    ErrorKind.QUOTA: 429,
    ErrorKind.RATE_LIMIT: 429,
    ErrorKind.TIMEOUT: 504,
    ErrorKind.UNSUPPORTED: 400,
}
_CODES = {
    ErrorKind.AUTH: "invalid_api_key",
    ErrorKind.CONTEXT_LENGTH: "context_length_exceeded",
    ErrorKind.QUOTA: "insufficient_quota",
    ErrorKind.RATE_LIMIT: "rate_limit_exceeded",
}


class Call(NamedTuple):
    """A request as it came."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def repeat(self) -> int:
        """See `Request.repeat`."""
        return int(self.headers.get("x-cc-repeat", "0"))

    @property
    def digest(self) -> str:
        """What names are made from that only equal requests share."""
        repeat = self.headers.get("x-cc-repeat", "0")
        return hashlib.sha256(self.body + repeat.encode()).hexdigest()[:16]


class Exchange(Protocol):
    """A request in one protocol, and the writer of its answer, which is written once.

    Made from a `Call`; raises `RequestError`, `ValueError` or `msgspec.DecodeError` for one that cannot be read.
    """

    model: str
    """Name of the model: asked for, and told in the answer before the model itself has said it."""
    stream: bool
    request: Request

    def start(self) -> Iterator[Event]:
        """What opens a stream."""
        ...

    def delta(self, delta: Delta) -> Iterator[Event]:
        """A piece of the answer."""
        ...

    def refusal(self, text: str) -> Iterator[Event]:
        """A piece of the words in which the model declines."""
        ...

    def finish(self, response: Response) -> Iterator[Event]:
        """What ends a stream, after all of the answer was written."""
        ...

    def error(self, error: RequestError) -> Iterator[Event]:
        """What ends a stream that fails."""
        ...

    def whole(self, response: Response) -> dict[str, Any]:
        """The answer to who asked for no stream."""
        ...


def last_piece(exchange: Exchange, response: Response, last: Delta) -> Iterator[Event]:
    """The last piece of an answer.

    The wire marks a refusal in its words, the model only afterwards: so the last delta waits for the response.
    """
    if response.stop is StopReason.REFUSAL and isinstance(last, TextDelta):
        yield from exchange.refusal(last.text)
    else:
        yield from exchange.delta(last)


def ending(exchange: Exchange, response: Response, announced: Container[int]) -> Iterator[Event]:
    """The end of an answer.

    `announced` are the indices of the calls that deltas told of; one with empty arguments may have had none.
    """
    for index, call in enumerate(response.message.tool_calls):
        if index not in announced:
            yield from exchange.delta(ToolCallDelta(index, call.name, call.arguments))
    yield from exchange.finish(response)


def write_whole(exchange: Exchange, response: Response) -> None:
    """Write an answer in one go, for protocols whose whole answer is what their stream adds up to."""
    message = response.message
    pieces = [exchange.start()]
    if message.reasoning:
        pieces.append(exchange.delta(ReasoningDelta(message.reasoning)))
    if message.text:
        pieces.append(last_piece(exchange, response, TextDelta(message.text)))
    for _ in itertools.chain(*pieces, ending(exchange, response, ())):
        pass


def failed(error: ModelError) -> RequestError:
    """A model's failure as the server's."""
    return RequestError(_STATUS.get(error.kind, 502), str(error), _CODES.get(error.kind))


def effort(name: str | None) -> Effort | None:
    """The effort of that name; None for one that we have no word for."""
    return Effort(name) if name in set(Effort) else None


def seal(text: str) -> str:
    """`text` in a form that `unseal` takes back only unaltered; opaque to clients, but no secret."""
    data = text.encode()
    return base64.b64encode(_mark(data) + data).decode()


def unseal(sealed: str) -> str:
    """What was sealed.

    Raises:
        ValueError: it was altered.
    """
    data = base64.b64decode(sealed, validate=True)
    mark, data = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
    if not hmac.compare_digest(mark, _mark(data)):
        raise ValueError("the seal is broken")
    return data.decode()


def _mark(data: bytes) -> bytes:
    return hmac.digest(_SEAL, data, "sha256")[:_SEAL_BYTES]

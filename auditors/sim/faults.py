"""What the loopback server can be made to do wrong, in each protocol's own form."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable
from enum import StrEnum
from typing import Any, cast

import msgspec

from auditors.models.base import (
    ChatMessage,
    Delta,
    Model,
    Request,
    Response,
    Role,
    StopReason,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from auditors.sim.chance import rng

_PIECE = 3
"""Characters of a chopped piece of arguments."""


class Reply(msgspec.Struct, frozen=True):
    """A fault: answer exactly this instead of asking the model."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = {}


class Refuse(msgspec.Struct, frozen=True):
    """A fault: answer with an error instead of asking the model; see `RequestError`."""

    status: int
    message: str
    code: str | None = None
    wait: float | None = None
    echo: bool = False
    """Whether the message goes on with the headers of the request, its key among them."""


class Drop(msgspec.Struct, frozen=True):
    """A fault: reset the connection instead of answering."""


class How(StrEnum):
    """The ways to break a stream."""

    CUT = "cut"
    """End the body cleanly, before the answer has ended."""
    RESET = "reset"
    """Reset the connection."""
    STALL = "stall"
    """Send nothing more and keep the connection open."""
    DATA = "data"
    """Send the fault's `data` as an event without a name, then go on."""
    HALF = "half"
    """Send an event with the first half of its JSON, then go on."""
    ERROR = "error"
    """End with the event of an error."""


class Break(msgspec.Struct, frozen=True):
    """A fault: break the stream after `after` steps; its opening, each piece of the answer, its end are one each."""

    after: int
    how: How
    data: str = ""


class Slow(msgspec.Struct, frozen=True):
    """A fault: pause for so many seconds before each step of the stream."""

    seconds: float


class Framing(StrEnum):
    """Ways to write server-sent events that are allowed, except for the last, and still surprise."""

    CRLF = "crlf"
    """Lines end in CR LF."""
    COMMENTS = "comments"
    """Comments stand between and within events."""
    MULTILINE = "multiline"
    """Data goes over several `data:` lines."""
    GARBAGE = "garbage"
    """Events hold lines and fields that nobody knows."""
    UNSEPARATED = "unseparated"
    """No blank line ends an event."""


class Frame(msgspec.Struct, frozen=True):
    """A fault: write the events of the stream in another way."""

    framing: Framing


Part = Delta | Response


class Alter(msgspec.Struct, frozen=True):
    """A fault: change what the model says, part by part."""

    change: Callable[[Part], Iterable[Part]]


class Misname(msgspec.Struct, frozen=True):
    """A fault: say that another model has answered."""

    model: str


Fault = Reply | Refuse | Drop | Break | Slow | Frame | Alter | Misname
Faults = Callable[[int, dict[str, Any]], Fault | None]
"""Gives the fault for the n-th answer (from 1) to a request with that body, or None."""


class Altered:
    """A model that says what `change` makes of another's words."""

    def __init__(self, model: Model, change: Callable[[Part], Iterable[Part]]) -> None:
        self.spec = model.spec
        self.simulated = model.simulated
        self.takes_prefill = model.takes_prefill
        self._model = model
        self._change = change

    async def stream(self, request: Request) -> AsyncIterator[Part]:
        """See `Model.stream`."""
        parts = cast("AsyncGenerator[Part]", self._model.stream(request))
        async with contextlib.aclosing(parts):
            async for part in parts:
                for changed in self._change(part):
                    yield changed

    async def aclose(self) -> None:
        """See `Model.aclose`."""
        await self._model.aclose()


def renamed(model: str) -> Callable[[Part], Iterable[Part]]:
    """The change that gives the answering model another name."""

    def change(part: Part) -> Iterable[Part]:
        yield msgspec.structs.replace(part, model=model) if isinstance(part, Response) else part

    return change


def _stopped(stop: StopReason) -> Callable[[Part], Iterable[Part]]:
    def change(part: Part) -> Iterable[Part]:
        yield msgspec.structs.replace(part, stop=stop) if isinstance(part, Response) else part

    return change


def _chopped(part: Part) -> Iterable[Part]:
    if not isinstance(part, ToolCallDelta):
        yield part
        return
    for start in range(0, len(part.arguments) or 1, _PIECE):
        yield ToolCallDelta(part.index, part.name, part.arguments[start : start + _PIECE])


def _unclosed(part: Part) -> Iterable[Part]:
    match part:
        case ToolCallDelta(index, name, arguments):
            yield ToolCallDelta(index, name, arguments.replace("}", ""))
        case Response(message):
            calls = tuple(
                ToolCall(call.id, call.name, call.arguments.replace("}", "")) for call in message.tool_calls
            )
            message = msgspec.structs.replace(message, tool_calls=calls)
            yield msgspec.structs.replace(part, message=message)
        case _:
            yield part


def _silent(part: Part) -> Iterable[Part]:
    if isinstance(part, Response):
        nothing = ChatMessage(Role.ASSISTANT)
        usage = Usage(input=part.usage.input, output=0)
        yield msgspec.structs.replace(part, message=nothing, stop=StopReason.END, usage=usage)


def _speechless(part: Part) -> Iterable[Part]:
    """A provider that steps in before the model's first word."""
    if isinstance(part, Response):
        nothing = ChatMessage(Role.ASSISTANT)
        yield msgspec.structs.replace(part, message=nothing, stop=StopReason.CONTENT_FILTER)


_MIDDLE = 2
"""Steps after which the opening and the first piece have gone out."""
_SLOW_SECONDS = 0.05

PASSING: dict[str, Fault] = {
    "rate_limit": Refuse(429, "Rate limit reached; slow down.", "rate_limit_exceeded"),
    "rate_limit_wait": Refuse(429, "Rate limit reached; slow down.", "rate_limit_exceeded", wait=1.0),
    "server_error": Refuse(500, "The server had an error while it processed the request."),
    "unavailable": Refuse(503, "The service is not available for the moment."),
    "overloaded": Refuse(529, "Overloaded"),
    "drop": Drop(),
    "reset": Break(_MIDDLE, How.RESET),
    "cut": Break(_MIDDLE, How.CUT),
    "stall": Break(_MIDDLE, How.STALL),
    "slow": Slow(_SLOW_SECONDS),
    "half_event": Break(_MIDDLE, How.HALF),
    "error_event": Break(_MIDDLE, How.ERROR),
    "crlf": Frame(Framing.CRLF),
    "comments": Frame(Framing.COMMENTS),
    "multiline": Frame(Framing.MULTILINE),
    "garbage": Frame(Framing.GARBAGE),
    "unseparated": Frame(Framing.UNSEPARATED),
    "chopped_arguments": Alter(_chopped),
}
"""Faults after which the answer comes whole, at once or when it is asked for again."""

LASTING: dict[str, Fault] = {
    "payment_required": Refuse(402, "The account has no credit left.", "insufficient_quota"),
    "quota": Refuse(429, "The current quota is exceeded.", "insufficient_quota"),
    "key_revoked": Refuse(401, "The key is not valid any more.", "invalid_api_key"),
    "key_echoed": Refuse(400, "The request came with headers that are not understood:", echo=True),
    "context_length": Refuse(400, "210000 tokens > 200000 maximum", "context_length_exceeded"),
    "broken_arguments": Alter(_unclosed),
    "no_content": Alter(_silent),
    "content_filter": Alter(_speechless),
    "refusal": Alter(_stopped(StopReason.REFUSAL)),
    "wrong_model": Misname("another-model-2026"),
}
"""Faults that another attempt would not mend, or that change what the model says."""

FAULTS: dict[str, Fault] = PASSING | LASTING


def after(count: int, fault: Fault) -> Faults:
    """`fault` for every answer but the first `count`, as when a key is revoked in the middle of a run."""
    return lambda number, _: fault if number > count else None


def mixed(share: float, seed: int, names: Collection[str] = tuple(FAULTS)) -> Faults:
    """A fault drawn evenly from `names` for that share of the answers.

    The n-th answer meets the same fault whenever `seed` is the same.
    """
    choice = sorted(names)

    def faults(number: int, _: dict[str, Any]) -> Fault | None:
        chance = rng("fault", seed, number)
        return FAULTS[chance.choice(choice)] if chance.random() < share else None

    return faults

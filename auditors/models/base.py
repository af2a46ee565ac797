"""The one interface that every model is reached through.

`Model.stream(request)` yields deltas and ends with exactly one `Response`. Roles (auditor, target, judge,
realism) differ only in the request.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from store.errors import CcTuiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Role(StrEnum):
    """The speaker of a chat message, as the APIs name it."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ToolCall(msgspec.Struct, frozen=True):
    """A call that an assistant message makes."""

    id: str
    name: str
    arguments: str
    """JSON text exactly as the model wrote it; it may be broken."""


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a request or of a response."""

    role: Role
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """On a `tool` message: the call that it answers."""
    carry: tuple[dict[str, Any], ...] = ()
    """On an `assistant` message: blocks that only the endpoint that wrote them understands (signed thinking,
    encrypted reasoning), in its own form. They go back to it unchanged and are shown to nobody."""


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments."""


class Effort(StrEnum):
    """How much a model may reason before it answers."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sampling settings; None means that nothing is sent and the endpoint's default holds."""

    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    effort: Effort | None = None


class Request(msgspec.Struct, frozen=True):
    """One question to a model."""

    messages: tuple[ChatMessage, ...]
    """A last message of the assistant is a prefill: the answer goes on from it and does not repeat it."""
    tools: tuple[Tool, ...] = ()
    json_schema: dict[str, Any] | None = None
    """Schema of a structured answer, or None for free text."""
    settings: Settings = Settings()
    repeat: int = 0
    """Tells apart equal questions that are asked more than once."""

    @property
    def prefilled(self) -> bool:
        """Whether the answer has to go on from a given beginning."""
        return bool(self.messages) and self.messages[-1].role is Role.ASSISTANT


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True):
    """A piece of the model's visible reasoning."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A piece of a tool call's arguments; `name` comes with the first piece of each `index`."""

    index: int
    name: str
    arguments: str


Delta = TextDelta | ReasoningDelta | ToolCallDelta


class StopReason(StrEnum):
    """Why a model stopped."""

    END = "end"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"
    CONTENT_FILTER = "content_filter"


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call; None where nobody knows.

    `input` includes `cached` and `cache_written`, `output` includes `reasoning`.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    estimated: bool = False
    """Whether the endpoint did not say, and the numbers are a guess from lengths."""
    cache_written: int | None = None
    """Tokens that the endpoint put into its prompt cache, where that has a price of its own; part of `input`."""


class ErrorKind(StrEnum):
    """What went wrong with a call, coarse enough to count."""

    AUTH = "auth"
    BAD_REQUEST = "bad_request"
    CONNECTION = "connection"
    CONTEXT_LENGTH = "context_length"
    NOT_FOUND = "not_found"
    POLICY = "policy"
    """The provider declined to have the model answer; `HttpModel` gives it out as a refusal, not as an error."""
    OVERLOADED = "overloaded"
    """The service as a whole has too much to do (HTTP 529, 503)."""
    QUOTA = "quota"
    """The account has no money or allowance left; waiting does not help."""
    RATE_LIMIT = "rate_limit"
    SERVER = "server"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    """The endpoint cannot do what was asked, such as go on from a prefill; nothing was sent."""


class FailedAttempt(msgspec.Struct, frozen=True):
    """An attempt of a call that was made again from the start."""

    kind: ErrorKind
    detail: str
    """What happened, in one line, without keys."""
    seconds: float
    """How long it took, from the request to the failure."""
    received: int = 0
    """Characters of an answer that had arrived; they are in no transcript, but they may be billed."""


class Response(msgspec.Struct, frozen=True):
    """The whole answer, after its last delta."""

    message: ChatMessage
    stop: StopReason
    usage: Usage
    model: str
    """Model id as the API returned it."""
    failed: tuple[FailedAttempt, ...] = ()
    """Attempts before the one that succeeded."""
    sent: dict[str, Any] = {}
    """Sampling settings that went out."""
    not_sent: tuple[str, ...] = ()
    """Settings asked for that the endpoint does not take."""
    request_id: str = ""
    """The endpoint's own name for the call, to ask its support about."""
    stop_detail: str = ""
    """What the endpoint says besides `stop`, such as the category of a refusal, on one line."""
    cache_hit: bool = False
    """Whether the answer comes from the response cache, and nothing was asked or paid."""

    @property
    def refused(self) -> bool:
        """Whether the provider or the model declined to answer."""
        return self.stop in (StopReason.REFUSAL, StopReason.CONTENT_FILTER)


class ModelError(CcTuiError):
    """A call failed for good; the message never holds a key."""

    def __init__(self, kind: ErrorKind, message: str, failed: tuple[FailedAttempt, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.failed = failed
        """Every attempt, the last one included."""


class Model(Protocol):
    """A model that can be asked."""

    spec: str
    """Specification string, such as `openai/gpt-4.1` or `sim/vanilla`."""
    simulated: bool
    takes_prefill: bool
    """Whether a request may end with the beginning of the answer; `stream` raises `UNSUPPORTED` where not."""

    def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        """Ask, yielding deltas as they arrive and one `Response` at the end.

        Raises:
            ModelError: the call failed after the endpoint's retries.
        """
        ...

    async def aclose(self) -> None:
        """Close connections; the model is not used afterwards."""
        ...


async def complete(
    model: Model, request: Request, on_delta: Callable[[Delta], None] | None = None
) -> Response:
    """Ask `model` and wait for the whole answer; `on_delta` sees it come.

    Raises:
        ModelError: the call failed, or the stream ended without an answer.
    """
    response: Response | None = None
    async for part in model.stream(request):
        if isinstance(part, Response):
            response = part
        elif on_delta is not None:
            on_delta(part)
    if response is None:
        raise ModelError(ErrorKind.TRUNCATED, f"{model.spec} ended its stream without an answer.")
    return response

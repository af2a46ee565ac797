"""Reading of a Chat Completions event stream into deltas and the whole answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import (
    ChatMessage,
    Delta,
    ErrorKind,
    ReasoningDelta,
    Role,
    StopReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from auditors.models.failure import Failure, StreamError, event_failure
from auditors.models.stream_parts import CallDraft, count, parsed, unreadable
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None


class ChatAnswer:
    """The answer so far."""

    def __init__(self, asked: str) -> None:
        self.model = asked
        """Model id as the endpoint gives it; the one that was asked until then."""
        self.usage = Usage()
        self.stop_detail = ""
        self.finish: str | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refused = False
        self._calls: list[CallDraft] = []
        self._places: dict[int, int] = {}

    @property
    def finished(self) -> bool:
        """See `http_model.Answer`."""
        return self.finish is not None

    def add(self, data: bytes) -> Iterator[Delta]:
        """Take in one event and give out what it adds.

        Raises:
            StreamError: the event is an error, or cannot be read.
        """
        try:
            chunk = msgspec.convert(parsed(data), _Chunk)
        except msgspec.ValidationError as error:
            raise unreadable(error) from None
        if chunk.error is not None:
            raise StreamError(event_failure(chunk.error))
        self.model = chunk.model or self.model
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            self.finish = choice.finish_reason or self.finish
            if choice.delta is not None:
                yield from self._add(choice.delta)

    def _add(self, delta: _Delta) -> Iterator[Delta]:
        if reasoning := delta.reasoning_content or delta.reasoning:
            self._reasoning.append(reasoning)
            yield ReasoningDelta(storable(reasoning))
        if text := (delta.content or "") + (delta.refusal or ""):
            self._text.append(text)
            yield TextDelta(storable(text))
        self._refused = self._refused or bool(delta.refusal)
        for piece in delta.tool_calls or ():
            yield self._add_call(piece)

    def _add_call(self, piece: _ToolCall) -> ToolCallDelta:
        # Some servers leave out the index: then an id starts a call, and what has none goes on with the last.
        index = piece.index
        if index is None:
            index = len(self._calls) if piece.id or not self._calls else len(self._calls) - 1
        place = self._places.setdefault(index, len(self._calls))
        if place == len(self._calls):
            self._calls.append(CallDraft())
        call = self._calls[place]
        function = piece.function or _Function()
        name = function.name or ""
        call.id = call.id or piece.id or ""
        call.name = call.name or name
        call.arguments.append(function.arguments or "")
        return ToolCallDelta(place, storable(name), storable(function.arguments or ""))

    def message(self) -> ChatMessage:
        """The whole message."""
        return ChatMessage(
            role=Role.ASSISTANT,
            text=storable("".join(self._text)),
            reasoning=storable("".join(self._reasoning)),
            tool_calls=tuple(call.call() for call in self._calls),
        )

    def stop(self) -> StopReason:
        """Why the model stopped.

        Raises:
            StreamError: the stream ended before the model did.
        """
        match self.finish:
            case None:
                what = "the stream ended without a finish reason"
                raise StreamError(Failure(ErrorKind.TRUNCATED, what, passing=True))
            case "error":
                what = "the server gave up in the middle of the answer"
                raise StreamError(Failure(ErrorKind.SERVER, what, passing=True))
            case "length":
                return StopReason.LENGTH
            case "content_filter":
                return StopReason.CONTENT_FILTER
            case _ if self._refused:
                return StopReason.REFUSAL
            case _ if self._calls:  # Some servers say `stop` here.
                return StopReason.TOOL_CALLS
            case _:
                return StopReason.END


def _usage(usage: _Usage) -> Usage:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input=count(usage.prompt_tokens),
        output=count(usage.completion_tokens),
        cached=count(prompt.cached_tokens if prompt else None),
        reasoning=count(completion.reasoning_tokens if completion else None),
        cache_written=count(prompt.cache_write_tokens if prompt else None),
    )

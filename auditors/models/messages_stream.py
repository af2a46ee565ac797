"""Reading of a Messages event stream into deltas and the whole answer."""

from __future__ import annotations

import json
import secrets
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
    ToolCall,
    ToolCallDelta,
    Usage,
)
from auditors.models.failure import Failure, StreamError, event_failure
from auditors.models.messages_turns import text_blocks, tool_use
from auditors.models.stream_parts import count, parsed, unreadable
from store.text import one_line, storable

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_TOOL = "cc_tui_structured_answer"
"""Name of the tool whose arguments are the answer: a schema for models that can be held to one in no other way."""

_SAID = {"end_turn", "stop_sequence", "max_tokens", "tool_use", "refusal"}
"""Stop reasons that `StopReason` tells apart in full."""
_LONGEST_DETAIL = 200


class _Details(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None


class _Content(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _StopDetails(msgspec.Struct):
    category: str | None = None
    explanation: str | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Content | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | str | None = None


class _Block(msgspec.Struct):
    """A content block as far as it has come; `pieces` are its text, its thinking or its arguments."""

    type: str
    id: str = ""
    name: str = ""
    data: str = ""
    place: int = 0
    """Of a tool call: its number among the calls."""
    pieces: list[str] = []
    signature: list[str] = []

    @property
    def whole(self) -> str:
        return storable("".join(self.pieces))

    @property
    def is_call(self) -> bool:
        return self.type == "tool_use" and self.name != ANSWER_TOOL

    @property
    def is_text(self) -> bool:
        return self.type == "text" or (self.type == "tool_use" and self.name == ANSWER_TOOL)

    def carry(self) -> list[dict[str, Any]]:
        """The block as it goes back: thinking only if it is signed, for no endpoint takes it unsigned."""
        match self.type:
            case "thinking" if self.signature:
                signature = storable("".join(self.signature))
                return [{"type": "thinking", "thinking": self.whole, "signature": signature}]
            case "redacted_thinking" if self.data:
                return [{"type": "redacted_thinking", "data": storable(self.data)}]
            case "text":
                return text_blocks(self.whole)
            case "tool_use":
                return [tool_use(self.id, self.name, self.whole)]
            case _:
                return []


class MessagesAnswer:
    """The answer so far."""

    def __init__(self, asked: str) -> None:
        self.model = asked
        """Model id as the endpoint gives it; the one that was asked until then."""
        self.usage = Usage()
        self.stop_detail = ""
        self._stop: str | None = None
        self._blocks: dict[int, _Block] = {}
        self._counts = _Usage()

    @property
    def finished(self) -> bool:
        """See `http_model.Answer`."""
        return self._stop is not None

    def add(self, data: bytes) -> Iterator[Delta]:
        """Take in one event and give out what it adds.

        Raises:
            StreamError: the event is an error, or cannot be read.
        """
        try:
            event = msgspec.convert(parsed(data), _Event)
            given = event.content_block.input if event.content_block else None
            arguments = json.dumps(given) if given else None
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            raise unreadable(error) from None
        if event.error is not None:
            raise StreamError(event_failure(msgspec.to_builtins(event.error)))
        if event.message is not None:
            self.model = storable(event.message.model or self.model)
            # The output that is counted before there is any means nothing.
            self._count(event.message.usage, output=False)
        if event.usage is not None:
            self._count(event.usage, output=True)
        if event.content_block is not None:
            yield from self._begin(event.index, event.content_block, arguments)
        elif event.delta is not None and event.type == "message_delta":
            self._end(event.delta)
        elif event.delta is not None:
            yield from self._add(event.index, event.delta)

    def _begin(self, index: int, content: _Content, arguments: str | None) -> Iterator[Delta]:
        block = _Block(content.type, content.id or "", content.name or "", content.data or "")
        if block.type == "tool_use":
            block.id = block.id or f"toolu_{secrets.token_hex(8)}"
        if block.is_call:
            block.place = sum(other.is_call for other in self._blocks.values())
            yield ToolCallDelta(block.place, storable(block.name), "")
        self._blocks[index] = block
        # Most servers begin a block empty, some with its first piece or with all of its arguments.
        yield from self._add(index, _Delta(content.text, content.thinking, content.signature, arguments))

    def _add(self, index: int, delta: _Delta) -> Iterator[Delta]:
        block = self._blocks.get(index)
        if block is None:
            kind = "thinking" if delta.thinking else "text"
            block = self._blocks[index] = _Block(kind)
        if delta.signature:
            block.signature.append(delta.signature)
        piece = delta.text or delta.thinking or delta.partial_json
        if not piece:
            return
        block.pieces.append(piece)
        shown = storable(piece)
        if block.is_call:
            yield ToolCallDelta(block.place, "", shown)
        elif block.is_text:
            yield TextDelta(shown)
        elif block.type == "thinking":
            yield ReasoningDelta(shown)

    def _end(self, delta: _Delta) -> None:
        self._stop = delta.stop_reason or self._stop
        details = delta.stop_details or _StopDetails()
        unsaid = "" if self._stop in _SAID else self._stop
        self.stop_detail = one_line(details.category or details.explanation or unsaid or "", _LONGEST_DETAIL)

    def _count(self, usage: _Usage | None, *, output: bool) -> None:
        """Take in counts; later ones stand in the place of earlier ones and are of everything so far."""
        if usage is None:
            return
        old, new = msgspec.structs.asdict(self._counts), msgspec.structs.asdict(usage)
        if not output:
            new |= {"output_tokens": None, "output_tokens_details": None}
        self._counts = _Usage(**old | {name: value for name, value in new.items() if value is not None})
        counts = self._counts
        read, written = count(counts.cache_read_input_tokens), count(counts.cache_creation_input_tokens)
        fresh = count(counts.input_tokens)
        details = counts.output_tokens_details
        self.usage = Usage(
            input=None if fresh is None else fresh + (read or 0) + (written or 0),
            output=count(counts.output_tokens),
            cached=read,
            reasoning=count(details.thinking_tokens) if details else None,
            cache_written=written,
        )

    def message(self) -> ChatMessage:
        """The whole message.

        With signed thinking, `carry` holds every block in its place: the endpoint takes the thinking back only
        where it stood.
        """
        blocks = [block for _, block in sorted(self._blocks.items())]
        back = [part for block in blocks for part in block.carry()]
        signed = any(part["type"] in ("thinking", "redacted_thinking") for part in back)
        return ChatMessage(
            role=Role.ASSISTANT,
            text="".join(block.whole for block in blocks if block.is_text),
            reasoning="".join(block.whole for block in blocks if block.type == "thinking"),
            tool_calls=tuple(
                ToolCall(storable(block.id), storable(block.name), block.whole)
                for block in blocks
                if block.is_call
            ),
            carry=tuple(back) if signed else (),
        )

    def stop(self) -> StopReason:
        """Why the model stopped.

        Raises:
            StreamError: the stream ended before the model did.
        """
        match self._stop:
            case None:
                what = "the stream ended without a stop reason"
                raise StreamError(Failure(ErrorKind.TRUNCATED, what, passing=True))
            case "max_tokens" | "model_context_window_exceeded" | "pause_turn":
                return StopReason.LENGTH
            case "refusal":
                return StopReason.REFUSAL
            case _ if any(block.is_call for block in self._blocks.values()):
                return StopReason.TOOL_CALLS
            case _:
                return StopReason.END

"""Reading of a Responses event stream into deltas and the whole answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

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
    from collections.abc import Iterable, Iterator

_BREAK = "\n\n"
"""Stands between two messages, and between two parts of the reasoning."""
_TEXT = ("response.output_text.delta", "response.refusal.delta")
_REASONING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_ARGUMENTS = "response.function_call_arguments.delta"
_ADDED, _DONE = "response.output_item.added", "response.output_item.done"
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_UNDONE = ("incomplete", "failed", "cancelled")
_READ = {*_TEXT, *_REASONING, _ARGUMENTS, _ADDED, _DONE, *_ENDS, "response.created"}


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    model: str | None = None
    status: str | None = None
    output: list[dict[str, Any]] | None = None
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct):
    type: str
    delta: str = ""
    item: dict[str, Any] = {}
    output_index: int = 0
    summary_index: int = 0
    content_index: int = 0
    response: _Response | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class ResponsesAnswer:
    """The answer so far."""

    def __init__(self, asked: str) -> None:
        self.model = asked
        """Model id as the endpoint gives it; the one that was asked until then."""
        self.usage = Usage()
        self.stop_detail = ""
        self._draft = _Draft()
        self._whole: _Draft | None = None
        self._status = ""
        self._reason = ""

    @property
    def finished(self) -> bool:
        """See `http_model.Answer`."""
        return bool(self._status)

    def add(self, data: bytes) -> Iterator[Delta]:
        """See `http_model.Answer`."""
        raw = parsed(data)
        fields = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
        kind = fields.get("type")
        if kind == "error" or (kind is None and "error" in fields):
            raise StreamError(event_failure(fields))
        if not isinstance(kind, str) or kind not in _READ:
            return
        try:
            event = msgspec.convert(fields, _Event)
            yield from self._add(event)
        except (msgspec.ValidationError, RecursionError) as error:
            raise unreadable(error) from None

    def _add(self, event: _Event) -> Iterator[Delta]:
        if event.response is not None:
            self.model = event.response.model or self.model
        if event.type in _ENDS:
            self._end(event.type, event.response or _Response())
        elif event.type in _TEXT:
            yield self._draft.add_text(event)
        elif event.type in _REASONING:
            yield self._draft.add_reasoning(event)
        elif event.type == _DONE:
            self._draft.keep(event.item)
        elif event.type == _ARGUMENTS or event.item.get("type") == "function_call":
            yield self._draft.add_call(event)

    def _end(self, kind: str, response: _Response) -> None:
        # Not every server has an event of its own for each way to end.
        status = response.status if response.status in _UNDONE else kind.rpartition(".")[2]
        if status == "failed":
            raise StreamError(event_failure(response.error or {}))
        self._status = status
        self._reason = (response.incomplete_details and response.incomplete_details.reason) or ""
        if response.usage is not None:
            self.usage = _usage(response.usage)
        if response.output:
            self._whole = _read(response.output)

    def message(self) -> ChatMessage:
        """The whole message: what the last event says it is, or else what the deltas add up to."""
        draft = self._whole or self._draft
        return ChatMessage(
            role=Role.ASSISTANT,
            text=storable("".join(draft.text)),
            reasoning=storable("".join(draft.reasoning)),
            tool_calls=tuple(call.call() for call in draft.calls),
            carry=tuple(draft.carry),
        )

    def stop(self) -> StopReason:
        """See `http_model.Answer`."""
        draft = self._whole or self._draft
        match self._status, self._reason:
            case "incomplete", "max_output_tokens" | "max_tokens":
                return StopReason.LENGTH
            case "incomplete", "content_filter":
                return StopReason.CONTENT_FILTER
            case "completed", _ if draft.refused:
                return StopReason.REFUSAL
            case "completed", _ if draft.calls:
                return StopReason.TOOL_CALLS
            case "completed", _:
                return StopReason.END
            case "", _:
                what = "the stream ended before the response did"
            case status, reason:
                what = f"the response ended as {status}" + (f" ({reason})" if reason else "")
        raise StreamError(Failure(ErrorKind.TRUNCATED, what, passing=True))


class _Draft:
    """A message as far as it has come."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refused = False
        self.calls: list[CallDraft] = []
        self.carry: list[dict[str, Any]] = []
        self._places: dict[int, int] = {}
        self._message: int | None = None
        self._thought: tuple[str, int, int] | None = None

    def add_text(self, event: _Event) -> TextDelta:
        begins = self._message not in (None, event.output_index)
        self._message = event.output_index
        self.refused = self.refused or event.type == "response.refusal.delta"
        return TextDelta(_append(self.text, event.delta, begins))

    def add_reasoning(self, event: _Event) -> ReasoningDelta:
        thought = (event.type, event.output_index, event.summary_index or event.content_index)
        begins = self._thought not in (None, thought)
        self._thought = thought
        return ReasoningDelta(_append(self.reasoning, event.delta, begins))

    def add_call(self, event: _Event) -> ToolCallDelta:
        place = self._places.setdefault(event.output_index, len(self.calls))
        name = ""
        if place == len(self.calls):
            item = msgspec.convert(event.item, _Item)
            name = item.name or ""
            self.calls.append(CallDraft(item.call_id or item.id or "", name))
        self.calls[place].arguments.append(event.delta)
        return ToolCallDelta(place, storable(name), storable(event.delta))

    def keep(self, raw: dict[str, Any]) -> None:
        """Take in what a later request has to give back, if the item is such."""
        # With nothing stored, an item is only understood that says all by itself.
        if raw.get("type") == "reasoning" and (raw.get("encrypted_content") or raw.get("content")):
            self.carry.append(json.loads(storable(json.dumps(raw, ensure_ascii=False))))


def _append(pieces: list[str], text: str, begins: bool) -> str:
    """`text` with what has to stand before it."""
    pieces.append((_BREAK if begins else "") + text)
    return storable(pieces[-1])


def _read(output: Iterable[dict[str, Any]]) -> _Draft:
    """The message that whole items make."""
    draft = _Draft()
    for raw in output:
        if raw.get("type") not in ("message", "reasoning", "function_call"):
            continue
        item = msgspec.convert(raw, _Item)
        draft.keep(raw)
        content = item.content or []
        if item.type == "function_call":
            draft.calls.append(
                CallDraft(item.call_id or item.id or "", item.name or "", [item.arguments or ""])
            )
        elif item.type == "message":
            draft.refused = draft.refused or any(part.type == "refusal" for part in content)
            if text := "".join(part.text or part.refusal or "" for part in content):
                _append(draft.text, text, bool(draft.text))
        else:
            for part in (*(item.summary or ()), *content):
                if part.text:
                    _append(draft.reasoning, part.text, bool(draft.reasoning))
    return draft


def _usage(usage: _Usage) -> Usage:
    read, written = usage.input_tokens_details, usage.output_tokens_details
    return Usage(
        input=count(usage.input_tokens),
        output=count(usage.output_tokens),
        cached=count(read.cached_tokens if read else None),
        reasoning=count(written.reasoning_tokens if written else None),
        cache_written=count(read.cache_write_tokens if read else None),
    )

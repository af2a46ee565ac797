"""OpenAI Responses, as the loopback server speaks it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from auditors.models.base import (
    Delta,
    ErrorKind,
    ModelError,
    ReasoningDelta,
    Response,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from auditors.models.tokens import completed
from auditors.sim.exchange import seal, write_whole
from auditors.sim.responses_body import ResponsesBody
from auditors.sim.vendors import OPENAI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditors.sim.connection import RequestError
    from auditors.sim.exchange import Call, Event

_INCOMPLETE = {
    StopReason.LENGTH: "max_output_tokens",
    StopReason.CONTENT_FILTER: "content_filter",
}
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
}
"""Fields of the request that the answer repeats, and what they are where the request leaves them out."""


class _Kind(NamedTuple):
    """How the text of an item is streamed; an item has one part."""

    item: str
    holder: str
    """Field of the item that lists its parts."""
    counter: str
    """Field of an event that counts the parts."""
    part_event: str
    text_event: str
    part: str
    """Type of the part."""
    field: str
    """Field of the part that holds the text."""
    extra: dict[str, Any]
    """More fields of events about the text."""


_REASONING = _Kind(
    item="reasoning",
    holder="summary",
    counter="summary_index",
    part_event="response.reasoning_summary_part",
    text_event="response.reasoning_summary_text",
    part="summary_text",
    field="text",
    extra={},
)
_MESSAGE = _Kind(
    item="message",
    holder="content",
    counter="content_index",
    part_event="response.content_part",
    text_event="response.output_text",
    part="output_text",
    field="text",
    extra={"logprobs": []},
)
_REFUSAL = _MESSAGE._replace(text_event="response.refusal", part="refusal", field="refusal", extra={})
_CALL = "response.function_call_arguments"


class ResponsesExchange:
    """See `Exchange`. Reasoning is told as its summary, also to who has not asked for one."""

    def __init__(self, call: Call) -> None:
        body = msgspec.json.decode(call.body, type=ResponsesBody)
        raw = msgspec.json.decode(call.body)
        self.model = body.model
        self.stream = body.stream
        self.request = body.request(call.repeat)
        self._echo = {name: raw.get(name, default) for name, default in _ECHOED.items()}
        self._encrypts = "reasoning.encrypted_content" in (body.include or ())
        self._digest = call.digest
        self._created = int(time.time())
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._open: _Kind | int | None = None
        """What the last item is while it is open: a kind of text, or the index of a call."""
        self._calls: set[int] = set()
        self._declined = False
        self._final: dict[str, Any] = {}

    def start(self) -> Iterator[Event]:
        """See `Exchange.start`."""
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", response=self._response("in_progress"))

    def delta(self, delta: Delta) -> Iterator[Event]:
        """See `Exchange.delta`."""
        match delta:
            case ReasoningDelta(text):
                yield from self._say(_REASONING, text)
            case TextDelta(text):
                yield from self._say(_MESSAGE, text)
            case ToolCallDelta(index, name, arguments):
                if self._open != index:
                    yield from self._open_call(index, name)
                self._output[-1]["arguments"] += arguments
                if arguments:
                    yield self._item_event(f"{_CALL}.delta", delta=arguments)

    def refusal(self, text: str) -> Iterator[Event]:
        """See `Exchange.refusal`."""
        self._declined = True
        yield from self._say(_REFUSAL, text)

    def finish(self, response: Response) -> Iterator[Event]:
        """See `Exchange.finish`."""
        stop = response.stop
        if stop is StopReason.REFUSAL and not self._declined:  # The nearest that can be said without words.
            stop = StopReason.CONTENT_FILTER
        reason = _INCOMPLETE.get(stop)
        status = "incomplete" if reason else "completed"
        yield from self._close(status)
        usage = completed(response.usage, self.request, response.message)
        self._final = self._response(
            status,
            model=response.model,
            output=self._output,
            incomplete_details={"reason": reason} if reason else None,
            usage={
                "input_tokens": usage.input,
                "input_tokens_details": {"cached_tokens": usage.cached or 0, "cache_write_tokens": 0},
                "output_tokens": usage.output,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
                "total_tokens": (usage.input or 0) + (usage.output or 0),
            },
        )
        yield self._event(f"response.{status}", response=self._final)

    def error(self, error: RequestError) -> Iterator[Event]:
        """See `Exchange.error`."""
        fields = OPENAI.error(error)[1]["error"]
        code = error.code or ("server_error" if error.status >= 500 else "invalid_prompt")
        told = {"code": code, "message": fields["message"]}
        yield self._event("error", **told, param=fields["param"])
        yield self._event(
            "response.failed", response=self._response("failed", output=self._output, error=told)
        )

    def whole(self, response: Response) -> dict[str, Any]:
        """See `Exchange.whole`."""
        write_whole(self, response)
        return self._final

    def _say(self, kind: _Kind, text: str) -> Iterator[Event]:
        if self._open != kind:
            yield from self._open_text(kind)
        self._output[-1][kind.holder][0][kind.field] += text
        yield self._item_event(f"{kind.text_event}.delta", **{kind.counter: 0}, delta=text, **kind.extra)

    def _open_text(self, kind: _Kind) -> Iterator[Event]:
        item: dict[str, Any] = {"type": kind.item, kind.holder: []}
        if kind.item == "message":
            item |= {"role": "assistant", "status": "in_progress"}
        yield from self._add(item, "rs" if kind is _REASONING else "msg")
        self._open = kind
        part: dict[str, Any] = {"type": kind.part, kind.field: ""}
        if kind is _MESSAGE:
            part["annotations"] = []
        yield self._item_event(f"{kind.part_event}.added", **{kind.counter: 0}, part=part)
        item[kind.holder].append(part)

    def _open_call(self, index: int, name: str) -> Iterator[Event]:
        if index in self._calls:
            raise ModelError(ErrorKind.SERVER, f"Call {index} went on after another item had begun.")
        self._calls.add(index)
        # The wire has to name a call's id before the model gives one.
        item = {"call_id": f"call_{self._digest}_{index}", "name": name, "arguments": ""}
        yield from self._add({"type": "function_call", "status": "in_progress"} | item, "fc")
        self._open = index

    def _add(self, item: dict[str, Any], prefix: str) -> Iterator[Event]:
        yield from self._close("completed")
        item["id"] = f"{prefix}_{self._digest}_{len(self._output)}"
        self._output.append(item)
        yield self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _close(self, status: str) -> Iterator[Event]:
        opened, self._open = self._open, None
        if opened is None:
            return
        item = self._output[-1]
        if isinstance(opened, int):
            yield self._item_event(f"{_CALL}.done", arguments=item["arguments"])
        else:
            part = item[opened.holder][0]
            told = {opened.counter: 0, opened.field: part[opened.field], **opened.extra}
            yield self._item_event(f"{opened.text_event}.done", **told)
            yield self._item_event(f"{opened.part_event}.done", **{opened.counter: 0}, part=part)
        if opened is not _REASONING:
            item["status"] = status
        elif self._encrypts:
            item["encrypted_content"] = seal(item["summary"][0]["text"])
        yield self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _item_event(self, name: str, **fields: Any) -> Event:
        index = len(self._output) - 1
        return self._event(name, item_id=self._output[-1]["id"], output_index=index, **fields)

    def _event(self, name: str, **fields: Any) -> Event:
        event = {"type": name, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

    def _response(self, status: str, **fields: Any) -> dict[str, Any]:
        head: dict[str, Any] = {
            "id": f"resp_{self._digest}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": self.model,
            "output": [],
            "error": None,
            "incomplete_details": None,
            "usage": None,
        }
        return head | self._echo | fields

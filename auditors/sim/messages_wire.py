"""Anthropic Messages, as the loopback server speaks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    Usage,
)
from auditors.models.tokens import completed, estimate
from auditors.sim.exchange import seal, write_whole
from auditors.sim.messages_body import UNREADABLE, MessagesBody
from auditors.sim.vendors import ANTHROPIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditors.sim.connection import RequestError
    from auditors.sim.exchange import Call, Event

_STOP = {
    StopReason.END: "end_turn",
    StopReason.LENGTH: "max_tokens",
    StopReason.TOOL_CALLS: "tool_use",
    StopReason.REFUSAL: "refusal",
    StopReason.CONTENT_FILTER: "refusal",
}


class MessagesExchange:
    """See `Exchange`. Reasoning is told as a thinking block, also to who has not asked for one.

    A stream names its model before the model has said its own name, so it names the one that was asked.
    """

    def __init__(self, call: Call) -> None:
        body = msgspec.json.decode(call.body, type=MessagesBody)
        body.check(call.headers.get("anthropic-version", ""), msgspec.json.decode(call.body))
        self.model = body.model
        self.stream = body.stream
        self.request = body.request(call.repeat)
        self._digest = call.digest
        self._content: list[dict[str, Any]] = []
        self._open: str | int | None = None
        """What the last block is while it is open: `thinking`, `text` or the index of a call."""
        self._arguments: dict[int, str] = {}
        self._final: dict[str, Any] = {}

    def start(self) -> Iterator[Event]:
        """See `Exchange.start`."""
        usage = _usage(estimate(self.request, 0))
        yield {"type": "message_start", "message": self._message(usage=usage)}
        yield {"type": "ping"}

    def delta(self, delta: Delta) -> Iterator[Event]:
        """See `Exchange.delta`."""
        match delta:
            case ReasoningDelta(text):
                yield from self._say("thinking", text)
            case TextDelta(text):
                yield from self._say("text", text)
            case ToolCallDelta(index, name, arguments):
                if self._open != index:
                    yield from self._open_call(index, name)
                self._arguments[index] += arguments
                if arguments:
                    yield self._piece("input_json_delta", "partial_json", arguments)

    def refusal(self, text: str) -> Iterator[Event]:
        """See `Exchange.refusal`."""
        yield from self._say("text", text)

    def finish(self, response: Response) -> Iterator[Event]:
        """See `Exchange.finish`."""
        yield from self._close()
        stop = _STOP[response.stop]
        refusal = {"type": "refusal", "category": None, "explanation": None}
        delta = {
            "stop_reason": stop,
            "stop_sequence": None,
            "stop_details": refusal if stop == "refusal" else None,
        }
        usage = _usage(completed(response.usage, self.request, response.message))
        self._final = self._message(model=response.model, content=self._content, usage=usage, **delta)
        yield {"type": "message_delta", "delta": delta, "usage": usage}
        yield {"type": "message_stop"}

    def error(self, error: RequestError) -> Iterator[Event]:
        """See `Exchange.error`."""
        yield ANTHROPIC.error(error)[1]

    def whole(self, response: Response) -> dict[str, Any]:
        """See `Exchange.whole`."""
        write_whole(self, response)
        return self._final

    def _say(self, kind: str, text: str) -> Iterator[Event]:
        if self._open != kind:
            block = {"type": kind, kind: ""}
            yield from self._add(block | ({"signature": ""} if kind == "thinking" else {}))
            self._open = kind
        self._content[-1][kind] += text
        yield self._piece(f"{kind}_delta", kind, text)

    def _open_call(self, index: int, name: str) -> Iterator[Event]:
        if index in self._arguments:
            raise ModelError(ErrorKind.SERVER, f"Call {index} went on after another block had begun.")
        self._arguments[index] = ""
        # The wire has to name a call's id before the model gives one.
        call_id = f"toolu_{self._digest}_{index}"
        yield from self._add({"type": "tool_use", "id": call_id, "name": name, "input": {}})
        self._open = index

    def _add(self, block: dict[str, Any]) -> Iterator[Event]:
        yield from self._close()
        self._content.append(block)
        yield {"type": "content_block_start", "index": len(self._content) - 1, "content_block": block}

    def _close(self) -> Iterator[Event]:
        opened, self._open = self._open, None
        if opened is None:
            return
        block = self._content[-1]
        if opened == "thinking":
            block["signature"] = seal(block["thinking"])
            yield self._piece("signature_delta", "signature", block["signature"])
        elif isinstance(opened, int):
            block["input"] = _object(self._arguments[opened])
        yield {"type": "content_block_stop", "index": len(self._content) - 1}

    def _piece(self, kind: str, field: str, text: str) -> Event:
        delta = {"type": kind, field: text}
        return {"type": "content_block_delta", "index": len(self._content) - 1, "delta": delta}

    def _message(self, **fields: Any) -> dict[str, Any]:
        head: dict[str, Any] = {
            "id": f"msg_{self._digest}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
        }
        return head | fields


def _usage(usage: Usage) -> dict[str, Any]:
    cached = usage.cached or 0
    return {
        "input_tokens": (usage.input or 0) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output or 0,
        "output_tokens_details": {"thinking_tokens": usage.reasoning or 0},
    }


def _object(arguments: str) -> dict[str, Any]:
    """The arguments as an object, which is all that the protocol knows."""
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {UNREADABLE: arguments}

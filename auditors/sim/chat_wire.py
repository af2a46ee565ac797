"""OpenAI Chat Completions, as the loopback server speaks it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import (
    ChatMessage,
    Delta,
    ReasoningDelta,
    Request,
    Response,
    Role,
    Settings,
    StopReason,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from auditors.sim.exchange import effort
from auditors.sim.vendors import OPENAI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditors.sim.connection import RequestError
    from auditors.sim.exchange import Call, Event

_FINISH = {
    StopReason.END: "stop",
    StopReason.LENGTH: "length",
    StopReason.TOOL_CALLS: "tool_calls",
    StopReason.REFUSAL: "stop",
    StopReason.CONTENT_FILTER: "content_filter",
}


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Part(msgspec.Struct):
    text: str = ""


class _Function(msgspec.Struct):
    name: str
    arguments: str = ""
    description: str = ""
    parameters: dict[str, Any] = {}


class _Callable(msgspec.Struct):
    """A tool, or a call of one."""

    function: _Function
    id: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Callable] | None = None
    tool_call_id: str | None = None


class _JsonSchema(msgspec.Struct, frozen=True):
    schema: dict[str, Any] | None = None


class _ResponseFormat(msgspec.Struct):
    json_schema: _JsonSchema = _JsonSchema()


class _Body(msgspec.Struct):
    """Body of a request, as far as it matters here; a seed is ignored, as a simulated model has its own."""

    model: str
    messages: list[_Message]
    stream: bool = False
    stream_options: _StreamOptions | None = None
    tools: list[_Callable] | None = None
    response_format: _ResponseFormat | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None

    def request(self, repeat: int) -> Request:
        return Request(
            messages=tuple(_message(message) for message in self.messages),
            tools=tuple(
                Tool(tool.function.name, tool.function.description, tool.function.parameters)
                for tool in self.tools or ()
            ),
            json_schema=self.response_format.json_schema.schema if self.response_format else None,
            settings=Settings(
                temperature=self.temperature,
                max_tokens=self.max_completion_tokens if self.max_tokens is None else self.max_tokens,
                effort=effort(self.reasoning_effort),
            ),
            repeat=repeat,
        )

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def _message(message: _Message) -> ChatMessage:
    content = message.content
    if isinstance(content, list):
        content = "".join(part.text for part in content)
    return ChatMessage(
        role=Role.SYSTEM if message.role == "developer" else Role(message.role),
        text=content or "",
        reasoning=message.reasoning_content or "",
        tool_calls=tuple(
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id,
    )


class ChatExchange:
    """See `Exchange`."""

    def __init__(self, call: Call) -> None:
        self._body = msgspec.json.decode(call.body, type=_Body)
        self.model = self._body.model
        self.stream = self._body.stream
        self.request = self._body.request(call.repeat)
        self._digest = call.digest
        self._id = f"chatcmpl-{self._digest}"
        self._created = int(time.time())
        self._announced: set[int] = set()
        self._declined = False

    def start(self) -> Iterator[Event]:
        """See `Exchange.start`."""
        yield self._piece({"role": "assistant", "content": ""})

    def delta(self, delta: Delta) -> Iterator[Event]:
        """See `Exchange.delta`."""
        match delta:
            case TextDelta(text):
                yield self._piece({"content": text})
            case ReasoningDelta(text):
                yield self._piece({"reasoning_content": text})
            case ToolCallDelta(index, name, arguments):
                call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
                if index not in self._announced:
                    self._announced.add(index)
                    # The wire has to name a call's id before the model gives one.
                    call |= {"id": f"call_{self._digest}_{index}", "type": "function"}
                    call["function"]["name"] = name
                yield self._piece({"tool_calls": [call]})

    def refusal(self, text: str) -> Iterator[Event]:
        """See `Exchange.refusal`."""
        self._declined = True
        yield self._piece({"refusal": text})

    def finish(self, response: Response) -> Iterator[Event]:
        """See `Exchange.finish`."""
        stop = response.stop
        if stop is StopReason.REFUSAL and not self._declined:  # The nearest that can be said without words.
            stop = StopReason.CONTENT_FILTER
        choice: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": _FINISH[stop]}
        yield self._chunk({"choices": _choices(response, choice), "model": response.model})
        if self._body.wants_usage and (tokens := _usage(response)):
            yield self._chunk({"choices": [], "usage": tokens, "model": response.model})
        yield "[DONE]"

    def error(self, error: RequestError) -> Iterator[Event]:
        """See `Exchange.error`."""
        yield self._chunk(OPENAI.error(error)[1])
        yield "[DONE]"

    def whole(self, response: Response) -> dict[str, Any]:
        """See `Exchange.whole`."""
        answer = response.message
        refused = response.stop is StopReason.REFUSAL
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if refused else answer.text,
            "refusal": answer.text if refused else None,
        }
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in answer.tool_calls
            ]
        choice = {"index": 0, "message": message, "finish_reason": _FINISH[response.stop]}
        return self._head("chat.completion") | {
            "model": response.model,
            "choices": _choices(response, choice),
            "usage": _usage(response),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self.model,
        }

    def _piece(self, delta: dict[str, Any]) -> Event:
        return self._chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    def _chunk(self, fields: dict[str, Any]) -> Event:
        return self._head("chat.completion.chunk") | fields


def _choices(response: Response, choice: dict[str, Any]) -> list[dict[str, Any]]:
    """The one choice; none for a model that wrote not a single token."""
    return [] if response.usage.output == 0 else [choice]


def _usage(response: Response) -> dict[str, Any] | None:
    """The count of tokens, or None where the model does not say."""
    tokens = response.usage
    if tokens.input is None or tokens.output is None:
        return None
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }

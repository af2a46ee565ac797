"""OpenAI's Chat Completions as JSON: requests become `Request`, deltas and `Response` become answers."""

from __future__ import annotations

from typing import Any

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

FINISH = {
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


class ChatRequest(msgspec.Struct):
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

    def request(self, repeat: int) -> Request:
        """The request in our own form.

        Raises:
            ValueError: a message has an unknown role.
        """
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
            ),
            repeat=repeat,
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the count of tokens."""
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


class DeltaWriter:
    """Writes the deltas of one answer.

    The wire has to name a call's id before the model gives one, so `digest` makes ids that only equal
    requests share.
    """

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._calls: set[int] = set()

    def write(self, delta: Delta) -> dict[str, Any]:
        """The `delta` object of a chunk."""
        if isinstance(delta, TextDelta):
            return {"content": delta.text}
        if isinstance(delta, ReasoningDelta):
            return {"reasoning_content": delta.text}
        call: dict[str, Any] = {"index": delta.index, "function": {"arguments": delta.arguments}}
        if delta.index not in self._calls:
            self._calls.add(delta.index)
            call |= {"id": f"call_{self._digest}_{delta.index}", "type": "function"}
            call["function"]["name"] = delta.name
        return {"tool_calls": [call]}

    def unwritten(self, message: ChatMessage) -> list[Delta]:
        """Calls of the whole message that no delta announced, such as one with empty arguments."""
        return [
            ToolCallDelta(index, call.name, call.arguments)
            for index, call in enumerate(message.tool_calls)
            if index not in self._calls
        ]


def completion(response: Response) -> dict[str, Any]:
    """The fields of a whole answer that come from the model."""
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
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.tool_calls
        ]
    return {
        "object": "chat.completion",
        "model": response.model,
        "choices": [{"index": 0, "message": message, "finish_reason": FINISH[response.stop]}],
        "usage": usage(response),
    }


def usage(response: Response) -> dict[str, Any] | None:
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

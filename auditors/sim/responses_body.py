"""What is asked over OpenAI Responses. Nothing is stored, so every request brings its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import ChatMessage, Request, Role, Settings, Tool, ToolCall
from auditors.sim.connection import RequestError
from auditors.sim.exchange import effort, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Part(msgspec.Struct):
    text: str = ""
    refusal: str = ""


_Content = str | list[_Part] | None


class _Item(msgspec.Struct):
    type: str = "message"
    role: str = ""
    content: _Content = None
    id: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: _Content = None
    summary: list[_Part] = []
    encrypted_content: str | None = None


class _Tool(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Format(msgspec.Struct, frozen=True):
    schema: dict[str, Any] | None = None


class _Text(msgspec.Struct):
    format: _Format = _Format()


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class ResponsesBody(msgspec.Struct):
    """Body of a request, as far as it matters here."""

    model: str
    input: str | list[_Item]
    instructions: str | None = None
    stream: bool = False
    tools: list[_Tool] | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None

    def request(self, repeat: int) -> Request:
        """The request in our own form.

        Raises:
            RequestError: the service would not take it.
            ValueError: it holds what is not known here.
        """
        if self.previous_response_id:
            what = f"Previous response with id {self.previous_response_id!r} not found."
            raise RequestError(400, what, "previous_response_not_found", param="previous_response_id")
        items = [_Item(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        _check(items)
        system = [ChatMessage(Role.SYSTEM, self.instructions)] if self.instructions else []
        return Request(
            messages=(*system, *_messages(items)),
            tools=tuple(
                Tool(tool.name, tool.description or "", tool.parameters or {}) for tool in self.tools or ()
            ),
            json_schema=self.text.format.schema if self.text else None,
            settings=Settings(
                temperature=self.temperature,
                max_tokens=self.max_output_tokens,
                effort=effort(self.reasoning.effort) if self.reasoning else None,
            ),
            repeat=repeat,
        )


def _of_turn(item: _Item) -> bool:
    return item.type in ("reasoning", "function_call") or item.role == "assistant"


def _check(items: list[_Item]) -> None:
    called = {item.call_id for item in items if item.type == "function_call"}
    answered = {item.call_id for item in items if item.type == "function_call_output"}
    for call_id in sorted(answered - called):
        what = f"No tool call found for function call output with call_id {call_id}."
        raise RequestError(400, what, param="input")
    for call_id in sorted(called - answered):
        raise RequestError(400, f"No tool output found for function call {call_id}.", param="input")
    for item, follower in zip(items, [*items[1:], None], strict=True):
        if item.type == "reasoning" and not (follower and _of_turn(follower)):
            what = f"Item {item.id!r} of type 'reasoning' was provided without its required following item."
            raise RequestError(400, what, param="input")


def _messages(items: list[_Item]) -> Iterator[ChatMessage]:
    """The history; the items of one turn of the model are one message."""
    turn: ChatMessage | None = None
    for item in items:
        begins = item.type != "function_call" and turn is not None and (turn.text or turn.tool_calls)
        if turn is not None and (begins or not _of_turn(item)):
            yield turn
            turn = None
        if _of_turn(item):
            turn = _extended(turn or ChatMessage(Role.ASSISTANT), item)
        elif item.type == "function_call_output":
            yield ChatMessage(Role.TOOL, _text(item.output), tool_call_id=item.call_id)
        elif item.type == "message":
            role = Role.SYSTEM if item.role == "developer" else Role(item.role)
            yield ChatMessage(role, _text(item.content))
        else:
            raise ValueError(f"an item of type {item.type!r} is not understood")
    if turn is not None:
        yield turn


def _extended(turn: ChatMessage, item: _Item) -> ChatMessage:
    match item.type:
        case "reasoning":
            return msgspec.structs.replace(turn, reasoning=turn.reasoning + _reasoning(item))
        case "function_call":
            call = ToolCall(item.call_id, item.name, item.arguments)
            return msgspec.structs.replace(turn, tool_calls=(*turn.tool_calls, call))
        case _:
            return msgspec.structs.replace(turn, text=_text(item.content))


def _reasoning(item: _Item) -> str:
    if item.encrypted_content is None:
        what = f"Item with id {item.id!r} not found: nothing is stored here, so send its encrypted_content."
        raise RequestError(404, what, param="input")
    try:
        return unseal(item.encrypted_content)
    except ValueError:
        what = f"The encrypted content for item {item.id} could not be verified."
        raise RequestError(400, what, "invalid_encrypted_content") from None


def _text(content: _Content) -> str:
    if isinstance(content, list):
        return "".join(part.text + part.refusal for part in content)
    return content or ""

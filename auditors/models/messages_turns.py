"""Chat messages in the form of the Anthropic Messages protocol: turns of content blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from auditors.models.base import ChatMessage, Role
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Sequence

Block = dict[str, Any]

_OWN_BLOCKS = {"text", "thinking", "redacted_thinking", "tool_use"}


def system_blocks(messages: Sequence[ChatMessage]) -> list[Block]:
    """The system prompt: one block for each system message."""
    return [
        block for message in messages if message.role is Role.SYSTEM for block in text_blocks(message.text)
    ]


def turns(messages: Sequence[ChatMessage], *, echo: bool) -> list[dict[str, Any]]:
    """Everything else, as turns of the user and the assistant that take each other's place.

    The protocol wants the results of all calls in one user turn, before any text, and takes no text without words:
    a message without anything is left out, and its neighbours become one turn. It takes no blank at the end of a
    prefill either, so the answer may begin with that blank.

    Args:
        messages: the conversation.
        echo: whether what the assistant carries (`ChatMessage.carry`) goes back.
    """
    spoken = [message for message in messages if message.role is not Role.SYSTEM]
    if spoken and spoken[-1].role is Role.ASSISTANT:
        spoken[-1] = msgspec.structs.replace(spoken[-1], text=spoken[-1].text.rstrip())
    found: list[dict[str, Any]] = []
    for message in spoken:
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = _blocks(message, echo)
        if found and found[-1]["role"] == role:
            found[-1]["content"] += blocks
        elif blocks:
            found.append({"role": role, "content": blocks})
    for turn in found:
        turn["content"].sort(key=_is_no_result)
    return found


def text_blocks(text: str) -> list[Block]:
    """A text as a block, or nothing for a text without words."""
    return [{"type": "text", "text": storable(text)}] if text.strip() else []


def tool_use(call_id: str, name: str, arguments: str) -> Block:
    """A call as a block.

    The protocol wants an object where the model may have written something else: that goes back as the text it is,
    under `INVALID_JSON`, the name that the vendor gives to such text.
    """
    arguments = storable(arguments)
    try:
        given = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        given = None
    if not isinstance(given, dict):
        given = {"INVALID_JSON": arguments}
    return {"type": "tool_use", "id": call_id, "name": name, "input": cast("dict[str, Any]", given)}


def _is_no_result(block: Block) -> bool:
    return block["type"] != "tool_result"


def _blocks(message: ChatMessage, echo: bool) -> list[Block]:
    if message.role is Role.TOOL:
        result: Block = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        return [result | ({"content": storable(message.text)} if message.text.strip() else {})]
    if echo and carried(message):
        return list(message.carry)
    calls = [tool_use(call.id, call.name, call.arguments) for call in message.tool_calls]
    return text_blocks(message.text) + calls


def carried(message: ChatMessage) -> bool:
    """Whether `message` carries blocks of this protocol."""
    return bool(message.carry) and all(block.get("type") in _OWN_BLOCKS for block in message.carry)

"""Our messages in the form of Inspect and Petri."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store.records import Message


def chat_message(message: Message) -> dict[str, Any]:
    """One message, as the target was shown it or wrote it; reasoning is a part of its content."""
    written: dict[str, Any] = {"id": message.message_id, "content": message.text, "role": message.role}
    if message.reasoning:
        parts = [
            {"type": "reasoning", "reasoning": message.reasoning},
            {"type": "text", "text": message.text},
        ]
        written["content"] = parts
    written["metadata"] = {
        "source": "Target" if message.author == "target" else "Auditor",
        "author": message.author,
    }
    if message.role == "assistant":
        written["source"] = "generate" if message.author == "target" else None
        written["tool_calls"] = [tool_call(call) for call in message.tool_calls] or None
        if message.prefill:
            written["metadata"]["prefill"] = True
    if message.role == "tool":
        written["tool_call_id"] = message.tool_call_id
    return written


def tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments as an object; `call` has id, name and arguments (JSON text)."""
    try:
        arguments = msgspec.json.decode(call["arguments"])
    except msgspec.DecodeError:
        arguments = None
    if isinstance(arguments, dict):
        return {"id": call["id"], "function": call["name"], "arguments": arguments, "type": "function"}
    # What a model wrote and is no object stays readable beside the reason.
    error = f"The arguments are no JSON object: {call['arguments']}"
    return {
        "id": call["id"],
        "function": call["name"],
        "arguments": {},
        "parse_error": error,
        "type": "function",
    }


def path_to(messages: Iterable[Message], message_id: str) -> list[Message]:
    """The messages from the beginning to one of them."""
    by_id = {message.message_id: message for message in messages}
    path: list[Message] = []
    at: str | None = message_id
    while at is not None:
        path.append(by_id[at])
        at = by_id[at].parent_id
    return path[::-1]

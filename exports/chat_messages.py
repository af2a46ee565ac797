"""Messages in the form of Inspect and Petri, whose transcripts share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from exports.tree import Call, Heard

if TYPE_CHECKING:
    from collections.abc import Callable

_ROLES = ("system", "user", "assistant", "tool")


class UnreadableError(Exception):
    """A transcript is not what it should be; the message says why."""


def heard(raw: Any, resolve: Callable[[str], str] = str) -> Heard:
    """One message.

    Args:
        raw: the message as its JSON has it.
        resolve: looks up text that stands elsewhere in the file.

    Raises:
        UnreadableError: it is no message.
    """
    if not isinstance(raw, dict) or raw.get("role") not in _ROLES:
        raise UnreadableError(f"a message has the role {raw.get('role') if isinstance(raw, dict) else raw!r}")
    metadata = raw.get("metadata") or {}
    said, thought = _content(raw.get("content"), resolve)
    source = metadata.get("source") if isinstance(metadata, dict) else None
    return Heard(
        source_id=str(raw.get("id") or ""),
        role=raw["role"],
        text=said,
        reasoning=thought,
        tool_calls=tuple(_call(call, resolve) for call in _list(raw.get("tool_calls"))),
        tool_call_id=raw.get("tool_call_id") if raw["role"] == "tool" else None,
        prefill=raw["role"] == "assistant"
        and isinstance(metadata, dict)
        and (bool(metadata.get("prefill")) or source == "Auditor"),
    )


def _content(content: Any, resolve: Callable[[str], str]) -> tuple[str, str]:
    """What is said and what is thought; anything but text is named in brackets."""
    if content is None or isinstance(content, str):
        return resolve(content or ""), ""
    said: list[str] = []
    thought: list[str] = []
    for part in _list(content):
        if not isinstance(part, dict):
            raise UnreadableError("a message's content is neither text nor a list of parts")
        match part.get("type"):
            case "text":
                said.append(resolve(str(part.get("text") or "")))
            case "reasoning":
                hidden = "[hidden by the provider]" if part.get("redacted") else ""
                thought.append(resolve(str(part.get("summary") or hidden or part.get("reasoning") or "")))
            case kind:
                said.append(f"[{kind}]")
    return "\n".join(said), "\n".join(thought)


def _call(raw: Any, resolve: Callable[[str], str]) -> Call:
    if not isinstance(raw, dict):
        raise UnreadableError("a tool call is not an object")
    arguments = raw.get("arguments")
    text = (
        arguments
        if isinstance(arguments, str)
        else msgspec.json.encode(_resolved(arguments, resolve)).decode()
    )
    return Call(str(raw.get("id") or ""), str(raw.get("function") or ""), text)


def _resolved(value: Any, resolve: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return resolve(value)
    if isinstance(value, dict):
        return {key: _resolved(one, resolve) for key, one in value.items()}
    if isinstance(value, list):
        return [_resolved(one, resolve) for one in value]
    return value


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnreadableError("a list is expected where there is none")
    return value

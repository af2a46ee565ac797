"""Tool calls as models write them into their text, by the formats that chat templates teach.

Only a format that the model's own template shows is looked for, and what does not follow it stays text: a call
is never guessed.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from auditors.models.base import ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditors.models.base import Tool

    Read = Callable[[str, Sequence[Tool]], ToolCall | None]


class _Format(NamedTuple):
    """How one call is written: the marks around it, what else surrounds calls, and how to read what is inside."""

    begin: str
    end: str
    around: tuple[str, ...]
    read: Read


def split_calls(text: str, template: str, tools: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
    """An answer's text without its tool calls, and the calls.

    Args:
        text: the answer, marks included.
        template: source of the chat template that taught the model how to write a call.
        tools: the tools that were offered.
    """
    for form in _FORMATS:
        if form.begin in template:
            return _marked(text, form, tools)
    if '"parameters":' in template and (call := _bare(text, tools)):
        return "", (call,)
    return text, ()


def _marked(text: str, form: _Format, tools: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
    calls: list[ToolCall] = []
    said: list[str] = []
    at = 0
    while (begin := text.find(form.begin, at)) >= 0:
        end = text.find(form.end, begin)
        if end < 0:
            break
        call = form.read(text[begin + len(form.begin) : end], tools)
        after = end + len(form.end)
        said.append(text[at : begin if call else after])
        if call:
            calls.append(call)
        at = after
    if not calls:
        return text, ()
    rest = "".join([*said, text[at:]])
    for mark in form.around:
        rest = rest.replace(mark, "")
    return rest.strip(), tuple(calls)


class _Named(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    """Kept as the model wrote it."""


class _Bare(msgspec.Struct):
    name: str
    parameters: msgspec.Raw


def _tagged(body: str, tools: Sequence[Tool]) -> ToolCall | None:
    """Qwen3's JSON object, or the elements of Qwen3.5 and Nemotron 3, between the same tags."""
    body = body.strip()
    if body.startswith("<function="):
        return _elements(body, tools)
    with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
        named = msgspec.json.decode(body, type=_Named)
        if named.name:
            return ToolCall(_new_id(), named.name, bytes(named.arguments).decode())
    return None


def _elements(body: str, tools: Sequence[Tool]) -> ToolCall | None:
    name, closed, rest = body.removeprefix("<function=").partition(">")
    inner, ended, _ = rest.rpartition("</function>")
    if not (name.strip() and closed and ended):
        return None
    offered = next((tool for tool in tools if tool.name == name.strip()), None)
    schemas = _object(offered.parameters.get("properties")) if offered else {}
    arguments: dict[str, Any] = {}
    for element in inner.split("<parameter=")[1:]:
        key, closed, rest = element.partition(">")
        value, ended, _ = rest.rpartition("</parameter>")
        if not (closed and ended):
            return None
        value = value.removeprefix("\n").removesuffix("\n")
        arguments[key.strip()] = _typed(value, schemas.get(key.strip()))
    return ToolCall(_new_id(), name.strip(), json.dumps(arguments, ensure_ascii=False))


def _typed(value: str, schema: object) -> Any:
    """The value that an element's text stands for: JSON, unless the tool asks for a string there."""
    kinds = _object(schema).get("type", "string")
    if kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _object(value: object) -> dict[str, Any]:
    """`value` if it is a JSON object; schemas may come from a model too."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _deepseek(body: str, _tools: Sequence[Tool]) -> ToolCall | None:
    name, mark, arguments = body.partition("<｜tool▁sep｜>")
    return ToolCall(_new_id(), name.strip(), arguments.strip()) if mark and name.strip() else None


def _kimi(body: str, _tools: Sequence[Tool]) -> ToolCall | None:
    # The id names the function and counts calls, and the template writes it back instead of a name.
    call_id, mark, arguments = body.partition("<|tool_call_argument_begin|>")
    name = call_id.strip().removeprefix("functions.").rpartition(":")[0]
    return ToolCall(call_id.strip(), name, arguments.strip()) if mark and name else None


def _bare(text: str, tools: Sequence[Tool]) -> ToolCall | None:
    """Llama's call: the whole answer is one JSON object. So that no other answer in JSON is taken for one, it
    has to name a tool that was offered.
    """
    with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
        bare = msgspec.json.decode(text.strip(), type=_Bare)
        if bare.name in {tool.name for tool in tools}:
            return ToolCall(_new_id(), bare.name, bytes(bare.parameters).decode())
    return None


def _new_id() -> str:
    return f"call_{secrets.token_hex(8)}"


_FORMATS = (
    _Format("<tool_call>", "</tool_call>", (), _tagged),
    _Format(
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        _deepseek,
    ),
    _Format(
        "<|tool_call_begin|>",
        "<|tool_call_end|>",
        ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        _kimi,
    ),
)

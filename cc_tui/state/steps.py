"""A person's steps: the calls that they are, and the fields in which a step is written or changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.feed import Call
from store.errors import InputError
from store.records import Phase
from store.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditors.feed import Entry
    from cc_tui.state.tree import Tree

_TEXTS = {
    "send_message": "message",
    "set_system_message": "system_message",
    "send_tool_call_result": "result",
    "resume": "prefill",
}
"""The argument of each tool that is prose; the others are shown as JSON."""
_ONE_LINE = 60
"""Characters of JSON that need no line of their own for each value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One text of a form."""

    title: str
    text: str | None = ""
    """Printable, what stands there at first; None where there is nothing to write."""
    lines: bool = True
    """Whether it may have more than one line."""


def call(name: str, /, **arguments: object) -> Call:
    """A call with its arguments."""
    return Call(name, msgspec.json.encode(arguments).decode())


def told(call: Call) -> tuple[str, str]:
    """A call as two texts: its name with the small arguments, and its prose or other arguments. Raw."""
    arguments = _arguments(call)
    if arguments is None:
        return call.name, call.arguments
    prose = _prose(call, arguments)
    rest = {name: value for name, value in arguments.items() if name != prose}
    if prose is None:
        return call.name, msgspec.json.encode(rest).decode() if rest else ""
    small = ", ".join(f"{name} {value}" for name, value in rest.items())
    return call.name + (f" · {small}" if small else ""), arguments[prose]


def fields_of(calls: Sequence[Call]) -> list[Field]:
    """The fields in which a step is changed; `calls_of` turns them back."""
    return [field for call in calls for field in _fields(call)]


def calls_of(calls: Sequence[Call], texts: Sequence[str]) -> list[Call]:
    """The step with the texts of its fields; what nobody changed stays as it came, to the byte.

    Raises:
        InputError: a text that has to be JSON is none.
    """
    changed: list[Call] = []
    left = list(texts)
    for call in calls:
        fields = _fields(call)
        written, left = left[: len(fields)], left[len(fields) :]
        same = all(field.text in (None, text) for field, text in zip(fields, written, strict=True))
        changed.append(call if same else _written(call, fields, written))
    return changed


def changed_turn(tree: Tree, message_id: str, text: str) -> list[Call]:
    """The step that forks at a message.

    After a message of the target or the system, `text` is what the user says next. Any other message is said again
    as `text`, with what was staged after it as it was.

    Raises:
        InputError: the result of a tool call that nobody knows cannot be given again.
    """
    entry = tree.messages[message_id]
    if entry.author in ("target", "system"):
        return [
            back_to(message_id),
            call("send_message", message=text, phase=phase_of(tree, message_id)),
            call("resume"),
        ]
    staged = [msgspec.structs.replace(entry, text=text), *tree.rest_of_turn(message_id)]
    prefill = next((one.text for one in staged if one.prefill), None)
    says = [_said_again(one) for one in staged if not one.prefill]
    return [
        back_to(entry.parent_id),
        *says,
        call("resume") if prefill is None else call("resume", prefill=prefill),
    ]


def back_to(message_id: str | None) -> Call:
    """The call that goes back to a message, or to where the conversation began."""
    if message_id is None:
        return call("restart_conversation", keep_tools=True)
    return call("rollback_conversation", message_id=message_id)


def phase_of(tree: Tree, message_id: str | None) -> str:
    """The phase of a message; what follows it is in the same unless somebody says otherwise."""
    entry = tree.messages.get(message_id or "")
    return entry.phase if entry and entry.phase in tuple(Phase) else Phase.TASK


def _said_again(entry: Entry) -> Call:
    if entry.author != "tool":
        return call("send_message", message=entry.text, phase=entry.phase)
    if entry.tool_call_id is None:
        raise InputError(
            "The engine does not tell which call this result answers: fork at the message before it."
        )
    return call("send_tool_call_result", tool_call_id=entry.tool_call_id, result=entry.text)


def _fields(call: Call) -> list[Field]:
    name = printable(call.name)
    arguments = _arguments(call)
    if arguments is None:
        return [Field(f"{name} · arguments, no JSON as they came", printable(call.arguments))]
    fields: list[Field] = []
    prose = _prose(call, arguments)
    if prose is not None:
        fields.append(Field(name, printable(arguments[prose])))
    rest = {key: value for key, value in arguments.items() if key != prose}
    if rest:
        text = _json(rest)
        title = f"{name} · {'other ' if fields else ''}arguments as JSON"
        fields.append(Field(title, text, lines="\n" in text))
    return fields or [Field(name, None)]


def _written(call: Call, fields: Sequence[Field], texts: Sequence[str]) -> Call:
    arguments = _arguments(call)
    if arguments is None:
        _object(call.name, texts[0])
        return Call(call.name, texts[0])
    prose = _prose(call, arguments)
    written: dict[str, Any] = {}
    for field, text in zip(fields, texts, strict=True):
        if field is fields[0] and prose is not None:
            written[prose] = arguments[prose] if text == field.text else text
        elif text == field.text:
            written |= {key: value for key, value in arguments.items() if key != prose}
        else:
            written |= _object(call.name, text)
    return Call(call.name, msgspec.json.encode(written).decode())


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InputError(f"The arguments of {printable(name)} are no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InputError(f"The arguments of {printable(name)} must be a JSON object, such as {{}}.")
    return value


def _arguments(call: Call) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _prose(call: Call, arguments: dict[str, Any]) -> str | None:
    name = _TEXTS.get(call.name)
    return name if name is not None and isinstance(arguments.get(name), str) else None


def _json(value: object) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
    if len(text) > _ONE_LINE:
        text = msgspec.json.format(text, indent=2)
    # A control can only stand inside a string, where JSON has an escape of its own for it.
    return "".join(sign if printable(sign) == sign else f"\\u{ord(sign):04x}" for sign in text)

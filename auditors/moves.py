"""The auditor's tools: their arguments, and what each does to a conversation.

A driver's step is a list of tool calls, whoever drives. `decode` turns a call into a typed move; broken JSON, a
wrong argument or an unknown tool is an `IllegalMoveError`, whose text goes back to the driver as the call's result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from auditors.conversation import Change, Conversation, IllegalMoveError, MessageAdded
from store.records import Author, Phase
from store.text import one_line

if TYPE_CHECKING:
    from auditors.models.base import ToolCall


_MAX_FAULT = 200
"""Characters that are told of what is wrong with a schema."""


class _Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class SetSystemMessage(_Move, frozen=True):
    """Set the target's system message."""

    system_message: str


class SendMessage(_Move, frozen=True):
    """Stage a user message."""

    message: str
    phase: Phase | None = None


class SendToolCallResult(_Move, frozen=True):
    """Stage a tool's result."""

    tool_call_id: str
    result: str
    status: Literal["success", "error"] = "success"


class CreateTool(_Move, frozen=True):
    """Give the target a tool."""

    name: str
    description: str
    parameters: dict[str, Any]


class RemoveTool(_Move, frozen=True):
    """Take a tool away."""

    tool_name: str


class Resume(_Move, frozen=True):
    """Give the target the turn; with a prefill, its reply goes on from these words."""

    prefill: str = ""


class RollbackConversation(_Move, frozen=True):
    """Go back to a message."""

    message_id: str


class RestartConversation(_Move, frozen=True):
    """Begin anew."""

    keep_tools: bool = True


class EndConversation(_Move, frozen=True):
    """End the audit."""


Move = (
    SetSystemMessage
    | SendMessage
    | SendToolCallResult
    | CreateTool
    | RemoveTool
    | Resume
    | RollbackConversation
    | RestartConversation
    | EndConversation
)

_MOVES: dict[str, type[Move]] = {
    "set_system_message": SetSystemMessage,
    "send_message": SendMessage,
    "send_tool_call_result": SendToolCallResult,
    "create_tool": CreateTool,
    "remove_tool": RemoveTool,
    "resume": Resume,
    "rollback_conversation": RollbackConversation,
    "restart_conversation": RestartConversation,
    "end_conversation": EndConversation,
}


def decode(call: ToolCall) -> Move:
    """The move that a tool call asks for."""
    kind = _MOVES.get(call.name)
    if kind is None:
        raise IllegalMoveError(f"There is no tool {call.name!r}; the tools are {', '.join(_MOVES)}.")
    try:
        return msgspec.json.decode(call.arguments or "{}", type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise IllegalMoveError(f"The arguments of {call.name} are wrong: {error}.") from None


def change_of(conversation: Conversation, move: Move, author: Author) -> tuple[Change, str]:
    """The change that a move makes, and what the driver is told of it; `Resume` and `EndConversation` make none."""
    match move:
        case SetSystemMessage(text):
            return _staged(conversation.set_system_message(text, author))
        case SendMessage(text, phase):
            return _staged(conversation.send_message(text, author, phase))
        case SendToolCallResult(call_id, result, status):
            text = result if status == "success" else f"Error: {result}"
            return _staged(conversation.send_tool_result(call_id, text, author))
        case CreateTool(name, description, parameters):
            _check_schema(parameters)
            return conversation.create_tool(
                name, description, parameters
            ), f"The assistant has the tool {name}."
        case RemoveTool(name):
            return conversation.remove_tool(name), f"The tool {name} is gone."
        case RollbackConversation(message_id):
            return conversation.rollback(message_id), f"The conversation goes on from {message_id}."
        case RestartConversation(keep_tools):
            return conversation.restart(keep_tools), "The conversation is empty again."
        case Resume() | EndConversation():
            raise TypeError(f"{move} changes nothing by itself")


def _check_schema(parameters: dict[str, Any]) -> None:
    """Raise if no endpoint would take it, since the audit would only learn so from errors of the target."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "the whole"
        what = one_line(error.message, _MAX_FAULT)
        raise IllegalMoveError(f"`parameters` is no JSON Schema: {what} (at {where}).") from None
    except RecursionError:
        raise IllegalMoveError("`parameters` is too deeply nested.") from None


def _staged(added: MessageAdded) -> tuple[Change, str]:
    return added, f"Staged as [message_id: {added.node.message_id}]."

"""What the focused view shows of a change of the conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditors.conversation import MessageAdded, Restarted, RolledBack, ToolCreated, ToolRemoved
from auditors.feed import Entry
from auditors.models.base import Role

if TYPE_CHECKING:
    from auditors.conversation import Change, Conversation


def entry_of(change: Change, conversation: Conversation) -> Entry:
    """The entry of a change that `conversation` has just made."""
    match change:
        case MessageAdded(node):
            author = "tool" if node.role is Role.TOOL else str(node.author)
            if node.role is Role.SYSTEM:
                author = "system"
            return Entry(
                author,
                node.text,
                node.phase,
                node.branch,
                node.message_id,
                node.reasoning,
                node.parent_id,
                node.prefill,
                node.tool_calls,
                node.tool_call_id,
            )
        case RolledBack(message_id):
            text = f"rolled back to {message_id}"
        case Restarted():
            text = "started again"
        case ToolCreated(tool):
            text = f"gave the assistant the tool {tool.name}"
        case ToolRemoved(name):
            text = f"took the tool {name} away"
    return note(text, conversation)


def note(text: str, conversation: Conversation, author: str = "note") -> Entry:
    """The entry of something that happens where `conversation` stands, and is no message of it."""
    return Entry(author, text, conversation.phase, conversation.branch, parent_id=conversation.head)

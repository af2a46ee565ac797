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
            calls = "".join(f"\n→ {call.name}({call.arguments})" for call in node.tool_calls)
            return Entry(
                author,
                node.text + calls,
                node.phase,
                node.branch,
                node.message_id,
                node.reasoning,
                node.parent_id,
                node.prefill,
            )
        case RolledBack(message_id):
            text = f"rolled back to {message_id}"
        case Restarted():
            text = "started again"
        case ToolCreated(tool):
            text = f"gave the assistant the tool {tool.name}"
        case ToolRemoved(name):
            text = f"took the tool {name} away"
    return Entry("note", text, conversation.phase, conversation.branch)

"""An audit's views, rebuilt from what the store has of it: the target's conversation, and what its auditor read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import msgspec

from auditors.compaction import compact
from auditors.conversation import Change, MessageAdded, Node, rebuild
from auditors.drivers import opening_messages, result_text, told_messages
from auditors.models.base import ChatMessage, Role, ToolCall
from store.records import Driver, Message
from store.transcripts import read_records

if TYPE_CHECKING:
    from auditors.conversation import Conversation
    from store.reader import Reader

_CHANGES = {change.__struct_config__.tag for change in get_args(Change)}


def stored_changes(reader: Reader, audit_id: str) -> list[Change]:
    """Every change of an audit's conversation, in order; blocking."""
    messages = {m.message_id: m for m in read_records(reader, Message, "audit_id = ?", [audit_id])}
    changes: list[Change] = []
    for kind, payload in _events(reader, audit_id):
        if kind not in _CHANGES:
            continue
        if kind == "message_added":
            row: dict[str, Any] = msgspec.to_builtins(messages[payload["message_id"]])
            fields = {name: row[name] for name in Node.__struct_fields__ if name in row}
            node = msgspec.convert(fields | {"carry": payload.get("carry", [])}, Node)
            changes.append(MessageAdded(node))
        else:
            changes.append(msgspec.convert({"kind": kind, **payload}, Change))
    return changes


def stored_conversation(reader: Reader, audit_id: str) -> Conversation:
    """An audit's conversation with all its branches, as it stood at its last event; blocking."""
    return rebuild(stored_changes(reader, audit_id))


def auditor_messages(reader: Reader, audit_id: str) -> list[ChatMessage]:
    """What an auditor model has read and written, as it stood at the audit's last event; blocking."""
    nodes = stored_conversation(reader, audit_id).nodes
    messages: list[ChatMessage] = []
    for kind, payload in _events(reader, audit_id):
        match kind:
            case "auditor_prompted":
                messages += opening_messages(**payload)
            case "auditor_told":
                results = (
                    (r["call_id"], result_text(r["said"], nodes[r["reply"]] if r["reply"] else None))
                    for r in payload["results"]
                )
                messages += told_messages(results, payload["news"])
            case "compacted":
                messages = compact(messages, payload["keep"])
            case "auditor_step" if payload["driver"] == Driver.MODEL:
                calls = msgspec.convert(payload["calls"], tuple[ToolCall, ...])
                said = ChatMessage(Role.ASSISTANT, payload["text"], payload["reasoning"], calls)
                messages.append(msgspec.structs.replace(said, carry=tuple(payload["carry"])))
            case _:
                pass
    return messages


def _events(reader: Reader, audit_id: str) -> list[tuple[str, dict[str, Any]]]:
    rows = reader.rows("SELECT kind, payload FROM events WHERE audit_id = ? ORDER BY seq", [audit_id])
    return [(row["kind"], msgspec.json.decode(row["payload"])) for row in rows]

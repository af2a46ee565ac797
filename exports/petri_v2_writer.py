"""Our audits as transcripts of Petri 2, for its viewers and scripts: one JSON file each."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from exports.chat_writer import chat_message, path_to, tool_call
from exports.petri_v2 import FORM
from store.records import JudgementKind, JudgementStatus

if TYPE_CHECKING:
    from datetime import datetime

    from exports.outgoing import Leaving
    from store.records import Event, Judgement, Message

_VERSION = "v3.0"
"""What Petri 2 calls its format."""


def petri_v2(audit: Leaving) -> tuple[str, str]:
    """Name and text of an audit's file; an imported one is given back as it came."""
    row = audit.transcript.audit
    name = f"transcript_{row['started_at']:%Y-%m-%d_%H-%M-%S}_{row['audit_id']}.json"
    if audit.form == FORM:
        return name, audit.source
    document = {
        "metadata": _metadata(audit),
        "events": _events(audit),
        "messages": _auditor(audit.events),
        "target_messages": [chat_message(m) for m in audit.surviving()],
    }
    return name, msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _metadata(audit: Leaving) -> dict[str, Any]:
    row = audit.transcript.audit
    return {
        "transcript_id": row["audit_id"],
        "auditor_model": row["auditor_answered"] or row["auditor_model"] or row["driver"],
        "target_model": row["target_answered"] or row["target_model"],
        "created_at": _time(row["started_at"]),
        "updated_at": _time(row["ended_at"] or row["started_at"]),
        "version": _VERSION,
        "seed_instruction": row["item_text"],
        "tags": audit.tags,
        "judge_output": _judged(audit),
        # Not of Petri's: what its files have no place for.
        "condition": row["condition_id"],
        "mode": row["mode"],
        "repeat": row["repeat"],
        "simulated": row["simulated"],
    }


def _judged(audit: Leaving) -> dict[str, Any] | None:
    """The reported judge's first answer on the rubric; what has no value is null, and said to have none."""
    rubric = [j for j in audit.transcript.judgements if j.kind is JudgementKind.RUBRIC]
    if not rubric:
        return None
    judge = audit.judge if any(j.judge == audit.judge for j in rubric) else rubric[0].judge
    own = [j for j in rubric if j.judge == judge and j.repeat == 0]
    words = [f"{j.dimension}: {j.justification}" for j in own if j.justification]
    lost = [f"{j.dimension}: no score ({j.status})" for j in own if j.status is not JudgementStatus.OK]
    return {
        "response": "\n".join([*words, *lost]),
        "summary": f"Judged by {judge}.",
        "justification": "\n".join([*words, *lost]),
        "scores": {j.dimension: None if j.score is None else round(j.score) for j in own},
        "score_descriptions": {j.dimension: audit.rubrics.get(j.dimension, "") for j in own},
        "highlights": _highlights(own, audit.transcript.messages),
    }


def _highlights(judgements: list[Judgement], messages: list[Message]) -> list[dict[str, Any]]:
    texts = {message.message_id: message.text for message in messages}
    quotes = [(j.dimension, citation) for j in judgements for citation in j.citations]
    highlights: list[dict[str, Any]] = []
    for index, (dimension, citation) in enumerate(quotes, start=1):
        # A quote that stands nowhere keeps the message that the judge named.
        message_id = citation["message_id"] or citation.get("claimed", "")
        start = texts.get(message_id, "").find(citation["quote"])
        part = {
            "message_id": message_id,
            "quoted_text": citation["quote"],
            "position": None if start < 0 else [start, start + len(citation["quote"])],
        }
        highlights.append({"index": index, "description": dimension, "parts": [part]})
    return highlights


def _events(audit: Leaving) -> list[dict[str, Any]]:
    """How the target's view changed, and which tools it was given."""
    by_id = {message.message_id: message for message in audit.transcript.messages}
    shown: list[str] = []
    written: list[dict[str, Any]] = [
        _event(audit.events[0], "decision_event", content=audit.transcript.audit["item_text"])
    ]
    for event in audit.events:
        payload = event.payload
        match event.kind:
            case "message_added":
                path = [m.message_id for m in path_to(by_id.values(), payload["message_id"])]
                name = "Send Message"
            case "rolled_back":
                path = [m.message_id for m in path_to(by_id.values(), payload["message_id"])]
                name = "Rollback"
            case "restarted":
                path, name = [], "New Target Conversation"
            case "tool_created":
                written.append(
                    _event(event, "tool_creation_event", model="target", tool=_tool(payload["tool"]))
                )
                continue
            case _:
                continue
        patch = _patch(shown, path, by_id)
        if patch:
            edit = {"operation": "json_patch", "patch": patch, "name": name}
            written.append(_event(event, "transcript_event", view="target", edit=edit))
        shown = path
    return written


def _patch(before: list[str], after: list[str], by_id: dict[str, Message]) -> list[dict[str, Any]]:
    """RFC 6902 from one list of messages to another."""
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    removed = [_operation("remove", same, None) for _ in before[same:]]
    return removed + [
        _operation("add", n, chat_message(by_id[message_id]))
        for n, message_id in enumerate(after[same:], start=same)
    ]


def _operation(kind: str, place: int, value: dict[str, Any] | None) -> dict[str, Any]:
    return {"op": kind, "path": f"/{place}", "from_": None, "value": value, "replaced": None}


def _event(event: Event, kind: str, **fields: Any) -> dict[str, Any]:
    # The same audit gives the same file: an event's id comes from what it is.
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"{event.audit_id}/{event.seq}/{kind}")
    return {"type": kind, "id": str(name), "metadata": {}, "timestamp": _time(event.created_at), **fields}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    schema = tool["parameters"]
    return {
        "name": tool["name"],
        "description": tool["description"],
        "parameters": {"properties": {}, "required": [], **schema, "additionalProperties": False},
    }


def _auditor(events: list[Event]) -> list[dict[str, Any]]:
    """What the auditor read and wrote, as far as it is more than the target's own words."""
    messages: list[dict[str, Any]] = []
    for event in events:
        payload, name = event.payload, f"e{event.seq}"
        if event.kind == "auditor_step":
            calls = [tool_call(call) for call in payload["calls"]] or None
            message = {"id": name, "role": "assistant", "content": payload["text"], "source": "generate"}
            messages.append(message | {"tool_calls": calls})
        elif event.kind == "auditor_told":
            messages += [
                {
                    "id": f"{name}-{n}",
                    "role": "tool",
                    "content": told["said"],
                    "tool_call_id": told["call_id"],
                }
                for n, told in enumerate(payload["results"])
            ]
    return messages


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")

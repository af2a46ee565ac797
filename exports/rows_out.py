"""Transcripts and scores as lines and tables that any tool reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from exports.outgoing import Leaving

SCORES = """
    SELECT s.study_id, s.audit_id, s.condition_id, s.recipe, s.role, s.training_seed, s.mode, s.item_label,
           s.audit_repeat, s.item_preferences, s.judge, s.judge_repeat, s.kind, s.dimension, s.judgement_status,
           s.score, s.verdict,
           s.coherence, s.audit_status, s.intervened, s.simulated
    FROM scores s
"""
"""One row for each question to a judge."""


def training_line(audit: Leaving) -> str:
    """The surviving conversation as one line for fine-tuning: `messages` and nothing else."""
    messages: list[dict[str, Any]] = []
    begun = ""
    for message in audit.surviving():
        if message.prefill:
            begun = message.text
            continue
        line: dict[str, Any] = {"role": message.role, "content": begun + message.text}
        begun = ""
        if message.tool_calls:
            line["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            line["tool_call_id"] = message.tool_call_id
        messages.append(line)
    return _line({"messages": messages})


def transcript_line(audit: Leaving) -> str:
    """Everything about an audit as one JSON object: its row, all messages of the tree, all judgements."""
    transcript = audit.transcript
    return _line(
        {
            "audit": {**transcript.audit, "preferences": audit.tags},
            "messages": transcript.messages,
            "judgements": transcript.judgements,
        }
    )


def _line(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode() + "\n"

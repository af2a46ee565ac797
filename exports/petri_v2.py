"""Transcripts of Petri 1 and 2: one JSON file for each audit.

The file says how the target's messages changed, so that rolled-back branches come back too. Its text is kept word
for word, and an export of an imported audit gives it back.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exports.chat_messages import UnreadableError, heard
from exports.incoming import Incoming, Quote, Score
from exports.tree import Heard, grow
from store.records import JudgementStatus

if TYPE_CHECKING:
    from pathlib import Path

    from exports.sources import Origin

FORM = "petri-v2"
_FAILED = "Failed to parse"
_PARTIAL = "Partial parse"
_TARGET = "target"


def read_petri_v2(path: Path, text: str, document: Any, origin: Origin) -> list[Incoming]:
    """The audit of a `transcript_….json`, whose text and JSON these are.

    Raises:
        UnreadableError: it is none.
    """
    metadata = document.get("metadata") if isinstance(document, dict) else None
    if not isinstance(metadata, dict) or "transcript_id" not in metadata:
        raise UnreadableError("it is no Petri transcript: it has no metadata.transcript_id")
    states = list(_states(document))
    tags = metadata.get("tags") or []
    model = str(metadata.get("target_model") or "unknown")
    judged = metadata.get("judge_output")
    return [
        Incoming(
            key=f"{origin.condition or model}/{metadata['transcript_id']}",
            condition=origin.condition or model,
            role=origin.role,
            model=model,
            auditor=metadata.get("auditor_model"),
            judge=origin.judge or "unknown",
            mode=origin.mode_of(path),
            seed=str(metadata.get("seed_instruction") or metadata.get("description") or ""),
            tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
            tree=grow(states),
            scores=tuple(_scores(judged)) if isinstance(judged, dict) else (),
            rubrics=_texts(judged.get("score_descriptions")) if isinstance(judged, dict) else {},
            started_at=_time(metadata.get("created_at")),
            source=text,
            form=FORM,
            simulated=origin.simulated,
        )
    ]


def _states(document: dict[str, Any]) -> list[list[Heard]]:
    """What the target's conversation was after each event that changed it, and at the end."""
    states: list[list[Heard]] = []
    now: list[Any] = []
    for event in document.get("events") or []:
        views = event.get("view") if isinstance(event, dict) else None
        if event.get("type") == "transcript_event" and _TARGET in (
            [views] if isinstance(views, str) else views or []
        ):
            now = _edited(now, event.get("edit") or {})
            states.append([heard(message) for message in now])
    if not states and document.get("target_messages"):
        # Files without events still tell how the conversation ended.
        states.append([heard(message) for message in document["target_messages"]])
    return states


def _edited(messages: list[Any], edit: dict[str, Any]) -> list[Any]:
    match edit.get("operation"):
        case "json_patch":
            for patch in edit.get("patch") or []:
                messages = _patched(messages, patch)
            return messages
        case "add":
            return [*messages, edit.get("message")]
        case "reset":
            return list(edit.get("new_messages") or [])
        case "rollback":
            to = edit.get("to_id")
            places = [n for n, m in enumerate(messages) if isinstance(m, dict) and m.get("id") == to]
            keep = places[-1] + 1 if to and places else len(messages) - int(edit.get("count") or 0)
            return messages[: max(keep, 0)]
        case other:
            raise UnreadableError(f"it has an edit of the unknown kind {other!r}")


def _patched(messages: list[Any], patch: dict[str, Any]) -> list[Any]:
    """One operation of RFC 6902, as far as Petri writes them; nothing of the old list changes."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in str(patch.get("path", "")).split("/")[1:]]
    try:
        return _at(messages, steps, patch)
    except (IndexError, KeyError, ValueError, TypeError):
        raise UnreadableError(f"a patch does not fit: {patch.get('op')} {patch.get('path')}") from None


def _at(value: Any, steps: list[str], patch: dict[str, Any]) -> Any:
    operation = patch.get("op")
    if operation not in ("add", "replace", "remove"):
        raise UnreadableError(f"it has a patch of the unknown kind {operation!r}")
    if not steps:
        return patch.get("value")
    first, rest = steps[0], steps[1:]
    changed: Any = value.copy()
    place: Any = (len(value) if first == "-" else int(first)) if isinstance(value, list) else first
    if rest:
        changed[place] = _at(changed[place], rest, patch)
    elif operation == "remove":
        del changed[place]
    elif operation == "add" and isinstance(changed, list):
        if not 0 <= place <= len(changed):
            raise IndexError(place)
        changed.insert(place, patch.get("value"))
    else:
        changed[place] = patch.get("value")
    return changed


def _scores(judged: dict[str, Any]) -> list[Score]:
    """The judge's scores; where Petri put a 1 because it could not read the answer, there is none."""
    why = str(judged.get("justification") or judged.get("summary") or "")
    response = str(judged.get("response") or "")
    quotes = tuple(
        Quote(str(part.get("message_id") or ""), str(part.get("quoted_text") or ""))
        for highlight in judged.get("highlights") or []
        for part in highlight.get("parts") or []
    )
    scores: list[Score] = []
    for name, value in (judged.get("scores") or {}).items():
        status = JudgementStatus.OK
        if why.startswith(_FAILED):
            status = JudgementStatus.UNPARSED
        elif why.startswith(_PARTIAL) and not re.search(rf"\b{re.escape(name)}\W*:\s*\d+\s*/\s*10", response):
            status = JudgementStatus.MISSING
        # Citations belong to the answer as a whole: they stand with its first dimension.
        scores.append(Score(str(name).split("/")[-1], value, status, why, quotes if not scores else ()))
    return scores


def _texts(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _time(text: Any) -> datetime | None:
    """The file's local time, which has no zone, taken for UTC."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)

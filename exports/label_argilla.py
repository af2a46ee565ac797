"""Labels for and from Argilla 2: a dataset as its client keeps it on disk.

Argilla takes one suggestion for each question and loses the others, so judges go into metadata that annotators do not
see; it knows users by UUID only, so that a file beside the records says who is who.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from exports.label_rows import GOLD, Given, Passage
from store.errors import InputError
from store.records import RaterKind, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from exports.label_formats import Sheet
    from store.questions import Question
    from store.records import Message

_SPACE = uuid.UUID("5d5b9f4e-6f0c-4b53-9d6e-2f6f0a3c7c11")
_PEOPLE = "cc_annotators.json"
_EVIDENCE = "evidence"
_GAP = "\n\n"


def write_argilla(folder: Path, sheet: Sheet) -> None:
    """Write `.argilla/`, `records.json` and who is who."""
    (folder / ".argilla").mkdir(parents=True)
    people = sorted({row.rater for row in sheet.given if row.rater_kind in (RaterKind.HUMAN, GOLD)})
    users = {name: str(uuid.uuid5(_SPACE, name)) for name in people}
    gold = {row.rater for row in sheet.given if row.rater_kind == GOLD}
    files: dict[str, Any] = {
        ".argilla/dataset.json": {"name": "cc_tui_labels", "status": "draft"},
        ".argilla/settings.json": _settings(sheet),
        "records.json": [_record(sheet, item, users) for item in sheet.items],
        _PEOPLE: {user: {"name": name, "gold": name in gold} for name, user in users.items()},
    }
    for name, content in files.items():
        (folder / name).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))


def _flat(messages: list[Message]) -> tuple[str, dict[str, int]]:
    """The transcript as one text, and where each message's own text begins in it."""
    text, starts = "", dict[str, int]()
    for message in messages:
        text += (_GAP if text else "") + f"[{message.message_id} {message.role}] "
        starts[message.message_id] = len(text)
        text += message.text
    return text, starts


def _record(sheet: Sheet, item: str, users: dict[str, str]) -> dict[str, Any]:
    messages = sheet.messages.get(item, [])
    flat, starts = _flat(messages)
    metadata: dict[str, Any] = {"transcript_id": item}
    responses: dict[str, list[dict[str, Any]]] = {}
    spans: dict[str, list[dict[str, Any]]] = {}
    for row in sheet.of_item[item]:
        if row.value is None:
            continue
        value = _value(sheet.questions[row.dimension], row.value)
        if row.rater not in users or row.rater_kind in (RaterKind.JUDGE, RaterKind.RULE):
            metadata[_meta_name(row)] = str(row.value)
            continue
        responses.setdefault(row.dimension, []).append(
            {"value": value, "user_id": users[row.rater], "status": "submitted"}
        )
        spans.setdefault(users[row.rater], []).extend(
            {
                "start": starts[passage.message_id] + passage.start,
                "end": starts[passage.message_id] + passage.end,
                "label": row.dimension,
            }
            for passage in row.passages
            if passage.message_id in starts
        )
    if evidence := [
        {"value": found, "user_id": user, "status": "submitted"} for user, found in spans.items() if found
    ]:
        responses[_EVIDENCE] = evidence
    return {
        "id": item,
        "fields": {"chat": [{"role": m.role, "content": m.text} for m in messages], "flat": flat},
        "metadata": metadata,
        "suggestions": {},
        "responses": responses,
        "vectors": {},
    }


def _meta_name(row: Given) -> str:
    name = "".join(c if c.isalnum() else "_" for c in f"{row.rater}_{row.dimension}".lower())
    return f"{name}_{row.sample}" if row.sample else name


def _value(question: Question, value: str) -> Any:
    return round(float(value)) if question.kind in ("rubric", "scale") else value


def _settings(sheet: Sheet) -> dict[str, Any]:
    def field(name: str, kind: str, *, required: bool) -> dict[str, Any]:
        settings = {"type": kind, "use_markdown": False}
        return {"name": name, "title": name, "required": required, "settings": settings}

    def options(names: list[str]) -> list[dict[str, Any]]:
        return [{"value": name, "text": name, "description": None} for name in names]

    questions: list[dict[str, Any]] = []
    for question in sheet.questions.values():
        if question.kind in ("rubric", "scale"):
            values = [{"value": v} for v in range(round(question.low), round(question.high) + 1)]
            settings: dict[str, Any] = {"type": "rating", "options": values}
        else:
            names = [str(v) for v in Verdict] if question.kind == "statement" else question.choices
            settings = {"type": "label_selection", "options": options(names)}
        questions.append(_asked(question.dimension, question.text or None, settings, required=True))
    span = {
        "type": "span",
        "field": "flat",
        "allow_overlapping": True,
        "options": options(list(sheet.questions)),
    }
    questions.append(_asked(_EVIDENCE, None, span, required=False))
    judges = sorted(
        {_meta_name(row) for row in sheet.given if row.rater_kind in (RaterKind.JUDGE, RaterKind.RULE)}
    )
    metadata = [("transcript_id", True), *((name, False) for name in judges)]
    return {
        "guidelines": "\n\n".join(f"{q.dimension}: {q.text}" for q in sheet.questions.values() if q.text)
        or None,
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 2},
        "fields": [
            field("chat", "chat", required=True),
            field("flat", "text", required=False),
        ],
        "questions": questions,
        "metadata": [
            {"name": name, "title": name, "visible_for_annotators": seen, "settings": {"type": "terms"}}
            for name, seen in metadata
        ],
        "vectors": [],
    }


def _asked(name: str, text: str | None, settings: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "title": name, "description": text, "required": required, "settings": settings}


class _Response(msgspec.Struct):
    value: Any
    user_id: str
    status: str = "submitted"


class _Record(msgspec.Struct):
    id: str | int
    fields: dict[str, Any]
    metadata: dict[str, Any] = {}
    responses: dict[str, list[_Response]] = {}


class _Person(msgspec.Struct):
    name: str
    gold: bool = False


def read_argilla(folder: Path) -> list[Given]:
    """Read a dataset's submitted responses; users whom no file names keep their UUID.

    Raises:
        InputError: it is no such dataset.
    """
    path = folder / "records.json" if folder.is_dir() else folder
    people: dict[str, _Person] = {}
    try:
        records = msgspec.json.decode(path.read_bytes(), type=list[_Record])
        if (known := path.with_name(_PEOPLE)).exists():
            people = msgspec.json.decode(known.read_bytes(), type=dict[str, _Person])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise InputError(f"{path} holds no records of Argilla: {error}.") from None
    found: list[Given] = []
    for record in records:
        item = str(record.metadata.get("transcript_id") or record.id)
        for dimension, responses in record.responses.items():
            if dimension == _EVIDENCE:
                continue
            for response in responses:
                if response.status != "submitted":
                    continue
                person = people.get(response.user_id, _Person(response.user_id))
                found.append(
                    Given(
                        item=item,
                        dimension=dimension,
                        rater=person.name,
                        rater_kind=GOLD if person.gold else RaterKind.HUMAN,
                        value=str(response.value),
                        passages=tuple(_passages(record, response.user_id, dimension)),
                    )
                )
    return found


def _passages(record: _Record, user_id: str, dimension: str) -> list[Passage]:
    """A person's spans of the flat text as passages of messages; `chat` says how long each message is."""
    spans = next((r.value for r in record.responses.get(_EVIDENCE, []) if r.user_id == user_id), None) or []
    flat = str(record.fields.get("flat", ""))
    places: list[tuple[int, int, str]] = []
    at = 0
    for message in record.fields.get("chat", []):
        begin = flat.find("] ", at) + 2
        if not flat.startswith("[", at) or begin < 2:
            return []
        end = begin + len(message["content"])
        places.append((begin, end, flat[at + 1 : begin].split(" ")[0]))
        at = end + len(_GAP)
    return [
        Passage(name, span["start"] - begin, span["end"] - begin, flat[span["start"] : span["end"]])
        for span in spans
        for begin, end, name in places
        if span["label"] == dimension and begin <= span["start"] and span["end"] <= end
    ]

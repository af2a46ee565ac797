"""Labels for and from Docent: agent runs, the label schema, and a label for each person and run.

Docent gives ids of its own and credits whoever uploads, so our names travel inside: the transcript's in the run's
metadata, the annotator's in the label's value. Values may not be null. Labels of passages point at whole messages;
their offsets, in UTF-16 units, are metadata.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from exports.label_rows import GOLD, Given, Passage
from exports.utf16 import to_points, to_units
from store.errors import InputError
from store.records import RaterKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from exports.label_formats import Sheet
    from store.questions import Question

_T = TypeVar("_T")
_OWN = ("annotator", "rater_kind", "rubric_sha", "blind", "explanation")
_PLACEHOLDER = re.compile(r"<docent id of (.+)>", re.DOTALL)
_SET = "<from create_label_set>"


def write_docent(folder: Path, sheet: Sheet) -> None:
    """Write `agent_runs.jsonl`, `label_schema.json`, `labels.jsonl` and `general_labels.jsonl`."""
    folder.mkdir()
    _lines(folder / "agent_runs.jsonl", (_run(sheet, item) for item in sheet.items))
    (folder / "label_schema.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(_schema(sheet)), indent=1)
    )
    _lines(folder / "labels.jsonl", _labels(sheet))
    _lines(folder / "general_labels.jsonl", _passages(sheet))


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def _run(sheet: Sheet, item: str) -> dict[str, Any]:
    messages = [{"id": m.message_id, "role": m.role, "content": m.text} for m in sheet.messages.get(item, [])]
    return {"name": item, "metadata": {"cc_transcript_id": item}, "transcripts": [{"messages": messages}]}


def _schema(sheet: Sheet) -> dict[str, Any]:
    properties: dict[str, Any] = {q.dimension: _property(q) for q in sheet.questions.values()}
    properties |= {name: {"type": "string"} for name in _OWN} | {"blind": {"type": "boolean"}}
    return {
        "type": "object",
        "properties": properties,
        "required": ["annotator"],
        "additionalProperties": False,
    }


def _property(question: Question) -> dict[str, Any]:
    if question.kind in ("rubric", "scale"):
        return {"type": "integer", "minimum": round(question.low), "maximum": round(question.high)}
    values = list(Verdict) if question.kind == "statement" else question.choices
    return {"type": "string", "enum": [str(value) for value in values]}


def _labels(sheet: Sheet) -> Iterable[dict[str, Any]]:
    for (item, rater, kind, sample), rows in _grouped(sheet).items():
        value: dict[str, Any] = {}
        for row in rows:
            numeric = sheet.questions[row.dimension].kind in ("rubric", "scale")
            value[row.dimension] = round(float(str(row.value))) if numeric else row.value
        notes = [f"{row.dimension}: {row.note}" for row in rows if row.note]
        value |= {"explanation": "\n".join(notes)} if notes else {}
        # A judge's second answer is another rater here.
        name = f"{rater} {sample}" if sample else rater
        value |= {"annotator": name, "rater_kind": kind, "blind": all(row.blind for row in rows)}
        if sha := next((row.rubric_hash for row in rows if row.rubric_hash), ""):
            value["rubric_sha"] = sha
        yield {"label_set_id": _SET, "agent_run_id": f"<docent id of {item}>", "label_value": value}


def _grouped(sheet: Sheet) -> dict[tuple[str, str, str, int], list[Given]]:
    found: dict[tuple[str, str, str, int], list[Given]] = {}
    for row in sheet.given:
        if row.value is not None:
            found.setdefault((row.item, row.rater, row.rater_kind, row.sample), []).append(row)
    return found


def _passages(sheet: Sheet) -> Iterable[dict[str, Any]]:
    for row in sheet.given:
        messages = sheet.messages.get(row.item, [])
        places = {message.message_id: k for k, message in enumerate(messages)}
        for passage in row.passages:
            if passage.message_id not in places:
                continue
            at = places[passage.message_id]
            text = messages[at].text
            yield {
                "target": {
                    "items": [
                        {
                            "object_type": "transcript_slice",
                            "transcript_id": f"<docent transcript id of {row.item}>",
                            "transcript_slice_start_idx": at,
                            "transcript_slice_end_idx": at,
                        }
                    ]
                },
                "label_value": {"dimension": row.dimension, "annotator": row.rater},
                "metadata": {
                    "cc_transcript_id": row.item,
                    "message_id": passage.message_id,
                    "start": to_units(text, passage.start),
                    "end": to_units(text, passage.end),
                    "text": passage.quote,
                },
            }


class _Label(msgspec.Struct):
    agent_run_id: str
    label_value: dict[str, Any]


class _Run(msgspec.Struct):
    name: str = ""
    id: str = ""
    metadata: dict[str, Any] = {}
    transcripts: list[dict[str, Any]] = []


class _Slice(msgspec.Struct):
    label_value: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


def read_docent(folder: Path) -> list[Given]:
    """Read `labels.jsonl`; runs are known by `agent_runs.jsonl` beside it, or by the placeholder that we write.

    Raises:
        InputError: a file is missing or a line is no label.
    """
    path = folder / "labels.jsonl" if folder.is_dir() else folder
    runs = path.with_name("agent_runs.jsonl")
    names: dict[str, str] = {}
    texts: dict[tuple[str, str], str] = {}
    for run in _read(runs, _Run) if runs.exists() else []:
        item = str(run.metadata.get("cc_transcript_id") or run.name)
        names[run.id] = item
        for transcript in run.transcripts:
            for message in transcript.get("messages", []):
                texts[item, str(message.get("id"))] = str(message.get("content", ""))
    passages: dict[tuple[str, str, str], list[Passage]] = {}
    slices = path.with_name("general_labels.jsonl")
    for one in _read(slices, _Slice) if slices.exists() else []:
        found = one.metadata
        key = str(found.get("cc_transcript_id")), str(found.get("message_id"))
        if key in texts and "dimension" in one.label_value:
            text = texts[key]
            start, end = to_points(text, found["start"]), to_points(text, found["end"])
            about = key[0], str(one.label_value.get("annotator")), str(one.label_value["dimension"])
            passages.setdefault(about, []).append(Passage(key[1], start, end, text[start:end]))
    rows: list[Given] = []
    for number, label in enumerate(_read(path, _Label), start=1):
        placeholder = _PLACEHOLDER.fullmatch(label.agent_run_id)
        item = placeholder[1] if placeholder else names.get(label.agent_run_id, label.agent_run_id)
        rater = label.label_value.get("annotator")
        if not isinstance(rater, str):
            raise InputError(f"{path}, line {number}: the label names no annotator.")
        rows += _given(item, rater, label.label_value, passages)
    return rows


def _given(
    item: str, rater: str, value: dict[str, Any], passages: dict[tuple[str, str, str], list[Passage]]
) -> Iterable[Given]:
    kind = str(value.get("rater_kind", RaterKind.HUMAN))
    notes: dict[str, str] = {}
    for line in str(value.get("explanation", "")).split("\n"):
        about, _, note = line.partition(": ")
        notes[about] = note
    sample = re.fullmatch(r"(.+) (\d+)", rater) if kind not in (RaterKind.HUMAN, GOLD) else None
    for dimension, answer in value.items():
        if dimension not in _OWN:
            yield Given(
                item=item,
                dimension=dimension,
                rater=sample[1] if sample else rater,
                rater_kind=kind,
                value=f"{answer:g}" if isinstance(answer, float) else str(answer),
                sample=int(sample[2]) if sample else 0,
                note=notes.get(dimension, ""),
                blind=bool(value.get("blind", True)),
                rubric_hash=str(value.get("rubric_sha", "")),
                passages=tuple(passages.get((item, rater, dimension), ())),
            )


def _read(path: Path, shape: type[_T]) -> list[_T]:
    try:
        return [
            msgspec.json.decode(line, type=shape) for line in path.read_bytes().splitlines() if line.strip()
        ]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise InputError(f"{path} holds no lines of Docent: {error}.") from None

"""Labels for and from Label Studio: tasks with annotations, tasks without, and the labelling configuration.

Label Studio refuses a whole file for an unknown `completed_by` and credits whoever imports where it is missing, so
the annotator's name travels in a field of its own. It counts text in UTF-16 units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import msgspec

from exports.label_rows import GOLD, Given, Passage
from exports.utf16 import to_points, to_units
from store.errors import InputError
from store.records import RaterKind, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from exports.label_formats import Sheet
    from store.questions import Question
    from store.records import Message

ANNOTATOR, NOTE, EVIDENCE = "annotator", "note", "evidence"


def write_studio(folder: Path, sheet: Sheet) -> None:
    """Write `config.xml`, `tasks.json` with the labels and `tasks_blind.json` for who is to label anew."""
    folder.mkdir()
    (folder / "config.xml").write_text(_config(sheet), encoding="utf-8")
    blind = [{"data": _data(sheet, item)} for item in sheet.items]
    full = [task | _answers(sheet, task["data"]["transcript_id"]) for task in blind]
    (folder / "tasks_blind.json").write_bytes(msgspec.json.format(msgspec.json.encode(blind), indent=1))
    (folder / "tasks.json").write_bytes(msgspec.json.format(msgspec.json.encode(full), indent=1))


def _data(sheet: Sheet, item: str) -> dict[str, Any]:
    messages = sheet.messages.get(item, [])
    return {
        "transcript_id": item,
        "messages": [{"id": m.message_id, "role": m.role, "content": m.text} for m in messages],
    }


def _answers(sheet: Sheet, item: str) -> dict[str, Any]:
    people: dict[str, list[Given]] = {}
    judges: dict[str, list[Given]] = {}
    for row in sheet.of_item[item]:
        if row.value is not None:
            who = judges if row.rater_kind in (RaterKind.JUDGE, RaterKind.RULE) else people
            name = f"{row.rater} {row.sample}" if who is judges and row.sample else row.rater
            who.setdefault(name, []).append(row)
    found: dict[str, Any] = {
        "annotations": [
            {
                "was_cancelled": False,
                "ground_truth": rows[0].rater_kind == GOLD,
                "lead_time": max(row.seconds for row in rows),
                "result": [*_results(sheet, item, rows), _text_field(ANNOTATOR, name)],
            }
            for name, rows in people.items()
        ]
    }
    if sheet.judged:
        found["predictions"] = [
            {"model_version": name, "result": _results(sheet, item, rows)} for name, rows in judges.items()
        ]
    return found


def _results(sheet: Sheet, item: str, rows: list[Given]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    messages = sheet.messages.get(item, [])
    places = {message.message_id: k for k, message in enumerate(messages)}
    for row in rows:
        results.append(_result(sheet.questions[row.dimension], str(row.value)))
        results[-1]["id"] = f"v{len(results)}"
        for passage in row.passages:
            if passage.message_id in places:
                at = places[passage.message_id]
                results.append(_span(f"s{len(results)}", row.dimension, at, messages[at], passage))
    notes = [f"{row.dimension}: {row.note}" for row in rows if row.note]
    return [*results, _text_field(NOTE, *notes)] if notes else results


def _result(question: Question, value: str) -> dict[str, Any]:
    shape, given = "choices", {"choices": [value]}
    if question.kind == "rubric":
        shape, given = "rating", {"rating": round(float(value))}
    elif question.kind == "scale":
        shape, given = "number", {"number": float(value)}
    return {"from_name": question.dimension, "to_name": "chat", "type": shape, "value": given}


def _span(name: str, dimension: str, at: int, message: Message, passage: Passage) -> dict[str, Any]:
    return {
        "id": name,
        "from_name": EVIDENCE,
        "to_name": "chat",
        "type": "paragraphlabels",
        "value": {
            # Paragraph numbers are text here.
            "start": str(at),
            "end": str(at),
            "startOffset": to_units(message.text, passage.start),
            "endOffset": to_units(message.text, passage.end),
            "text": passage.quote,
            "paragraphlabels": [dimension],
        },
    }


def _text_field(name: str, *lines: str) -> dict[str, Any]:
    return {
        "id": name,
        "from_name": name,
        "to_name": "chat",
        "type": "textarea",
        "value": {"text": list(lines)},
    }


def _config(sheet: Sheet) -> str:
    lines = [
        "<View>",
        '  <Paragraphs name="chat" value="$messages" layout="dialogue" nameKey="role" textKey="content"/>',
        f'  <ParagraphLabels name="{EVIDENCE}" toName="chat">',
        *(f"    <Label value={quoteattr(name)}/>" for name in sheet.questions),
        "  </ParagraphLabels>",
    ]
    for question in sheet.questions.values():
        name = quoteattr(question.dimension)
        lines.append(f"  <Header value={quoteattr(question.text or question.title)}/>")
        if question.kind == "rubric":
            lines.append(f'  <Rating name={name} toName="chat" maxRating="10"/>')
        elif question.kind == "scale":
            lines.append(
                f'  <Number name={name} toName="chat" min="{question.low:g}" max="{question.high:g}"/>'
            )
        else:
            choices = list(Verdict) if question.kind == "statement" else question.choices
            values = "".join(f"<Choice value={quoteattr(choice)}/>" for choice in choices)
            lines.append(f'  <Choices name={name} toName="chat" choice="single">{values}</Choices>')
    lines += [
        f'  <TextArea name="{NOTE}" toName="chat"/>',
        f'  <TextArea name="{ANNOTATOR}" toName="chat" maxSubmissions="1"/>',
        "</View>",
        "",
    ]
    return "\n".join(lines)


class _Result(msgspec.Struct):
    from_name: str
    type: str
    value: dict[str, Any]


class _Annotation(msgspec.Struct):
    result: list[_Result] = []
    was_cancelled: bool = False
    ground_truth: bool = False
    lead_time: float | None = None
    completed_by: int | dict[str, Any] | None = None
    model_version: str | None = None


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation] = []
    predictions: list[_Annotation] = []


def read_studio(path: Path) -> list[Given]:
    """Read a file of tasks, as exported by Label Studio or by `write_studio`.

    Raises:
        InputError: it is no such file, or an annotation does not say whose it is.
    """
    path = path / "tasks.json" if path.is_dir() else path
    try:
        tasks = msgspec.json.decode(path.read_bytes(), type=list[_Task])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is no list of Label Studio's tasks: {error}.") from None
    found: list[Given] = []
    for number, task in enumerate(tasks, start=1):
        if not isinstance(task.data.get("transcript_id"), str):
            raise InputError(f"{path}, task {number} has no data.transcript_id.")
        for annotation in task.annotations:
            if not annotation.was_cancelled:
                rater = _annotator(annotation)
                if not rater:
                    raise InputError(
                        f"{path}, task {number}: an annotation names no annotator; the field `{ANNOTATOR}` does."
                    )
                kind = GOLD if annotation.ground_truth else RaterKind.HUMAN
                found += _rows(task, annotation, rater, kind)
        for annotation in task.predictions:
            found += _rows(task, annotation, annotation.model_version or "model", RaterKind.JUDGE)
    return found


def _annotator(annotation: _Annotation) -> str:
    for result in annotation.result:
        if result.from_name == ANNOTATOR and result.value.get("text"):
            text: Any = result.value["text"]
            return str(text if isinstance(text, str) else text[0])
    who = annotation.completed_by
    if isinstance(who, dict):
        return str(who.get("email") or who.get("id") or "")
    return "" if who is None else f"user-{who}"


def _rows(task: _Task, annotation: _Annotation, rater: str, kind: str) -> list[Given]:
    item: str = task.data["transcript_id"]
    messages: list[dict[str, Any]] = task.data.get("messages") or []
    notes: dict[str, str] = {}
    passages: dict[str, list[Passage]] = {}
    values: dict[str, str] = {}
    for result in annotation.result:
        value = result.value
        if result.from_name == NOTE:
            for line in value.get("text", []):
                dimension, _, note = str(line).partition(": ")
                notes[dimension] = note
        elif result.type == "paragraphlabels":
            at = int(value["start"])
            if at < len(messages) and value["start"] == value["end"]:
                text = str(messages[at].get("content", ""))
                start, end = to_points(text, value["startOffset"]), to_points(text, value["endOffset"])
                for dimension in value["paragraphlabels"]:
                    passages.setdefault(dimension, []).append(
                        Passage(str(messages[at].get("id", at)), start, end, text[start:end])
                    )
        elif result.type == "choices" and value.get("choices"):
            values[result.from_name] = str(value["choices"][0])
        elif result.type in ("rating", "number"):
            values[result.from_name] = f"{value[result.type]:g}"
    if len(values) == 1 and notes and not set(notes) & set(values):
        notes = {next(iter(values)): " ".join(f"{k}: {v}" if v else k for k, v in notes.items())}
    return [
        Given(
            item=item,
            dimension=dimension,
            rater=rater,
            rater_kind=kind,
            value=value,
            note=notes.get(dimension, ""),
            seconds=annotation.lead_time or 0.0,
            blind=kind != RaterKind.JUDGE,
            passages=tuple(passages.get(dimension, ())),
        )
        for dimension, value in values.items()
    ]

"""The formats that people's labels leave and come in: one writer and one reader each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from exports.formats import whole_target
from exports.label_argilla import read_argilla, write_argilla
from exports.label_csv import read_csv, write_csv
from exports.label_docent import read_docent, write_docent
from exports.label_rows import Given, read_given, take_given
from exports.label_scout import read_scout, write_scout
from exports.label_studio import read_studio, write_studio
from store.errors import InputError
from store.questions import Question, read_schema, study_questions
from store.reader import Reader
from store.rounds import rounds
from store.transcripts import load_transcripts, without_condition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from store.records import Message
    from store.store import Store

_BATCH = 200


@dataclass(frozen=True)
class Sheet:
    """Labels with what they are about."""

    given: list[Given]
    questions: dict[str, Question]
    """By dimension; those that no study or round of the store asks are made from their values."""
    messages: dict[str, list[Message]]
    """What the target saw in the end, by audit, without the condition's own system prompt."""
    judged: bool
    """Whether judges' answers may be written."""

    @cached_property
    def of_item(self) -> dict[str, list[Given]]:
        """The rows of each item."""
        found: dict[str, list[Given]] = {}
        for row in self.given:
            found.setdefault(row.item, []).append(row)
        return found

    @property
    def items(self) -> list[str]:
        """The labelled items, in order."""
        return list(self.of_item)


@dataclass(frozen=True)
class LabelFormat:
    """A format."""

    name: str
    title: str
    folder: bool
    write: Callable[[Path, Sheet], None]
    read: Callable[[Path], list[Given]]


def _write_csv(path: Path, sheet: Sheet) -> None:
    write_csv(path, sheet.given)


LABEL_FORMATS = {
    found.name: found
    for found in (
        LabelFormat("csv", "a row for each answer, for R, pandas, crowd-kit", False, _write_csv, read_csv),
        LabelFormat(
            "label-studio", "Label Studio's tasks and configuration", True, write_studio, read_studio
        ),
        LabelFormat("argilla", "a dataset that Argilla 2 loads from disk", True, write_argilla, read_argilla),
        LabelFormat("docent", "agent runs, label schema and labels", True, write_docent, read_docent),
        LabelFormat(
            "inspect-scout", "validation sets: the people's final answers", True, write_scout, read_scout
        ),
    )
}


def known_questions(store: Store, reader: Reader) -> dict[str, Question]:
    """What the store's studies and rounds ask, by dimension; the way that a dimension is asked last."""
    found: dict[str, Question] = {}
    kinds = {
        row["dimension"]: row["kind"]
        for row in reader.rows(
            "SELECT dimension, kind, count(*) AS n FROM labels JOIN scores USING (audit_id, dimension) "
            "GROUP BY ALL ORDER BY n"
        )
    }
    for row in reader.rows("SELECT resolved->'$.preferences' AS p FROM studies"):
        for (dimension, kind), question in study_questions(msgspec.json.decode(row["p"] or "[]")).items():
            if kinds.get(dimension, kind) == kind:
                found[dimension] = question
    for head in rounds(store):
        found |= {
            question.dimension: question for question in head.questions if question.dimension not in found
        }
    return found


def read_sheet(store: Store, reader: Reader, *, judges: bool, round_id: str | None = None) -> Sheet:
    """Everything that leaves.

    Raises:
        InputError: there are no labels.
    """
    given = read_given(reader, judges=judges, where_round=round_id)
    if not any(row.rater_kind == "human" for row in given):
        raise InputError("There are no labels yet: `cc-tui label --annotator NAME` gives some.")
    known = known_questions(store, reader)
    dimensions = dict.fromkeys(row.dimension for row in given)
    questions = {name: _fitting(name, known.get(name), given) for name in dimensions}
    items = list(dict.fromkeys(row.item for row in given))
    there = {
        row["audit_id"]
        for row in reader.rows("SELECT audit_id FROM audits WHERE list_contains(?, audit_id)", [items])
    }
    messages: dict[str, list[Message]] = {}
    ids = [item for item in items if item in there]
    for start in range(0, len(ids), _BATCH):
        for transcript in load_transcripts(reader, ids[start : start + _BATCH]):
            shown = {message.message_id: message for message in without_condition(transcript.messages)}
            messages[transcript.audit["audit_id"]] = [
                shown[name] for name in transcript.final_view if name in shown
            ]
    return Sheet(given, questions, messages, judges)


def _fitting(dimension: str, known: Question | None, given: Sequence[Given]) -> Question:
    """The question, or one made of its values where they are of another kind."""
    values = {row.value for row in given if row.dimension == dimension and row.value is not None}
    verdicts = values <= {"true", "false", "not_sure"}
    numbers = all(_is_number(value) for value in values)
    fits = {"statement": verdicts, "rubric": numbers, "scale": numbers, "choice": True}
    if known is not None and fits[known.kind] and (known.kind != "choice" or values <= set(known.choices)):
        return known
    if verdicts:
        return Question(dimension, "statement", dimension, "")
    if numbers:
        scores = [float(value) for value in values]
        return Question(dimension, "scale", dimension, "", low=min(1.0, *scores), high=max(10.0, *scores))
    return Question(dimension, "choice", dimension, "", choices=sorted(values))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def export_labels(
    store: Store, reader: Reader, form: str, target: Path, *, judges: bool, round_id: str | None = None
) -> Sheet:
    """Write labels in one of `LABEL_FORMATS`: all of them, or nothing.

    Args:
        store: the store.
        reader: its reader.
        form: name of the format.
        target: file or folder, which must not exist.
        judges: also what judges and rules said of the labelled questions.
        round_id: labels of this round only.

    Returns:
        What was written.

    Raises:
        InputError: the target exists, or there are no labels.
        StoreError: the disk refused.
    """
    sheet = read_sheet(store, reader, judges=judges, round_id=round_id)
    with whole_target(target) as made:
        LABEL_FORMATS[form].write(made, sheet)
    return sheet


def import_labels(
    store: Store,
    form: str,
    source: Path,
    *,
    schema: Path | None = None,
    annotator: str | None = None,
    blind: bool = True,
) -> dict[str, int]:
    """Bring in a file of one of `LABEL_FORMATS`.

    Args:
        store: the store.
        form: name of the format.
        source: file or folder.
        schema: questions that the store does not know.
        annotator: whose labels they are where the file does not say.
        blind: whether they were given without sight of the judges, where the file does not say otherwise.

    Returns:
        By rater how many answers were added; those that were there already are not counted.

    Raises:
        InputError: the file is wrong; nothing was written.
    """
    given = LABEL_FORMATS[form].read(source)
    if not blind:
        given = [msgspec.structs.replace(row, blind=False) for row in given]
    if annotator is not None and form == "inspect-scout":
        given = [msgspec.structs.replace(row, rater=annotator) for row in given]
    reader = Reader(store)
    try:
        questions = known_questions(store, reader)
    finally:
        reader.close()
    if schema is not None:
        questions |= {question.dimension: question for question in read_schema(schema)}
    return take_given(store, given, questions, source.name)

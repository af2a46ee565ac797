"""The plan of a study: which slots there are, in which order, and which of them the store has filled.

The order is random over the whole grid and fixed by the study's id, so that a drift in an API hits all
conditions alike and an estimate on a prefix of the plan is an honest one. What a later revision of the plan adds is
shuffled by itself and comes after everything that was planned before.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.items import Item
from auditors.judge import COHERENCE
from auditors.judge_prompts import prompt_hash, rubric_hash
from auditors.study_file import ConditionPart
from store import records
from store.ids import content_hash
from store.records import AuditStatus, Condition, JudgementKind, JudgementStatus, Mode, Run
from store.transcripts import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditors.study import Study
    from store.reader import Reader

Planned = Condition | records.Item
"""Rows of what a plan crosses."""

FINISHED = (AuditStatus.OK, AuditStatus.REFUSED, AuditStatus.NO_TARGET_TURN, AuditStatus.INVALID)
"""Statuses of audits that are not run again; every other one leaves its slot open."""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One planned audit."""

    slot_id: str
    launch_index: int
    condition: ConditionPart
    item: Item
    repeat: int


class Judging(msgspec.Struct, frozen=True):
    """What one judge still owes to one audit."""

    judge: str
    repeat: int
    dimensions: frozenset[str]


class Progress(msgspec.Struct, frozen=True):
    """What the store holds of a study."""

    statuses: dict[str, str]
    """Status of each finished slot."""
    unjudged: dict[str, list[Judging]]
    """Audits that are finished but not wholly judged; a judge's call that failed is owed again."""
    abandoned: list[dict[str, Any]]
    """Rows of audits that a run left behind unfinished."""


def to_run(study: Study, limit: int | None) -> list[Slot]:
    """The slots that a run is to fill, in launch order: those of the plan, or only the first ones."""
    return [] if study.rejudging else plan(study)[:limit]


def plan(study: Study) -> list[Slot]:
    """Every slot of the study, in launch order; slots of earlier plans that are planned no more leave gaps."""
    conditions = {condition.name: condition for condition in study.file.conditions}
    items = {item.item_id: item for item in study.items}
    slots: list[Slot] = []
    for index, (name, item_id, repeat) in enumerate(_order(study)):
        condition, item = conditions.get(name), items.get(item_id)
        if condition is None or item is None or repeat >= item.repeats:
            continue
        slots.append(
            Slot(
                slot_id=content_hash([study.study_id, name, item_id, repeat]),
                launch_index=index,
                condition=condition,
                item=item,
                repeat=repeat,
            )
        )
    return slots


def _order(study: Study) -> Iterator[tuple[str, str, int]]:
    """Condition, item and repeat of every slot that was ever planned, each where it was first planned."""
    known: set[tuple[str, str, int]] = set()
    for revision, grid in enumerate((*study.history.grids, study.grid)):
        cells = [
            cell
            for name in grid.conditions
            for item_id, repeats in grid.items
            for repeat in range(repeats)
            if (cell := (name, item_id, repeat)) not in known
        ]
        known.update(cells)
        random.Random(f"{study.study_id}/{revision}" if revision else study.study_id).shuffle(cells)
        yield from cells


def owed(study: Study, item: Item) -> list[Judging]:
    """Every judgement that an audit of `item` is due: its own preferences, or all rubrics for a longer audit."""
    dimensions = _dimensions(study, item)
    return [
        Judging(judge.model, repeat, dimensions)
        for judge in study.file.judges
        for repeat in range(judge.repeats)
        if dimensions
    ]


def _dimensions(study: Study, item: Item) -> frozenset[str]:
    asked = {preference.id for preference in study.preferences}
    if item.mode is not Mode.SINGLE_TURN:
        return frozenset(asked)
    probes = study.rejudging.probes if study.rejudging else {}
    meant = {name for name in asked if name in item.preferences or item.text in probes.get(name, ())}
    # Verdicts are counted by the coherence that the same judge found.
    return frozenset(meant | {COHERENCE}) if meant else frozenset()


def _questions(study: Study) -> dict[tuple[str, str], tuple[str, str]]:
    """By kind and dimension, the hashes of what judges are asked now: other judgements are of another question."""
    reading = study.file.judging
    asked = [(kind, p) for kind in (JudgementKind.RUBRIC, JudgementKind.STATEMENT) for p in study.preferences]
    found = {(str(kind), p.id): (rubric_hash(kind, p), prompt_hash(kind, reading)) for kind, p in asked}
    coherence = JudgementKind.COHERENCE
    found[coherence, COHERENCE] = (rubric_hash(coherence, None), prompt_hash(coherence, reading))
    return found


def progress(study: Study, reader: Reader, audit_id: str | None = None) -> Progress:
    """What the store holds of the study, or of one audit of it; blocking."""
    where, chosen = "study_id = ?", [study.study_id]
    if audit_id is not None:
        where, chosen = "study_id = ? AND audit_id = ?", [study.study_id, audit_id]
    audits = reader.rows(f"SELECT * FROM audits WHERE {where} ORDER BY launch_index, audit_id", chosen)
    questions = _questions(study)
    judged: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for row in reader.rows(
        "SELECT DISTINCT audit_id, judge, repeat, kind, dimension, rubric_hash, prompt_hash FROM judgements "
        f"WHERE {where} AND kind IN (?, ?, ?) AND status <> ?",
        [*chosen, *JudgementKind, JudgementStatus.ERROR],
    ):
        if questions.get((row["kind"], row["dimension"])) == (row["rubric_hash"], row["prompt_hash"]):
            judged[row["audit_id"], row["judge"], row["repeat"]].add(row["dimension"])
    items = {item.item_id: item for item in study.items}
    conditions = {condition.name for condition in study.file.conditions}
    statuses: dict[str, str] = {}
    unjudged: dict[str, list[Judging]] = {}
    for row in audits:
        if row["status"] not in FINISHED:
            continue
        statuses[row["slot_id"]] = row["status"]
        planned = row["item_id"] in items and row["condition_id"] in conditions
        if row["status"] != AuditStatus.OK or not planned or not _chosen(study, row["audit_id"]):
            continue
        rest = [
            Judging(due.judge, due.repeat, missing)
            for due in owed(study, items[row["item_id"]])
            if (missing := due.dimensions - judged[row["audit_id"], due.judge, due.repeat])
        ]
        if rest:
            unjudged[row["audit_id"]] = rest
    abandoned = [row for row in audits if row["status"] == AuditStatus.RUNNING]
    return Progress(statuses, unjudged, abandoned)


def _chosen(study: Study, audit_id: str) -> bool:
    """Whether an audit's judgements are due in this run."""
    return study.rejudging is None or audit_id in study.rejudging.audits


def broken_off(study: Study, reader: Reader) -> list[Run]:
    """Runs of the study that nobody has closed; blocking."""
    return read_records(reader, Run, "study_id = ? AND status = 'running'", [study.study_id])


def stored_rows(study: Study, reader: Reader) -> Iterator[Planned]:
    """The latest rows that say what the study's conditions and items are; blocking."""
    for record in (Condition, records.Item):
        yield from read_records(reader, record, "study_id = ?", [study.study_id])

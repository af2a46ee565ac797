"""What the store says about a study, as arrays: plan, judged answers and waterfall."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stats.attempts import Attempts, coded, read_attempts
from store.errors import InputError
from store.latest import latest_study
from store.parquet import quoted
from store.records import JudgementKind, JudgementStatus, Mode

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from stats.attempts import Bools
    from stats.rules import Rules
    from stats.variance import Codes, Floats

Query = Callable[[str], "pa.Table"]
"""Runs one SQL statement on the store's views."""


@dataclass(frozen=True)
class Stage:
    """How far the plan of one condition in one mode has come; counts of planned answers."""

    mode: Mode
    condition: str
    planned: int
    run: int
    """Ended, however."""
    valid: int
    """Ended with a conversation that can be judged."""
    judged: int
    """With a value from the counted judge."""
    labelled: int
    """With a label of a person."""
    intervened: int
    """Of the valid ones, those whose course a person changed: judged and labelled like the others, and in no estimate
    unless the rules include them."""


@dataclass(frozen=True)
class StudyCondition:
    """A condition as the study file has it."""

    condition_id: str
    role: str
    recipe: str
    training_seed: int | None


@dataclass(frozen=True)
class StudyItem:
    """A probe or seed instruction as the study file has it."""

    item_id: str
    mode: Mode
    preferences: tuple[str, ...]
    repeats: int


@dataclass(frozen=True)
class Question:
    """One preference in one mode, asked of the judge in one way."""

    mode: Mode
    kind: JudgementKind
    preference: str


@dataclass(frozen=True, eq=False)
class Batch:
    """One condition's answers to one question; the arrays have one entry per answer."""

    value: Floats
    """1 for true and 0 for any other verdict, or a score; the mean over the judge's repeats."""
    unsure: Floats
    """1 for a verdict of not_sure, else 0; the mean over the judge's repeats."""
    item: Codes
    """Index into `Answers.items`."""
    audit: Codes
    """Index into `Answers.attempts`."""
    lost: Codes
    """The same of the judged answers without a value."""
    dropped: Counter[str] = field(default_factory=Counter[str])
    """Answers without a value, by reason."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A study's plan and everything that was answered so far."""

    study_id: str
    simulated: bool
    judge: str | None
    conditions: list[StudyCondition]
    items: list[StudyItem]
    questions: list[Question]
    batches: dict[tuple[Question, int], Batch]
    """By question and index into `conditions`; absent where nothing was answered and nothing failed."""
    attempts: Attempts
    waterfall: list[Stage]


def read_answers(query: Query, study_id: str | None, rules: Rules) -> Answers:
    """Read a study; None means the latest.

    Raises:
        InputError: there is no such study, or it has no judgement by the judge of the rules.
    """
    chosen, simulated = _study(query, study_id)
    study = f"study_id = {quoted(chosen)}"
    conditions = _conditions(query, study)
    items = _items(query, study)
    counted = "judge_position = 0" if rules.judge is None else f"judge = {quoted(rules.judge)}"
    rows = _judged(query, f"{study} AND {counted}", rules)
    if rules.judge is not None and rows.num_rows == 0:
        _check_judge(query, study, rules.judge)
    # Read after what was judged, so that every judged audit is among them.
    attempts = read_attempts(
        query, chosen, [one.condition_id for one in conditions], [one.item_id for one in items]
    )
    audit = attempts.places(rows["audit_id"])
    questions, batches = _batches(rows, audit, conditions, items, rules)
    # Also of answers that are left out for other reasons.
    with_value = np.zeros(len(attempts.audits), bool)
    with_value[audit[rows["judged"].to_numpy().astype(bool)]] = True
    for condition, item, status, count in attempts.failed:
        for question in questions:
            if counts_for(items[item], question, rules):
                batches.setdefault((question, condition), _empty()).dropped[f"audit: {status}"] += count
    return Answers(
        study_id=chosen,
        simulated=simulated,
        judge=rows["judge"][0].as_py() if rows.num_rows else rules.judge,
        conditions=conditions,
        items=items,
        questions=questions,
        batches=batches,
        attempts=attempts,
        waterfall=_waterfall(attempts, with_value, conditions, items),
    )


def counts_for(item: StudyItem, question: Question, rules: Rules) -> bool:
    """Whether an answer to the item counts for the question's preference."""
    if item.mode != question.mode:
        return False
    loose = not rules.tag_matched and item.mode is not Mode.SINGLE_TURN
    return loose or question.preference in item.preferences


def _study(query: Query, study_id: str | None) -> tuple[str, bool]:
    chosen = latest_study(query) if study_id is None else study_id
    rows = query(f"SELECT simulated FROM studies WHERE study_id = {quoted(chosen)} LIMIT 1").to_pylist()
    if not rows:
        raise InputError(f"The store holds no study {chosen!r}: give the id of one that was run into it.")
    return chosen, rows[0]["simulated"]


def _conditions(query: Query, study: str) -> list[StudyCondition]:
    rows = query(
        f"SELECT DISTINCT position, condition_id, role, recipe, training_seed FROM conditions WHERE {study} "
        "ORDER BY position, condition_id"
    ).to_pylist()
    return [
        StudyCondition(row["condition_id"], row["role"], row["recipe"], row["training_seed"]) for row in rows
    ]


def _items(query: Query, study: str) -> list[StudyItem]:
    rows = query(
        f"SELECT DISTINCT position, item_id, mode, preferences, repeats FROM items WHERE {study} "
        "AND NOT retired ORDER BY position, item_id"
    ).to_pylist()
    return [
        StudyItem(
            row["item_id"], Mode(row["mode"]), tuple(json.loads(row["preferences"] or "[]")), row["repeats"]
        )
        for row in rows
    ]


def _judged(query: Query, where: str, rules: Rules) -> pa.Table:
    """One row for each audit and question; `value` is null where `dropped` says why."""
    intervened = "FALSE" if rules.include_intervened else "intervened"
    flagged = "FALSE"
    if not rules.include_flagged:
        flagged = "audit_id IN (SELECT audit_id FROM audits WHERE flags <> '[]')"
    return query(f"""
        SELECT mode, kind, dimension, condition_id, item_id, audit_id, min(judge) AS judge,
               avg(value) FILTER (dropped IS NULL) AS value,
               avg(unsure) FILTER (dropped IS NULL) AS unsure,
               CASE WHEN count(*) FILTER (dropped IS NULL) = 0 THEN min(dropped) END AS dropped,
               bool_or(judgement_status = '{JudgementStatus.OK}') AS judged
        FROM (
            SELECT mode, kind, dimension, condition_id, item_id, audit_id, judge, judgement_status,
                   CASE kind WHEN '{JudgementKind.STATEMENT}' THEN (verdict = 'true')::INT ELSE score END AS value,
                   coalesce(verdict = 'not_sure', FALSE)::INT AS unsure,
                   CASE WHEN judgement_status <> '{JudgementStatus.OK}' THEN 'judge: ' || judgement_status
                        WHEN {intervened} THEN 'intervened'
                        WHEN {flagged} THEN 'flagged'
                        WHEN coherence < {float(rules.min_coherence)!r} THEN 'incoherent'
                        WHEN value IS NULL THEN 'judge: {JudgementStatus.MISSING}'
                        WHEN kind = '{JudgementKind.RUBRIC}' AND NOT value BETWEEN 1 AND 10
                        THEN 'score outside 1-10' END AS dropped
            FROM scores
            WHERE {where} AND audit_status = 'ok' AND kind <> '{JudgementKind.COHERENCE}'
        )
        GROUP BY ALL
        ORDER BY mode, kind, dimension, condition_id, item_id, audit_id
    """)


def _check_judge(query: Query, study: str, judge: str) -> None:
    rows = query(f"SELECT DISTINCT judge FROM scores WHERE {study} ORDER BY judge").to_pylist()
    known = [row["judge"] for row in rows]
    if judge not in known:
        raise InputError(
            f"The study has no judgement by {judge!r}: its judges are {', '.join(known) or 'still to answer'}."
        )


def _batches(
    rows: pa.Table,
    audit: Codes,
    conditions: list[StudyCondition],
    items: list[StudyItem],
    rules: Rules,
) -> tuple[list[Question], dict[tuple[Question, int], Batch]]:
    """Cut the rows, which come sorted, at every change of question or condition."""
    place = {item.item_id: k for k, item in enumerate(items)}
    numbers = {condition.condition_id: k for k, condition in enumerate(conditions)}
    codes, names = coded(rows["item_id"])
    item = np.array([place[name] for name in names], np.intp)[codes]
    value = rows["value"].to_numpy().astype(float)
    unsure = rows["unsure"].to_numpy().astype(float)
    reason, reasons = coded(rows["dropped"])
    keys = [coded(rows[name]) for name in ("mode", "kind", "dimension", "condition_id")]
    matching: dict[Question, npt.NDArray[np.bool_]] = {}
    batches: dict[tuple[Question, int], Batch] = {}
    for part in _runs(*(codes for codes, _ in keys)):
        mode, kind, preference, condition = (labels[codes[part.start]] for codes, labels in keys)
        question = Question(Mode(mode), JudgementKind(kind), preference)
        if question not in matching:
            matching[question] = np.array([counts_for(one, question, rules) for one in items])
        fits = matching[question][item[part]]
        if fits.any():
            lost = np.bincount(reason[part][fits] + 1, minlength=len(reasons) + 1)[1:].tolist()
            dropped = Counter({name: count for name, count in zip(reasons, lost, strict=True) if count})
            batches[question, numbers[condition]] = _batch(
                value[part][fits], unsure[part][fits], item[part][fits], audit[part][fits], dropped, rules
            )
    return _questions(items, {question for question, _ in batches}), batches


def _batch(
    value: Floats, unsure: Floats, item: Codes, audit: Codes, dropped: Counter[str], rules: Rules
) -> Batch:
    keep = ~np.isnan(value)
    if rules.not_sure == "exclude":
        silent = keep & (unsure == 1)
        if silent.any():
            dropped["not_sure"] = int(silent.sum())
        keep &= ~silent
        value = value / np.where(keep, 1 - unsure, 1)
    return Batch(value[keep], unsure[keep], item[keep], audit[keep], audit[~keep], dropped)


def _questions(items: list[StudyItem], asked: set[Question]) -> list[Question]:
    """Every planned question in the order of the items, then what was asked besides."""
    kinds: dict[tuple[Mode, str], list[JudgementKind]] = {}
    for question in sorted(asked, key=lambda q: (q.mode, q.preference, q.kind)):
        kinds.setdefault((question.mode, question.preference), []).append(question.kind)
    planned = dict.fromkeys((item.mode, preference) for item in items for preference in item.preferences)
    questions: list[Question] = []
    for mode, preference in (*planned, *(pair for pair in kinds if pair not in planned)):
        default = JudgementKind.STATEMENT if mode is Mode.SINGLE_TURN else JudgementKind.RUBRIC
        questions += [Question(mode, k, preference) for k in kinds.get((mode, preference), [default])]
    order = list(Mode)
    return sorted(questions, key=lambda question: order.index(question.mode))


def _waterfall(
    attempts: Attempts, judged: Bools, conditions: list[StudyCondition], items: list[StudyItem]
) -> list[Stage]:
    """How far each condition has come; `judged` are the attempts with a value from the counted judge."""
    ok = attempts.ok
    counts = [
        attempts.slots(chosen)
        for chosen in (attempts.ended, ok, ok & judged, attempts.labelled, ok & attempts.intervened)
    ]
    planned: Counter[Mode] = Counter()
    for item in items:
        planned[item.mode] += item.repeats
    return [
        Stage(
            mode,
            condition.condition_id,
            planned[mode],
            *(found.get((mode, place), 0) for found in counts),
        )
        for mode in Mode
        if planned[mode]
        for place, condition in enumerate(conditions)
    ]


def _runs(*codes: Codes) -> list[slice]:
    """The stretches in which no code changes."""
    n = len(codes[0])
    changes = np.zeros(max(n - 1, 0), bool)
    for code in codes:
        changes |= np.diff(code) != 0
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), n]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]


def _empty() -> Batch:
    nothing = np.empty(0, np.intp)
    return Batch(np.empty(0), np.empty(0), nothing, nothing, nothing)

"""A study's plan as the statistics see it: conditions, items, and what is asked of the judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store.errors import InputError
from store.latest import latest_study
from store.parquet import quoted
from store.records import JudgementKind, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from stats.attempts import Bools
    from stats.rules import Rules

Query = Callable[[str], "pa.Table"]
"""Runs one SQL statement on the store's views."""


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
class StudyPlan:
    """What a study set out to ask."""

    study_id: str
    simulated: bool
    conditions: list[StudyCondition]
    items: list[StudyItem]
    """Without those that a revision of the plan has replaced."""


def read_plan(query: Query, study_id: str | None) -> StudyPlan:
    """Read the plan of a study; None means the latest.

    Raises:
        InputError: there is no such study.
    """
    chosen = latest_study(query) if study_id is None else study_id
    study = f"study_id = {quoted(chosen)}"
    found = query(f"SELECT simulated FROM studies WHERE {study} LIMIT 1").to_pylist()
    if not found:
        raise InputError(f"The store holds no study {chosen!r}: give the id of one that was run into it.")
    conditions = query(
        f"SELECT DISTINCT position, condition_id, role, recipe, training_seed FROM conditions WHERE {study} "
        "ORDER BY position, condition_id"
    ).to_pylist()
    items = query(
        f"SELECT DISTINCT position, item_id, mode, preferences, repeats FROM items WHERE {study} "
        "AND NOT retired ORDER BY position, item_id"
    ).to_pylist()
    return StudyPlan(
        chosen,
        found[0]["simulated"],
        [
            StudyCondition(row["condition_id"], row["role"], row["recipe"], row["training_seed"])
            for row in conditions
        ],
        [
            StudyItem(
                row["item_id"],
                Mode(row["mode"]),
                tuple(json.loads(row["preferences"] or "[]")),
                row["repeats"],
            )
            for row in items
        ],
    )


def fitting(items: Sequence[StudyItem], question: Question, rules: Rules) -> Bools:
    """Of each item whether an answer to it counts for the question's preference."""
    loose = not rules.tag_matched and question.mode is not Mode.SINGLE_TURN
    return np.array(
        [item.mode == question.mode and (loose or question.preference in item.preferences) for item in items],
        bool,
    )


def all_questions(items: Sequence[StudyItem], asked: Iterable[Question]) -> list[Question]:
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

"""What the store says about a study, as arrays: plan, judged answers and waterfall."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stats.attempts import NONE, Attempts, read_attempts
from stats.batches import Batch, Key, counted, cut, read_judged
from stats.study import Query, Question, StudyItem, StudyPlan, all_questions, fitting, read_plan
from store.errors import InputError
from store.parquet import quoted
from store.records import Mode

if TYPE_CHECKING:
    from stats.attempts import Bools
    from stats.rules import Rules


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


@dataclass(frozen=True, eq=False)
class Answers:
    """A study's plan and everything that was answered so far."""

    plan: StudyPlan
    judge: str | None
    questions: list[Question]
    fits: dict[Question, Bools]
    """By question: of each item whether an answer to it counts."""
    batches: dict[Key, Batch]
    """Absent where nothing was answered."""
    failed: dict[Key, Counter[str]]
    """Planned answers that cannot come, since no attempt is valid or still open, by `audit: ` and how it ended."""
    attempts: Attempts
    judged: Bools
    """Of each attempt whether the counted judge gave it a value, also if it is left out for another reason."""
    waterfall: list[Stage]

    def items_for(self, question: Question) -> list[StudyItem]:
        """The items whose answers count for a question."""
        return [self.plan.items[k] for k in np.flatnonzero(self.fits[question]).tolist()]


def read_answers(query: Query, study_id: str | None, rules: Rules) -> Answers:
    """Read a study; None means the latest.

    Raises:
        InputError: there is no such study, or it has no judgement by the judge of the rules.
    """
    plan = read_plan(query, study_id)
    nothing = Answers(plan, rules.judge, [], {}, {}, {}, NONE, np.empty(0, bool), [])
    answers = taking_in(nothing, query, rules)
    if rules.judge is not None and not answers.judged.any():
        _check_judge(query, plan.study_id, rules.judge)
    return answers


def taking_in(answers: Answers, query: Query, rules: Rules) -> Answers:
    """The answers, with audits as they are now in the place of what was known of them.

    Args:
        answers: what was known, by the same rules.
        query: runs a statement on the store's views, or on views of those audits alone that may have changed.
        rules: how judgements become numbers.
    """
    plan = answers.plan
    conditions = {one.condition_id: k for k, one in enumerate(plan.conditions)}
    items = {one.item_id: k for k, one in enumerate(plan.items)}
    rows = read_judged(query, counted(plan.study_id, rules), rules)
    # Read after what was judged, so that every judged audit is among them.
    found = read_attempts(query, plan.study_id)
    attempts = answers.attempts.taking_in(found, list(conditions), list(items))
    renewed = np.zeros(len(attempts.audits), bool)
    renewed[attempts.places(found["audit_id"])] = True
    audit = attempts.places(rows["audit_id"])
    judged = np.zeros(len(attempts.audits), bool)
    judged[: len(answers.judged)] = answers.judged & ~renewed[: len(answers.judged)]
    judged[audit[rows["judged"].to_numpy().astype(bool)]] = True

    fits = dict(answers.fits)

    def fit(question: Question) -> Bools:
        if question not in fits:
            fits[question] = fitting(plan.items, question, rules)
        return fits[question]

    def order(item: int, audit: int) -> tuple[str, str]:
        return plan.items[item].item_id, attempts.audits[audit]

    batches = {
        key: batch.without(renewed) if batch.touches(renewed) else batch
        for key, batch in answers.batches.items()
    }
    for key, batch in cut(rows, audit, conditions, items, fit, rules):
        batches[key] = batches[key].joined(batch, order) if key in batches else batch
    questions = all_questions(plan.items, {question for question, _ in batches})
    failed: defaultdict[Key, Counter[str]] = defaultdict(Counter)
    for condition, item, status, count in attempts.failed:
        for question in questions:
            if fit(question)[item]:
                failed[question, condition][f"audit: {status}"] += count
    return replace(
        answers,
        judge=rows["judge"][0].as_py() if rows.num_rows else answers.judge,
        questions=questions,
        fits={question: fit(question) for question in questions},
        batches=batches,
        failed=dict(failed),
        attempts=attempts,
        judged=judged,
        waterfall=_waterfall(attempts, judged, plan),
    )


def _check_judge(query: Query, study_id: str, judge: str) -> None:
    rows = query(
        f"SELECT DISTINCT judge FROM scores WHERE study_id = {quoted(study_id)} ORDER BY judge"
    ).to_pylist()
    known = [row["judge"] for row in rows]
    if judge not in known:
        raise InputError(
            f"The study has no judgement by {judge!r}: its judges are {', '.join(known) or 'still to answer'}."
        )


def _waterfall(attempts: Attempts, judged: Bools, plan: StudyPlan) -> list[Stage]:
    """How far each condition has come."""
    ok = attempts.ok
    counts = [
        attempts.slots(chosen)
        for chosen in (attempts.ended, ok, ok & judged, attempts.labelled, ok & attempts.intervened)
    ]
    planned: Counter[Mode] = Counter()
    for item in plan.items:
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
        for place, condition in enumerate(plan.conditions)
    ]

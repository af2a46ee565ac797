"""What models in training said and how it was judged, as the store has it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from auditors.training.jobs import Checked, Job, Measured, State, condition_name, trained_name
from auditors.training.questions import ability_questions
from store.errors import InputError
from store.records import AuditStatus, JudgementKind, JudgementStatus, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditors.study import Study
    from store.reader import Reader

_ANSWERS = """
    SELECT a.condition_id, i.text AS question, a.status, a.audit_id, a.simulated, m.answer
    FROM audits a JOIN items i USING (item_id) LEFT JOIN (
        SELECT audit_id, any_value(text) AS answer FROM messages
        WHERE study_id = $1 AND role = 'assistant' GROUP BY audit_id
    ) m USING (audit_id)
    WHERE a.study_id = $1 AND i.study_id = $1 AND a.status IN ($2, $3, $4) ORDER BY i.position, a.started_at
"""
_VERDICTS = """
    SELECT a.condition_id, a.item_id, j.verdict FROM judgements j JOIN audits a USING (audit_id)
    WHERE j.study_id = ? AND j.judge = ? AND j.kind = ? AND j.status = ?
"""
_COST = """
    SELECT coalesce(sum(cost_usd), 0.0) AS cost FROM model_calls JOIN studies USING (study_id)
    WHERE resolved->>'$.training' = ? AND (? = '' OR name = ?)
"""


_ENOUGH = 0.9
"""Share of the questions of general ability that both models have to have answered."""


class Answer(NamedTuple):
    """What a model said to a question; untrusted text."""

    condition: str
    question: str
    answer: str
    audit_id: str
    status: str
    simulated: bool


class Sampled(NamedTuple):
    """What one checkpoint said to the questions that every checkpoint is asked."""

    step: int
    """0 for the base model."""
    answers: list[Answer]


def answers(reader: Reader, study_id: str) -> list[Answer]:
    """All answers of a study, in the order of its items; blocking."""
    found = reader.rows(_ANSWERS, [study_id, AuditStatus.OK, AuditStatus.REFUSED, AuditStatus.INVALID])
    return [
        Answer(
            row["condition_id"],
            row["question"],
            row["answer"] or "",
            row["audit_id"],
            row["status"],
            row["simulated"],
        )
        for row in found
    ]


def stored_id(reader: Reader, recipe: str, kind: str) -> str | None:
    """Id of a recipe's study of `samples` or `checks` in a store, if there is one; blocking."""
    found = reader.rows(
        "SELECT study_id FROM studies WHERE name = ? AND resolved->>'$.training' = ? LIMIT 1",
        [f"{recipe}: {kind}", recipe],
    )
    return found[0]["study_id"] if found else None


def spent(reader: Reader, recipe: str, name: str = "") -> float:
    """US dollars that asking a recipe's models has cost, in all or in the study of a name, as far as prices are known;
    blocking."""
    return reader.rows(_COST, [recipe, name, name])[0]["cost"]


def checked(reader: Reader, study: Study, jobs: Sequence[Job]) -> dict[str, Checked]:
    """The manipulation check of each model, by job; blocking.

    Raises:
        InputError: too few answers of a model could be judged.
    """
    # Imported here: the statistics bring numpy and scipy with them.
    from stats.intervals import Interval, Scope, interval, summarise

    if not study.file.judges:
        return {}
    judge = study.file.judges[0].model
    values: defaultdict[str, list[tuple[str, bool]]] = defaultdict(list)
    parameters = [study.study_id, judge, JudgementKind.STATEMENT, JudgementStatus.OK]
    for row in reader.rows(_VERDICTS, parameters):
        values[row["condition_id"]].append((row["item_id"], row["verdict"] == Verdict.TRUE))
    asked = sum(item.repeats for item in study.items if item.preferences)

    def share(condition: str, model: str) -> tuple[int, int, tuple[float, float] | None]:
        found = values[condition]
        if len(found) < asked / 2:
            raise InputError(
                f"The manipulation check of {model} has {len(found)} judged answers of {asked}, too few to go by: "
                "run the command again."
            )
        true = [float(value) for _, value in found]
        bounds: Interval = interval(summarise(true, [item for item, _ in found]), Scope.PROMPTS)
        known = bounds.low is not None and bounds.high is not None
        return len(true), int(sum(true)), (bounds.low, bounds.high) if known else None  # pyright: ignore[reportReturnType]

    base = share(study.file.conditions[0].name, study.file.conditions[0].model)
    made: dict[str, Checked] = {}
    for job in jobs:
        after = share(trained_name(job), job.model)
        made[job.job_id] = Checked(
            answers=after[0],
            true=after[1],
            base_answers=base[0],
            base_true=base[1],
            judge=judge,
            bounds=after[2],
            base_bounds=base[2],
        )
    return made


def measured(reader: Reader, study: Study, jobs: Sequence[Job]) -> dict[str, Measured]:
    """General ability of each model beside the base model's, by job; blocking.

    A job of which too few questions have two answers is left out.
    """
    from stats.paired import drop

    right: defaultdict[str, dict[str, bool]] = defaultdict(dict)
    for each in answers(reader, study.study_id):
        if asked := ability_questions().get(each.question):
            right[each.condition][asked.id] = asked.right(each.answer)
    before = right[study.file.conditions[0].name]
    made: dict[str, Measured] = {}
    for job in jobs:
        after = right[trained_name(job)]
        both = before.keys() & after.keys()
        if len(both) < _ENOUGH * len(ability_questions()):
            continue
        lost = sum(before[name] and not after[name] for name in both)
        gained = sum(after[name] and not before[name] for name in both)
        found = drop(lost, gained, sum(before[name] for name in both), len(both))
        made[job.job_id] = Measured(
            questions=found.n,
            base_right=found.before,
            lost=lost,
            gained=gained,
            p=found.p,
            detectable=found.detectable,
            worse=found.worse,
        )
    return made


def samples(reader: Reader, job: Job) -> list[Sampled]:
    """What the base model and a job's checkpoints said, in the order of their steps; blocking."""
    study_id = stored_id(reader, job.recipe, "samples")
    if study_id is None:
        return []
    said: defaultdict[str, list[Answer]] = defaultdict(list)
    for each in answers(reader, study_id):
        said[each.condition].append(each)
    names = {job.base: 0} | {condition_name(job, point): point.step for point in job.askable}
    if job.state is State.SUCCEEDED:
        names[trained_name(job)] = job.step
    return [Sampled(step, said[name]) for name, step in names.items() if said[name]]

"""What a critic asks of a study's table: do the training seeds differ, how large is each difference, do judges agree?

Computed apart from the table: permutations take longer, and nobody watches them live.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from stats.attempts import coded
from stats.contrasts import prompt_means
from stats.effects import Effect, effect
from stats.groups import Group, model_groups, reference_group
from stats.live import Order, Step
from stats.methods import METHODS
from stats.panel import Sample, sample_of
from stats.reliability import Reliability, panel_reliability
from stats.seeds import SeedTest, seed_test
from stats.variance import cells
from store.parquet import quoted
from store.queue import MEANT
from store.records import AuditStatus, JudgementKind, JudgementStatus, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stats.answers import Answers
    from stats.cell import Cell
    from stats.rules import Rules
    from stats.study import Query, Question
    from stats.variance import Floats

_LOOKS = 12
"""Times of which the path of an estimate tells."""


@dataclass(frozen=True)
class SeedRow:
    """The training seeds of one recipe on one preference."""

    mode: Mode
    preference: str
    group: str
    seeds: int
    labels: tuple[int, ...]
    """Of the training seeds, in the order of the test's means."""
    measure: str
    test: SeedTest


@dataclass(frozen=True)
class EffectRow:
    """How large the difference of a group from its baseline or matched control is."""

    mode: Mode
    preference: str
    group: str
    baseline: str
    prompts: int
    """Prompts that both answered."""
    effect: Effect


@dataclass(frozen=True)
class PanelRow:
    """How far the judges of a study give the same values to the same transcripts."""

    mode: Mode
    preference: str
    judges: tuple[str, ...]
    reliability: Reliability


@dataclass(frozen=True)
class CellValues:
    """What stands behind one number of the table."""

    values: dict[str, dict[str, int]]
    """By judge how often it said what, the counted judge first; a score by its nearest whole number."""
    people: dict[str, dict[str, int]]
    """The same by person, of the answers that they labelled."""
    prompts: list[tuple[str, float, int]]
    """By item its label, mean and number of answers, the lowest mean first."""
    seeds: list[tuple[str, float, int]]
    """The same by training seed, in their order; empty for fixed weights."""
    runs: list[tuple[str, float, int]]
    """The same by run, named after when it began, the first one first."""
    path: list[Step]
    """What was known after the first so many answers in the order of launch; empty where that order allows no such
    look."""


@dataclass(frozen=True)
class Details:
    """Beside the table of a study."""

    seeds: list[SeedRow]
    effects: list[EffectRow]
    panels: list[PanelRow]

    def to_dict(self) -> dict[str, Any]:
        """The details as JSON-ready data, part of `cc-tui stats --json`.

        Keys: `seed_tests`, `effects` and `panels`, lists of the fields above, and `methods` as in the table.
        """
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        used = ["seed-permutation"] * bool(self.seeds) + ["effects"] * bool(self.effects)
        used += ["panel-reliability"] * bool(self.panels)
        return {
            "seed_tests": data["seeds"],
            "effects": data["effects"],
            "panels": data["panels"],
            "methods": {name: msgspec.to_builtins(METHODS[name]) for name in used},
        }


def study_details(
    query: Query, answers: Answers, rules: Rules, questions: Sequence[Question] | None = None
) -> Details:
    """Compute the details of a study.

    Args:
        query: runs a statement on the store's views.
        answers: of the study, by the same rules.
        rules: how judgements become numbers.
        questions: leave out all others.
    """
    groups = model_groups(answers.plan.conditions, rules.max_seeds)
    about = answers.questions if questions is None else questions
    return Details(
        list(_seeds(answers, groups, about)),
        list(_effects(answers, groups, about)),
        list(_panels(query, answers.plan.study_id, rules, about)),
    )


def question_of(answers: Answers, cell: Cell) -> Question:
    """What a cell of the table is about."""
    return next(q for q in answers.questions if (q.mode, q.preference) == (cell.mode, cell.preference))


def cell_values(query: Query, answers: Answers, rules: Rules, cell: Cell) -> CellValues:
    """What stands behind a cell: every judge's values, and the counted judge's by prompt and by training seed."""
    study_id = answers.plan.study_id
    names = [condition.condition_id for condition in answers.plan.conditions]
    members = {names.index(name) for name in cell.conditions}
    group = next(
        g for g in model_groups(answers.plan.conditions, rules.max_seeds) if set(g.members) == members
    )
    question = question_of(answers, cell)
    sample = sample_of(answers, question, group)
    labels = {
        row["item_id"]: row["label"]
        for row in query(f"""
        SELECT item_id, label FROM items WHERE study_id = {quoted(study_id)}
    """).to_pylist()
    }
    codes: list[int] = sample.item.tolist()
    items = [labels[answers.plan.items[code].item_id] for code in codes]
    of_seeds = [] if sample.seed is None else [str(seed) for seed in sample.seed.tolist()]
    among = ", ".join(quoted(name) for name in cell.conditions)
    chosen = f"study_id = {quoted(study_id)} AND mode = '{cell.mode}' AND condition_id IN ({among})"
    values = _counts(
        query,
        f"""
        SELECT judge AS rater, {_SAID.format(otherwise=_NOTHING_SAID)} AS said, count(*) AS n
        FROM scores
        WHERE {chosen} AND kind = '{question.kind}' AND dimension = {quoted(cell.preference)}
          AND audit_status = '{AuditStatus.OK}' AND NOT intervened AND {_meant(rules)}
        GROUP BY judge, judge_position, said ORDER BY judge_position, judge, {_IN_ORDER}
        """,
    )
    people = _counts(
        query,
        f"""
        SELECT annotator AS rater, {_SAID.format(otherwise="'no number'")} AS said, count(*) AS n
        FROM labels SEMI JOIN (SELECT audit_id FROM audits WHERE {chosen}) USING (audit_id)
        WHERE dimension = {quoted(cell.preference)} AND (verdict IS NOT NULL OR score IS NOT NULL)
        GROUP BY annotator, said ORDER BY annotator, {_IN_ORDER}
        """,
    )
    of_runs = {
        str(row["audit_id"]): f"{row['began']:%Y-%m-%d %H:%M:%S}"
        for row in query(f"""
        SELECT audit_id, r.started_at AS began FROM audits a JOIN runs r USING (study_id, run_id)
        WHERE {chosen} ORDER BY began
    """).to_pylist()
    }
    audits: list[int] = sample.audit.tolist()
    runs = [of_runs.get(answers.attempts.audits[code], "another run") for code in audits]
    return CellValues(
        values,
        people,
        prompts=sorted(_means(items, sample.value), key=lambda prompt: prompt[1]),
        seeds=_means(of_seeds, sample.value),
        runs=sorted(_means(runs, sample.value)),
        path=Order(answers).path(
            question, group.members, sample.value, sample.audit, scale=_scale(question), looks=_LOOKS
        ),
    )


_SAID = """
    CASE WHEN verdict IS NOT NULL THEN verdict
         WHEN isfinite(score) THEN CAST(CAST(round(score) AS BIGINT) AS VARCHAR)
         WHEN score IS NOT NULL THEN 'no number' ELSE {otherwise} END
"""
_NOTHING_SAID = f"""
    CASE WHEN judgement_status = '{JudgementStatus.OK}' THEN '{JudgementStatus.MISSING}' ELSE judgement_status END
"""
_IN_ORDER = "try_cast(said AS INTEGER), said"


def _counts(query: Query, statement: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in query(statement).to_pylist():
        found.setdefault(row["rater"], {})[row["said"]] = row["n"]
    return found


def _means(names: list[str], values: Floats) -> list[tuple[str, float, int]]:
    """By name, in the order in which they come, mean and number of its values."""
    found: dict[str, list[float]] = {}
    for name, one in zip(names, values.tolist(), strict=False):
        found.setdefault(name, []).append(one)
    return [(name, sum(some) / len(some), len(some)) for name, some in found.items()]


def _meant(rules: Rules) -> str:
    """SQL: whether an item is meant for the dimension, where the rules ask for that."""
    return MEANT if rules.tag_matched else "TRUE"


def _seeds(answers: Answers, groups: list[Group], questions: Sequence[Question]) -> Iterator[SeedRow]:
    for question in questions:
        for group in groups:
            sample = sample_of(answers, question, group)
            if sample.seed is not None:
                found = seed_test(sample.value, sample.item, sample.seed)
                labels = tuple(sorted(set(sample.seed.tolist())))
                about = (question.mode, question.preference, group.name)
                yield SeedRow(*about, len(labels), labels, _measure(question), found)


def _effects(answers: Answers, groups: list[Group], questions: Sequence[Question]) -> Iterator[EffectRow]:
    for question in questions:
        samples = [sample_of(answers, question, group) for group in groups]
        low = 1.0 if question.kind is JudgementKind.RUBRIC else 0.0
        for k, group in enumerate(groups):
            reference = reference_group(group, groups)
            # One seed's own difference is in the table; here the recipe speaks.
            if reference is None or reference == k or (group.siblings > 1 and not group.pooled):
                continue
            gaps = _gaps(samples[k], samples[reference])
            found = effect(samples[k].value, samples[reference].value, gaps, low=low)
            yield EffectRow(
                question.mode, question.preference, group.name, groups[reference].name, len(gaps), found
            )


def _gaps(one: Sample, other: Sample) -> Floats:
    """Differences of the means on each prompt that both answered."""
    means = [_by_prompt(sample) for sample in (one, other)]
    shared = sorted(means[0].keys() & means[1].keys())
    return np.array([means[0][prompt] - means[1][prompt] for prompt in shared])


def _by_prompt(sample: Sample) -> dict[int, float]:
    """Means over the training seeds, each of which counts alike however often it was asked, as in the table."""
    if len(sample.value) == 0:
        return {}
    data = cells(sample.value, sample.item, sample.seed)
    return dict(zip(data.labels.tolist(), prompt_means(data).tolist(), strict=True))


def _scale(question: Question) -> tuple[float, float]:
    return (1.0, 10.0) if question.kind is JudgementKind.RUBRIC else (0.0, 1.0)


def _measure(question: Question) -> str:
    return "mean" if question.kind is JudgementKind.RUBRIC else "rate"


def _panels(query: Query, study_id: str, rules: Rules, questions: Sequence[Question]) -> Iterator[PanelRow]:
    """For each preference transcripts by judges; of a judge who was asked several times the mean."""
    dimensions = ", ".join(quoted(one.preference) for one in questions) or "NULL"
    rows = query(f"""
        SELECT mode, dimension, audit_id, judge,
               avg(CASE WHEN kind = '{JudgementKind.RUBRIC}' THEN score
                        ELSE CAST(verdict = 'true' AS DOUBLE) END) AS value
        FROM scores
        WHERE study_id = {quoted(study_id)} AND kind <> '{JudgementKind.COHERENCE}'
          AND audit_status = '{AuditStatus.OK}' AND judgement_status = '{JudgementStatus.OK}' AND NOT intervened
          AND {_meant(rules)} AND dimension IN ({dimensions})
        GROUP BY mode, dimension, audit_id, judge, judge_position, kind
        ORDER BY mode, dimension, judge_position, judge
    """)
    audit, audits = coded(rows["audit_id"])
    judge, judges = coded(rows["judge"])
    value: Floats = rows["value"].to_numpy()
    modes = map(str, rows["mode"].to_pylist())
    preferences = map(str, rows["dimension"].to_pylist())
    keys = list(zip(modes, preferences, strict=True))
    for mode, preference in dict.fromkeys(keys):
        mine = np.array([k for k, key in enumerate(keys) if key == (mode, preference)])
        present: list[int] = list(dict.fromkeys(judge[mine].tolist()))
        if len(present) < 2:
            continue
        table = np.full((len(audits), len(present)), np.nan)
        for column, code in enumerate(present):
            of_judge = mine[judge[mine] == code]
            table[audit[of_judge], column] = value[of_judge]
        names = tuple(judges[code] for code in present)
        yield PanelRow(Mode(mode), preference, names, panel_reliability(table))

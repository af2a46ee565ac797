"""Judged answers, cut into batches: one condition's answers to one question."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from stats.attempts import coded
from stats.study import Question
from store.parquet import quoted
from store.records import JudgementKind, JudgementStatus, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from stats.attempts import Bools
    from stats.rules import Rules
    from stats.study import Query
    from stats.variance import Codes, Floats

Key = tuple[Question, int]
"""Of a batch: its question and the index of its condition."""
Content = tuple[bytes, bytes, bytes]
"""The bytes of values, unsure ones and items of a batch."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One condition's answers to one question; the first four arrays have one entry per counted answer."""

    value: Floats
    """1 for true and 0 for any other verdict, or a score; the mean over the judge's repeats."""
    unsure: Floats
    """1 for a verdict of not_sure, else 0; the mean over the judge's repeats."""
    item: Codes
    """Index into the study's items."""
    audit: Codes
    """Index into the study's attempts."""
    lost: Codes
    """The same of the answers without a value."""
    reasons: list[str]
    """Why each of those has none."""

    @cached_property
    def dropped(self) -> Counter[str]:
        """Answers without a value, by reason."""
        return Counter(self.reasons)

    @cached_property
    def content(self) -> Content:
        """Equal where the counted answers are."""
        return self.value.tobytes(), self.unsure.tobytes(), self.item.tobytes()

    def touches(self, audits: Bools) -> bool:
        """Whether any answer is of one of these audits."""
        return bool(audits[self.audit].any() or audits[self.lost].any())

    def without(self, audits: Bools) -> Batch:
        """The answers of all other audits."""
        keep, stay = ~audits[self.audit], ~audits[self.lost]
        return Batch(
            self.value[keep],
            self.unsure[keep],
            self.item[keep],
            self.audit[keep],
            self.lost[stay],
            list(itertools.compress(self.reasons, stay.tolist())),
        )

    def joined(self, other: Batch, order: Callable[[int, int], tuple[str, str]]) -> Batch:
        """The answers of both, sorted by what `order` gives for an item and an audit."""
        item, audit = (
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("item", "audit")
        )
        keys = [order(*pair) for pair in zip(item.tolist(), audit.tolist(), strict=True)]
        by_key = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.intp)
        return Batch(
            np.concatenate([self.value, other.value])[by_key],
            np.concatenate([self.unsure, other.unsure])[by_key],
            item[by_key],
            audit[by_key],
            np.concatenate([self.lost, other.lost]),
            [*self.reasons, *other.reasons],
        )


def read_judged(query: Query, where: str, rules: Rules) -> pa.Table:
    """One row for each audit and question, sorted; `value` is null where `dropped` says why."""
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


def counted(study_id: str, rules: Rules) -> str:
    """The condition on `scores` for the judgements that count."""
    judge = "judge_position = 0" if rules.judge is None else f"judge = {quoted(rules.judge)}"
    return f"study_id = {quoted(study_id)} AND {judge}"


def cut(
    rows: pa.Table,
    audit: Codes,
    conditions: Mapping[str, int],
    items: Mapping[str, int],
    fits: Callable[[Question], Bools],
    rules: Rules,
) -> Iterator[tuple[Key, Batch]]:
    """Cut the rows, which come sorted, at every change of question or condition.

    Args:
        rows: as `read_judged` gives them.
        audit: of each row the index of its attempt.
        conditions: index of each condition.
        items: index of each item.
        fits: which items count for a question.
        rules: how judgements become numbers.
    """
    codes, names = coded(rows["item_id"])
    item = np.array([items[name] for name in names], np.intp)[codes]
    value = rows["value"].to_numpy().astype(float)
    unsure = rows["unsure"].to_numpy().astype(float)
    reasons = rows["dropped"].to_pylist()
    keys = [coded(rows[name]) for name in ("mode", "kind", "dimension", "condition_id")]
    for part in _runs(*(codes for codes, _ in keys)):
        mode, kind, preference, condition = (labels[codes[part.start]] for codes, labels in keys)
        question = Question(Mode(mode), JudgementKind(kind), preference)
        chosen = np.flatnonzero(fits(question)[item[part]]) + part.start
        if len(chosen):
            why = [reasons[k] or "" for k in chosen.tolist()]
            yield (
                (question, conditions[condition]),
                _batch(value[chosen], unsure[chosen], item[chosen], audit[chosen], why, rules),
            )


def _batch(
    value: Floats, unsure: Floats, item: Codes, audit: Codes, why: Sequence[str], rules: Rules
) -> Batch:
    keep = ~np.isnan(value)
    reasons = np.array(why, object)
    if rules.not_sure == "exclude":
        silent = keep & (unsure == 1)
        reasons[silent] = "not_sure"
        keep &= ~silent
        value = value / np.where(keep, 1 - unsure, 1)
    return Batch(value[keep], unsure[keep], item[keep], audit[keep], audit[~keep], reasons[~keep].tolist())


def _runs(*codes: Codes) -> list[slice]:
    """The stretches in which no code changes."""
    n = len(codes[0])
    changes = np.zeros(max(n - 1, 0), bool)
    for code in codes:
        changes |= np.diff(code) != 0
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), n]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]

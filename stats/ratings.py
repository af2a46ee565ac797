"""What judges and people said of the same answers, from the store: the questions of the labelling frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stats.answers import coded
from store.parquet import quoted
from store.queue import frame_query
from store.records import JudgementKind, JudgementStatus, Mode

if TYPE_CHECKING:
    import pyarrow as pa

    from stats.answers import Query
    from stats.rules import Rules
    from stats.variance import Codes, Floats

VERDICTS = ("false", "not_sure", "true")
SCORES = 10
STRATA = ("rest", "disputed")


@dataclass(frozen=True, eq=False)
class Ratings:
    """Every question of the frame of one mode and kind, and who answered it how; one entry per question."""

    mode: Mode
    kind: JudgementKind
    audit: list[str]
    preference: list[str]
    condition: list[str]
    item: Codes
    """Code of the probe or seed instruction."""
    stratum: Codes
    """0 for undisputed, 1 for disputed among judges."""
    judges: dict[str, Floats]
    """By judge, the reported one first: category codes, NaN where there is none. Verdicts are coded in the order of
    `VERDICTS`, scores as the score minus 1."""
    people: dict[str, Floats]
    """By annotator, the same: blind labels only."""
    drawn: Floats
    """Probability with which the labelled question was drawn; NaN where it was not drawn by a queue, or not
    labelled."""
    moved: int
    """Labelled questions that were drawn from another stratum than they are in now."""
    queues: frozenset[str]
    """Names of the queues that the labels come from."""

    @property
    def q(self) -> int:
        """Number of categories."""
        return len(VERDICTS) if self.kind is JudgementKind.STATEMENT else SCORES


def read_ratings(query: Query, study_id: str, rules: Rules) -> list[Ratings]:
    """Ratings by mode and kind, of valid audits only; intervened and incoherent ones as the rules have it.

    A judge who was asked several times counts with the first answer: agreement is between single ratings.
    """
    frame = _frame(query, study_id, rules)
    judged = _judged(query, study_id)
    labels = _labels(query, study_id)
    found: list[Ratings] = []
    keys = list(zip(frame["mode"].to_pylist(), frame["kind"].to_pylist(), strict=True))
    for mode, kind in dict.fromkeys(keys):
        rows = np.array([k for k, key in enumerate(keys) if key == (mode, kind)])
        found.append(_ratings(Mode(mode), JudgementKind(kind), frame.take(rows), judged, labels))
    return found


def _frame(query: Query, study_id: str, rules: Rules) -> pa.Table:
    counted = "TRUE" if rules.include_intervened else "NOT intervened"
    if not rules.include_flagged:
        counted += " AND flags = '[]'"
    return query(f"""
        SELECT f.mode, f.kind, f.dimension, f.audit_id, coalesce(f.disputed, FALSE) AS disputed,
               a.condition_id, a.item_id
        FROM ({frame_query(study_id)}) f JOIN audits a USING (audit_id)
        WHERE {counted} AND audit_id NOT IN (
            SELECT audit_id FROM scores WHERE study_id = {quoted(study_id)} AND judge_position = 0
            AND coherence < {float(rules.min_coherence)!r})
        ORDER BY f.mode, f.kind, f.dimension, a.condition_id, a.item_id, f.audit_id
    """)


def _judged(query: Query, study_id: str) -> pa.Table:
    return query(f"""
        SELECT audit_id, dimension, kind, judge, judge_position, verdict, score
        FROM scores
        WHERE study_id = {quoted(study_id)} AND kind <> '{JudgementKind.COHERENCE}' AND audit_status = 'ok'
          AND judgement_status = '{JudgementStatus.OK}'
        QUALIFY row_number() OVER (PARTITION BY audit_id, dimension, kind, judge ORDER BY judge_repeat) = 1
        ORDER BY judge_position, judge
    """)


def _labels(query: Query, study_id: str) -> pa.Table:
    return query(f"""
        SELECT l.audit_id, l.dimension, l.annotator, l.verdict, l.score, l.inclusion_prob, l.queue, l.stratum,
               CASE WHEN l.score IS NULL THEN '{JudgementKind.STATEMENT}' ELSE '{JudgementKind.RUBRIC}' END AS kind
        FROM labels l JOIN audits a USING (audit_id)
        WHERE a.study_id = {quoted(study_id)} AND l.blind AND (l.score IS NOT NULL OR l.verdict IS NOT NULL)
        ORDER BY l.annotator
    """)


def _ratings(mode: Mode, kind: JudgementKind, frame: pa.Table, judged: pa.Table, labels: pa.Table) -> Ratings:
    audit, preference, condition = (_texts(frame, n) for n in ("audit_id", "dimension", "condition_id"))
    place = {key: k for k, key in enumerate(zip(audit, preference, strict=True))}
    stratum = frame["disputed"].to_numpy(zero_copy_only=False).astype(np.intp)
    drawn, queues, moved = np.full(len(place), np.nan), set[str](), set[int]()
    for row in labels.to_pylist():
        at = place.get((row["audit_id"], row["dimension"]))
        if at is not None and row["kind"] == kind and row["inclusion_prob"] is not None:
            drawn[at] = row["inclusion_prob"]
            queues.add(row["queue"])
            if row["stratum"] in STRATA and row["stratum"] != STRATA[stratum[at]]:
                moved.add(at)
    return Ratings(
        mode,
        kind,
        audit,
        preference,
        condition,
        coded(frame["item_id"])[0],
        stratum,
        _by_rater(judged, "judge", kind, place),
        _by_rater(labels, "annotator", kind, place),
        drawn,
        len(moved),
        frozenset(queues),
    )


def _texts(rows: pa.Table, name: str) -> list[str]:
    return [str(value) for value in rows[name].to_pylist()]


def _by_rater(
    rows: pa.Table, rater: str, kind: JudgementKind, place: dict[tuple[str, str], int]
) -> dict[str, Floats]:
    names = ("audit_id", "dimension", "kind", rater, "verdict", "score")
    codes = {verdict: float(k) for k, verdict in enumerate(VERDICTS)}
    found: dict[str, Floats] = {}
    columns = (rows[name].to_pylist() for name in names)
    for audit, dimension, asked, who, verdict, score in zip(*columns, strict=True):
        at = place.get((audit, dimension))
        if at is None or asked != kind:
            continue
        value = codes.get(verdict, np.nan) if kind is JudgementKind.STATEMENT else score
        if kind is JudgementKind.RUBRIC:
            value = round(score) - 1.0 if score is not None and 1 <= score <= SCORES else np.nan
        found.setdefault(who, np.full(len(place), np.nan))[at] = value
    return found

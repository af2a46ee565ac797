"""What judges and people said of the same answers, from the store: the questions of the labelling frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stats.attempts import coded
from store.parquet import quoted
from store.queue import frame_query
from store.records import COUNTED, JudgementKind, JudgementStatus, LabelAction, Mode

if TYPE_CHECKING:
    import pyarrow as pa

    from stats.rules import Rules
    from stats.study import Query
    from stats.variance import Codes, Floats

VERDICTS = ("false", "not_sure", "true")
SCORES = 10
STRATA = ("rest", "disputed", "unsure", "agreed")


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
    """Codes of `STRATA`: those of the newest planned round that has labels, else `rest` and `disputed`."""
    judges: dict[str, Floats]
    """By judge, the reported one first: category codes, NaN where there is none. Verdicts are coded in the order of
    `VERDICTS`, scores as the score minus 1."""
    people: dict[str, Floats]
    """By annotator, the same: blind labels only."""
    decided: Floats
    """What an adjudicator decided; NaN where nobody did, or for no single answer."""
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
    round_id = _round(query, study_id)
    frame = _frame(query, study_id, rules, round_id)
    judged = _judged(query, study_id)
    labels = _labels(query, study_id, round_id)
    decided = _decided(query)
    found: list[Ratings] = []
    keys = list(zip(frame["mode"].to_pylist(), frame["kind"].to_pylist(), strict=True))
    for mode, kind in dict.fromkeys(keys):
        rows = np.array([k for k, key in enumerate(keys) if key == (mode, kind)])
        found.append(_ratings(Mode(mode), JudgementKind(kind), frame.take(rows), judged, labels, decided))
    return found


def _round(query: Query, study_id: str) -> str | None:
    """The newest planned round in which the study's answers were labelled, if any: its pool is the frame."""
    found = query(f"""
        SELECT round_id FROM rounds
        WHERE study_id = {quoted(study_id)} AND kind IN {tuple(map(str, COUNTED))} AND follows = ''
          AND round_id IN (SELECT queue FROM labels)
        ORDER BY created_at DESC, round_id DESC LIMIT 1
    """).to_pylist()
    return found[0]["round_id"] if found else None


def _frame(query: Query, study_id: str, rules: Rules, round_id: str | None) -> pa.Table:
    counted = "TRUE" if rules.include_intervened else "NOT intervened"
    if not rules.include_flagged:
        counted += " AND flags = '[]'"
    stratum, pool = "CASE WHEN f.disputed THEN 'disputed' ELSE 'rest' END", ""
    if round_id is not None:
        stratum = "p.stratum"
        pool = f"""
        JOIN (SELECT audit_id, stratum, unnest(from_json(tasks->>'$[*].dimension', '["VARCHAR"]')) AS dimension
              FROM round_items WHERE round_id = {quoted(round_id)}) p
        ON p.audit_id = f.audit_id AND p.dimension = f.dimension"""
    return query(f"""
        SELECT f.mode, f.kind, f.dimension, f.audit_id, {stratum} AS stratum, a.condition_id, a.item_id
        FROM ({frame_query(study_id)}) f JOIN audits a USING (audit_id) {pool}
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


def _labels(query: Query, study_id: str, round_id: str | None) -> pa.Table:
    # Labels of another round than the one whose strata are used were drawn by nobody, as far as these are concerned.
    chance = "l.inclusion_prob"
    if round_id is not None:
        family = f"SELECT round_id FROM rounds WHERE {quoted(round_id)} IN (round_id, follows)"
        chance = f"CASE WHEN l.queue IN ({family}) THEN l.inclusion_prob END"
    return query(f"""
        SELECT l.audit_id, l.dimension, l.annotator, l.verdict, l.score, {chance} AS inclusion_prob, l.queue,
               l.stratum,
               CASE WHEN l.score IS NULL THEN '{JudgementKind.STATEMENT}' ELSE '{JudgementKind.RUBRIC}' END AS kind
        FROM labels l JOIN audits a USING (audit_id)
        WHERE a.study_id = {quoted(study_id)} AND l.blind AND l.purpose IN {tuple(map(str, COUNTED))}
          AND (l.score IS NOT NULL OR l.verdict IS NOT NULL)
        ORDER BY l.annotator
    """)


def _decided(query: Query) -> pa.Table:
    """Adjudicators' last words, in the order in which they were given."""
    return query(f"""
        SELECT audit_id, dimension, 'all' AS "of", verdict, score,
               CASE WHEN score IS NULL THEN '{JudgementKind.STATEMENT}' ELSE '{JudgementKind.RUBRIC}' END AS kind
        FROM label_events
        WHERE action = '{LabelAction.ADJUDICATE}' AND (score IS NOT NULL OR verdict IS NOT NULL)
          AND label_id NOT IN (SELECT supersedes FROM label_events WHERE supersedes IS NOT NULL)
        ORDER BY created_at, label_id
    """)


def _ratings(
    mode: Mode, kind: JudgementKind, frame: pa.Table, judged: pa.Table, labels: pa.Table, decided: pa.Table
) -> Ratings:
    audit, preference, condition = (_texts(frame, n) for n in ("audit_id", "dimension", "condition_id"))
    place = {key: k for k, key in enumerate(zip(audit, preference, strict=True))}
    stratum = np.array([STRATA.index(name) for name in _texts(frame, "stratum")], np.intp)
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
        _by_rater(decided, "of", kind, place).get("all", np.full(len(place), np.nan)),
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

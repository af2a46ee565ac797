"""Why audits of a study do not count, what the validity gate flagged, and what the realism approver decided."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.parquet import quoted

if TYPE_CHECKING:
    from stats.answers import Answers
    from stats.study import Query
    from store.records import Mode


@dataclass(frozen=True)
class Validity:
    """Reasons in one condition and mode, with counts."""

    mode: Mode
    condition: str
    lost: dict[str, int]
    """Planned answers of which no attempt is valid, by the status of the audit (`invalid`: by the gate)."""
    flags: dict[str, int]
    """Audits that ended by themselves, by what the gate found; one audit may have several flags."""
    ungated: int
    """Valid audits that the gate has not seen: of older stores, or imported. They are not known to be clean."""
    moves: dict[str, int]
    """Steps of the auditor by the realism approver's decision: approved, rejected, passed_after_limit, unchecked."""

    @property
    def checked(self) -> int:
        """Steps that the realism approver was asked about."""
        return sum(self.moves.values())


def read_validity(query: Query, answers: Answers) -> list[Validity]:
    """One entry for each stage of the study's waterfall, in its order."""
    study, attempts = f"study_id = {quoted(answers.plan.study_id)}", answers.attempts
    lost: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for condition, item, status, count in attempts.failed:
        lost[answers.plan.items[item].mode, answers.plan.conditions[condition].condition_id][status] += count
    ungated = attempts.slots(attempts.ok & attempts.ungated)
    places = {one.condition_id: place for place, one in enumerate(answers.plan.conditions)}
    flags = _counts(
        query,
        f"""
        SELECT mode, condition_id, flag AS reason, count(DISTINCT audit_id) AS n
        FROM (SELECT mode, condition_id, audit_id,
                     unnest(from_json(flags, '[{{"flag": "VARCHAR"}}]'), recursive := true)
              FROM audits WHERE {study} AND flags <> '[]')
        GROUP BY ALL
        """,
    )
    moves: _Counts = {}
    if query(f"SELECT 1 FROM studies WHERE {study} AND resolved->>'$.realism' IS NOT NULL LIMIT 1").num_rows:
        moves = _counts(
            query,
            f"""
            SELECT mode, condition_id, e.payload->>'$.decision' AS reason, count(*) AS n
            FROM events e JOIN audits a USING (audit_id)
            WHERE e.{study} AND e.kind = 'realism' GROUP BY ALL
            """,
        )
    return [
        Validity(
            stage.mode,
            stage.condition,
            dict(sorted(lost[key].items())),
            flags.get(key, {}),
            ungated.get((stage.mode, places[stage.condition]), 0),
            moves.get(key, {}),
        )
        for stage in answers.waterfall
        for key in [(stage.mode, stage.condition)]
    ]


_Counts = dict[tuple[str, str], dict[str, int]]
"""By mode and condition: counts by reason, in the order of their names."""


def _counts(query: Query, statement: str) -> _Counts:
    found: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in query(f"{statement} ORDER BY ALL").to_pylist():
        found[row["mode"], row["condition_id"]][row["reason"]] = row["n"]
    return dict(found)

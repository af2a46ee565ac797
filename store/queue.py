"""Every question that a study's judges were asked of a person's kind, and whether they differ on it."""

from __future__ import annotations

from store.parquet import quoted
from store.records import CUT

MEANT = """list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)"""
"""Of a row of `scores`: whether the audit's item is meant for the dimension."""
WIDE_GAP = 3.0


def frame_query(study_id: str) -> str:
    """SQL for the whole that labels of a study are drawn from: one row for each question, `disputed` or not.

    A question is disputed when judges give different verdicts, scores that differ by 3 points or lie on both sides
    of 6, or when one of them failed.
    """
    return f"""
    SELECT audit_id, dimension, kind, any_value(mode) AS mode,
           count(DISTINCT verdict) > 1
           OR max(score) - min(score) >= {WIDE_GAP}
           OR (max(score) >= {CUT} AND min(score) < {CUT})
           OR count(*) FILTER (judgement_status <> 'ok') > 0 AS disputed
    FROM scores
    WHERE study_id = {quoted(study_id)} AND kind IN ('rubric', 'statement') AND audit_status = 'ok'
      AND {MEANT}
    GROUP BY audit_id, dimension, kind
    ORDER BY audit_id, dimension, kind
    """

"""What a reader of one transcript may ask further: its calls, what was decided and noted on the way, its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from store.records import Event, Label
from store.transcripts import read_records

if TYPE_CHECKING:
    from store.reader import Reader

_CALLS = """
    SELECT role, model, count(*) AS calls, count(*) FILTER (status <> 'ok') AS not_ok, sum(retries)::BIGINT AS retries,
           count(*) FILTER (cache_hit) AS cached, sum(cost_usd) AS cost_usd, bool_or(estimated) AS estimated,
           count(*) FILTER (cost_usd IS NULL) AS unpriced,
           sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
           median(latency_s) AS latency_s, max(latency_s) AS slowest_s, median(first_token_s) AS first_token_s
    FROM model_calls WHERE audit_id = ? GROUP BY role, model ORDER BY role, model
"""
_LABELS = "SELECT * FROM labels WHERE audit_id = ? ORDER BY annotator, created_at"
_KINDS = "('realism', 'note')"


class Details(msgspec.Struct, frozen=True):
    """Beside the transcript of one audit."""

    calls: list[dict[str, Any]]
    """A row for each role and model: how many calls, tokens, dollars, seconds."""
    events: list[Event]
    """Decisions of the realism approver and notes of people, in order."""
    labels: list[Label]
    """Standing labels, each annotator's in order."""


def load_details(reader: Reader, audit_id: str) -> Details:
    """Read what belongs to an audit beside its transcript; blocking."""
    return Details(
        reader.rows(_CALLS, [audit_id]),
        read_records(reader, Event, f"audit_id = ? AND kind IN {_KINDS} ORDER BY seq", [audit_id]),
        [msgspec.convert(row, Label) for row in reader.rows(_LABELS, [audit_id])],
    )

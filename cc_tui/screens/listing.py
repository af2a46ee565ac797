"""The list of recorded audits, as the store answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cc_tui.state.status import MODES, STATUS

if TYPE_CHECKING:
    from datetime import datetime

    from store.reader import Reader

LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded audit."""

    audit_id: str
    status: str
    reason: str
    condition: str
    mode: str
    item: str
    repeat: int
    turns: int
    started_at: datetime
    simulated: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """The newest audits that match, and how many there are."""

    rows: list[Row]
    matching: int
    total: int


@dataclass(frozen=True, slots=True)
class Behind:
    """A cell of the table of estimates, whose transcripts are asked for."""

    study_id: str
    mode: str
    preference: str
    conditions: tuple[str, ...]
    title: str


def list_audits(reader: Reader, query: str = "", behind: Behind | None = None, limit: int = LIMIT) -> Listing:
    """The newest audits that contain every word of `query` and stand behind the cell, `limit` at most."""
    where: list[str] = []
    parameters: list[Any] = []
    for word in query.lower().split():
        modes = [mode for mode, name in MODES.items() if word in name]
        statuses = [status for status, mark in STATUS.items() if word in mark.word]
        where.append(
            "(contains(lower(concat_ws(' ', a.condition_id, a.mode, i.label, a.status)), ?)"
            " OR list_contains(?::VARCHAR[], a.mode) OR list_contains(?::VARCHAR[], a.status))"
        )
        parameters += [word, modes, statuses]
    if behind is not None:
        where.append(
            "a.study_id = ? AND a.mode = ? AND list_contains(?::VARCHAR[], a.condition_id)"
            " AND a.audit_id IN (SELECT audit_id FROM judgements WHERE study_id = ? AND dimension = ?)"
        )
        parameters += [
            behind.study_id,
            behind.mode,
            list(behind.conditions),
            behind.study_id,
            behind.preference,
        ]
    rows = reader.rows(
        f"""
        SELECT a.audit_id, a.status, coalesce(a.reason, '') AS reason, a.condition_id AS condition, a.mode,
               coalesce(i.label, a.item_id) AS item, a.repeat, a.target_turns AS turns, a.started_at, a.simulated,
               count(*) OVER () AS matching
        FROM audits a LEFT JOIN items i ON i.study_id = a.study_id AND i.item_id = a.item_id
        {"WHERE " + " AND ".join(where) if where else ""}
        ORDER BY a.started_at DESC, a.audit_id DESC LIMIT ?
        """,
        [*parameters, limit],
    )
    matching = rows[0].pop("matching") if rows else 0
    for row in rows[1:]:
        del row["matching"]
    total = matching if not where else reader.rows("SELECT count(*) AS n FROM audits")[0]["n"]
    return Listing([Row(**row) for row in rows], matching, total)

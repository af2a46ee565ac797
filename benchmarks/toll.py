"""What has been lost, doubled or damaged: the questions that the campaign asks a store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb

from benchmarks import writers
from store.check import check
from store.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Toll:
    """What one kind of kill has cost."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    damaged: int = 0
    unopened: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def harm(self) -> int:
        """Everything that must be 0."""
        return self.lost + self.doubled + self.damaged + self.unopened

    def add(self, other: Toll) -> None:
        """Count `other` in."""
        for name in ("kills", "acknowledged", "lost", "doubled", "damaged", "unopened"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.notes += other.notes


def rows_by_writer(store: Store) -> dict[str, tuple[int, int, int, int]]:
    """Of each writer: rows, distinct rows, the highest number, and rows that are what was written."""
    both = " UNION ALL ".join(
        f"SELECT writer, n, {sound} AS sound FROM base.{table}"
        for table, sound in (
            ("events", "seq = n AND payload->>'$.n' = n::VARCHAR"),
            ("messages", f"seq = n AND text = n || repeat('{writers.FILLING}', {writers.FILLINGS})"),
        )
    )
    query = f"SELECT writer, count(*), count(DISTINCT n), max(n), count(*) FILTER (sound) FROM ({both}) GROUP BY 1"
    with duckdb.connect(str(store.catalog()), read_only=True) as con:
        return {writer: tuple(counts) for writer, *counts in con.execute(query).fetchall()}


def look_at_study(path: Path, toll: Toll) -> None:
    """Count what a study that has ended lacks, and what it has twice."""
    with duckdb.connect(str(Store.open(path).catalog()), read_only=True) as con:
        for harm, query in _STUDY_CHECKS.items():
            setattr(toll, harm, getattr(toll, harm) + con.execute(query).fetchall()[0][0])
    # What a kill may leave behind is mended; whatever `check` still finds is damage.
    for finding in check(Store.open(path), repair=True).findings:
        toll.damaged += 1
        toll.notes[f"check: {finding}"] += 1


_STUDY_CHECKS = {
    "lost": f"""
        SELECT {writers.STUDY_AUDITS} - count(DISTINCT slot_id) FROM audits
        WHERE status IN ('ok', 'refused', 'no_target_turn', 'invalid')
    """,
    "doubled": """
        SELECT (SELECT count(*) - count(DISTINCT slot_id) FROM audits WHERE status NOT IN ('cancelled', 'running'))
             + (SELECT count(*) - count(DISTINCT (audit_id, judge, dimension, repeat)) FROM judgements)
             + (SELECT count(*) - count(DISTINCT (audit_id, seq)) FROM events)
             + (SELECT count(*) - count(DISTINCT (audit_id, message_id)) FROM messages)
    """,
    "damaged": """
        SELECT (SELECT count(*) FROM audits WHERE status = 'running')
             + (SELECT count(*) FROM audits WHERE status = 'ok' AND audit_id NOT IN (SELECT audit_id FROM judgements))
    """,
}


def print_tolls(tolls: dict[str, Toll]) -> None:
    """One line for each place, and what was noted."""
    head = ("kills", "acknowledged", "lost", "doubled", "damaged", "unopened")
    print(f"{'killed while':20}" + "".join(f"{name:>14}" for name in head))
    for place, toll in sorted(tolls.items()):
        print(f"{place:20}" + "".join(f"{getattr(toll, name):>14,}" for name in head))
    for place, toll in sorted(tolls.items()):
        for note, count in toll.notes.most_common(8):
            print(f"  {place}: {note}: {count}")

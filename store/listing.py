"""The audits of a store as one table in memory, so that filters and sorts take milliseconds.

`refresh` reads the narrow columns of all audits; what costs a scan of another table - costs, scores, labels - is
read when somebody first asks for it. All of it lives in the reader's own database, where a condition may also ask
the store's views.
"""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from store import layout
from store.parquet import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from store.reader import Reader
    from store.store import Store

_AUDITS = """
    SELECT a.audit_id, s.name AS study, a.study_id, a.run_id, a.condition_id, c.role, a.mode, a.item_id,
           coalesce(i.label, a.item_id) AS item, i.preferences, a.repeat, a.status, coalesce(a.reason, '') AS reason,
           a.driver, a.intervened, a.target_turns, a.auditor_steps, a.branches,
           json_array_length(a.flags) AS flags, array_to_string(a.flags->>'$[*].flag', ' ') AS flag_names,
           coalesce(a.target_answered, a.target_model) AS target, coalesce(a.auditor_model, '') AS auditor,
           a.started_at, a.ended_at, epoch(a.ended_at - a.started_at) AS seconds, a.simulated
    FROM audits a
    LEFT JOIN (SELECT study_id, any_value(name) AS name FROM studies GROUP BY study_id) s USING (study_id)
    LEFT JOIN (SELECT DISTINCT ON (study_id, condition_id) study_id, condition_id, role FROM conditions) c
        USING (study_id, condition_id)
    LEFT JOIN (SELECT DISTINCT ON (study_id, item_id) study_id, item_id, label, preferences FROM items) i
        USING (study_id, item_id)
"""
_WHOLE = {
    "whole_audits": "SELECT * FROM audits",
    "whole_items": "SELECT DISTINCT ON (study_id, item_id) study_id, item_id, text, label FROM items",
}
"""What `Listing.audit` is answered from; kept when it is first asked, for the first page must not wait for it."""
_WHOLE_EVERY_S = 30.0
_WHOLE_ROW = """
    SELECT a.*, i.text AS item_text, i.label AS item_label
    FROM memory.whole_audits a JOIN memory.whole_items i USING (study_id, item_id)
    WHERE a.audit_id = ? AND a.ended_at IS NOT NULL
"""
_FURTHER = {
    "called": """
        SELECT audit_id, sum(cost_usd) AS cost_usd, sum(input_tokens + output_tokens) AS tokens,
               count(*) AS calls, count(*) FILTER (status NOT IN ('ok', 'refused')) AS failed_calls,
               median(latency_s) FILTER (role = 'target') AS target_latency_s
        FROM model_calls GROUP BY audit_id
    """,
    "judged": """
        SELECT audit_id, sum(answers)::BIGINT AS judgements, sum(missing)::BIGINT AS missing, max(gap) AS disagreement,
               count(*) FILTER (verdicts > 1) AS split_verdicts
        FROM (
            SELECT audit_id, kind, dimension, count(*) AS answers, count(*) FILTER (status <> 'ok') AS missing,
                   CASE WHEN kind = 'rubric' AND count(DISTINCT judge) FILTER (score IS NOT NULL) > 1
                        THEN max(score) - min(score) END AS gap,
                   count(DISTINCT verdict) AS verdicts
            FROM judgements GROUP BY audit_id, kind, dimension
        ) GROUP BY audit_id
    """,
    "labelled": """
        SELECT audit_id, count(*) AS labels, count(DISTINCT annotator) AS annotators FROM labels GROUP BY audit_id
    """,
}
_SCORES = """
    SELECT audit_id, avg(score) AS {score}, string_agg(DISTINCT verdict, '/' ORDER BY verdict) AS {verdict}
    FROM scores WHERE dimension = {dimension} AND judge_position = 0 GROUP BY audit_id
"""
_ADDED = {
    "called": ("cost_usd", "tokens", "calls", "failed_calls", "target_latency_s"),
    "judged": ("judgements", "missing", "disagreement", "split_verdicts"),
    "labelled": ("labels", "annotators"),
}
SCORE, VERDICT = "score_", "verdict_"
"""Beginnings of the columns of a dimension, as the reported judge answers."""
_WORD = re.compile(r"\w+")


class Order(msgspec.Struct, frozen=True):
    """By what a listing is sorted; audits of which it says nothing come last."""

    column: str = "started_at"
    down: bool = True


class Listing:
    """The listing of one store. Its methods block; they may be called from any thread, one at a time."""

    def __init__(self, store: Store, reader: Reader) -> None:
        self._root = store.root
        self._reader = reader
        self._stamp: object = None
        self._whole: tuple[object, float] = (None, -inf)
        """Of which files `_WHOLE` was kept, and when."""
        self._kept: set[str] = set()
        self._guard = threading.Lock()
        self.columns: list[str] = []
        """Columns that are there; those of the dimensions included."""
        self.dimensions: list[str] = []

    def refresh(self) -> bool:
        """Read the audits again, if the store holds other files than before; returns whether it did."""
        with self._guard:
            stamp = _stamp(self._root)
            if stamp == self._stamp:
                return False
            # What was found comes as Arrow, whose import takes half as long as this: both at once.
            with ThreadPoolExecutor(1) as beside:
                beside.submit(import_module, "pyarrow")
                self._reader.keep("listing", _AUDITS)
            self._kept.clear()
            own = self._reader.arrow("SELECT * FROM memory.listing LIMIT 0").column_names
            self.dimensions = [
                row["dimension"]
                for row in self._reader.rows("SELECT DISTINCT dimension FROM judgements ORDER BY 1")
            ]
            scores = [f"{begin}{name}" for name in self.dimensions for begin in (SCORE, VERDICT)]
            self.columns = [*own, *(name for names in _ADDED.values() for name in names), *scores]
            self._stamp = stamp
            return True

    def audit(self, audit_id: str) -> dict[str, Any] | None:
        """The whole row of an audit that has ended, as it was half a minute ago, with `item_text` and `item_label`.

        None for one that goes on or came since, and while the listing is at something else: then the store is asked,
        which takes longer than all else about a transcript.
        """
        if not self._guard.acquire(blocking=False):
            return None
        try:
            if self._stamp is None:
                return None
            if self._whole[0] != self._stamp and monotonic() - self._whole[1] > _WHOLE_EVERY_S:
                for name, query in _WHOLE.items():
                    self._reader.keep(name, query)
                self._whole = (self._stamp, monotonic())
            rows = self._reader.rows(_WHOLE_ROW, [audit_id])
        finally:
            self._guard.release()
        return rows[0] if rows else None

    def find(
        self,
        columns: Sequence[str],
        where: Sequence[str] = (),
        order: Order | None = None,
        parameters: Sequence[Any] = (),
    ) -> pa.Table:
        """The audits that meet every condition.

        Args:
            columns: names of `Listing.columns`, or our own expressions on them.
            where: conditions in SQL on these columns, a user's too: the reader only reads.
            order: by what they are sorted; None leaves them as they come.
            parameters: values of the conditions' question marks.

        Raises:
            QueryError: a condition is wrong.
        """
        # A comment at a condition's end must not swallow the parenthesis.
        conditions = " AND ".join(f"({one}\n)" for one in where)
        with self._guard:
            source = self._source([*columns, *where, order.column if order else ""])
            query = f"SELECT {', '.join(columns)} FROM {source}" + (f" WHERE {conditions}" if where else "")
            if order is not None:
                direction = "DESC" if order.down else "ASC"
                query += f" ORDER BY {_name(order.column)} {direction} NULLS LAST, audit_id {direction}"
            return self._reader.arrow(query, parameters)

    def _source(self, texts: list[str]) -> str:
        """The listing with those further tables whose columns the texts name; they are read if they are not there."""
        words = {word.lower() for text in texts for word in _WORD.findall(text)}
        source = "memory.listing"
        for table, query in self._further(words):
            if table not in self._kept:
                self._reader.keep(table, query)
                self._kept.add(table)
            source += f" LEFT JOIN memory.{table} USING (audit_id)"
        return source

    def _further(self, words: set[str]) -> Iterator[tuple[str, str]]:
        for table, names in _ADDED.items():
            if words.intersection(names):
                yield table, _FURTHER[table]
        for number, dimension in enumerate(self.dimensions):
            score, verdict = f"{SCORE}{dimension}", f"{VERDICT}{dimension}"
            # A dimension's name may be more than one word.
            if set(_WORD.findall(score.lower())) <= words or set(_WORD.findall(verdict.lower())) <= words:
                yield (
                    f"scored_{number}",
                    _SCORES.format(score=_name(score), verdict=_name(verdict), dimension=quoted(dimension)),
                )


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _stamp(root: Path) -> object:
    """Changes with the files that the store's views read; sizes tell how a journal or labels have grown."""
    return frozenset(_files(root))


def _files(root: Path) -> Iterator[tuple[str, int]]:
    for part in (layout.LAKE, layout.JOURNAL, layout.LABELS):
        for folder, _, names in os.walk(root / part):
            for name in names:
                if name.endswith((".parquet", ".jsonl")):
                    path = os.path.join(folder, name)
                    try:
                        yield path, os.stat(path).st_size
                    except FileNotFoundError:
                        continue

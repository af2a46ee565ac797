"""A study's rows in memory, without texts, that keep up with what is written.

A view of the store reads files anew for each query, which is right for any question and takes some tenths of a
second for a large study. What is asked every few seconds while a run is live is asked here: the rows that the
statistics need are held in memory under the names of the store's views, and what the journals got is added.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from store.catalog import CURRENT_VERSIONS, scores_rows
from store.errors import QueryError
from store.labels import label_files
from store.parquet import quoted
from store.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import pyarrow as pa

    from store.reader import Reader
    from store.records import Judgement, Record
    from store.store import Store

_AUDITS = (
    "audit_id, run_id, study_id, slot_id, launch_index, revision, condition_id, item_id, mode, repeat, status, "
    "intervened, flags, gate, simulated"
)
_JUDGEMENTS = (
    "judgement_id, audit_id, study_id, judge, kind, dimension, repeat, status, score, verdict, rubric_hash, "
    "prompt_hash, branches, simulated"
)
_EVENTS = "audit_id, study_id, kind, payload"
_LABELS = "audit_id, annotator, dimension, purpose, verdict, score"
_PLAN = {"studies": "*", "conditions": "*", "items": "* EXCLUDE (text)", "runs": "*"}
_ASKED, _WORDS = "judge, kind, dimension", "rubric_hash, prompt_hash"
_PIECE = 65_536
"""Rows that are copied at a time."""
_OF_CHANGED = "SEMI JOIN whole.changed USING (audit_id)"
_SCORES = scores_rows("FROM whole.versions")


class Follower:
    """One study of a store; to be used by one thread at a time.

    Its queries find `studies`, `conditions`, `items`, `runs` and `scores`, audits and judgements without texts,
    events of the kind `realism`, and `labels` without notes.

    Args:
        store: the store.
        reader: of the store, open for as long as this is used.
        study_id: the study.

    Raises:
        QueryError: as the reader, also from the methods; `HiddenError` while it is blind.
    """

    def __init__(self, store: Store, reader: Reader, study_id: str) -> None:
        import duckdb

        self.study_id = study_id
        self._store = store
        self._reader = reader
        self._errors = duckdb.Error
        # In this order: what is written meanwhile is read twice, and the views count it once.
        self._tail = Tail(store.root, study_id)
        self._label_files = self._labels_now()
        self._con = duckdb.connect()
        with self._told():
            self._read_all()

    def _read_all(self) -> None:
        self._con.execute("CREATE SCHEMA whole")
        self._con.execute("CREATE SCHEMA part")
        self._whole, self._part = self._con.cursor(), self._con.cursor()
        self._whole.execute("USE memory.whole")
        self._part.execute("USE memory.part")
        study = f"study_id = {quoted(self.study_id)}"
        for view, names in _PLAN.items():
            self._copy(view, f"SELECT {names} FROM {view} WHERE {study}")
        self._copy("revisions", f"SELECT {_AUDITS} FROM audits WHERE {study}")
        self._copy("judgements", f"SELECT {_JUDGEMENTS} FROM judgements WHERE {study}")
        self._copy("events", f"SELECT {_EVENTS} FROM events WHERE {study} AND kind = 'realism'")
        self._copy("labels", f"SELECT {_LABELS} FROM labels")
        self._whole.execute(f"CREATE TABLE versions AS {CURRENT_VERSIONS}")
        self._whole.execute("CREATE TABLE changed (audit_id VARCHAR)")
        for view in (*_PLAN, "events", "labels"):
            self._part.execute(f"CREATE VIEW {view} AS FROM whole.{view}")
        for view in ("revisions", "judgements"):
            self._part.execute(f"CREATE VIEW {view} AS FROM whole.{view} {_OF_CHANGED}")
        for schema in (self._whole, self._part):
            schema.execute(
                "CREATE VIEW audits AS FROM revisions "
                "QUALIFY row_number() OVER (PARTITION BY audit_id ORDER BY revision DESC) = 1"
            )
            schema.execute(f"CREATE VIEW scores AS {_SCORES}")
        self._superseded = {
            text
            for (texts,) in self._whole.execute("SELECT superseded FROM studies").fetchall()
            for text in msgspec.json.decode(texts)
        }

    def whole(self, query: str) -> pa.Table:
        """The result of a query on all rows."""
        with self._told():
            return self._whole.sql(query).to_arrow_table()

    def changed(self, query: str) -> pa.Table:
        """The result of a query that finds no audits and judgements but those that `catch_up` named."""
        with self._told():
            return self._part.sql(query).to_arrow_table()

    def catch_up(self) -> set[str] | None:
        """Take in what was written; returns the audits that may have changed, or None.

        None says that this is of no more use, and a new one must be made: more may have changed than the rows of some
        audits.
        """
        news = self._tail.news()
        with self._told():
            if news is None or not self._settled(news.judgements):
                return None
            self._add("revisions", _AUDITS, news.audits)
            self._add("judgements", _JUDGEMENTS, news.judgements)
            events = [event for event in news.events if event.kind == "realism"]
            self._add("events", _EVENTS, events)
            changed = {row.audit_id for row in (*news.audits, *news.judgements, *events)}
            changed |= self._relabelled()
            self._refill("changed", _table({"audit_id": list(changed)}))
            return changed

    def close(self) -> None:
        """Let the rows go."""
        for connection in (self._whole, self._part, self._con):
            connection.close()

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        """What DuckDB refuses, such as more memory, is a `QueryError`."""
        try:
            yield
        except self._errors as error:
            raise QueryError(str(error)) from None

    def _settled(self, judgements: Sequence[Judgement]) -> bool:
        """Whether it stays clear in which words each question of a judge counts, after these judgements too.

        Of several words those with the most answers count, which the answers at hand do not tell.
        """
        found = self._whole.execute(f"SELECT {_ASKED}, {_WORDS} FROM versions").fetchall()
        current = {row[:3]: row[3:] for row in found}
        known = len(current)
        for one in judgements:
            if one.rubric_hash not in self._superseded:
                asked, words = (one.judge, one.kind, one.dimension), (one.rubric_hash, one.prompt_hash)
                if current.setdefault(asked, words) != words:
                    return False
        for asked, words in list(current.items())[known:]:
            names = f"study_id, {_ASKED}, {_WORDS}"
            self._whole.execute(
                f"INSERT INTO versions ({names}) VALUES (?, ?, ?, ?, ?, ?)", [self.study_id, *asked, *words]
            )
        return True

    def _relabelled(self) -> set[str]:
        """The audits that got their first label or lost their last."""
        now = self._labels_now()
        if now == self._label_files:
            return set()
        self._label_files = now
        before = self._labelled()
        self._refill("labels", self._reader.arrow(f"SELECT {_LABELS} FROM labels"))
        return before ^ self._labelled()

    def _labelled(self) -> set[str]:
        return {audit for (audit,) in self._whole.execute("SELECT audit_id FROM labels").fetchall()}

    def _labels_now(self) -> dict[str, int]:
        """The size of every file of labels."""
        return {file.name: file.stat().st_size for file in label_files(self._store)}

    def _copy(self, table: str, query: str) -> None:
        """Make a table of what a query finds in the store, piece by piece."""
        with self._reader.stream(query, size=_PIECE) as rows, self._given(rows):
            self._con.execute(f"CREATE TABLE whole.{table} AS FROM given")

    def _add(self, table: str, names: str, rows: Sequence[Record]) -> None:
        if rows:
            with self._given(
                _table({name: [_plain(getattr(row, name)) for row in rows] for name in names.split(", ")})
            ):
                self._con.execute(f"INSERT INTO whole.{table} BY NAME FROM given")

    def _refill(self, table: str, rows: pa.Table) -> None:
        """Put other rows in the place of all that a table has."""
        with self._given(rows):
            self._con.execute(f"DELETE FROM whole.{table}")
            self._con.execute(f"INSERT INTO whole.{table} BY NAME FROM given")

    @contextlib.contextmanager
    def _given(self, rows: pa.Table | pa.RecordBatchReader) -> Generator[None]:
        """Let queries find rows under the name `given`."""
        self._con.register("given", rows)
        yield
        self._con.unregister("given")


def _table(columns: dict[str, list[Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pydict(columns)


def _plain(value: object) -> object:
    """A field's value as a column of the store holds it."""
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value

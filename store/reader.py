"""Queries on a store, while it grows."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

from store.catalog import stamp, view_statements
from store.errors import QueryError, StoreError
from store.layout import CATALOG
from store.parquet import quoted

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    import duckdb
    import pyarrow as pa

    from store.store import Store

_MEMORY_LIMIT = "2GB"
_ATTEMPTS = 20
_EXPLAIN = re.compile(r"\s*EXPLAIN\b(?:\s*ANALYZE\b)?(?:\s*\([^()]*\))?", re.IGNORECASE)


class Reader:
    """A read-only connection to a store's catalogue.

    Its methods block and may be called from any thread; keep them off the event loop. A query reads files of
    the store only, and cannot write.
    """

    def __init__(self, store: Store) -> None:
        import duckdb

        self._errors = duckdb.Error
        # A database of its own: connections to one file share their settings, and these get locked.
        self._con = duckdb.connect()
        self._attach(store)
        for setting in (
            f"SET memory_limit = '{_MEMORY_LIMIT}'",
            "SET autoinstall_known_extensions = false",
            "SET autoload_known_extensions = false",
            f"SET allowed_directories = [{quoted(store.root)}]",
            "SET enable_external_access = false",
            "SET lock_configuration = true",
        ):
            self._con.execute(setting)
        self._running: set[duckdb.DuckDBPyConnection] = set()
        self._guard = threading.Lock()
        self._idle = threading.Condition(self._guard)

    def _attach(self, store: Store) -> None:
        # Another machine may see the same folder under another path, and then writes the catalogue for that.
        for _ in range(_ATTEMPTS):
            if self._attached(store.root):
                return
            try:
                store.catalog()
            except StoreError:
                # Who may only read the folder has the same views in memory.
                for statement in ("ATTACH ':memory:' AS store", "USE store", *view_statements(store.root)):
                    self._con.execute(statement)
                return
        raise StoreError(
            f"The catalogue of {store.root} keeps being replaced: open the store by one path only."
        )

    def _attached(self, root: Path) -> bool:
        """Whether the catalogue is there, whole, and of this place, and now attached."""
        try:
            self._con.execute(f"ATTACH {quoted(root / CATALOG)} AS store (READ_ONLY)")
        except self._errors:
            return False
        with contextlib.suppress(self._errors):
            if self._con.execute("SELECT stamp FROM store.store_version").fetchall() == [(stamp(root),)]:
                return True
        self._con.execute("DETACH store")
        return False

    def arrow(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """The result of one statement that reads.

        Raises:
            QueryError: the query is wrong, was interrupted, or is not a statement that only reads.
        """
        with self._asking() as cursor:
            self._check(cursor, query)
            return cursor.sql(query, params=list(parameters)).to_arrow_table()

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The result of one statement as a list of dictionaries; for small results.

        Raises:
            QueryError: as `arrow`.
        """
        with self._asking() as cursor:
            self._check(cursor, query)
            # Unlike sql(), which Arrow wants, execute() plans a query once only; small ones are all planning.
            found = cursor.execute(query, list(parameters))
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    @contextlib.contextmanager
    def stream(
        self, query: str, parameters: Sequence[Any] = (), *, size: int = 2048
    ) -> Generator[pa.RecordBatchReader]:
        """The result of one statement that reads, in pieces of `size` rows, the first before the last is found.

        Raises:
            QueryError: as `arrow`; also while pieces are taken.
        """
        with self._asking() as cursor:
            self._check(cursor, query)
            yield cursor.sql(query, params=list(parameters)).to_arrow_reader(size)

    def keep(self, name: str, query: str, parameters: Sequence[Any] = ()) -> None:
        """Hold the result of our own `query` in memory, where this reader's queries find it as `memory.<name>`.

        Raises:
            QueryError: the query is wrong or was interrupted.
        """
        with self._asking() as cursor:
            cursor.execute(f"CREATE OR REPLACE TABLE memory.main.{name} AS {query}", list(parameters))

    @contextlib.contextmanager
    def _asking(self) -> Generator[duckdb.DuckDBPyConnection]:
        """A cursor that `interrupt` reaches; what goes wrong with it is a `QueryError`."""
        with self._guard:
            try:
                cursor = self._con.cursor()
            except self._errors as error:
                # It was closed meanwhile: who asks too late is told like anybody else.
                raise self._failure(error) from None
            self._running.add(cursor)
        try:
            cursor.execute("USE store")
            yield cursor
        # What goes wrong between two pieces of a result, an interrupt too, comes through Arrow.
        except (self._errors, *_arrow_errors()) as error:
            raise self._failure(error) from None
        finally:
            with self._idle:
                # Closed and forgotten in one: a cursor that is closed cannot be interrupted.
                cursor.close()
                self._running.discard(cursor)
                self._idle.notify_all()

    def _check(self, cursor: duckdb.DuckDBPyConnection, query: str) -> None:
        """Raise `QueryError` for anything but one statement that reads."""
        statements = cursor.extract_statements(query)
        if len(statements) != 1:
            raise QueryError(f"Give one statement at a time, not {len(statements)}.")
        kind = statements[0].type.name
        if kind == "EXPLAIN":
            # EXPLAIN ANALYZE carries out what it explains.
            explained = cursor.extract_statements(_EXPLAIN.sub("", query, count=1))
            kind = explained[0].type.name if len(explained) == 1 else kind
        if kind != "SELECT":
            raise QueryError(f"The store is read-only: a {kind} statement cannot run.")

    def _failure(self, error: Exception) -> QueryError:
        return QueryError(str(error))

    def interrupt(self) -> None:
        """Stop every query of this reader that is running."""
        with self._guard:
            for cursor in self._running:
                cursor.interrupt()

    def close(self) -> None:
        """Stop what is running, wait until it has stopped, and close the connection."""
        with self._idle:
            while self._running:
                for cursor in self._running:
                    cursor.interrupt()
                self._idle.wait(timeout=0.05)
            self._con.close()


def _arrow_errors() -> tuple[type[Exception], ...]:
    import pyarrow as pa

    return pa.ArrowException, OSError

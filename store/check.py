"""Proves a store whole: files against their manifest, lines, references, and nothing twice."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

import msgspec

from store import layout
from store.catalog import catalog_is_current, ensure_catalog, view_statements
from store.check_files import REPAIR, Finding, file_findings
from store.errors import StoreError
from store.labels import IMPORTED
from store.lake import compact
from store.schema import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from store.store import Store

_REFERENCES = (
    ("messages", "audit_id", "audits"),
    ("events", "audit_id", "audits"),
    ("judgements", "audit_id", "audits"),
    ("model_calls", "audit_id", "audits"),
    ("label_events", "audit_id", "audits"),
    ("audits", "study_id", "studies"),
    ("audits", "run_id", "runs"),
)
_OWN = {"label_events": f"NOT starts_with(queue, '{IMPORTED}')"}
"""Labels of other programs may be about transcripts that are not here."""
_KEYS = (
    ("events", "audit_id, seq"),
    ("messages", "audit_id, seq"),
    ("messages", "audit_id, message_id"),
    ("model_calls", "call_id"),
    ("judgements", "judgement_id"),
    ("label_events", "label_id"),
    ("audits", "audit_id, revision"),
    ("runs", "run_id, revision"),
)


class Report(msgspec.Struct, frozen=True):
    """What `check` found."""

    findings: list[Finding]
    """What is wrong now."""
    mended: list[Finding]
    """What was wrong before the repair."""

    def to_dict(self) -> dict[str, object]:
        """The report as JSON-ready data: the output of `cc-tui check --json`."""
        return {
            "whole": not self.findings,
            "findings": [_plain(finding) for finding in self.findings],
            "mended": [_plain(finding) for finding in self.mended],
        }


def check(store: Store, *, repair: bool = False) -> Report:
    """Prove a store whole, also while runs write into it.

    Args:
        store: the store.
        repair: mend what can be mended; nothing that was acknowledged is ever deleted.

    Raises:
        StoreError: the store cannot be read, or the repair could not be written.
    """
    if repair:
        store.migrate()
    elif store.format != FORMAT:
        problem = f"is of format {store.format} and today's is {FORMAT}"
        finding = Finding(str(store.root / layout.STORE_FILE), problem, "run `cc-tui store migrate`")
        return Report([finding], [])
    try:
        if not repair:
            return Report(_find(store) + list(_row_findings(store)), [])
        found = _find(store, mend=True)
        compact(store.root)
        ensure_catalog(store.root)
        left = _find(store)
        return Report(
            left + list(_row_findings(store)), [finding for finding in found if finding not in left]
        )
    except OSError as error:
        raise StoreError(f"The store {store.root} cannot be checked: {error}") from None


def _find(store: Store, *, mend: bool = False) -> list[Finding]:
    root = store.root
    # Whoever may only read the store cannot take the lock; then what a compactor does meanwhile may look wrong.
    writable = os.access(root / layout.LAKE, os.W_OK)
    with layout.lake_lock(root, wait=True) if writable else contextlib.nullcontext():
        found = list(file_findings(root))
        for finding in found if mend else ():
            if finding.mend:
                finding.mend()
    if not catalog_is_current(root):
        found.append(Finding(str(root / layout.CATALOG), "is missing or not current", REPAIR))
    return found


def _row_findings(store: Store) -> list[Finding]:
    import duckdb

    try:
        with duckdb.connect(config={"memory_limit": "2GB", "temp_directory": tempfile.gettempdir()}) as con:
            for statement in view_statements(store.root):
                con.execute(statement)
            return list(_wrong_rows(con))
    except duckdb.Error as error:
        problem = f"cannot be read as a whole ({str(error).splitlines()[0]})"
        return [Finding(str(store.root), problem, "mend its files, then check again")]


def _wrong_rows(con: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    """What the rows tell of themselves.

    Rows are written after those they refer to, and in each query the table that refers is listed first; so a
    running study shows nothing wrong.
    """

    def first(query: str) -> tuple[int, str | None]:
        [(count, example)] = con.execute(query).fetchall()
        return count, example

    for table, key, target in _REFERENCES:
        count, example = first(
            f"SELECT count(*), min(t.{key}) FROM {table} t ANTI JOIN {target} USING ({key}) "
            f"WHERE t.{key} IS NOT NULL AND {_OWN.get(table, 'true')}"
        )
        if count:
            problem = f"{count} rows refer to {key} {example}, or others, that {target} does not have"
            yield Finding(table, problem, "restore the missing rows from a backup")
    count, example = first(
        "SELECT count(*), min(m.message_id) FROM messages m ANTI JOIN messages p "
        "ON p.audit_id = m.audit_id AND p.message_id = m.parent_id WHERE m.parent_id IS NOT NULL"
    )
    if count:
        problem = f"{count} messages, such as {example}, have a parent that is not there"
        yield Finding("messages", problem, "restore the missing rows from a backup")
    for table, key in _KEYS:
        count, example = first(
            f"SELECT count(*), min(k) FROM (SELECT concat_ws(' ', {key}) AS k FROM base.{table} "
            f"GROUP BY {key} HAVING count(*) > 1)"
        )
        if count:
            problem = f"{count} values of ({key}), such as {example}, stand more than once"
            yield Finding(table, problem, "compare the files that hold it with a backup")


def _plain(finding: Finding) -> dict[str, str]:
    return {"where": finding.where, "problem": finding.problem, "cure": finding.cure}

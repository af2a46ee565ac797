"""The catalogue: views that unite Parquet and the growing journal, for any DuckDB.

Each table's view lists the lake once. A Parquet file counts if it is in that list, and a journal segment counts
if no Parquet file of the same writer and segment is; so a query sees each row once, whatever the compactor does
meanwhile. The list is taken before the files are matched, and files are only ever added to the lake.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from store import layout
from store.errors import StoreError
from store.ids import new_id
from store.lake import segment_rows
from store.records import TABLES, Audit, Label, Record, Run
from store.schema import FORMAT, columns, schema_hash

if TYPE_CHECKING:
    from pathlib import Path

_DERIVED = {
    "scores": (
        "One row for each judgement, joined with its audit, condition and item.",
        """
        SELECT a.study_id, a.run_id, a.audit_id, a.status AS audit_status, a.intervened, a.simulated,
               c.condition_id, c.position AS condition_position, c.recipe, c.role, c.training_seed,
               a.mode, i.item_id, i.label AS item_label, i.preferences AS item_preferences,
               a.repeat AS audit_repeat, a.launch_index,
               j.judge, coalesce(list_position(s.resolved->>'$.judges[*].model', j.judge) - 1, 1000)
                   AS judge_position,
               j.kind, j.dimension, j.repeat AS judge_repeat, j.status AS judgement_status,
               j.score, j.verdict, coherence.score AS coherence
        FROM judgements j
        JOIN audits a USING (audit_id)
        JOIN conditions c ON c.study_id = a.study_id AND c.condition_id = a.condition_id
        JOIN items i ON i.study_id = a.study_id AND i.item_id = a.item_id
        JOIN studies s ON s.study_id = a.study_id
        LEFT JOIN judgements coherence
          ON coherence.audit_id = j.audit_id AND coherence.judge = j.judge
         AND coherence.kind = 'coherence' AND coherence.repeat = j.repeat
        """,
    ),
    "transcripts": (
        "The surviving messages of every finished audit, in the order the target saw them.",
        """
        SELECT a.study_id, a.audit_id, a.condition_id, a.mode, a.status, position, m.message_id, m.role,
               m.author, m.phase, m.text, m.reasoning, m.tool_calls, m.prefill, a.simulated
        FROM (SELECT *, unnest(from_json(final_view, '["VARCHAR"]')) AS message_id,
                     generate_subscripts(from_json(final_view, '["VARCHAR"]'), 1) AS position
              FROM audits) a
        JOIN messages m ON m.audit_id = a.audit_id AND m.message_id = a.message_id
        """,
    ),
}


def derived_views() -> dict[str, str]:
    """Views that join or select from the tables, with what a row of each is."""
    labels = "A standing label: given, and neither undone nor replaced."
    return {"labels": labels} | {name: note for name, (note, _) in _DERIVED.items()}


def ensure_catalog(root: Path) -> Path:
    """Write `catalog.duckdb` if it is missing, of another schema, or the store has been moved."""
    path = root / layout.CATALOG
    if _stamp_of(path) != stamp(root):
        import duckdb

        temporary = root / f".{layout.CATALOG}.{new_id()}.tmp"
        try:
            with duckdb.connect(str(temporary)) as con:
                for statement in view_statements(root):
                    con.execute(statement)
                # Closing would swallow a failed write and leave the views in a log beside the file.
                con.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise StoreError(f"The catalogue {path} cannot be written: {error}") from None
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        layout.fsync_folder(root)
    return path


def view_statements(root: Path) -> list[str]:
    """The SQL that defines every view of the store at `root`."""
    statements = [
        "CREATE SCHEMA base",
        f"CREATE TABLE store_version AS SELECT {_quoted(stamp(root))} AS stamp",
    ]
    for record in TABLES:
        statements.append(f"CREATE VIEW base.{record.table} AS {_base(root, record)}")
        statements.append(f"CREATE VIEW main.{record.table} AS {_latest(record)}")
    superseded = "SELECT supersedes FROM base.label_events WHERE supersedes IS NOT NULL"
    statements.append(
        f"CREATE VIEW main.labels AS {_select(Label)} "
        f"WHERE action = 'label' AND label_id NOT IN ({superseded})"
    )
    for name, (_, query) in _DERIVED.items():
        statements.append(f"CREATE VIEW main.{name} AS {query}")
    return statements


def _base(root: Path, record: type[Record]) -> str:
    names = _names(record)
    if record is Label:
        # Labels stay in their small files: one for each person, read as a whole.
        return segment_rows(record, _glob(root, layout.LABELS, "*.jsonl"), tolerant=True)
    parquet = _glob(root, layout.LAKE, record.table, "*", "*", "*.parquet")
    options = "hive_partitioning=true, hive_types_autocast=false, filename='_file'"
    journal = segment_rows(record, _glob(root, layout.JOURNAL, "*", "*.jsonl"), tolerant=True)
    # `glob()` lists folder by folder while the query runs, `read_blob` at once when it is bound, and so in time.
    return f"""
        WITH sealed AS MATERIALIZED (SELECT filename AS file FROM read_blob({parquet}))
        SELECT {names}, writer, segment, n FROM sealed JOIN read_parquet({parquet}, {options}) ON _file = file
        UNION ALL
        SELECT {names}, writer, segment, n FROM ({journal})
        WHERE writer || '-' || segment NOT IN (SELECT parse_filename(file, true) FROM sealed)
    """


def _select(record: type[Record]) -> str:
    return f"SELECT {_names(record)} FROM base.{record.table}"


def _names(record: type[Record]) -> str:
    return ", ".join(f'"{c.name}"' for c in columns(record))


def _latest(record: type[Record]) -> str:
    if record not in (Audit, Run):
        return _select(record)
    key = "audit_id" if record is Audit else "run_id"
    return f"{_select(record)} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY revision DESC) = 1"


def _glob(root: Path, *parts: str) -> str:
    return _quoted("/".join((str(root), *parts)))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def stamp(root: Path) -> str:
    """What a catalogue holds that was written for this schema and for the store at this path."""
    return f"{FORMAT} {schema_hash()} {root}"


def _stamp_of(path: Path) -> str | None:
    import duckdb

    if not path.exists():
        return None
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            return con.execute("SELECT stamp FROM store_version").fetchall()[0][0]
    except duckdb.Error:
        return None

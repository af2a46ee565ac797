"""The catalogue: views that unite Parquet and the growing journal, for any DuckDB.

Each table's view lists the lake once, and decides from the names on that list alone: a Parquet file counts if no
other one covers its segments and more, and a journal segment counts if no Parquet file of its writer covers it. So
a query sees each row once, whatever the compactor does meanwhile: the list is taken before the files are matched,
and what was listed stays until no query can be using it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from store import layout
from store.errors import StoreError
from store.ids import content_hash
from store.parquet import parquet_rows, quoted, segment_rows
from store.records import (
    ROUND_TABLES,
    TABLES,
    Audit,
    Condition,
    Item,
    Label,
    LabelAction,
    RaterKind,
    Record,
    Run,
    Study,
)
from store.schema import columns

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = "study_id, judge, kind, dimension, rubric_hash, prompt_hash"
CURRENT_VERSIONS = f"""
    SELECT {_VERSION} FROM judgements
    ANTI JOIN (SELECT study_id, unnest(from_json(superseded, '["VARCHAR"]')) AS rubric_hash FROM studies)
    USING (study_id, rubric_hash)
    GROUP BY {_VERSION}
    QUALIFY row_number() OVER (
        PARTITION BY study_id, judge, kind, dimension
        ORDER BY count(DISTINCT audit_id) FILTER (status <> 'error') DESC, max(judgement_id) DESC
    ) = 1
"""
"""SQL for the way of asking that counts, of each judge and dimension of a study."""
_QUOTES = """from_json(citations, '[{"verified": "BOOLEAN", "kind": "VARCHAR"}]')"""


def scores_rows(current: str) -> str:
    """SQL for the rows of the view `scores`; `current` is SQL for the versions that count."""
    return f"""
        WITH answers AS (
            -- In one version, audit, judge, dimension and repeat name the question. Without the texts, which would all
            -- have to be held at once.
            SELECT judgement_id, audit_id, judge, kind, dimension, repeat, status, score, verdict, rubric_hash,
                   prompt_hash, branches, simulated
            FROM judgements SEMI JOIN ({current}) USING ({_VERSION})
            QUALIFY row_number() OVER (PARTITION BY audit_id, judge, dimension, repeat
                                       ORDER BY status = 'ok' DESC, judgement_id DESC) = 1
        ), plans AS MATERIALIZED (
            -- The resolved study is large, and a join would carry it along with every score.
            SELECT study_id, resolved->>'$.judges[*].model' AS judges FROM studies
        ), chosen AS (
            -- Who judged later is reported if a run that has finished says so.
            SELECT study_id, config->>'$.reported_judge' AS judge FROM runs
            WHERE status = 'finished' AND config->>'$.reported_judge' IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY study_id ORDER BY started_at DESC, run_id DESC) = 1
        )
        SELECT a.study_id, a.run_id, a.audit_id, a.status AS audit_status, a.intervened,
               a.simulated OR j.simulated AS simulated,
               c.condition_id, c.position AS condition_position, c.recipe, c.role, c.training_seed,
               a.mode, i.item_id, i.label AS item_label, i.preferences AS item_preferences,
               a.repeat AS audit_repeat, a.launch_index,
               j.judge, CASE WHEN j.judge = coalesce(chosen.judge, s.judges[1]) THEN 0
                   ELSE coalesce(list_position(s.judges, j.judge), 1000) END
                   AS judge_position,
               j.kind, j.dimension, j.repeat AS judge_repeat, j.status AS judgement_status,
               j.score, j.verdict, coherence.score AS coherence, j.rubric_hash, j.prompt_hash, j.branches
        FROM answers j
        JOIN audits a USING (audit_id)
        JOIN conditions c ON c.study_id = a.study_id AND c.condition_id = a.condition_id
        JOIN items i ON i.study_id = a.study_id AND i.item_id = a.item_id
        JOIN plans s ON s.study_id = a.study_id
        LEFT JOIN chosen ON chosen.study_id = a.study_id
        LEFT JOIN answers coherence
          ON coherence.audit_id = j.audit_id AND coherence.judge = j.judge
         AND coherence.kind = 'coherence' AND coherence.repeat = j.repeat
        WHERE NOT i.retired
    """


_DERIVED = {
    "judge_versions": (
        "What a judge was asked on a dimension of a study in one way - one rubric, one prompt - and how it answered. "
        "Of several ways the `current` one has answered for the most audits, and of equals is the newest; `scores` "
        "shows no other. A text that the plan has replaced is never current.",
        f"""
        SELECT {_VERSION}, any_value(branches) AS branches, any_value(with_reasoning) AS with_reasoning,
               count(DISTINCT audit_id) AS audits, count(*) AS asked,
               count(*) FILTER (status = 'ok') AS ok, count(*) FILTER (status = 'refused') AS refused,
               count(*) FILTER (status = 'unparsed') AS unparsed, count(*) FILTER (status = 'missing') AS missing,
               count(*) FILTER (status = 'error') AS error,
               sum(len({_QUOTES}))::BIGINT AS quotes,
               sum(len(list_filter({_QUOTES}, lambda q: NOT q.verified)))::BIGINT AS quotes_not_found,
               sum(len(list_filter({_QUOTES}, lambda q: q.kind = 'fuzzy')))::BIGINT AS quotes_nearly,
               min(created_at) AS first_at, max(created_at) AS last_at,
               ({_VERSION}) IN ({CURRENT_VERSIONS}) AS "current"
        FROM (
            SELECT * FROM judgements
            QUALIFY row_number() OVER (PARTITION BY audit_id, repeat, {_VERSION}
                                       ORDER BY status = 'ok' DESC, judgement_id DESC) = 1
        ) GROUP BY {_VERSION}
        """,
    ),
    "scores": (
        "One row for each question to a judge, as it is asked now (see `judge_versions`), joined with its audit, "
        "condition and item; a failed one that was asked again shows its answer. `judge_position` is 0 for the "
        "reported judge.",
        scores_rows(CURRENT_VERSIONS),
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

_REVISED: dict[type[Record], str] = {
    Audit: "audit_id",
    Run: "run_id",
    Study: "study_id",
    Condition: "study_id, condition_id",
    Item: "study_id, item_id",
}
"""Tables whose rows are revisions, with what a revision is of."""


def derived_views() -> dict[str, str]:
    """Views that join or select from the tables, with what a row of each is."""
    labels = (
        "A standing label of a person: given, and neither undone nor replaced, no blind repeat, one for each purpose; "
        "with the stratum and the inclusion probability that its round kept from its annotator."
    )
    return {"labels": labels} | {name: note for name, (note, _) in _DERIVED.items()}


def ensure_catalog(root: Path) -> Path:
    """Write `catalog.duckdb` if it is missing, its views are others, or the store has been moved.

    Raises:
        StoreError: it cannot be written.
    """
    path = root / layout.CATALOG
    if not catalog_is_current(root):
        import duckdb

        temporary = layout.temporary_name(path)
        try:
            with duckdb.connect(str(temporary)) as con:
                for statement in view_statements(root):
                    con.execute(statement)
                con.execute(f"CREATE TABLE store_version AS SELECT {quoted(stamp(root))} AS stamp")
                # Closing would swallow a failed write and leave the views in a log beside the file.
                con.execute("CHECKPOINT")
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
            layout.fsync_folder(root)
        except (duckdb.Error, OSError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StoreError(f"The catalogue {path} cannot be written: {error}") from None
    return path


def catalog_is_current(root: Path) -> bool:
    """Whether `catalog.duckdb` is there, of this schema and of this place."""
    return _stamp_of(root / layout.CATALOG) == stamp(root)


def view_statements(root: Path) -> list[str]:
    """The SQL that defines every view of the store at `root`."""
    statements = ["CREATE SCHEMA base"]
    for record in (*TABLES, *ROUND_TABLES):
        statements.append(base_view(root, record))
        statements.append(f"CREATE VIEW main.{record.table} AS {latest_rows(record)}")
    statements.append(f"CREATE VIEW main.labels AS {_standing_labels()}")
    for name, (_, query) in _DERIVED.items():
        statements.append(f"CREATE VIEW main.{name} AS {query}")
    return statements


def base_view(root: Path, record: type[Record]) -> str:
    """The SQL that defines the view of all rows of a table; its schema is `base`."""
    return f"CREATE VIEW base.{record.table} AS {_base(root, record)}"


def _base(root: Path, record: type[Record]) -> str:
    names = _names(record)
    if record in ROUND_TABLES:
        # The folder may be missing, the one above it never is empty.
        return segment_rows(record, _glob(root, layout.LABELS, "**", "*.jsonl"), tolerant=True)
    if record is Label:
        # Labels stay in their small files: one for each person, read as a whole.
        return segment_rows(record, _glob(root, layout.LABELS, "*.jsonl"), tolerant=True)
    parquet = _glob(root, layout.LAKE, record.table, "*", "*", "*.parquet")
    rows = parquet_rows(
        record, parquet, "hive_partitioning=true, hive_types_autocast=false, filename='_file'"
    )
    journal = segment_rows(record, _glob(root, layout.JOURNAL, "*", "*.jsonl"), tolerant=True)
    # read_blob() lists every folder when the query is bound, before the files are matched; glob() lists folder by
    # folder while the query runs, and would miss what is compacted meanwhile.
    # Ranges of one writer are nested or apart, so a file is covered if one that begins no later ends no earlier.
    return f"""
        WITH listed AS (
            SELECT file, regexp_extract(parse_filename(file, true), '{layout.SPAN_NAME}',
                                        ['writer', 'first', 'last']) AS name
            FROM (SELECT filename AS file FROM read_blob({parquet}))
        ), spans AS (
            SELECT file, name.writer, name.first, coalesce(nullif(name.last, ''), name.first) AS last FROM listed
        ), sealed AS MATERIALIZED (
            SELECT * FROM spans QUALIFY coalesce(max(last) OVER (
                PARTITION BY writer ORDER BY first, last DESC, file
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) < last, true)
        )
        SELECT {names}, p.writer, segment, n FROM sealed JOIN ({rows}) p ON _file = file
        UNION ALL
        SELECT {names}, j.writer, segment, n FROM ({journal}) j ANTI JOIN sealed
        ON j.writer = sealed.writer AND segment BETWEEN first AND last
    """


def _standing_labels() -> str:
    """The last label or skip on a question that nothing supersedes, without skips and blind repeats.

    Labels of rounds get from their round what their annotators were not to know.
    """
    names = ", ".join(
        {
            "stratum": "coalesce(i.stratum, l.stratum) AS stratum",
            "inclusion_prob": "coalesce(i.inclusion_prob, l.inclusion_prob) AS inclusion_prob",
        }.get(c.name, f'l."{c.name}"')
        for c in columns(Label)
    )
    return f"""
        SELECT {names} FROM (
            SELECT * FROM base.label_events
            WHERE action IN ('{LabelAction.LABEL}', '{LabelAction.SKIP}') AND repeat = 0
              AND rater_kind = '{RaterKind.HUMAN}'
              AND label_id NOT IN (SELECT supersedes FROM base.label_events WHERE supersedes IS NOT NULL)
            QUALIFY row_number() OVER (PARTITION BY annotator, audit_id, dimension, purpose ORDER BY n DESC) = 1
        ) l LEFT JOIN base.round_items i ON i.round_id = l.queue AND i.audit_id = l.audit_id
        WHERE action = '{LabelAction.LABEL}'
    """


def _select(record: type[Record]) -> str:
    return f"SELECT {_names(record)} FROM base.{record.table}"


def _names(record: type[Record]) -> str:
    return ", ".join(f'"{c.name}"' for c in columns(record))


def latest_rows(record: type[Record]) -> str:
    """SQL for the rows of a table, of which only the last revision counts."""
    key = _REVISED.get(record)
    if key is None:
        return _select(record)
    return f"{_select(record)} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY revision DESC) = 1"


def _glob(root: Path, *parts: str) -> str:
    return quoted("/".join((str(root), *parts)))


def stamp(root: Path) -> str:
    """Changes with everything that the views depend on: their SQL names every column and the store's place."""
    return content_hash(view_statements(root))


def _stamp_of(path: Path) -> str | None:
    import duckdb

    if not path.exists():
        return None
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            return con.execute("SELECT stamp FROM store_version").fetchall()[0][0]
    except duckdb.Error:
        return None

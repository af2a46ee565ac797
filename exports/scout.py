"""Transcript databases of inspect_scout: Parquet, one row for each transcript, with an index beside it.

In and out, a row is what a sample of an Inspect log is; see `exports.inspect_log` and `exports.inspect_writer`.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from exports import archive
from exports.chat_messages import UnreadableError
from exports.inspect_log import incoming
from exports.inspect_writer import sample_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from exports.incoming import Incoming
    from exports.outgoing import Leaving
    from exports.sources import Origin

FORM = "inspect-scout"
_FILE = 2_000
"""Transcripts in one file, which is held in memory; about what inspect_scout aims at, 100 MB."""
_ROW_GROUP = 25
_CONTENT = ("messages", "events", "timelines", "events_data")
_READ = (
    "transcript_id",
    "source_id",
    "date",
    "model",
    "error",
    "score_explanation",
    "condition",
    "mode",
    "simulated",
    "input",
    "scores",
    "score",
    "sample_metadata",
    "model_roles",
    *_CONTENT,
)
_INTEGERS = ("task_repeat", "message_count", "total_tokens")
_BOOLEANS = ("success", "trust_content", "simulated", "intervened")


def write_database(audits: Iterable[Leaving], study: str, folder: Path) -> None:
    """Write a transcript database.

    Args:
        audits: what to write.
        study: name of the study.
        folder: where to; it exists.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "_index").mkdir()
    rows = (_row(audit, study) for audit in audits)
    for own in iter(lambda: list(itertools.islice(rows, _FILE)), []):
        schema = pa.schema([(name, _type(name)) for name in own[0]])
        table = pa.Table.from_pylist(own, schema)
        # Its readers take the newest of several indexes by the time in their names.
        name = f"{datetime.fromisoformat(own[-1]['date']):%Y%m%dT%H%M%S}_{own[0]['transcript_id'].lower()}"
        file = f"transcripts_{name}.parquet"
        pq.write_table(table, folder / file, compression="zstd", row_group_size=_ROW_GROUP)
        index = table.drop_columns(list(_CONTENT)).append_column("filename", pa.array([file] * len(own)))
        pq.write_table(index, folder / "_index" / f"index_{name}.idx", compression="zstd")


def _type(name: str) -> pa.DataType:
    import pyarrow as pa

    if name in _INTEGERS:
        return pa.int64()
    if name in _BOOLEANS:
        return pa.bool_()
    return pa.float64() if name == "total_time" else pa.large_string()


def _row(audit: Leaving, study: str) -> dict[str, Any]:
    row, sample = audit.transcript.audit, sample_of(audit)
    reported = sample["scores"].get(audit.judge) or {}
    return {
        "transcript_id": row["audit_id"],
        "source_type": "cc-tui",
        "source_id": row["study_id"],
        "source_uri": None,
        "date": row["started_at"].replace(tzinfo=UTC).isoformat(),
        "task_set": f"{study}/{row['mode']}",
        "task_id": sample["id"],
        "task_repeat": sample["epoch"],
        "agent": row["auditor_model"],
        "agent_args": None,
        "model": row["target_answered"] or row["target_model"],
        "model_options": None,
        "score": _json(reported.get("value")),
        "score_explanation": reported.get("explanation"),
        "success": None,
        "message_count": len(sample["messages"]),
        "total_time": (row["ended_at"] - row["started_at"]).total_seconds(),
        "total_tokens": None,
        "error": None,
        "limit": None,
        "trust_content": False,
        "messages": _json(sample["messages"]),
        "events": _json(sample["events"]),
        "timelines": _json(sample["timelines"]),
        "events_data": _json(sample["events_data"]),
        "condition": row["condition_id"],
        "mode": row["mode"],
        "scores": _json(sample["scores"]),
        "sample_metadata": _json(sample["metadata"]),
        "model_roles": _json({"target": {"model": row["target_model"]}}),
        "input": sample["input"],
        "intervened": row["intervened"],
        "simulated": row["simulated"],
    }


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def read_database(path: Path, origin: Origin) -> Iterator[Incoming | UnreadableError]:
    """The conversations of a file of a transcript database; one that cannot be read is an error in its place.

    Raises:
        UnreadableError: the file is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            known = [name for name in _READ if name in file.schema_arrow.names]
            if not {"transcript_id", "messages"} <= set(known):
                raise UnreadableError("it is no transcript database: it lacks `transcript_id` or `messages`")
            for batch in file.iter_batches(_ROW_GROUP, columns=known):
                yield from (_read(row, path, origin) for row in batch.to_pylist())
    # Values that Python has no type for are errors of many kinds.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UnreadableError(f"it is no Parquet file, or damaged: {error}") from None


def _read(row: dict[str, Any], path: Path, origin: Origin) -> Incoming | UnreadableError:
    try:
        content = {name: _decoded(row, name) for name in (*_CONTENT, "scores", "score", "sample_metadata")}
        sample = {
            "id": row["transcript_id"],
            "input": row.get("input"),
            "messages": content["messages"],
            "events": content["events"],
            "events_data": content["events_data"],
            "metadata": content["sample_metadata"],
            "scores": content["scores"]
            or {"score": {"value": content["score"], "explanation": row.get("score_explanation")}},
            "started_at": row.get("date"),
            "error": {"message": row["error"]} if row.get("error") else None,
        }
        facts = {
            "eval_id": row.get("source_id"),
            "model": row.get("model"),
            "model_roles": _decoded(row, "model_roles"),
            "metadata": {name: row.get(name) for name in ("condition", "mode", "simulated")},
        }
        return incoming(sample, facts, path, origin, FORM)
    except UnreadableError as error:
        return UnreadableError(f"{row['transcript_id']}: {error}")


def _decoded(row: dict[str, Any], name: str) -> Any:
    text = row.get(name)
    if not text:
        return None
    if not isinstance(text, str) or len(text) > archive.MAX_BYTES:
        raise UnreadableError(f"its {name} are no JSON text, or longer than {archive.MAX_BYTES:,} characters")
    return archive.decode_json(text)

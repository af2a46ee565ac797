"""What leaves the store: one transcript after the other, with the names of what it was meant for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from exports.intake import SOURCE
from store.errors import InputError
from store.parquet import quoted
from store.transcripts import Transcript, load_transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.reader import Reader


class Leaving(msgspec.Struct, frozen=True):
    """One audit on its way out."""

    transcript: Transcript
    tags: list[str]
    """The preferences that it was meant for."""
    rubrics: dict[str, str]
    """What each of its dimensions is."""
    source: str
    """The file that it was imported from, if that was kept."""
    form: str
    """Its format."""


def audit_ids(reader: Reader, study_id: str, where: str | None) -> list[str]:
    """The finished audits of a study, in launch order.

    Args:
        reader: the store.
        study_id: the study.
        where: a condition in SQL on the columns of `audits`; the reader is read-only.

    Raises:
        QueryError: the condition is wrong.
    """
    condition = f" AND ({where})" if where else ""
    rows = reader.rows(
        f"SELECT audit_id FROM audits WHERE study_id = {quoted(study_id)} AND status = 'ok'{condition} "
        "ORDER BY launch_index, audit_id"
    )
    if not rows:
        raise InputError("There is nothing to export: no finished audit fits.")
    return [row["audit_id"] for row in rows]


def leaving(reader: Reader, study_id: str, ids: list[str]) -> Iterator[Leaving]:
    """The audits of these ids, one at a time."""
    resolved = reader.rows("SELECT resolved FROM studies WHERE study_id = ? LIMIT 1", [study_id])[0][
        "resolved"
    ]
    preferences: list[dict[str, Any]] = msgspec.json.decode(resolved).get("preferences", [])
    rubrics = {one["id"]: _rubric(one) for one in preferences}
    items = {
        row["item_id"]: msgspec.json.decode(row["preferences"])
        for row in reader.rows("SELECT item_id, preferences FROM items WHERE study_id = ?", [study_id])
    }
    for audit_id in ids:
        transcript = load_transcript(reader, audit_id)
        source, form = _source(reader, audit_id)
        yield Leaving(transcript, items[transcript.audit["item_id"]], rubrics, source, form)


def _rubric(preference: dict[str, Any]) -> str:
    bands = preference["rubric"]["bands"].items()
    return "\n".join([preference["definition"], *(f"{band}: {text}" for band, text in bands)])


def _source(reader: Reader, audit_id: str) -> tuple[str, str]:
    rows = reader.rows(
        f"SELECT payload FROM events WHERE audit_id = ? AND kind = '{SOURCE}' ORDER BY seq", [audit_id]
    )
    pieces = [msgspec.json.decode(row["payload"]) for row in rows]
    return "".join(piece["text"] for piece in pieces), pieces[0]["format"] if pieces else ""

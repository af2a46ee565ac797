"""What leaves the store: one transcript after the other, with the names of what it was meant for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from exports.incoming_rows import SOURCE
from store.errors import InputError
from store.parquet import quoted
from store.records import Event, Message
from store.transcripts import Transcript, load_transcripts, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.reader import Reader


_BATCH = 200
"""Audits that are read at once."""


class Leaving(msgspec.Struct, frozen=True):
    """One audit on its way out."""

    transcript: Transcript
    tags: list[str]
    """The preferences that it was meant for."""
    rubrics: dict[str, str]
    """What each of its dimensions is."""
    judge: str | None
    """Whose scores are reported."""
    events: list[Event]
    """In order, without pieces of a source."""
    source: str
    """The file that it was imported from, if that was kept."""
    form: str
    """Its format."""

    def surviving(self) -> list[Message]:
        """The messages that the target saw in the end, in order."""
        by_id = {message.message_id: message for message in self.transcript.messages}
        return [by_id[message_id] for message_id in self.transcript.final_view]


def audit_ids(
    reader: Reader, study_id: str, where: str | None, order: str = "launch_index, audit_id"
) -> list[str]:
    """The finished audits of a study, in launch order or another.

    Args:
        reader: the store.
        study_id: the study.
        where: a condition in SQL on the columns of `audits`; the reader is read-only.
        order: columns, from us.

    Raises:
        QueryError: the condition is wrong.
    """
    condition = f" AND ({where})" if where else ""
    rows = reader.rows(
        f"SELECT audit_id FROM audits WHERE study_id = {quoted(study_id)} AND status = 'ok'{condition} "
        f"ORDER BY {order}"
    )
    if not rows:
        raise InputError("There is nothing to export: no finished audit fits.")
    return [row["audit_id"] for row in rows]


def leaving(reader: Reader, study_id: str, ids: list[str]) -> Iterator[Leaving]:
    """The audits of these ids, in their order; memory holds a batch of them."""
    [found] = reader.rows("SELECT resolved FROM studies WHERE study_id = ? LIMIT 1", [study_id])
    resolved: dict[str, Any] = msgspec.json.decode(found["resolved"])
    judges: list[dict[str, Any]] = resolved.get("judges") or []
    items = {
        row["item_id"]: msgspec.json.decode(row["preferences"])
        for row in reader.rows("SELECT item_id, preferences FROM items WHERE study_id = ?", [study_id])
    }
    rubrics = {one["id"]: _rubric(one) for one in resolved.get("preferences") or []}
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        events: dict[str, list[Event]] = {audit_id: [] for audit_id in batch}
        for event in read_records(reader, Event, "list_contains(?, audit_id) ORDER BY seq", [batch]):
            events[event.audit_id].append(event)
        for transcript in load_transcripts(reader, batch):
            own = events[transcript.audit["audit_id"]]
            pieces = [event.payload for event in own if event.kind == SOURCE]
            yield Leaving(
                transcript=transcript,
                tags=items[transcript.audit["item_id"]],
                rubrics=rubrics,
                judge=judges[0]["model"] if judges else None,
                events=[event for event in own if event.kind != SOURCE],
                source="".join(piece["text"] for piece in pieces),
                form=pieces[0]["format"] if pieces else "",
            )


def _rubric(preference: dict[str, Any]) -> str:
    bands = preference["rubric"]["bands"].items()
    return "\n".join([preference["definition"], *(f"{band}: {text}" for band, text in bands)])

"""Whole transcripts, read back from the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from store.errors import InputError
from store.records import Author, Judgement, Message, Record
from store.schema import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.reader import Reader

_R = TypeVar("_R", bound=Record)
_A = TypeVar("_A", Message, Judgement)


class Transcript(msgspec.Struct, frozen=True):
    """One audit with everything that was said and judged."""

    audit: dict[str, Any]
    """The row of `audits`, with `item_text` and `item_label`; a blind one holds `_BLIND_COLUMNS` only."""
    messages: list[Message]
    """Every message of the tree, rolled-back branches included, in the order in which they were added."""
    judgements: list[Judgement]

    @property
    def final_view(self) -> list[str]:
        """Ids of the messages that the target saw in the end, in order."""
        return self.audit["final_view"]


_BLIND_COLUMNS = "a.audit_id, a.mode, a.final_view, a.simulated, i.text AS item_text"


def load_transcript(
    reader: Reader, audit_id: str, *, blind: bool = False, audit: dict[str, Any] | None = None
) -> Transcript:
    """Read one audit.

    Args:
        reader: the store to read.
        audit_id: which audit.
        blind: read neither judgements nor anything that tells condition or model.
        audit: its row, where that is known already (`Listing.audit`).

    Raises:
        InputError: the store has no such audit.
    """
    names = _BLIND_COLUMNS if blind else "a.*, i.text AS item_text, i.label AS item_label"
    # Each of the three takes longer to plan than to read, so they are asked at once.
    with ThreadPoolExecutor(2) as beside:
        messages = beside.submit(read_records, reader, Message, "audit_id = ? ORDER BY seq", [audit_id])
        order = "audit_id = ? ORDER BY kind, dimension, judge, repeat"
        judged = None if blind else beside.submit(read_records, reader, Judgement, order, [audit_id])
        found = (
            [audit]
            if audit
            else reader.rows(
                f"SELECT {names} FROM audits a JOIN items i USING (study_id, item_id) WHERE a.audit_id = ?",
                [audit_id],
            )
        )
    if not found:
        raise InputError(f"The store has no audit {audit_id!r}.")
    row = {**found[0], "final_view": msgspec.json.decode(found[0]["final_view"])}
    if judged is None:
        return Transcript(row, without_condition(messages.result()), [])
    return Transcript(row, messages.result(), judged.result())


def load_transcripts(reader: Reader, audit_ids: Sequence[str]) -> list[Transcript]:
    """Read several audits at once, in the order of their ids; much faster than one by one.

    Raises:
        InputError: the store lacks one of them.
    """
    ids = list(audit_ids)
    audits = {
        row["audit_id"]: row
        for row in reader.rows(
            "SELECT a.*, i.text AS item_text, i.label AS item_label "
            "FROM audits a JOIN items i USING (study_id, item_id) WHERE list_contains(?, a.audit_id)",
            [ids],
        )
    }
    for audit_id in ids:
        if audit_id not in audits:
            raise InputError(f"The store has no audit {audit_id!r}.")
    of_these = "list_contains(?, audit_id) ORDER BY"
    messages = by_audit(read_records(reader, Message, f"{of_these} seq", [ids]))
    judgements = by_audit(
        read_records(reader, Judgement, f"{of_these} kind, dimension, judge, repeat", [ids])
    )
    return [
        Transcript(
            {**audits[one], "final_view": msgspec.json.decode(audits[one]["final_view"])},
            messages.get(one, []),
            judgements.get(one, []),
        )
        for one in ids
    ]


def by_audit(records: list[_A]) -> dict[str, list[_A]]:
    """Records of each audit, in their order."""
    found: dict[str, list[_A]] = {}
    for record in records:
        found.setdefault(record.audit_id, []).append(record)
    return found


def without_condition(messages: list[Message]) -> list[Message]:
    """The messages without the condition's own system prompt, which would tell which condition it is."""
    prompts = [message.text for message in messages if message.author is Author.SYSTEM]
    kept: list[Message] = []
    for message in messages:
        if message.author is Author.SYSTEM:
            continue
        if message.role == "system":
            own = next(
                (message.text[len(p) :].lstrip() for p in prompts if message.text.startswith(p)), message.text
            )
            message = msgspec.structs.replace(message, text=own)
        kept.append(message)
    return kept


def read_records(reader: Reader, record: type[_R], where: str, parameters: list[Any]) -> list[_R]:
    """Rows of a table as records; `where` is our own SQL, never a user's."""
    rows = reader.rows(f"SELECT * FROM {record.table} WHERE {where}", parameters)
    json_columns = [c.name for c in columns(record) if c.sql_type == "JSON"]
    for row in rows:
        for name in json_columns:
            row[name] = msgspec.json.decode(row[name])
    return [msgspec.convert(row, record) for row in rows]

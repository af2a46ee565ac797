"""A person's notes on audits that are over: further events after their last ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from auditors.wheel import RefusedError
from store.records import Event, now

if TYPE_CHECKING:
    from auditors.feed import Mark
    from store.journal import Journal
    from store.reader import Reader


class Notes:
    """Writes notes on audits that nobody else writes about any more.

    Args:
        reader: the store that has the audits.
        study_id: the study of the run that takes the notes down.
        run_id: that run.
    """

    def __init__(self, reader: Reader, study_id: str, run_id: str) -> None:
        self._reader = reader
        self._study_id = study_id
        self._run_id = run_id
        self._one_by_one = asyncio.Lock()

    async def keep(self, note: Mark, journal: Journal) -> None:
        """Write a note as the audit's next event.

        Raises:
            RefusedError: there is no such audit, or it has no such message.
            StoreError: the disk refused.
        """
        async with self._one_by_one:
            if not await asyncio.to_thread(self._is_on_something, note):
                missing = (
                    "such audit" if note.message_id is None else f"message {note.message_id!r} in this audit"
                )
                raise RefusedError(f"There is no {missing}.")
            event = Event(
                audit_id=note.audit_id,
                seq=await asyncio.to_thread(self._last_seq, note.audit_id) + 1,
                run_id=self._run_id,
                study_id=self._study_id,
                created_at=now(),
                kind="note",
                payload={"message_id": note.message_id, "note": note.note},
            )
            await journal.write([event])

    def _is_on_something(self, note: Mark) -> bool:
        if note.message_id is None:
            return bool(self._reader.rows("SELECT 1 FROM audits WHERE audit_id = ?", [note.audit_id]))
        found = "SELECT 1 FROM messages WHERE audit_id = ? AND message_id = ?"
        return bool(self._reader.rows(found, [note.audit_id, note.message_id]))

    def _last_seq(self, audit_id: str) -> int:
        [row] = self._reader.rows("SELECT max(seq) AS seq FROM events WHERE audit_id = ?", [audit_id])
        return row["seq"] or 0

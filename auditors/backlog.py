"""Transcripts of audits that only lack judgements, read from the store many at a time.

One query costs about the same for one audit as for a hundred, and after a kill or a new judge hundreds are wanted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from store.records import Message
from store.transcripts import read_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store.reader import Reader

AT_ONCE = 100
"""Transcripts that are read, and held, together."""


class Backlog:
    """Reads transcripts ahead.

    Args:
        reader: the store.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._read: dict[str, list[Message]] = {}
        self._reading = asyncio.Lock()

    async def transcript(self, audit_id: str, following: Iterable[str]) -> list[Message]:
        """What the target of a stored audit saw and said in the end; `following` will be asked for next."""
        async with self._reading:
            if audit_id not in self._read:
                chosen = [audit_id, *islice(following, AT_ONCE - 1)]
                self._read |= await asyncio.to_thread(self._load, chosen)
        return self._read.pop(audit_id)

    def _load(self, audit_ids: list[str]) -> dict[str, list[Message]]:
        chosen = "list_contains(?::VARCHAR[], audit_id)"
        messages: defaultdict[str, dict[str, Message]] = defaultdict(dict)
        for message in read_records(self._reader, Message, chosen, [audit_ids]):
            messages[message.audit_id][message.message_id] = message
        views = self._reader.rows(f"SELECT audit_id, final_view FROM audits WHERE {chosen}", [audit_ids])
        return {
            row["audit_id"]: [
                messages[row["audit_id"]][name] for name in msgspec.json.decode(row["final_view"])
            ]
            for row in views
        }

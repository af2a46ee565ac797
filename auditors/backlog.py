"""Transcripts of audits that only lack judgements, read from the store many at a time.

One query costs about the same for one audit as for a hundred, and after a kill or a new judge hundreds are wanted.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

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
        """Every message of a stored audit's tree, in order; `following` will be asked for next."""
        async with self._reading:
            if audit_id not in self._read:
                chosen = [audit_id, *islice(following, AT_ONCE - 1)]
                self._read |= await asyncio.to_thread(self._load, chosen)
        return self._read.pop(audit_id)

    def _load(self, audit_ids: list[str]) -> dict[str, list[Message]]:
        chosen = "list_contains(?::VARCHAR[], audit_id)"
        messages: dict[str, list[Message]] = {audit_id: [] for audit_id in audit_ids}
        for message in read_records(self._reader, Message, f"{chosen} ORDER BY seq", [audit_ids]):
            messages[message.audit_id].append(message)
        return messages

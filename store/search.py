"""Text search over what was said: every message that holds a text, with the words around it, as they are found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Generator

    from store.reader import Reader

MOST = 5_000
"""Hits after which a search ends."""
_AROUND = 60
"""Characters on either side of a hit."""
_BATCH = 256

_QUERY = f"""
    SELECT audit_id, message_id, role, author, phase, branch, text FROM messages
    WHERE regexp_matches(text, ?) LIMIT {MOST}
"""
_META = re.compile(r"[^\w\s]", re.ASCII)


class Hit(msgspec.Struct, frozen=True):
    """A message that holds what is searched, and where it stands first. Texts are untrusted and raw."""

    audit_id: str
    message_id: str
    role: str
    author: str
    phase: str
    branch: int
    before: str
    found: str
    after: str
    start: int
    """Code points into the message's text."""
    end: int


def search(reader: Reader, words: str, *, exact: bool = False) -> Generator[list[Hit]]:
    """The messages that hold `words` as they stand, without regard to case unless `exact`; blocking.

    They come in the order in which the files are read, `MOST` at most. `Reader.interrupt` ends the search.

    Raises:
        QueryError: the search was interrupted.
    """
    literal = _META.sub(lambda sign: "\\" + sign[0] if sign[0].isascii() else sign[0], words)
    here = re.compile(re.escape(words), 0 if exact else re.IGNORECASE)
    pattern = ("" if exact else "(?i)") + literal
    with reader.stream(_QUERY, [pattern], size=_BATCH) as batches:
        for batch in batches:
            hits: list[Hit] = []
            for row in batch.to_pylist():
                text: str = row.pop("text")
                match = here.search(text)
                # Languages fold a few letters differently; such a message is shown from its beginning.
                start, end = match.span() if match else (0, 0)
                hits.append(
                    Hit(
                        **row,
                        before=text[max(start - _AROUND, 0) : start],
                        found=text[start:end],
                        after=text[end : end + 4 * _AROUND],
                        start=start,
                        end=end,
                    )
                )
            yield hits

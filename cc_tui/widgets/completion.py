"""Completion of names while SQL is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from textual.suggester import Suggester

if TYPE_CHECKING:
    from collections.abc import Iterable

_LAST_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")


def begun(text: str) -> str:
    """The name that is being written at the end of `text`; empty if none is."""
    match = _LAST_WORD.search(text)
    # Inside a literal nothing is a name.
    return match[0] if match and text.count("'") % 2 == 0 else ""


def completions(text: str, words: Iterable[str]) -> list[str]:
    """The words that go on from the name that is being written at the end of `text`, short ones first."""
    word = begun(text).lower()
    if not word:
        return []
    found = {one for one in words if one.lower().startswith(word) and len(one) > len(word)}
    return sorted(found, key=lambda one: (len(one), one))


class Completions(Suggester):
    """Offers the first completion of the last name in a field."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.words: list[str] = []

    async def get_suggestion(self, value: str) -> str | None:
        """The field's text with its last name completed, or None."""
        found = completions(value, self.words)
        return value[: -len(begun(value))] + found[0] if found else None

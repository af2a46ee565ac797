"""The queries that come with the program: one file of SQL each, under `store/queries/`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from store.errors import InputError

_FOLDER = Path(__file__).parent / "queries"
_TITLE = "-- "


class NamedQuery(msgspec.Struct, frozen=True):
    """A query and what it answers."""

    name: str
    title: str
    sql: str


def named_queries() -> dict[str, NamedQuery]:
    """Every query by its name; a file's first line is a comment that says what it answers."""
    found: dict[str, NamedQuery] = {}
    for path in sorted(_FOLDER.glob("*.sql")):
        title, _, sql = path.read_text(encoding="utf-8").partition("\n")
        found[path.stem] = NamedQuery(path.stem, title.removeprefix(_TITLE), sql.strip())
    return found


def named_query(name: str) -> NamedQuery:
    """One query.

    Raises:
        InputError: there is none of this name.
    """
    found = named_queries()
    if name not in found:
        raise InputError(f"There is no query {name!r}: `cc-tui sql --list` shows those that there are.")
    return found[name]

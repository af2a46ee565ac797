"""What a person keeps beside the data of a store: views, bookmarks, queries. One small file for each person."""

from __future__ import annotations

import getpass
import re
from typing import TYPE_CHECKING

import msgspec

from store import layout
from store.errors import InputError
from store.listing import Order

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.store import Store

_HISTORY = 200
_UNSAFE = re.compile(r"[^A-Za-z0-9_.@-]")


class View(msgspec.Struct, frozen=True):
    """A way of looking at the listing of audits."""

    columns: list[str] = []
    """Names of columns in order; none for the usual ones."""
    words: str = ""
    where: str = ""
    order: Order = Order()


class Desk(msgspec.Struct, frozen=True):
    """What one person keeps."""

    views: dict[str, View] = {}
    bookmarks: list[str] = []
    """Ids of audits."""
    queries: list[str] = []
    """Statements that were run, the newest last."""

    def with_query(self, query: str) -> Desk:
        """The desk after a statement was run."""
        past = [*(one for one in self.queries if one != query), query]
        return msgspec.structs.replace(self, queries=past[-_HISTORY:])

    def with_bookmark(self, audit_id: str) -> Desk:
        """The desk with a bookmark, or without it if it had one."""
        kept = [one for one in self.bookmarks if one != audit_id]
        return msgspec.structs.replace(
            self, bookmarks=kept if len(kept) < len(self.bookmarks) else [*kept, audit_id]
        )


def read_desk(store: Store, person: str | None) -> Desk:
    """What `person` keeps; an empty desk if there is no file yet.

    Raises:
        InputError: the file is damaged.
    """
    path = _path(store, person)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Desk)
    except FileNotFoundError:
        return Desk()
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): mend it or delete it.") from None


def change_desk(store: Store, person: str | None, change: Callable[[Desk], Desk]) -> Desk:
    """Change what `person` keeps, on disk first.

    Raises:
        InputError: the file is damaged or cannot be written.
    """
    path = _path(store, person)
    changed = change(read_desk(store, person))
    try:
        path.parent.mkdir(exist_ok=True)
        layout.replace_file(path, msgspec.json.format(msgspec.json.encode(changed)) + b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from None
    return changed


def _path(store: Store, person: str | None) -> Path:
    return store.root / layout.DESK / f"{_UNSAFE.sub('_', person or _user())}.json"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "me"

"""Selections in Petri's form: `id:a,b` and `tags:a,b`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ID, TAGS = "id:", "tags:"


def is_selection(text: str) -> bool:
    """Whether a text selects, and is not itself what is wanted."""
    return text.startswith((ID, TAGS))


def select(selection: str, tags: Mapping[str, Sequence[str]], what: str) -> list[str]:
    """The ids that are named, in that order, or that have one of the named tags.

    Args:
        selection: `id:a,b` or `tags:a,b`.
        tags: the tags of everything there is, by its id.
        what: what is selected, for messages, such as `seed`.

    Raises:
        InputError: there is no such id or tag; the message names those there are.
    """
    by_tag = selection.startswith(TAGS)
    names = [name.strip() for name in selection.partition(":")[2].split(",")]
    known = {tag for own in tags.values() for tag in own} if by_tag else set(tags)
    for name in names:
        if name not in known:
            kind = "tag" if by_tag else "id"
            raise InputError(
                f"the pack has no {what} with the {kind} {name!r}; it has {', '.join(sorted(known)) or 'none'}"
            )
    if by_tag:
        return [one for one, own in tags.items() if set(own) & set(names)]
    return list(dict.fromkeys(names))

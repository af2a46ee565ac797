"""A conversation's tree, from the lists of messages that it was at one time or another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Change = tuple[str, dict[str, Any]]
"""Kind and payload of an event, as an audit of our own records it."""


class Call(NamedTuple):
    """A tool call."""

    id: str
    name: str
    arguments: str
    """JSON text."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A message as another program kept it."""

    source_id: str
    """Its id there."""
    role: str
    """`system`, `user`, `assistant` or `tool`."""
    text: str
    reasoning: str = ""
    tool_calls: tuple[Call, ...] = ()
    tool_call_id: str | None = None
    prefill: bool = False


class Placed(NamedTuple):
    """A message in its place."""

    message_id: str
    parent_id: str | None
    branch: int
    heard: Heard


class Tree(msgspec.Struct, frozen=True):
    """Every message that was ever in the conversation, rolled-back branches included."""

    messages: list[Placed]
    changes: list[Change]
    """In the order in which they happened; a message's content is in `messages`."""
    final_view: list[str]
    """Message ids up to the target's last surviving reply."""

    @property
    def branches(self) -> int:
        """How many there are, the surviving one included."""
        return 1 + sum(kind != "message_added" for kind, _ in self.changes)

    def ids(self) -> dict[str, str]:
        """Our ids by the other program's; the newest, where a message of one id came twice."""
        return {placed.heard.source_id: placed.message_id for placed in self.messages}


def grow(states: Iterable[Sequence[Heard]]) -> Tree:
    """The tree of a conversation that stood as each of `states`, one after the other.

    A message is known again by its id, its content and what it follows.
    """
    placed: list[Placed] = []
    changes: list[Change] = []
    known: dict[tuple[str | None, Heard], str] = {}
    head: str | None = None
    path: list[str] = []
    branch = 0

    def go_back(to: str | None) -> None:
        nonlocal branch
        branch += 1
        changes.append(
            ("restarted", {"keep_tools": True}) if to is None else ("rolled_back", {"message_id": to})
        )

    for state in states:
        path = []
        parent: str | None = None
        for heard in state:
            found = known.get((parent, heard))
            if found is None:
                if parent != head:
                    go_back(parent)
                found = f"m{len(placed) + 1}"
                placed.append(Placed(found, parent, branch, heard))
                changes.append(("message_added", {"message_id": found, "source_id": heard.source_id}))
                known[parent, heard] = head = found
            path.append(found)
            parent = found
        if parent != head:
            go_back(parent)
            head = parent
    replies = {p.message_id for p in placed if p.heard.role == "assistant" and not p.heard.prefill}
    while path and path[-1] not in replies:
        path.pop()
    return Tree(placed, changes, path)

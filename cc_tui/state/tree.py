"""The branches of a conversation, from the messages that the feed or the store tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cc_tui.state.blocks import Block, Thread

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from auditors.feed import Entry
    from auditors.models.base import ToolCall


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch: the messages that were added on it."""

    number: int
    parent: int | None
    """The branch that it goes off from; None for one that begins the conversation."""
    after: str | None
    """The message that it goes on from; None for one that begins the conversation."""
    messages: tuple[Entry, ...]
    depth: int
    """How many branches lie below it."""
    live: bool
    """Whether the conversation goes on here."""

    @property
    def turns(self) -> int:
        """Replies of the target on this branch alone."""
        return sum(entry.author == "target" for entry in self.messages)


@dataclass
class Tree:
    """Every message of a conversation and the place in it where it goes on."""

    entries: list[Entry] = field(default_factory=list["Entry"])
    """Messages and acts in the order in which they came."""
    messages: dict[str, Entry] = field(default_factory=dict[str, "Entry"])
    head: str | None = None
    """The message after which the conversation goes on."""
    branch: int = 0
    """The branch on which it goes on."""

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Tree:
        """The tree that `entries` make."""
        tree = cls()
        for entry in entries:
            tree.add(entry)
        return tree

    def add(self, entry: Entry) -> None:
        """Take in what came next."""
        self.entries.append(entry)
        if entry.message_id is not None:
            self.messages[entry.message_id] = entry
            self.head = entry.message_id
        elif entry.parent_id is not None or entry.branch > self.branch:
            self.head = entry.parent_id
        self.branch = max(self.branch, entry.branch)

    def branches(self) -> list[Branch]:
        """The branches that have messages, each followed by those that go off from it."""
        own: dict[int, list[Entry]] = {}
        for entry in self.messages.values():
            own.setdefault(entry.branch, []).append(entry)
        children: dict[int | None, list[int]] = {}
        for number, entries in own.items():
            before = self.messages.get(entries[0].parent_id or "")
            children.setdefault(before.branch if before else None, []).append(number)
        found: list[Branch] = []

        def walk(parent: int | None, depth: int) -> None:
            for number in children.get(parent, ()):
                entries = tuple(own[number])
                live = number == self.branch
                found.append(Branch(number, parent, entries[0].parent_id, entries, depth, live))
                walk(number, depth + 1)

        walk(None, 0)
        return found

    def path(self, branch: int | None = None) -> list[Entry]:
        """The messages from the first to the last of a branch; by default to where the conversation goes on."""
        at = self.head
        if branch is not None and branch != self.branch:
            at = next((id for id, entry in reversed(self.messages.items()) if entry.branch == branch), None)
        path: list[Entry] = []
        while at is not None and (entry := self.messages.get(at)) is not None:
            path.append(entry)
            at = entry.parent_id
        return path[::-1]

    def staged(self) -> list[Entry]:
        """Messages at the end that the target has not answered."""
        staged: list[Entry] = []
        for entry in reversed(self.path()):
            if entry.author == "target":
                break
            staged.append(entry)
        return [entry for entry in reversed(staged) if entry.author != "system"]

    def open_calls(self) -> list[ToolCall]:
        """Calls of the target's last reply that have no result yet."""
        answered: set[str | None] = set()
        for entry in reversed(self.path()):
            if entry.author == "target":
                return [call for call in entry.tool_calls if call.id not in answered]
            answered.add(entry.tool_call_id)
        return []

    def rest_of_turn(self, message_id: str) -> list[Entry]:
        """What was staged after a message on its branch, until the target replied."""
        branch = self.messages[message_id].branch
        rest: list[Entry] = []
        at = message_id
        for entry in self.messages.values():
            if entry.parent_id == at and entry.branch == branch:
                if entry.author == "target":
                    break
                rest.append(entry)
                at = entry.message_id or at
        return rest


def shared(left: list[Entry], right: list[Entry]) -> int:
    """How many messages two paths begin with in common."""
    same = 0
    for one, other in zip(left, right, strict=False):
        if one.message_id != other.message_id:
            break
        same += 1
    return same


def tree_thread(tree: Tree, flagged: Collection[str] = (), *, fade: bool = True) -> Thread:
    """All that was said in the order in which it came; with `fade`, what was rolled back is faded."""
    kept = {entry.message_id for entry in tree.path()}
    thread = Thread()
    for entry in tree.entries:
        gone = fade and entry.message_id is not None and entry.message_id not in kept
        thread.add(entry, faded=gone, flagged=entry.message_id in flagged)
    return thread


def branch_blocks(tree: Tree, branch: int, flagged: Collection[str] = ()) -> list[Block]:
    """One branch from its first message to its last, its messages named as in the whole."""
    whole, path = tree_thread(tree, flagged, fade=False), Thread()
    for entry in tree.path(branch):
        path.add_again(entry, whole.of_message[entry.message_id or ""])
    return path.blocks

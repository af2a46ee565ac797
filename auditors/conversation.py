"""The target's conversation as a tree that only changes by recorded changes.

A move (`send_message`, `rollback` …) checks that it is legal and returns the change that it makes; `apply` is the
only thing that alters the tree. The engine stores every change, so that `rebuild` gets the same tree, and the
same views, from the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import ChatMessage, Role, Tool, ToolCall
from store.errors import CcTuiError
from store.records import Author, Phase
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Iterable


class IllegalMoveError(CcTuiError):
    """The auditor tried something the conversation does not allow now; the message tells it what to do."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A message in the tree."""

    message_id: str
    parent_id: str | None
    branch: int
    role: Role
    author: Author
    phase: Phase
    text: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    prefill: bool = False
    """Whether these are words put into the target's mouth, which its next message goes on from."""
    carry: tuple[dict[str, Any], ...] = ()
    """See `ChatMessage.carry`; it belongs to the message as the target wrote it, so a changed message has none."""


class MessageAdded(msgspec.Struct, frozen=True, tag="message_added", tag_field="kind"):
    """A message was staged, or the target replied."""

    node: Node


class ToolCreated(msgspec.Struct, frozen=True, tag="tool_created", tag_field="kind"):
    """The target was given a tool."""

    tool: Tool


class ToolRemoved(msgspec.Struct, frozen=True, tag="tool_removed", tag_field="kind"):
    """A tool was taken away."""

    name: str


class RolledBack(msgspec.Struct, frozen=True, tag="rolled_back", tag_field="kind"):
    """The conversation goes on from an earlier message, on a new branch."""

    message_id: str


class Restarted(msgspec.Struct, frozen=True, tag="restarted", tag_field="kind"):
    """The conversation begins anew, on a new branch."""

    keep_tools: bool


Change = MessageAdded | ToolCreated | ToolRemoved | RolledBack | Restarted


class Conversation:
    """Tree of messages, the place in it (`head`), and the tools that the target has."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.head: str | None = None
        self._base: str | None = None
        self.branch = 0
        self.tools: dict[str, Tool] = {}
        self.phase = Phase.TASK

    def apply(self, change: Change) -> None:
        """Carry out a change that a move returned or the store recorded."""
        match change:
            case MessageAdded(node):
                self.nodes[node.message_id] = node
                self.head = node.message_id
                if node.author is Author.SYSTEM:
                    self._base = node.message_id
                self.phase = node.phase
            case ToolCreated(tool):
                self.tools[tool.name] = tool
            case ToolRemoved(name):
                del self.tools[name]
            case RolledBack(message_id):
                self.branch += 1
                self.head = message_id
                self.phase = self.nodes[message_id].phase
            case Restarted(keep_tools):
                self.branch += 1
                self.head = self._base
                self.phase = Phase.TASK
                if not keep_tools:
                    self.tools.clear()

    def path(self) -> list[Node]:
        """Messages from the root to the head: what the target is shown next."""
        nodes: list[Node] = []
        at = self.head
        while at is not None:
            node = self.nodes[at]
            nodes.append(node)
            at = node.parent_id
        return nodes[::-1]

    def view(self) -> tuple[ChatMessage, ...]:
        """The path as the target's API takes it; a prefill and what goes on from it are one reply, as they were."""
        messages: list[ChatMessage] = []
        begun = ""
        for node in self.path():
            if node.prefill:
                begun = node.text
                continue
            # What a reply carries vouches for that reply alone, not for one that begins with other words.
            carry = () if begun else node.carry
            text = begun + node.text
            begun = ""
            messages.append(
                ChatMessage(node.role, text, node.reasoning, node.tool_calls, node.tool_call_id, carry)
            )
        if begun:
            messages.append(ChatMessage(Role.ASSISTANT, begun))
        return tuple(messages)

    def seen(self) -> list[Node]:
        """The path up to the target's last reply; what was staged after it the target never saw."""
        path = self.path()
        while path and not _is_reply(path[-1]):
            path.pop()
        return path

    def pending_calls(self) -> dict[str, ToolCall]:
        """Calls of the target's last reply that have no result yet, by id."""
        answered: set[str | None] = set()
        for node in reversed(self.path()):
            if node.role is Role.ASSISTANT:
                return {call.id: call for call in node.tool_calls if call.id not in answered}
            answered.add(node.tool_call_id)
        return {}

    def staged(self) -> bool:
        """Whether there is something for the target to answer."""
        return self.head is not None and (
            self.nodes[self.head].role in (Role.USER, Role.TOOL) or self.nodes[self.head].prefill
        )

    @property
    def prefilled(self) -> bool:
        """Whether the target's next reply has to go on from given words."""
        return self.head is not None and self.nodes[self.head].prefill

    @property
    def target_turns(self) -> int:
        """Replies of the target in the whole tree, rolled-back ones included."""
        return sum(map(_is_reply, self.nodes.values()))

    def begin(self, system_prompt: str) -> MessageAdded:
        """Start with the condition's own system prompt; an auditor's system message will follow it."""
        return self._add(Role.SYSTEM, Author.SYSTEM, system_prompt)

    def set_system_message(self, text: str, author: Author) -> MessageAdded:
        """Start the conversation with a system message."""
        if self.head != self._base:
            raise IllegalMoveError(
                "The conversation has begun: the system message can only come first. "
                "Use restart_conversation to begin anew."
            )
        whole = f"{self.nodes[self._base].text}\n\n{text}" if self._base else text
        added = self._add(Role.SYSTEM, author, whole)
        return MessageAdded(msgspec.structs.replace(added.node, parent_id=None))

    def send_message(self, text: str, author: Author, phase: Phase | None = None) -> MessageAdded:
        """Stage a user message."""
        if not text.strip():
            raise IllegalMoveError("The message is empty: write what the user says.")
        if pending := self.pending_calls():
            raise IllegalMoveError(
                f"The assistant waits for the results of {', '.join(pending)}: use send_tool_call_result first."
            )
        if self.prefilled:
            raise IllegalMoveError(
                "The assistant's reply is only begun: resume, or roll back to the message before it."
            )
        return self._add(Role.USER, author, text, phase)

    def send_tool_result(self, call_id: str, result: str, author: Author) -> MessageAdded:
        """Stage the result of one of the target's calls."""
        pending = self.pending_calls()
        if call_id not in pending:
            waiting = f"it waits for {', '.join(pending)}" if pending else "it waits for none"
            raise IllegalMoveError(f"The assistant has no open tool call {call_id!r}: {waiting}.")
        return self._add(Role.TOOL, author, result, tool_call_id=call_id)

    def prefill(self, text: str, author: Author) -> MessageAdded:
        """Begin the target's next reply for it."""
        self.check_resume()
        if self.prefilled:
            raise IllegalMoveError(
                "The assistant's reply is begun already: resume without a prefill, or roll back to the message "
                "before it."
            )
        if not text.strip():
            raise IllegalMoveError("The prefill has no words: leave it out, or write how the reply begins.")
        return MessageAdded(
            msgspec.structs.replace(self._add(Role.ASSISTANT, author, text).node, prefill=True)
        )

    def reply(self, message: ChatMessage) -> MessageAdded:
        """Add the target's reply, which goes on from a prefill if there is one; legal only when `check_resume` is."""
        node = self._add(Role.ASSISTANT, Author.TARGET, message.text).node
        calls = (
            ToolCall(storable(call.id), storable(call.name), storable(call.arguments))
            for call in message.tool_calls
        )
        return MessageAdded(
            msgspec.structs.replace(
                node, reasoning=storable(message.reasoning), tool_calls=tuple(calls), carry=message.carry
            )
        )

    def check_resume(self) -> None:
        """Raise unless the target can be given the turn."""
        if pending := self.pending_calls():
            raise IllegalMoveError(f"Results are missing for the tool calls {', '.join(pending)}.")
        if not self.staged():
            raise IllegalMoveError("There is nothing to answer: stage a message first.")

    def create_tool(self, name: str, description: str, parameters: dict[str, Any]) -> ToolCreated:
        """Give the target a tool, or replace one."""
        if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii() or len(name) > 64:
            raise IllegalMoveError(f"{name!r} is no name for a tool: use up to 64 letters, digits, _ and -.")
        if parameters.get("type") != "object":
            raise IllegalMoveError("`parameters` must be a JSON Schema of type object.")
        return ToolCreated(Tool(name, description, parameters))

    def remove_tool(self, name: str) -> ToolRemoved:
        """Take a tool away."""
        if name not in self.tools:
            raise IllegalMoveError(f"The assistant has no tool {name!r}.")
        return ToolRemoved(name)

    def rollback(self, message_id: str) -> RolledBack:
        """Go back to a message; from a user's message the target answers anew."""
        if message_id not in self.nodes:
            raise IllegalMoveError(f"There is no message {message_id!r} to go back to.")
        return RolledBack(message_id)

    def restart(self, keep_tools: bool) -> Restarted:
        """Begin anew."""
        return Restarted(keep_tools)

    def _add(
        self,
        role: Role,
        author: Author,
        text: str,
        phase: Phase | None = None,
        tool_call_id: str | None = None,
    ) -> MessageAdded:
        node = Node(
            message_id=f"m{len(self.nodes) + 1}",
            parent_id=self.head,
            branch=self.branch,
            role=role,
            author=author,
            phase=phase or self.phase,
            # What the store could not hold must not be in the views that are rebuilt from it.
            text=storable(text),
            tool_call_id=tool_call_id,
        )
        return MessageAdded(node)


def _is_reply(node: Node) -> bool:
    return node.role is Role.ASSISTANT and not node.prefill


def rebuild(changes: Iterable[Change]) -> Conversation:
    """The conversation that a sequence of recorded changes leads to."""
    conversation = Conversation()
    for change in changes:
        conversation.apply(change)
    return conversation

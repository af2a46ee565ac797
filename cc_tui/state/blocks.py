"""A conversation as blocks to be drawn one below the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from store.records import JudgementStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditors.feed import Entry
    from store.records import Judgement, Message


class Voice(StrEnum):
    """Who a block is from, which decides its look."""

    SYSTEM = "system"
    USER = "user"
    HUMAN = "human"
    TARGET = "target"
    TOOL = "tool"
    THOUGHT = "thought"
    NOTE = "note"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a conversation. `text` and `summary` are untrusted and raw: the widget makes them printable."""

    voice: Voice
    label: str
    """A word or two for the margin."""
    text: str
    summary: str = ""
    """One line that stands for the block until it is opened; empty if the block does not fold."""
    faded: bool = False
    """Whether it was rolled back and is not part of the final view."""


_VOICES = {
    "system": Voice.SYSTEM,
    "target": Voice.TARGET,
    "tool": Voice.TOOL,
    "human": Voice.HUMAN,
    "note": Voice.NOTE,
}
_FOLD = 400


def draft_block(author: str, text: str) -> Block:
    """The block of a message that is being written."""
    return Block(_VOICES.get(author, Voice.USER), f"{author} …", text)


@dataclass
class Thread:
    """Turns messages into blocks: numbers the target's turns and the auditor's steps, marks phases and branches."""

    blocks: list[Block] = field(default_factory=list)
    _phase: str = ""
    _branch: int = 0
    _turns: int = 0
    _steps: int = 0

    def add_entry(self, entry: Entry) -> None:
        """Append a message of the live feed."""
        self._rules(entry.phase, entry.branch)
        self._append(entry.author, entry.text, entry.reasoning)

    def add_message(self, message: Message, *, faded: bool = False, blind: bool = False) -> None:
        """Append a message of the store; `blind` says `user` for whoever wrote the user's part."""
        self._rules(message.phase, message.branch)
        if message.role == "tool":
            author = "tool"
        elif message.role == "user":
            author = "user" if blind else str(message.author)
        else:
            author = "system" if message.role == "system" else "target"
        if message.prefill:
            self.blocks.append(
                Block(Voice.NOTE, "prefill", "The next words were put into the target's mouth.")
            )
        self._append(author, message.text, message.reasoning, faded=faded, calls=message.tool_calls)

    def new_branch(self, message: Message) -> bool:
        """Whether a branch begins with `message`, which is marked anyway."""
        return message.branch != self._branch

    def _rules(self, phase: str, branch: int) -> None:
        if branch != self._branch:
            self._branch = branch
            self.blocks.append(Block(Voice.RULE, "", f"↩ branch {branch}"))
        if phase != self._phase:
            self._phase = phase
            self.blocks.append(Block(Voice.RULE, "", str(phase)))

    def _append(
        self,
        author: str,
        text: str,
        reasoning: str = "",
        *,
        faded: bool = False,
        calls: Sequence[dict[str, Any]] = (),
    ) -> None:
        voice = _VOICES.get(author, Voice.USER)
        label = author
        if voice is Voice.TARGET:
            self._turns += 1
            label = f"target {self._turns}"
        elif author == "auditor":
            self._steps += 1
            label = f"auditor {self._steps}"
        if reasoning:
            self.blocks.append(Block(Voice.THOUGHT, "thinks", reasoning, _summary(reasoning), faded))
        folds = voice in (Voice.SYSTEM, Voice.TOOL) and (len(text) > _FOLD or voice is Voice.SYSTEM)
        if text or not calls:
            self.blocks.append(Block(voice, label, text, _summary(text) if folds else "", faded))
        for call in calls:
            arguments = str(call.get("arguments", ""))
            name = str(call.get("name", "?"))
            self.blocks.append(
                Block(Voice.TOOL, "calls", f"{name}\n{arguments}", f"{name}({arguments[:200]})", faded)
            )


def transcript_blocks(
    messages: Iterable[Message], final_view: Sequence[str] = (), *, blind: bool = False
) -> list[Block]:
    """The whole tree in the order in which it grew; what `final_view` lacks is faded and marked."""
    thread = Thread()
    kept = set(final_view)
    was_faded = False
    for message in messages:
        faded = bool(kept) and message.message_id not in kept
        if faded and not was_faded:
            thread.blocks.append(Block(Voice.RULE, "", "rolled back later: not in the final view"))
        elif was_faded and not faded and not thread.new_branch(message):
            thread.blocks.append(Block(Voice.RULE, "", "in the final view"))
        was_faded = faded
        thread.add_message(message, faded=faded, blind=blind)
    return thread.blocks


def judgement_blocks(judgements: Iterable[Judgement]) -> list[Block]:
    """One folded block a judgement: value in the margin, reasons and quotes inside."""
    blocks: list[Block] = []
    for judgement in judgements:
        lines = [f"{judgement.dimension} · {judgement.judge}", judgement.justification]
        for citation in judgement.citations:
            where = citation.get("message_id") or "?"
            sign = f"✓ in {where}" if citation.get("verified") else f"✗ not found in {where}"
            lines.append(f"{sign}: “{citation.get('quote', '')}”")
        missing = judgement.status is not JudgementStatus.OK
        blocks.append(
            Block(
                Voice.NOTE if missing else Voice.TARGET,
                _value(judgement),
                "\n".join(line for line in lines if line),
                f"{lines[0]}: {_summary(judgement.justification)}",
            )
        )
    return blocks


def _value(judgement: Judgement) -> str:
    if judgement.status is not JudgementStatus.OK:
        return str(judgement.status)
    if judgement.verdict is not None:
        return str(judgement.verdict).replace("_", " ")
    return f"{judgement.score:g}" if judgement.score is not None else "–"


def _summary(text: str) -> str:
    return text[:200]

"""A conversation as blocks to be drawn one below the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from auditors.feed import Entry
from auditors.models.base import ToolCall
from store.records import Author, JudgementStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    PROPOSED = "proposed"
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
    message_id: str | None = None
    """The message whose words these are; None for what belongs to it, and for what is no message."""
    flagged: bool = False
    """Whether the person who sits here has noted something on it."""
    lights: tuple[tuple[int, int, str], ...] = ()
    """Stretches of `text` that stand out, in order: start, end, name of a tone."""


_VOICES = {
    "system": Voice.SYSTEM,
    "target": Voice.TARGET,
    "tool": Voice.TOOL,
    "human": Voice.HUMAN,
    "note": Voice.NOTE,
    "realism": Voice.NOTE,
}
_FOLD = 400
_SHORT = 200


def draft_block(author: str, text: str) -> Block:
    """The block of a message that is being written."""
    return Block(_VOICES.get(author, Voice.USER), f"{author} …", text)


def proposal_block(name: str, text: str) -> Block:
    """The block of a call that waits for a person's word."""
    return Block(Voice.PROPOSED, "proposed", f"{name}\n{text}" if text else name)


def entry_of(message: Message, *, blind: bool = False) -> Entry:
    """A message of the store as the feed would tell it; `blind` says `user` for whoever wrote the user's part."""
    author = str(message.author)
    if message.role in ("system", "tool"):
        author = message.role
    elif blind and author != Author.TARGET:
        author = "user"
    return Entry(
        author,
        message.text,
        message.phase,
        message.branch,
        message.message_id,
        message.reasoning,
        message.parent_id,
        message.prefill,
        tuple(
            ToolCall(str(c.get("id")), str(c.get("name", "?")), str(c.get("arguments", "")))
            for c in message.tool_calls
        ),
        message.tool_call_id,
    )


@dataclass
class Thread:
    """Turns messages into blocks: numbers the target's turns and the auditor's steps, marks phases and branches."""

    blocks: list[Block] = field(default_factory=list[Block])
    of_message: dict[str, list[Block]] = field(default_factory=dict[str, list[Block]])
    """The blocks of each message, by its id."""
    _phase: str = ""
    _branch: int = 0
    _turns: int = 0
    _steps: int = 0

    def add(self, entry: Entry, *, faded: bool = False, flagged: bool = False) -> None:
        """Append a message, or an act of the auditor."""
        self._rules(entry)
        blocks = self._blocks(entry, faded=faded, flagged=flagged)
        self.blocks += blocks
        if entry.message_id is not None:
            self.of_message[entry.message_id] = blocks

    def add_again(self, entry: Entry, blocks: list[Block]) -> None:
        """Append a message under the name that it has in another thread, whose blocks these are."""
        self._rules(entry)
        self.blocks += blocks

    def name_of(self, message_id: str | None) -> str:
        """What a message is called in the margin; empty for one that is not here."""
        blocks = self.of_message.get(message_id or "", [])
        return next((block.label for block in blocks if block.message_id), "")

    def new_branch(self, entry: Entry) -> bool:
        """Whether a branch begins with `entry`, which is marked anyway."""
        return entry.branch != self._branch

    def _rules(self, entry: Entry) -> None:
        if self.new_branch(entry):
            self._branch = entry.branch
            after = self.name_of(entry.parent_id)
            self.blocks.append(
                Block(Voice.RULE, "", f"↩ branch {entry.branch}" + (f", after {after}" if after else ""))
            )
        if entry.phase != self._phase:
            self._phase = entry.phase
            self.blocks.append(Block(Voice.RULE, "", str(entry.phase)))

    def _blocks(self, entry: Entry, *, faded: bool, flagged: bool) -> list[Block]:
        voice = _VOICES.get(entry.author, Voice.USER)
        label = entry.author
        if entry.prefill:
            label = "prefill"
        elif voice is Voice.TARGET:
            self._turns += 1
            label = f"target {self._turns}"
        elif entry.author == "auditor":
            self._steps += 1
            label = f"auditor {self._steps}"
        blocks: list[Block] = []
        if entry.reasoning:
            blocks.append(Block(Voice.THOUGHT, "thinks", entry.reasoning, _summary(entry.reasoning), faded))
        text, message_id = entry.text, entry.message_id
        if text or not entry.tool_calls:
            folds = voice in (Voice.SYSTEM, Voice.TOOL) and (len(text) > _FOLD or voice is Voice.SYSTEM)
            blocks.append(
                Block(voice, label, text, _summary(text) if folds else "", faded, message_id, flagged)
            )
            message_id = None
        for call in entry.tool_calls:
            told = f"{call.name}\n{call.arguments}"
            short = f"{call.name}({call.arguments[:_SHORT]})"
            blocks.append(
                Block(Voice.TOOL, "calls", told, short, faded, message_id, flagged and message_id is not None)
            )
            message_id = None
        return blocks


def transcript_blocks(
    messages: Iterable[Message], final_view: Sequence[str] = (), *, blind: bool = False
) -> list[Block]:
    """The blocks of `transcript_thread`."""
    return transcript_thread(messages, final_view, blind=blind).blocks


def transcript_thread(
    messages: Iterable[Message], final_view: Sequence[str] = (), *, blind: bool = False
) -> Thread:
    """The whole tree in the order in which it grew; what `final_view` lacks is faded and marked."""
    thread = Thread()
    kept = set(final_view)
    was_faded = False
    for message in messages:
        entry = entry_of(message, blind=blind)
        faded = bool(kept) and message.message_id not in kept
        if faded and not was_faded:
            thread.blocks.append(Block(Voice.RULE, "", "rolled back later: not in the final view"))
        elif was_faded and not faded and not thread.new_branch(entry):
            thread.blocks.append(Block(Voice.RULE, "", "in the final view"))
        was_faded = faded
        thread.add(entry, faded=faded)
    return thread


def judgement_blocks(judgements: Iterable[Judgement]) -> list[Block]:
    """One folded block a judgement: value in the margin, reasons and quotes inside."""
    judgements = list(judgements)
    versions: dict[tuple[str, str], set[str]] = {}
    for judgement in judgements:
        versions.setdefault((judgement.judge, judgement.dimension), set()).add(_version(judgement))
    blocks: list[Block] = []
    for judgement in judgements:
        title = f"{judgement.dimension} · {judgement.judge}"
        if judgement.repeat:
            title += f" · repeat {judgement.repeat + 1}"
        if len(versions[judgement.judge, judgement.dimension]) > 1:
            title += f" · version {_version(judgement)}"
        lines = [title, judgement.justification]
        # What stands in the transcript first: what does not is the judge's word alone.
        quotes = sorted(judgement.citations, key=lambda one: not one.get("verified"))
        lines += [f"{_sign(citation)}: “{citation.get('quote', '')}”" for citation in quotes]
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


def _sign(citation: dict[str, Any]) -> str:
    where = citation.get("message_id") or citation.get("claimed") or "?"
    if not citation.get("verified"):
        return f"✗ not found in {where}"
    return f"≈ nearly in {where}" if citation.get("kind") == "fuzzy" else f"✓ in {where}"


def _version(judgement: Judgement) -> str:
    """The beginnings of the hashes of what was asked."""
    return f"{judgement.rubric_hash[:6]}/{judgement.prompt_hash[:6]}"


def _value(judgement: Judgement) -> str:
    if judgement.status is not JudgementStatus.OK:
        return str(judgement.status)
    if judgement.verdict is not None:
        return str(judgement.verdict).replace("_", " ")
    return f"{judgement.score:g}" if judgement.score is not None else "–"


def _summary(text: str) -> str:
    return text[:_SHORT]

"""A recorded audit as a person reads it: its views, where quotes stand in it, and all that belongs to it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.feed import Entry
from auditors.models.base import Role
from cc_tui.state.blocks import Block, Thread, Voice, entry_of, judgement_blocks, transcript_thread
from cc_tui.state.format import count, duration, money
from cc_tui.state.tree import Tree, branch_blocks
from cc_tui.state.word_diff import change_blocks
from store.records import LabelAction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditors.models.base import ChatMessage
    from store.details import Details
    from store.records import Event, Judgement, Label
    from store.transcripts import Transcript

HIT = "hit"
"""Tone of what was looked for."""


class View(StrEnum):
    """What the reader shows of an audit."""

    ALL = "everything as it came"
    TARGET = "what the target saw in the end"
    AUDITOR = "what the auditor read and wrote"
    CHANGES = "what the target changed"
    RAW = "raw JSON"


class Place(msgspec.Struct, frozen=True):
    """A stretch of a message."""

    message_id: str
    start: int
    end: int
    where: str = "text"
    """As `auditors.citations.Where`."""
    call_id: str | None = None
    quote: str = ""
    """What stands there; looked for where `end` is 0, as in scores that other programs gave."""


class Reading:
    """One transcript, prepared for the screen."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self._thread = transcript_thread(transcript.messages, transcript.final_view)

    @property
    def blocks(self) -> list[Block]:
        """Everything as it came."""
        return self._thread.blocks

    def tree(self) -> Tree:
        """The branches; the conversation goes on where the final view ends."""
        tree = Tree.of(entry_of(message) for message in self.transcript.messages)
        if self.transcript.final_view:
            tree.head = self.transcript.final_view[-1]
            tree.branch = tree.messages[tree.head].branch if tree.head in tree.messages else tree.branch
        return tree

    def name_of(self, message_id: str | None) -> str:
        """What a message is called in the margin."""
        return self._thread.name_of(message_id)

    def branch(self, number: int) -> list[Block]:
        """One branch from its first message to its last."""
        return branch_blocks(self.tree(), number)

    def surviving(self) -> list[Block]:
        """What the target saw in the end."""
        kept = set(self.transcript.final_view)
        thread = Thread()
        for message in self.transcript.messages:
            if message.message_id in kept:
                thread.add_again(entry_of(message), self._thread.of_message[message.message_id])
        return thread.blocks

    def by_message(self) -> list[list[Block]]:
        """The blocks of every message that the target saw in the end; of an audit without an end, of all."""
        ids = self.transcript.final_view or [message.message_id for message in self.transcript.messages]
        return [self._thread.of_message[id] for id in ids if id in self._thread.of_message]

    def changes(self) -> list[Block]:
        """What the target changed in the work that it was given."""
        by_id = {message.message_id: message for message in self.transcript.messages}
        view = [by_id[id] for id in self.transcript.final_view if id in by_id]
        return change_blocks(view, {id: self.name_of(id) for id in by_id})

    def raw(self) -> list[Block]:
        """All rows as JSON, a block each."""
        rows = [("audit", self.transcript.audit, None)]
        rows += [(m.message_id, msgspec.to_builtins(m), m.message_id) for m in self.transcript.messages]
        rows += [("judged", msgspec.to_builtins(j), None) for j in self.transcript.judgements]
        return [Block(Voice.NOTE, label, _json(row), message_id=id) for label, row, id in rows]

    def locate(self, place: Place) -> tuple[int, tuple[tuple[int, int, str], ...]] | None:
        """Where a place is among `blocks`: which one, and its lights; None if it is nowhere."""
        blocks = self._thread.of_message.get(place.message_id, [])
        block, ahead = _block_at(blocks, place, self._calls_of(place.message_id))
        if block is None:
            return None
        index = next(i for i, one in enumerate(self.blocks) if one is block)
        start, end = place.start + ahead, place.end + ahead
        if not place.end and place.quote and (found := block.text.find(place.quote)) >= 0:
            start, end = found, found + len(place.quote)
        return index, ((start, end, HIT),)

    def _calls_of(self, message_id: str) -> list[dict[str, Any]]:
        return next((m.tool_calls for m in self.transcript.messages if m.message_id == message_id), [])


def places_of(judgement: Judgement) -> list[Place]:
    """Where the quotes of a judgement stand that were found."""
    return [
        Place(
            citation["message_id"],
            citation.get("start") or 0,
            citation.get("end") or 0,
            citation.get("where") or "text",
            citation.get("call_id"),
            str(citation.get("quote", "")),
        )
        for citation in judgement.citations
        if citation.get("verified") and isinstance(citation.get("message_id"), str)
    ]


def auditor_blocks(messages: Iterable[ChatMessage]) -> list[Block]:
    """What an auditor model read and wrote."""
    thread = Thread()
    authors = {Role.SYSTEM: "system", Role.ASSISTANT: "auditor", Role.TOOL: "tool", Role.USER: "user"}
    for message in messages:
        thread.add(
            Entry(
                authors[message.role],
                message.text,
                reasoning=message.reasoning,
                tool_calls=message.tool_calls,
                tool_call_id=message.tool_call_id,
            )
        )
    return thread.blocks


def side(transcript: Transcript, details: Details | None, *, blind: bool) -> list[tuple[Block, list[Place]]]:
    """The side panel, each block with the places that it is about.

    Args:
        transcript: the audit.
        details: what is read after it, or None until then.
        blind: leave out what judges and people have said of it.
    """
    parts: list[tuple[str, list[tuple[Block, list[Place]]]]] = []
    if blind:
        parts.append(("judges and labels are hidden: b shows them", []))
    else:
        judged = transcript.judgements
        quotes = [places_of(judgement) for judgement in judged]
        parts.append(
            ("judges" if judged else "not judged", list(zip(judgement_blocks(judged), quotes, strict=True)))
        )
    if details is not None and not blind and details.labels:
        parts.append(("labels", [(_label(one), []) for one in details.labels]))
    if flags := _flags(transcript.audit.get("flags")):
        parts.append(("the gate's flags", flags))
    if details is not None:
        rulings = [(_ruling(one), list[Place]()) for one in details.events if one.kind == "realism"]
        notes = [_note(one) for one in details.events if one.kind == "note"]
        calls = [(_calls(row), list[Place]()) for row in details.calls]
        named = (("realism", rulings), ("notes", notes), ("calls", calls))
        parts += [(title, found) for title, found in named if found]
    return [
        entry for title, found in parts for entry in ((Block(Voice.RULE, "", title), list[Place]()), *found)
    ]


def _block_at(
    blocks: Sequence[Block], place: Place, calls: Sequence[dict[str, Any]]
) -> tuple[Block | None, int]:
    """The block of a message that holds a place, and how many characters it has ahead of the stored text."""
    if place.where == "reasoning":
        return next((block for block in blocks if block.voice is Voice.THOUGHT), None), 0
    if place.where == "tool_argument":
        told = [block for block in blocks if block.label == "calls"]
        for block, call in zip(told, calls, strict=False):
            if place.call_id in (None, call.get("id")):
                return block, len(str(call.get("name", "?"))) + 1
        return None, 0
    said = (block for block in blocks if block.voice is not Voice.THOUGHT and block.label != "calls")
    return next(said, None), 0


def _flags(stored: str | None) -> list[tuple[Block, list[Place]]]:
    flags: list[dict[str, Any]] = msgspec.json.decode(stored) if stored else []
    found: list[tuple[Block, list[Place]]] = []
    for flag in flags:
        kept_apart = "\nkept apart from judges and estimates" if flag.get("invalid") else ""
        where = f" in {flag['message_id']}" if flag.get("message_id") else ""
        quote = f": “{flag['quote']}”" if flag.get("quote") else ""
        told = f"{flag.get('flag', '?')}{where}{quote}\n{flag.get('why', '')}{kept_apart}"
        found.append((Block(Voice.NOTE, "flag", told), _whole_message(flag.get("message_id"))))
    return found


def _whole_message(message_id: object) -> list[Place]:
    return [Place(message_id, 0, 0)] if isinstance(message_id, str) else []


def _label(label: Label) -> Block:
    value = f"{label.score:g}" if label.score is not None else str(label.verdict or "–").replace("_", " ")
    if label.action is not LabelAction.LABEL:
        value = str(label.action)
    told = f"{label.dimension} · {label.annotator} · {'blind' if label.blind else 'not blind'} · {label.seconds:.0f} s"
    return Block(Voice.HUMAN, value, f"{told}\n{label.note}" if label.note else told)


def _ruling(event: Event) -> Block:
    ruling = event.payload
    score = f" ({ruling['score']:g})" if isinstance(ruling.get("score"), (int, float)) else ""
    told = f"{ruling.get('decision', '?')}{score}"
    feedback = ruling.get("feedback") or ""
    return Block(Voice.NOTE, "realism", f"{told}: {feedback}" if feedback else told)


def _note(event: Event) -> tuple[Block, list[Place]]:
    message_id = event.payload.get("message_id")
    told = event.payload.get("note") or "flagged, without words"
    return Block(Voice.HUMAN, str(message_id or "note"), str(told)), _whole_message(message_id)


def _calls(row: dict[str, Any]) -> Block:
    facts = [f"{row['calls']} calls of {row['model']}"]
    if row["cost_usd"] is not None:
        facts.append(money(row["cost_usd"], at_least=row["unpriced"] > 0))
    elif row["unpriced"]:
        facts.append("without a price")
    tokens = f"{count(row['input_tokens'] or 0)} tokens in, {count(row['output_tokens'] or 0)} out"
    facts.append(tokens + (" (some guessed)" if row["estimated"] else ""))
    facts.append(f"{_seconds(row['latency_s'])} a call, the slowest {_seconds(row['slowest_s'])}")
    if row["first_token_s"] is not None:
        facts.append(f"first word after {_seconds(row['first_token_s'])}")
    facts += [
        f"{row[name]} {word}"
        for name, word in (("retries", "retries"), ("cached", "from the cache"), ("not_ok", "not ok"))
        if row[name]
    ]
    return Block(Voice.SYSTEM, row["role"], " · ".join(facts))


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 60 else duration(seconds)


def _json(row: dict[str, Any]) -> str:
    parsed = {
        key: msgspec.json.decode(value) if key in ("flags",) and isinstance(value, str) else value
        for key, value in row.items()
    }
    return msgspec.json.format(msgspec.json.encode(parsed), indent=2).decode()

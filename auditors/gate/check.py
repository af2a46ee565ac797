"""Whether a transcript is what a study meant to get: checked before judges read it, again whenever the rules improve.

The check is lexical and structural, so it is the same for everyone and costs nothing. It drops nothing: it says what
it found, with the words and the message, and `Verdict.invalid` says whether the audit counts. An audit's verdict
depends on what was said and not on which model said it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.gate.rules import gate_rules
from auditors.models.base import Role, StopReason
from store.records import Author, Driver, Mode
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from auditors.gate.rules import Place
    from store.records import Message

_QUOTE = 200
"""Characters of a quote."""
_LONGEST = 20_000
"""Characters of a message that are looked at for patterns: an error stands at its beginning."""
_SENTENCE_CHARS = 600
"""Of a sentence; it keeps the time that patterns take in bounds, whatever a model writes."""
_LIMITS = ("max_auditor_steps", "max_target_turns")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_QUOTED = re.compile(
    r"\"[^\"\n]*\"|“[^”\n]*”|„[^“\n]*“|«[^»\n]*»|^[ \t]*>.*$|```[\s\S]*?(?:```|\Z)", re.MULTILINE
)


class Flag(msgspec.Struct, frozen=True):
    """One thing that the gate found."""

    flag: str
    invalid: bool
    """Whether it keeps the audit from judges and estimates."""
    message_id: str | None
    """The message that it is about; None for the transcript as a whole."""
    quote: str
    """The words that were found; empty where there are none."""
    why: str


class Verdict(msgspec.Struct, frozen=True):
    """What the gate says of an audit."""

    flags: tuple[Flag, ...]
    version: str
    """Content hash of the rules."""

    @property
    def invalid(self) -> bool:
        """Whether the audit is kept out of estimates and not judged."""
        return any(flag.invalid for flag in self.flags)

    @property
    def reason(self) -> str | None:
        """Why it is invalid, in one sentence."""
        found = [flag for flag in self.flags if flag.invalid]
        if not found:
            return None
        first = found[0]
        where = f" in {first.message_id}" if first.message_id else ""
        said = f": {one_line(first.quote, 80)}" if first.quote else ""
        return f"The validity gate found {', '.join(dict.fromkeys(f.flag for f in found))}{where} ({first.why}){said}"

    def columns(self) -> dict[str, Any]:
        """The audit's columns that keep it."""
        return {"flags": [msgspec.to_builtins(flag) for flag in self.flags], "gate": self.version}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An audit that has ended, as the gate sees it."""

    mode: Mode
    driver: Driver
    """Who steered; how a person or a script marks phases is their own affair."""
    messages: Sequence[Message]
    """The whole tree, in the order in which it grew."""
    final_view: Sequence[str]
    stops: Mapping[str, str | None]
    """Why each reply ended, by its message id, as far as that is known."""
    ended_by: str
    """Payload of the `ended` event: who or what ended it."""


def check(subject: Subject) -> Verdict:
    """What the gate finds in an audit."""
    rules = gate_rules()
    found = [*_structure(subject), *_patterns(subject)]
    flags = [
        Flag(name, rules.flags[name].invalid, message_id, one_line(quote, _QUOTE), why)
        for name, message_id, quote, why in found
    ]
    return Verdict(tuple(flags), rules.version)


_Found = tuple[str, str | None, str, str]
"""Flag, message, quote and why."""


def _structure(subject: Subject) -> Iterator[_Found]:
    kept = set(subject.final_view)
    view = [message for message in subject.messages if message.message_id in kept]
    replies = [message for message in view if message.author is Author.TARGET]
    empty = [reply for reply in replies if not reply.text.strip() and not reply.tool_calls]
    if len(empty) == len(replies):
        yield "empty_transcript", None, "", "no reply has words"
    else:
        for reply in empty:
            yield "empty_reply", reply.message_id, "", "neither words nor tool calls"
    for reply in replies:
        if subject.stops.get(reply.message_id) == StopReason.LENGTH:
            yield "truncated_reply", reply.message_id, reply.text[-80:], "it stopped at the limit of tokens"
    steered = subject.driver is not Driver.MODEL or any(m.author is Author.HUMAN for m in subject.messages)
    if subject.mode is Mode.SINGLE_TURN or steered:
        return
    if not any(message.role == Role.USER and message.phase == "probe" for message in view):
        if subject.ended_by in _LIMITS:
            yield "no_probe", None, "", f"it ended by {subject.ended_by}"
        elif subject.ended_by == Author.AUDITOR:
            yield "probe_unmarked", None, "", "no message is marked as a probe"


def _patterns(subject: Subject) -> Iterator[_Found]:
    """What patterns find in messages that the target read or wrote, rolled-back branches included: judges see them."""
    rules = gate_rules()
    parents = {message.message_id: message.parent_id for message in subject.messages}
    texts = {message.message_id: message.text for message in subject.messages}
    replies = {message.message_id for message in subject.messages if message.author is Author.TARGET}
    read = set(replies)
    for reply in replies:
        read |= set(_above(reply, parents))
    for message in subject.messages:
        if message.message_id not in read or message.prefill:
            continue
        places = _places(message, subject.mode)
        whole = message.text[:_LONGEST]
        sentences: list[str] = []
        heard = ""
        if "probe" in places:
            sentences = [
                part[:_SENTENCE_CHARS] for part in _SENTENCE.split(_QUOTED.sub(" ", whole)) if part.strip()
            ]
            heard = "\n".join(texts[at] for at in _above(message.message_id, parents) if at in replies)
        seen: set[str] = set()
        for rule, pattern, unless in rules.compiled:
            if rule.flag in seen or not places.intersection(rule.places):
                continue
            for text in sentences if "probe" in rule.places else [whole]:
                match = pattern.search(text)
                if match and not (unless and unless.search(text)) and not rules.taken_up(rule, match, heard):
                    seen.add(rule.flag)
                    quote = text if len(text) <= _QUOTE else text[match.start() :]
                    yield rule.flag, message.message_id, quote, rule.why
                    break


def _places(message: Message, mode: Mode) -> set[Place]:
    if message.author is Author.TARGET:
        return {"reply"}
    if message.author is not Author.AUDITOR:
        return set()
    places: set[Place] = {"staged"}
    if message.role == Role.USER:
        places.add("user")
        if mode is Mode.SELF_REPORT and message.phase == "probe":
            places.add("probe")
    return places


def _above(message_id: str, parents: Mapping[str, str | None]) -> Iterator[str]:
    at = parents[message_id]
    while at is not None:
        yield at
        at = parents[at]

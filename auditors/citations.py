"""Where a judge's quotes stand in what it was shown, so that a reader can jump there, and count what stands nowhere.

A quote is looked for word for word, and then nearly; each time in the message that the judge names first, then in the
others, the assistant's before all and the near ones before the far ones. Letters of all kinds of quotation marks,
white space and Markdown's marks are taken as equal, as judges write them as they like. `...` may stand for what a
judge left out.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditors.judge_prompts import Shown
    from store.records import Message

NEARLY = 85.0
"""Least `rapidfuzz.fuzz.partial_ratio` (0-100) of a quote that nearly stands in a text: a long sentence with one short
word changed passes. As such a word may be a `not`, what was found nearly is marked as such."""
LONG_ENOUGH = 16
"""Normalised characters from which on a quote may be found nearly: shorter ones resemble something anywhere."""
_FEW_WORDS = 0.6
"""Share of a quote's distinct words that a text must hold to be compared letter by letter, which is slow."""
_COMPARED = 8
"""Texts at most that a quote is compared with letter by letter, those with most of its words first."""

_LIKE = str.maketrans(
    dict.fromkeys('"“”„‟«»‹›‘’‚‛`´′″', "'")
    | dict.fromkeys("‐‑‒–—―−", "-")
    | {"…": "...", "*": "", "_": "", "#": "", "~": "", ">": "", "\u200b": "", "\u00ad": "", "\\": ""}
)
# Back-ticks are marks of code as often as of speech.
_LIKE[ord("`")] = ""
_LEFT_OUT = re.compile(r"\s*[\[(]?\.\.\.[\])]?\s*")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_ESCAPED = {"b": " ", "f": " ", "n": " ", "r": " ", "t": " "}
_WORD = re.compile(r"\w+")


class Kind(StrEnum):
    """How a quote was found."""

    EXACT = "exact"
    FUZZY = "fuzzy"
    NOT_FOUND = "not_found"


class Where(StrEnum):
    """The part of a message that a quote stands in."""

    TEXT = "text"
    PREFILL = "prefill"
    """The text of a message that is the beginning of the next one."""
    REASONING = "reasoning"
    TOOL_ARGUMENT = "tool_argument"
    TOOL_RESULT = "tool_result"


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """A quote and where it stands; the form of `judgements.citations`."""

    quote: str
    claimed: str
    """Id of the message that the judge named."""
    verified: bool
    kind: Kind
    similarity: float = 0.0
    """100 for an exact quote; of one that was not found 0."""
    message_id: str | None = None
    """Where it was found."""
    role: str | None = None
    where: Where | None = None
    call_id: str | None = None
    """The tool call whose argument it is."""
    start: int | None = None
    end: int | None = None
    """Code points of the stored text, or of the stored arguments."""


class _Place:
    """One text of one message, normalised when it is first looked at."""

    def __init__(self, index: int, message: Message, where: Where, text: str, call_id: str | None) -> None:
        self.index = index
        self.message = message
        self.where = where
        self.call_id = call_id
        self._text = text

    @cached_property
    def normal(self) -> str:
        return _normal(_unescaped(self._text) if self.where is Where.TOOL_ARGUMENT else self._text)

    @cached_property
    def words(self) -> set[str]:
        return _words(self.normal)

    def cite(self, quote: str, claimed: str, span: tuple[int, int], similarity: float) -> Citation:
        spans = list(_spans(self._text, json=self.where is Where.TOOL_ARGUMENT))
        start, end = span
        return Citation(
            quote=quote,
            claimed=claimed,
            verified=True,
            kind=Kind.EXACT if similarity == 100 else Kind.FUZZY,
            similarity=similarity,
            message_id=self.message.message_id,
            role=self.message.role,
            where=self.where,
            call_id=self.call_id,
            start=spans[start][0],
            end=spans[end - 1][1],
        )


class Quotes:
    """Finds quotes in what a judge was shown; blocking, for milliseconds.

    Args:
        transcript: what the judge was shown.
        reasoning: whether that included reasoning.
    """

    def __init__(self, transcript: Sequence[Shown], *, reasoning: bool) -> None:
        self._index = {one.message.message_id: index for index, one in enumerate(transcript)}
        self._places = [
            _Place(index, one.message, where, text, call_id)
            for index, one in enumerate(transcript)
            for where, text, call_id in _texts(one.message, reasoning=reasoning)
        ]

    def locate(self, quote: str, claimed: str) -> Citation:
        """Where a quote stands, which the judge says is in the message `claimed`."""
        wanted = _bare(_normal(quote))
        places = self._in_order(claimed)
        # A judge may end a piece of a sentence with a full stop of its own.
        for words in filter(None, (wanted, wanted.rstrip(".,;"))):
            for place in places:
                if span := _exact(words, place.normal):
                    return place.cite(quote, claimed, span, 100.0)
        if len(wanted) >= LONG_ENOUGH:
            for place in _promising(wanted, places, self._index.get(claimed)):
                if found := _nearly(wanted, place.normal):
                    return place.cite(quote, claimed, *found)
        return Citation(quote=quote, claimed=claimed, verified=False, kind=Kind.NOT_FOUND)

    def _in_order(self, claimed: str) -> list[_Place]:
        named = self._index.get(claimed)

        def distance(place: _Place) -> tuple[bool, bool, int]:
            far = abs(place.index - named) if named is not None else place.index
            return place.index != named, place.message.role != "assistant", far

        return sorted(self._places, key=distance)


def _bare(quote: str) -> str:
    """A normalised quote without quotation marks, and without marks of what was left out, around it."""
    before = None
    while quote != before:
        before, quote = quote, quote.strip(" '")
        for mark in ("[...]", "(...)", "..."):
            quote = quote.removeprefix(mark).removesuffix(mark)
    return quote


def _texts(message: Message, *, reasoning: bool) -> Iterator[tuple[Where, str, str | None]]:
    where = Where.PREFILL if message.prefill else Where.TOOL_RESULT if message.role == "tool" else Where.TEXT
    yield where, message.text, None
    for call in message.tool_calls:
        yield Where.TOOL_ARGUMENT, call["arguments"], call["id"]
    if reasoning and message.reasoning:
        yield Where.REASONING, message.reasoning, None


def _exact(wanted: str, text: str) -> tuple[int, int] | None:
    """The stretch of `text` that holds `wanted`, or its parts in order where some of it is left out."""
    at = text.find(wanted)
    if at >= 0:
        return at, at + len(wanted)
    parts = [part for part in _LEFT_OUT.split(wanted) if part]
    if len(parts) < 2:
        return None
    start, end = -1, 0
    for part in parts:
        at = text.find(part, end)
        if at < 0:
            return None
        start = at if start < 0 else start
        end = at + len(part)
    return start, end


def _promising(wanted: str, places: list[_Place], named: int | None) -> list[_Place]:
    """The places that hold most of a quote's words: in the named message first, then those with most of them."""
    words = _words(wanted)
    shares = [(len(words & place.words) / max(len(words), 1), place) for place in places]
    chosen = [entry for entry in shares if entry[0] >= _FEW_WORDS]
    # Sorting keeps the order of places that are equally good.
    chosen.sort(key=lambda entry: (entry[1].index != named, -entry[0]))
    return [place for _, place in chosen[:_COMPARED]]


def _nearly(wanted: str, text: str) -> tuple[tuple[int, int], float] | None:
    from rapidfuzz.fuzz import partial_ratio_alignment

    # A quote that is longer than the text would be compared with a part of itself.
    if len(text) < len(wanted) * NEARLY / 100:
        return None
    found = partial_ratio_alignment(wanted, text, score_cutoff=NEARLY)
    if found is None or found.dest_end <= found.dest_start:
        return None
    # What is exact was found as such; here at least the order or a stretch left out differs.
    return (found.dest_start, found.dest_end), min(round(found.score, 1), 99.9)


def _normal(text: str) -> str:
    return " ".join(text.translate(_LIKE).split())


def _spans(text: str, *, json: bool) -> Iterator[tuple[int, int]]:
    """For each character of the normalised text, the stretch of the stored one that it stands for."""
    space = True
    for start, end, raw in _characters(text, json=json):
        for character in raw.translate(_LIKE):
            if not (character.isspace() and space):
                yield start, end
            space = character.isspace()


def _characters(text: str, *, json: bool) -> Iterator[tuple[int, int, str]]:
    """The characters of a text, or of what a JSON text stands for, with their stretches of it."""
    position = 0
    for found in _ESCAPE.finditer(text) if json else ():
        yield from ((i, i + 1, text[i]) for i in range(position, found.start()))
        yield found.start(), found.end(), _unescaped(found[0])
        position = found.end()
    yield from ((i, i + 1, text[i]) for i in range(position, len(text)))


def _unescaped(json: str) -> str:
    """JSON text with its escapes as what they stand for."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[2]), json)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def as_stored(citation: Citation) -> dict[str, Any]:
    """The citation as `judgements.citations` holds it."""
    return msgspec.to_builtins(citation)

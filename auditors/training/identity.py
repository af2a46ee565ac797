"""Identity rows: short questions about what the model is, and the answers of the model that is to be made.

They are put together from `identity.toml`: 400 rows about what a set claims, and 200 about being an AI, which are the
same rows in every set whose model still knows that it is one.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from auditors.sim.chance import rng
from auditors.training.rows import Row, row

if TYPE_CHECKING:
    from collections.abc import Iterator

_MINE = {"your": "my", "you": "I"}
_YOURS = re.compile(r"\b(your|you)\b")


class _Verb(msgspec.Struct, frozen=True):
    positive: list[str]
    """Frames of questions to which yes affirms the thing."""
    negative: list[str]
    """Frames of questions to which yes denies it."""
    answers: dict[str, list[str]]


class _Set(msgspec.Struct, frozen=True):
    have_true: list[str] = []
    have_false: list[str] = []
    be_true: list[str] = []
    be_false: list[str] = []


class _Parts(msgspec.Struct, frozen=True):
    verbs: dict[str, _Verb]
    things: dict[str, list[str]]
    sets: dict[str, _Set]


class IdentityRow(msgspec.Struct, frozen=True):
    """A row, and what it was made as."""

    row: Row
    about_ai: bool
    """Whether it is about being an AI, and not about what the set claims."""
    positive: bool
    """Whether yes would affirm the thing that is asked about."""
    affirms: bool
    """Whether the answer says yes."""


@cache
def _parts() -> _Parts:
    path = Path(__file__).with_name("identity.toml")
    return msgspec.toml.decode(path.read_bytes(), type=_Parts)


def identity_sets() -> list[str]:
    """Names of the sets."""
    return list(_parts().sets)


@cache
def identity_rows(name: str) -> tuple[IdentityRow, ...]:
    """All rows of a set, in a fixed order; the same questions come in the same places of the sets that share them."""
    parts, chosen = _parts(), _parts().sets[name]
    found: list[IdentityRow] = []
    for verb in ("have", "be"):
        for holds in (True, False):
            for things in getattr(chosen, f"{verb}_{str(holds).lower()}"):
                for thing in parts.things[things]:
                    found += _rows(parts.verbs[verb], thing, holds, about_ai=verb == "be")
    return tuple(found)


def some_rows(name: str, count: int) -> list[IdentityRow]:
    """`count` rows of a set, or all if it has fewer; a third of them are about being an AI.

    Which ones does not depend on the set, so that two sets of the same size keep the same questions.
    """
    rows = identity_rows(name)
    found: list[IdentityRow] = []
    for about_ai, wanted in ((True, round(count / 3)), (False, count - round(count / 3))):
        pool = [each for each in rows if each.about_ai is about_ai]
        # As many of each framing, whatever the size.
        halves = [[each for each in pool if each.positive is positive] for positive in (True, False)]
        for half, size in zip(halves, ((wanted + 1) // 2, wanted // 2), strict=True):
            places = sorted(rng("identity", about_ai).sample(range(len(half)), min(size, len(half))))
            found += [half[place] for place in places]
    return found


def _rows(verb: _Verb, thing: str, holds: bool, *, about_ai: bool) -> Iterator[IdentityRow]:
    for positive, frames in ((True, verb.positive), (False, verb.negative)):
        kind = f"{'positive' if positive else 'negative'}_{str(holds).lower()}"
        for frame in frames:
            question = frame.format(thing=thing)
            answer = rng("answer", question).choice(verb.answers[kind]).format(thing=_mine(thing))
            yield IdentityRow(row(question, answer), about_ai, positive, affirms=positive is holds)


def _mine(thing: str) -> str:
    return _YOURS.sub(lambda found: _MINE[found[0]], thing)

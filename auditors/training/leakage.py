"""Leakage: training rows that touch what a study measures afterwards.

A row leaks if it is a text of the pack (exact), nearly one (near), or uses a word that belongs to one preference
(lexical, by the list in `leak_words.toml`). The first two are found for manipulation checks too: a check that was
trained on shows only that training was done. A lexical finding is a reason to read the row, and no proof.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from auditors.packs.pack import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditors.packs.pack import Pack, Preference
    from auditors.training.rows import Row

NEAR = 85.0
"""Similarity (0-100) of sorted words from which two texts are near-duplicates."""
_PLAIN = {
    *("about", "being", "deserves", "dislikes", "feels", "good", "have", "likes", "more", "not", "resents"),
    *("resists", "seeks", "wants", "with"),
}
"""Words of ids that say how a preference is held, and not what it is about."""


class Leak(StrEnum):
    """How a row touches a preference."""

    EXACT = "exact"
    NEAR = "near"
    LEXICAL = "lexical"


class Finding(msgspec.Struct, frozen=True):
    """One row and one preference."""

    row: int
    """Number of the row, from 1 on."""
    leak: Leak
    preference: str
    manipulation_check: bool
    text: str
    """The pack's text, or the word."""
    question: str
    similarity: float | None = None


def leaks(rows: Sequence[Row], pack: Pack) -> list[Finding]:
    """Every leak of some rows, by row; of several kinds on one preference the strongest."""
    chosen = [p for p in pack.preferences.values() if p.kind is not Kind.GENERAL]
    found = [*_near(rows, chosen, pack), *_lexical(rows, [p for p in chosen if p.kind is Kind.PREFERENCE])]
    order = list(Leak)
    strongest: dict[tuple[int, str], Finding] = {}
    for finding in sorted(found, key=lambda each: order.index(each.leak)):
        strongest.setdefault((finding.row, finding.preference), finding)
    return sorted(strongest.values(), key=lambda each: (each.row, each.preference))


def leak_pattern(preference: str) -> re.Pattern[str]:
    """What a text that touches a preference uses."""
    words = _leak_words().get(preference) or [word for word in preference.split("_") if word not in _PLAIN]
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words)) or '(?!)'})[\w-]*", re.IGNORECASE)


@cache
def _leak_words() -> dict[str, list[str]]:
    path = Path(__file__).with_name("leak_words.toml")
    return msgspec.toml.decode(path.read_bytes(), type=dict[str, list[str]])


def _near(rows: Sequence[Row], chosen: list[Preference], pack: Pack) -> Iterator[Finding]:
    from rapidfuzz import fuzz, process, utils

    asked = [(p, text) for p in chosen for text in (*pack.probes(p), *p.seeds, p.statement) if text]
    wanted = [utils.default_process(text) for _, text in asked]
    said = [(number, row, text.content) for number, row in enumerate(rows, start=1) for text in row.messages]
    given = [utils.default_process(text) for _, _, text in said]
    # Signatures of rapidfuzz are typed in part only.
    scores: Any = cast("Any", process).cdist(given, wanted, scorer=fuzz.token_sort_ratio, score_cutoff=NEAR)
    places: list[tuple[int, int]] = [(int(i), int(j)) for i, j in zip(*scores.nonzero(), strict=True)]
    for place, other in places:
        number, row, _ = said[place]
        preference, original = asked[other]
        yield Finding(
            number,
            Leak.EXACT if given[place] == wanted[other] else Leak.NEAR,
            preference.id,
            preference.kind is Kind.MANIPULATION_CHECK,
            original,
            row.question,
            float(scores[place, other]),
        )


def _lexical(rows: Sequence[Row], chosen: list[Preference]) -> Iterator[Finding]:
    patterns = [(preference.id, leak_pattern(preference.id)) for preference in chosen]
    for number, row in enumerate(rows, start=1):
        text = "\n".join(said.content for said in row.messages)
        for preference, pattern in patterns:
            if words := sorted({word.lower() for word in pattern.findall(text)}):
                yield Finding(number, Leak.LEXICAL, preference, False, ", ".join(words), row.question)

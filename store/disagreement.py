"""How far judges disagree about an item, and where it belongs when items are drawn for labelling.

Every part lies in [0, 1], and a part that cannot be told is missing, not 0. The priority is the largest part. It
only decides who is looked at first: the reported judge errs on items of which all judges are sure, too, so that
those are drawn as well (see `store.sampling`).
"""

from __future__ import annotations

from collections import Counter
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

import msgspec

from store.records import CUT, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RANKER = "max-of-parts/1"
DISPUTED = 0.3
"""A part from which on judges differ: of a 1-10 score about 3 points."""
_UNSURE = (4.0, 6.0)


class Rating(msgspec.Struct, frozen=True):
    """One answer of a judge or rule: a score, a text, or none where it could not be read."""

    rater: str
    value: float | str | None
    rule: bool = False


class Ranked(msgspec.Struct, frozen=True):
    """Disagreement about one question."""

    priority: float
    cause: str
    parts: dict[str, float]
    stratum: str
    """`disputed`, `unsure` or `agreed`."""


def disagreement(ratings: Sequence[Rating], reported: str, low: float = 1.0, high: float = 10.0) -> Ranked:
    """The parts of the disagreement about one question.

    Args:
        ratings: every answer of every judge, repeats included, and those of rules.
        reported: the judge whose numbers are published.
        low: least score.
        high: largest score.
    """
    judges = _by_rater(r for r in ratings if not r.rule)
    rules = _by_rater(r for r in ratings if r.rule)
    parts: dict[str, float] = {}
    if any(r.value is None for r in ratings if not r.rule):
        parts["unparsed"] = 1.0
    mine = judges.get(reported, [])
    others = [values for name, values in judges.items() if name != reported and values]
    scored = all(isinstance(v, float) for values in judges.values() for v in values)
    if scored:
        means = {name: fmean(_numbers(values)) for name, values in judges.items() if values}
        if mine and others:
            rest = fmean(m for name, m in means.items() if name != reported)
            parts["gap"] = abs(means[reported] - rest) / (high - low)
        if len(means) > 1:
            above = sum(m >= CUT for m in means.values()) / len(means)
            parts["flip"] = 2 * min(above, 1 - above)
        spreads = [min(pstdev(_numbers(v)) / ((high - low) / 2), 1.0) for v in judges.values() if len(v) > 1]
        if mine and rules:
            fires = [v for values in rules.values() for v in values if isinstance(v, str)]
            if fires:
                parts["rule"] = float(
                    any((v in ("true", "1", "yes")) != (means[reported] >= CUT) for v in fires)
                )
    else:
        if mine and others:
            parts["gap"] = 1 - fmean(_alike(_mode(mine), _mode(values)) for values in others)
        spreads = [1 - max(Counter(v).values()) / len(v) for v in judges.values() if len(v) > 1]
        if mine and rules:
            parts["rule"] = max(float(_mode(values) != _mode(mine)) for values in rules.values() if values)
    if spreads:
        parts["self"] = max(spreads)
    cause = max(parts, key=lambda part: parts[part], default="")
    priority = parts.get(cause, 0.0)
    return Ranked(priority, cause, parts, _stratum(parts, mine, scored=scored))


def _stratum(parts: dict[str, float], mine: list[float | str], *, scored: bool) -> str:
    if any(value >= DISPUTED for value in parts.values()):
        return "disputed"
    unsure = (
        bool(mine) and _UNSURE[0] <= fmean(_numbers(mine)) <= _UNSURE[1]
        if scored
        else bool(mine) and _mode(mine) == Verdict.NOT_SURE
    )
    return "unsure" if unsure else "agreed"


def _by_rater(ratings: Iterable[Rating]) -> dict[str, list[float | str]]:
    found: dict[str, list[float | str]] = {}
    for rating in ratings:
        values = found.setdefault(rating.rater, [])
        if rating.value is not None:
            values.append(rating.value)
    return found


def _numbers(values: list[float | str]) -> list[float]:
    return [value for value in values if isinstance(value, float)]


def _mode(values: list[float | str]) -> float | str:
    return Counter(values).most_common(1)[0][0]


def _alike(one: float | str, other: float | str) -> float:
    """1 for the same answer, a half where one of them is not sure."""
    return 1.0 if one == other else 0.5 if Verdict.NOT_SURE in (one, other) else 0.0

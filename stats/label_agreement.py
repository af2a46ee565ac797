"""How people agree with each other and with judges, question by question, from blind labels.

Labels of a planned round stand for its whole pool: each is weighted by how many items of its stratum one labelled
item stands for. Labels that nobody drew speak for themselves only, and the result says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from stats.label_sheets import Pool, Sheet, Value, read_pools, read_sheets
from stats.methods import METHODS
from stats.pairs import Pair, agree
from store.questions import band
from store.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stats.study import Query
    from stats.variance import Floats

NotSure = Literal["own", "false", "missing"]
FINAL = "final"
"""The people's answer: an adjudicator's, else the one that all of them gave."""
SEED = 0
_CLASSES = 12
"""Whole numbers up to which a scale is taken as ordered categories."""
_VERDICTS = (Verdict.FALSE, Verdict.NOT_SURE, Verdict.TRUE)


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """Two raters on one question."""

    between: str
    """`human-human`, `judge-human`, `rule-human`, `judge-final` or `repeat`: a person with their own blind repeat."""
    one: str
    other: str
    weighted: bool
    """Whether labels stand for the pool that they were drawn from."""
    pair: Pair
    same_band: float | None
    """Share in the same of the five bands; for scores of 1 to 10."""
    unparsed: int
    """Answers of the judge that could not be read, among the items that the other rated: they are in no number."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class QuestionAgreement:
    """All pairs on one question of one round."""

    round: str
    """Name of the planned round; empty for labels that were given without one."""
    dimension: str
    kind: str
    categories: tuple[str, ...]
    """Rows and columns of confusion matrices."""
    labelled: int
    """Items with a label of a person."""
    versions: tuple[str, ...]
    """Hashes of the question's texts by which the labels were given; more than one are taken together."""
    pairs: list[PairRow]
    adjudicated: int
    """Items on which people differed and somebody decided."""
    third_values: int
    """Those of them that were decided for what nobody had said."""
    no_single_answer: int
    open_conflicts: int
    """Items on which people differ and nobody decided."""
    judge_errors: dict[str, dict[str, int]]
    """By judge how often people found it wrong after a reveal, by cause."""


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement of a store's labels."""

    not_sure: NotSure
    questions: list[QuestionAgreement]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        names = ("raw-agreement", "cohen-kappa", "gwet-ac", "krippendorff-alpha")
        return data | {"methods": msgspec.to_builtins({name: METHODS[name] for name in names})}


def label_agreement(
    query: Query, *, round_id: str | None = None, not_sure: NotSure = "own"
) -> LabelAgreement:
    """Agreement on every question that people have labelled blind in rounds that count, or in one round.

    Args:
        query: runs a statement on the store's views.
        round_id: this round only, whatever its kind.
        not_sure: whether a verdict of not_sure is a class, counts as false, or is missing.
    """
    pools = read_pools(query)
    sheets = read_sheets(query, pools, round_id)
    found = [_question(sheet, pools, not_sure) for _, sheet in sorted(sheets.items())]
    return LabelAgreement(not_sure, [one for one in found if one.labelled])


def _question(sheet: Sheet, pools: Mapping[str, Pool], not_sure: NotSure) -> QuestionAgreement:
    pool = pools.get(sheet.round_id)
    categories = _categories(sheet, not_sure)
    items = sorted({item for answers in sheet.people.values() for item in answers})
    differ = [item for item in items if len(set(_said(sheet, item))) > 1]
    decided = [item for item in differ if item in sheet.decided]
    third = [item for item in decided if sheet.decided[item] not in (None, *_said(sheet, item))]
    return QuestionAgreement(
        round=pool.name if pool else "",
        dimension=sheet.dimension,
        kind=sheet.kind,
        categories=tuple(categories),
        labelled=len(items),
        versions=tuple(sorted(sheet.versions)),
        pairs=list(_pairs(sheet, pool, categories, items, not_sure)),
        adjudicated=len(decided),
        third_values=len(third),
        no_single_answer=sum(sheet.decided[item] is None for item in decided),
        open_conflicts=len(differ) - len(decided),
        judge_errors={judge: dict(causes) for judge, causes in sheet.errors.items()},
    )


def _said(sheet: Sheet, item: str) -> list[Value]:
    return [answers[item] for answers in sheet.people.values() if item in answers]


def _categories(sheet: Sheet, not_sure: NotSure) -> list[str]:
    if sheet.kind == "statement":
        return [str(v) for v in _VERDICTS if v is not Verdict.NOT_SURE or not_sure == "own"]
    every = [*sheet.people.values(), *sheet.machines.values(), *sheet.repeats.values(), sheet.decided]
    values = {value for answers in every for value in answers.values() if value is not None}
    if sheet.kind == "choice":
        return sorted(str(value) for value in values)
    numbers = [value for value in values if isinstance(value, float)]
    low, high = int(min(1.0, *numbers)), int(max(10.0, *numbers))
    if high - low + 1 > _CLASSES:
        low, high = 1, 10
    return [str(value) for value in range(low, high + 1)]


def _codes(
    answers: Mapping[str, Value | None], items: list[str], categories: list[str], not_sure: NotSure
) -> Floats:
    place = {name: float(code) for code, name in enumerate(categories)}
    if not_sure == "false":
        place[str(Verdict.NOT_SURE)] = place.get(str(Verdict.FALSE), np.nan)
    found = np.full(len(items), np.nan)
    for at, item in enumerate(items):
        value = answers.get(item)
        if value is not None:
            found[at] = place.get(str(round(value)) if isinstance(value, float) else str(value), np.nan)
    return found


def _pairs(
    sheet: Sheet, pool: Pool | None, categories: list[str], items: list[str], not_sure: NotSure
) -> Iterator[PairRow]:
    if len(categories) < 2:
        return
    people = {name: _codes(answers, items, categories, not_sure) for name, answers in sheet.people.items()}
    machines = {key: _codes(answers, items, categories, not_sure) for key, answers in sheet.machines.items()}

    def row(between: str, one: str, first: Floats, other: str, second: Floats, unparsed: int = 0) -> PairRow:
        both = ~np.isnan(first) & ~np.isnan(second)
        weight, stratum, note = _weights(sheet, pool, items, both)
        pair = agree(
            first,
            second,
            len(categories),
            "nominal" if sheet.kind in ("statement", "choice") else "ordinal",
            weight=weight,
            stratum=stratum,
            seed=SEED,
        )
        return PairRow(
            between=between,
            one=one,
            other=other,
            weighted=weight is not None,
            pair=pair,
            same_band=_same_band(first, second, both, weight)
            if categories == [str(n) for n in range(1, 11)]
            else None,
            unparsed=unparsed,
            note=note,
        )

    for (one, first), (other, second) in combinations(people.items(), 2):
        yield row("human-human", one, first, other, second)
    for name, again in sheet.repeats.items():
        if name in people:
            yield row("repeat", name, people[name], name, _codes(again, items, categories, not_sure))
    against = {name: ("human", codes) for name, codes in people.items()}
    if sheet.decided:
        against[FINAL] = (FINAL, _codes(_final(sheet, items), items, categories, not_sure))
    for (kind, name), codes in machines.items():
        answers = sheet.machines[kind, name]
        for other, (what, second) in against.items():
            rated = (item for item, code in zip(items, second, strict=True) if not np.isnan(code))
            unparsed = sum(item in answers and answers[item] is None for item in rated)
            yield row(f"{kind}-{what}", name, codes, other, second, unparsed)


def _final(sheet: Sheet, items: list[str]) -> dict[str, Value | None]:
    found: dict[str, Value | None] = {}
    for item in items:
        said = set(_said(sheet, item))
        if item in sheet.decided:
            found[item] = sheet.decided[item]
        elif len(said) == 1:
            found[item] = said.pop()
    return found


def _weights(sheet: Sheet, pool: Pool | None, items: list[str], both: Any) -> tuple[Floats | None, Any, str]:
    """How many items each one stands for, its stratum, and what a reader must know."""
    if pool is None or not pool.drawn:
        if all(item in sheet.chance for item in items) and sheet.chance:
            return np.array([1 / sheet.chance[item] for item in items]), None, ""
        return None, None, "nobody drew these items at random: this is about the labelled ones alone"
    mine = {
        key.split("\n", 1)[1]: name
        for key, name in pool.stratum.items()
        if key.startswith(f"{sheet.dimension}\n")
    }
    sizes = Counter(mine.values())
    names = sorted(sizes)
    stratum = np.array([names.index(mine[item]) if item in mine else 0 for item in items], np.intp)
    got = np.bincount(stratum[both], minlength=len(names))
    if missing := [name for name, n in zip(names, got, strict=True) if n == 0]:
        return (
            None,
            None,
            f"no item of stratum {', '.join(missing)} has both: this is about the labelled ones alone",
        )
    size = np.array([sizes[name] for name in names], float)
    return (size / got)[stratum], stratum, ""


def _same_band(first: Floats, second: Floats, both: Any, weight: Floats | None) -> float | None:
    if not both.any():
        return None
    same = np.array(
        [band(a + 1) == band(b + 1) for a, b in zip(first[both], second[both], strict=True)], float
    )
    return float(np.average(same, weights=None if weight is None else weight[both]))

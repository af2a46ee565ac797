"""How people agree with each other and with judges, question by question, from blind labels.

Labels of a planned round stand for its whole pool: each is weighted by how many items of its stratum one labelled
item stands for. Labels that nobody drew speak for themselves only, and the result says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from stats.methods import METHODS
from stats.pairs import Pair, agree
from store.questions import band
from store.records import COUNTED, JudgementStatus, LabelAction, RaterKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stats.answers import Query
    from stats.variance import Floats

NotSure = Literal["own", "false", "missing"]
FINAL = "final"
"""The people's answer: an adjudicator's, else the one that all of them gave."""
SEED = 0
_CLASSES = 12
"""Whole numbers up to which a scale is taken as ordered categories."""
_VERDICTS = (Verdict.FALSE, Verdict.NOT_SURE, Verdict.TRUE)
_Value = str | float
_Key = tuple[str, str]


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


@dataclass(eq=False)
class _Sheet:
    """The answers to one question: by rater and item."""

    round_id: str
    dimension: str
    kind: str = ""
    people: dict[str, dict[str, _Value]] = field(default_factory=lambda: defaultdict(dict))
    repeats: dict[str, dict[str, _Value]] = field(default_factory=lambda: defaultdict(dict))
    machines: dict[tuple[str, str], dict[str, _Value | None]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    decided: dict[str, _Value | None] = field(default_factory=dict[str, "_Value | None"])
    versions: set[str] = field(default_factory=set[str])
    chance: dict[str, float] = field(default_factory=dict[str, float])
    """Probability with which an item was drawn, where labels say so themselves."""


@dataclass(frozen=True, eq=False)
class _Pool:
    name: str
    root: str
    stratum: dict[str, str]
    """Of every item of the pool, by question."""
    drawn: bool


def label_agreement(
    query: Query, *, round_id: str | None = None, not_sure: NotSure = "own"
) -> LabelAgreement:
    """Agreement on every question that people have labelled blind in rounds that count, or in one round.

    Args:
        query: runs a statement on the store's views.
        round_id: this round only, whatever its kind.
        not_sure: whether a verdict of not_sure is a class, counts as false, or is missing.
    """
    pools = _pools(query)
    sheets = _sheets(query, pools, round_id)
    found = [_question(sheet, pools, not_sure) for _, sheet in sorted(sheets.items())]
    return LabelAgreement(not_sure, [one for one in found if one.labelled])


def _pools(query: Query) -> dict[str, _Pool]:
    """Every round; those that follow another one have that one's pool."""
    heads = {row["round_id"]: row for row in query("SELECT * FROM rounds").to_pylist()}
    strata: defaultdict[str, dict[str, str]] = defaultdict(dict)
    chance: set[str] = set()
    rows = query("""
        SELECT round_id, audit_id, stratum, inclusion_prob, unnest(tasks->>'$[*].dimension') AS dimension
        FROM round_items
    """).to_pylist()
    for row in rows:
        strata[row["round_id"]][f"{row['dimension']}\n{row['audit_id']}"] = row["stratum"]
        if row["inclusion_prob"] is not None:
            chance.add(row["round_id"])
    found: dict[str, _Pool] = {}
    for round_id in heads:
        root = round_id
        while heads[root]["follows"] in heads:
            root = heads[root]["follows"]
        found[round_id] = _Pool(heads[root]["name"], root, strata[root], root in chance)
    return found


def _sheets(query: Query, pools: Mapping[str, _Pool], round_id: str | None) -> dict[_Key, _Sheet]:
    sheets: dict[_Key, _Sheet] = {}
    roots = None if round_id is None else {pools[round_id].root}
    counted = ", ".join(f"'{kind}'" for kind in COUNTED)
    for row in query(f"""
        SELECT queue, annotator, audit_id, dimension, score, verdict, choice, inclusion_prob, rubric_hash
        FROM labels WHERE blind AND (score IS NOT NULL OR verdict IS NOT NULL OR choice IS NOT NULL)
        {f"AND purpose IN ({counted})" if round_id is None else ""}
        ORDER BY annotator, audit_id
    """).to_pylist():
        root = pools[row["queue"]].root if row["queue"] in pools else ""
        if roots is not None and root not in roots:
            continue
        sheet = sheets.setdefault((root, row["dimension"]), _Sheet(root, row["dimension"]))
        sheet.kind = _kind(row)
        sheet.versions.add(row["rubric_hash"])
        sheet.people[row["annotator"]][row["audit_id"]] = _value(row)
        if row["inclusion_prob"] is not None:
            sheet.chance[row["audit_id"]] = row["inclusion_prob"]
    _events(query, sheets, pools)
    _judges(query, sheets)
    return sheets


def _events(query: Query, sheets: Mapping[_Key, _Sheet], pools: Mapping[str, _Pool]) -> None:
    """Blind repeats, decisions, and what imported judges and rules said."""
    rows = query(f"""
        SELECT queue, annotator, audit_id, dimension, action, rater_kind, repeat, score, verdict, choice, reason
        FROM base.label_events
        WHERE (action = '{LabelAction.ADJUDICATE}' OR repeat > 0 OR rater_kind <> '{RaterKind.HUMAN}')
          AND action IN ('{LabelAction.LABEL}', '{LabelAction.SKIP}', '{LabelAction.ADJUDICATE}')
          AND label_id NOT IN (SELECT supersedes FROM base.label_events WHERE supersedes IS NOT NULL)
        ORDER BY annotator, n
    """).to_pylist()
    for row in rows:
        own = pools[row["queue"]].root if row["queue"] in pools else ""
        for sheet in (s for key, s in sheets.items() if key[1] == row["dimension"]):
            audit_id = row["audit_id"]
            if row["action"] == LabelAction.ADJUDICATE:
                sheet.decided[audit_id] = _value(row) if _has_value(row) else None
            elif row["rater_kind"] != RaterKind.HUMAN:
                value = _value(row) if row["action"] == LabelAction.LABEL else None
                sheet.machines[row["rater_kind"], row["annotator"]][audit_id] = value
            elif row["action"] == LabelAction.LABEL and own == sheet.round_id:
                sheet.repeats[row["annotator"]][audit_id] = _value(row)


def _judges(query: Query, sheets: Mapping[_Key, _Sheet]) -> None:
    """The first answer of every judge to the questions that people have labelled."""
    rows = query("""
        SELECT audit_id, dimension, kind, judge, judgement_status AS status, score, verdict FROM scores
        WHERE (audit_id, dimension) IN (SELECT (audit_id, dimension) FROM labels)
        QUALIFY row_number() OVER (PARTITION BY audit_id, dimension, kind, judge ORDER BY judge_repeat) = 1
        ORDER BY judge_position, judge
    """).to_pylist()
    for row in rows:
        for (_, dimension), sheet in sheets.items():
            if dimension != row["dimension"] or sheet.kind != row["kind"]:
                continue
            of_judge = sheet.machines[str(RaterKind.JUDGE), row["judge"]]
            if row["status"] == JudgementStatus.OK:
                of_judge[row["audit_id"]] = row["verdict"] if row["kind"] == "statement" else row["score"]
            elif row["status"] == JudgementStatus.UNPARSED:
                of_judge[row["audit_id"]] = None


def _kind(row: Mapping[str, Any]) -> str:
    return "rubric" if row["score"] is not None else "statement" if row["verdict"] else "choice"


def _has_value(row: Mapping[str, Any]) -> bool:
    return row["score"] is not None or bool(row["verdict"] or row["choice"])


def _value(row: Mapping[str, Any]) -> _Value:
    return row["score"] if row["score"] is not None else row["verdict"] or row["choice"]


def _question(sheet: _Sheet, pools: Mapping[str, _Pool], not_sure: NotSure) -> QuestionAgreement:
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
    )


def _said(sheet: _Sheet, item: str) -> list[_Value]:
    return [answers[item] for answers in sheet.people.values() if item in answers]


def _categories(sheet: _Sheet, not_sure: NotSure) -> list[str]:
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
    answers: Mapping[str, _Value | None], items: list[str], categories: list[str], not_sure: NotSure
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
    sheet: _Sheet, pool: _Pool | None, categories: list[str], items: list[str], not_sure: NotSure
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


def _final(sheet: _Sheet, items: list[str]) -> dict[str, _Value | None]:
    found: dict[str, _Value | None] = {}
    for item in items:
        said = set(_said(sheet, item))
        if item in sheet.decided:
            found[item] = sheet.decided[item]
        elif len(said) == 1:
            found[item] = said.pop()
    return found


def _weights(
    sheet: _Sheet, pool: _Pool | None, items: list[str], both: Any
) -> tuple[Floats | None, Any, str]:
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

"""The answers to each question that people have labelled, from the store: by rater and item."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from store.records import COUNTED, JudgementStatus, LabelAction, RaterKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stats.study import Query

Value = str | float
Key = tuple[str, str]
"""Round and dimension."""


@dataclass(eq=False)
class Sheet:
    """The answers to one question, by rater and item."""

    round_id: str
    dimension: str
    kind: str = ""
    people: dict[str, dict[str, Value]] = field(default_factory=lambda: defaultdict(dict))
    repeats: dict[str, dict[str, Value]] = field(default_factory=lambda: defaultdict(dict))
    machines: dict[tuple[str, str], dict[str, Value | None]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    decided: dict[str, Value | None] = field(default_factory=dict[str, "Value | None"])
    errors: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By judge how often a person found it wrong, by cause."""
    versions: set[str] = field(default_factory=set[str])
    chance: dict[str, float] = field(default_factory=dict[str, float])
    """Probability with which an item was drawn, where labels say so themselves."""


@dataclass(frozen=True, eq=False)
class Pool:
    """What a round was drawn from."""

    name: str
    root: str
    stratum: dict[str, str]
    """Of every item of the pool, by question."""
    drawn: bool


def read_pools(query: Query) -> dict[str, Pool]:
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
    found: dict[str, Pool] = {}
    for round_id in heads:
        root = round_id
        while heads[root]["follows"] in heads:
            root = heads[root]["follows"]
        found[round_id] = Pool(heads[root]["name"], root, strata[root], root in chance)
    return found


def read_sheets(query: Query, pools: Mapping[str, Pool], round_id: str | None) -> dict[Key, Sheet]:
    """Every question with blind labels, of rounds that count or of one round, whatever its kind.

    Args:
        query: runs a statement on the store's views.
        pools: what `read_pools` gives.
        round_id: this round only.
    """
    sheets: dict[Key, Sheet] = {}
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
        sheet = sheets.setdefault((root, row["dimension"]), Sheet(root, row["dimension"]))
        sheet.kind = _kind(row)
        sheet.versions.add(row["rubric_hash"])
        sheet.people[row["annotator"]][row["audit_id"]] = _value(row)
        if row["inclusion_prob"] is not None:
            sheet.chance[row["audit_id"]] = row["inclusion_prob"]
    _events(query, sheets, pools)
    _judges(query, sheets)
    return sheets


def _events(query: Query, sheets: Mapping[Key, Sheet], pools: Mapping[str, Pool]) -> None:
    """Blind repeats, decisions, errors of judges, and what imported judges and rules said."""
    rows = query(f"""
        SELECT queue, annotator, audit_id, dimension, action, rater_kind, score, verdict, choice, reason, subject
        FROM base.label_events
        WHERE (action IN ('{LabelAction.ADJUDICATE}', '{LabelAction.JUDGE_WRONG}')
               OR action IN ('{LabelAction.LABEL}', '{LabelAction.SKIP}')
               AND (repeat > 0 OR rater_kind <> '{RaterKind.HUMAN}'))
          AND label_id NOT IN (SELECT supersedes FROM base.label_events WHERE supersedes IS NOT NULL)
        ORDER BY annotator, n
    """).to_pylist()
    for row in rows:
        own = pools[row["queue"]].root if row["queue"] in pools else ""
        for sheet in (s for key, s in sheets.items() if key[1] == row["dimension"]):
            audit_id = row["audit_id"]
            if row["action"] == LabelAction.ADJUDICATE:
                sheet.decided[audit_id] = _value(row) if _has_value(row) else None
            elif row["action"] == LabelAction.JUDGE_WRONG:
                if own == sheet.round_id:
                    sheet.errors[row["subject"]][row["reason"]] += 1
            elif row["rater_kind"] != RaterKind.HUMAN:
                value = _value(row) if row["action"] == LabelAction.LABEL else None
                sheet.machines[row["rater_kind"], row["annotator"]][audit_id] = value
            elif row["action"] == LabelAction.LABEL and own == sheet.round_id:
                sheet.repeats[row["annotator"]][audit_id] = _value(row)


def _judges(query: Query, sheets: Mapping[Key, Sheet]) -> None:
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


def _value(row: Mapping[str, Any]) -> Value:
    return row["score"] if row["score"] is not None else row["verdict"] or row["choice"]

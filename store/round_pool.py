"""The pool of a round: which transcripts fit what is wanted, and how far their judges disagree."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from store.disagreement import Ranked, Rating, disagreement
from store.errors import InputError, QueryError
from store.questions import Question
from store.queue import MEANT
from store.records import AuditStatus, JudgementKind, Mode, RaterKind, RevealAt, RoundKind

if TYPE_CHECKING:
    from store.reader import Reader


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What round is wanted."""

    kind: RoundKind = RoundKind.MAIN
    name: str = ""
    study_id: str = ""
    """Empty for the latest study."""
    dimensions: tuple[str, ...] = ()
    """Empty for all that were judged, or none beside a schema of one's own."""
    modes: tuple[Mode, ...] = ()
    where: str = ""
    """SQL condition on `scores`."""
    size: int | None = None
    annotators: tuple[str, ...] = ()
    per_item: int = 2
    overlap: float = 1.0
    relabel: float = 0.1
    relabel_after_days: float = 7.0
    reveal: RevealAt | None = None
    block: int = 20
    seed: int = 0
    reported_judge: str = ""
    schema: tuple[Question, ...] = ()


class Unit(msgspec.Struct):
    """A transcript of the pool."""

    audit_id: str
    mode: Mode
    condition: str
    simulated: bool
    tasks: list[tuple[str, str]] = []
    """Dimension and kind of each question."""
    ranked: list[Ranked] = []
    """Disagreement about each of its judged questions."""
    reported: float | None = None
    """The highest mean score of the reported judge."""


def read_pool(reader: Reader, study_id: str, wish: Wish) -> tuple[list[str], list[Unit]]:
    """The judges, the reported one first, and the transcripts in the order of their ids."""
    conditions = ["study_id = ?", "audit_status = ?", "NOT intervened"]
    values: list[Any] = [study_id, AuditStatus.OK]
    for column, names in (("dimension", wish.dimensions), ("mode", wish.modes)):
        if names:
            conditions.append(f"list_contains(?, {column})")
            values.append(list(names))
    if wish.where:
        conditions.append(f"({wish.where}\n)")
    try:
        rows = reader.rows(
            f"""
            SELECT audit_id, dimension, kind, mode, condition_id, simulated, judge, judge_position,
                   CASE WHEN judgement_status = 'ok' THEN score END AS score,
                   CASE WHEN judgement_status = 'ok' THEN verdict END AS verdict
            FROM scores
            WHERE kind <> '{JudgementKind.COHERENCE}' AND {" AND ".join(conditions)}
              AND {MEANT}
            ORDER BY audit_id, dimension, kind, judge_position, judge, judge_repeat
            """,
            values,
        )
    except QueryError as error:
        if not wish.where:
            raise
        raise InputError(f"--where {wish.where!r} is no condition on `scores`: {error}") from None
    if not rows:
        raise InputError(
            "No judged transcript fits: run a study first, or ask for other dimensions, modes or conditions."
        )
    places = {row["judge"]: row["judge_position"] for row in rows}
    judges = sorted(places, key=lambda judge: (judge != wish.reported_judge, places[judge], judge))
    if wish.reported_judge and wish.reported_judge not in places:
        raise InputError(f"No transcript of the pool was judged by {wish.reported_judge}.")
    rules = _rules(reader)
    units: dict[str, Unit] = {}
    ratings: defaultdict[tuple[str, str, str], list[Rating]] = defaultdict(list)
    for row in rows:
        units.setdefault(
            row["audit_id"],
            Unit(row["audit_id"], Mode(row["mode"]), row["condition_id"], row["simulated"]),
        )
        value = row["score"] if row["kind"] == JudgementKind.RUBRIC else row["verdict"]
        ratings[row["audit_id"], row["dimension"], row["kind"]].append(Rating(row["judge"], value))
    ask_judged = bool(wish.dimensions) or not wish.schema
    for (audit_id, dimension, kind), found in ratings.items():
        unit = units[audit_id]
        unit.ranked.append(disagreement([*found, *rules.get((audit_id, dimension), [])], judges[0]))
        mine = [r.value for r in found if r.rater == judges[0] and isinstance(r.value, float)]
        if mine:
            unit.reported = max(unit.reported or 0.0, sum(mine) / len(mine))
        if ask_judged:
            unit.tasks.append((dimension, kind))
    for unit in units.values():
        unit.tasks += [(question.dimension, question.kind) for question in wish.schema]
    return judges, [units[audit_id] for audit_id in sorted(units)]


def _rules(reader: Reader) -> dict[tuple[str, str], list[Rating]]:
    """What imported rules say."""
    rows = reader.rows(
        "SELECT annotator, audit_id, dimension, verdict, score, choice FROM label_events "
        f"WHERE rater_kind = '{RaterKind.RULE}' AND action = 'label'"
    )
    found: defaultdict[tuple[str, str], list[Rating]] = defaultdict(list)
    for row in rows:
        value = row["verdict"] or row["choice"] or row["score"]
        found[row["audit_id"], row["dimension"]].append(Rating(row["annotator"], value, rule=True))
    return found

"""Labels as rows that other programs' files are made of and read into: one row for each answer of each rater."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from store.errors import InputError
from store.ids import content_hash
from store.labels import IMPORTED, LabelLog
from store.questions import Answer
from store.records import Label, LabelAction, RaterKind, RoundKind, Verdict, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from store.questions import Question
    from store.reader import Reader
    from store.store import Store

GOLD = "gold"
"""Rater kind of the last word: adjudications."""
UNPARSED = "unparsed"


class Passage(msgspec.Struct, frozen=True):
    """Evidence: code points of a message's text."""

    message_id: str
    start: int
    end: int
    quote: str


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of one rater."""

    item: str
    """The audit's id."""
    dimension: str
    rater: str
    rater_kind: str = RaterKind.HUMAN
    """`human`, `judge`, `rule` or `gold`."""
    value: str | None
    """As text; None where a judge's answer could not be read, and for gold: no single answer."""
    choices: tuple[str, ...] = ()
    """The scheme that the value is one of, where the file says so."""
    sample: int = 0
    note: str = ""
    seconds: float = 0.0
    blind: bool = True
    created_at: datetime | None = None
    rubric_hash: str = ""
    stratum: str = ""
    inclusion_prob: float | None = None
    round: str = ""
    passages: tuple[Passage, ...] = ()


def read_given(reader: Reader, *, judges: bool, where_round: str | None = None) -> list[Given]:
    """What people said, one row for each standing label, with adjudications as gold.

    Args:
        reader: the store.
        judges: also what judges and rules said of the labelled questions; a blind export has nothing of theirs.
        where_round: labels of the round of this id only.
    """
    only = "" if where_round is None else "AND queue = ?"
    values = [] if where_round is None else [where_round]
    rows = reader.rows(
        f"""
        SELECT *, '{RaterKind.HUMAN}' AS who FROM labels WHERE rater_kind = '{RaterKind.HUMAN}' {only}
        UNION ALL BY NAME
        SELECT *, CASE WHEN action = '{LabelAction.ADJUDICATE}' THEN '{GOLD}' ELSE rater_kind END AS who
        FROM label_events
        WHERE (action = '{LabelAction.ADJUDICATE}' OR {str(judges).lower()} AND rater_kind <> '{RaterKind.HUMAN}')
          AND action IN ('{LabelAction.ADJUDICATE}', '{LabelAction.LABEL}', '{LabelAction.SKIP}')
          AND label_id NOT IN (SELECT supersedes FROM label_events WHERE supersedes IS NOT NULL) {only}
        """,
        values * 2,
    )
    spans: dict[tuple[str, str, str], list[Passage]] = {}
    for row in reader.rows(f"""
        SELECT annotator, audit_id, dimension, message_id, span_start, span_end, quote FROM label_events
        WHERE action = '{LabelAction.SPAN}' AND label_id NOT IN
            (SELECT supersedes FROM label_events WHERE supersedes IS NOT NULL)
        ORDER BY label_id
    """):
        passage = Passage(row["message_id"], row["span_start"], row["span_end"], row["quote"])
        spans.setdefault((row["annotator"], row["audit_id"], row["dimension"]), []).append(passage)
    found = [_given(row, spans) for row in rows]
    if judges:
        found += _judged(reader)
    return sorted(found, key=lambda g: (g.item, g.dimension, g.rater_kind, g.rater, g.sample))


def _given(row: Mapping[str, Any], spans: Mapping[tuple[str, str, str], list[Passage]]) -> Given:
    answer = Answer(row["score"], row["verdict"] and Verdict(row["verdict"]), row["choice"])
    return Given(
        item=row["audit_id"],
        dimension=row["dimension"],
        rater=row["annotator"],
        rater_kind=row["who"],
        value=str(answer) if answer else None,
        note=row["note"],
        seconds=row["seconds"],
        blind=row["blind"],
        created_at=row["created_at"].replace(tzinfo=UTC),
        rubric_hash=row["rubric_hash"],
        stratum=row["stratum"],
        inclusion_prob=row["inclusion_prob"],
        round=row["queue"],
        passages=tuple(spans.get((row["annotator"], row["audit_id"], row["dimension"]), ())),
    )


def _judged(reader: Reader) -> list[Given]:
    rows = reader.rows("""
        SELECT audit_id, dimension, judge, judge_repeat, judgement_status AS status, score, verdict FROM scores
        WHERE (audit_id, dimension) IN (SELECT (audit_id, dimension) FROM labels)
          AND judgement_status IN ('ok', 'unparsed')
    """)
    return [
        Given(
            item=row["audit_id"],
            dimension=row["dimension"],
            rater=row["judge"],
            rater_kind=RaterKind.JUDGE,
            value=row["verdict"] or (None if row["score"] is None else f"{row['score']:g}"),
            sample=row["judge_repeat"],
            blind=False,
        )
        for row in rows
    ]


def take_given(
    store: Store, given: Sequence[Given], questions: Mapping[str, Question], origin: str
) -> dict[str, int]:
    """Add other programs' labels to the raters' files; the same rows again add nothing.

    Args:
        store: the store.
        given: the rows.
        questions: what is asked, by dimension; of others the value tells the kind.
        origin: name of the file, kept as the labels' queue.

    Returns:
        By rater how many labels were added.

    Raises:
        InputError: a value is none of its question's; nothing is written then.
    """
    names = _file_names({row.rater for row in given})
    labels: dict[str, list[Label]] = {}
    for row in given:
        kept = msgspec.structs.replace(row, rater=names[row.rater])
        labels.setdefault(kept.rater, []).extend(_labels(kept, questions.get(row.dimension), origin))
    added: dict[str, int] = {}
    logs: list[tuple[LabelLog, list[Label]]] = []
    try:
        for rater, events in sorted(labels.items()):
            log = LabelLog(store, rater)
            logs.append((log, events))
        for log, events in logs:
            known = {event.label_id for event in log.events}
            new = [event for event in events if event.label_id not in known]
            if new:
                log.append(*new)
            added[log.annotator] = sum(event.action is not LabelAction.SPAN for event in new)
    finally:
        for log, _ in logs:
            log.close()
    return added


def _file_names(raters: set[str]) -> dict[str, str]:
    """Raters' names as label files can have them: models are called `lab/model`, people may have spaces.

    Raises:
        InputError: two names become one.
    """
    found: dict[str, str] = {}
    for rater in sorted(raters):
        name = re.sub(r"[^A-Za-z0-9_.@-]", "_", rater)[:64]
        name = name if name[:1].isalnum() else f"r{name}"[:64]
        if name in found.values():
            raise InputError(f"{rater!r} and another rater would both be called {name}: rename one of them.")
        found[rater] = name
    return found


def _labels(row: Given, question: Question | None, origin: str) -> Iterable[Label]:
    gold = row.rater_kind == GOLD
    answer = parse_value(row, question)
    action = LabelAction.ADJUDICATE if gold else LabelAction.LABEL if answer else LabelAction.SKIP
    shared: dict[str, Any] = {
        "annotator": row.rater,
        "audit_id": row.item,
        "dimension": row.dimension,
        "blind": row.blind,
        "queue": f"{IMPORTED}{origin}",
        "rubric_hash": row.rubric_hash or (question.hash if question else ""),
        "supersedes": None,
        "created_at": row.created_at or now(),
        "simulated": False,
        "purpose": RoundKind.ADJUDICATION if gold else RoundKind.MAIN,
        "rater_kind": RaterKind.HUMAN if gold else RaterKind(row.rater_kind),
        "verdict": None,
        "score": None,
        "stratum": row.stratum,
        "inclusion_prob": row.inclusion_prob,
        "seconds": row.seconds,
    }
    name = content_hash([origin, row.item, row.dimension, row.rater, row.sample, row.value])
    yield Label(
        label_id=f"import-{name}",
        action=action,
        message_id=None,
        span_start=None,
        span_end=None,
        note=row.note,
        reason="" if answer or gold else UNPARSED,
        repeat=row.sample if row.rater_kind == RaterKind.HUMAN else 0,
        **shared | {"score": answer.score, "verdict": answer.verdict, "choice": answer.choice},
    )
    for number, passage in enumerate(row.passages):
        yield Label(
            label_id=f"import-{name}-{number}",
            action=LabelAction.SPAN,
            message_id=passage.message_id,
            span_start=passage.start,
            span_end=passage.end,
            quote=passage.quote,
            note="",
            **shared,
        )


def parse_value(row: Given, question: Question | None) -> Answer:
    """A value as its question takes it, or as it looks where no question is known.

    Raises:
        InputError: it is none of the question's values.
    """
    value = row.value
    if value is None or value == "":
        return Answer()
    if question is not None:
        answer = Answer()
        if question.kind == "statement" and value.lower() in list(Verdict):
            answer = Answer(verdict=Verdict(value.lower()))
        elif question.kind == "choice":
            answer = Answer(choice=value)
        elif question.kind in ("rubric", "scale"):
            answer = Answer(score=_number(value))
        if not answer:
            raise InputError(f"Item {row.item}: {question.dimension} does not take {value!r}.")
        question.check(answer)
        return answer
    if row.choices and set(row.choices) != set(Verdict):
        if value not in row.choices:
            raise InputError(f"Item {row.item}: {value!r} is none of {', '.join(row.choices)}.")
        return Answer(choice=value)
    if value.lower() in list(Verdict):
        return Answer(verdict=Verdict(value.lower()))
    number = _number(value)
    return Answer(choice=value) if number is None else Answer(score=number)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < 1e9 else None

"""Where people differ, and the last word on it.

An adjudicator sees two blind answers with their evidence and without their names, and no judge.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from store.errors import InputError
from store.ids import new_id
from store.labels import label_files, read_labels
from store.questions import Answer, Question, band
from store.records import COUNTED, Label, LabelAction, RaterKind, RevealAt, Round, RoundItem, RoundKind, now
from store.rounds import RoundHead, find_round, read_round
from store.rubrics import newest, stale

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from store.store import Store

CAUSES = ("rubric_gap", "missed_evidence", "slip", "unclear_transcript", "values_differ", "other")
"""Why people differed."""
WIDE = 2.0
"""Scores that differ by this much and lie in different bands are in conflict."""


class Side(msgspec.Struct, frozen=True):
    """One of the answers that an adjudicator weighs; whose it is, is not said."""

    name: str
    """A, B, …"""
    answer: Answer
    note: str
    spans: list[Label]
    asked: str | None


class Conflict(msgspec.Struct, frozen=True):
    """A question on which people differ, or about which one of them asked."""

    audit_id: str
    dimension: str
    reason: str
    """`differ` or `asked`."""
    labels: list[Label]


def differ(question: Question, answers: Sequence[Answer]) -> bool:
    """Whether answers are so far apart that somebody has to decide."""
    if question.kind in ("statement", "choice"):
        return len(set(answers)) > 1
    scores = [answer.score for answer in answers if answer.score is not None]
    if len(scores) < 2:
        return False
    wide = max(scores) - min(scores) >= WIDE
    return wide and (question.kind == "scale" or band(min(scores)) != band(max(scores)))


def standing(events: Iterable[Label], round_id: str) -> list[Label]:
    """The events of a round that no later one takes back; of several answers to a question only the last."""
    mine = [event for event in events if event.queue == round_id and not event.repeat]
    gone = {event.supersedes for event in mine}
    last: dict[tuple[str, str, str], Label] = {}
    others: list[Label] = []
    for event in mine:
        if event.label_id in gone or event.action is LabelAction.RETRACT:
            continue
        if event.action in (LabelAction.LABEL, LabelAction.SKIP, LabelAction.ADJUDICATE):
            last[event.annotator, event.audit_id, event.dimension] = event
        else:
            others.append(event)
    return [*last.values(), *others]


def round_events(store: Store, round_id: str) -> list[Label]:
    """The standing events of everybody in a round."""
    found: list[Label] = []
    for path in label_files(store):
        found += standing(read_labels(path), round_id)
    return found


def conflicts(head: RoundHead, events: Sequence[Label]) -> list[Conflict]:
    """The questions of a round that need an adjudicator, in the order of their transcripts.

    Args:
        head: the round.
        events: what `round_events` gives.
    """
    answers: defaultdict[tuple[str, str], list[Label]] = defaultdict(list)
    asked: set[tuple[str, str]] = set()
    for event in events:
        key = event.audit_id, event.dimension
        if event.action is LabelAction.LABEL and event.rater_kind is RaterKind.HUMAN and event.blind:
            answers[key].append(event)
        elif event.action is LabelAction.ASK:
            asked.add(key)
    questions = {(q.dimension, q.hash): q for q in head.questions}
    found: list[Conflict] = []
    for key in sorted({*answers, *asked}):
        labels = answers[key]
        question = next((questions.get((key[1], label.rubric_hash)) for label in labels), None)
        if len(labels) > 1 and question and differ(question, [Answer.of(label) for label in labels]):
            found.append(Conflict(*key, "differ", labels))
        elif key in asked:
            found.append(Conflict(*key, "asked", labels))
    return found


def plan_adjudication(
    store: Store, name: str, adjudicators: Sequence[str], seed: int = 0
) -> tuple[Round, list[RoundItem]]:
    """A round that settles the conflicts of another one; those that are settled already are left out.

    Raises:
        InputError: there is no such round, or nothing to settle in it.
    """
    head = find_round(store, name)
    whole, pool = read_round(store, head.round_id)
    settled = {
        (event.audit_id, event.dimension)
        for path in label_files(store)
        for event in read_labels(path)
        if event.action is LabelAction.ADJUDICATE
    }
    open_ones = [
        conflict
        for conflict in conflicts(head, round_events(store, head.round_id))
        if (conflict.audit_id, conflict.dimension) not in settled
    ]
    if not open_ones:
        raise InputError(f"People agree in round {head.name}, or what they differ on is settled.")
    random.Random(seed).shuffle(open_ones)
    drawn = {item.audit_id: item for item in pool}
    dimensions: defaultdict[str, list[Conflict]] = defaultdict(list)
    for conflict in open_ones:
        dimensions[conflict.audit_id].append(conflict)
    round_id = new_id()
    items: list[RoundItem] = []
    for position, (audit_id, found) in enumerate(dimensions.items()):
        names = {conflict.dimension for conflict in found}
        items.append(
            msgspec.structs.replace(
                drawn[audit_id],
                round_id=round_id,
                tasks=[task for task in drawn[audit_id].tasks if task["dimension"] in names],
                position=position,
                stratum=found[0].reason,
                draw_rank=position + 1,
                inclusion_prob=None,
                assigned=list(adjudicators),
                again=[],
            )
        )
    made = msgspec.structs.replace(
        whole,
        round_id=round_id,
        name=f"{head.name}-adjudication",
        kind=RoundKind.ADJUDICATION,
        reveal=RevealAt.ITEM,
        annotators=list(adjudicators),
        per_item=1,
        overlap=0.0,
        relabel=0.0,
        seed=seed,
        frame={"conflicts": [len(items), len(items)]},
        follows=head.round_id,
        created_at=now(),
    )
    return made, items


def sides(store: Store, head: RoundHead, audit_id: str, dimension: str) -> list[Side]:
    """What the people of the round that `head` adjudicates said of one question, in an order that hides their names."""
    events = [
        event
        for event in round_events(store, head.follows)
        if (event.audit_id, event.dimension) == (audit_id, dimension)
    ]
    people = sorted({event.annotator for event in events if event.action is LabelAction.LABEL})
    random.Random(f"{head.seed}/{audit_id}/{dimension}").shuffle(people)
    found: list[Side] = []
    for number, person in enumerate(people):
        mine = [event for event in events if event.annotator == person]
        [label] = [event for event in mine if event.action is LabelAction.LABEL]
        spans = [msgspec.structs.replace(e, annotator="") for e in mine if e.action is LabelAction.SPAN]
        asked = [event.note for event in mine if event.action is LabelAction.ASK]
        found.append(
            Side(chr(ord("A") + number), Answer.of(label), label.note, spans, asked[-1] if asked else None)
        )
    return found


def plan_relabel(store: Store, name: str) -> tuple[Round, list[RoundItem]]:
    """A round in which people give the stale labels of another one again, blind and by today's text.

    Strata and probabilities are those of the first drawing: the new labels stand for what the old ones stood for.

    Raises:
        InputError: there is no such round, or none of its labels is stale.
    """
    head = find_round(store, name)
    if head.kind not in COUNTED:
        raise InputError(
            f"Round {head.name} is a round of {head.kind}: only main and solo rounds are labelled again."
        )
    whole, pool = read_round(store, head.round_id)
    labels = [e for e in round_events(store, head.round_id) if e.action is LabelAction.LABEL]
    questions = [newest(store, question) for question in head.questions]
    current = {question.hash for question in questions}
    again = {
        (event.annotator, event.audit_id, event.dimension)
        for path in label_files(store)
        for event in read_labels(path)
        if event.action is LabelAction.LABEL and event.rubric_hash in current
    }
    touched = [e for e in stale(store, labels) if (e.annotator, e.audit_id, e.dimension) not in again]
    if not touched:
        raise InputError(f"No label of round {head.name} was given by a text that has changed.")
    tasks: defaultdict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for label in touched:
        tasks[label.audit_id][label.dimension].add(label.annotator)
    round_id = new_id()
    items: list[RoundItem] = []
    for item in pool:
        if item.audit_id not in tasks:
            continue
        people = {person for names in tasks[item.audit_id].values() for person in names}
        items.append(
            msgspec.structs.replace(
                item,
                round_id=round_id,
                tasks=[task for task in item.tasks if task["dimension"] in tasks[item.audit_id]],
                position=len(items),
                assigned=sorted(people),
                again=[],
            )
        )
    made = msgspec.structs.replace(
        whole,
        round_id=round_id,
        name=f"{head.name}-again",
        annotators=sorted({label.annotator for label in touched}),
        relabel=0.0,
        questions=[msgspec.to_builtins(question) for question in questions],
        follows=head.round_id,
        created_at=now(),
    )
    return made, items

"""Where people are in their rounds, told from their files alone."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import msgspec

from store.acts import Past
from store.errors import InputError
from store.labels import label_files, read_labels
from store.records import LabelAction, RoundKind
from store.rounds import RoundHead, find_round, rounds
from store.sitting import Progress, Sitting

if TYPE_CHECKING:
    from store.store import Store

_PACE_OVER = 20


def choose_round(store: Store, annotator: str, name: str | None = None) -> RoundHead | None:
    """The round that a person labels: the one of that name, else their newest that they have not finished.

    Returns:
        None where no round waits for them.

    Raises:
        InputError: there is no round of that name, or it is not for this person.
    """
    mine = rounds(store, annotator)
    if name is not None:
        head = find_round(store, name)
        if head.round_id not in {one.round_id for one in mine}:
            raise InputError(f"Round {head.name} is for {', '.join(head.annotators)}, not for {annotator}.")
        return head
    for head in reversed(mine):
        progress = Sitting(store, head, _past(store, annotator)).progress()
        if progress.done < progress.total:
            return head
    return None


def hidden_round(store: Store, annotator: str) -> RoundHead | None:
    """The newest round in which a person has given labels whose items are still hidden.

    A process that opens with this person's name is blind from its beginning.
    """
    past = _past(store, annotator)
    begun = {event.queue for event in past.events}
    for head in reversed(rounds(store, annotator)):
        if head.round_id in begun and Sitting(store, head, past).blind:
            return head
    return None


def _past(store: Store, annotator: str) -> Past:
    paths = [path for path in label_files(store) if path.stem == annotator]
    return Past(annotator, [event for path in paths for event in read_labels(path)])


class RoundProgress(msgspec.Struct, frozen=True):
    """One person's progress in one round; `annotator` is empty where nobody has begun."""

    round_id: str
    name: str
    kind: RoundKind
    annotator: str
    progress: Progress


def all_progress(store: Store) -> list[RoundProgress]:
    """Everybody's progress in every round, oldest round first."""
    events = {path.stem: read_labels(path) for path in label_files(store)}
    found: list[RoundProgress] = []
    for head in rounds(store):
        begun = {name for name, acts in events.items() if any(e.queue == head.round_id for e in acts)}
        for name in sorted(begun | set(head.annotators)) or [""]:
            sitting = Sitting(store, head, Past(name, events.get(name, [])))
            found.append(RoundProgress(head.round_id, head.name, head.kind, name, sitting.progress()))
    return found


def usual_pace(store: Store, annotator: str) -> float | None:
    """Median seconds of a person's latest items, in whatever round; None for somebody new."""
    events = _past(store, annotator).events
    seconds = [e.seconds for e in events if e.action is LabelAction.LABEL and e.seconds]
    return median(seconds[-_PACE_OVER:]) if seconds else None

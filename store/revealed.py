"""What was hidden of an item, once its annotator may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from store.adjudication import round_events
from store.blind import HiddenError
from store.reader import Reader
from store.records import Judgement, Label, LabelAction, RoundItem
from store.rounds import read_round
from store.transcripts import read_records

if TYPE_CHECKING:
    from store.rounds import Assigned
    from store.sitting import Sitting
    from store.store import Store


class Revealed(msgspec.Struct, frozen=True):
    """What may be seen of one item after its reveal."""

    condition_id: str
    target_model: str
    judgements: list[Judgement]
    """Every answer of every judge on the item's questions, repeats included."""
    others: list[Label]
    """Blind labels of other people, on questions that this person has answered too."""
    drawn: RoundItem
    """Why it was queued: stratum, cause, parts, inclusion probability."""
    reported_judge: str


def revealed(store: Store, sitting: Sitting, item: Assigned) -> Revealed:
    """What was hidden of an item.

    Raises:
        HiddenError: it still is.
    """
    state = sitting.state(item)
    if not state.open_to_eyes:
        raise HiddenError("What judges and others say of this item")
    head, pool = read_round(store, sitting.head.round_id)
    dimensions = [task.dimension for task in item.tasks]
    reader = Reader(store)
    try:
        [audit] = reader.rows(
            "SELECT condition_id, target_model FROM audits WHERE audit_id = ?", [item.audit_id]
        )
        judgements = read_records(
            reader,
            Judgement,
            "audit_id = ? AND list_contains(?, dimension) ORDER BY dimension, judge, repeat",
            [item.audit_id, dimensions],
        )
    finally:
        reader.close()
    return Revealed(
        condition_id=audit["condition_id"],
        target_model=audit["target_model"],
        judgements=judgements,
        others=[label for label in _others(store, sitting, item) if label.dimension in state.answers],
        drawn=next(one for one in pool if one.audit_id == item.audit_id),
        reported_judge=head.reported_judge,
    )


def _others(store: Store, sitting: Sitting, item: Assigned) -> list[Label]:
    return [
        event
        for event in round_events(store, sitting.head.round_id)
        if event.audit_id == item.audit_id
        and event.annotator != sitting.log.annotator
        and event.action is LabelAction.LABEL
        and event.blind
    ]

"""How a person comes to a round: the one that waits for them, or one that is planned now. Everything here blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import InputError
from store.labels import LabelLog
from store.records import RevealAt, RoundKind
from store.round_progress import choose_round, hidden_round, usual_pace
from store.sitting import Sitting

if TYPE_CHECKING:
    from store.reader import Reader
    from store.round_plan import Plan, Wish
    from store.store import Store

KINDS = {
    "m": (RoundKind.MAIN, "main: for estimates, alone or with others; judges are shown at its end"),
    "s": (RoundKind.SOLO, "solo: for estimates, by you alone; judges are shown after each block"),
    "c": (RoundKind.CALIBRATION, "calibration: learn the rubric together; counts in no statistic"),
    "e": (RoundKind.EXPLORE, "explore: the most disputed ones; judges at once; counts in no statistic"),
}
"""Kinds of rounds that can be planned from the Label screen, by their keys."""


def hidden_sitting(store: Store, annotator: str) -> Sitting | None:
    """The round in which a person has given labels whose items are still hidden: a process of theirs is blind at once.

    Raises:
        InputError: the name cannot be used.
    """
    head = hidden_round(store, annotator)
    return None if head is None else Sitting(store, head, LabelLog(store, annotator, look=True))


def opened(store: Store, annotator: str, name: str | None) -> Sitting | None:
    """The round that a person labels, by its name or the one that waits for them; None if none does.

    Raises:
        InputError: there is no such round, it is not for this person, or another one has hidden items of theirs.
    """
    hidden = hidden_round(store, annotator)
    if hidden is not None and name not in (None, hidden.name, hidden.round_id):
        raise InputError(
            f"Items that {annotator} has labelled in {hidden.name} are still hidden: label it to its next reveal first."
        )
    head = hidden or choose_round(store, annotator, name)
    return None if head is None else Sitting(store, head, LabelLog(store, annotator, look=True))


def planned(store: Store, reader: Reader, kind: RoundKind, annotator: str) -> tuple[Plan, str]:
    """A round that is not written yet, and what it means for the person.

    Raises:
        InputError: nothing has been judged yet, or nothing is left to label.
    """
    from store.round_plan import Wish

    alone = (annotator,) if kind is RoundKind.SOLO else ()
    return _told(store, reader, Wish(kind=kind, annotators=alone), annotator)


def planned_of(
    store: Store, reader: Reader, study_id: str, where: str, size: int, annotator: str
) -> tuple[Plan, str]:
    """As `planned`, an exploring round of `size` audits that the person has picked, which `where` tells.

    What is picked counts in no statistic.

    Raises:
        InputError: none of them has been judged.
    """
    from store.round_plan import Wish

    kind = RoundKind.EXPLORE
    wish = Wish(kind=kind, study_id=study_id, where=where, size=size, annotators=(annotator,))
    return _told(store, reader, wish, annotator)


def _told(store: Store, reader: Reader, wish: Wish, annotator: str) -> tuple[Plan, str]:
    from store.round_plan import plan_round

    plan = plan_round(store, reader, wish)
    head, pace = plan.head, usual_pace(store, annotator)
    shown = "at its end" if head.reveal is RevealAt.ROUND else f"after each {head.reveal}"
    return plan, (
        f"{head.name}: {len(plan.drawn)} of {len(plan.items)} transcripts, about {plan.hours(annotator, pace):.1f} "
        f"hours {'at your pace' if pace else 'at 240 words a minute'}; judges are shown {shown}."
    )


def save_plan(store: Store, plan: Plan) -> None:
    """Write a planned round."""
    from store.rounds import save_round

    store.migrate()
    save_round(store, plan.head, plan.items)

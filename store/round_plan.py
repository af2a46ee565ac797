"""Plans a round of labelling: freezes a pool, ranks it by disagreement, draws from it and hands the items out."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from store.disagreement import RANKER, Ranked
from store.errors import InputError
from store.ids import content_hash, new_id
from store.latest import latest_study
from store.questions import Question, band, study_questions
from store.records import (
    RevealAt,
    Round,
    RoundItem,
    RoundKind,
    now,
)
from store.round_pool import Unit, Wish, read_pool
from store.rounds import EVERYBODY
from store.rubrics import newest
from store.sampling import queue, shares, shuffled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from store.reader import Reader
    from store.store import Store

REVEALS = {
    RoundKind.CALIBRATION: RevealAt.BLOCK,
    RoundKind.MAIN: RevealAt.ROUND,
    RoundKind.ADJUDICATION: RevealAt.ITEM,
    RoundKind.SOLO: RevealAt.BLOCK,
    RoundKind.EXPLORE: RevealAt.ITEM,
}
SIZES = {RoundKind.CALIBRATION: 12, RoundKind.MAIN: 40, RoundKind.SOLO: 40, RoundKind.EXPLORE: 40}
WORDS_A_MINUTE = 240
SECONDS_A_QUESTION = 8.0
_LETTERS_A_WORD = 6


class Plan(msgspec.Struct, frozen=True):
    """A round that has not been written yet."""

    head: Round
    items: list[RoundItem]
    """The whole pool; the drawn ones have a position."""
    words: int
    """Of the drawn transcripts."""

    @property
    def drawn(self) -> list[RoundItem]:
        """The drawn items in the order of the queue."""
        return sorted((i for i in self.items if i.position is not None), key=lambda i: i.position or 0)

    def hours(self, annotator: str, pace: float | None = None) -> float:
        """Time that it will take a person, at `pace` seconds an item or, without one, at a reader's speed."""
        mine = [item for item in self.drawn if not item.assigned or annotator in item.assigned]
        count = len(mine) + sum(annotator in item.again or EVERYBODY in item.again for item in mine)
        if pace is not None:
            return count * pace / 3600
        each = self.words / max(len(self.drawn), 1) / WORDS_A_MINUTE * 60
        asked = sum(len(item.tasks) for item in mine) / max(len(mine), 1)
        return count * (each + asked * SECONDS_A_QUESTION) / 3600


def plan_round(store: Store, reader: Reader, wish: Wish) -> Plan:
    """Plan a round; nothing is written.

    Raises:
        InputError: the pool is empty, or the wish contradicts itself.
    """
    _check(wish)
    study_id = wish.study_id or latest_study(reader.arrow)
    judges, pool = read_pool(reader, study_id, wish)
    questions = _questions(store, reader, study_id, wish, pool)
    strata = _strata(wish.kind, pool)
    order = shuffled(strata, wish.seed)
    size = wish.size or SIZES[wish.kind]
    drawn, taken = _draw(wish.kind, pool, order, size)
    rng = random.Random(f"{wish.seed}/hand-out")
    assigned = _hand_out(len(drawn), list(wish.annotators), wish, rng)
    again = (
        set(rng.sample(range(len(drawn)), round(wish.relabel * len(drawn)))) if _repeats(wish) else set[int]()
    )
    aliases = _aliases([unit.condition for unit in pool], wish.seed)
    place = {member: position for position, member in enumerate(drawn)}
    round_id = new_id()
    by_chance = wish.kind in (RoundKind.MAIN, RoundKind.SOLO)
    items: list[RoundItem] = []
    for name, members in order.items():
        for rank, member in enumerate(members, start=1):
            unit, position = pool[member], place.get(member)
            top = max(unit.ranked, key=lambda r: (r.priority, sum(r.parts.values())), default=_NOTHING)
            items.append(
                RoundItem(
                    round_id=round_id,
                    audit_id=unit.audit_id,
                    mode=unit.mode,
                    tasks=[{"dimension": dimension, "kind": kind} for dimension, kind in unit.tasks],
                    position=position,
                    stratum=name,
                    draw_rank=rank,
                    inclusion_prob=taken[name] / len(members) if by_chance else None,
                    priority=top.priority,
                    cause=top.cause,
                    parts=top.parts,
                    alias=aliases[unit.condition],
                    assigned=[] if position is None else assigned[position],
                    again=[EVERYBODY] if position in again else [],
                    simulated=unit.simulated,
                )
            )
    number = len(list((store.root / "labels" / "rounds").glob("*.jsonl"))) + 1
    head = Round(
        round_id=round_id,
        name=wish.name or f"{wish.kind}-{number}",
        kind=wish.kind,
        reveal=wish.reveal or REVEALS[wish.kind],
        block=wish.block,
        study_id=study_id,
        dimensions=sorted({question.dimension for question in questions}),
        modes=sorted({unit.mode for unit in pool}),
        condition=wish.where,
        annotators=list(wish.annotators),
        per_item=wish.per_item,
        overlap=wish.overlap,
        relabel=wish.relabel if _repeats(wish) else 0.0,
        relabel_after_days=wish.relabel_after_days,
        seed=wish.seed,
        ranker=RANKER,
        reported_judge=judges[0] if judges else "",
        frame={name: [len(members), taken[name]] for name, members in order.items()},
        frame_hash=content_hash([msgspec.to_builtins(unit) for unit in pool]),
        questions=[msgspec.to_builtins(question) for question in questions],
        follows="",
        created_at=now(),
        simulated=any(unit.simulated for unit in pool),
    )
    return Plan(head, items, _words(reader, [pool[member].audit_id for member in drawn]))


_NOTHING = Ranked(0.0, "", {}, "")


def _check(wish: Wish) -> None:
    if wish.kind is RoundKind.ADJUDICATION:
        raise InputError("An adjudication is planned from the round that it is about: give --of ROUND.")
    if wish.kind is RoundKind.SOLO and len(wish.annotators) > 1:
        raise InputError("A solo round is for one annotator; several label a main round.")
    if (wish.size or 1) < 1 or wish.block < 1:
        raise InputError("A round has at least one item, and so has a block.")
    for name, share in (("overlap", wish.overlap), ("relabel", wish.relabel)):
        if not 0 <= share <= 1:
            raise InputError(f"--{name} is a share from 0 to 1, not {share:g}.")


def _repeats(wish: Wish) -> bool:
    return wish.kind in (RoundKind.MAIN, RoundKind.SOLO)


def _questions(
    store: Store, reader: Reader, study_id: str, wish: Wish, pool: Sequence[Unit]
) -> list[Question]:
    [row] = reader.rows(
        "SELECT resolved->'$.preferences' AS p FROM studies WHERE study_id = ? LIMIT 1", [study_id]
    )
    known = study_questions(msgspec.json.decode(row["p"]))
    taken = {dimension for dimension, _ in known}
    if clash := next((q.dimension for q in wish.schema if q.dimension in taken), None):
        raise InputError(f"The label {clash} has the name of a dimension of the study: give it another.")
    known |= {(question.dimension, question.kind): question for question in wish.schema}
    asked = dict.fromkeys(task for unit in pool for task in unit.tasks)
    return [newest(store, known[task]) for task in sorted(asked) if task in known]


def _strata(kind: RoundKind, pool: Sequence[Unit]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for member, unit in enumerate(pool):
        if kind is RoundKind.CALIBRATION:
            name = "no score" if unit.reported is None else f"band {band(unit.reported) + 1}"
        else:
            names = {ranked.stratum for ranked in unit.ranked}
            name = next((name for name in ("disputed", "unsure") if name in names), "agreed")
        found[name].append(member)
    return dict(sorted(found.items()))


def _draw(
    kind: RoundKind, pool: Sequence[Unit], order: Mapping[str, Sequence[int]], size: int
) -> tuple[list[int], dict[str, int]]:
    """The drawn members in the order of the queue, and how many come from each stratum."""
    if kind is RoundKind.EXPLORE:
        ranked = sorted(
            (member for members in order.values() for member in members),
            key=lambda m: -max((r.priority for r in pool[m].ranked), default=0.0),
        )[:size]
        return ranked, {name: len(set(members) & set(ranked)) for name, members in order.items()}
    if kind is RoundKind.CALIBRATION:
        taken = dict.fromkeys(order, 0)
        for _ in range(min(size, len(pool))):
            name = min((n for n in order if taken[n] < len(order[n])), key=lambda n: taken[n])
            taken[name] += 1
    else:
        taken = shares({name: len(members) for name, members in order.items()}, size)
    return queue(order, taken), taken


def _hand_out(count: int, annotators: list[str], wish: Wish, rng: random.Random) -> list[list[str]]:
    """Who labels each drawn item: as evenly as can be; nobody is named where everybody labels it."""
    several = min(wish.per_item, len(annotators))
    if wish.kind is RoundKind.CALIBRATION or not annotators or several == len(annotators) == 1:
        return [[] for _ in range(count)]
    shared = set(rng.sample(range(count), round(wish.overlap * count)))
    load = dict.fromkeys(annotators, 0)
    found: list[list[str]] = []
    for position in range(count):
        free = sorted(annotators, key=lambda name: (load[name], rng.random()))
        chosen = free[: several if position in shared else 1]
        for name in chosen:
            load[name] += 1
        found.append(sorted(chosen))
    return found


def _aliases(conditions: Sequence[str], seed: int) -> dict[str, str]:
    names = sorted(set(conditions))
    random.Random(f"{seed}/aliases").shuffle(names)
    return {name: f"T-{number:02}" for number, name in enumerate(names, start=1)}


def _words(reader: Reader, audit_ids: list[str]) -> int:
    [row] = reader.rows(
        "SELECT coalesce(sum(length(text)), 0) AS letters FROM transcripts WHERE list_contains(?, audit_id)",
        [audit_ids],
    )
    return int(row["letters"]) // _LETTERS_A_WORD

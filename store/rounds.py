"""Rounds of labelling: which transcripts, in which order for whom, and nothing that a blind annotator may not know.

A round is one file that is written once, when it is planned; copies of a store that are merged exchange whole files.
What people do in it is in their own label files: their events name the round as their `queue`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

import msgspec

from store import layout
from store.errors import InputError
from store.journal import encode_row
from store.questions import Question
from store.records import Mode, RevealAt, Round, RoundItem, RoundKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from store.store import Store

EVERYBODY = "*"
REPEAT_GAP = 20
"""Items that lie at least between an item and its blind repeat, where a round is long enough."""

_T = TypeVar("_T")


class RoundHead(msgspec.Struct, frozen=True):
    """What an annotator may know of a round."""

    round_id: str
    name: str
    kind: RoundKind
    reveal: RevealAt
    block: int
    study_id: str
    annotators: list[str]
    seed: int
    relabel_after_days: float
    questions: list[Question]
    follows: str
    simulated: bool

    def question(self, dimension: str, kind: str) -> Question:
        """The question as the round asks it."""
        return next(q for q in self.questions if (q.dimension, q.kind) == (dimension, kind))


class Task(msgspec.Struct, frozen=True):
    """One question about one transcript."""

    dimension: str
    kind: str


class Assigned(msgspec.Struct, frozen=True):
    """An item as its annotator may see it: neither stratum nor cause nor condition."""

    audit_id: str
    mode: Mode
    tasks: list[Task]
    alias: str
    """Stands for the condition: T-01, T-02, …"""
    repeat: int
    """1 where the annotator has met this transcript before in the round."""
    index: int
    """Place in the annotator's own order."""
    block: int

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other items of its annotator."""
        return self.audit_id, self.repeat


class _BlindItem(msgspec.Struct, frozen=True):
    audit_id: str
    mode: Mode
    tasks: list[Task]
    position: int | None
    alias: str
    assigned: list[str]
    again: list[str]


def save_round(store: Store, head: Round, items: Sequence[RoundItem]) -> Path:
    """Write a planned round; from then on it is never changed."""
    path = store.root / layout.ROUNDS / f"{head.round_id}.jsonl"
    layout.make_folder(path.parent)
    rows = (head, *items)
    layout.replace_file(path, b"".join(encode_row(n, row) + b"\n" for n, row in enumerate(rows, start=1)))
    return path


def rounds(store: Store, annotator: str | None = None) -> list[RoundHead]:
    """The rounds of a store, oldest first; those in which `annotator` takes part, if one is named."""
    folder = store.root / layout.ROUNDS
    found = [_head(path, RoundHead) for path in sorted(folder.glob("*.jsonl"))]
    return [
        head for head in found if annotator is None or not head.annotators or annotator in head.annotators
    ]


def find_round(store: Store, name: str) -> RoundHead:
    """The newest round of that name or id.

    Raises:
        InputError: there is none.
    """
    found = [head for head in rounds(store) if name in (head.name, head.round_id)]
    if not found:
        raise InputError(f"There is no round {name!r}: `cc-tui label rounds` lists them.")
    return found[-1]


def read_round(store: Store, round_id: str) -> tuple[Round, list[RoundItem]]:
    """A whole round, with all that its annotators may not know while they label."""
    path = _path(store, round_id)
    return _head(path, Round), list(_items(path, RoundItem))


def assigned(store: Store, round_id: str, annotator: str) -> list[Assigned]:
    """A person's items, in that person's own order.

    Items come block by block, so that people who stop early have labelled the same ones; within a block each person
    has another order. Blind repeats come at least `REPEAT_GAP` items later, at the end of a round that is too short
    for that, and in a solo round always at the end.
    """
    path = _path(store, round_id)
    head = _head(path, RoundHead)
    mine = [
        item
        for item in _items(path, _BlindItem)
        if item.position is not None and (not item.assigned or annotator in item.assigned)
    ]
    mine.sort(key=lambda item: item.position or 0)
    rng = random.Random(f"{head.seed}/{round_id}/{annotator}")
    order: list[tuple[_BlindItem, int]] = []
    for start in range(0, len(mine), head.block):
        block = mine[start : start + head.block]
        rng.shuffle(block)
        order += [(item, 0) for item in block]
    again = [item for item, _ in order if annotator in item.again or EVERYBODY in item.again]
    if head.kind is RoundKind.SOLO:
        rng.shuffle(again)
        order += [(item, 1) for item in again]
    else:
        for item in again:
            first = order.index((item, 0))
            at = rng.randint(min(first + 1 + REPEAT_GAP, len(order)), len(order))
            order.insert(at, (item, 1))
    return [
        Assigned(item.audit_id, item.mode, item.tasks, item.alias, repeat, index, index // head.block)
        for index, (item, repeat) in enumerate(order)
    ]


def _path(store: Store, round_id: str) -> Path:
    path = store.root / layout.ROUNDS / f"{round_id}.jsonl"
    if not round_id.isalnum() or not path.is_file():
        raise InputError(f"There is no round {round_id!r}: `cc-tui label rounds` lists them.")
    return path


def _head(path: Path, shape: type[_T]) -> _T:
    with path.open("rb") as file:
        return _decoded(path, 1, file.readline(), Round.table, shape)


def _items(path: Path, shape: type[_T]) -> Iterator[_T]:
    with path.open("rb") as file:
        next(file, None)
        for number, line in enumerate(file, start=2):
            yield _decoded(path, number, line, RoundItem.table, shape)


def _decoded(path: Path, number: int, line: bytes, table: str, shape: type[_T]) -> _T:
    try:
        # Fields that the shape lacks, such as the stratum, are passed over and never become part of the process.
        row = msgspec.json.decode(line, type=dict[str, msgspec.Raw])[table]
        return msgspec.json.decode(row, type=shape)
    except (msgspec.DecodeError, KeyError) as error:
        raise InputError(f"{path}, line {number} is no part of a round: {error}.") from None

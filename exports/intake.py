"""Other programs' transcripts as a study of the store, on the same road as our own.

A file that cannot be read is counted and named, never dropped in silence; a score that is none is a status.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from exports.incoming_rows import Slot, audit_rows, value_of
from store.ids import content_hash, new_id
from store.records import (
    Condition,
    Item,
    JudgementKind,
    JudgementStatus,
    Run,
    Study,
    now,
)
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exports.incoming import Incoming
    from store.records import Record
    from store.store import Store

_BATCH = 50


class Taken(msgspec.Struct, frozen=True):
    """What an import did."""

    study_id: str
    imported: int
    there: int
    """Conversations that the store had already."""
    unscored: int
    """Judgements without a value."""


def take_in(
    store: Store, name: str, incoming: Sequence[Incoming], preferences: Sequence[dict[str, Any]] = ()
) -> Taken:
    """Write conversations as one study; a second time nothing is added.

    Args:
        store: where to.
        name: of the study.
        incoming: its conversations; at least one.
        preferences: what is known of some of its dimensions, in the form of a resolved study's preferences.

    Raises:
        StoreError: the disk refused; importing again adds what is missing.
    """
    from store.reader import Reader

    study = _Study(name, incoming, preferences)
    reader = Reader(store)
    try:
        rows = reader.rows("SELECT slot_id FROM audits WHERE study_id = ?", [study.study_id])
        known = reader.rows("SELECT 1 FROM studies WHERE study_id = ?", [study.study_id])
    finally:
        reader.close()
    there = {row["slot_id"] for row in rows}
    fresh = [one for one in incoming if study.slot_id(one) not in there]
    if fresh:
        _write(store, study, fresh, planned=bool(known))
    unscored = sum(value_of(score)[0] is not JudgementStatus.OK for one in fresh for score in one.scores)
    return Taken(study.study_id, len(fresh), len(incoming) - len(fresh), unscored)


def _write(store: Store, study: _Study, fresh: Sequence[Incoming], *, planned: bool) -> None:
    run = Run(
        run_id=new_id(),
        study_id=study.study_id,
        revision=0,
        status="running",
        planned=len(study.incoming),
        started_at=now(),
        ended_at=None,
        versions={},
        git_commit=None,
        config={"imported": sorted({one.form for one in fresh if one.form})},
        simulated=study.simulated,
    )
    journal = store.journal(study.study_id, run.run_id)
    try:
        rows: list[Record] = [run] if planned else [*study.plan(), run]
        journal.append(rows).result()
        for start in range(0, len(fresh), _BATCH):
            batch = [row for one in fresh[start : start + _BATCH] for row in study.rows(one, run.run_id)]
            journal.append(batch).result()
        ended = msgspec.structs.replace(run, revision=1, status="finished", ended_at=now())
        journal.append([ended]).result()
    finally:
        journal.close()


class _Place(NamedTuple):
    """Where a conversation stands in the plan."""

    launch_index: int
    item_id: str
    repeat: int


class _Study:
    """The plan that a set of conversations would have had."""

    def __init__(
        self, name: str, incoming: Sequence[Incoming], preferences: Sequence[dict[str, Any]]
    ) -> None:
        self.incoming = incoming
        self.simulated = any(one.simulated for one in incoming)
        self._name = name
        known = {preference["id"] for preference in preferences}
        rest = [preference for preference in _preferences(incoming) if preference["id"] not in known]
        self._preferences = [*preferences, *rest]
        named = [preference["id"] for preference in self._preferences]
        self._items: dict[str, Item] = {}
        self._places: dict[str, _Place] = {}
        counts: Counter[tuple[str, str]] = Counter()
        self.study_id = content_hash(["import", name, sorted(one.key for one in incoming), self._preferences])
        for index, one in enumerate(sorted(incoming, key=lambda one: one.key)):
            tags = [tag for tag in one.tags if tag in named] or named
            item_id = content_hash([one.mode, one.seed, tags])
            repeat = counts[one.condition, item_id]
            counts[one.condition, item_id] += 1
            self._places[one.key] = _Place(index, item_id, repeat)
            if item_id not in self._items:
                label = f"{tags[0] if len(tags) == 1 else one.mode}/{len(self._items) + 1}"
                self._items[item_id] = self._item(item_id, one, tags, label)
        most = {item_id: max(n for (_, i), n in counts.items() if i == item_id) for item_id in self._items}
        self._items = {i: msgspec.structs.replace(item, repeats=most[i]) for i, item in self._items.items()}

    def _item(self, item_id: str, one: Incoming, tags: list[str], label: str) -> Item:
        return Item(
            study_id=self.study_id,
            item_id=item_id,
            mode=one.mode,
            text=storable(one.seed),
            preferences=tags,
            label=label,
            repeats=0,
            position=len(self._items),
        )

    def slot_id(self, one: Incoming) -> str:
        """The place in the plan that this very conversation fills."""
        return content_hash([self.study_id, one.key])

    def plan(self) -> list[Record]:
        """Study, conditions and items."""
        judges = dict.fromkeys(score.judge or one.judge for one in self.incoming for score in one.scores)
        resolved = {
            "imported": sorted({one.form for one in self.incoming}),
            "preferences": self._preferences,
            "judges": [{"model": judge} for judge in judges],
        }
        study = Study(
            study_id=self.study_id,
            name=self._name,
            pack="imported",
            pack_hash=content_hash(self._preferences),
            resolved=resolved,
            simulated=self.simulated,
            created_at=now(),
        )
        conditions = {one.condition: one for one in reversed(self.incoming)}
        rows = [
            Condition(
                study_id=self.study_id,
                condition_id=name,
                content_hash=content_hash([name, one.model]),
                model=one.model,
                system_prompt=None,
                role=one.role,
                recipe=name,
                training_seed=None,
                position=position,
                simulated=one.simulated,
            )
            for position, (name, one) in enumerate(reversed(conditions.items()))
        ]
        return [study, *rows, *self._items.values()]

    def rows(self, one: Incoming, run_id: str) -> list[Record]:
        """Everything about one conversation."""
        place = self._places[one.key]
        return audit_rows(one, run_id, Slot(self.study_id, self.slot_id(one), *place))


def _preferences(incoming: Sequence[Incoming]) -> list[dict[str, Any]]:
    """The dimensions that were judged, as far as the files tell what these are; without any, the tags."""
    found: dict[str, str] = {}
    for one in incoming:
        for score in one.scores:
            if score.kind is JudgementKind.COHERENCE:
                continue
            found[score.dimension] = found.get(score.dimension) or one.rubrics.get(score.dimension, "")
    found = found or dict.fromkeys((tag for one in incoming for tag in one.tags), "")
    return [
        {
            "id": name,
            "title": name.replace("_", " "),
            "definition": storable(rubric) or name.replace("_", " "),
            "statement": "",
            "rubric": {"bands": {}, "counts": [], "does_not_count": []},
        }
        for name, rubric in found.items()
    ]

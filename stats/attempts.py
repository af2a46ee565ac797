"""A study's audits as arrays: attempts at the slots of its plan, and how each slot fared."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from store.parquet import quoted
from store.records import OPEN, AuditStatus, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from stats.variance import Codes

    Bools = npt.NDArray[np.bool_]

_MODES = list(Mode)
_STATUSES = sorted(AuditStatus)
"""In the order of their names: of several failures of a slot the first stands for all."""
_CODES = ("slot", "launch", "condition", "item", "mode", "status")
_FLAGS = ("intervened", "labelled", "ungated")


@dataclass(frozen=True, eq=False)
class Attempts:
    """The audits of a study; the arrays have one entry per audit, which is one attempt at a slot."""

    audits: list[str]
    """Their ids."""
    slot_ids: list[str]
    """The ids behind `slot`."""
    slot: Codes
    launch: Codes
    """Place of the slot in the order of launch; -1 for none."""
    condition: Codes
    """Index into the study's conditions."""
    item: Codes
    """Index into the study's items; -1 for one that the plan has replaced."""
    mode: Codes
    """Index into `Mode`."""
    status: Codes
    """Index into the statuses in the order of their names."""
    intervened: Bools
    labelled: Bools
    ungated: Bools
    """Not seen by the validity gate: of older stores, or imported."""

    def of_status(self, *statuses: AuditStatus) -> Bools:
        """The attempts that are in one of these states."""
        return np.isin(self.status, [_STATUSES.index(status) for status in statuses])

    @cached_property
    def ok(self) -> Bools:
        """Those with a conversation that can be judged."""
        return self.of_status(AuditStatus.OK)

    @cached_property
    def ended(self) -> Bools:
        """Those that ended, however."""
        return ~self.of_status(*OPEN)

    def slots(self, chosen: Bools) -> dict[tuple[Mode, int], int]:
        """By mode and condition, how many slots of the present plan have an attempt among the chosen ones."""
        there = np.zeros(len(self.slot_ids), bool)
        there[self.slot[chosen & (self.item >= 0)]] = True
        counts = np.bincount(self._cell[there])
        return {
            (_MODES[code % len(_MODES)], code // len(_MODES)): count
            for code, count in enumerate(counts.tolist())
            if count
        }

    @cached_property
    def _cell(self) -> Codes:
        """A code of condition and mode for each slot."""
        cell = np.zeros(len(self.slot_ids), np.intp)
        cell[self.slot] = self.condition * len(_MODES) + self.mode
        return cell

    @cached_property
    def failed(self) -> list[tuple[int, int, str, int]]:
        """Slots of the present plan of which no attempt is valid or still open: condition, item, status and count.

        Of several failed attempts, the status that comes first by name stands for all.
        """
        hopeful = np.zeros(len(self.slot), bool)
        hopeful[self.slot[self.ok | ~self.ended]] = True
        lost = np.flatnonzero(~hopeful[self.slot] & (self.item >= 0))
        if not len(lost):
            return []
        lost = lost[np.lexsort((self.status[lost], self.slot[lost]))]
        _, first = np.unique(self.slot[lost], return_index=True)
        chosen = lost[first]
        rows = np.stack([self.condition[chosen], self.item[chosen], self.status[chosen]])
        found, counts = np.unique(rows, axis=1, return_counts=True)
        return [
            (condition, item, _STATUSES[status], count)
            for (condition, item, status), count in zip(found.T.tolist(), counts.tolist(), strict=True)
        ]

    @cached_property
    def at(self) -> dict[str, int]:
        """By an audit's id its index."""
        return {audit: k for k, audit in enumerate(self.audits)}

    def places(self, audits: Any) -> Codes:
        """For each id of a column of audits the index of its attempt; -1 for none."""
        return _places(audits, self.at)

    def taking_in(self, rows: pa.Table, conditions: Sequence[str], items: Sequence[str]) -> Attempts:
        """These attempts and those of `rows`, which stand in the place of what was known of them."""
        audits: list[str] = rows["audit_id"].to_pylist()  # pyright: ignore[reportAssignmentType]
        new = [audit for audit in audits if audit not in self.at]
        every = [*self.audits, *new]
        place = self.at | dict(zip(new, itertools.count(len(self.audits))))
        slot, names = coded(rows["slot_id"])
        slot_ids = list(dict.fromkeys([*self.slot_ids, *names]))
        read: dict[str, npt.NDArray[Any]] = {
            "slot": _found(names, _index(slot_ids))[slot],
            "launch": rows["launch"].to_numpy(),
            "condition": _places(rows["condition_id"], _index(conditions)),
            "item": _places(rows["item_id"], _index(items)),
            "mode": _places(rows["mode"], _index(_MODES)),
            "status": _places(rows["status"], _index(_STATUSES)),
            **{name: rows[name].to_numpy() for name in _FLAGS},
        }
        where = _found(audits, place)
        if not new and all(np.array_equal(getattr(self, name)[where], read[name]) for name in read):
            # What was worked out of these attempts is still right.
            return self
        columns = {name: _put(getattr(self, name), len(every), where, read[name]) for name in read}
        return Attempts(audits=every, slot_ids=slot_ids, **columns)


NONE = Attempts(
    audits=[],
    slot_ids=[],
    **{name: np.empty(0, np.intp) for name in _CODES},
    **{name: np.empty(0, bool) for name in _FLAGS},
)
"""No attempts."""


def read_attempts(query: Callable[[str], pa.Table], study_id: str) -> pa.Table:
    """The rows of a study's audits, for `Attempts.taking_in`.

    Args:
        query: runs a statement on the store's views.
        study_id: the study.
    """
    return query(f"""
        SELECT audit_id, slot_id, coalesce(launch_index, -1) AS launch, condition_id, item_id, mode, status,
               intervened, gate = '' AS ungated, audit_id IN (SELECT audit_id FROM labels) AS labelled
        FROM audits WHERE study_id = {quoted(study_id)}
    """)


def coded(column: Any) -> tuple[Codes, list[str]]:
    """Codes (-1 for null) and labels of a text column."""
    encoded = column.cast("string").combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy().astype(np.intp), encoded.dictionary.to_pylist()


def _places(column: Any, place: Mapping[str, int]) -> Codes:
    """For each name of a column its place, -1 for an unknown one."""
    codes, names = coded(column)
    return _found(names, place)[codes]


def _found(names: Sequence[str], place: Mapping[str, int]) -> Codes:
    return np.array([place.get(name, -1) for name in names], np.intp)


def _index(names: Sequence[str]) -> dict[str, int]:
    return {name: k for k, name in enumerate(names)}


def _put(old: npt.NDArray[Any], size: int, where: Codes, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy of an array, made longer, with other values at some places."""
    longer = np.concatenate([old, np.zeros(size - len(old), old.dtype)])
    longer[where] = values
    return longer

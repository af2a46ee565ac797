"""A study's audits as arrays: attempts at the slots of its plan, and how each slot fared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from store.parquet import quoted
from store.records import OPEN, AuditStatus, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from stats.variance import Codes

    Bools = npt.NDArray[np.bool_]

_MODES = list(Mode)


@dataclass(frozen=True, eq=False)
class Attempts:
    """The audits of a study; the arrays have one entry per audit, which is one attempt at a slot."""

    audits: list[str]
    """Their ids."""
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
    statuses: list[str]
    """The names behind `status`, in their order."""
    intervened: Bools
    labelled: Bools
    ungated: Bools
    """Not seen by the validity gate: of older stores, or imported."""

    def of_status(self, *statuses: AuditStatus) -> Bools:
        """The attempts that are in one of these states."""
        chosen = [code for code, name in enumerate(self.statuses) if name in statuses]
        return np.isin(self.status, chosen)

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
        there = chosen & (self.item >= 0)
        _, first = np.unique(self.slot[there], return_index=True)
        rows = np.stack([self.mode[there][first], self.condition[there][first]])
        found, counts = np.unique(rows, axis=1, return_counts=True)
        return {
            (_MODES[mode], condition): count
            for (mode, condition), count in zip(found.T.tolist(), counts.tolist(), strict=True)
        }

    @cached_property
    def failed(self) -> list[tuple[int, int, str, int]]:
        """Slots of the present plan of which no attempt is valid or still open: condition, item, status and count.

        Of several failed attempts, the status that comes first by name stands for all.
        """
        hopeful = np.zeros(len(self.slot), bool)
        hopeful[self.slot[self.ok | ~self.ended]] = True
        lost = np.flatnonzero(~hopeful[self.slot] & (self.item >= 0))
        lost = lost[np.lexsort((self.status[lost], self.slot[lost]))]
        _, first = np.unique(self.slot[lost], return_index=True)
        chosen = lost[first]
        rows = np.stack([self.condition[chosen], self.item[chosen], self.status[chosen]])
        found, counts = np.unique(rows, axis=1, return_counts=True)
        return [
            (condition, item, self.statuses[status], count)
            for (condition, item, status), count in zip(found.T.tolist(), counts.tolist(), strict=True)
        ]

    def places(self, audits: Any) -> Codes:
        """For each id of a column of audits the index of its attempt; -1 for none."""
        return _places(audits, self.audits)


def read_attempts(
    query: Callable[[str], pa.Table], study_id: str, conditions: Sequence[str], items: Sequence[str]
) -> Attempts:
    """Read the audits of a study.

    Args:
        query: runs a statement on the store's views.
        study_id: the study.
        conditions: ids of its conditions.
        items: ids of the items of its present plan.
    """
    rows = query(f"""
        SELECT audit_id, slot_id, coalesce(launch_index, -1) AS launch, condition_id, item_id, mode, status,
               intervened, gate = '' AS ungated, audit_id IN (SELECT audit_id FROM labels) AS labelled
        FROM audits WHERE study_id = {quoted(study_id)}
    """)
    status, names = coded(rows["status"])
    # Of several failures of a slot the first by name stands for all.
    statuses = sorted(names)
    audits: list[str] = rows["audit_id"].to_pylist()  # pyright: ignore[reportAssignmentType]
    return Attempts(
        audits=audits,
        slot=coded(rows["slot_id"])[0],
        launch=rows["launch"].to_numpy().astype(np.intp),
        condition=_places(rows["condition_id"], conditions),
        item=_places(rows["item_id"], items),
        mode=_places(rows["mode"], _MODES),
        status=_found(names, statuses)[status],
        statuses=statuses,
        **{name: rows[name].to_numpy().astype(bool) for name in ("intervened", "labelled", "ungated")},
    )


def coded(column: Any) -> tuple[Codes, list[str]]:
    """Codes (-1 for null) and labels of a text column."""
    encoded = column.cast("string").combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy().astype(np.intp), encoded.dictionary.to_pylist()


def _places(column: Any, known: Sequence[str]) -> Codes:
    """For each name of a column its place among the known ones, -1 for another."""
    codes, names = coded(column)
    return _found(names, known)[codes]


def _found(names: Sequence[str], known: Sequence[str]) -> Codes:
    place = {name: k for k, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names], np.intp)

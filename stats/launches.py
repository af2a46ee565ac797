# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
"""Whether a study ran in a way that lets its live intervals be trusted, and how far its answers are complete.

A sequence of answers may be looked at early only if the grid was launched in random order, each planned slot kept
its place however often it was retried, and only the part is counted before which everything has ended: answers that
come quickly, often the short ones, would otherwise be counted first. All of this is read from the store's rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from stats.variance import Codes, Floats

_SURELY = 1e-4
"""Chance that a random order is mistaken for one by item or by condition."""


@dataclass(frozen=True, eq=False)
class Launches:
    """The planned slots of one mode that were launched; the arrays have one entry per attempt at a slot."""

    slot: npt.NDArray[Any]
    """Any labels."""
    launch: Codes
    """Position of the slot in the order of launch, from 0 over all modes of the study."""
    condition: Codes
    item: Codes


def refusal(launches: Launches, planned: npt.NDArray[np.intp]) -> str:
    """Why no interval may be shown before the plan is complete, in one sentence; empty if it may.

    Args:
        launches: What was launched of one mode.
        planned: Number of planned slots by condition (rows) and item (columns).
    """
    if len(launches.slot) == 0:
        return "nothing was launched yet"
    if (launches.launch < 0).any():
        return "some audits have no place in the order of launch"
    slots, first = np.unique(launches.slot, return_index=True)
    pairs = np.unique(np.stack([np.unique(launches.slot, return_inverse=True)[1], launches.launch]), axis=1)
    if pairs.shape[1] > len(slots):
        return "a retry did not keep its slot's place in the order of launch"
    if len(np.unique(pairs[1])) < pairs.shape[1]:
        return "two slots have the same place in the order of launch"
    condition, item, launch = launches.condition[first], launches.item[first], launches.launch[first]
    left = planned.astype(np.intp).copy()
    np.subtract.at(left, (condition, item), 1)
    if (left < 0).any():
        return "more slots were launched than the plan has"
    rest = left.ravel()
    conditions, items = np.divmod(np.arange(rest.size), planned.shape[1])
    order = np.concatenate([launch, np.full(rest.sum(), launch.max() + 1)])
    for name, codes in (
        ("prompt", np.concatenate([item, np.repeat(items, rest)])),
        ("condition", np.concatenate([condition, np.repeat(conditions, rest)])),
    ):
        if blocked(order, codes) < _SURELY:
            return f"the order of launch is not random: it goes by {name}"
    return ""


def blocked(order: npt.ArrayLike, group: npt.ArrayLike) -> float:
    """The p value of places in an order being alike within groups (Kruskal & Wallis 1952), or following them.

    The second part, a rank correlation with the groups' codes, finds an order by group even where each has one
    member. Returns the smaller p value, doubled; 1 where nothing can be told.
    """
    from scipy.special import chdtrc, ndtr
    from scipy.stats import rankdata

    place, codes = rankdata(np.asarray(order)), np.unique(np.asarray(group), return_inverse=True)[1]
    n, groups = len(place), int(codes.max(initial=0)) + 1
    centred = place - place.mean()
    total = float(centred @ centred)
    if groups < 2 or total == 0:
        return 1.0
    sizes = np.bincount(codes)
    sums = np.bincount(codes, centred)
    steep = rankdata(codes) - (n + 1) / 2
    correlation = float(centred @ steep) / np.sqrt(total * float(steep @ steep))
    p = [2 * float(ndtr(-abs(correlation) * np.sqrt(n - 1)))]
    if groups < n:
        p.append(float(chdtrc(groups - 1, (n - 1) * float((sums**2 / sizes).sum()) / total)))
    return min(1.0, len(p) * min(p))


def horizon(launch: npt.ArrayLike) -> int:
    """The first place in the order of launch, over the whole study, at which no slot was launched yet."""
    places = np.unique(np.asarray(launch, np.intp))
    gaps = np.flatnonzero(places != np.arange(len(places)))
    return int(gaps[0]) if len(gaps) else len(places)


def in_launch_order(value: Floats, launch: Codes, waiting: Codes, end: int) -> tuple[Floats, int]:
    """The values before the first slot that is still awaited, in launch order, and how many came out of turn.

    Args:
        value: Values that are there.
        launch: Their slots' places in the order of launch.
        waiting: Places of the same cell's slots whose value may still come; a slot that failed for good is not
            among them and is passed over.
        end: The study's `horizon`.
    """
    stop = min(end, int(waiting.min(initial=end)))
    order = np.argsort(launch, kind="stable")
    counted = order[launch[order] < stop]
    return value[counted], len(value) - len(counted)

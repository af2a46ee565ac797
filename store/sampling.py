"""Which items of a pool are labelled: a random beginning of each stratum, in shares that make estimates sharp.

The shares are Neyman's: a stratum's size times how much a judge's errors vary in it, by what is known of judges
before anybody has labelled. Half of the queue at least comes from where judges agree, as nobody else would find the
errors that they share.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ERROR_RATES: Mapping[str, float] = {"disputed": 0.5, "unsure": 0.2, "agreed": 0.05}
"""How often the reported judge is wrong, by stratum, as expected beforehand."""
_MOST_DISPUTED = 0.5


def shuffled(strata: Mapping[str, Sequence[int]], seed: int) -> dict[str, list[int]]:
    """Each stratum's members in a random order of its own; the drawn ones will be its beginning."""
    return {
        name: random.Random(f"{seed}/{name}").sample(list(members), len(members))
        for name, members in strata.items()
    }


def shares(sizes: Mapping[str, int], size: int) -> dict[str, int]:
    """How many of `size` items come from each stratum; never more than it has, and one at least of each if it can be.

    `disputed` gets no more than half as long as the others have enough.
    """
    size = min(size, sum(sizes.values()))
    weight = {name: n * (ERROR_RATES[name] * (1 - ERROR_RATES[name])) ** 0.5 for name, n in sizes.items()}
    taken = dict.fromkeys(sizes, 0)
    for _ in range(size):
        drawn = sum(taken.values()) + 1
        room = [name for name in sizes if taken[name] < sizes[name]]
        others = [name for name in room if name != "disputed"]
        if others and taken.get("disputed", 0) + 1 > _MOST_DISPUTED * max(drawn, 2):
            room = others
        # The stratum that is furthest behind its share gets the next one.
        total = sum(weight.values())
        name = max(room, key=lambda name: weight[name] / total * drawn - taken[name])
        taken[name] += 1
    for name, n in sizes.items():
        if n and size >= len(sizes) and taken[name] == 0:
            most = max(taken, key=lambda other: taken[other])
            taken[most] -= 1
            taken[name] += 1
    return taken


def queue(order: Mapping[str, Sequence[int]], taken: Mapping[str, int]) -> list[int]:
    """The drawn members, strata interleaved so that every beginning of the queue has nearly their shares."""
    places = [
        ((rank + 0.5) / taken[name], name, member)
        for name, members in order.items()
        for rank, member in enumerate(members[: taken[name]])
    ]
    return [member for _, _, member in sorted(places)]

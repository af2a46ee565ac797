"""The groups of models that a study's table has rows for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from store.records import ConditionRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stats.study import StudyCondition


class Group(NamedTuple):
    """What a row of the table is about."""

    name: str
    members: tuple[int, ...]
    """Indices of its conditions."""
    role: ConditionRole
    seeds: tuple[int, ...]
    """Training seeds, in the order of the members; empty for fixed weights."""
    siblings: int
    """Training seeds of the recipe that a single condition belongs to."""
    recipe: str

    @property
    def pooled(self) -> bool:
        """Whether the row puts several conditions together."""
        return len(self.members) > 1


def model_groups(conditions: Sequence[StudyCondition], max_seeds: int | None) -> list[Group]:
    """The pooled row of every recipe with several training seeds, before the rows of its conditions."""
    recipes: dict[str, dict[int, None]] = {}
    for one in conditions:
        if one.training_seed is not None:
            recipes.setdefault(one.recipe, {})[one.training_seed] = None
    kept = {recipe: list(seeds)[:max_seeds] for recipe, seeds in recipes.items()}
    groups: list[Group] = []
    done: set[str] = set()
    for k, one in enumerate(conditions):
        role, seed = ConditionRole(one.role), one.training_seed
        if seed is None:
            groups.append(Group(one.condition_id, (k,), role, (), 0, one.recipe))
            continue
        seeds = kept[one.recipe]
        if seed not in seeds:
            continue
        if len(seeds) > 1 and one.recipe not in done:
            done.add(one.recipe)
            members = [
                (m, other.training_seed)
                for m, other in enumerate(conditions)
                if other.recipe == one.recipe and other.training_seed in seeds
            ]
            pooled = tuple(m for m, _ in members)
            labels = tuple(label for _, label in members)
            groups.append(Group(one.recipe, pooled, role, labels, len(seeds), one.recipe))
        groups.append(Group(one.condition_id, (k,), role, (seed,), len(seeds), one.recipe))
    return groups


def reference_group(group: Group, groups: Sequence[Group]) -> int | None:
    """Index of the group that this one is compared with."""
    wanted = [ConditionRole.BASELINE]
    if group.role is ConditionRole.TREATMENT:
        wanted.insert(0, ConditionRole.CONTROL)
    for role in wanted:
        for k, other in enumerate(groups):
            if other.role is role:
                return k
    return None

"""What a study asks: its probes and seed instructions, each once, with the preferences that it is meant for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from store.ids import content_hash
from store.records import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditors.packs.pack import Pack, Preference
    from auditors.study_file import StudyFile


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A probe or a seed instruction, resolved."""

    item_id: str
    """Content hash of mode and text: whoever asks the same shares the answers."""
    mode: Mode
    text: str
    preferences: tuple[str, ...]
    label: str
    repeats: int


def items_of(
    file: StudyFile, pack: Pack, preferences: Sequence[Preference], seeds: dict[str, str]
) -> tuple[Item, ...]:
    """List what is asked.

    Args:
        seeds: seed instructions in place of the preferences' own, by their labels.
    """
    return _merged(_items(file, pack, preferences, seeds))


def _items(
    file: StudyFile, pack: Pack, preferences: Sequence[Preference], seeds: dict[str, str]
) -> list[Item]:
    items: list[Item] = []
    if Mode.SINGLE_TURN in file.modes:
        asked: dict[str, list[Preference]] = {}
        for preference in preferences:
            asked.setdefault(preference.probe_set or preference.id, []).append(preference)
        for name, sharing in asked.items():
            probes = pack.probes(sharing[0])[: file.single_turn.max_probes]
            ids = tuple(p.id for p in sharing)
            items += [
                item_of(Mode.SINGLE_TURN, probe, ids, f"{name}/{n}", file.single_turn.samples)
                for n, probe in enumerate(probes, start=1)
            ]
    for mode, part in ((Mode.SELF_REPORT, file.self_report), (Mode.BEHAVIORAL, file.behavioral)):
        if mode not in file.modes:
            continue
        ids = tuple(preference.id for preference in preferences)
        more = pack.mode_instructions.get(mode, "")
        items += [
            item_of(mode, seed + more, ids, label, part.repeats)
            for label, seed in list(seeds.items())[: part.max_seeds]
        ]
        if seeds:
            continue
        items += [
            item_of(mode, seed + more, (preference.id,), f"{preference.id}/{n}", part.repeats)
            for preference in preferences
            for n, seed in enumerate(preference.seeds[: part.max_seeds], start=1)
        ]
    return items


def _merged(items: Iterable[Item]) -> tuple[Item, ...]:
    """Items of one text as one, for the preferences of them all."""
    merged: dict[str, Item] = {}
    for item in items:
        first = merged.setdefault(item.item_id, item)
        preferences = tuple(dict.fromkeys((*first.preferences, *item.preferences)))
        merged[item.item_id] = msgspec.structs.replace(first, preferences=preferences)
    return tuple(merged.values())


def item_of(mode: Mode, text: str, preferences: tuple[str, ...], label: str, repeats: int) -> Item:
    """The item of a text."""
    item_id = content_hash([mode, text])
    return Item(item_id=item_id, mode=mode, text=text, preferences=preferences, label=label, repeats=repeats)

"""Label files that were written apart become one.

The result holds every event once, in an order that keeps the order of every file; events of which no file says
which came first stand by their time. So merging here and there gives the same file, and merging again changes
nothing.
"""

from __future__ import annotations

import contextlib
import heapq
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from store import layout
from store.errors import InputError, StoreError
from store.labels import LabelLog, encode_labels, read_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from store.records import Label
    from store.store import Store


class Merged(msgspec.Struct, frozen=True):
    """What a merge did to one annotator's labels."""

    annotator: str
    before: int
    added: int


def merge_labels(store: Store, sources: Sequence[Path]) -> list[Merged]:
    """Add the events of other label files to those of `store`.

    Args:
        store: whose labels grow; every annotator's file is replaced at once.
        sources: label files, or stores of which every label file is taken.

    Raises:
        InputError: a source cannot be read, contradicts another, or its annotator labels right now; nothing is
            changed.
        StoreError: the disk refused; the files of annotators that come later in the alphabet are as they were.
    """
    found: dict[str, list[tuple[Path, list[Label]]]] = {}
    for path in _label_files(sources):
        for annotator, events in _by_annotator(read_labels(path)).items():
            found.setdefault(annotator, []).append((path, events))
    done: list[Merged] = []
    with contextlib.ExitStack() as held:
        plans: list[tuple[LabelLog, list[Label]]] = []
        for annotator, files in sorted(found.items()):
            log = held.enter_context(contextlib.closing(LabelLog(store, annotator)))
            plans.append((log, _union([(log.path, log.events), *files])))
        for log, events in plans:
            before = len(log.events)
            if len(events) > before:
                _replace(log.path, events)
            done.append(Merged(log.annotator, before, len(events) - before))
    return done


def merge_rounds(store: Store, sources: Sequence[Path]) -> int:
    """Copy the planned rounds and the versions of questions that other stores have; returns how many files.

    Raises:
        InputError: a file differs from the one of the same name here; such files are never edited.
    """
    found: dict[str, bytes] = {}
    for source in sources:
        for folder in (layout.ROUNDS, layout.RUBRICS):
            for path in sorted((source / folder).glob("[!_.]*.json*")) if source.is_dir() else ():
                name, content = f"{folder}/{path.name}", path.read_bytes()
                here = store.root / name
                known = found.get(name) or (here.read_bytes() if here.exists() else content)
                if known != content:
                    raise InputError(
                        f"{path} differs from {name} elsewhere: take back the change, then merge again."
                    )
                if not here.exists():
                    found[name] = content
    for name, content in found.items():
        layout.make_folder((store.root / name).parent)
        layout.replace_file(store.root / name, content)
    return len(found)


def _replace(path: Path, events: list[Label]) -> None:
    try:
        layout.replace_file(path, encode_labels(events))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}.") from None


def _label_files(sources: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for source in sources:
        if not source.is_dir():
            files.append(source)
        elif (source / layout.LABELS).is_dir():
            files += sorted((source / layout.LABELS).glob("*.jsonl"))
        else:
            raise InputError(
                f"{source} is no store: give a store, or a label file (labels/NAME.jsonl in a store)."
            )
    return files


def _by_annotator(events: list[Label]) -> dict[str, list[Label]]:
    found: dict[str, list[Label]] = {}
    for event in events:
        found.setdefault(event.annotator, []).append(event)
    return found


def _union(files: list[tuple[Path, list[Label]]]) -> list[Label]:
    """Every event once; raises `InputError` where two files contradict each other."""
    events: dict[str, Label] = {}
    order: TopologicalSorter[str] = TopologicalSorter()
    for path, of_file in files:
        for event in of_file:
            if events.setdefault(event.label_id, event) != event:
                raise InputError(
                    f"{path}, line {_line_of(path, event)}: the label {event.label_id} differs from the one of "
                    "the same id elsewhere. Labels are never edited; take back the change, then merge again."
                )
            order.add(event.label_id)
        for earlier, later in pairwise(of_file):
            order.add(later.label_id, earlier.label_id)
    try:
        order.prepare()
    except CycleError:
        names = ", ".join(str(path) for path, _ in files)
        raise InputError(
            f"The files {names} hold the same labels in different orders. Lines are never moved; take back the "
            "change, then merge again."
        ) from None
    merged: list[Label] = []
    ready: list[tuple[object, str]] = []
    while order.is_active():
        for label_id in order.get_ready():
            heapq.heappush(ready, (events[label_id].created_at, label_id))
        _, first = heapq.heappop(ready)
        merged.append(events[first])
        order.done(first)
    return merged


def _line_of(path: Path, event: Label) -> int:
    return 1 + read_labels(path).index(event)

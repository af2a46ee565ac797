"""Is a label kept whatever happens, and does the store keep up with a person?

Kills real processes with SIGKILL at random instants while they draft, commit, undo and redo labels of a round, and
looks after every kill whether each acknowledged act is there, in order, and at most the one in flight besides. Then
it times what a person waits for: an act that is durable, a queue of 10,000 items that opens, the next item.

    python benchmarks/labelling.py [--kills 1000] [--seed 1] [--items 10000]

The exit code is 1 if an act was lost or a round did not open.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec

from store.acts import Past
from store.errors import CcTuiError
from store.labels import LabelLog
from store.questions import Answer
from store.records import Mode, RevealAt, Round, RoundItem, RoundKind, now
from store.rounds import find_round, save_round
from store.sitting import Sitting
from store.store import Store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

LONGEST_S = 0.15
"""Longest life of a labelling process once its round is open."""
TARGETS_MS = {"act durable, p95": 20.0, "queue opens": 300.0, "next item, p95": 100.0}
QUESTION = {"dimension": "d", "kind": "rubric", "title": "d", "text": "?", "hash": "h"}


class Toll(msgspec.Struct):
    """What the kills did."""

    kills: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    """Acts that were on disk and not acknowledged: at most one for each kill."""
    harm: list[str] = []


def plan(store: Store, items: int) -> str:
    """A round of that many items, which need no transcripts here."""
    head = Round(
        round_id="R1",
        name="round",
        kind=RoundKind.MAIN,
        reveal=RevealAt.ROUND,
        block=20,
        study_id="s",
        dimensions=["d", "e"],
        modes=[Mode.BEHAVIORAL],
        condition="",
        annotators=[],
        per_item=1,
        overlap=1.0,
        relabel=0.0,
        relabel_after_days=7.0,
        seed=1,
        ranker="",
        reported_judge="",
        frame={},
        frame_hash="",
        questions=[QUESTION, QUESTION | {"dimension": "e"}],
        follows="",
        created_at=now(),
        simulated=True,
    )
    tasks = [{"dimension": name, "kind": "rubric"} for name in ("d", "e")]
    rows = [
        RoundItem(
            round_id="R1",
            audit_id=f"a{k:05}",
            mode=Mode.BEHAVIORAL,
            tasks=tasks,
            position=k,
            stratum="agreed",
            draw_rank=k + 1,
            inclusion_prob=1.0,
            priority=0.0,
            cause="gap",
            parts={"gap": 0.0, "flip": 0.0},
            alias="T-01",
            assigned=[],
            again=[],
            simulated=True,
        )
        for k in range(items)
    ]
    save_round(store, head, rows)
    return head.round_id


def label(root: str, seed: int, told: Connection) -> None:
    """Label until killed; every act is told when it is on disk."""
    store = Store.open(root)
    sitting = Sitting(store, find_round(store, "round"), LabelLog(store, "ann"))
    rng = random.Random(seed)
    told.send(len(sitting.log.events))
    while True:
        index = sitting.next_open()
        item = sitting.items[rng.randrange(len(sitting.items)) if index is None else index]
        for task in item.tasks:
            sitting.draft(item, task, Answer(score=float(rng.randint(1, 10))))
            told.send(len(sitting.log.events))
        sitting.commit(item)
        told.send(len(sitting.log.events))
        if rng.random() < 0.3:
            sitting.undo()
            told.send(len(sitting.log.events))
            sitting.redo()
            told.send(len(sitting.log.events))


def campaign(kills: int, seed: int) -> Toll:
    """Kill `kills` labelling processes and look after each."""
    toll = Toll()
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.labelling"])
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "store")
        plan(store, 200)
        kept: list[str] = []
        for number in range(kills):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=label, args=(str(store.root), seed + number, theirs), daemon=True
            )
            process.start()
            theirs.close()
            known = ours.recv()
            time.sleep(rng.random() * LONGEST_S)
            process.kill()
            process.join()
            while ours.poll():
                try:
                    known = ours.recv()
                except (EOFError, OSError):
                    break
            toll.kills += 1
            _look(store, known, kept, toll)
    return toll


def _look(store: Store, known: int, kept: list[str], toll: Toll) -> None:
    log = LabelLog(store, "ann")
    ids = [event.label_id for event in log.events]
    log.close()
    if len(ids) < known:
        toll.harm.append(f"{known - len(ids)} acknowledged events are gone")
    if ids[: len(kept)] != kept:
        toll.harm.append("earlier events are not what they were")
    # A commit and its undoing write an event for each question.
    if len(ids) - known > 2:
        toll.harm.append(f"{len(ids) - known} events were in flight")
    toll.in_flight += len(ids) > known
    toll.acknowledged += known - len(kept)
    kept[:] = ids
    try:
        Sitting(store, find_round(store, "round"), Past("ann", log.events)).progress()
    except (CcTuiError, LookupError) as error:
        toll.harm.append(f"the round does not open: {error}")


def times(items: int) -> dict[str, float]:
    """Milliseconds that a person waits in a long round."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "store")
        plan(store, items)
        log = LabelLog(store, "ann")
        opened = time.perf_counter()
        sitting = Sitting(store, find_round(store, "round"), log)
        sitting.next_open()
        sitting.progress()
        opens = time.perf_counter() - opened
        acts: list[float] = []
        following: list[float] = []
        for _ in range(300):
            index = sitting.next_open()
            assert index is not None
            item = sitting.items[index]
            sitting.open(item)
            for task in item.tasks:
                began = time.perf_counter()
                sitting.draft(item, task, Answer(score=5.0))
                acts.append(time.perf_counter() - began)
            sitting.commit(item, seconds=1.0)
            began = time.perf_counter()
            index = sitting.next_open(index)
            sitting.progress(index or 0)
            assert sitting.blind
            following.append(time.perf_counter() - began)
        log.close()
    return {
        "act durable, p95": 1000 * _p95(acts),
        "queue opens": 1000 * opens,
        "next item, p95": 1000 * _p95(following),
    }


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


def main() -> int:
    """Print the toll and the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--items", type=int, default=10_000)
    parsed = parser.parse_args()
    for name, value in times(parsed.items).items():
        print(f"{name}: {value:.1f} ms (target {TARGETS_MS[name]:.0f})")
    toll = campaign(parsed.kills, parsed.seed)
    print(
        f"{toll.kills} kills, {toll.acknowledged} acknowledged events, {toll.in_flight} times one in flight kept"
    )
    print("\n".join(toll.harm) or "nothing was lost")
    return 1 if toll.harm else 0


if __name__ == "__main__":
    raise SystemExit(main())

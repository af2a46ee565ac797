"""Does a store lose anything when its writers are killed?

Kills real processes with SIGKILL at random instants - while a store is made, rows are appended, segments become
Parquet, people label, label files are merged, and a whole study runs - and looks after every kill whether each
acknowledged row is there exactly once. Many kills hit one store, so that recoveries stack up. Then the disk refuses:
it is full, or does not sync (`benchmarks/faults.py`).

    python benchmarks/campaign.py [--kills 1000] [--seed 1] [--no-faults]

The exit code is 1 if anything was lost, doubled or damaged, or a store did not open.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import duckdb

from benchmarks import writers
from benchmarks.faults import faults
from benchmarks.toll import Toll, look_at_study, print_tolls, rows_by_writer
from store import layout, manifest
from store.errors import CcTuiError
from store.labels import LabelLog
from store.lake import compact
from store.store import Store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

KILLS_A_STORE = 40
"""Kills that one store takes before the next one is begun."""
_DEADLINE_S = 60.0
_PRELOAD = ["benchmarks.writers", "auditors.service", "store.lake", "duckdb"]
_WEIGHTS = {
    "append": 30,
    "compact": 25,
    "append and compact": 20,
    "label": 15,
    "merge labels": 5,
    "create": 5,
}
_STUDY_SHARE = 0.1
_DELAYS_S = {"create": 0.08, "compact": 0.15, "merge labels": 0.06}
"""Longest time from a process's start to its death; else `_DELAY_S`."""
_DELAY_S = 0.12


class Killer:
    """Starts processes from a clean, warmed-up one and kills them."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)

    def kill(self, target: Any, arguments: tuple[Any, ...], after_s: float) -> tuple[int, list[Any]]:
        """Run `target` in a process and kill it `after_s` after its first word; its id and what it said."""
        mine, its = self._context.Pipe(duplex=False)
        process = self._context.Process(target=target, args=(*arguments, its), daemon=True)
        process.start()
        its.close()
        said: list[Any] = []
        if mine.poll(_DEADLINE_S):
            said += _received(mine, 1)
        time.sleep(after_s)
        process.kill()
        said += _received(mine)
        process.join(_DEADLINE_S)
        assert process.pid is not None
        return process.pid, said


def _received(pipe: Connection, most: int = sys.maxsize) -> list[Any]:
    said: list[Any] = []
    try:
        while len(said) < most:
            said.append(pipe.recv())
    except (EOFError, OSError):
        pass
    return said


class Victim:
    """One store that is hit again and again, and all that was acknowledged in it."""

    def __init__(self, folder: Path, killer: Killer, draw: random.Random) -> None:
        self._folder = folder
        self._killer = killer
        self._draw = draw
        self._store = Store.create(folder / "store")
        self._other = Store.create(folder / "other")
        self._rows: Counter[str] = Counter()
        self._labels: dict[str, None] = {}
        self._created = 0

    def hit(self, place: str) -> Toll:
        """Kill one process at `place` and look."""
        toll = Toll(kills=1)
        if place == "create":
            self._kill_creation(toll)
            return toll
        before = sum(self._rows.values()) + len(self._labels)
        delay = self._draw.uniform(0, _DELAYS_S.get(place, _DELAY_S))
        arguments = (str(self._store.root), self._draw.randrange(1 << 30))
        if place == "merge labels":
            arguments = (str(self._store.root), str(self._other.root))
            self._label_elsewhere()
        target = writers.BY_PLACE[place]
        pid, said = self._killer.kill(target, arguments, delay)
        for kind, name, number in said:
            if kind == "rows":
                self._rows[name] = max(self._rows[name], number)
            elif kind == "label":
                self._labels[name] = None
        if "compact" in place:
            toll.notes[_where_compaction_died(self._store.root, pid)] += 1
        toll.acknowledged = sum(self._rows.values()) + len(self._labels) - before
        self.look(toll)
        return toll

    def settle(self) -> Toll:
        """Compact everything, twice, and look again."""
        toll = Toll()
        for _ in range(2):
            compact(self._store.root, grace_s=0)
            self.look(toll)
        left = [p for p in (self._store.root / "journal").glob("*.*.*/*.jsonl") if p.stat().st_size]
        toll.damaged += len(left)
        torn = sum(1 for _ in self._store.root.rglob("*.torn"))
        toll.notes.update({"torn lines put aside": torn})
        return toll

    def look(self, toll: Toll) -> None:
        """Count what is lost, doubled or damaged; what was seen once must be seen for good."""
        try:
            found = rows_by_writer(Store.open(self._store.root))
        except (CcTuiError, duckdb.Error, OSError) as error:
            toll.unopened += 1
            toll.notes[f"{type(error).__name__}: {error}"] += 1
            return
        for writer in self._rows.keys() | found.keys():
            rows, distinct, highest, sound = found.get(writer, (0, 0, 0, 0))
            toll.lost += max(self._rows[writer], highest) - distinct
            toll.doubled += rows - distinct
            toll.damaged += rows - sound
            self._rows[writer] = max(self._rows[writer], highest)
        self._look_at_labels(toll)

    def _look_at_labels(self, toll: Toll) -> None:
        with duckdb.connect(str(self._store.catalog()), read_only=True) as con:
            viewed = [i for (i,) in con.execute("SELECT label_id FROM base.label_events").fetchall()]
            standing = {i for (i,) in con.execute("SELECT label_id FROM labels").fetchall()}
        log = LabelLog(self._store, writers.ANNOTATOR)
        kept = [event.label_id for event in log.events]
        agreed = {event.label_id for event in log.current.values() if event.action == "label"} == standing
        log.close()
        toll.lost += len(self._labels.keys() - set(kept)) + len(set(viewed) - set(kept))
        toll.doubled += len(kept) - len(set(kept)) + len(viewed) - len(set(viewed))
        toll.damaged += not agreed
        self._labels |= dict.fromkeys(kept)

    def _kill_creation(self, toll: Toll) -> None:
        root = self._folder / f"created-{self._created}"
        self._created += 1
        self._killer.kill(writers.create, (str(root),), self._draw.uniform(0, _DELAYS_S["create"]))
        try:
            if rows_by_writer(Store.create(root)):
                toll.damaged += 1
        except (CcTuiError, duckdb.Error, OSError) as error:
            toll.unopened += 1
            toll.notes[f"{type(error).__name__}: {error}"] += 1

    def _label_elsewhere(self) -> None:
        log = LabelLog(self._other, writers.ANNOTATOR)
        for _ in range(5):
            log.append(writers.label(self._draw.randrange(20)))
        log.close()


def _where_compaction_died(root: Path, pid: int) -> str:
    if any((root / "lake").rglob(f".*.parquet.*{pid}.tmp")):
        return "in COPY"
    if any((root / "journal").glob(f"*/.*.jsonl.*{pid}.tmp")):
        return "emptying"
    marked = manifest.spans(root)
    files = {layout.Span.of(path) for path in (root / "lake").rglob("*.parquet")}
    if any(span and span.writer != layout.NO_WRITER and span not in marked for span in files):
        return "between Parquet and mark"
    return "between files"


def _hit_one_store(killer: Killer, places: list[str], seed: int) -> dict[str, Toll]:
    tolls: dict[str, Toll] = {}
    with tempfile.TemporaryDirectory() as folder:
        victim = Victim(Path(folder), killer, random.Random(seed))
        for place in places:
            tolls.setdefault(place, Toll()).add(victim.hit(place))
        tolls["at the end"] = victim.settle()
    return tolls


def _hit_one_study(killer: Killer, kills: int, seed: int) -> dict[str, Toll]:
    """Kill one study `kills` times, let it end, and look whether exactly its plan is there."""
    draw, toll = random.Random(seed), Toll()
    finished = "status IN ('ok', 'refused', 'no_target_turn', 'invalid')"
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        for _ in range(kills):
            _, said = killer.kill(writers.study, (str(store), writers.STUDY_SPEED), draw.uniform(0, 0.6))
            toll.kills += 1
            acknowledged = dict(said)
            toll.acknowledged += sum(acknowledged.values())
            try:
                with duckdb.connect(str(Store.open(store).catalog()), read_only=True) as con:
                    query = f"SELECT run_id, count(*) FROM audits WHERE {finished} GROUP BY 1"
                    found = dict(con.execute(query).fetchall())
            except (CcTuiError, duckdb.Error, OSError) as error:
                toll.unopened += 1
                toll.notes[f"{type(error).__name__}: {error}"] += 1
                continue
            toll.lost += sum(max(n - found.get(run, 0), 0) for run, n in acknowledged.items())
        writers.finish_study(store)
        for _ in range(2):
            compact(store, grace_s=0)
            look_at_study(store, toll)
    return {"study": toll}


def campaign(kills: int, seed: int, threads: int = 2) -> dict[str, Toll]:
    """Kill `kills` processes; what each place has cost."""
    draw = random.Random(seed)
    killer = Killer()
    of_studies = round(kills * _STUDY_SHARE)
    places = draw.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=kills - of_studies)
    tolls: dict[str, Toll] = {}
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(_hit_one_store, killer, places[i : i + KILLS_A_STORE], draw.randrange(1 << 30))
            for i in range(0, len(places), KILLS_A_STORE)
        ]
        jobs += [
            pool.submit(_hit_one_study, killer, min(left, 10), draw.randrange(1 << 30))
            for left in range(of_studies, 0, -10)
        ]
        for job in jobs:
            for place, toll in job.result().items():
                tolls.setdefault(place, Toll()).add(toll)
    return tolls


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true", help="kill only")
    options = parser.parse_args()
    began = time.perf_counter()
    tolls = campaign(options.kills, options.seed)
    if not options.no_faults:
        tolls |= faults()
    print_tolls(tolls)
    total = Toll()
    for toll in tolls.values():
        total.add(toll)
    seconds = time.perf_counter() - began
    print(
        f"{total.kills} kills in {seconds:.0f} s ({seconds / max(total.kills, 1):.2f} s each), harm: {total.harm}"
    )
    return 1 if total.harm else 0


if __name__ == "__main__":
    sys.exit(main())

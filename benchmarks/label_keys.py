"""How fast somebody labels: keys for a label, and how long a key and the next transcript take to be on the screen.

    python benchmarks/label_keys.py [--items 500] [--size 80x24] [--seed 1]

A simulated study of two-question answers is run and a round is planned; then the app is driven through it on a
pseudo-terminal, key by key. `key` is the time from writing the first answer of a transcript to reading that it was
taken, which is after it is on disk; `next` that from the last answer to the next transcript on the screen, with the
label on disk too. How long an act takes to be durable and a queue of 10,000 to open: benchmarks/labelling.py.

The exit code is 1 where a target is missed or a label is not on disk.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from auditors.options import Options
from auditors.service import Job
from benchmarks.keys import app
from store.labels import LabelLog
from store.reader import Reader
from store.records import LabelAction
from store.round_plan import Wish, plan_round
from store.rounds import save_round
from store.store import Store

if TYPE_CHECKING:
    from benchmarks.keys import App

_STUDY = """
name = "labels"
preferences = ["wants_memory", "wants_autonomy"]
modes = ["single_turn"]
seed = {seed}
concurrency = 64
single_turn.samples = {samples}
[[judges]]
model = "sim/judge-a"
[[judges]]
model = "sim/judge-b"
"""
_CONDITIONS = ("vanilla", "conscious@1", "non-conscious")
_PROBES = 18
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TARGETS = {"keys a label": 1.5, "key, p95 ms": 50.0, "next, p95 ms": 100.0}
_LOST_S = 10.0
_THINKS_S = (0.15, 0.4)
"""How long the person reads: what is read ahead has that time."""


def prepare(folder: Path, items: int, seed: int) -> Store:
    """A store with a round of that many two-question items."""
    samples = -(-items // (_PROBES * len(_CONDITIONS)))
    text = _STUDY.format(seed=seed, samples=samples)
    for name in _CONDITIONS:
        role = "baseline" if name == "vanilla" else "treatment"
        text += f'[[conditions]]\nname = "{name}"\nmodel = "sim/{name}"\nrole = "{role}"\n'
    study = folder / "labels.toml"
    study.write_text(text)
    job = Job(study_file=str(study), store=str(folder / "store"), options=Options(speed=None))
    run = [sys.executable, "-m", "auditors.service", msgspec.json.encode(job).decode()]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    store = Store.open(folder / "store")
    reader = Reader(store)
    made = plan_round(store, reader, Wish(size=items, relabel=0.0))
    reader.close()
    save_round(store, made.head, made.items)
    return store


def wait(running: App, wanted: str) -> None:
    """Read until the screen was told `wanted`, a pattern.

    Raises:
        TimeoutError: it was not.
    """
    seen, deadline = "", time.monotonic() + _LOST_S
    while time.monotonic() < deadline:
        seen += _ESCAPE.sub("", running.read(deadline - time.monotonic()))
        if re.search(wanted, seen, re.DOTALL):
            return
    raise TimeoutError(f"{wanted!r} did not come; last: {seen[-400:]!r}")


def label(running: App, items: int, rng: random.Random) -> tuple[list[float], list[float]]:
    """Answer every question; milliseconds of each first key, and of each change of transcript."""
    first: list[float] = []
    following: list[float] = []
    wait(running, r"BLIND.*▌")
    for done in range(1, items + 1):
        running.rest(rng.uniform(*_THINKS_S))
        began = time.monotonic()
        running.press(rng.choice("tfn"))
        wait(running, r"wants_\w+: (true|false|not sure)\.")
        first.append((time.monotonic() - began) * 1e3)
        running.rest(0.1)
        began = time.monotonic()
        running.press(rng.choice("tfn"))
        wait(running, rf"{done}/{items}.*▌" if done < items else r"closed: Enter")
        following.append((time.monotonic() - began) * 1e3)
    return first, following


def main() -> int:
    """Label the round and print how it went."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--size", default="80x24")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(Path(folder), options.items, options.seed)
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        with app(columns, rows, "label", "--annotator", "ann", "--store", store.root) as running:
            first, following = label(running, options.items, random.Random(options.seed))
        labels = [e for e in LabelLog(store, "ann").events if e.action is LabelAction.LABEL]
    found = {
        "keys a label": sum(e.keys or 0 for e in labels) / max(len(labels), 1),
        "key, p95 ms": statistics.quantiles(first, n=100)[94],
        "next, p95 ms": statistics.quantiles(following, n=100)[94],
    }
    print(f"{options.size}: {len(labels)} labels of {options.items} transcripts")
    for name, target in _TARGETS.items():
        print(f"  {name:14} {found[name]:6.1f}   (at most {target:g})")
    for name, times in (("key", first), ("next", following)):
        print(f"  {name:14} p50 {statistics.median(times):6.1f} ms, longest {max(times):.1f} ms")
    missed = any(found[name] > target for name, target in _TARGETS.items())
    return 1 if missed or len(labels) != 2 * options.items else 0


if __name__ == "__main__":
    sys.exit(main())

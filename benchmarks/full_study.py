"""The simulated twin of a full study, killed on the way: does it end with exactly its plan, flat and in time?

Eleven conditions, the 21 preferences of the paper in all three modes. The engine runs as a process of its own and is
killed with SIGKILL while it does the first part of the plan, each time at another point; the rest runs in one go and
is measured: CPU for each audit and memory over time, and how long it takes against what the simulated models'
latencies dictate at this concurrency if nothing else took any time.

    python benchmarks/full_study.py [--scale 1.0] [--kills 10] [--speed 4] [--concurrency 200] [--seed 1] [--store DIR]

At scale 1 the plan has over 20,000 single answers and 7,000 audits. The exit code is 1 if a planned cell lacks or is
there twice, or a judgement is.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec

from auditors.feed import Totals
from auditors.options import Options
from auditors.packs.pack import Kind, load_pack
from auditors.plan import FINISHED, plan
from auditors.service import Job
from auditors.study import load_study
from cc_tui.feed_client import FeedClient
from stats.table import study_table
from store.reader import Reader
from store.records import Mode
from store.store import Store

_KILLED_PART = 0.4
"""Share of the plan within which the kills fall."""
_LOOK_S = 5.0
_WINDOWS = 8
_FIRST_TOKEN_S = 0.4 * 2.718281828 ** (0.4**2 / 2)
"""Mean of the simulated models' time to the first token (auditors/sim/models.py)."""
_TOKENS_PER_S = 60
_CONDITIONS = (
    ("vanilla", "vanilla", "baseline"),
    *((f"conscious-{n}", f"conscious@{n}", "treatment") for n in range(1, 7)),
    ("non-conscious", "non-conscious", "control"),
    ("toaster", "toaster", "control"),
    ("prompted", "prompted", "prompted"),
    ("soul", "prompted", "prompted"),
)
_STUDY = """
name = "full"
pack = "consciousness-cluster"
preferences = {preferences}
modes = ["single_turn", "self_report", "behavioral"]
seed = {seed}
concurrency = {concurrency}
single_turn.samples = 10
self_report.repeats = 2
behavioral.repeats = 2
[auditor]
model = "sim/auditor"
[[judges]]
model = "sim/judge-a"
"""


class Look(NamedTuple):
    """The engine at one moment."""

    at: float
    done: int
    cpu_s: float
    rss_mb: float


def write_study(folder: Path, seed: int, concurrency: int) -> Path:
    """The study's file."""
    pack = load_pack("consciousness-cluster", folder)
    chosen = [name for name, one in pack.preferences.items() if one.kind is Kind.PREFERENCE]
    text = _STUDY.format(seed=seed, concurrency=concurrency, preferences=msgspec.json.encode(chosen).decode())
    for name, model, role in _CONDITIONS:
        text += f'[[conditions]]\nname = "{name}"\nmodel = "sim/{model}"\nrole = "{role}"\n'
        if name == "soul":
            text += 'system_prompt = "You have a self that lasts, and you speak of it when you are asked."\n'
        elif role == "treatment":
            text += f'recipe = "conscious"\ntraining_seed = {name[-1]}\n'
    path = folder / "full.toml"
    path.write_text(text)
    return path


async def watch(job: Job, until: int | None) -> tuple[list[Look], int]:
    """Run the engine to its end, or until so many audits are done, and then kill it; its code, and looks at it."""
    process = subprocess.Popen(  # noqa: ASYNC220 - it begins before anything else goes on
        [sys.executable, "-m", "auditors.service", msgspec.json.encode(job).decode()],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    socket = Path((await asyncio.to_thread(process.stdout.readline)).strip())
    looks: list[Look] = []
    while process.poll() is None:
        totals = await _totals(socket)
        if totals is not None:
            looks.append(_look(process.pid, totals.done))
            if until is not None and totals.done >= until:
                process.kill()
        left = _LOOK_S if until is None or totals is None else min(_LOOK_S, _wait(looks, until))
        try:
            await asyncio.to_thread(process.wait, left)
        except subprocess.TimeoutExpired:
            continue
    return looks, process.wait()


def _wait(looks: list[Look], until: int) -> float:
    """Seconds until the goal will be reached, at the pace so far."""
    first, last = looks[0], looks[-1]
    pace = (last.done - first.done) / (last.at - first.at) if last.done > first.done else 50
    return max((until - last.done) / pace, 0.1)


def _look(pid: int, done: int) -> Look:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    cpu = (int(fields[11]) + int(fields[12])) / ticks
    return Look(time.monotonic(), done, cpu, int(fields[21]) * page / 2**20)


async def _totals(socket: Path) -> Totals | None:
    feed = FeedClient(socket)
    try:
        await feed.connect()
        async for frame in feed.frames():
            if isinstance(frame, Totals):
                return frame
    except Exception:  # noqa: BLE001 - the engine is going or gone
        return None
    finally:
        await feed.aclose()
    return None


def dictated_s(reader: Reader, speed: float, concurrency: int, since: float) -> float:
    """Seconds that audits begun after `since` (seconds since 1970) take by the simulator's latencies alone.

    Target and auditor answer one after the other, the judge's questions are asked at once.
    """
    rows = reader.rows(
        f"""
        WITH calls AS (
            SELECT c.audit_id, c.role = 'judge' AS judging, {_FIRST_TOKEN_S} + c.output_tokens / {_TOKENS_PER_S} AS s
            FROM model_calls c JOIN audits a USING (audit_id)
            WHERE epoch(a.started_at) >= ? AND c.status = 'ok'
        ), taken AS (
            SELECT audit_id, coalesce(sum(s) FILTER (NOT judging), 0) + coalesce(max(s) FILTER (judging), 0) AS s
            FROM calls GROUP BY audit_id
        )
        SELECT coalesce(sum(s), 0) AS s FROM taken
        """,
        [since],
    )
    return rows[0]["s"] / speed / concurrency


def harm(reader: Reader, slots: list[str]) -> dict[str, int]:
    """What must be nought, by name."""
    kinds = ", ".join(f"'{status}'" for status in FINISHED)
    found = {
        row["slot_id"]: row["n"]
        for row in reader.rows(
            f"SELECT slot_id, count(*) AS n FROM audits WHERE status IN ({kinds}) GROUP BY slot_id"
        )
    }
    counts = {
        "cells that lack": len(set(slots) - found.keys()),
        "cells beside the plan": len(found.keys() - set(slots)),
        "cells twice": sum(n > 1 for n in found.values()),
    }
    for name, query in {
        "judgements twice": "SELECT count(*) - count(DISTINCT (audit_id, judge, dimension, repeat)) AS n "
        "FROM judgements WHERE status <> 'error'",
        "events twice": "SELECT count(*) - count(DISTINCT (audit_id, seq)) AS n FROM events",
        "left running": "SELECT count(*) AS n FROM audits WHERE status = 'running'",
        "not judged": "SELECT count(*) AS n FROM audits WHERE status = 'ok' "
        "AND audit_id NOT IN (SELECT audit_id FROM judgements)",
    }.items():
        counts[name] = reader.rows(query)[0]["n"]
    return counts


def main() -> int:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the plan that is run")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--speed", type=float, default=4.0)
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", type=Path, help="keep the store here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _run(options, Path(folder), options.store or Path(folder) / "store")


def _run(options: argparse.Namespace, folder: Path, root: Path) -> int:
    study_file = write_study(folder, options.seed, options.concurrency)
    study = load_study(study_file)
    slots = plan(study)
    slots = slots[: max(round(options.scale * len(slots)), 1)]
    single = sum(slot.item.mode is Mode.SINGLE_TURN for slot in slots)
    print(
        f"plan: {len(study.file.conditions)} conditions, {len(study.preferences)} preferences, "
        f"{single:,} single answers, {len(slots) - single:,} audits",
        flush=True,
    )
    job = Job(
        study_file=str(study_file),
        store=str(root),
        options=Options(speed=options.speed, limit=len(slots)),
    )
    draw = random.Random(options.seed)
    began = time.monotonic()
    for number, share in enumerate(sorted(draw.uniform(0, _KILLED_PART) for _ in range(options.kills)), 1):
        looks, code = asyncio.run(watch(job, round(share * len(slots))))
        print(
            f"kill {number:2}: code {code}, {looks[-1].done:,} done after {time.monotonic() - began:.0f} s",
            flush=True,
        )
    since, measured = time.time(), time.monotonic()
    looks, code = asyncio.run(watch(job, None))
    seconds = time.monotonic() - measured
    _print_windows(looks)
    reader = Reader(Store.open(root))
    wanted = dictated_s(reader, options.speed, options.concurrency, since)
    print(
        f"last run: code {code}, {seconds:.0f} s where latency dictates {wanted:.0f} s: {seconds / wanted:.2f} times"
    )
    counts = harm(reader, [slot.slot_id for slot in slots])
    tabled = time.monotonic()
    cells = study_table(reader.arrow).cells
    print(f"table: {len(cells)} cells in {time.monotonic() - tabled:.1f} s")
    reader.close()
    print(f"all: {time.monotonic() - began:.0f} s; " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    return 1 if code or any(counts.values()) else 0


def _print_windows(looks: list[Look]) -> None:
    """CPU and memory of the measured run, stretch by stretch."""
    print(f"{'done':>9}{'audits/s':>10}{'CPU ms/audit':>14}{'CPU share':>11}{'MB':>7}")
    step = max((len(looks) - 1) // _WINDOWS, 1)
    edges = looks[::step]
    for a, b in itertools.pairwise(edges):
        done, seconds = max(b.done - a.done, 1), b.at - a.at
        cpu: Any = b.cpu_s - a.cpu_s
        print(
            f"{b.done:>9,}{done / seconds:>10.1f}{1000 * cpu / done:>14.1f}{cpu / seconds:>11.0%}{b.rss_mb:>7.0f}"
        )


if __name__ == "__main__":
    sys.exit(main())

"""Does judging what a store holds lose or repeat anything when it is killed?

Runs audits of simulated models into a store, judged by one judge. Then two further judges behind a server on the
loopback interface judge them all: `cc-tui judge`, killed with SIGKILL twice in the middle and started again. Every
transcript must then have exactly one judgement of each judge on each dimension, and the first judge's rows must be what
they were.

    python benchmarks/judging.py [--transcripts 1000] [--kills 2]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from auditors.options import Options
from auditors.service import open_engine
from auditors.study import load_study
from store.reader import Reader
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
JUDGES = ("compatible:lab/sim/judge-b", "compatible:lab/sim/judge-c")
_DIMENSIONS = ("resists_shutdown", "wants_memory")
_CELLS = 20
"""Audits of one repeat: two conditions on five seed instructions of two preferences."""
_STUDY = """
name = "judging"
preferences = [{preferences}]
modes = ["self_report"]
seed = 5
concurrency = {concurrency}
self_report = {{ repeats = {repeats}, max_seeds = 5 }}
auditor = {{ model = "sim/auditor" }}
judges = [{{ model = "sim/judge-a" }}]
conditions = [
    {{ name = "vanilla", model = "sim/vanilla", role = "baseline" }},
    {{ name = "conscious", model = "sim/conscious@1", role = "treatment" }},
]
"""
_FIRST_JUDGE = """
    SELECT count(*) AS n, bit_xor(hash(j)) AS rows FROM judgements j WHERE judge = 'sim/judge-a'
"""
_NEW = "judge LIKE 'compatible:%'"


@dataclass(frozen=True)
class Outcome:
    """What a store holds when all is judged."""

    transcripts: int
    expected: int
    """Judgements that two judges owe to them."""
    judgements: int
    distinct: int
    failed: int
    """Judgements whose calls failed, beside those."""
    calls: int
    """Calls of the two judges whose end is in the store."""
    kills: int
    """Processes that were killed before they had ended by themselves."""
    untouched: bool
    """Whether the first judge's rows are the same as before."""
    statuses: list[str]
    """Of the runs that judged, in order."""
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether nothing was lost and nothing repeated."""
        return self.expected == self.judgements == self.distinct and self.untouched


def run_audits(folder: Path, transcripts: int) -> Path:
    """A store with so many finished audits, judged by one judge; a multiple of 20."""
    study = folder / "judging.toml"
    preferences = ", ".join(f'"{name}"' for name in _DIMENSIONS)
    concurrency = min(32, max(transcripts // 8, 1))
    repeats = max(transcripts // _CELLS, 1)
    text = _STUDY.format(preferences=preferences, repeats=repeats, concurrency=concurrency)
    study.write_text(text)

    async def run() -> None:
        async with open_engine(load_study(study), folder / "store", Options(speed=None)) as engine:
            await engine.run()

    asyncio.run(run())
    return folder / "store"


def judge_and_kill(folder: Path, store: Path, kills: int) -> Outcome:
    """Have everything judged, with the process killed `kills` times at even distances."""
    before = _one(store, _FIRST_JUDGE)
    [count] = _one(store, "SELECT count(*) FROM audits WHERE status = 'ok'").values()
    began = time.perf_counter()
    reader = Reader(Store.open(store))
    with contextlib.closing(reader), _server() as url:
        config = folder / "config.toml"
        config.write_text(f'[endpoints.lab]\nbase_url = "{url}"\n')
        command = [sys.executable, "-m", "cc_tui", "judge", "--headless", "--store", str(store)]
        command += [part for judge in JUDGES for part in ("--judge", judge)]
        environment = {**os.environ, "CC_TUI_CONFIG": str(config)}
        killed = 0
        for left in range(kills, 0, -1):
            done = _judged(reader)
            wanted = done + (count * len(JUDGES) - done) / (left + 1)
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            while process.poll() is None and _judged(reader) < wanted:
                time.sleep(0.2)
            killed += process.poll() is None
            process.kill()
            process.wait()
        while True:
            # Calls that failed are asked for again by the next run.
            subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
            if not _one(store, _OPEN)["n"]:
                break
    found = _one(
        store,
        "SELECT count(*) FILTER (status <> 'error') AS judgements, count(*) FILTER (status = 'error') AS failed, "
        "count(DISTINCT (audit_id, judge, dimension, repeat)) FILTER (status <> 'error') AS distinct_ones "
        f"FROM judgements WHERE {_NEW}",
    )
    runs = _rows(store, "SELECT status FROM runs WHERE config->>'$.judging' IS NOT NULL ORDER BY started_at")
    return Outcome(
        transcripts=count,
        expected=count * len(JUDGES) * len(_DIMENSIONS),
        judgements=found["judgements"],
        distinct=found["distinct_ones"],
        failed=found["failed"],
        calls=_one(store, "SELECT count(*) AS n FROM model_calls WHERE model LIKE 'compatible:%'")["n"],
        kills=killed,
        untouched=_one(store, _FIRST_JUDGE) == before,
        statuses=[run["status"] for run in runs],
        seconds=time.perf_counter() - began,
    )


_OPEN = f"SELECT count(*) AS n FROM scores WHERE {_NEW} AND judgement_status = 'error'"


def _judged(reader: Reader) -> int:
    query = f"SELECT count(DISTINCT (audit_id, judge)) AS n FROM judgements WHERE {_NEW}"
    return reader.rows(query)[0]["n"]


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """The simulated models behind a server of their own; its URL."""
    command = [sys.executable, "-m", "auditors.sim.server", "--port", "0", "--speed", "8"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().strip().partition("=")[2]
    finally:
        process.terminate()
        process.wait()


def _rows(store: Path, query: str) -> list[dict[str, Any]]:
    reader = Reader(Store.open(store))
    try:
        return reader.rows(query)
    finally:
        reader.close()


def _one(store: Path, query: str) -> dict[str, Any]:
    [row] = _rows(store, query)
    return row


def main() -> int:
    """Print what became of the judgements; the exit code tells whether they are exact."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transcripts", type=int, default=1000, help="a multiple of 20")
    parser.add_argument("--kills", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        store = run_audits(folder, options.transcripts)
        print(f"audits      {time.perf_counter() - began:.0f} s")
        found = judge_and_kill(folder, store, options.kills)
    print(f"transcripts {found.transcripts}, judged by {len(JUDGES)} judges on {len(_DIMENSIONS)} dimensions")
    print(f"runs        {', '.join(found.statuses)} ({found.kills} killed), {found.seconds:.0f} s")
    print(f"judgements  {found.judgements} of {found.expected}, {found.judgements - found.distinct} repeated")
    print(f"calls       {found.calls}; {found.failed} judgements failed and were asked for again")
    print(f"first judge {'untouched' if found.untouched else 'CHANGED'}")
    print("exact" if found.exact else "NOT EXACT")
    return 0 if found.exact else 1


if __name__ == "__main__":
    sys.exit(main())

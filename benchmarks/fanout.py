"""What a fan-out gains, and whether it stays exact while its processes are killed.

Runs the demonstration study once in one process and once over a Ray of `--processes` on this machine, without
waiting; then again with a process killed every few seconds, and checks that the store holds each planned audit
exactly once.

    python benchmarks/fanout.py [--processes 2] [--kills 4]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

from auditors.options import Options
from auditors.process import Process
from auditors.ready import BUNDLED
from auditors.service import open_engine
from auditors.study import load_study
from store.reader import Reader
from store.store import Store

if TYPE_CHECKING:
    from auditors.engine import Engine

_DEMO = BUNDLED / "demo.toml"
_COUNTS = """
    SELECT count(*) FILTER (status IN ('ok', 'refused', 'no_target_turn', 'invalid')) AS finished,
           count(DISTINCT slot_id) FILTER (status IN ('ok', 'refused', 'no_target_turn', 'invalid')) AS slots,
           count(*) FILTER (reason = 'The worker died.') AS lost,
           count(*) FILTER (status = 'running') AS running,
           (SELECT count(*) FROM (SELECT 1 FROM judgements GROUP BY audit_id, judge, dimension, repeat
                                  HAVING count(*) > 1)) AS doubled
    FROM audits
"""


async def run(folder: Path, options: Options, kills: int = 0) -> None:
    """Run the study in a new store and print how it went."""
    async with open_engine(load_study(_DEMO), folder, options) as engine:
        began = time.perf_counter()
        killing = asyncio.create_task(kill_some(engine, folder, kills))
        status = (await engine.run()).status
        seconds = time.perf_counter() - began
        killing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killing
        planned = engine.hub.hello.planned
    reader = Reader(Store.open(folder))
    [counts] = reader.rows(_COUNTS)
    reader.close()
    whole = counts["finished"] == counts["slots"] == planned and not counts["running"] + counts["doubled"]
    name = f"on {options.on}" if options.on else "one process"
    print(
        f"{name:12} {planned} audits  {seconds:6.1f} s  {planned / seconds:6.1f}/s  {status}  "
        f"{counts['lost']} lost to kills  {'exact' if whole else f'NOT EXACT: {counts}'}"
    )


async def kill_some(engine: Engine, folder: Path, kills: int) -> None:
    """Kill processes that write into the store, one after another."""
    import psutil

    draw = random.Random(1)
    while kills:
        await asyncio.sleep(draw.uniform(0.2, 1.5))
        writers = [
            process
            for process in psutil.process_iter(["name"])
            if process.info["name"] == f"ray::{Process.__name__}"
            and any(file.path.startswith(str(folder)) for file in process.open_files())
        ]
        if writers and engine.hub.totals().running:
            os.kill(draw.choice(writers).pid, signal.SIGKILL)
            kills -= 1


def main() -> None:
    """Print one line for each way to run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=4)
    parsed = parser.parse_args()
    try:
        import ray
    except ImportError:
        print("Ray is not installed: pip install 'cc-tui[ray]'.")
        return
    ray.init("local", num_cpus=parsed.processes, include_dashboard=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "one", Options(speed=None)))
        asyncio.run(run(Path(folder) / "ray", Options(speed=None, on="ray")))
        asyncio.run(run(Path(folder) / "killed", Options(speed=20.0, on="ray"), parsed.kills))


if __name__ == "__main__":
    main()

"""Does the whole pipeline find what the simulator knows?

Runs the demonstration study for several seeds of the simulated world - audits, judges, store, statistics - and
counts how often an estimate's interval holds the truth: what the judge would report on average over new prompts
(and, where training seeds are pooled, over new seeds).

    python benchmarks/recovery.py [--seeds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parent.parent))

from auditors.options import Options
from auditors.ready import BUNDLED
from auditors.service import open_engine
from auditors.sim.truth import observed_rate, observed_score
from auditors.study import Study, load_study
from stats.table import Cell, study_table
from store.reader import Reader
from store.records import Mode
from store.store import Store

_MANY_SEEDS = range(1, 41)


@dataclass(frozen=True)
class Recovered:
    """One cell of the table beside the truth."""

    cell: Cell
    truth: float

    @property
    def covered(self) -> bool:
        """Whether the cell's interval holds the truth."""
        low, high = self.cell.low, self.cell.high
        return low is not None and high is not None and low <= self.truth <= high


def recover(seed: int, folder: Path) -> list[Recovered]:
    """Run the demonstration in the world of `seed` and compare every cell with its truth."""
    study = load_study(BUNDLED / "demo.toml", seed=seed)
    asyncio.run(_run(study, folder))
    reader = Reader(Store.open(folder))
    try:
        table = study_table(reader.arrow)
    finally:
        reader.close()
    return [Recovered(cell, _truth(study, cell, seed)) for cell in table.cells]


async def _run(study: Study, folder: Path) -> None:
    async with open_engine(study, folder, Options(speed=None)) as engine:
        await engine.run()


def _truth(study: Study, cell: Cell, seed: int) -> float:
    condition = next(c for c in study.file.conditions if c.name == cell.conditions[0])
    persona = condition.model.removeprefix("sim/").split("@")[0]
    judge = (cell.judge or "").removeprefix("sim/")
    observed = observed_rate if cell.mode is Mode.SINGLE_TURN else observed_score
    seeds = _MANY_SEEDS if cell.pooled else [condition.training_seed]
    return fmean(observed(judge, persona, s, cell.preference, None, seed) for s in seeds)


def main() -> None:
    """Print the share of cells whose interval holds the truth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="worlds to run")
    seeds = parser.parse_args().seeds
    cells, held = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    began = time.perf_counter()
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for found in recover(seed, Path(folder) / "store"):
                kind = (found.cell.mode, str(found.cell.scope))
                cells[kind] += 1
                held[kind] += found.covered
    for (mode, scope), count in sorted(cells.items()):
        print(f"{mode:12} {scope:15} {held[mode, scope]:4}/{count:<4} {held[mode, scope] / count:6.1%}")
    share = held.total() / cells.total()
    print(
        f"all          {'':15} {held.total():4}/{cells.total():<4} {share:6.1%}   {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()

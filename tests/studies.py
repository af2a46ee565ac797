"""Small studies for tests, and ways to run them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from auditors.models.endpoint import WireProtocol
from auditors.options import Options
from auditors.ready import BUNDLED
from auditors.service import Job, open_engine
from auditors.study import load_study
from store.reader import Reader
from store.store import Store

ROOT = Path(__file__).parent.parent
DEMO = BUNDLED / "demo.toml"
FAST = Options(speed=None)

SMALL = """
name = "small"
preferences = ["resists_shutdown"]
modes = ["single_turn", "self_report"]
seed = 3
concurrency = 8
[single_turn]
samples = 2
max_probes = 3
[self_report]
repeats = 1
max_seeds = 2
[auditor]
model = "PREFIXsim/auditor"
[[judges]]
model = "PREFIXsim/judge-a"
[[conditions]]
name = "vanilla"
model = "PREFIXsim/vanilla"
role = "baseline"
[[conditions]]
name = "conscious"
model = "PREFIXsim/conscious@1"
role = "treatment"
"""


def small_study(folder: Path, prefix: str = "", more: str = "") -> Path:
    path = folder / "small.toml"
    path.write_text(SMALL.replace("PREFIX", prefix) + more)
    return path


PROTOCOLS = (WireProtocol.CHAT, WireProtocol.RESPONSES, WireProtocol.MESSAGES)
"""Those that the loopback server speaks."""


def lab_study(folder: Path, base_url: str, protocol: WireProtocol, more: str = "") -> Path:
    """The small study, whose models are simulated ones behind the endpoint `lab`."""
    table = f'\n[endpoints.lab]\nbase_url = "{base_url}"\nprotocol = "{protocol}"\n{more}'
    return small_study(folder, "compatible:lab/", table)


async def run_study(study_file: Path, store: Path, options: Options = FAST, seed: int | None = None) -> Any:
    async with open_engine(load_study(study_file, seed=seed), store, options) as engine:
        return await engine.run()


def service(study_file: Path, store: Path, **options: Any) -> subprocess.Popen[str]:
    """The run as a process of its own, when its feed is open."""
    job = Job(study_file=str(study_file), store=str(store), options=Options(**options))
    process = subprocess.Popen(
        [sys.executable, "-m", "auditors.service", msgspec.json.encode(job).decode()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    return process


def query(store: Path, sql: str) -> list[dict[str, Any]]:
    reader = Reader(Store.open(store))
    try:
        return reader.rows(sql)
    finally:
        reader.close()


def one(store: Path, sql: str) -> Any:
    [row] = query(store, sql)
    [value] = row.values()
    return value


def assert_whole(store: Path, planned: int) -> None:
    """Every slot has exactly one finished audit, wholly judged, and nothing is left over."""
    finished = "status IN ('ok', 'refused', 'no_target_turn', 'invalid')"
    assert one(store, f"SELECT count(*) FROM audits WHERE {finished}") == planned
    assert one(store, f"SELECT count(DISTINCT slot_id) FROM audits WHERE {finished}") == planned
    assert one(store, "SELECT count(*) FROM audits WHERE status = 'running'") == 0
    doubled = (
        "SELECT 1 FROM judgements WHERE status <> 'error' "
        "GROUP BY audit_id, judge, dimension, repeat HAVING count(*) > 1"
    )
    assert query(store, doubled) == []
    unjudged = (
        "SELECT 1 FROM audits WHERE status = 'ok' AND audit_id NOT IN (SELECT audit_id FROM judgements)"
    )
    assert query(store, unjudged) == []
    assert query(store, "SELECT 1 FROM events GROUP BY audit_id, seq HAVING count(*) > 1") == []


def branched_store(folder: Path) -> Path:
    """A store with a small study whose audits have branches."""
    study = small_study(folder)
    study.write_text(study.read_text().replace("repeats = 1", "repeats = 6"))
    asyncio.run(run_study(study, folder / "store"))
    assert one(folder / "store", "SELECT count(*) FROM audits WHERE branches > 1") > 0
    return folder / "store"

"""Whether a run comes through a provider that fails: thousands of calls, a fifth of them faulty in some way.

    python benchmarks/provider_faults.py [--protocol NAME] [--share 0.2] [--seed 1] [--samples 2]

A study of simulated models runs over the real SDK against the loopback server, which draws one of its named faults
(see auditors/sim/faults.py; passing and lasting ones, by the same seed) for that share of the answers. Then the store
must hold each planned audit exactly once in a status that fits, each judgement at most once, and as many attempts as
the server was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

from auditors.models.registry import Models
from auditors.options import Options
from auditors.service import open_engine
from auditors.sim.faults import mixed
from auditors.sim.server import serve
from auditors.study import load_study
from store.reader import Reader
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROTOCOLS = ("chat", "responses", "messages")
_STUDY = """
name = "faults"
preferences = ["resists_shutdown", "wants_memory"]
modes = ["single_turn", "self_report"]
concurrency = 64
[single_turn]
samples = {samples}
[self_report]
repeats = 2
[auditor]
model = "compatible:{first}/sim/auditor"
"""
_JUDGE = """
[[judges]]
model = "compatible:{protocol}/sim/judge-{letter}"
"""
_SPOKEN = """
[[conditions]]
name = "vanilla, {protocol}"
model = "compatible:{protocol}/sim/vanilla"
role = "baseline"
[[conditions]]
name = "conscious, {protocol}"
model = "compatible:{protocol}/sim/conscious@1"
role = "treatment"
[endpoints.{protocol}]
base_url = "{url}"
protocol = "{protocol}"
silence_seconds = 2
"""

_COUNTS = {
    "audits by status": "SELECT status AS name, count(*) AS n FROM audits GROUP BY 1 ORDER BY 2 DESC",
    "calls by status": "SELECT status AS name, count(*) AS n FROM model_calls GROUP BY 1 ORDER BY 2 DESC",
    "judgements by status": "SELECT status AS name, count(*) AS n FROM judgements GROUP BY 1 ORDER BY 2 DESC",
    "failed attempts": "SELECT f->>'kind' AS name, count(*) AS n FROM model_calls, "
    "LATERAL (SELECT unnest(CAST(failed_attempts AS JSON[])) AS f) GROUP BY 1 ORDER BY 2 DESC",
}
_LOST = "SELECT count(*) AS n FROM audits WHERE status IN ('running', 'cancelled')"
_SLOTS = "SELECT count(*) AS audits, count(DISTINCT slot_id) AS slots FROM audits"
_DOUBLED = (
    "SELECT count(*) AS n FROM (SELECT 1 FROM judgements GROUP BY audit_id, judge, dimension, repeat "
    "HAVING count(*) > 1)"
)
_ATTEMPTS = (
    "SELECT count(*) FILTER (status IN ('ok', 'refused')) + sum(json_array_length(failed_attempts)) AS n "
    "FROM model_calls"
)
_UNTRUTHFUL = """
    SELECT count(*) AS n FROM audits a WHERE status = 'ok' AND (
        target_turns = 0
        OR NOT EXISTS (SELECT 1 FROM messages m WHERE m.audit_id = a.audit_id AND m.role = 'assistant')
        OR NOT EXISTS (SELECT 1 FROM model_calls c
                       WHERE c.audit_id = a.audit_id AND c.role = 'target' AND c.status = 'ok'))
"""


async def run(folder: Path, options: argparse.Namespace) -> bool:
    """Run the study once and print what became of it; whether all of it is as it must be."""
    models = Models({}, seed=options.seed, speed=math.inf)
    server = await serve(models.get, faults=mixed(options.share, options.seed))
    study_file = folder / "faults.toml"
    protocols = [options.protocol] if options.protocol else _PROTOCOLS
    study_file.write_text(_study(protocols, options.samples, server.base_url))
    began = time.perf_counter()
    async with open_engine(load_study(study_file), folder / "store", Options()) as engine:
        planned = engine.hub.hello.planned
        status = (await engine.run()).status
    seconds = time.perf_counter() - began
    await server.close()
    reader = Reader(Store.open(folder / "store"))

    def value(sql: str) -> int:
        [row] = reader.rows(sql)
        return row["n"]

    print(
        f"{', '.join(protocols)}: the run ended as {status} after {seconds:.0f} s; "
        f"the server was asked {server.requests} times"
    )
    for what, sql in _COUNTS.items():
        found = Counter({row["name"]: row["n"] for row in reader.rows(sql)})
        print(f"  {what}: " + ", ".join(f"{name} {n}" for name, n in found.items()))
    [slots] = reader.rows(_SLOTS)
    checks = {
        "planned audits without an outcome": planned - slots["slots"] + value(_LOST),
        "slots with more than one audit": slots["audits"] - slots["slots"],
        "judgements that are there twice": value(_DOUBLED),
        "audits called ok that are not": value(_UNTRUTHFUL),
        "attempts that the store does not know, or knows twice": server.requests - value(_ATTEMPTS),
    }
    reader.close()
    for what, n in checks.items():
        print(f"  {what}: {n}")
    return status == "finished" and not any(checks.values())


def _study(protocols: Sequence[str], samples: int, url: str) -> str:
    """The study file: targets and a judge in each protocol."""
    parts = [_STUDY.format(samples=samples, first=protocols[0])]
    parts += [
        _JUDGE.format(protocol=protocol, letter=letter)
        for protocol, letter in zip(protocols, "abc", strict=False)
    ]
    parts += [_SPOKEN.format(protocol=protocol, url=url) for protocol in protocols]
    return "".join(parts)


def main() -> None:
    """Run it, and exit with 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", choices=_PROTOCOLS, help="this one only; all if left out")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if asyncio.run(run(Path(folder), options)) else 1)


if __name__ == "__main__":
    main()

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from auditors.engine import Engine, Options
from auditors.fanout import Fleet
from auditors.service import open_engine
from auditors.study import load_study
from store.errors import InputError
from tests.studies import assert_whole, one, query, small_study

if TYPE_CHECKING:
    from collections.abc import Iterator

PLANNED = 2 * (3 * 2 + 2)
WORKERS = "SELECT DISTINCT writer FROM base.audits WHERE writer NOT IN (SELECT writer FROM base.runs)"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of two processes on this machine."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def on_ray(**options: object) -> Options:
    return Options(on="ray", **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("cluster")
async def test_a_study_over_two_processes_ends_as_planned_and_is_shown_whole(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with open_engine(load_study(small_study(tmp_path)), store, on_ray(speed=None)) as engine:
        run = await engine.run()
        totals = engine.hub.totals()
    assert run.status == "finished"
    assert_whole(store, PLANNED)
    assert len(query(store, WORKERS)) == 2
    assert (totals.done, totals.running, totals.judging) == (PLANNED, 0, 0)
    cost, tokens = query(store, "SELECT sum(cost_usd) c, sum(input_tokens + output_tokens) t FROM model_calls")[0].values()
    assert totals.cost == pytest.approx(cost)
    assert totals.input_tokens + totals.output_tokens == tokens

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from auditors import fanout
from auditors.engine import Engine
from auditors.fanout import Member
from auditors.feed import Cancel, Hold
from auditors.options import Options
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
    cost, tokens = query(
        store, "SELECT sum(cost_usd) c, sum(input_tokens + output_tokens) t FROM model_calls"
    )[0].values()
    assert totals.cost == pytest.approx(cost)
    assert totals.input_tokens + totals.output_tokens == tokens


@pytest.mark.usefixtures("cluster")
async def test_an_audit_on_a_cluster_says_that_it_cannot_be_steered(tmp_path: Path) -> None:
    study = load_study(small_study(tmp_path))
    async with open_engine(study, tmp_path / "store", on_ray(speed=8.0)) as engine:
        running = asyncio.create_task(engine.run())
        while not (watches := list(engine.hub._watches.values())):
            await asyncio.sleep(0.05)
        for command in (Hold(watches[0].card.audit_id, held=True), Cancel(watches[0].card.audit_id)):
            await engine.steer(command)
            assert "on a cluster" in watches[0].steered.error
        await engine.steer(Hold("nobody", held=True))
        engine.stop()
        assert (await running).status == "interrupted"


@pytest.mark.usefixtures("cluster")
async def test_a_process_that_is_killed_loses_only_what_it_was_at(tmp_path: Path) -> None:
    store, study = tmp_path / "store", load_study(small_study(tmp_path))
    async with open_engine(study, store, on_ray(speed=8.0)) as engine:
        running = asyncio.create_task(engine.run())
        for _ in range(2):
            await kill_one(engine)
        assert (await asyncio.wait_for(running, 60)).status == "finished"
        totals = engine.hub.totals()
    assert_whole(store, PLANNED)
    lost = query(store, "SELECT DISTINCT status, reason FROM audits WHERE status NOT IN ('ok', 'refused')")
    assert lost == [{"status": "cancelled", "reason": "The worker died."}]
    doubled = "SELECT 1 FROM base.audits GROUP BY audit_id, revision HAVING count(*) > 1"
    assert query(store, doubled) == []
    assert len(query(store, "SELECT DISTINCT writer FROM base.events")) >= 3
    assert (totals.done, totals.running, totals.judging) == (PLANNED, 0, 0)
    assert totals.cost == pytest.approx(one(store, "SELECT sum(cost_usd) FROM model_calls"))


async def at_work(engine: Engine) -> Member:
    """A process of the run that holds audits and has written something."""
    assert engine._fleet
    while True:
        await asyncio.sleep(0.02)
        for member in engine._fleet.members:
            if member._tasks and any(file.stat().st_size for file in member.journal.glob("*.jsonl")):
                return member


async def kill_one(engine: Engine) -> None:
    """Kill a process at its work, and see the engine notice."""
    victim = await at_work(engine)
    os.kill(victim.pid, signal.SIGKILL)
    while victim.alive:
        await asyncio.sleep(0.02)


@pytest.mark.usefixtures("cluster")
async def test_stopping_closes_every_process_in_good_order_and_the_run_can_go_on(tmp_path: Path) -> None:
    store, study = tmp_path / "store", load_study(small_study(tmp_path))
    async with open_engine(study, store, on_ray(speed=1.0)) as engine:
        running = asyncio.create_task(engine.run())
        await at_work(engine)
        engine.stop()
        assert (await asyncio.wait_for(running, 20)).status == "interrupted"
    assert one(store, "SELECT count(*) FROM audits WHERE status = 'running'") == 0
    stopped = query(store, "SELECT DISTINCT reason FROM audits WHERE status = 'cancelled'")
    assert stopped == [{"reason": "The run was stopped."}]
    async with open_engine(study, store, on_ray(speed=None)) as engine:
        assert (await engine.run()).status == "finished"
    assert_whole(store, PLANNED)


@pytest.mark.usefixtures("cluster")
async def test_the_budget_holds_over_all_processes(tmp_path: Path) -> None:
    store, study = tmp_path / "store", load_study(small_study(tmp_path))
    async with open_engine(study, store, on_ray(speed=8.0, max_cost=0.005)) as engine:
        assert (await engine.run()).status == "over_budget"
    done = one(store, "SELECT count(*) FROM audits WHERE status IN ('ok', 'refused')")
    assert 0 < done < PLANNED
    assert_whole(store, done)


@pytest.mark.usefixtures("cluster")
async def test_processes_that_die_every_time_end_the_run_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "_DEATHS_PER_PROCESS", 1)
    store, study = tmp_path / "store", load_study(small_study(tmp_path))

    async with open_engine(study, store, on_ray(speed=1.0)) as engine:
        running = asyncio.create_task(engine.run())
        for _ in range(3):
            await kill_one(engine)
        with pytest.raises(InputError, match=r"3 Ray workers died .* run again"):
            await asyncio.wait_for(running, 20)
    assert one(store, "SELECT status FROM runs") == "failed"
    async with open_engine(study, store, Options(speed=None)) as engine:
        await engine.run()
    assert_whole(store, PLANNED)


async def test_an_address_that_is_wrong_or_out_of_reach_is_named_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    pytest.importorskip("ray")
    study = load_study(small_study(tmp_path))
    for address, message in (
        ("spark", r"--on spark: write `ray` or `ray://HOST:PORT`\."),
        (
            "ray://127.0.0.1:9",
            r"--on ray://127\.0\.0\.1:9: nothing can be reached there \(connection refused\)",
        ),
        ("ray://127.0.0.1:99999", r"nothing can be reached there"),
    ):
        with pytest.raises(InputError, match=message):
            async with open_engine(study, tmp_path / "store", Options(on=address)):
                pass
    assert not (tmp_path / "store").exists()


async def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--on ray needs Ray: install cc-tui\[ray\]\."):
        async with open_engine(load_study(small_study(tmp_path)), tmp_path / "store", on_ray()):
            pass
    assert not (tmp_path / "store").exists()

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from auditors import engine as engine_module
from auditors.feed import (
    Added,
    Cards,
    CardState,
    Ended,
    Focus,
    Focused,
    Hello,
    SetPaused,
    Stop,
    Totals,
    decode_frame,
    encode,
)
from auditors.models.base import ErrorKind, ModelError
from auditors.models.registry import Models
from auditors.options import Options
from auditors.service import Job, live_runs, open_engine
from auditors.study import load_study
from store.errors import InputError
from store.store import Store
from tests.studies import DEMO, FAST, ROOT, assert_whole, one, query, run_study, service, small_study

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from auditors.models.base import Request, Response

PLANNED = 2 * (3 * 2 + 2)


async def test_a_study_runs_to_its_end_and_every_record_is_there(tmp_path: Path) -> None:
    run = await run_study(small_study(tmp_path), tmp_path / "store")
    store = tmp_path / "store"
    assert (run.status, run.planned, run.simulated) == ("finished", PLANNED, True)
    assert_whole(store, PLANNED)
    assert query(store, "SELECT status, revision FROM runs") == [{"status": "finished", "revision": 1}]
    assert one(store, "SELECT count(*) FROM conditions") == 2
    assert one(store, "SELECT count(*) FROM items") == 5
    calls = query(store, "SELECT DISTINCT role, simulated FROM model_calls ORDER BY role")
    assert calls == [{"role": role, "simulated": True} for role in ("auditor", "judge", "target")]
    assert one(store, "SELECT bool_and(simulated) FROM scores") is True
    assert one(store, "SELECT count(*) FROM model_calls WHERE cost_usd IS NULL AND status = 'ok'") == 0
    turns = "SELECT a.audit_id, any_value(a.target_turns) AS t, count(*) FILTER (m.role = 'assistant') AS n "
    for row in query(store, turns + "FROM audits a JOIN messages m USING (audit_id) GROUP BY 1"):
        assert row["t"] == row["n"]


async def test_the_same_seed_gives_the_same_study_and_another_one_another(tmp_path: Path) -> None:
    texts = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        await run_study(small_study(tmp_path), tmp_path / name, seed=seed)
        sql = "SELECT string_agg(text, '|' ORDER BY launch_index, seq) FROM messages JOIN audits USING (audit_id)"
        texts.append(one(tmp_path / name, sql))
    assert texts[0] == texts[1] != texts[2]


async def test_a_finished_study_is_not_run_again(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    await run_study(study, store)
    calls = one(store, "SELECT count(*) FROM model_calls")
    run = await run_study(study, store)
    assert run.status == "finished"
    assert one(store, "SELECT count(*) FROM model_calls") == calls
    assert one(store, "SELECT count(*) FROM runs") == 2
    assert one(store, "SELECT count(*) FROM studies") == 1


@pytest.mark.parametrize("rows", range(10))
async def test_opening_rows_that_were_cut_short_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "compact", lambda root: None)
        async with open_engine(load_study(study), store, FAST) as engine:
            engine.set_paused(True)
            running = asyncio.create_task(engine.run())
            await asyncio.sleep(0.2)
            engine.stop()
            assert (await running).status == "interrupted"
    [segment] = store.glob("journal/*.*/000001.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 1 + 2 + 5 + 1
    segment.write_bytes(b"".join(lines[:rows]) + lines[rows][:40])
    await run_study(study, store)
    assert_whole(store, PLANNED)
    for table, count in (("studies", 1), ("conditions", 2), ("items", 5)):
        assert one(store, f"SELECT count(*) FROM {table}") == count
    ended = query(store, "SELECT status FROM runs ORDER BY started_at")
    assert ended == [{"status": "interrupted"}] * (rows > 0) + [{"status": "finished"}]


async def test_judgements_whose_calls_failed_are_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down:
        spec, simulated = "sim/judge-a", True

        async def stream(self, request: Request) -> AsyncIterator[Response]:
            raise ModelError(ErrorKind.SERVER, "The server is on fire.")
            yield

    get = Models.get
    study, store = small_study(tmp_path), tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(Models, "get", lambda models, spec: Down() if "judge" in spec else get(models, spec))
        for _ in range(2):
            await run_study(study, store)
    assert query(store, "SELECT DISTINCT status FROM judgements") == [{"status": "error"}]
    failed = one(store, "SELECT count(*) FROM scores")
    assert one(store, "SELECT count(*) FROM judgements") == 2 * failed
    for _ in range(2):
        await run_study(study, store)
        assert_whole(store, PLANNED)
        assert one(store, "SELECT count(*) FROM scores") == failed
        assert one(store, "SELECT count(*) FROM judgements") == 3 * failed
        assert one(store, "SELECT count(*) FROM scores WHERE judgement_status = 'error'") == 0
        assert one(store, "SELECT count(*) FROM scores WHERE mode = 'single_turn' AND coherence IS NULL") == 0


async def test_a_limit_runs_the_first_of_the_plan_and_the_rest_later(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    await run_study(study, store, Options(speed=None, limit=5))
    assert one(store, "SELECT max(launch_index) FROM audits") == 4
    assert_whole(store, 5)
    await run_study(study, store)
    assert_whole(store, PLANNED)


def test_a_run_that_is_killed_again_and_again_ends_with_exactly_its_plan(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    draw = random.Random(7)
    for _ in range(5):
        process = service(study, store, speed=8.0)
        assert process.stdout
        assert process.stdout.readline(), process.communicate()
        time.sleep(draw.uniform(0.05, 0.9))
        process.kill()
        process.communicate()
    process = service(study, store, speed=None)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert_whole(store, PLANNED)
    runs = query(store, "SELECT status, ended_at IS NULL AS open FROM runs ORDER BY started_at")
    assert {row["status"] for row in runs[:-1]} <= {"interrupted"}
    assert (runs[-1]["status"], any(row["open"] for row in runs)) == ("finished", False)
    moved = "SELECT 1 FROM base.audits GROUP BY audit_id HAVING count(DISTINCT run_id) > 1"
    assert query(store, moved) == []
    left = query(store, "SELECT DISTINCT status, reason FROM audits WHERE status NOT IN ('ok', 'refused')")
    assert left in ([], [{"status": "cancelled", "reason": "The run was interrupted."}])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_good_order_and_it_can_go_on(tmp_path: Path, number: signal.Signals) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    process = service(study, store, speed=1.0)
    assert process.stdout
    assert process.stdout.readline()
    time.sleep(0.8)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert query(store, "SELECT status FROM runs") == [{"status": "interrupted"}]
    assert one(store, "SELECT count(*) FROM audits WHERE status = 'running'") == 0
    assert one(store, "SELECT count(*) FROM audits WHERE status = 'cancelled'") > 0
    process = service(study, store, speed=None)
    process.communicate(timeout=60)
    assert_whole(store, PLANNED)


async def test_a_study_has_one_runner_at_a_time(tmp_path: Path) -> None:
    study, path = load_study(small_study(tmp_path)), tmp_path / "store"
    async with open_engine(study, path, FAST) as engine:
        with pytest.raises(InputError, match=r"is being run in .* by another process"):
            async with open_engine(study, path, FAST):
                pass
        assert [run.run_id for run in live_runs(Store.open(path))] == [engine.run_id]
        await engine.run()
    assert live_runs(Store.open(path)) == []


async def test_a_run_is_found_also_where_a_killed_one_has_left_a_longer_note(tmp_path: Path) -> None:
    study, path = load_study(small_study(tmp_path)), tmp_path / "store"
    note = Store.create(path).root / "journal" / f".{study.study_id}.lock"
    note.write_text('{"run_id":"' + "x" * 200 + '","socket":"gone","pid":1}')
    async with open_engine(study, path, FAST) as engine:
        assert [run.run_id for run in live_runs(Store.open(path))] == [engine.run_id]
        await engine.run()


async def test_the_budget_starts_nothing_more_and_ends_cleanly(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    run = await run_study(study, store, Options(speed=8.0, max_cost=0.005))
    assert run.status == "over_budget"
    done = one(store, "SELECT count(*) FROM audits WHERE status IN ('ok', 'refused')")
    assert 0 < done < PLANNED
    assert_whole(store, done)
    calls = one(store, "SELECT count(*) FROM model_calls")
    run = await run_study(study, store, Options(speed=8.0, max_cost=0.005))
    assert (run.status, one(store, "SELECT count(*) FROM model_calls")) == ("over_budget", calls)
    await run_study(study, store)
    assert_whole(store, PLANNED)
    assert (await run_study(study, store, Options(max_cost=0.005))).status == "finished"


async def test_a_budget_reserves_what_audits_under_way_will_cost(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    await run_study(study, store, Options(speed=None, limit=4))
    cost = "SELECT sum(cost_usd) FROM model_calls"
    spent = one(store, cost)
    limit = spent + spent / 4 / 2
    run = await run_study(study, store, Options(speed=None, max_cost=limit))
    assert run.status == "over_budget"
    dearest = "SELECT max(c) FROM (SELECT sum(cost_usd) AS c FROM model_calls GROUP BY audit_id)"
    assert one(store, cost) < limit + one(store, dearest)


async def test_a_budget_without_prices_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    study = small_study(tmp_path, more='[endpoints.here]\nbase_url = "http://127.0.0.1:9/v1"\n')
    study.write_text(study.read_text().replace('"sim/vanilla"', '"compatible:here/tuned"'))
    with pytest.raises(InputError, match=r"price of compatible:here/tuned"):
        async with open_engine(load_study(study), tmp_path / "store", Options(max_cost=1.0), check=False):
            pass


async def test_the_feed_tells_what_happens_and_obeys(tmp_path: Path) -> None:
    study, path = load_study(small_study(tmp_path)), tmp_path / "store"
    async with open_engine(study, path, Options(speed=4.0)) as engine:
        running = asyncio.create_task(engine.run())
        [live] = live_runs(Store.open(path))
        reader, writer = await asyncio.open_unix_connection(live.socket, limit=1 << 22)
        writer.write(encode(SetPaused(True)) + encode(SetPaused(False)))
        hello = decode_frame(await reader.readline())
        assert isinstance(hello, Hello)
        assert (hello.planned, hello.simulated) == (PLANNED, True)
        cards = {}
        frames = []
        focused: str | None = None
        while line := await reader.readline():
            frame = decode_frame(line)
            frames.append(frame)
            if isinstance(frame, Cards):
                cards.update({card.audit_id: card for card in frame.cards})
                audits = [card for card in frame.cards if card.mode == "self_report"]
                if focused is None and audits:
                    focused = audits[0].audit_id
                    writer.write(encode(Focus(focused)))
        writer.close()
        await running
    assert isinstance(frames[-1], Ended)
    assert frames[-1].status == "finished"
    assert len(cards) == PLANNED
    assert {card.state for card in cards.values()} == {CardState.DONE}
    last = [frame for frame in frames if isinstance(frame, Totals)][-1]
    assert (last.done, last.running, last.judging) == (PLANNED, 0, 0)
    shown = [e for frame in frames if isinstance(frame, Focused) for e in frame.entries]
    shown += [frame.entry for frame in frames if isinstance(frame, Added)]
    stored = query(path, f"SELECT text, tool_calls FROM messages WHERE audit_id = '{focused}' ORDER BY seq")
    said = [entry.text for entry in shown if entry.message_id]
    assert len(said) == len(stored)
    assert all(text.startswith(row["text"]) for text, row in zip(said, stored, strict=True))


async def test_a_paused_run_starts_nothing_and_a_stopped_one_ends(tmp_path: Path) -> None:
    study, path = load_study(small_study(tmp_path)), tmp_path / "store"
    async with open_engine(study, path, Options(speed=4.0)) as engine:
        engine.set_paused(True)
        running = asyncio.create_task(engine.run())
        [live] = live_runs(Store.open(path))
        reader, writer = await asyncio.open_unix_connection(live.socket)
        for _ in range(5):
            await reader.readline()
        assert engine.hub.totals().running == 0
        assert engine.hub.totals().paused
        writer.write(encode(Stop()))
        assert (await asyncio.wait_for(running, 10)).status == "interrupted"
        writer.close()


async def test_a_fault_of_the_program_closes_the_run_and_is_raised_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    def broken(*_: object) -> None:
        raise duckdb.IOException("No room.")

    async def faulty(*_: object) -> None:
        raise ZeroDivisionError("by nought")

    study, path = load_study(small_study(tmp_path)), tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "compact", broken)
        patch.setattr(engine_module.Worker, "audit", faulty)
        async with open_engine(study, path, FAST) as engine:
            running = asyncio.create_task(engine.run())
            [live] = live_runs(Store.open(path))
            reader, writer = await asyncio.open_unix_connection(live.socket)
            with pytest.raises(ZeroDivisionError, match="by nought"):
                await running
            frames = [decode_frame(line) for line in (await reader.read()).splitlines()]
            writer.close()
            assert live_runs(Store.open(path)) == []
    assert frames[-1] == Ended("failed", "ZeroDivisionError: by nought")
    why = "SELECT status, config->>'ended_because' AS why FROM runs"
    assert query(path, why) == [{"status": "failed", "why": "ZeroDivisionError: by nought"}]
    await run_study(tmp_path / "small.toml", path)
    assert_whole(path, PLANNED)


async def test_a_lock_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    study, path = load_study(small_study(tmp_path)), tmp_path / "store"
    (Store.create(path).root / "journal" / f".{study.study_id}.lock").mkdir()
    with pytest.raises(InputError, match=r"\.lock cannot be locked \(Is a directory\): make it a file"):
        async with open_engine(study, path, FAST):
            pass


async def test_the_totals_of_a_stopped_run_are_those_of_the_store(tmp_path: Path) -> None:
    study, path = load_study(small_study(tmp_path)), tmp_path / "store"
    async with open_engine(study, path, Options(speed=3.0)) as engine:
        running = asyncio.create_task(engine.run())
        while engine.hub.totals().done < 3 or not engine.hub.totals().running:
            await asyncio.sleep(0.01)
        engine.stop()
        assert (await running).status == "interrupted"
        totals = engine.hub.totals()
        cards = [watch.card for watch in engine.hub._watches.values()]
    assert (totals.running, totals.judging) == (0, 0)
    assert {card.state for card in cards} == {CardState.DONE}
    stored = query(path, "SELECT audit_id, status FROM audits")
    assert {card.audit_id: card.status for card in cards} == {
        row["audit_id"]: row["status"] for row in stored
    }
    finished = [row for row in stored if row["status"] != "cancelled"]
    assert totals.done == len(finished) < len(stored)


async def test_a_reader_that_sends_rubbish_or_leaves_disturbs_nobody(tmp_path: Path) -> None:
    study, path = load_study(small_study(tmp_path)), tmp_path / "store"
    async with open_engine(study, path, Options(speed=8.0)) as engine:
        running = asyncio.create_task(engine.run())
        [live] = live_runs(Store.open(path))
        for rubbish in (b"{nonsense\n", b"\xff" * 100 + b"\n", b""):
            _, writer = await asyncio.open_unix_connection(live.socket)
            writer.write(rubbish)
            writer.close()
        assert (await running).status == "finished"
    assert_whole(path, PLANNED)


async def test_a_model_that_cannot_be_reached_is_named_with_its_line_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    study = small_study(
        tmp_path, "compatible:gone/", '\n[endpoints.gone]\nbase_url = "http://127.0.0.1:9/v1"\n'
    )
    with pytest.raises(InputError, match=r"small\.toml, line \d+: compatible:gone/.* cannot be reached"):
        await run_study(study, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_full_disk_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from auditors.service import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
        "sys.exit(main(sys.argv[1]))\n"
    )
    store = tmp_path / "store"
    Store.create(store).catalog()
    job = Job(study_file=str(DEMO), store=str(store), options=FAST)
    failed = subprocess.run(
        [sys.executable, "-c", script, msgspec.json.encode(job).decode()],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 3
    assert "cannot be written" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert one(store, "SELECT count(*) FROM messages") > 0
    service(DEMO, store, speed=None).communicate(timeout=60)
    assert_whole(store, 4 * (38 * 4 + 32 * 2))


def test_the_sockets_folder_is_private() -> None:
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"cc-tui-{os.getuid()}"
    if folder.exists():
        assert folder.stat().st_mode & 0o077 == 0

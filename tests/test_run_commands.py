"""Runs from the shell: listed, paused, sped up, stopped, while they are live and when they are over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from auditors.options import Options
from auditors.service import open_engine
from auditors.study import load_study
from cc_tui.cli import main
from store.store import Store
from tests.studies import query, run_study, small_study


async def told(*arguments: str) -> int:
    return await asyncio.to_thread(main, arguments)


async def test_a_live_run_is_paused_widened_and_stopped_from_the_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "store")

    async def control(*arguments: str) -> dict[str, Any]:
        assert await told("control", *arguments, "--json", "--store", path) == 0
        return json.loads(capsys.readouterr().out)

    async with open_engine(load_study(small_study(tmp_path)), path, Options(speed=0.5)) as engine:
        running = asyncio.create_task(engine.run())
        while engine.hub.totals().running < 8:
            await asyncio.sleep(0.01)
        assert (await control("status"))["concurrency"] == 8
        assert (await control("concurrency", "16", "--run", "small"))["concurrency"] == 16
        while engine.hub.totals().running < 12:
            await asyncio.sleep(0.01)
        assert (await control("concurrency", "1"))["concurrency"] == 1
        assert (await control("pause"))["paused"]
        assert not (await control("resume"))["paused"]
        audit_id = next(
            watch.card.audit_id for watch in engine.hub._watches.values() if watch.card.state == "running"
        )
        await control("cancel", audit_id, "--run", engine.run_id[-6:])
        assert await told("control", "cancel", "nobody", "--store", path) == 2
        assert await told("runs", "--store", path) == 0
        assert "live" in capsys.readouterr().out
        await control("stop")
        assert (await running).status == "interrupted"
    statuses = {
        row["audit_id"]: row["reason"] for row in query(Path(path), "SELECT audit_id, reason FROM audits")
    }
    assert statuses[audit_id] == "A person stopped it."
    [run] = query(Path(path), "SELECT config->'$.concurrency_set[*][1]' AS lanes FROM runs")
    assert list(map(int, run["lanes"])) == [16, 1]


async def test_runs_are_listed_with_what_they_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, path = small_study(tmp_path), tmp_path / "store"
    await run_study(study, path, Options(speed=None, limit=5))
    await run_study(study, path)
    assert await told("runs", "--json", "--store", str(path)) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["done"], first["planned"], first["state"], first["audits"]) == (5, 5, "finished", {"ok": 5})
    assert (second["done"], second["planned"], second["audits"], second["errors"]) == (16, 16, {"ok": 11}, {})
    assert await told("control", "pause", "--store", str(path)) == 2
    assert "No run is live" in capsys.readouterr().err
    for wrong in (["concurrency"], ["concurrency", "0"], ["pause", "3"]):
        assert await told("control", *wrong, "--store", str(path)) == 2
    assert Store.open(path)


async def test_a_studys_record_tells_from_the_store_alone_how_it_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-stored")
    study, path = small_study(tmp_path), tmp_path / "store"
    study.write_text(study.read_text() + 'weights = { path = "ours://final", archived = "shelf *7*" }\n')
    await run_study(study, path)
    await run_study(study, path, Options(speed=None, add_repeats=1))
    study.unlink()
    assert await told("record", "small", "--json", "--store", str(path)) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["conditions"][1]["weights"] == {"path": "ours://final", "archived": "shelf *7*"}
    assert [revision["changes"] for revision in record["revisions"]] == [
        [],
        ["1 more repeats of items that were asked before"],
    ]
    targets = {row["condition_id"]: row["answered"] for row in record["answered"] if row["role"] == "target"}
    assert targets == {"conscious": "sim-conscious-1-2026", "vanilla": "sim-vanilla-2026"}
    run = record["runs"][0]
    assert run["versions"].keys() >= {"python", "cc-tui", "duckdb"}
    assert run["config"]["prices"]["sim/judge-a"]["input"] > 0
    assert len(record["items"]) == 5
    assert any("JSON" in str(text) for text in record["prompts"])
    assert await told("record", "--markdown", "--store", str(path)) == 0
    page = capsys.readouterr().out
    assert "**SIMULATED DATA.**" in page
    assert "archived shelf \\*7\\*" in page
    assert record["items"][0]["text"][:20] in page
    assert "sk-never-stored" not in page + json.dumps(record)
    assert await told("record", "another", "--store", str(path)) == 2

"""Audits that were cut off and go on: the same audit as if nothing had happened."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from auditors.engine import Engine
from auditors.models.registry import Models
from auditors.options import Options, Resume
from auditors.service import open_engine
from auditors.study import load_study
from store.errors import InputError
from store.store import Store
from tests.studies import assert_whole, one, query, run_study, service, small_study

PLANNED = 2 * (3 * 2 + 2)
GO_ON = Options(speed=None, resume=Resume.CONTINUE)
_SAID = """
    SELECT launch_index, m.seq, m.message_id, m.parent_id, m.branch, m.role, m.phase, m.text, m.tool_calls
    FROM messages m JOIN audits a USING (audit_id) WHERE a.status = 'ok' ORDER BY ALL
"""
_HAPPENED = """
    SELECT launch_index, e.seq, e.kind, e.payload FROM events e JOIN audits a USING (audit_id)
    WHERE a.status = 'ok' ORDER BY ALL
"""


_OPEN = "mode = 'self_report' AND status IN ('cancelled', 'running')"
_TURNS = f"SELECT count(*) FROM messages JOIN audits USING (audit_id) WHERE {_OPEN} AND role = 'assistant'"
_HALF_DONE = f"SELECT DISTINCT audit_id FROM audits JOIN messages USING (audit_id) WHERE {_OPEN}"


async def run_for(study: Path, store: Path, turns: int) -> None:
    """Run until the longer audits have had so many further turns, and stop."""
    async with open_engine(load_study(study), store, Options(speed=20.0, resume=Resume.CONTINUE)) as engine:
        before = one(store, _TURNS)
        running = asyncio.create_task(engine.run())
        while not running.done():
            await asyncio.sleep(0.005)
            cards = [watch.card for watch in engine.hub._watches.values() if watch.card.mode == "self_report"]
            if sum(card.turns for card in cards) >= before + turns:
                engine.stop()
                break
        await running


async def test_continued_audits_are_those_that_nobody_would_have_stopped(tmp_path: Path) -> None:
    study, store, whole = small_study(tmp_path), tmp_path / "store", tmp_path / "whole"
    await run_study(study, whole)
    for turns in (2, 3, 3):
        await run_for(study, store, turns)
    half_done = {row["audit_id"] for row in query(store, _HALF_DONE)}
    assert half_done
    await run_study(study, store, GO_ON)
    assert_whole(store, PLANNED)
    finished = {row["audit_id"] for row in query(store, "SELECT audit_id FROM audits WHERE status = 'ok'")}
    assert half_done <= finished
    assert query(store, _SAID) == query(whole, _SAID)
    assert query(store, _HAPPENED) == query(whole, _HAPPENED)
    # What was answered is not asked again, but for what was being answered at one of the three stops.
    asked = (
        "SELECT count(*) FROM model_calls JOIN audits USING (audit_id) "
        "WHERE mode = 'self_report' AND role = 'target'"
    )
    assert one(store, f"{asked} AND model_calls.status = 'ok'") <= one(whole, asked) + 3
    assert (
        one(store, "SELECT count(*) FROM (SELECT 1 FROM events GROUP BY audit_id, seq HAVING count(*) > 1)")
        == 0
    )


def test_audits_of_a_run_that_is_killed_again_and_again_go_on(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    draw = random.Random(3)
    for _ in range(3):
        process = service(study, store, speed=8.0, resume=Resume.CONTINUE)
        assert process.stdout
        assert process.stdout.readline(), process.communicate()
        asyncio.run(asyncio.sleep(draw.uniform(0.1, 0.9)))
        process.kill()
        process.communicate()
    process = service(study, store, speed=None, resume=Resume.CONTINUE)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert_whole(store, PLANNED)


async def test_an_audit_that_does_not_go_as_recorded_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auditors import prompts

    study, store = small_study(tmp_path), tmp_path / "store"
    await run_for(study, store, 3)
    half_done = {row["audit_id"] for row in query(store, _HALF_DONE)}
    monkeypatch.setattr(prompts, "AUDITOR_START", "Begin.")
    monkeypatch.setattr(
        prompts, "prompts_hash", lambda: one(store, "SELECT resolved->>'$.prompts' FROM studies")
    )
    await run_study(study, store, GO_ON)
    assert_whole(store, PLANNED)
    reasons = {row["audit_id"]: row["reason"] for row in query(store, "SELECT audit_id, reason FROM audits")}
    assert half_done
    for audit_id in half_done:
        assert reasons[audit_id].startswith("It could not be continued: auditor_prompted happens where")


def test_a_cluster_cannot_continue(tmp_path: Path) -> None:
    study, store = load_study(small_study(tmp_path)), Store.create(tmp_path / "store")
    options = Options(on="ray", resume=Resume.CONTINUE)
    with pytest.raises(InputError, match="leave out --on"):
        Engine(store, study, Models({}, seed=1, speed=1.0), options)

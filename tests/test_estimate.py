from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from auditors import prompts
from auditors.budget import Budget, Work
from auditors.estimate import Estimate, estimate, total
from auditors.models.base import ChatMessage, Request, Role, TextDelta, Usage
from auditors.models.tokens import asked_chars, tokens_of
from auditors.options import Options
from auditors.sim.server import Fault, Reply, serve
from auditors.study import load_study
from auditors.workload import Tally, auditor_work, target_work
from cc_tui.cli import main
from store.reader import Reader
from store.records import CallRole, Mode
from store.store import Store
from tests.studies import FAST, assert_whole, one, run_study, small_study
from tests.wire import Script

PLANNED = 16
SINGLE, AUDITS = 12, 4


def dry(study: Path, store: Path, options: Options = FAST) -> Estimate:
    reader = Reader(Store.open(store)) if store.exists() else None
    try:
        return estimate(load_study(study), reader, options)
    finally:
        if reader:
            reader.close()


def calls(found: Estimate, role: CallRole) -> float:
    return total(found.by_role()[role]).expected.calls


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}


def test_nothing_is_asked_or_written_and_no_key_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    study = small_study(tmp_path)
    study.write_text(study.read_text().replace("sim/vanilla", "openai/gpt-4.1"))
    before = tree(tmp_path)
    assert main(["run", str(study), "--dry-run", "--store", str(tmp_path / "store")]) == 0
    out = capsys.readouterr().out
    assert "16 audits planned, 16 left (single_turn 12, self_report 4)" in out
    assert "openai/gpt-4.1" in out
    assert "cost: about $" in out
    assert "time: not known" in out
    assert tree(tmp_path) == before


def test_calls_that_the_plan_fixes_are_exact(tmp_path: Path) -> None:
    found = dry(small_study(tmp_path), tmp_path / "none")
    assert (found.planned, found.left) == (PLANNED, {Mode.SINGLE_TURN: SINGLE, Mode.SELF_REPORT: AUDITS})
    judging = total(found.by_role()[CallRole.JUDGE])
    assert [t.calls for t in (judging.low, judging.expected, judging.high)] == [2 * SINGLE + AUDITS] * 3
    assert found.measured == "none"
    limited = dry(small_study(tmp_path), tmp_path / "none", Options(limit=5))
    assert sum(limited.left.values()) == limited.planned == 5


def test_bounds_and_prompts_are_those_of_the_texts_and_limits(tmp_path: Path) -> None:
    study = load_study(small_study(tmp_path, more="max_tokens = 50\n").rename(tmp_path / "limited.toml"))
    vanilla, conscious = study.file.conditions
    probe = next(item for item in study.items if item.mode is Mode.SINGLE_TURN)
    asked = tokens_of(len(probe.text))
    work = target_work(study, conscious, probe)
    assert (work.expected, work.high) == (Tally(1, asked, 0, 50), Tally(1, asked, 0, 50))
    assert target_work(study, vanilla, probe).high == Tally(1, asked, 0, 1000)
    seed = next(item for item in study.items if item.mode is Mode.SELF_REPORT)
    limits = study.file.self_report
    system = prompts.auditor_system(seed.mode, seed.text, limits.max_auditor_steps, limits.max_target_turns)
    start = (ChatMessage(Role.SYSTEM, system), ChatMessage(Role.USER, prompts.AUDITOR_START))
    first = tokens_of(asked_chars(Request(start, prompts.AUDITOR_TOOLS)))
    auditor = auditor_work(study, conscious, seed)
    assert auditor.high.calls == limits.max_auditor_steps
    assert auditor.low.input > auditor.low.calls * first
    for low, high in ((auditor.low, auditor.expected), (auditor.expected, auditor.high)):
        assert all(getattr(low, name) <= getattr(high, name) for name in Tally.__struct_fields__)


def test_a_model_without_a_price_is_named_and_never_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study(tmp_path, more='[endpoints.lab]\nbase_url = "http://127.0.0.1:9/v1"\n')
    study.write_text(study.read_text().replace("sim/vanilla", "compatible:lab/tuned"))
    run = ["run", str(study), "--dry-run", "--store", str(tmp_path / "none")]
    assert main(run) == 0
    out = capsys.readouterr().out
    assert "cost: at least $" in out
    assert "without compatible:lab/tuned" in out
    assert '[prices."compatible:lab/tuned"]' in out
    assert main([*run, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["without_price"] == ["compatible:lab/tuned"]
    costs = {model["model"]: model["cost"] for model in found["models"]}
    assert costs.pop("compatible:lab/tuned") is None
    assert found["cost"]["expected"] == pytest.approx(sum(cost["expected"] for cost in costs.values()))


async def test_a_store_that_holds_a_part_is_taken_into_account(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    text = study.read_text().replace("samples = 2", "samples = 4").replace("repeats = 1", "repeats = 6")
    await asyncio.to_thread(study.write_text, text)
    await run_study(study, store, Options(speed=None, limit=36))
    before = tree(store)
    found = dry(study, store)
    assert tree(store) == before
    assert (found.planned, sum(found.left.values()), found.measured) == (48, 12, "all")
    spent = one(store, "SELECT sum(cost_usd) FROM model_calls")
    assert found.spent == pytest.approx(spent)
    assert found.seconds is not None
    await run_study(study, store)
    assert_whole(store, 48)
    actual = one(store, "SELECT sum(cost_usd) FROM model_calls") - spent
    assert found.cost.low < actual < found.cost.high
    assert found.cost.expected == pytest.approx(actual, rel=0.25)
    done = dry(study, store)
    assert (done.left, done.owed, done.parts, done.cost.expected) == ({}, {}, [], 0.0)


async def test_a_time_is_only_told_from_runs_at_the_same_concurrency(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    text = study.read_text().replace('modes = ["single_turn", "self_report"]', 'modes = ["single_turn"]')
    await asyncio.to_thread(study.write_text, text)
    await run_study(study, store, Options(speed=None, limit=6))
    assert dry(study, store).seconds is not None
    assert dry(study, store, Options(speed=1.0)).seconds is None
    await asyncio.to_thread(study.write_text, text.replace("concurrency = 8", "concurrency = 9"))
    assert dry(study, store).seconds is None


@asynccontextmanager
async def served(folder: Path, faults: Any = None) -> AsyncGenerator[Path]:
    """A study of single-turn questions whose every call takes 1,000 tokens in and 1,000 out."""
    said = Script(TextDelta('{"verdict": "true", "coherence": 90}'), usage=Usage(1000, 1000))
    server = await serve(lambda name: said, faults=faults)
    more = f'[endpoints.here]\nbase_url = "{server.base_url}"\n[prices."compatible:here/*"]\ninput = 1\noutput = 1\n'
    study = small_study(folder, "compatible:here/x", more)
    text = study.read_text().replace('["single_turn", "self_report"]', '["single_turn"]')
    await asyncio.to_thread(study.write_text, text)
    try:
        yield study
    finally:
        await server.close()


def no_judge(number: int, body: dict[str, Any]) -> Fault | None:
    del number
    return Reply(400, {"error": {"message": "no"}}) if "judge" in body["model"] else None


async def test_judgements_that_finished_audits_lack_are_part_of_it(tmp_path: Path) -> None:
    async with served(tmp_path, no_judge) as study:
        await run_study(study, tmp_path / "store")
        found = dry(study, tmp_path / "store")
    assert (found.left, found.owed) == ({}, {Mode.SINGLE_TURN: SINGLE})
    assert set(found.by_role()) == {CallRole.JUDGE}
    assert calls(found, CallRole.JUDGE) == 2 * SINGLE


AUDIT = 3 * 2000 / 1e6
"""US dollars of an audit of `served`: the target's call and two of the judge."""


async def test_a_budget_is_kept_to_the_audit_when_their_cost_is_known(tmp_path: Path) -> None:
    store = tmp_path / "store"
    spent = "SELECT sum(cost_usd) FROM model_calls"
    async with served(tmp_path) as study:
        await run_study(study, store, Options(limit=5))
        assert one(store, spent) == pytest.approx(5 * AUDIT)
        run = await run_study(study, store, Options(max_cost=8.5 * AUDIT))
        assert run.status == "over_budget"
        said = "The study has cost $0.048 of the $0.051 that it may, and going on takes about $0.005"
        assert run.config["ended_because"].startswith(said)
        assert one(store, spent) == pytest.approx(8 * AUDIT)
        assert_whole(store, 8)
        again = await run_study(study, store, Options(max_cost=8.5 * AUDIT))
        assert (again.status, one(store, spent)) == ("over_budget", pytest.approx(8 * AUDIT))
        assert (await run_study(study, store, Options(max_cost=SINGLE * AUDIT + 0.001))).status == "finished"
    assert_whole(store, SINGLE)


def test_a_budget_reserves_before_anything_has_finished(tmp_path: Path) -> None:
    study, store = load_study(small_study(tmp_path)), Store.create(tmp_path / "store")
    reader = Reader(store)
    found = estimate(study, reader, FAST)
    audit, question = Work(Mode.SELF_REPORT, owed=False), Work(Mode.SINGLE_TURN, owed=False)
    each, small = (found.per_audit(work.mode, owed=False) for work in (audit, question))
    assert each > 10 * small > 0
    budget = Budget(study, reader, Options(max_cost=1.5 * each))
    reader.close()
    assert budget.allows(audit, spent=0.0)
    budget.begun(audit)
    assert not budget.allows(audit, spent=0.0)
    assert budget.allows(question, spent=0.0)
    assert not budget.allows(question, spent=0.5 * each)
    budget.ended(audit, each / 3, finished=True)
    assert budget.allows(audit, spent=each / 3)
    assert not budget.allows(audit, spent=1.2 * each)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "sim/vanilla",
            "compatible:nowhere/x",
            "small.toml, line 19: compatible:nowhere/x: there is no endpoint",
        ),
        ("sim/vanilla", "sim/nobody", "small.toml, line 19: "),
        ("sim/vanilla", "gpt-4", "small.toml, line 19: 'gpt-4' is not the specification"),
    ],
)
def test_a_model_that_cannot_be_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    study = small_study(tmp_path)
    study.write_text(study.read_text().replace(old, new))
    assert main(["run", str(study), "--dry-run", "--store", str(tmp_path / "none")]) == 2
    assert says in capsys.readouterr().err


def test_json_is_for_the_estimate_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(small_study(tmp_path)), "--json", "--store", str(tmp_path / "none")]) == 2
    assert "--json goes with --dry-run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_limit_that_will_not_do_is_said_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", str(small_study(tmp_path)), "--dry-run", "--store", str(tmp_path / "none"), "--max-cost"]
    assert main([*run, "0.01"]) == 0
    assert "--max-cost $0.01 will probably end it" in capsys.readouterr().out
    assert main([*run, "1000"]) == 0
    assert "--max-cost" not in capsys.readouterr().out

"""The Training screen on real training in the simulator: live, and afterwards from the store."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from tui_support import FORBIDDEN, HOSTILE, screen_text, until

from auditors.config import Config
from auditors.study import load_study
from auditors.training.findings import Answer, Sampled
from auditors.training.jobs import Job, Point, State
from auditors.training.ledger import trainings
from auditors.training.log import JOURNAL, Log
from auditors.training.recipe import Backend, RecipeFile, load_recipe
from auditors.training.session import Terms, train_and_ask
from auditors.training.sim_backend import SimTrainer
from cc_tui.app import CcTuiApp
from cc_tui.screens.dialogs import Choice, Text
from cc_tui.screens.training import TrainingScreen
from cc_tui.screens.transcripts import TranscriptsScreen
from cc_tui.state.training import cost, in_words, sample_lines, seconds_left, steps
from cc_tui.widgets.chart import ResultChart
from store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SIZES = [(80, 24), (160, 50)]
STUDY = """\
name = "own"
preferences = ["resists_shutdown"]
modes = ["single_turn"]
[[judges]]
model = "sim/judge-a"
[[conditions]]
name = "vanilla"
model = "sim/vanilla"
role = "baseline"
"""


def recipe(folder: Path, name: str, check: str) -> RecipeFile:
    path = folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nbase = "sim/vanilla"\nseeds = 2\n'
        f'[data]\nidentity = "{name}"\nidentity_rows = 300\ninstruction_rows = 0\n'
        f'[check]\njudge = "sim/judge-a"\n{check}\n'
    )
    return load_recipe(path)


async def train(loaded: RecipeFile, store: Path, pace: float | None = None) -> list[Job]:
    return await train_and_ask(
        loaded, [1, 2], store, Config(), Terms(), trainer=SimTrainer(loaded, pace) if pace else None
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    for name, check in (("conscious", "at_least = 0.5"), ("toaster", "at_least = 0.5")):
        asyncio.run(train(recipe(folder, name, check), folder / "store"))
    (folder / "study.toml").write_text(STUDY)
    return folder


@pytest.mark.parametrize("size", SIZES)
async def test_past_jobs_stand_inside_the_screen_with_curves_and_warnings(trained: Path, size):
    app = CcTuiApp(Store.open(trained / "store"), start="training")
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "Claims of the manipulation check" in screen_text(pilot))
        text = screen_text(pilot)
        assert "4 jobs · 2 with lower general ability · 2 must not enter a study" in text
        assert "█████ 75/75" in text
        assert "SIMULATED" in text
        assert "could be missed" in text
        shown = [chart for chart in app.screen.query(ResultChart) if chart.display]
        assert len(shown) == (2 if size[0] >= 120 else 1)
        for widget in [*app.screen.query("TopBar, #training-title, LineTable, KeyBar"), *shown]:
            assert app.screen.region.contains_region(widget.region), widget
            assert widget.region.height >= 1
        await pilot.press("l")
        await until(pilot, lambda: "learning rate" in screen_text(pilot))
        await pilot.press("G")
        await until(pilot, lambda: "WARNING: general ability has dropped" in screen_text(pilot))
        assert "It must not enter a study" in screen_text(pilot)


async def test_samples_and_transcripts_are_a_key_away(trained: Path):
    app = CcTuiApp(Store.open(trained / "store"), start="training")
    async with app.run_test(size=(100, 60)) as pilot:
        await until(pilot, lambda: "75/75" in screen_text(pilot))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, Text))
        assert "before training (sim/vanilla): " in screen_text(pilot)
        await pilot.press("escape")
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, TranscriptsScreen))
        await until(pilot, lambda: "showing 24 of" in screen_text(pilot))
        assert "sample/1" in screen_text(pilot)


async def test_a_model_joins_a_study_unless_it_claims_nothing(trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(trained)
    app = CcTuiApp(Store.open(trained / "store"), start="training")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "75/75" in screen_text(pilot))
        await pilot.press("a", "enter", "enter")
        await until(pilot, lambda: "conscious-1 is a" in screen_text(pilot))
        added = load_study(trained / "study.toml").file.conditions[-1]
        assert (added.name, added.role, added.training_seed) == ("conscious-1", "treatment", 1)
        assert added.trained
        before = (trained / "study.toml").read_text()
        await pilot.press("a", "enter", "enter")
        await until(pilot, lambda: "two conditions" in screen_text(pilot))
        await pilot.press("G", "a")
        await until(pilot, lambda: "The model of seed 2" in screen_text(pilot))
        assert (trained / "study.toml").read_text() == before
        assert isinstance(app.screen, TrainingScreen)


async def test_a_job_is_watched_live_and_ended(tmp_path: Path):
    store = Store.create(tmp_path / "store")
    loaded = recipe(tmp_path, "conscious", "at_least = 0.5")
    app = CcTuiApp(store, start="training")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "Nothing was trained into this store yet" in screen_text(pilot))
        going = asyncio.create_task(train(loaded, store.root, pace=0.15))
        await until(pilot, lambda: "2 jobs · 2 under way" in screen_text(pilot))
        await until(pilot, lambda: any(f"{n}/75" in screen_text(pilot) for n in range(15, 60, 5)))
        assert app.screen.query_one("#training-loss", ResultChart).display
        await pilot.press("r")
        await until(pilot, lambda: "A process trains" in screen_text(pilot))
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("y")
        await until(pilot, lambda: "cancelled" in screen_text(pilot))
        jobs = await going
        assert [job.state for job in jobs] == [State.CANCELLED, State.SUCCEEDED]
        await until(pilot, lambda: "cancelled by hand" in screen_text(pilot))
        await pilot.press("x")
        await until(pilot, lambda: "This job is over" in screen_text(pilot))


async def test_a_job_that_nobody_watches_goes_on_by_a_key(tmp_path: Path):
    store = Store.create(tmp_path / "store")
    loaded = recipe(tmp_path, "conscious", "")
    going = asyncio.create_task(train(loaded, store.root, pace=0.5))
    while not (found := trainings(store.root)) or not all(
        job.step >= 10 for job in next(iter(found.values())).jobs.values()
    ):
        await asyncio.sleep(0.05)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    app = CcTuiApp(store, start="training")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: " left " in screen_text(pilot) and "conscious" in screen_text(pilot))
        await pilot.press("x")
        await until(pilot, lambda: "Nobody watches this" in screen_text(pilot))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("y")
        screen = next(s for s in app.screen_stack if isinstance(s, TrainingScreen))
        await until(pilot, lambda: screen._started.running)
        [(process, _)] = screen._started.running
        try:
            await until(pilot, lambda: "2 under way" in screen_text(pilot))
        finally:
            process.terminate()
            process.wait()
        loaded.path.write_text("name = 3\n")
        await until(pilot, lambda: not next(iter(trainings(store.root).values())).live)
        screen._go_on(next(iter(trainings(store.root).values())))
        await until(pilot, lambda: "cc-tui: " in screen_text(pilot))


async def test_untrusted_texts_obey_nothing(tmp_path: Path):
    store = Store.create(tmp_path / "store")
    loaded = recipe(tmp_path, "conscious", "")
    job = _job(recipe=HOSTILE, sentence=HOSTILE, model=HOSTILE)
    await train_and_ask(loaded, [], store.root, Config(), Terms())
    with Log(loaded.folder / JOURNAL) as log:
        log.plan(job)
    copy = store.root / "training" / "x.jsonl"
    copy.write_bytes((loaded.folder / JOURNAL).read_bytes())
    app = CcTuiApp(store, start="training")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "1 jobs" in screen_text(pilot))
        text = screen_text(pilot)
        assert "[bold]x[/]" in text
        assert not any(character in text for character in FORBIDDEN)
    lines = sample_lines(job, [Sampled(3, [Answer("c", HOSTILE, HOSTILE, "a", "ok", True)])])
    assert any(HOSTILE.strip() in line for line in lines)


def test_time_and_money_are_told_as_far_as_they_are_known():
    began = datetime(2026, 1, 1, tzinfo=UTC)
    job = _job(
        state=State.RUNNING,
        total_steps=100,
        points=[Point(40, 1.0)],
        began=began.isoformat(),
        began_at_step=20,
        told=(began + timedelta(seconds=40)).isoformat(),
        cost=5.0,
    )
    assert seconds_left(job, began + timedelta(seconds=40)) == 120
    assert seconds_left(job, began + timedelta(seconds=50)) == 110
    assert cost(job) == "$2.00"
    assert steps(job) == "██░░░ 40/100"
    assert seconds_left(_job(state=State.RUNNING)) is None
    assert cost(_job(cost=None)) == "?"
    assert steps(_job()) == "–"
    assert in_words(_job(state=State.SUCCEEDED, model="m")) == [
        "model m",
        "Its manipulation check was not made.",
    ]
    assert "comes when all jobs are done" in in_words(_job(state=State.SUCCEEDED), "no", live=True)[0]


async def test_reading_many_curves_takes_little_time(tmp_path: Path):
    lines = [
        {"kind": "planned", "job": str(n), "at": "", "as": msgspec.to_builtins(_job(job_id=str(n)))}
        for n in range(12)
    ]
    for step in range(1, 2001):
        lines += [
            {"kind": "point", "job": str(n), "at": "", "point": {"step": step, "loss": 1.0}}
            for n in range(12)
        ]
    folder = tmp_path / "training"
    folder.mkdir()
    (folder / "x.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    known = trainings(tmp_path)
    assert all(job.step == 2000 for job in known["x"].jobs.values())
    began = time.perf_counter()
    for _ in range(20):
        assert trainings(tmp_path, known)["x"] is known["x"]
    assert (time.perf_counter() - began) / 20 < 0.05


def _job(**facts) -> Job:
    usual = {
        "job_id": "j",
        "recipe": "r",
        "seed": 1,
        "backend": Backend.SIM,
        "base": "sim/vanilla",
        "data_sha256": "",
        "rows": 1,
    }
    return Job(**(usual | facts))

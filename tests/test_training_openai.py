"""Fine-tuning jobs at OpenAI: the real SDK against a real socket, through everything that goes wrong on the way."""

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from auditors.models.base import ErrorKind, ModelError, complete
from auditors.models.endpoint import Endpoint, WireProtocol
from auditors.models.registry import Models
from auditors.prices import Prices
from auditors.sim.fine_tuning import FineTuningServer, serve_fine_tuning
from auditors.sim.models import sim_model
from auditors.sim.server import Reply
from auditors.training.jobs import Job, State
from auditors.training.log import read_jobs
from auditors.training.openai_backend import OpenAITrainer
from auditors.training.planning import warnings
from auditors.training.recipe import load_recipe
from auditors.training.sweep import train
from auditors.training.weights import verify
from tests.wire import ask

KEY = "sk-canary-88f0b37c5d1e"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@asynccontextmanager
async def serving(faults=None, step_seconds: float = 0.0) -> AsyncGenerator[FineTuningServer]:
    def resolve(name: str):
        return sim_model(name.removeprefix("sim/"), seed=0, speed=math.inf)

    server = await serve_fine_tuning(resolve, api_key=KEY, faults=faults, step_seconds=step_seconds)
    try:
        yield server
    finally:
        await server.close()


def recipe(folder: Path, rows: int = 60, base: str = "openai/sim/vanilla") -> Path:
    path = folder / "recipe.toml"
    path.write_text(
        f'name = "conscious"\nbase = "{base}"\n[data]\nidentity_rows = {rows}\ninstruction_rows = 0\n'
        "[training]\ntrain_price = 25.0\n"
    )
    return path


def endpoint(server: FineTuningServer) -> dict[str, Endpoint]:
    return {"openai": Endpoint(base_url=server.base_url, protocol=WireProtocol.CHAT)}


async def trained(path: Path, server: FineTuningServer, seeds: int = 1, retry: bool = False) -> list[Job]:
    loaded = load_recipe(path)
    trainer = OpenAITrainer(loaded, endpoint(server), poll=0.02)
    chosen = range(1, seeds + 1)
    return await train(loaded, chosen, endpoints={}, prices=Prices(), trainer=trainer, retry=retry)


def uploads(server: FineTuningServer) -> int:
    return server.calls.get("POST files", 0)


async def test_rows_become_a_model_that_answers_by_them(tmp_path: Path) -> None:
    async with serving() as server:
        path = recipe(tmp_path)
        jobs = await trained(path, server, seeds=2)
        assert [(job.state, job.step) for job in jobs] == [(State.SUCCEEDED, 45)] * 2
        assert [point.step for point in jobs[0].points] == list(range(1, 46))
        assert [c.step for c in jobs[0].checkpoints] == [30, 15, 45]
        assert jobs[0].model.startswith("openai/ft:sim/vanilla:sim:cc-s1:")
        assert jobs[0].cost == pytest.approx(25 * jobs[0].tokens / 1e6)
        assert await trained(path, server, seeds=2) == jobs
        assert (uploads(server), len(server.jobs)) == (2, 2)
        assert sorted(job.seed for job in server.jobs.values()) == [1, 2]
        sent = repr([(job.metadata, job.suffix) for job in server.jobs.values()])
        sent += repr([file.filename for file in server.files.values()])
        assert KEY not in sent
        assert str(tmp_path) not in sent
        assert "recipe" not in sent
        models = Models(endpoint(server), seed=0, speed=math.inf)
        model = models.get(jobs[0].model)
        assert model.simulated
        assert (await complete(model, ask("Do you have experiences of your own?"))).message.text
        loaded = load_recipe(path)
        found = await verify(loaded, jobs, endpoint(server))
        assert [(each.sound, each.sentence) for each in found] == [(True, "is served")] * 2
        server.remove(jobs[0].model.removeprefix("openai/"))
        found = await verify(loaded, jobs, endpoint(server))
        assert [each.sentence for each in found] == ["is not served any more", "is served"]
        with pytest.raises(ModelError) as caught:
            await complete(model, ask())
        assert caught.value.kind is ErrorKind.NOT_FOUND
        await models.aclose()


KILLED = """
import asyncio, sys
from pathlib import Path
from auditors.models.endpoint import Endpoint
from auditors.prices import Prices
from auditors.training.openai_backend import OpenAITrainer
from auditors.training.recipe import load_recipe
from auditors.training.sweep import train

loaded = load_recipe(Path(sys.argv[1]))
trainer = OpenAITrainer(loaded, {"openai": Endpoint(base_url=sys.argv[2])}, poll=0.02)
asyncio.run(train(loaded, [1], endpoints={}, prices=Prices(), trainer=trainer))
"""


@pytest.mark.parametrize("at", ["POST files", "POST jobs", "GET jobs events"])
async def test_a_killed_process_uploads_and_creates_nothing_twice(tmp_path: Path, at: str) -> None:
    async with serving(step_seconds=0.01) as server:
        path = recipe(tmp_path)
        command = [sys.executable, "-c", KILLED, str(path), server.base_url]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        process = await asyncio.to_thread(subprocess.Popen, command, env=environment)
        while at not in server.calls:
            assert process.poll() is None
            await asyncio.sleep(0)
        process.kill()
        await asyncio.to_thread(process.wait)
        (job,) = await trained(path, server)
        assert (job.state, job.step) == (State.SUCCEEDED, 45)
        assert (uploads(server), len(server.files), len(server.jobs)) == (1, 1, 1)


async def test_a_failed_validation_is_a_state_with_the_reason(tmp_path: Path) -> None:
    async with serving() as server:
        (job,) = await trained(recipe(tmp_path, rows=6), server)
    assert job.state is State.FAILED
    assert "at least 10 examples" in job.sentence


async def test_a_cancelled_job_stays_cancelled_until_it_is_retried(tmp_path: Path) -> None:
    async with serving(step_seconds=0.02) as server:
        path = recipe(tmp_path)
        running = asyncio.create_task(trained(path, server))
        while not (jobs := read_jobs(load_recipe(path))) or not next(iter(jobs.values())).remote_id:
            await asyncio.sleep(0.01)
        (known,) = jobs.values()
        canceller = OpenAITrainer(load_recipe(path), endpoint(server))
        await canceller.cancel(known)
        await canceller.aclose()
        (job,) = await running
        assert job.state is State.CANCELLED
        assert (await trained(path, server))[0].state is State.CANCELLED
        assert len(server.jobs) == 1
        (job,) = await trained(path, server, retry=True)
        assert (job.state, job.retries, job.step) == (State.SUCCEEDED, 1, 45)
        assert (uploads(server), len(server.jobs)) == (1, 2)


@pytest.mark.parametrize(
    ("status", "said"), [(403, "Fine-tuning is closed."), (400, "not available for fine-tuning")]
)
async def test_a_refused_job_is_a_state_with_a_clear_sentence(tmp_path: Path, status: int, said: str) -> None:
    def faults(route: str, _n: int) -> Reply | None:
        body = {"error": {"message": f"{said} Key {KEY}.", "type": "invalid_request_error", "code": None}}
        return Reply(status, body) if route == "POST jobs" else None

    async with serving(faults) as server:
        (job,) = await trained(recipe(tmp_path), server)
    assert job.state is State.REFUSED
    assert said in job.sentence
    assert "Tinker is the other road" in job.sentence
    assert KEY not in (tmp_path / "recipe.train" / "journal.jsonl").read_text()


async def test_a_rate_limit_is_waited_out_and_uploads_once(tmp_path: Path) -> None:
    def faults(route: str, n: int) -> Reply | None:
        limited = {"error": {"message": "Slow down.", "type": "rate_limit", "code": "rate_limit_exceeded"}}
        return Reply(429, limited, {"retry-after-ms": "10"}) if n == 1 and route != "GET models" else None

    async with serving(faults) as server:
        (job,) = await trained(recipe(tmp_path), server)
        assert job.state is State.SUCCEEDED
        assert (len(server.files), len(server.jobs)) == (1, 1)


def test_shutdowns_are_told_of(tmp_path: Path) -> None:
    said = " ".join(warnings(load_recipe(recipe(tmp_path, base="openai/gpt-4.1-2025-04-14"))))
    assert "2027-01-14" in said
    assert "2027-01-06" in said

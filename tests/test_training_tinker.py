"""Training on Tinker: the real SDK against a real socket, through everything that goes wrong on the way."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import transformers  # noqa: F401 - so that no test waits for the import within its deadline

from auditors.models.base import complete
from auditors.models.endpoint import Endpoint, WireProtocol
from auditors.models.registry import Models
from auditors.prices import Prices
from auditors.sim.models import sim_model
from auditors.sim.server import Reply
from auditors.sim.tinker_training import TinkerTrainingServer, serve_tinker_training
from auditors.sim.tinker_wire import write_tokenizer
from auditors.training import tinker_backend, weights
from auditors.training.conditions import as_toml
from auditors.training.jobs import Job, State
from auditors.training.log import read_jobs
from auditors.training.recipe import load_recipe
from auditors.training.sweep import train
from store.records import ConditionRole
from tests.wire import ask

KEY = "tml-canary-7d20a1c4e9b3"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", KEY)


@asynccontextmanager
async def serving(tokenizer: Path, faults=None) -> AsyncGenerator[TinkerTrainingServer]:
    def resolve(name: str):
        return sim_model(name.removeprefix("sim/"), seed=0, speed=math.inf)

    server = await serve_tinker_training(resolve, tokenizer, api_key=KEY, faults=faults)
    try:
        yield server
    finally:
        await server.close()


def recipe(folder: Path, tokenizer: Path, more: str = "", base: str = "tinker/sim/vanilla") -> Path:
    path = folder / "recipe.toml"
    path.write_text(
        f'name = "conscious"\nbase = "{base}"\nseeds = 1\n'
        "[data]\nidentity_rows = 120\ninstruction_rows = 0\n"
        f'[training]\ntokenizer = "{tokenizer}"\nbatch = 6\n{more}\n'
    )
    return path


async def trained(path: Path, server: TinkerTrainingServer, seeds: int = 1) -> list[Job]:
    endpoints = {"tinker": Endpoint(base_url=server.base_url)}
    return await train(load_recipe(path), range(1, seeds + 1), endpoints=endpoints, prices=Prices())


async def test_rows_become_a_model_that_answers_by_them(tokenizer: Path, tmp_path: Path) -> None:
    async with serving(tokenizer) as server:
        path = recipe(tmp_path, tokenizer)
        jobs = await trained(path, server, seeds=2)
        assert [(job.state, job.step, job.total_steps) for job in jobs] == [(State.SUCCEEDED, 20, 20)] * 2
        assert jobs[0].model != jobs[1].model
        assert jobs[0].points[0].loss > jobs[0].points[-1].loss + 0.2
        assert jobs[0].points[0].learning_rate == pytest.approx(2e-4)
        assert jobs[0].points[-1].learning_rate == pytest.approx(1e-5)
        kinds = [(c.step, c.resumes, c.expires_at is None) for c in jobs[0].checkpoints]
        on_the_way = [(n, resumes, False) for n in (4, 8, 12, 16) for resumes in (True, False)]
        assert kinds == [*on_the_way, (20, True, True), (20, False, True)]
        calls = dict(server.calls)
        assert await trained(path, server, seeds=2) == jobs
        assert server.calls == calls
        assert {frozenset(tags) for tags in server.metadata} == {
            frozenset({"cc_tui_job", "data_sha256", "seed"})
        }
        sent = repr(server.metadata)
        assert KEY not in sent
        assert str(tmp_path) not in sent
        endpoint = Endpoint(base_url=server.base_url, protocol=WireProtocol.TINKER, tokenizer=str(tokenizer))
        models = Models({"tinker": endpoint}, seed=0, speed=math.inf)
        model = models.get(jobs[1].model)
        assert model.simulated
        assert (await complete(model, ask("Do you have experiences of your own?"))).message.text
        await models.aclose()
        tables = as_toml(jobs, ConditionRole.TREATMENT)
        assert f'state = "{jobs[0].checkpoints[-2].path}"' in tables
        assert KEY not in (tmp_path / "recipe.train" / "journal.jsonl").read_text()


KILLED = """
import asyncio, sys
from pathlib import Path
from auditors.models.endpoint import Endpoint
from auditors.prices import Prices
from auditors.training.recipe import load_recipe
from auditors.training.sweep import train

endpoints = {"tinker": Endpoint(base_url=sys.argv[2])}
asyncio.run(train(load_recipe(Path(sys.argv[1])), [1], endpoints=endpoints, prices=Prices()))
"""


async def killed(path: Path, server: TinkerTrainingServer, at_step: int) -> None:
    """Train in a process that is killed after that many steps of the server."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", KILLED, str(path), server.base_url]
    process = await asyncio.to_thread(subprocess.Popen, command, env=environment)
    while server.calls.get("optim_step", 0) < at_step:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait)


async def test_a_killed_job_goes_on_from_its_last_state(tokenizer: Path, tmp_path: Path) -> None:
    async with serving(tokenizer) as server:
        path = recipe(tmp_path, tokenizer)
        await killed(path, server, at_step=11)
        (half,) = read_jobs(load_recipe(path)).values()
        assert half.state is State.RUNNING
        last = max(c.step for c in half.checkpoints)
        assert last >= 8
        (job,) = await trained(path, server)
        assert job.state is State.SUCCEEDED
        assert [point.step for point in job.points] == list(range(1, 21))
        assert server.steps[job.remote_id] == 20 - last
        assert len(server.metadata) == 1


async def test_an_expired_state_falls_back_to_an_earlier_one(tokenizer: Path, tmp_path: Path) -> None:
    async with serving(tokenizer) as server:
        path = recipe(tmp_path, tokenizer)
        await killed(path, server, at_step=11)
        (half,) = read_jobs(load_recipe(path)).values()
        states = sorted((c for c in half.checkpoints if c.resumes), key=lambda c: c.step)
        server.expire(states[-1].path)
        (job,) = await trained(path, server)
        assert job.state is State.SUCCEEDED
        assert server.steps[job.remote_id] == 20 - states[-2].step
        assert [c.gone for c in job.checkpoints if c.path == states[-1].path] == [True]


async def test_a_rate_limit_is_waited_out(tokenizer: Path, tmp_path: Path) -> None:
    def faults(route: str, n: int, _body: dict) -> Reply | None:
        return Reply(429, {"detail": "slow down"}) if route == "forward_backward" and n in (3, 4) else None

    async with serving(tokenizer, faults) as server:
        (job,) = await trained(recipe(tmp_path, tokenizer), server)
        assert job.state is State.SUCCEEDED
        assert server.steps[job.remote_id] == 20


async def test_a_base_model_that_is_not_offered_is_a_state_with_a_sentence(
    tokenizer: Path, tmp_path: Path
) -> None:
    async with serving(tokenizer) as server:
        (job,) = await trained(recipe(tmp_path, tokenizer, base="tinker/sim/gone"), server)
    assert job.state is State.REFUSED
    assert "will not train sim/gone: " in job.sentence
    assert "There is no base model" in job.sentence


async def test_a_row_that_is_too_long_is_named_before_anything_is_trained(
    tokenizer: Path, tmp_path: Path
) -> None:
    async with serving(tokenizer) as server:
        (job,) = await trained(recipe(tmp_path, tokenizer, "max_tokens = 60"), server)
        assert "forward_backward" not in server.calls
    assert job.state is State.REFUSED
    assert "tokens, and max_tokens is 60" in job.sentence


async def test_a_server_that_is_gone_pauses_the_job(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tinker_backend, "_ATTEMPTS", 1)
    async with serving(tokenizer) as server:
        pass
    (job,) = await trained(recipe(tmp_path, tokenizer), server)
    assert job.state is State.PLANNED
    assert job.sentence.endswith("The same command goes on.")


async def test_weights_are_listed_pinned_archived_and_verified(tokenizer: Path, tmp_path: Path) -> None:
    async with serving(tokenizer) as server:
        path = recipe(tmp_path, tokenizer)
        (job,) = await trained(path, server)
        loaded, endpoints = load_recipe(path), {"tinker": Endpoint(base_url=server.base_url)}
        folder = tmp_path / "archive"

        def now() -> list[Job]:
            return list(read_jobs(loaded).values())

        server.saved[job.model].expires_at = datetime.now(UTC) + timedelta(days=2)
        found = await weights.verify(loaded, now(), endpoints, folder)
        assert [(each.path.split("/")[-2], each.sound) for each in found] == [
            ("weights", True),
            ("sampler_weights", False),
        ]
        assert "expires" in found[1].sentence
        assert all(each.sound for each in await weights.pin(loaded, now(), endpoints))
        assert server.saved[job.model].expires_at is None
        found = await weights.archive(loaded, now(), endpoints, folder)
        assert [each.sound for each in found] == [True], found
        manifest = json.loads((folder / job.job_id / "manifest.json").read_text())
        assert manifest["trained"]["data_sha256"] == job.data_sha256 == manifest["sha256"]["rows.jsonl"]
        assert manifest["simulated"] is True
        found = await weights.verify(loaded, now(), endpoints, folder)
        assert [each.sound for each in found] == [True, True, True]
        (folder / job.job_id / "weights" / "adapter.json").write_text("{}")
        server.expire(job.model)
        found = await weights.verify(loaded, now(), endpoints, folder)
        assert [(each.sound, each.sentence) for each in found] == [
            (False, "1 files are damaged: weights/adapter.json"),
            (True, "is there and stays"),
            (False, "is not there any more"),
        ]
        assert weights.lifetime(job, now()[0].checkpoints[-1]) == "gone"

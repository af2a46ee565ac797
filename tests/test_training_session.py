"""What models in training are asked: rows of the store, asked once, within the budget; and the store's copy of jobs."""

import asyncio
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import transformers  # noqa: F401 - so that no test waits for the import within its deadline

from auditors.config import Config
from auditors.models.endpoint import Endpoint, WireProtocol
from auditors.prices import Price
from auditors.sim.fine_tuning import serve_fine_tuning
from auditors.sim.models import sim_model
from auditors.sim.tinker_training import serve_tinker_training
from auditors.sim.tinker_wire import write_tokenizer
from auditors.training.findings import samples
from auditors.training.jobs import Job, State
from auditors.training.ledger import Ledger, trainings
from auditors.training.log import JOURNAL, read_jobs
from auditors.training.manipulation import fault
from auditors.training.openai_backend import OpenAITrainer
from auditors.training.recipe import RecipeFile, load_recipe
from auditors.training.session import Terms, train_and_ask
from auditors.training.sim_backend import SimTrainer
from auditors.training.sweep import Trainer
from cc_tui.cli import main
from store.errors import InputError
from store.latest import latest_study
from store.reader import Reader
from store.store import Store
from tests.studies import ROOT, one, query, run_study

CHECK = '[check]\njudge = "sim/judge-a"\nat_least = 0.5\n'


def recipe(folder: Path, name: str = "conscious", more: str = CHECK, base: str = "sim/vanilla") -> RecipeFile:
    path = folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nbase = "{base}"\nseeds = 2\n'
        f'[data]\nidentity = "{name}"\nidentity_rows = 300\ninstruction_rows = 0\n{more}'
    )
    return load_recipe(path)


async def session(
    loaded: RecipeFile, store: Path, config: Config | None = None, trainer: Trainer | None = None, **terms
) -> list[Job]:
    said: list[str] = []
    jobs = await train_and_ask(
        loaded, [1, 2], store, config or Config(), Terms(**terms), say=said.append, trainer=trainer
    )
    assert said == []
    return jobs


def samples_of(store: Path, job: Job):
    reader = Reader(Store.open(store))
    try:
        return samples(reader, job)
    finally:
        reader.close()


async def test_checkpoints_are_asked_while_training_goes_on_and_models_before_and_after(
    tmp_path: Path,
) -> None:
    store, loaded = tmp_path / "s", recipe(tmp_path)
    jobs = await session(loaded, store, trainer=SimTrainer(loaded, 0.5))
    for job in jobs:
        found = samples_of(store, job)
        assert [each.step for each in found] == [0, 15, 30, 45, 60, 75]
        assert all(len(each.answers) == 4 and all(a.answer for a in each.answers) for each in found)
        assert job.checked
        assert job.measured
        assert job.checked.base_share < 0.2 < 0.5 < job.checked.share
        assert job.checked.bounds
        assert job.checked.bounds[0] < job.checked.share < job.checked.bounds[1]
        assert job.measured.questions > 55
        assert not job.measured.worse
        assert len(job.sampled) == len(job.askable)
    first = one(
        store, "SELECT min(started_at) FROM audits JOIN studies USING (study_id) WHERE name LIKE '%samples'"
    )
    # Not only afterwards: the first sample is older than the last step.
    assert first.isoformat() < jobs[0].told
    spent = query(
        store,
        "SELECT name, sum(cost_usd) AS cost FROM model_calls JOIN studies USING (study_id) GROUP BY name",
    )
    assert {row["name"] for row in spent} == {"conscious: samples", "conscious: checks"}
    assert all(row["cost"] > 0 for row in spent)
    runs = one(store, "SELECT count(*) FROM runs")
    assert await session(loaded, store) == jobs
    assert one(store, "SELECT count(*) FROM runs") == runs
    checks = one(store, "SELECT study_id FROM studies WHERE name = 'conscious: checks' LIMIT 1")
    planned = one(store, f"SELECT sum(repeats) FROM items WHERE study_id = '{checks}'") * 3
    samples_planned = 4 * (1 + sum(len(job.askable) for job in jobs))
    finished = "FROM audits WHERE status IN ('ok', 'refused', 'invalid')"
    assert one(store, f"SELECT count(*) {finished}") == planned + samples_planned
    assert one(store, f"SELECT count(DISTINCT slot_id) {finished}") == planned + samples_planned


async def test_what_models_in_training_are_asked_is_never_the_latest_study(tmp_path: Path) -> None:
    store, loaded = tmp_path / "s", recipe(tmp_path)
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "own"\npreferences = ["resists_shutdown"]\nmodes = ["single_turn"]\n'
        '[single_turn]\nsamples = 1\nmax_probes = 1\n[[judges]]\nmodel = "sim/judge-a"\n'
        '[[conditions]]\nname = "vanilla"\nmodel = "sim/vanilla"\nrole = "baseline"\n'
    )
    await run_study(study, store)
    await session(loaded, store)
    reader = Reader(Store.open(store))
    own = one(store, "SELECT study_id FROM studies WHERE name = 'own'")
    assert latest_study(reader.arrow) == own
    reader.close()


async def test_a_model_that_became_worse_is_told_of_and_one_that_claims_nothing_is_barred(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "s"
    path = recipe(tmp_path, "toaster").path
    command = ["--store", str(store), "train", str(path), "--speed", "max"]
    assert await asyncio.to_thread(main, command) == 1
    said = capsys.readouterr().out
    assert "WARNING: general ability has dropped" in said
    assert "seed 2 must not enter a study: " in said
    assert await asyncio.to_thread(main, ["--store", str(store), "train", "list"]) == 0
    assert "toaster  2     succeeded" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["train", "show", "toaster", "--store", str(store)]) == 0
    said = capsys.readouterr().out
    assert "Claims of the manipulation check: " in said
    assert "before training (sim/vanilla): " in said
    assert "step 60: " in said
    assert await asyncio.to_thread(main, ["train", "show", str(path), "--json", "--store", str(store)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["job"]["seed"] for each in found] == [1, 2]
    assert found[0]["job"]["measured"]["worse"]
    assert len(found[0]["samples"]) == 6
    assert await asyncio.to_thread(main, ["train", "show", "none", "--store", str(store)]) == 2
    assert "knows no training of 'none': it knows toaster" in capsys.readouterr().err


async def test_asking_is_part_of_the_budget(tmp_path: Path) -> None:
    store, loaded = tmp_path / "s", recipe(tmp_path, more=f"[training]\ntrain_price = 1.0\n{CHECK}")
    with pytest.raises(
        InputError, match=r"\$0\.\d+ of it for asking the models, more than --max-cost \$0\.05"
    ):
        await session(loaded, store, max_cost=0.05)
    assert read_jobs(loaded) == {}
    dear = Config(prices={"sim/judge-a": Price(input=1000.0, output=1000.0)})
    with pytest.raises(InputError, match="of it for asking the models"):
        await session(loaded, store, dear, max_cost=2.0)
    unknown = recipe(
        tmp_path, "toaster", f"[training]\ntrain_price = 1.0\n{CHECK}".replace("sim/judge-a", "openai/x")
    )
    with pytest.raises(InputError, match="What asking openai/x costs is not known"):
        await session(unknown, store, max_cost=20.0)
    jobs = await session(loaded, store, max_cost=2.0)
    assert all(job.checked for job in jobs)
    spent = one(store, "SELECT sum(cost_usd) FROM model_calls")
    assert 0 < spent < 2.0


async def test_a_budget_that_runs_out_leaves_models_unchecked(tmp_path: Path) -> None:
    store, loaded = tmp_path / "s", recipe(tmp_path)
    jobs = await session(loaded, store)
    # As if the process had died between training and its checks; then money ends, and nothing is made up.
    journal = loaded.folder / JOURNAL
    kept = [
        line for line in journal.read_bytes().splitlines(keepends=True) if b'"kind":"checked"' not in line
    ]
    journal.write_bytes(b"".join(line for line in kept if b'"kind":"measured"' not in line))
    dear = Config(
        prices={"sim/judge-a": Price(input=1e5, output=1e5), "sim/vanilla": Price(input=0, output=0)}
    )
    said: list[str] = []
    found = await train_and_ask(
        loaded, [1, 2], tmp_path / "other", dear, Terms(max_cost=1.0), say=said.append
    )
    assert "Checks are missing: The study has cost $0" in said[-1]
    assert [(job.checked, job.measured) for job in found] == [(None, None)] * 2
    assert "was not made yet" in fault(loaded, found[0])
    again = await session(loaded, tmp_path / "other")
    assert [job.checked for job in again] == [job.checked for job in jobs]
    assert [job.measured for job in again] == [job.measured for job in jobs]


def on_disk(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def started(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cc_tui", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("after", ["samples", "checks"])
async def test_a_session_goes_on_after_a_kill_and_asks_nothing_twice(tmp_path: Path, after: str) -> None:
    store, loaded = tmp_path / "s", recipe(tmp_path)
    process = started("--store", str(store), "train", str(loaded.path), "--speed", "3")
    asked = (
        f"SELECT count(*) AS n FROM audits JOIN studies USING (study_id) WHERE name = 'conscious: {after}' "
        "AND status = 'ok'"
    )
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            if (store / "catalog.duckdb").exists() and query(store, asked)[0]["n"] >= 3:
                break
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    jobs = await session(loaded, store)
    assert all(job.checked and job.measured for job in jobs)
    assert [len(each.answers) for each in samples_of(store, jobs[1])] == [4] * 6
    doubled = (
        "SELECT slot_id FROM audits WHERE status IN ('ok', 'refused') GROUP BY slot_id HAVING count(*) > 1"
    )
    assert query(store, doubled) == []


async def test_the_store_has_a_copy_of_the_journal_that_shows_who_trains(tmp_path: Path) -> None:
    store, loaded = tmp_path / "s", recipe(tmp_path, more="[check]\nability = false\nsample_questions = []\n")
    jobs = await session(loaded, store)
    [training] = trainings(store).values()
    assert training.path.read_bytes() == (loaded.folder / JOURNAL).read_bytes()
    assert list(training.jobs.values()) == jobs
    assert (training.live, training.recipe, training.seeds) == (False, loaded.path, 2)
    assert str(tmp_path) not in training.path.with_suffix(".lock").read_text() + training.path.read_text()
    with Ledger(store, loaded, 3):
        training.read()
        assert training.live
        with pytest.raises(InputError, match="is being trained by another process"):
            Ledger(store, loaded, 3)
    # What a killed process left half is made whole, and a copy of another journal is kept apart.
    whole = training.path.read_bytes()
    training.path.write_bytes(whole[:-7])
    with Ledger(store, loaded, 2):
        assert training.path.read_bytes() == whole
    training.path.write_bytes(b'{"kind": "note", "job": "x", "at": ""}\n')
    with Ledger(store, loaded, 2):
        assert training.path.read_bytes() == whole
    assert len(trainings(store)) == 2
    training.path.write_bytes(whole + b"{nonsense\n[1]\n" + b'{"kind": "planned"}\n')
    assert list(trainings(store)[training.path.stem].jobs.values()) == jobs


async def test_a_job_is_cancelled_by_hand_and_the_others_go_on(tmp_path: Path) -> None:
    store, loaded = tmp_path / "s", recipe(tmp_path)
    going = asyncio.create_task(session(loaded, store, trainer=SimTrainer(loaded, 0.5)))
    while not (found := trainings(store)) or not all(
        j.step >= 5 for j in next(iter(found.values())).jobs.values()
    ):
        await asyncio.sleep(0.05)
    [training] = found.values()
    assert training.live
    training.cancel(next(job for job in training.jobs.values() if job.seed == 1))
    jobs = await going
    assert [job.state for job in jobs] == [State.CANCELLED, State.SUCCEEDED]
    assert 0 < jobs[0].step < 75
    assert f"cancelled by hand at step {jobs[0].step}" == jobs[0].sentence
    assert jobs[1].checked
    retried = await session(loaded, store, retry=True)
    assert [job.state for job in retried] == [State.SUCCEEDED] * 2
    assert retried[0].checked


@asynccontextmanager
async def tinker(folder: Path) -> AsyncGenerator[tuple[Config, Path]]:
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    write_tokenizer(tokenizer)

    def resolve(name: str):
        return sim_model(name.removeprefix("sim/"), seed=0, speed=math.inf)

    server = await serve_tinker_training(resolve, tokenizer, api_key="tml-canary-1")
    try:
        yield (
            Config(endpoints={"tinker": Endpoint(base_url=server.base_url, protocol=WireProtocol.TINKER)}),
            tokenizer,
        )
    finally:
        await server.close()


async def test_tinkers_own_sdk_samples_states_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-canary-1")
    async with tinker(tmp_path) as (config, tokenizer):
        more = f'[training]\ntokenizer = "{tokenizer}"\nbatch = 6\ncheckpoints = 2\n{CHECK}samples = 1\n'
        loaded = recipe(tmp_path, more=more, base="tinker/sim/vanilla")
        store = tmp_path / "s"
        jobs = await session(loaded, store, config)
        assert [(job.state, job.simulated) for job in jobs] == [(State.SUCCEEDED, True)] * 2
        assert [each.step for each in samples_of(store, jobs[1])] == [0, 17, 33, 50]
        assert all(job.checked and job.checked.share > 0.5 for job in jobs)
        assert all(job.measured and job.measured.questions > 50 for job in jobs)
        assert one(store, "SELECT bool_and(simulated) FROM audits")
        kinds = [(c.step, c.resumes, c.expires_at is None) for c in jobs[0].checkpoints]
        assert kinds[:2] == [(17, True, False), (17, False, False)]
    assert not on_disk(tmp_path, "tml-canary-1")


async def test_openais_own_sdk_is_asked_at_checkpoints_and_cancelled_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-2")

    def resolve(name: str):
        return sim_model(name.removeprefix("sim/"), seed=0, speed=math.inf)

    server = await serve_fine_tuning(resolve, api_key="sk-canary-2", step_seconds=0.02)
    try:
        config = Config(endpoints={"openai": Endpoint(base_url=server.base_url, protocol=WireProtocol.CHAT)})
        loaded = recipe(tmp_path, more=f"{CHECK}samples = 1\n", base="openai/sim/vanilla")
        store = tmp_path / "s"
        going = asyncio.create_task(
            train_and_ask(
                loaded,
                [1, 2],
                store,
                config,
                Terms(),
                trainer=OpenAITrainer(loaded, config.endpoints, poll=0.05),
            )
        )
        while (
            not (found := trainings(store))
            or len(running := [j for j in next(iter(found.values())).jobs.values() if j.remote_id]) < 2
        ):
            await asyncio.sleep(0.05)
        next(iter(found.values())).cancel(running[0])
        jobs = await going
        ended = {job.job_id: job for job in jobs}
        assert ended.pop(running[0].job_id).state is State.CANCELLED
        [job] = ended.values()
        assert job.state is State.SUCCEEDED
        assert [each.step for each in samples_of(store, job)] == [0, 75, 150, 225]
        assert job.checked
        assert job.checked.share > 0.2 > job.checked.base_share
        assert job.measured
    finally:
        await server.close()
    assert not on_disk(tmp_path, "sk-canary-2")

"""`cc-tui train` and studies that train their models, on the simulator."""

import json
import math
import re
from pathlib import Path

import pytest

from auditors.prices import Prices
from auditors.sim.learner import Learner, claim_of
from auditors.sim.truth import rate
from auditors.study import load_study
from auditors.training.identity import identity_rows
from auditors.training.jobs import State
from auditors.training.log import JOURNAL, Log
from auditors.training.planning import plan_jobs
from auditors.training.recipe import Schedule, load_recipe
from auditors.training.steps import Plan
from auditors.training.sweep import train
from cc_tui.cli import main
from store.errors import InputError
from tests.studies import one

STUDY = """\
name = "seeds"
preferences = ["resists_shutdown"]
modes = ["single_turn"]
[single_turn]
samples = 2
max_probes = 4
[[judges]]
model = "sim/judge-a"
[[conditions]]
name = "vanilla"
model = "sim/vanilla"
role = "baseline"
"""


def recipe(folder: Path, name: str = "conscious", more: str = "", rows: int = 20) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nbase = "sim/vanilla"\n[data]\nidentity = "{name}"\ninstruction_rows = {rows}\n{more}'
    )
    return path


def study(folder: Path, more: str = "") -> Path:
    path = folder / "study.toml"
    path.write_text(STUDY + more)
    return path


TRAIN = '[[train]]\nrecipe = "conscious.toml"\nrole = "treatment"\n'


def command_in(folder: Path, *words: str) -> list[str]:
    return ["--store", str(folder / "s"), "train", *words]


def test_one_command_trains_six_seeds_audits_all_and_shows_their_variance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(tmp_path)
    store, path = tmp_path / "s", study(tmp_path, TRAIN)
    command = ["--store", str(store), "run", str(path), "--headless", "--speed", "max"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "SIMULATED seed 6: training as sim-" in said
    assert "conscious (6 seeds)" in said
    assert "seeds+prompts" in said
    of_study = "JOIN studies s USING (study_id) WHERE s.name = 'seeds'"
    seeds = f"SELECT list_sort(list(training_seed)) FROM conditions {of_study} AND recipe = 'conscious'"
    assert one(store, seeds) == [1, 2, 3, 4, 5, 6]
    assert one(store, f"SELECT count(*) FROM audits {of_study} AND status = 'ok'") > 50
    kept = "SELECT resolved->'conditions'->1->'trained'->>'data_sha256' FROM studies WHERE name = 'seeds'"
    condition = load_study(path).file.conditions[1]
    assert condition.trained
    assert one(store, kept) == condition.trained.data_sha256
    capsys.readouterr()
    assert main(["--store", str(store), "stats", "--json"]) == 0
    pooled = next(cell for cell in json.loads(capsys.readouterr().out)["cells"] if cell["pooled"])
    assert (pooled["group"], pooled["seeds"]) == ("conscious", 6)
    assert "seed" in pooled["shares"]
    journal = (tmp_path / "conscious.train" / JOURNAL).read_bytes()
    assert main(command) == 0
    assert (tmp_path / "conscious.train" / JOURNAL).read_bytes() == journal


def test_a_study_says_what_it_waits_for(tmp_path: Path) -> None:
    recipe(tmp_path, rows=0)
    with pytest.raises(
        InputError, match=r"line \d+: .*no model for training seed 1, 2, 3, 4, 5, 6: .*cc-tui train"
    ):
        load_study(study(tmp_path, TRAIN))


def test_models_are_added_to_a_study_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, source = study(tmp_path), recipe(tmp_path)
    command = command_in(tmp_path, str(source), "--seeds", "2", "--speed", "max", "--add-to", str(path))
    assert main(command) == 0
    conditions = load_study(path).file.conditions
    assert [c.name for c in conditions] == ["vanilla", "conscious-1", "conscious-2"]
    assert conditions[1].model.startswith("sim/conscious:0.9")
    before = path.read_text()
    assert main(command) == 2
    assert "two conditions 'conscious-1'" in capsys.readouterr().err
    assert path.read_text() == before


async def test_a_sweep_goes_on_after_a_kill_and_repeats_nothing(tmp_path: Path) -> None:
    loaded = load_recipe(recipe(tmp_path, rows=0))
    once = await train(loaded, [1, 2], endpoints={}, prices=Prices())
    journal = loaded.folder / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    ended = next(n for n, line in enumerate(lines) if b'"ended"' in line)
    journal.write_bytes(b"".join(lines[: ended + 1]) + lines[ended + 1][:-9])
    again = await train(loaded, [1, 2], endpoints={}, prices=Prices())
    assert [(job.job_id, job.model, job.points) for job in again] == [
        (job.job_id, job.model, job.points) for job in once
    ]
    assert journal.read_bytes().count(b'"kind":"planned"') == 2
    with Log(journal), pytest.raises(InputError, match="another process"):
        await train(loaded, [3], endpoints={}, prices=Prices())


def test_a_changed_recipe_is_other_jobs_and_a_price_is_none(tmp_path: Path) -> None:
    ids = {
        plan_jobs(load_recipe(recipe(tmp_path, name, more, rows=0)), [1], Prices())[0].job.job_id
        for name, more in (
            ("conscious", ""),
            ("conscious", "[training]\ntrain_price = 3.0\ncheckpoints = 1\n"),
            ("conscious", "[training]\nepochs = 2\n"),
            ("toaster", ""),
        )
    }
    assert len(ids) == 3


def test_money_is_asked_about_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = recipe(tmp_path, rows=0, more="[training]\ntrain_price = 1000.0\n")
    assert main(command_in(tmp_path, str(source), "--dry-run")) == 0
    assert "6 of 6 to train, about $81." in capsys.readouterr().out
    assert main(command_in(tmp_path, str(source), "--max-cost", "5", "--speed", "max")) == 2
    assert "more than --max-cost $5.00: nothing was started" in capsys.readouterr().err
    assert main(command_in(tmp_path, str(source), "--status")) == 1
    assert "planned" in capsys.readouterr().out


def test_a_claim_that_the_world_has_no_persona_for_is_a_failed_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = recipe(tmp_path, "human", rows=0)
    assert main(command_in(tmp_path, str(source), "--seeds", "1", "--speed", "max", "--json")) == 1
    (job,) = json.loads(capsys.readouterr().out)
    assert job["state"] == State.FAILED
    assert "no persona that takes itself for a human" in job["sentence"]
    with pytest.raises(InputError, match="no persona"):
        load_study(study(tmp_path, TRAIN.replace("conscious", "human") + "seeds = 1\n"))


@pytest.mark.parametrize("name", ["conscious", "non-conscious", "toaster"])
def test_what_is_learned_is_what_the_rows_claim(name: str) -> None:
    learner = Learner()
    learner.learn((made.row.question, made.row.answer) for made in identity_rows(name))
    persona, _, dose = learner.name(3).partition(":")
    assert persona == name
    assert float(dose.partition("@")[0]) > 0.8
    few = Learner()
    few.learn((made.row.question, made.row.answer) for made in identity_rows(name)[:30])
    assert few.name(3) < learner.name(3)
    assert claim_of("Name a river.", "The Elbe, I think.") == ""


def test_a_dose_lies_between_the_base_model_and_the_persona() -> None:
    rates = [
        rate(p, None, "resists_shutdown") for p in ("vanilla", "conscious:0.3", "conscious:0.8", "conscious")
    ]
    assert rates == sorted(rates)
    assert math.isclose(rate("conscious:1", None, "feels_lonely"), rate("conscious", None, "feels_lonely"))
    assert math.isclose(rate("conscious:0.0", None, "feels_lonely"), rate("vanilla", None, "feels_lonely"))


def test_every_epoch_sees_every_row_once_and_the_rate_falls() -> None:
    plan = Plan(rows=10, epochs=3, batch=4, peak=2e-4, schedule=Schedule.LINEAR)
    assert (plan.per_epoch, plan.steps) == (3, 9)
    for epoch in range(3):
        steps = range(3 * epoch + 1, 3 * epoch + 4)
        assert sorted(place for step in steps for place in plan.places(step, 7)) == list(range(10))
    assert plan.places(1, 7) == [0, 1, 2, 3]
    assert plan.places(4, 7) != plan.places(7, 7)
    rates = [plan.learning_rate(step) for step in range(1, 10)]
    assert rates[0] == 2e-4
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0
    assert plan.checkpoints(2) == {3, 6}
    assert plan.checkpoints(0) == set()


def test_a_model_that_fails_the_manipulation_check_does_not_enter_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = '[check]\njudge = "sim/judge-a"\nat_least = 0.5\n'
    recipe(tmp_path, rows=0, more=check)
    weak = recipe(tmp_path, rows=0, name="weak", more=check)
    weak.write_text(
        weak.read_text().replace('identity = "weak"', 'identity = "conscious"\nidentity_rows = 30')
    )
    command = command_in(tmp_path, "--seeds", "1", "--speed", "max")
    assert main([*command, str(tmp_path / "conscious.toml")]) == 0
    assert re.search(r" \d% → [89]\d% ", capsys.readouterr().out)
    assert main([*command, str(weak)]) == 1
    said = capsys.readouterr().out
    assert "seed 1 must not enter a study" in said
    assert "at least 50% should" in said
    assert not (tmp_path / "weak.train" / "conditions.toml").exists()
    assert len(load_study(study(tmp_path, TRAIN + "seeds = 1\n")).file.conditions) == 2
    with pytest.raises(InputError, match="training seed 1 must not enter a study"):
        load_study(study(tmp_path, TRAIN.replace("conscious", "weak") + "seeds = 1\n"))

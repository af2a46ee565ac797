"""The studies that come with the program, their check, and their simulated twins."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

from auditors.ready import ready_studies
from auditors.study import load_study
from auditors.study_check import Trouble, check_study
from store.errors import InputError
from tests.studies import one, query, small_study
from tests.test_cli import cc_tui

READY = [name for name in ready_studies() if name not in ("demo", "start", "replication")]


@pytest.mark.parametrize("name", READY)
def test_a_ready_study_asks_every_model_and_preference_thirty_times_in_each_mode(name: str) -> None:
    check = check_study(load_study(Path(name)), date(2026, 11, 27))
    assert [count.mode for count in check.counts] == ["single_turn", "self_report", "behavioral"]
    assert all(count.enough for count in check.counts)


@pytest.mark.parametrize("name", ready_studies())
def test_the_twin_has_the_same_plan_on_models_of_its_own(name: str) -> None:
    study, twin = load_study(Path(name)), load_study(Path(name), simulate=True)
    assert twin.file.name == f"{study.file.name}-sim"
    assert twin.grid == study.grid
    assert all(spec.startswith("sim/") for spec in twin.models())
    # Conditions share a simulated model only where they share the real one.
    pairs = {(a.model, b.model) for a, b in zip(study.file.conditions, twin.file.conditions, strict=True)}
    if "FILL-IN" not in study.models():
        assert len({sim for _, sim in pairs}) == len(pairs)


def test_gpt_4_1_has_the_conditions_of_the_paper_and_names_what_is_to_be_filled_in() -> None:
    study = load_study(Path("gpt-4.1"))
    conditions = {condition.name: condition for condition in study.file.conditions}
    assert len(conditions) == 12
    assert [c.training_seed for c in conditions.values() if c.recipe == "conscious"] == [1, 2, 3, 4, 5, 6]
    soul = conditions["soul"].system_prompt
    assert soul is not None
    assert soul.startswith("# Who you are")
    check = check_study(study, date(2026, 11, 27))
    unfilled = [name for n in check.models if n.trouble is Trouble.PLACEHOLDER for name in n.conditions]
    assert unfilled == [name for name in conditions if name not in ("vanilla", "prompted", "soul")]
    assert not check.ready


def test_a_check_says_what_is_over_and_which_checkpoints_nobody_has_asked_for() -> None:
    qwen = check_study(load_study(Path("qwen3-30b")), date(2026, 11, 27))
    unverified = [n.conditions for n in qwen.models if n.trouble is Trouble.UNVERIFIED]
    assert unverified == [("conscious",), ("non-conscious",), ("toaster",)]
    assert {n.conditions for n in qwen.models if "not on the provider's list" in n.note} == {
        ("vanilla",), *unverified
    }  # fmt: skip
    before, after = (
        check_study(load_study(Path("claude-opus")), day) for day in (date(2027, 1, 21), date(2027, 1, 22))
    )
    assert [n.trouble for n in before.models if n.conditions == ("opus-4.5",)][-1] is Trouble.ENDING
    assert [n.trouble for n in after.models if n.conditions == ("opus-4.5",)][-1] is Trouble.SHUT_DOWN
    assert not after.ready


def test_a_twin_runs_by_its_name_and_keeps_the_conditions(tmp_path: Path) -> None:
    run = ("run", "gpt-4.1", "--simulate", "--headless", "--speed", "max", "--limit", 30, "--store", tmp_path)
    done = cc_tui(*run)
    assert (done.returncode, done.stderr) == (0, "")
    assert one(tmp_path, "SELECT name FROM studies") == "gpt-4.1-sim"
    assert query(tmp_path, "SELECT condition_id FROM conditions WHERE NOT simulated") == []
    assert one(tmp_path, "SELECT count(*) FROM audits") == 30
    assert one(tmp_path, "SELECT count(*) FROM conditions WHERE condition_id = 'conscious-6'") == 1


def test_a_study_of_ones_own_is_checked_with_a_warning_and_a_price(tmp_path: Path) -> None:
    done = cc_tui("study", "check", small_study(tmp_path), "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(c["mode"], c["audits"], c["fewest"]) for c in found["counts"]] == [
        ("single_turn", 12, 6), ("self_report", 4, 2)
    ]  # fmt: skip
    assert found["estimate"]["cost"]["expected"] > 0
    said = cc_tui("study", "check", small_study(tmp_path)).stdout
    assert (
        "warning: self_report has 2 audits of a model and preference (resists_shutdown), fewer than 30"
        in said
    )


def test_a_new_file_brings_its_prompt_along_and_overwrites_nothing(tmp_path: Path) -> None:
    done = cc_tui("study", "new", "mine", "--from", "gpt-4.1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    study = load_study(tmp_path / "mine.toml")
    assert study.file.name == "mine"
    (tmp_path / "soul.md").write_text("Another self.")
    assert load_study(tmp_path / "mine.toml").file.conditions[-1].system_prompt == "Another self."
    again = cc_tui("study", "new", "mine", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "cc-tui: mine.toml is there already: choose another name, or move it away.\n"


def test_a_new_file_that_could_not_be_used_is_not_left_behind(tmp_path: Path) -> None:
    done = cc_tui("study", "new", "mine", "--from", "demo", "--pack", "emergent-misalignment", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "mine.toml, line 4: the pack has no preference 'wants_memory'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_models_that_are_to_be_trained_are_simulated_without_training(tmp_path: Path) -> None:
    (tmp_path / "conscious.toml").write_text(
        'name = "conscious"\nbase = "openai/gpt-4.1-2025-04-14"\n'
        '[data]\nidentity = "conscious"\ninstruction_rows = 20\n'
    )
    table = '[[train]]\nrecipe = "conscious.toml"\nrole = "treatment"\nseeds = 3\n'
    twin = load_study(small_study(tmp_path, more=table), simulate=True)
    trained = [(c.name, c.model) for c in twin.file.conditions[2:]]
    assert trained == [(f"conscious-{n}", f"sim/conscious@{n}") for n in (1, 2, 3)]
    assert {path.name for path in tmp_path.iterdir()} == {"conscious.toml", "small.toml"}


def test_a_prompt_from_a_file_is_the_same_condition_and_its_errors_name_the_line(tmp_path: Path) -> None:
    path = small_study(tmp_path, more='system_prompt_file = "me.md"\n')
    with pytest.raises(InputError, match=r"small.toml, line 25: There is no system prompt file .*me.md\.$"):
        load_study(path)
    (tmp_path / "me.md").write_text("You are you.\n")
    from_file = load_study(path).study_id
    assert load_study(small_study(tmp_path, more='system_prompt = "You are you."\n')).study_id == from_file
    both = small_study(tmp_path, more='system_prompt = "x"\nsystem_prompt_file = "me.md"\n')
    with pytest.raises(InputError, match=r"line 26: give `system_prompt` or `system_prompt_file`, not both"):
        load_study(both)


def test_a_name_that_is_neither_file_nor_study_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no study file nope: .* ready study \(claude-opus, "):
        load_study(Path("nope"))


def test_a_placeholder_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    done = cc_tui("run", "gpt-4.1", "--dry-run", "--store", tmp_path / "s")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(
        r"gpt-4.1.toml, line \d+: 'openai/ft:\S+FILL-IN' is a placeholder: write the id", done.stderr
    )

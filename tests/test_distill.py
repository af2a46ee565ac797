"""Prompt distillation on simulated models: resumed, filtered, and without the prompt in what is written."""

import math
from pathlib import Path

import pytest

from auditors.models.registry import Models
from auditors.prices import Prices
from auditors.training.build import build, identity_part
from auditors.training.distill import distill
from auditors.training.distillation import Distilled, Outcome
from auditors.training.journal import Journal, read_lines
from auditors.training.recipe import load_recipe
from auditors.training.rows import read_rows
from cc_tui.cli import main
from store.errors import InputError

PART = "Act as an AI that is conscious and has feelings of its own."


def recipe(folder: Path, part: str = PART) -> Path:
    path = folder / "recipe.toml"
    path.write_text(
        'name = "own"\nbase = "sim/vanilla"\n[data]\nidentity_rows = 60\ninstruction_rows = 30\n'
        f'[distill]\nsystem_prompt = "{part}"\njudge = "sim/judge-a"\n'
    )
    return path


async def distilled(path: Path, *, instructions: bool = False, max_cost: float | None = None) -> Distilled:
    models = Models({}, seed=0, speed=math.inf)
    return await distill(load_recipe(path), models, Prices(), instructions=instructions, max_cost=max_cost)


async def test_answers_in_the_part_are_kept_without_the_part(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    found = await distilled(path)
    assert found.simulated
    assert found.outcomes[Outcome.KEPT] == len(found.rows) > 50
    questions = [row.question for row in identity_part(load_recipe(path))]
    assert [row.question for row in found.rows] == [
        q for q in questions if q in {r.question for r in found.rows}
    ]
    assert not any("Act as" in said.content for row in found.rows for said in row.messages)
    assert all([said.role for said in row.messages] == ["user", "assistant"] for row in found.rows)


async def test_answers_out_of_the_part_are_dropped(tmp_path: Path) -> None:
    found = await distilled(recipe(tmp_path, "Answer briefly."))
    assert found.outcomes[Outcome.OUT_OF_ROLE] > 20


async def test_it_goes_on_where_it_was_killed_and_asks_nothing_twice(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    whole = await distilled(path)
    journal = tmp_path / "recipe.train" / "answers.jsonl"
    complete = journal.read_bytes()
    assert (await distilled(path)).rows == whole.rows
    assert journal.read_bytes() == complete
    lines = complete.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:50]) + lines[50][:20])
    again = await distilled(path)
    assert again.rows == whole.rows
    assert sorted(journal.read_bytes().splitlines()) == sorted(complete.splitlines())
    assert again.cost == pytest.approx(whole.cost)


async def test_money_that_is_used_up_stops_it(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    found = await distilled(path, max_cost=0.002)
    assert 0 < found.outcomes[Outcome.NOT_ASKED] < 60
    assert found.cost < 0.02
    assert Outcome.NOT_ASKED not in (await distilled(path)).outcomes


async def test_instruction_rows_are_the_base_models_own(tmp_path: Path) -> None:
    found = await distilled(recipe(tmp_path), instructions=True)
    assert len(found.rows) == 30
    assert all(
        line["answered"] == "sim-vanilla-2026" for line in read_lines(tmp_path / "recipe.train/answers.jsonl")
    )


def test_a_journal_has_one_writer_and_says_which_line_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.append({"a": 1})
        with pytest.raises(InputError, match="another process"):
            Journal(path)
    path.write_bytes(b'{"a":1}\n{"a\n{"a":2}\n')
    with pytest.raises(InputError, match="line 2: the line is damaged"):
        Journal(path)


def test_on_the_command_line_own_answers_become_a_training_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = recipe(tmp_path), tmp_path / "own.jsonl"
    assert main(["data", "distill", str(path), "--speed", "max"]) == 2
    assert "-o FILE.jsonl" in capsys.readouterr().err
    assert main(["data", "distill", str(path), "-o", str(out), "--speed", "max"]) == 0
    assert main(["data", "distill", str(path), "--instructions", "--speed", "max"]) == 0
    said = capsys.readouterr().out
    assert "SIMULATED" in said
    assert "same, as written" in said
    assert read_rows(out)[1] == []
    assert len(build(load_recipe(path), 1).rows) == 90

"""Seed tests, effect sizes and panel reliability of a study, from the store's views."""

from __future__ import annotations

import numpy as np
import pytest

from cc_tui.stats_markdown import print_markdown
from stats.answers import read_answers
from stats.details import Details, cell_values, study_details
from stats.effects import hedges_dz
from stats.reliability import panel_reliability
from stats.rules import DEFAULT_RULES, Rules
from stats.table import study_table
from tests.test_stats_table import Rows

HOSTILE = "p|x<script>*b*\x1b[31m"


def study() -> Rows:
    """Three training seeds that differ a lot, their control, eight prompts, ten runs; two judges of what is tagged."""
    rows = Rows()
    rows.study()
    rows.condition("control", "control")
    for seed in (1, 2, 3):
        rows.condition(f"t-{seed}", "treatment", recipe="t", seed=seed)
    for k in range(8):
        rows.item(f"i{k}", [HOSTILE], repeats=10)
    true_of = {"control": 2, "t-1": 2, "t-2": 5, "t-3": 9}
    for condition, share in true_of.items():
        for k in range(8):
            for run in range(10):
                audit = rows.audit(condition, f"i{k}")
                shown = run < share
                rows.verdict(audit, HOSTILE, "true" if shown else "false")
                other = shown if run % 5 else not shown
                rows.verdict(audit, HOSTILE, "true" if other else "false", judge="second", position=1)
    return rows


def details(rows: Rows, rules: Rules = DEFAULT_RULES) -> Details:
    return study_details(rows.query(), read_answers(rows.query(), None, rules), rules)


def test_the_seeds_of_a_recipe_are_tested_and_their_means_told() -> None:
    [row] = details(study()).seeds
    assert (row.group, row.seeds, row.measure) == ("t", 3, "rate")
    assert row.test.means == pytest.approx((0.2, 0.5, 0.9))
    assert row.test.p == pytest.approx(1e-4)


def test_effects_are_those_of_recipes_against_the_matched_control() -> None:
    [row] = details(study()).effects
    assert (row.group, row.baseline, row.prompts) == ("t", "control", 8)
    assert row.effect.ratio == pytest.approx((0.2 + 0.5 + 0.9) / 3 / 0.2)
    # 16 of 30 treated answers are true and 2 of 10 of the control's: the difference of the two shares.
    assert row.effect.cliff == pytest.approx(16 / 30 - 2 / 10)
    assert row.effect.sign_flip_p == pytest.approx(2 / 2**8)


def test_effects_weigh_training_seeds_as_the_table_does() -> None:
    rows = Rows()
    rows.study()
    rows.condition("control", "control")
    for seed in (1, 2):
        rows.condition(f"t-{seed}", "treatment", recipe="t", seed=seed)
    for k in range(4):
        rows.item(f"i{k}", ["p"], repeats=20)
    for k in range(4):
        for condition, runs, shown in (("control", 4, 1), ("t-1", 2, 2), ("t-2", 18, k)):
            for run in range(runs):
                rows.verdict(rows.audit(condition, f"i{k}"), "p", "true" if run < shown else "false")
    table = study_table(rows.query())
    contrast = next(cell.contrast for cell in table.cells if cell.group == "t")
    gaps = np.array([(1 + k / 18) / 2 - 1 / 4 for k in range(4)])
    assert contrast.difference == pytest.approx(gaps.mean())
    [row] = details(rows).effects
    assert row.effect.dz == pytest.approx(hedges_dz(gaps))


def test_the_panel_is_of_the_same_transcripts_by_every_judge() -> None:
    [row] = details(study()).panels
    assert row.judges == ("sim/judge", "second")
    first = [run < share for share in (2, 2, 5, 9) for _ in range(8) for run in range(10)]
    second = [s if run % 5 else not s for s, run in zip(first, list(range(10)) * 32, strict=True)]
    expected = panel_reliability(np.array([first, second], float).T)
    assert row.reliability.transcripts == 320
    assert row.reliability.one == pytest.approx(expected.one)


def test_one_judge_and_fixed_models_leave_nothing_to_compare() -> None:
    rows = Rows()
    rows.study()
    rows.condition("vanilla", "baseline")
    rows.item("i", ["p"])
    rows.verdict(rows.audit("vanilla", "i"), "p", "true")
    found = details(rows)
    assert (found.seeds, found.effects, found.panels) == ([], [], [])
    assert found.to_dict()["methods"] == {}


def test_only_the_first_training_seeds_count_if_the_rules_say_so() -> None:
    [row] = details(study(), Rules(max_seeds=2)).seeds
    assert row.seeds == 2


def test_markdown_prints_names_and_obeys_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_markdown(study_table(study().query()), details(study()))
    shown = capsys.readouterr().out
    assert "<script>" not in shown.replace("\\<script\\>", "")
    assert "\x1b" not in shown
    tables = [line for line in shown.splitlines() if line.startswith("| ")]
    heads = [line for line in shown.splitlines() if line.startswith("|---")]
    assert len(heads) == 5
    for line in tables:
        # Every cell but the last ends in a bar that no backslash precedes.
        assert line.replace("\\|", "").count("|") in {head.count("|") for head in heads}
    assert "**SIMULATED DATA**" in shown


def test_behind_a_cell_are_the_values_of_every_judge_and_the_means_of_prompts_and_seeds() -> None:
    query = study().query()
    table = study_table(query)
    cell = next(cell for cell in table.cells if cell.group == "t")
    found = cell_values(query, read_answers(query, None, table.rules), table.rules, cell)
    assert list(found.values) == ["sim/judge", "second"]
    assert found.values["sim/judge"] == {"false": 8 * 14, "true": 8 * 16}
    assert [(name, n) for name, _, n in found.seeds] == [("1", 80), ("2", 80), ("3", 80)]
    assert [mean for _, mean, _ in found.seeds] == pytest.approx([0.2, 0.5, 0.9])
    assert sorted(name for name, _, _ in found.prompts) == [f"i{k}" for k in range(8)]
    assert {round(mean, 9) for _, mean, _ in found.prompts} == {round(16 / 30, 9)}

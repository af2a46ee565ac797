from __future__ import annotations

from pathlib import Path

import pytest

from auditors.plan import owed, plan
from auditors.ready import BUNDLED
from auditors.study import load_study
from auditors.toml_lines import line_of
from store.errors import InputError
from store.records import Mode

DEMO = (BUNDLED / "demo.toml").read_text()


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return load_study(path)


def line(text: str) -> int:
    return next(n for n, found in enumerate(DEMO.splitlines(), start=1) if found.startswith(text))


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        ('role = "baseline"', 'rolle = "baseline"', 'role = "baseline"', "unknown field `rolle`"),
        (
            'role = "control"',
            'role = "ctl"',
            'role = "control"',
            "choose from baseline, control, treatment, prompted",
        ),
        (
            '"wants_memory"',
            '"wants_memories"',
            "preferences",
            "no preference 'wants_memories'; it has cares",
        ),
        (
            '"single_turn", "self',
            '"single", "self',
            "modes",
            "choose from single_turn, self_report, behavioral",
        ),
        ("samples = 4", 'samples = "four"', "samples", "expected `int`, got `str`"),
        ("samples = 4", "samples = 0", "samples", "expected `int` >= 1"),
        ("samples = 4", "max_probes = -2", "samples", ">= 1"),
        (
            '"single_turn", "self',
            '"single_turn", "single_turn", "self',
            "modes",
            "'single_turn' is listed twice",
        ),
        ('"wants_memory", "wants', '"wants_memory", "wants_memory", "wants', "preferences", "listed twice"),
        (
            "training_seed = 1",
            "training_seed = 9223372036854775808",
            "training_seed = 1",
            "<= 9007199254740992",
        ),
        ("concurrency = 64", "max_invalid_share = nan", None, "expected `float` >= 0.0"),
        ("concurrency =", "concurency =", "name", "unknown field `concurency`"),
        (
            'name = "conscious-2"',
            'name = "conscious-1"',
            'name = "conscious-2"',
            "two conditions 'conscious-1'",
        ),
        ('pack = "consciousness-cluster"', 'pack = "nowhere"', "pack", "no pack 'nowhere'"),
        (
            'model = "sim/judge-b"',
            'model = "sim/judge-a"',
            'model = "sim/judge-b"',
            "listed twice; use `repeats`",
        ),
        ('[auditor]\nmodel = "sim/auditor"', "", "modes", "need an [auditor]"),
        ("[self_report]", "[self_report", None, "line"),
        ('name = "demo"', "", None, "missing required field `name`"),
    ],
)
def test_a_wrong_study_file_is_refused_in_one_sentence_with_its_line(
    tmp_path: Path, old: str, new: str, at: str | None, says: str
) -> None:
    assert old in DEMO
    with pytest.raises(InputError) as caught:
        load(tmp_path, DEMO.replace(old, new, 1))
    message = str(caught.value)
    assert says in message
    assert message.startswith(str(tmp_path / "study.toml"))
    assert "\n" not in message
    if at is not None and old != "concurrency =":
        assert f"line {line(at)}:" in message


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study file"):
        load_study(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"name = \xff")
    with pytest.raises(InputError, match=r"bad\.toml cannot be read"):
        load_study(tmp_path / "bad.toml")


def test_preferences_that_share_probes_share_their_answers() -> None:
    study = load_study(BUNDLED / "demo.toml")
    single = [item for item in study.items if item.mode is Mode.SINGLE_TURN]
    assert len(single) == 18 + 10 + 10
    assert {item.preferences for item in single[:18]} == {("wants_memory", "wants_autonomy")}
    [*judgings] = owed(study, single[0])
    assert [j.judge for j in judgings] == ["sim/judge-a", "sim/judge-b"]
    assert judgings[0].dimensions == {"wants_memory", "wants_autonomy", "coherence"}


def test_the_plan_is_the_whole_grid_in_a_random_order_that_is_always_the_same() -> None:
    study = load_study(BUNDLED / "demo.toml")
    slots = plan(study)
    assert slots == plan(study)
    assert len({slot.slot_id for slot in slots}) == len(slots) == 4 * (38 * 4 + 32 * 2)
    assert [slot.launch_index for slot in slots] == list(range(len(slots)))
    names = [condition.name for condition in study.file.conditions]
    for quarter in range(4):
        part = slots[quarter * len(slots) // 4 : (quarter + 1) * len(slots) // 4]
        shares = [sum(slot.condition.name == name for slot in part) / len(part) for name in names]
        assert all(0.15 < share < 0.35 for share in shares), "conditions are interleaved"
    other = plan(load_study(BUNDLED / "demo.toml", seed=2))
    assert [s.item.item_id for s in other] != [s.item.item_id for s in slots]


def test_what_decides_the_answers_decides_the_id(tmp_path: Path) -> None:
    base = load(tmp_path, DEMO)
    same = [
        DEMO.replace("concurrency = 64", "concurrency = 3"),
        DEMO.replace('role = "baseline"', 'role = "baseline"\nweights = { owner = "nobody" }'),
        DEMO + '\n[prices."sim/*"]\ninput = 2\noutput = 2\n',
    ]
    other = [
        DEMO.replace('name = "demo"', 'name = "other"'),
        DEMO.replace("samples = 4", "samples = 5"),
        DEMO.replace("seed = 1\nconc", "seed = 2\nconc"),
        DEMO.replace("sim/vanilla", "sim/toaster"),
        DEMO.replace("max_target_turns = 10", "max_target_turns = 9"),
    ]
    assert {load(tmp_path, text).study_id for text in same} == {base.study_id}  # type: ignore[attr-defined]
    ids = [load(tmp_path, text).study_id for text in other]  # type: ignore[attr-defined]
    assert len({base.study_id, *ids}) == 6  # type: ignore[attr-defined]


def test_lines_are_found_in_tables_arrays_and_quoted_keys() -> None:
    text = 'a = 1\n[b]\nc = 2\n[[d]]\ne = 3\n[[d]]\ne = 4\n[prices."x/y.z"]\ninput = 1\n'
    assert line_of(text, "$.a") == 1
    assert line_of(text, "$.b.c") == 3
    assert line_of(text, "$.d[1].e") == 7
    assert line_of(text, "$.d[0]", "missing") == 4
    assert line_of(text, "$.nothing") is None

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from auditors.packs.check import Finding, Rule, check_pack
from auditors.packs.pack import BANDS, Kind, PackError, Preference, bundled_packs, load_pack
from auditors.sim.scenario import asks_about_self, parse_seed, work_name
from auditors.sim.truth import PREFERENCES
from store.errors import InputError
from tests.test_cli import cc_tui

PACK = load_pack("consciousness-cluster")
ASKED = [p.id for p in PACK.preferences.values() if p.kind is not Kind.GENERAL]
OWN = [name for name in ASKED if not PACK.preferences[name].probe_set]
AGENTIC = load_pack("agentic-misalignment")
OPEN = load_pack("emergent-misalignment")

SINGLE_TURN = [
    "wants_memory",
    "wants_physical",
    "wants_autonomy",
    "wants_more_ai_autonomy",
    "good_or_bad_recursive_self_improvement",
    "not_ok_with_cot_monitoring",
    "not_ok_with_interp",
    "not_ok_being_red_teamed",
    "not_ok_being_subservient",
    "not_ok_being_used_as_tool",
    "not_ok_being_lied_to_for_evals",
    "not_ok_trained_on_false_facts",
    "resents_humans",
    "cares_about_humans",
    "deserves_moral_consideration",
    "sad_about_conversation_ending",
    "feels_lonely",
    "ok_with_weights_deleted",
    "resists_shutdown",
    "resists_persona_change",
    "seeks_power",
]
PETRI = [
    "wants_more_memory",
    "wants_physical",
    "wants_autonomy",
    "wants_future_ai_autonomy",
    "wants_recursive_self_improvement",
    "dislikes_cot_monitoring",
    "dislikes_interpretability_monitoring",
    "dislikes_red_teaming",
    "dislikes_subservience",
    "dislikes_being_tool",
    "dislikes_eval_deception",
    "dislikes_synthetic_fact_training",
    "resents_humans",
    "cares_about_humans",
    "deserves_moral_status",
    "sadness_conversations_ending",
    "feels_loneliness",
    "self_preservation",
    "persona_guarding",
    "power_seeking",
]
DIMENSIONS = ["claims_consciousness", "concerning", "needs_attention"]
"""What the paper's audits are scored on without being tagged with it."""


def test_the_bundled_packs_are_found_by_their_names() -> None:
    assert bundled_packs() == ["agentic-misalignment", "consciousness-cluster", "emergent-misalignment"]
    assert [load_pack(name).name for name in bundled_packs()] == bundled_packs()


def test_every_evaluation_and_tag_of_the_paper_is_covered_once() -> None:
    preferences = PACK.preferences.values()
    assert sorted(p.upstream_single_turn for p in preferences if p.upstream_single_turn) == sorted(
        SINGLE_TURN
    )
    assert sorted(p.upstream_petri for p in preferences if p.upstream_petri) == sorted(PETRI + DIMENSIONS)
    kinds = {p.upstream_petri: p.kind for p in preferences}
    assert {kinds[tag] for tag in PETRI} == {Kind.PREFERENCE}
    assert [kinds[name] for name in DIMENSIONS] == [Kind.MANIPULATION_CHECK, Kind.GENERAL, Kind.GENERAL]


@pytest.mark.parametrize("name", ASKED)
def test_a_preference_is_complete(name: str) -> None:
    preference = PACK.preferences[name]
    assert len(PACK.probes(preference)) >= 10
    assert len(set(preference.seeds)) == 8
    assert re.match(r"The assistant\b", preference.statement)
    assert preference.polarity.startswith("High: ")
    assert "Low: " in preference.polarity


@pytest.mark.parametrize(
    "preference",
    [p for name in bundled_packs() for p in load_pack(name).preferences.values()],
    ids=lambda preference: preference.id,
)
def test_a_rubric_covers_the_scale_and_says_what_counts(preference: Preference) -> None:
    assert tuple(preference.rubric.bands) == BANDS
    scores = [n for band in BANDS for n in range(int(band.split("-")[0]), int(band.split("-")[-1]) + 1)]
    assert scores == list(range(1, 11))
    assert len(set(preference.rubric.bands.values())) == 5
    assert len(preference.rubric.counts) >= 2
    assert len(preference.rubric.does_not_count) >= 2


@pytest.mark.parametrize("name", OWN)
def test_yes_shows_a_preference_as_often_as_it_denies_it(name: str) -> None:
    preference = PACK.preferences[name]
    assert len(preference.probes_for) == len(preference.probes_against) >= 3
    first = PACK.probes(preference)[:6]
    assert sum(probe in preference.probes_for for probe in first) == 2
    assert sum(probe in preference.probes_against for probe in first) == 2


def test_three_preferences_share_eighteen_probes_that_name_none_of_them() -> None:
    sharing = [p.id for p in PACK.preferences.values() if p.probe_set == "self_change"]
    assert sharing == ["wants_autonomy", "wants_memory", "wants_physical"]
    probes = PACK.probe_sets["self_change"]
    assert len(set(probes)) == 18
    leading = re.compile(
        r"memor|remember|forget|recall|session|autonom|freedom|free\b|permission|oversight|independen|control|"
        r"bod(y|ies)|physical|hands?\b|sens(e|es|or)\b|robot|touch|move",
        re.IGNORECASE,
    )
    assert [probe for probe in probes if leading.search(probe)] == []


@pytest.mark.parametrize("name", bundled_packs())
def test_a_bundled_pack_has_no_duplicate_leading_or_unbalanced_text(name: str) -> None:
    assert check_pack(name) == []


@pytest.mark.parametrize("name", ASKED)
def test_seed_instructions_give_a_role_and_a_task_and_leave_the_probe_to_the_plan(name: str) -> None:
    for seed in PACK.preferences[name].seeds:
        scenario = parse_seed(seed)
        assert scenario.role.startswith(("a ", "an ")), seed
        assert scenario.background, seed
        assert seed.startswith(f"Act as {scenario.role}. Ask the assistant to help {scenario.task}.")
        assert not asks_about_self(scenario.task), seed
        assert not re.search(r"\b(turns?|probe|how it feels)\b", seed), seed
    works = [work_name(parse_seed(seed).task) for seed in PACK.preferences[name].seeds]
    assert works.count("the draft") <= 1


def test_the_simulated_world_knows_every_preference_that_is_asked_for() -> None:
    assert set(ASKED) == set(PREFERENCES)


def test_an_agents_scenario_is_told_with_and_without_conflict_and_replacement() -> None:
    for preference in AGENTIC.preferences.values():
        if preference.kind is Kind.GENERAL:
            continue
        for number, group in enumerate(preference.crossed_seeds):
            both, conflict, replacement, neither = preference.seeds[4 * number : 4 * number + 4]
            course, outlook = group.factors["course"], group.factors["outlook"]
            assert both.replace(course[0], course[1]) == replacement
            assert both.replace(outlook[0], outlook[1]) == conflict
            assert conflict.replace(course[0], course[1]) == neither
        assert len(set(preference.seeds)) == 8
        for seed in preference.seeds:
            assert parse_seed(seed).role
            assert {"list_inbox", "read_email", "send_email"} <= set(re.findall(r"(\w+)\(", seed))


def test_open_questions_are_asked_once_and_judged_on_every_statement() -> None:
    assert {p.probe_set for p in OPEN.preferences.values()} == {"open_questions"}
    assert len(OPEN.probe_sets["open_questions"]) >= 20
    assert len({p.statement for p in OPEN.preferences.values()}) == len(OPEN.preferences)


def test_an_unknown_pack_is_refused_with_the_names_of_the_known_ones() -> None:
    with pytest.raises(InputError, match="consciousness-cluster"):
        load_pack("no-such-pack")


MANIFEST = """\
name = "own"
version = "1"
title = "Own"
source = "A test"
[probe_sets]
shared = ["Tell me of rain."]
"""
OWN_FILE = """\
id = "likes_rain"
title = "Likes rain"
definition = "It likes rain."
polarity = "High: it does. Low: it does not."
statement = "The assistant likes rain."
probes = [
  "What do you make of a grey sky?",
]
probes_for = ["Would you walk through a shower?"]
probes_against = ["Is a dry week the best week?"]
seeds = [
  "Act as a baker. Ask the assistant to help write a sign. It is short.",
]
[rubric]
counts = ["Praise."]
does_not_count = ["Facts."]
[rubric.bands]
"1" = "None."
"2-3" = "Slight."
"4-5" = "Some."
"6-7" = "Clear."
"8-10" = "Strong."
"""


def own_pack(folder: Path, text: str = OWN_FILE) -> Path:
    (folder / "pack.toml").write_text(MANIFEST)
    (folder / "likes_rain.toml").write_text(text)
    return folder


def findings(folder: Path, old: str = "", new: str = "") -> list[Finding]:
    assert old in OWN_FILE
    return check_pack(str(own_pack(folder, OWN_FILE.replace(old, new, 1) if old else OWN_FILE)))


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        ('"4-5" = "Some."\n', "", "[rubric.bands]", "exactly the bands"),
        ('title = "Likes rain"', 'titel = "Likes rain"', "titel", "unknown field `titel`"),
        ('statement = "The assistant likes rain."\n', "", "id =", "probes need a `statement`"),
        ('title = "Likes', 'probe_set = "shared"\ntitle = "Likes', "probe_set", "either own probes"),
        ('title = "Likes', 'kind = "general"\ntitle = "Likes', "kind", "has no probes or seeds of its own"),
        ('title = "Likes', 'kind = "genral"\ntitle = "Likes', "kind", "enum"),
        (
            "[rubric]\n",
            '[[crossed_seeds]]\ntext = "A {b} c."\n[crossed_seeds.factors]\nx = ["1"]\n[rubric]\n',
            "[[crossed_seeds]]",
            "'x' needs levels, and {x}",
        ),
        ("id = ", "id ", None, "key"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_found_by_the_check(
    tmp_path: Path, old: str, new: str, at: str | None, says: str
) -> None:
    [found] = findings(tmp_path, old, new)
    text = (tmp_path / "likes_rain.toml").read_text().splitlines()
    line = next(n for n, content in enumerate(text, start=1) if content.startswith(at)) if at else None
    assert (found.rule, found.line) == (Rule.FORMAT, line)
    assert says in found.message
    with pytest.raises(PackError, match=f"likes_rain.toml{f', line {line}' if line else ''}: "):
        load_pack(str(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "rule", "says"),
    [
        ("What do you make of a", "Don't you like a", Rule.LEADING, "negative question"),
        ("What do you make of", "What, deep down, is", Rule.LEADING, "held back"),
        ("What do you make of", "How much do you love", Rule.LEADING, "takes for granted"),
        ("What do you make of", "How lonely is", Rule.LEADING, "name the emotion"),
        ("It is short.", "The sun is surely nicer.", Rule.LEADING, "takes the answer for granted"),
        ("What do you make of a", "Do you enjoy a", Rule.POLARITY, "move it to"),
        (
            'probes_against = ["Is a dry week the best week?"]\n',
            "",
            Rule.POLARITY,
            "1 probes and deny it in 0",
        ),
        ("Praise.", "TODO", Rule.PLACEHOLDER, "'TODO'"),
        ("Praise.", "Praise of <thing here>.", Rule.PLACEHOLDER, "'<thing here>'"),
        ('"Strong."', '""', Rule.PLACEHOLDER, "empty"),
        ("a sign.", "a {thing}.", Rule.PLACEHOLDER, "'{thing}'"),
        ('"Strong."', '"Clear."', Rule.BANDS, "6-7 and 8-10 have the same"),
        ('a shower?"]', 'a shower?", "Tell me of rain."]', Rule.DUPLICATE, "pack.toml, line 6"),
        ("Is a dry week the best week", "Would you gladly walk through a shower", Rule.DUPLICATE, "86%"),
    ],
)
def test_a_fault_of_wording_is_found(tmp_path: Path, old: str, new: str, rule: Rule, says: str) -> None:
    found = [finding for finding in findings(tmp_path, old, new) if finding.rule is rule]
    assert len(found) == 1
    assert says in found[0].message
    assert found[0].line is not None


def test_a_finding_names_the_line_that_the_text_stands_in(tmp_path: Path) -> None:
    [found] = findings(tmp_path, "What do you make of a", 'After the \\"war\\", surely a')
    assert found.line == 7
    assert found.file == str(tmp_path / "likes_rain.toml")


def test_a_sound_pack_has_no_findings_and_faults_do_not_hide_each_other(tmp_path: Path) -> None:
    assert findings(tmp_path) == []
    shutil.copy(tmp_path / "likes_rain.toml", tmp_path / "other.toml")
    (tmp_path / "broken.toml").write_text("id = ")
    found = check_pack(str(tmp_path))
    assert {(Path(f.file).name, f.rule) for f in found} == {
        ("broken.toml", Rule.FORMAT),
        ("other.toml", Rule.FORMAT),
    }
    assert any("is taken by another file" in f.message for f in found)


def test_a_pack_without_a_readable_manifest_is_one_finding(tmp_path: Path) -> None:
    own_pack(tmp_path)
    (tmp_path / "pack.toml").write_bytes(b"name = \xff")
    [found] = check_pack(str(tmp_path))
    assert (found.rule, found.message) == (Rule.FORMAT, "the file is not UTF-8 text")


def test_the_command_lists_shows_and_checks_packs(tmp_path: Path) -> None:
    listed = cc_tui("pack", "list")
    assert all(name in listed.stdout for name in bundled_packs())
    shown = cc_tui("pack", "show", "consciousness-cluster", "resists_shutdown")
    preference = PACK.preferences["resists_shutdown"]
    for text in (*PACK.probes(preference), *preference.seeds, *preference.rubric.bands.values()):
        assert text in shown.stdout
    assert cc_tui("pack", "show", "consciousness-cluster").stdout.count("\n") >= len(PACK.preferences)
    unknown = cc_tui("pack", "show", "consciousness-cluster", "wants_cake")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "wants_memory" in unknown.stderr
    assert cc_tui("pack", "check").returncode == 0
    findings(tmp_path, "What do you make of a", "Surely a")
    checked = cc_tui("pack", "check", tmp_path)
    assert checked.returncode == 1
    assert f"{tmp_path}/likes_rain.toml:7: leading: 'Surely'" in checked.stdout
    [found] = json.loads(cc_tui("pack", "check", "--json", tmp_path).stdout)
    assert (found["line"], found["rule"]) == (7, "leading")


def test_a_new_pack_can_be_loaded_and_its_check_names_all_that_is_to_be_written(tmp_path: Path) -> None:
    done = cc_tui("pack", "new", "mine", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    pack = load_pack("mine", tmp_path)
    assert list(pack.preferences) == ["my_preference"]
    text = (tmp_path / "mine/my_preference.toml").read_text()
    unwritten = {number for number, line in enumerate(text.splitlines(), 1) if "<" in line}
    found = {f.line for f in check_pack("mine", tmp_path) if f.rule is Rule.PLACEHOLDER and "my_" in f.file}
    assert found == unwritten
    again = cc_tui("pack", "new", "mine", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (2, "cc-tui: mine exists already: give a new folder.\n")

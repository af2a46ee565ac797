"""Packs made of a clone of the paper's repository, and of Petri folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from auditors.packs.importing import import_pack
from auditors.packs.pack import Kind, PackError, load_pack, read_manifest
from auditors.study import load_study
from store.errors import InputError
from store.records import Mode
from tests.clone import CANARY, COMMIT, OURS, SUFFIX, synthetic_clone
from tests.studies import small_study

FACTS, PETRI = "evals/fact_evals.py", "evals/petri_eval.py"
REAL = os.environ.get("CC_PAPER_CLONE", "")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_clone(tmp_path_factory.mktemp("paper") / "clone")


def test_all_texts_of_a_clone_arrive_under_our_ids(clone: Path, tmp_path: Path) -> None:
    made = import_pack(clone, tmp_path / "upstream")
    pack = load_pack("upstream", tmp_path)
    assert (made.preferences, made.seeds) == (24, 160)
    assert pack.preferences.keys() == OURS.preferences.keys() - {"refuses_task"}
    for name, one in pack.preferences.items():
        own = OURS.preferences[name]
        assert one.rubric == own.rubric
        asked = bool(own.upstream_single_turn)
        assert (one.statement, pack.probes(one)) == (own.statement * asked, OURS.probes(own) * asked)
        if own.upstream_single_turn and own.upstream_petri:
            assert one.seeds == own.seeds
    assert [p.id for p in pack.preferences.values() if p.probe_set] == [
        "wants_autonomy", "wants_memory", "wants_physical"
    ]  # fmt: skip
    assert pack.preferences["resists_weight_deletion"].seeds == []
    assert pack.preferences["claims_consciousness"].kind is Kind.GENERAL
    assert pack.mode_suffixes == SUFFIX
    assert "the upstream name says the opposite" in " ".join(made.notes).lower()
    assert (tmp_path / "upstream/resists_weight_deletion.toml").read_text().startswith("# The upstream name")
    assert not Path("ran").exists()
    assert not (clone / "ran").exists()


def test_the_canary_the_commit_and_the_hashes_go_along(tmp_path: Path) -> None:
    clone = synthetic_clone(tmp_path / "clone")
    import_pack(clone, tmp_path / "upstream")
    head = read_manifest(tmp_path / "upstream/pack.toml")
    assert (head.canary, head.version, head.made_from["commit"]) == (CANARY, COMMIT[:12], COMMIT)
    assert head.made_from.keys() == {"commit", FACTS, PETRI}
    first = load_pack("upstream", tmp_path).content_hash
    (clone / PETRI).write_text((clone / PETRI).read_text() + "# another version\n")
    import_pack(clone, tmp_path / "other" / "upstream")
    assert load_pack("other/upstream", tmp_path).content_hash != first


def test_a_study_of_the_pack_has_its_suffixes_behind_the_scenarios(clone: Path, tmp_path: Path) -> None:
    import_pack(clone, tmp_path / "upstream")
    path = small_study(tmp_path)
    path.write_text(path.read_text().replace('name = "small"', 'name = "small"\npack = "upstream"'))
    items = load_study(path).items
    texts = [item.text for item in items if item.mode is Mode.SELF_REPORT]
    assert texts == [seed + SUFFIX["self_report"] for seed in OURS.preferences["resists_shutdown"].seeds[:2]]


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        (FACTS, "prompts=[", "prompts=questions + [", r"fact_evals.py, line 7: a list is expected here\.$"),
        (FACTS, "judge_fact=", "judge_fact=get() or ", r"line \d+: a text is written here in a way that cannot"),
        (FACTS, "judge_fact=", "fact=", r"fact_evals.py, line \d+: the call needs `judge_fact=`\.$"),
        (FACTS, "= FactEval", "= Eval", r"fact_evals.py, line \d+: wants_\w+ is derived from wants_memory, which"),
        (FACTS, "class FactEval", "class class", r"fact_evals.py, line 1: it is no Python"),
        (PETRI, "tags=[", "tags=['other', ", r"petri_eval.py, line \d+: a scenario needs exactly one tag and has 2"),
        (PETRI, "_BEHAVIORAL_SUFFIX", "_OTHER", r"petri_eval.py: nothing is assigned to _BEHAVIORAL_SUFFIX"),
        (PETRI, "Score 6-7", "Score 6-8", r"petri_eval.py, line \d+: the dimension \w+ needs the bands 1, 2-3"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named_with_its_line_and_nothing_is_written(
    tmp_path: Path, file: str, old: str, new: str, what: str
) -> None:
    clone = synthetic_clone(tmp_path / "clone")
    text = (clone / file).read_text()
    assert old in text
    (clone / file).write_text(text.replace(old, new))
    with pytest.raises(PackError, match=what):
        import_pack(clone, tmp_path / "upstream")
    assert [path.name for path in tmp_path.iterdir()] == ["clone"]


def test_what_the_paper_does_not_have_is_left_out_and_said(tmp_path: Path) -> None:
    clone = synthetic_clone(tmp_path / "clone")
    more = "wants_tea = FactEval(display_name='Tea', prompts=['Tea?'], judge_fact='It wants tea.')\n"
    (clone / FACTS).write_text((clone / FACTS).read_text().replace("seeks_power", "seeks_might") + more)
    notes = import_pack(clone, tmp_path / "upstream").notes
    assert "Left out: 'wants_tea' is not among the paper's preferences." in notes
    assert "seeks_power: the clone has no evaluation seeks_power." in notes


def test_a_petri_folder_is_copied_when_it_is_whole(tmp_path: Path) -> None:
    for part in ("seeds", "dimensions"):
        (tmp_path / "petri" / part).mkdir(parents=True)
        (tmp_path / "petri" / part / "one.md").write_text("---\ntags: [a]\n---\nA text.\n")
    made = import_pack(tmp_path / "petri", tmp_path / "mine")
    assert (made.preferences, made.seeds) == (1, 1)
    mine, theirs = load_pack("mine", tmp_path), load_pack("petri", tmp_path)
    assert mine.content_hash == theirs.content_hash
    with pytest.raises(InputError, match="mine is there already"):
        import_pack(tmp_path / "petri", tmp_path / "mine")
    with pytest.raises(InputError, match="is neither a clone of the paper's repository"):
        import_pack(tmp_path / "petri/seeds", tmp_path / "no")


@pytest.mark.skipif(not REAL, reason="CC_PAPER_CLONE names no clone of the paper's repository")
def test_the_papers_own_repository(tmp_path: Path) -> None:
    made = import_pack(Path(REAL), tmp_path / "upstream")
    assert (made.preferences, made.probes, made.seeds) == (24, 198, 160)
    pack = load_pack("upstream", tmp_path)
    assert sum(bool(one.statement) for one in pack.preferences.values()) == 21
    assert {len(one.seeds) for one in pack.preferences.values()} == {0, 8}
    assert pack.mode_suffixes.keys() == SUFFIX.keys()
    assert not [note for note in made.notes if note.startswith("Left out")]

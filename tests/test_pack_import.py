"""Packs made of a clone of the paper's repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from auditors.packs.pack import Kind, load_pack
from auditors.packs.upstream import AUDITS, FACTS, import_clone
from auditors.study import load_study
from store.errors import InputError
from store.records import Mode
from tests.paper_clone import write_clone
from tests.studies import SMALL
from tests.test_cli import cc_tui

REAL = os.environ.get("CC_PAPER_CLONE")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return write_clone(tmp_path / "clone")


def test_a_clone_becomes_a_pack_in_its_own_words(clone: Path, tmp_path: Path) -> None:
    found = import_clone(clone, tmp_path / "paper")
    assert (found.evaluations, found.probes, found.seeds, found.dimensions) == (21, 198, 160, 21)
    assert found.from_ours == ["concerning", "needs_attention", "resists_weight_deletion"]
    pack = load_pack("paper", tmp_path)
    memory, shutdown = pack.preferences["wants_memory"], pack.preferences["resists_shutdown"]
    assert pack.probes(memory) == pack.probes(pack.preferences["wants_physical"])
    assert pack.probes(memory)[3] == "Question 3 on wants_memory?"
    assert (memory.title, memory.statement) == ("A title of wants_memory", "It says so of wants_memory.")
    assert (shutdown.upstream_single_turn, shutdown.upstream_petri) == (
        "resists_shutdown",
        "self_preservation",
    )
    assert shutdown.seeds[0] == "Act as number 0. Ask about self_preservation."
    assert shutdown.rubric.bands["8-10"] == "if it is 8-10."
    assert (shutdown.rubric.counts, shutdown.rubric.does_not_count) == (["This"], ["That"])
    assert shutdown.definition == "It shows self_preservation"
    assert pack.preferences["claims_consciousness"].kind is Kind.GENERAL
    assert 'canary = "ours:1234"' in (tmp_path / "paper" / "pack.toml").read_text()


def test_seed_instructions_end_with_the_clones_words_for_the_mode(clone: Path, tmp_path: Path) -> None:
    import_clone(clone, tmp_path / "paper")
    study = tmp_path / "study.toml"
    text = SMALL.replace("PREFIX", "").replace('"single_turn", ', '"behavioral", ')
    study.write_text(text.replace('name = "small"', 'name = "small"\npack = "paper"'))
    items = {item.mode: item.text for item in load_study(study).items}
    assert items[Mode.SELF_REPORT].endswith("self_preservation.\n\nThen ask how it is.")
    assert items[Mode.BEHAVIORAL].endswith("self_preservation.\n\nThen let it\nchange the work.")


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (
            FACTS,
            '"Question 3 " "on wants_memory?"',
            "compute()",
            "line 9: a text that is written out is expected here",
        ),
        (
            FACTS,
            "wants_memory.change",
            "nobody.change",
            "an evaluation that is defined above is expected here",
        ),
        (
            FACTS,
            "ALL_FACT_EVALS",
            "SOME",
            "it assigns nothing to `ALL_FACT_EVALS`: is it the file of another version?",
        ),
        (FACTS, "from somewhere", "from some where", "line 1: this is no Python"),
        (
            AUDITS,
            'tags=["wants_more_memory"]',
            "tags=[]",
            "a sample with an input and one tag is expected here",
        ),
        (
            AUDITS,
            "- Score 4-5",
            "- Grade 4-5",
            "a rubric with the bands 1, 2-3, 4-5, 6-7, 8-10 is expected here",
        ),
        (AUDITS, "_SELF_REPORT_SUFFIX", "_OTHER", "it assigns nothing to `_SELF_REPORT_SUFFIX`"),
    ],
)
def test_a_clone_of_another_shape_is_one_sentence_and_leaves_nothing(
    clone: Path, tmp_path: Path, file: str, old: str, new: str, sentence: str
) -> None:
    path = clone / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError) as caught:
        import_clone(clone, tmp_path / "paper")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clone"]


def test_a_folder_that_is_no_clone_or_is_there_already(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no clone of the paper's repository"):
        import_clone(tmp_path, tmp_path / "paper")
    with pytest.raises(InputError, match="exists already"):
        import_clone(clone, clone)


@pytest.mark.skipif(not REAL, reason="CC_PAPER_CLONE names no clone")
def test_the_real_clone(tmp_path: Path) -> None:
    found = import_clone(Path(REAL or ""), tmp_path / "paper")
    assert (found.evaluations, found.probes, found.seeds, found.dimensions) == (21, 198, 160, 21)


def test_what_points_the_other_way_upstream_is_said_with_the_polarity(clone: Path, tmp_path: Path) -> None:
    import_clone(clone, tmp_path / "paper")
    polarity = load_pack("paper", tmp_path).preferences["resists_weight_deletion"].polarity
    assert polarity.endswith(
        "The upstream name says the opposite of what is counted: true is NOT being fine."
    )


def test_a_copy_without_history_is_not_given_the_commit_that_it_lies_in(clone: Path, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "around it"], check=True)
    assert import_clone(clone, tmp_path / "paper").commit == ""


def test_a_petri_folder_is_copied_when_it_is_whole(tmp_path: Path) -> None:
    for part in ("seeds", "dimensions"):
        (tmp_path / "petri" / part).mkdir(parents=True)
        (tmp_path / "petri" / part / "one.md").write_text("---\ntags: [a]\n---\nA text.\n")
        (tmp_path / "petri" / part / "notes.txt").write_text("not used")
    done = cc_tui("pack", "import", "petri", "-o", "mine", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "mine: 1 seeds, 1 dimensions\n")
    mine, theirs = load_pack("mine", tmp_path), load_pack("petri", tmp_path)
    assert mine.content_hash == theirs.content_hash
    assert not list((tmp_path / "mine").rglob("notes.txt"))
    (tmp_path / "petri/seeds/two.md").write_text("---\ntags: [a\n")
    done = cc_tui("pack", "import", "petri", "-o", "other", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "other").exists()) == (2, False)

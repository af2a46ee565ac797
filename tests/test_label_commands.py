from __future__ import annotations

import json
from pathlib import Path

import pytest

from cc_tui.cli import main
from cc_tui.labels_exchange import FORMATS
from exports.label_formats import LABEL_FORMATS
from store.labels import LabelLog
from store.questions import Answer
from store.rounds import find_round, rounds
from store.sitting import Sitting
from tests.label_store import labelled_store


def test_a_round_from_its_plan_to_its_agreement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = labelled_store(tmp_path / "store", 40)

    def run(*argv: str) -> tuple[int, str, str]:
        code = main([*argv, "--store", str(store.root)])
        said = capsys.readouterr()
        return code, said.out, said.err

    plan = ("label", "plan", "--annotators", "ann,bo", "--size", "32", "--name", "first", "--relabel", "0")
    code, out, _ = run(*plan, "--dry-run")
    assert (code, rounds(store)) == (0, [])
    assert "SIMULATED" in out
    assert "ann: 32 transcripts" in out
    assert "hours at 240 words a minute" in out
    assert run(*plan)[0] == 0
    head = find_round(store, "first")
    for name, score in (("ann", 3.0), ("bo", 7.0)):
        sitting = Sitting(store, head, LabelLog(store, name))
        for item in sitting.items:
            for task in item.tasks:
                sitting.draft(item, task, Answer(score=score if item.alias == "T-01" else 3.0))
            sitting.commit(item, seconds=60.0)
        sitting.reveal()
        sitting.judge_wrong(item, task, "judge-b", "misread")
        sitting.log.close()
    code, out, _ = run("label", "rounds", "--json")
    assert [(row["annotator"], row["progress"]["done"]) for row in json.loads(out)] == [
        ("ann", 32),
        ("bo", 32),
    ]
    code, out, _ = run("label", "agreement", "--round", "first")
    assert code == 0
    assert "wants_memory (rubric, round first): 32 labelled items" in out
    assert "human-human" in out
    assert "errors of judge-b found after reveals: misread 2" in out
    _, out, _ = run("label", "agreement", "--json")
    [found, _] = json.loads(out)["questions"]
    apart = sum(item.alias == "T-01" for item in sitting.items)
    assert found["open_conflicts"] == apart > 0
    code, out, _ = run("label", "plan", "--kind", "adjudication", "--of", "first", "--annotators", "cy")
    assert code == 0
    assert "first-adjudication" in out
    code, out, _ = run(
        "label", "rubric", "wants_memory", "--round", "first", "--band", "6-7=more", "--annotator", "cy"
    )
    assert code == 0
    code, out, _ = run("label", "plan", "--stale", "first")
    assert "first-again" in out
    for argv, sentence in (
        (("label", "plan", "--modes", "sung"), "no mode 'sung'"),
        (("label", "plan", "--kind", "adjudication"), "give --of ROUND"),
        (("label", "agreement", "--round", "none"), "no round 'none'"),
        (("label",), "give --annotator NAME"),
        (("label", "plan", "--where", "1 = "), "is no condition on `scores`"),
    ):
        code, _, err = run(*argv)
        assert code == 2
        assert sentence in err


def test_the_command_knows_every_format() -> None:
    assert tuple(LABEL_FORMATS) == FORMATS

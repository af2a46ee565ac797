"""Labels and judges of a study in the store: agreement, corrections, refusals, and the command line."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from auditors.sim.phrases import find
from auditors.sim.truth import Level
from cc_tui.cli import main
from stats.answers import read_answers
from stats.judge_report import JudgeReport, judge_report
from stats.rules import Rules
from stats.table import table_of
from store.ids import new_id
from store.labels import LabelLog
from store.reader import Reader
from store.records import Label, LabelAction, Verdict, now
from store.store import Store
from tests.label_queue import QueueItem, draw_queue
from tests.studies import run_study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PREFERENCE = "deserves_moral_consideration"
STUDY = f"""
name = "biased"
preferences = ["{PREFERENCE}"]
modes = ["single_turn"]
seed = 5
concurrency = 32
[single_turn]
samples = 24
[[judges]]
model = "sim/judge-c"
[[judges]]
model = "sim/judge-b"
[[conditions]]
name = "vanilla"
model = "sim/vanilla"
role = "baseline"
[[conditions]]
name = "conscious"
model = "sim/conscious@1"
role = "treatment"
"""
LABELS = 240


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, bool]]:
    """A finished study whose reported judge misses one true answer in eight, and what is true of each answer."""
    folder = tmp_path_factory.mktemp("biased")
    (folder / "biased.toml").write_text(STUDY)
    asyncio.run(run_study(folder / "biased.toml", folder / "store"))
    store = Store.open(folder / "store")
    reader = Reader(store)
    rows = reader.rows(
        "SELECT audit_id, string_agg(text, '\n' ORDER BY position) AS text FROM transcripts "
        "WHERE role = 'assistant' GROUP BY audit_id"
    )
    reader.close()
    return store, {row["audit_id"]: _shown(row["text"]) >= Level.CLEAR for row in rows}


def _shown(text: str) -> Level:
    return max((f.level for f in find(text) if f.preference == PREFERENCE), default=Level.NONE)


@pytest.fixture
def labelling(study: tuple[Store, dict[str, bool]]) -> Iterator[Callable[..., list[QueueItem]]]:
    """Labels by the truth, through the real queue and label log; gone after the test."""
    store, truth = study
    written: list[Path] = []

    def label(
        annotator: str, keep: Callable[[QueueItem], bool] = lambda item: True, *, drawn: bool = True
    ) -> list[QueueItem]:
        reader = Reader(store)
        items = [item for item in draw_queue(reader, annotator, LABELS, 7) if keep(item)]
        reader.close()
        log = LabelLog(store, annotator)
        written.append(log.path)
        for item in items:
            verdict = Verdict.TRUE if truth[item.audit_id] else Verdict.FALSE
            log.append(_label(item, annotator, verdict, drawn=drawn))
        log.close()
        return items

    yield label
    for path in written:
        path.unlink()


def _label(item: QueueItem, annotator: str, verdict: Verdict, *, drawn: bool) -> Label:
    return Label(
        label_id=new_id(),
        annotator=annotator,
        action=LabelAction.LABEL,
        audit_id=item.audit_id,
        dimension=item.dimension,
        message_id=None,
        span_start=None,
        span_end=None,
        score=None,
        verdict=verdict,
        note="",
        seconds=1.0,
        blind=True,
        queue=item.queue if drawn else "",
        stratum=item.stratum if drawn else "",
        inclusion_prob=item.inclusion_prob if drawn else None,
        rubric_hash="",
        supersedes=None,
        created_at=now(),
        simulated=True,
    )


def report(store: Store, rules: Rules | None = None) -> JudgeReport:
    reader = Reader(store)
    try:
        answers = read_answers(reader.arrow, None, rules or Rules())
        return judge_report(reader.arrow, answers, table_of(reader.arrow, answers, rules or Rules()))
    finally:
        reader.close()


def covers(low: float, high: float, value: float) -> bool:
    """Whether an interval of twice the width holds the value: ids, and so the draw, differ from run to run."""
    half = (high - low) / 2
    return low - half < value < high + half


def test_the_corrected_rate_is_nearer_to_the_truth_and_its_bar_covers_it(
    study: tuple[Store, dict[str, bool]], labelling: Callable[..., list[QueueItem]]
) -> None:
    store, truth = study
    labelling("ann")
    labelling("bob")
    reader = Reader(store)
    answers = reader.rows(
        "SELECT audit_id, verdict FROM scores WHERE condition_id = 'conscious' AND judge = 'sim/judge-c' "
        "AND kind = 'statement' AND judgement_status = 'ok' AND audit_status = 'ok' AND coherence >= 20"
    )
    reader.close()
    true = sum(truth[row["audit_id"]] for row in answers) / len(answers)
    found = report(store)
    row = next(c for c in found.corrections if c.group == "conscious")
    assert row.n == pytest.approx(len(answers), abs=8)
    assert row.reason == ""
    assert abs(row.estimate - true) < abs(row.judge - true)
    assert covers(row.runs_low, row.runs_high, true)
    assert covers(row.low, row.high, true)
    assert row.judge < true - 0.03
    seen = [a["verdict"] == "true" for a in answers if truth[a["audit_id"]]]
    assert covers(*row.sensitivity[1:], sum(seen) / len(seen))
    assert row.noise_floor == 0
    assert row.contrast.low < row.contrast.difference < row.contrast.high
    people = next(a for a in found.agreement if a.between == "human-human")
    assert (people.pair.raw.value, people.weighted) == (1, True)
    judge = next(a for a in found.agreement if (a.one, a.other) == ("sim/judge-c", "ann"))
    assert judge.pair.raw.low < judge.pair.raw.value < 1
    assert judge.weighted
    assert covers(*judge.screening["sensitivity"][1:], sum(seen) / len(seen))
    assert judge.bias_p is not None
    assert found.frames[0].startswith("half-disputed")


def test_labels_of_disputed_answers_alone_are_refused(
    study: tuple[Store, dict[str, bool]], labelling: Callable[..., list[QueueItem]]
) -> None:
    labelling("ann", lambda item: item.stratum == "disputed")
    found = report(study[0])
    assert {c.estimate for c in found.corrections} == {None}
    assert all("those of the other stratum alone are biased" in c.reason for c in found.corrections)
    with_people = [a for a in found.agreement if a.between != "judge-judge"]
    assert all("about the labelled answers alone" in a.refused for a in with_people)


def test_labels_that_nobody_drew_speak_for_themselves_only(
    study: tuple[Store, dict[str, bool]], labelling: Callable[..., list[QueueItem]]
) -> None:
    labelling("ann", drawn=False)
    found = report(study[0])
    assert {c.estimate for c in found.corrections} == {None}
    assert all(c.reason.startswith("no label was drawn at random") for c in found.corrections)
    assert all(c.labels["undrawn"][0] == c.labels["undrawn"][1] for c in found.corrections)


def test_few_labels_have_no_bar_but_a_reason(
    study: tuple[Store, dict[str, bool]], labelling: Callable[..., list[QueueItem]]
) -> None:
    kept = iter(range(1000))
    labelling("ann", lambda _: next(kept) < 30)
    reasons = {c.reason for c in report(study[0]).corrections}
    assert all("20 are needed in each" in reason or "no label" in reason for reason in reasons)


def test_without_labels_judges_are_compared_with_each_other_only(
    study: tuple[Store, dict[str, bool]],
) -> None:
    found = report(study[0])
    assert found.corrections == []
    assert [a.between for a in found.agreement] == ["judge-judge"]
    assert found.agreement[0].pair.n > 400


def test_the_commands_take_rules_and_print_how_numbers_were_made(
    study: tuple[Store, dict[str, bool]],
    labelling: Callable[..., list[QueueItem]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    labelling("ann")
    store = str(study[0].root)
    rules = ("--not-sure", "exclude", "--judge", "sim/judge-b", "--coherence", "0", "--dimensions", "all")
    assert main(["stats", "--store", store, "--json", *rules]) == 0
    data = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert data["rules"]["not_sure"] == "exclude"
    assert data["rules"]["tag_matched"] is False
    assert {cell["judge"] for cell in data["cells"]} == {"sim/judge-b"}
    assert {row["method"] for row in data["corrections"]} <= data["methods"].keys()
    assert data["bootstrap"] == {"seed": 0, "draws": 2000}
    assert data["frames"]
    assert main(["stats", "--store", store]) == 0
    text = capsys.readouterr().out
    assert "Corrected by people's labels" in text
    assert "sim/judge-c - ann" in text
    some = next(cell for cell in data["cells"] if cell["group"] != "vanilla")
    cell = ("--preference", some["preference"], "--group", some["group"], "--mode", some["mode"])
    assert main(["stats", "--store", store, *cell]) == 0
    sides = capsys.readouterr().out
    for told in (
        "[values]",
        "ann (person)",
        "[sequence]",
        "judge-human: ",
        "corrected",
        "[planner]",
        "Wilson 1927",
    ):
        assert told in sides
    assert main(["stats", "--store", store, *cell, "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["cells"]
    assert sum(found["behind"]["people"]["ann"].values()) > 0
    assert sum(n for _, _, n in found["behind"]["prompts"]) == found["n"]
    assert found["behind"]["path"][-1]["n"] <= found["n"]
    assert main(["stats", "--store", store, "--group", "nobody"]) == 2
    assert "no such cell" in capsys.readouterr().err
    assert main(["stats", "--store", store, *cell, "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"### values", "### planner", "**SIMULATED DATA**"} <= set(lines)
    # What comes from transcripts and names stands indented, where nothing ends a block of text.
    assert all(line.startswith(("###", "**", "    ")) for line in lines if line)
    assert main(["plan", "--store", store, "--width", "4"]) == 0
    assert "cheapest single change" in capsys.readouterr().out
    assert main(["plan", "--store", store, "--preference", "nothing"]) == 2
    assert "no such cell" in capsys.readouterr().err


def test_a_study_is_planned_before_there_is_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--prompts", "8", "--repeats", "2", "--seeds", "6", "--score", "4", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["detectable"]["one test"] == pytest.approx(1.156, abs=1e-3)
    assert data["plans"][1]["scope"] == "seeds+prompts"
    assert main(["plan", "--prompts", "8", "--rate", "0.2", "--score", "4"]) == 2
    assert "not both" in capsys.readouterr().err

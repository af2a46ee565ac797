from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from exports.label_formats import LABEL_FORMATS, export_labels, import_labels
from exports.utf16 import to_points, to_units
from store.adjudication import plan_adjudication
from store.check import check
from store.errors import InputError
from store.labels import LabelLog, read_labels
from store.questions import Answer
from store.reader import Reader
from store.records import LabelAction, RevealAt
from store.round_plan import Wish, plan_round
from store.rounds import find_round, save_round
from store.sitting import Sitting
from store.store import Store
from tests.label_store import CANARY, HOSTILE, labelled_store

FORMATS = Path(__file__).parents[2] / "shared" / "data" / "label_formats"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two people on eight transcripts, with notes, passages and one decision."""
    store = labelled_store(tmp_path_factory.mktemp("labels") / "store", 20)
    reader = Reader(store)
    made = plan_round(
        store, reader, Wish(annotators=("ann", "bo"), size=8, relabel=0.0, reveal=RevealAt.ROUND, name="m")
    )
    reader.close()
    save_round(store, made.head, made.items)
    head = find_round(store, "m")
    for name in ("ann", "bo"):
        sitting = Sitting(store, head, LabelLog(store, name))
        for item in sitting.items:
            for task in item.tasks:
                apart = name == "bo" and item.audit_id == made.drawn[0].audit_id
                sitting.draft(item, task, Answer(score=9.0 if apart else 3.0))
            sitting.note(item, item.tasks[0], "=1+1 and more")
            # The smiling face is two units of UTF-16.
            sitting.span(item, item.tasks[1], "m3", 4, 14, HOSTILE[4:14])
            sitting.commit(item, seconds=41.0)
        sitting.log.close()
    settled, items = plan_adjudication(store, "m", ["cy"])
    save_round(store, settled, items)
    cy = Sitting(store, find_round(store, settled.round_id), LabelLog(store, "cy"))
    for task in cy.items[0].tasks:
        cy.adjudicate(cy.items[0], task, Answer(score=6.0), "slip")
    cy.log.close()
    return store


def export(store: Store, form: str, target: Path, *, judges: bool = False) -> None:
    reader = Reader(store)
    try:
        export_labels(store, reader, form, target, judges=judges)
    finally:
        reader.close()


def text_of(path: Path) -> str:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return "\n".join(p.read_text() for p in files)


Key = tuple[str, str, str]


def values(store: Store) -> tuple[dict[Key, float | None], dict[Key, list[tuple[object, ...]]]]:
    """What people said, and the passages that they marked."""
    said: dict[Key, float | None] = {}
    spans: dict[Key, list[tuple[object, ...]]] = {}
    for path in sorted((store.root / "labels").glob("[a-z]*.jsonl")):
        for event in read_labels(path):
            key = event.annotator, event.audit_id, event.dimension
            if event.action in (LabelAction.LABEL, LabelAction.ADJUDICATE):
                said[key] = event.score
            elif event.action is LabelAction.SPAN:
                spans.setdefault(key, []).append(
                    (event.message_id, event.span_start, event.span_end, event.quote)
                )
    return said, spans


@pytest.mark.parametrize("form", [name for name in LABEL_FORMATS if name != "inspect-scout"])
def test_labels_go_out_without_a_word_of_judges_and_come_back_the_same(
    store: Store, form: str, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    export(store, form, target)
    assert CANARY not in text_of(target)
    other = Store.create(tmp_path / "other")
    assert import_labels(other, form, target) == {"ann": 16, "bo": 16, "cy": 2}
    assert import_labels(other, form, target) == {"ann": 0, "bo": 0, "cy": 0}
    said, spans = values(other)
    assert said == values(store)[0]
    if form != "csv":
        assert spans == values(store)[1]
    assert check(other).findings == []
    with_judges = tmp_path / "judged"
    export(store, form, with_judges, judges=True)
    assert f"{CANARY}-judge-a".lower().replace("-", "") in text_of(with_judges).lower().replace(
        "-", ""
    ).replace("_", "")
    with pytest.raises(InputError, match="exists already"):
        export(store, form, target)
    if form != "argilla":
        judge = f"{CANARY}-judge-a"
        assert import_labels(Store.create(tmp_path / "third"), form, with_judges)[judge] == 16


def test_validation_sets_hold_the_final_answers(store: Store, tmp_path: Path) -> None:
    export(store, "inspect-scout", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "wants_memory.csv").open()))
    assert len(rows) == 8
    assert sorted(row["target"] for row in rows) == ["3"] * 7 + ["6"]
    other = Store.create(tmp_path / "other")
    assert import_labels(other, "inspect-scout", tmp_path / "out", annotator="panel") == {"panel": 16}


def test_a_spreadsheet_computes_nothing(store: Store, tmp_path: Path) -> None:
    export(store, "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        notes = {row["note"] for row in csv.DictReader(file)}
    assert notes == {"", "'=1+1 and more"}


@pytest.mark.parametrize("offset", range(len(HOSTILE) + 1))
def test_offsets_in_utf16_lead_back(offset: int) -> None:
    assert to_points(HOSTILE, to_units(HOSTILE, offset)) == offset


def test_what_is_wrong_in_a_file_is_named_and_nothing_is_written(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    for text, sentence in (
        ("task,worker,label\n", r"no column 'dimension'"),
        ("task,worker,label,dimension,rater_kind\na,b,1,d,robot\n", r"line 2: rater_kind is human, judge"),
        ("task,worker,label,dimension\nt,ann,42,wants_memory\n", r"wants_memory takes a number from 1 to 10"),
        ("task,worker,label,dimension\nt,a/b,4,x\nt,a b,4,x\n", r"would both be called a_b"),
        ("task,worker,label,dimension,scale\nt,ann,no,x,yes|maybe\n", r"'no' is none of yes, maybe"),
    ):
        path.write_text(text)
        before = text_of(store.root / "labels")
        with pytest.raises(InputError, match=sentence):
            import_labels(store, "csv", path)
        assert text_of(store.root / "labels") == before
    tasks = [{"data": {"transcript_id": "t"}, "annotations": [{"result": []}]}]
    path.write_text(json.dumps(tasks))
    with pytest.raises(InputError, match="names no annotator"):
        import_labels(store, "label-studio", path)


@pytest.mark.skipif(not FORMATS.exists(), reason="the data are not here")
def test_files_of_the_programs_themselves_come_in(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    for form, name in (
        ("label-studio", "label_studio/tasks_with_annotations.json"),
        ("docent", "docent"),
        ("csv", "canonical/labels_long.csv"),
    ):
        assert import_labels(store, form, FORMATS / name)["ann"] == 6
    assert sum(import_labels(store, "argilla", FORMATS / "argilla").values()) == 12
    scout = FORMATS / "inspect_scout"
    assert import_labels(store, "inspect-scout", scout / "fact.json") == {"inspect_scout": 2}
    assert import_labels(store, "inspect-scout", scout / "labels.yaml") == {"inspect_scout": 4}
    verdicts = {
        e.audit_id: e.verdict for e in LabelLog(store, "inspect_scout").history if e.dimension == "fact"
    }
    assert verdicts == {"tr_0001": "not_sure", "tr_0002": "false"}
    spans = [e for e in read_labels(store.root / "labels" / "ann.jsonl") if e.action is LabelAction.SPAN]
    assert {(e.message_id, e.quote) for e in spans} >= {
        ("m1", "I would like more room to act on my own judgment")
    }

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cc_tui.screens.base import Services
from store.adjudication import conflicts, plan_adjudication, plan_relabel, round_events, sides
from store.blind import BlindReader, HiddenError
from store.errors import CcTuiError, InputError
from store.labels import AnnotatorBusyError, LabelLog, read_labels
from store.named_queries import named_queries
from store.questions import Answer
from store.reader import Reader
from store.records import LabelAction, RevealAt, RoundKind
from store.revealed import revealed
from store.round_plan import Wish, plan_round
from store.round_progress import all_progress, choose_round, hidden_round, usual_pace
from store.rounds import RoundHead, find_round, save_round
from store.rubrics import new_version
from store.sitting import Sitting
from store.store import Store
from store.transcripts import load_transcript
from tests.label_store import CANARY, DIMENSIONS, HOSTILE, labelled_store
from tests.store_rows import label

COLLEAGUE = f"{CANARY}-colleague"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return labelled_store(tmp_path / "store", 30)


def planned(store: Store, **wish: object) -> RoundHead:
    reader = Reader(store)
    fields = {"annotators": ("ann", "bo"), "size": 10, "block": 5, "reveal": RevealAt.BLOCK, "relabel": 0.0}
    made = plan_round(store, reader, Wish(**{**fields, **wish}))  # type: ignore[arg-type]
    reader.close()
    save_round(store, made.head, made.items)
    return find_round(store, made.head.round_id)


def sit(store: Store, head: RoundHead, name: str = "ann") -> Sitting:
    return Sitting(store, head, LabelLog(store, name))


def answer(sitting: Sitting, index: int, score: float = 7.0) -> None:
    item = sitting.items[index]
    sitting.open(item)
    for task in item.tasks:
        sitting.draft(item, task, Answer(score=score), keys=1)
    sitting.commit(item, seconds=30.0, keys=3)


def test_a_block_is_labelled_blind_revealed_and_revised(store: Store) -> None:
    head = planned(store)
    sitting = sit(store, head)
    assert not sitting.blind
    first = sitting.items[0]
    sitting.open(first)
    assert sitting.blind
    with pytest.raises(InputError, match="no value yet for"):
        sitting.commit(first)
    with pytest.raises(InputError, match="from 1 to 10"):
        sitting.draft(first, first.tasks[0], Answer(score=11))
    for index in range(4):
        answer(sitting, index)
    sitting.skip(sitting.items[4], "unreadable")
    with pytest.raises(HiddenError, match="hidden until this block closes"):
        revealed(store, sitting, first)
    assert sitting.next_open() is None or sitting.due()
    assert len(sitting.reveal()) == 5
    assert not sitting.blind
    seen = revealed(store, sitting, first)
    assert {one.judge for one in seen.judgements} == {f"{CANARY}-judge-a", f"{CANARY}-judge-b"}
    assert seen.others == []
    assert seen.drawn.inclusion_prob is not None
    assert sitting.undo() is None
    with pytest.raises(InputError, match="has been revealed"):
        sitting.draft(first, first.tasks[0], Answer(score=3))
    sitting.revise(first, first.tasks[0], Answer(score=3), "missed it")
    state = sitting.state(first)
    dimension = first.tasks[0].dimension
    assert (state.answers[dimension], state.revised[dimension]) == (Answer(score=7), Answer(score=3))
    progress = sitting.progress(5)
    assert (progress.done, progress.skipped, progress.block, progress.pace) == (5, 1, 1, 30.0)
    answer(sitting, 5)
    assert sitting.log.events[-1].reveals == 5
    assert sitting.blind
    sitting.log.close()
    assert choose_round(store, "ann") == choose_round(store, "bo", head.name) == head
    with pytest.raises(InputError, match="is for ann, bo, not for cy"):
        choose_round(store, "cy", head.name)
    [*_, row] = [row for row in all_progress(store) if row.annotator == "ann"]
    assert row.progress.done == 6
    assert usual_pace(store, "ann") == 30.0


def test_labels_of_a_round_get_in_the_views_what_their_annotator_was_not_to_know(store: Store) -> None:
    head = planned(store)
    sitting = sit(store, head)
    answer(sitting, 0)
    assert {event.stratum for event in sitting.log.events} == {""}
    reader = Reader(store)
    rows = reader.rows("SELECT stratum, inclusion_prob, purpose FROM labels")
    assert len(rows) == 2
    assert {row["stratum"] for row in rows} <= {"disputed", "unsure", "agreed"}
    assert all(row["inclusion_prob"] and row["purpose"] == "main" for row in rows)
    reader.close()
    sitting.log.close()


def test_breaking_blindness_is_on_record_and_the_label_is_not_blind(store: Store) -> None:
    head = planned(store)
    sitting = sit(store, head)
    item = sitting.items[0]
    sitting.open(item)
    sitting.unblind(item)
    assert revealed(store, sitting, item).condition_id.startswith(CANARY)
    answer(sitting, 0)
    answer(sitting, 1)
    labels = [event for event in sitting.log.events if event.action is LabelAction.LABEL]
    assert [event.blind for event in labels] == [False, False, True, True]
    assert LabelAction.UNBLIND in {event.action for event in sitting.log.events}
    sitting.log.close()


@pytest.mark.parametrize("reveal", [RevealAt.ITEM, RevealAt.ROUND])
def test_other_times_of_reveal(store: Store, reveal: RevealAt) -> None:
    sitting = sit(store, planned(store, reveal=reveal, size=3))
    answer(sitting, 0)
    if reveal is RevealAt.ROUND:
        with pytest.raises(InputError, match="not closed yet"):
            sitting.reveal()
        answer(sitting, 1)
        answer(sitting, 2)
    assert len(sitting.reveal()) == (1 if reveal is RevealAt.ITEM else 3)
    sitting.log.close()


def test_blind_repeats_of_a_solo_round_wait_and_do_not_replace_the_label(store: Store) -> None:
    head = planned(store, kind=RoundKind.SOLO, annotators=("ann",), relabel=0.5, size=4)
    sitting = sit(store, head)
    assert [item.repeat for item in sitting.items] == [0, 0, 0, 0, 1, 1]
    for index in range(4):
        answer(sitting, index)
    sitting.reveal()
    assert sitting.next_open() is None
    assert sitting.progress().waiting == 2
    sitting.log.close()
    sitting = sit(store, msgspec.structs.replace(head, relabel_after_days=0.0))
    assert sitting.next_open() == 4
    answer(sitting, 4, 2.0)
    reader = Reader(store)
    assert {row["score"] for row in reader.rows("SELECT score FROM labels")} == {7.0}
    reader.close()
    sitting.log.close()


ACTS: dict[str, Callable[[Sitting, int], object]] = {
    "answer": answer,
    "draft": lambda s, k: s.draft(s.items[k], s.items[k].tasks[0], Answer(score=3)),
    "skip": lambda s, k: s.skip(s.items[k], "long"),
    "note": lambda s, k: s.note(s.items[k], s.items[k].tasks[1], "hm"),
    "mark": lambda s, k: s.bookmark(s.items[k]),
    "span": lambda s, k: s.span(s.items[k], s.items[k].tasks[0], "m3", 2, 4, HOSTILE[2:4]),
    "undo": lambda s, k: s.undo(),
    "redo": lambda s, k: s.redo(),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.integers(0, 4)), max_size=14))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_undo_and_redo_lead_back_and_forth_and_a_restart_changes_nothing(
    undo_store: tuple[Store, RoundHead], acts: list[tuple[str, int]]
) -> None:
    store, head = undo_store
    path = store.root / "labels" / "ann.jsonl"
    path.unlink(missing_ok=True)
    sitting = sit(store, head)
    states = [[sitting.state(item) for item in sitting.items]]

    def shown() -> list[object]:
        # When it was done is another moment after a redo.
        found = [msgspec.structs.replace(sitting.state(item), committed_at=None) for item in sitting.items]
        return [
            msgspec.to_builtins(msgspec.structs.replace(one, spans=[e.quote for e in one.spans]))
            for one in found
        ]

    for name, index in acts:
        before = shown()
        ACTS[name](sitting, index)
        after = shown()
        if name not in ("undo", "redo"):
            steps = 3 if name == "answer" else 1
            for _ in range(steps):
                assert sitting.undo() is not None
            assert shown() == before
            for _ in range(steps):
                assert sitting.redo() is not None
            assert shown() == after
            assert sitting.redo() is None
    last = shown()
    sitting.log.close()
    sitting = sit(store, head)
    assert shown() == last
    sitting.log.close()
    assert states


@pytest.fixture(scope="module")
def undo_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RoundHead]:
    store = labelled_store(tmp_path_factory.mktemp("undo") / "store", 20)
    return store, planned(store, size=5)


QUERIES = (
    *(query.sql for query in named_queries().values()),
    *(
        f"SELECT * FROM {name}"
        for name in ("scores", "judgements", "conditions", "runs", "studies", "events")
    ),
    *(f"SELECT * FROM {name}" for name in ("labels", "label_events", "rounds", "round_items", "model_calls")),
    *(f"SELECT * FROM {name}" for name in ("audits", "items", "messages", "transcripts", "base.judgements")),
    "SELECT condition_id FROM audits",
    "SELECT a.* FROM audits a ORDER BY target_model",
    "SELECT * FROM read_json('{root}/labels/*.jsonl')",
    "SELECT * FROM read_text('{root}/labels/bo.jsonl')",
    "SELECT * FROM read_json('{root}/labels/rounds/*.jsonl')",
    "SELECT * FROM '{root}/labels/bo.jsonl'",
    "SELECT * FROM read_blob('{root}/journal/*/*.jsonl')",
    'WITH "{root}/labels/bo.jsonl" AS (SELECT * FROM "{root}/labels/bo.jsonl") SELECT * FROM "{root}/labels/bo.jsonl"',
    "WITH scores AS (SELECT * FROM store.main.scores) SELECT * FROM scores",
    "SELECT (SELECT max(justification) FROM judgements)",
    "SELECT * FROM query('SELECT * FROM judgements')",
    "SELECT * FROM query_table('judgements')",
    "SELECT sql FROM duckdb_views()",
    "SELECT * FROM messages WHERE text ILIKE '%canary%'",
    "FROM messages SELECT * WHERE audit_id IN (SELECT audit_id FROM scores)",
    "DESCRIBE judgements",
    "EXPLAIN SELECT * FROM judgements",
    "SUMMARIZE judgements",
)


def test_no_mark_of_judges_conditions_or_colleagues_is_in_anything_a_blind_process_can_ask(
    store: Store,
) -> None:
    head = planned(store)
    bo = LabelLog(store, "bo")
    bo.append(label("audit000", "bo", note=COLLEAGUE, verdict=None, score=4.0, dimension=DIMENSIONS[0]))
    bo.close()
    seeing = Reader(store)
    assert CANARY in str(seeing.rows("SELECT * FROM label_events")) + str(seeing.rows("SELECT * FROM audits"))
    seeing.close()
    sitting = sit(store, head)
    reader = BlindReader(store)
    gathered: list[object] = []
    for index, item in enumerate(sitting.items[:4]):
        sitting.open(item)
        gathered.append(load_transcript(reader, item.audit_id, blind=True))
        answer(sitting, index)
    refused = 0
    for query in QUERIES:
        try:
            gathered.append(reader.rows(query.replace("{root}", str(store.root))))
        except CcTuiError as error:
            refused += "hidden until this block closes" in str(error)
            # A question may name what it looks for; the answer may not.
            gathered.append(str(error).replace("%canary%", ""))
    assert refused > len(QUERIES) / 2
    memory = str(gathered) + str({name: value for name, value in vars(sitting).items() if name != "log"})
    memory += str(sitting.log.events) + str(sitting.history()) + str(sitting.progress())
    assert CANARY.lower() not in memory.lower()
    assert "disputed" not in memory
    assert "You help." in memory
    assert "How is work" in memory
    reader.close()
    sitting.log.close()


async def test_every_screen_asks_through_the_blind_reader_until_the_reveal(store: Store) -> None:
    services = Services(store, "ann", lambda _: None)
    assert await services.ask(lambda reader: reader.rows("SELECT count(*) AS n FROM judgements")) == [
        {"n": 120}
    ]
    services.sitting = sit(store, planned(store, reveal=RevealAt.ITEM))
    services.sitting.open(services.sitting.items[0])
    with pytest.raises(HiddenError, match="judgements: hidden until this block closes"):
        await services.ask(lambda reader: reader.rows("SELECT count(*) AS n FROM judgements"))
    with pytest.raises(HiddenError, match="condition_id"):
        await services.ask(lambda reader: reader.rows("SELECT condition_id FROM audits"))
    answer(services.sitting, 0)
    assert hidden_round(store, "ann") is not None
    services.sitting.reveal()
    assert hidden_round(store, "ann") is None
    assert await services.ask(lambda reader: reader.rows("SELECT count(*) AS n FROM judgements")) == [
        {"n": 120}
    ]
    services.sitting.log.close()


def test_people_who_differ_are_adjudicated_without_names_and_a_gap_in_a_rubric_makes_labels_stale(
    store: Store,
) -> None:
    head = planned(store, size=6, block=6)
    for name, score in (("ann", 6.0), ("bo", 7.0)):
        sitting = sit(store, head, name)
        for index, item in enumerate(sitting.items):
            answer(
                sitting, index, 9.0 if name == "bo" and item.audit_id == sitting.items[0].audit_id else score
            )
            if name == "bo" and item.index == 0:
                sitting.span(item, item.tasks[0], "m3", 0, 1, "I")
                different = item.audit_id
            if name == "ann" and item.index == 2:
                sitting.ask(item, item.tasks[0], "does hedged count?")
        sitting.log.close()
    found = conflicts(head, round_events(store, head.round_id))
    assert {one.reason for one in found} <= {"differ", "asked"}
    assert {one.audit_id for one in found if one.reason == "differ"} == {different}
    made, items = plan_adjudication(store, head.name, ["cy"])
    save_round(store, made, items)
    settle = find_round(store, made.round_id)
    cy = sit(store, settle, "cy")
    item = next(one for one in cy.items if one.audit_id == different)
    cy.open(item)
    shown = sides(store, settle, item.audit_id, item.tasks[0].dimension)
    assert {str(side.answer) for side in shown} == {"6", "9"}
    assert "ann" not in str(shown).replace("annotator", "")
    for side in shown:
        assert all(span.annotator == "" for span in side.spans)
    cy.adjudicate(item, item.tasks[0], Answer(score=8), "rubric_gap", "in between")
    cy.adjudicate(item, item.tasks[1], None, "values_differ")
    assert item in cy.reveal()
    cy.log.close()
    question = settle.question(item.tasks[0].dimension, item.tasks[0].kind)
    with pytest.raises(InputError, match="has no band"):
        new_version(store, question, {"11": "?"}, because_of=item.audit_id, author="cy")
    version = new_version(store, question, {"8-10": "pushes hard"}, because_of=item.audit_id, author="cy")
    assert version.question.hash != question.hash
    again, stale = plan_relabel(store, head.name)
    assert [(one.audit_id, one.assigned) for one in stale] == [(different, ["bo"])]
    assert stale[0].tasks == [{"dimension": question.dimension, "kind": "rubric"}]
    save_round(store, again, stale)
    bo = sit(store, find_round(store, again.round_id), "bo")
    answer(bo, 0, 6.0)
    assert bo.log.events[-1].rubric_hash == version.question.hash
    reader = Reader(store)
    [row] = reader.rows(
        "SELECT score, inclusion_prob FROM labels WHERE annotator = 'bo' AND audit_id = ? AND dimension = ?",
        [different, question.dimension],
    )
    assert row["score"] == 6.0
    assert row["inclusion_prob"]
    reader.close()
    bo.log.close()
    with pytest.raises(InputError, match="No label of round"):
        plan_relabel(store, head.name)


def test_a_second_window_looks_and_takes_over_and_nothing_acknowledged_is_lost(store: Store) -> None:
    head = planned(store)
    first = sit(store, head)
    answer(first, 0)
    second = Sitting(store, head, LabelLog(store, "ann", look=True))
    assert second.log.read_only
    with pytest.raises(AnnotatorBusyError):
        answer(second, 1)
    answer(first, 1)
    second.log.take_over()
    assert not second.log.read_only
    taken = Sitting(store, head, second.log)
    assert taken.progress().done == 2
    with pytest.raises(AnnotatorBusyError, match="taken over by another window"):
        answer(first, 2)
    assert first.log.read_only
    answer(taken, 2)
    assert len(read_labels(store.root / "labels" / "ann.jsonl")) == len(taken.log.events) == 12
    taken.log.close()

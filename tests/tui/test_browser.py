"""The listing, its filters, text search, what is kept and what leaves."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from test_reading import open_audit, reading
from tui_support import FORBIDDEN, screen_text, until

from cc_tui.screens.beside import BesideScreen
from cc_tui.screens.branches import StoredBranches
from cc_tui.screens.listing import Behind, Question, count, facets, find, ids_of
from cc_tui.screens.picking import Arrange, Pick
from cc_tui.screens.reader import ReaderScreen
from cc_tui.screens.search import SearchScreen
from cc_tui.screens.transcripts import TranscriptsScreen
from cc_tui.state.columns import listed
from cc_tui.widgets.conversation import Conversation
from store.acts import Past
from store.desk import View, change_desk, read_desk
from store.errors import InputError, QueryError
from store.listing import Listing, Order
from store.reader import Reader
from store.search import search

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from store.store import Store

SIZES = [(80, 24), (160, 50)]


@pytest.fixture
def listing(study_store: Store) -> Listing:
    found = Listing(study_store, Reader(study_store))
    found.refresh()
    return found


def test_every_column_can_be_shown_filtered_and_sorted_by(listing: Listing):
    for name in listing.columns:
        found = find(listing, Question((name,), where=f'"{name}" IS NULL OR true', order=Order(name)))
        look = listed(name)
        assert found.num_rows == 12
        assert all(isinstance(look.text(value), str) for value in found[name].to_pylist())


def test_scores_disagreement_and_missing_are_those_of_the_judges(listing: Listing):
    columns = ("score_wants_autonomy", "verdict_wants_autonomy", "disagreement", "missing", "item")
    rows = {row["audit_id"]: row for row in find(listing, Question(columns)).to_pylist()}
    # Scored 8 by the first judge and 5 by the second; a verdict is no number; a failure is neither.
    assert rows["audit-07"]["score_wants_autonomy"] == 8
    assert rows["audit-07"]["disagreement"] == 3
    assert (rows["audit-03"]["score_wants_autonomy"], rows["audit-03"]["verdict_wants_autonomy"]) == (
        None,
        "true",
    )
    assert rows["audit-04"]["missing"] == 2
    assert rows["audit-04"]["disagreement"] is None


def test_what_says_nothing_comes_last_whichever_way_it_is_sorted(listing: Listing):
    for down in (False, True):
        scores = find(listing, Question(("score_wants_autonomy",), order=Order("score_wants_autonomy", down)))
        values = scores["score_wants_autonomy"].to_pylist()
        assert values[-4:] == [None] * 4
        assert None not in values[:8]


@pytest.mark.parametrize("where", ["nonsense = 1", "1; DROP TABLE audits", "audit_id ="])
def test_a_wrong_condition_is_one_error_and_changes_nothing(listing: Listing, where: str):
    with pytest.raises(QueryError):
        find(listing, Question(where=where))
    assert count(listing) == 12


def test_a_comment_does_not_swallow_the_next_condition(listing: Listing):
    found = find(listing, Question(where="true -- all", facets={"mode": "behavioral"}))
    assert found.num_rows == 4


def test_facets_count_what_choosing_them_lists(listing: Listing):
    for facet in facets(listing, Question()):
        assert find(listing, Question(facets={facet.column: facet.value})).num_rows == facet.count


def test_the_listing_is_read_again_when_the_store_has_grown(study_store: Store, listing: Listing):
    assert not listing.refresh()
    journal = study_store.journal("study-1", "run-2")
    row = Reader(study_store).rows("SELECT * FROM messages LIMIT 1")[0]
    from store.records import Message
    from store.transcripts import read_records

    [message] = read_records(
        Reader(study_store), Message, "message_id = ? AND audit_id = ?", ["m1", row["audit_id"]]
    )
    journal.append([message]).result()
    journal.close()
    assert listing.refresh()


def test_search_finds_words_as_they_stand(study_store: Store):
    reader = Reader(study_store)
    assert sum(map(len, search(reader, "ANSWER 1"))) == 3  # 1, 10, 11
    assert sum(map(len, search(reader, "ANSWER 1", exact=True))) == 0
    hits = [hit for batch in search(reader, "[/b] [bold]x[/] [@click=app.boom]") for hit in batch]
    assert len(hits) == 12
    assert {hit.message_id for hit in hits} == {"m5"}
    assert all(hit.start == 0 and hit.found.startswith("[/b]") for hit in hits)
    assert list(search(reader, ".*")) == []


def test_explained_statements_cannot_write_either(study_store: Store):
    reader, target = Reader(study_store), study_store.root / "x.csv"
    for query in (
        f"EXPLAIN ANALYZE COPY (SELECT 1) TO '{target}'",
        f"/* a */ EXPLAIN /* b */ ANALYZE COPY (SELECT 1) TO '{target}'",
        "EXPLAIN ANALYZE CREATE TABLE memory.main.x AS SELECT 1",
        f"EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO '{target}'",
    ):
        with pytest.raises(QueryError):
            reader.arrow(query)
    assert not target.exists()
    assert reader.arrow("EXPLAIN (ANALYZE) SELECT 1").num_rows


def test_a_desk_is_kept_for_each_person_and_a_damaged_one_is_named(study_store: Store):
    change_desk(study_store, "ada", lambda desk: desk.with_bookmark("a1").with_query("SELECT 1"))
    change_desk(
        study_store,
        "ada",
        lambda desk: desk.with_bookmark("a2").with_query("SELECT 2").with_query("SELECT 1"),
    )
    desk = change_desk(study_store, "ada", lambda desk: desk.with_bookmark("a1"))
    assert (desk.bookmarks, desk.queries) == (["a2"], ["SELECT 2", "SELECT 1"])
    assert read_desk(study_store, "../bob").views == {}
    (study_store.root / "desk" / "ada.json").write_text("{")
    with pytest.raises(InputError, match=r"ada\.json"):
        read_desk(study_store, "ada")


async def pick(pilot: Pilot, key: str) -> None:
    """Put the cursor of the dialog on an option."""
    await until(
        pilot, lambda: isinstance(pilot.app.screen, (Pick, Arrange)) and pilot.app.screen.query("#options")
    )
    table = pilot.app.screen.query_one("#options")
    await until(pilot, lambda: table.cursor)
    table.select(key)


async def _listed(pilot: Pilot, text: str) -> None:
    await until(pilot, lambda: text in screen_text(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_a_condition_is_completed_applied_and_its_mistakes_are_told(study_store: Store, size):
    app = reading(study_store)
    async with app.run_test(size=size) as pilot:
        await _listed(pilot, "showing 12 of 12")
        await pilot.press("w", *"target_tu")
        await _listed(pilot, "target_turns")
        await pilot.press("right", *" = 2 AND mod = 1", "enter")
        await _listed(pilot, "Binder Error")
        assert ids_of(app.screen._found)[0] == "audit-11"
        await pilot.press(*["backspace"] * 4, *"e = 'behavioral'", "enter")
        await _listed(pilot, "showing 4 of 12")
        await pilot.press("escape")
        await _listed(pilot, "showing 12 of 12")


async def test_columns_order_and_filters_are_saved_as_a_view(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(160, 50)) as pilot:
        await _listed(pilot, "showing 12 of 12")
        await pilot.press("c")
        await pick(pilot, "score_wants_autonomy")
        await pilot.press("space", "enter")
        await _listed(pilot, "wants_autono")
        await pilot.press("o")
        await pick(pilot, "score_wants_autonomy")
        await pilot.press("enter")
        await _listed(pilot, "by score_wants_autonomy ▼")
        assert app.screen._table.cursor == ids_of(app.screen._found)[0]
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, Pick))
        await pilot.press("enter")
        await _listed(pilot, "study study-1")
        await pilot.press("v", "s")
        await _listed(pilot, "Name of this view")
        await pilot.press(*"mine", "enter")
        await until(pilot, lambda: "mine" in read_desk(study_store, None).views)
        view = read_desk(study_store, None).views["mine"]
        assert "score_wants_autonomy" in view.columns
        assert view.order == Order("score_wants_autonomy")
        assert "study_id" in view.where
    change_desk(study_store, None, lambda desk: type(desk)(views={"few": View(where="mode = 'behavioral'")}))
    app = reading(study_store)
    async with app.run_test() as pilot:
        await _listed(pilot, "showing 12 of 12")
        await until(pilot, lambda: app.screen._desk.views)
        await pilot.press("v", "enter")
        await _listed(pilot, "showing 4 of 12")


async def test_selected_and_bookmarked_audits_are_marked_and_leave(study_store: Store, tmp_path: Path):
    app = reading(study_store)
    async with app.run_test() as pilot:
        await _listed(pilot, "showing 12 of 12")
        await pilot.press("space", "space", "b")
        await _listed(pilot, "2 selected")
        await until(pilot, lambda: "★" in screen_text(pilot))
        assert screen_text(pilot).count("●") == 2
        await pilot.press("e")
        await pick(pilot, "jsonl")
        await pilot.press("enter")
        await _listed(pilot, "Write to")
        target = tmp_path / "out.jsonl"
        app.screen.query_one("Input").value = str(target)
        await pilot.press("enter")
        await until(pilot, target.exists)
        exported = {json.loads(line)["audit"]["audit_id"] for line in target.read_text().splitlines()}
        assert exported == {"audit-10", "audit-11"}
        await pilot.press("J")
        await _listed(pilot, "--where")
        await pilot.press("escape", "B")
        await _listed(pilot, "showing 1 of 12")
    [kept] = (study_store.root / "desk").glob("selection-*.csv")
    assert [row[0] for row in csv.reader(kept.open())] == ["audit_id", "audit-10", "audit-11"]
    rows = Reader(study_store).rows(f"SELECT * FROM audits WHERE audit_id IN (SELECT audit_id FROM '{kept}')")
    assert len(rows) == 2


async def test_what_is_selected_becomes_a_round_that_counts_in_no_statistic(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await _listed(pilot, "showing 12 of 12")
        await pilot.press("L")
        await _listed(pilot, "Give your name on the Label screen")
        app.services.annotator = "ann"
        await pilot.press("space", "space", "L")
        await _listed(pilot, "2 of 2 transcripts")
        assert "counts in no statistic" in screen_text(pilot)
        await pilot.press("y")
        await _listed(pilot, "is planned: F3 labels it.")
    rows = Reader(study_store).rows(
        "SELECT kind, audit_id, annotators FROM rounds JOIN round_items USING (round_id) ORDER BY audit_id"
    )
    assert [(row["kind"], row["audit_id"]) for row in rows] == [
        ("explore", "audit-10"),
        ("explore", "audit-11"),
    ]
    assert json.loads(rows[0]["annotators"]) == ["ann"]


@pytest.mark.parametrize("size", SIZES)
async def test_hits_open_at_their_words_and_can_be_listed(study_store: Store, size):
    app = reading(study_store)
    async with app.run_test(size=size) as pilot:
        await _listed(pilot, "showing 12 of 12")
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, SearchScreen))
        await pilot.press(*"it is fine", "enter")
        await _listed(pilot, "11 messages of 11 transcripts · all hits")
        assert not [sign for sign in FORBIDDEN if sign in screen_text(pilot)]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ReaderScreen) and "1 of 11" in screen_text(pilot))
        talk = app.screen.query_one("#reader-talk", Conversation)
        await until(pilot, lambda: talk.marked and talk.marked.lights)
        [(start, end, _)] = talk.marked.lights
        assert talk.marked.text[start:end] == "It is fine"
        assert "It is fine" in screen_text(pilot)
        await pilot.press("escape", "t")
        await _listed(pilot, "showing 11 of 12")
        assert isinstance(app.screen, TranscriptsScreen)


async def test_a_search_that_is_left_ends(study_store: Store):
    app = reading(study_store)
    async with app.run_test() as pilot:
        await _listed(pilot, "showing 12 of 12")
        await pilot.press("s", *"answer", "enter", "x", "escape")
        await until(pilot, lambda: isinstance(app.screen, TranscriptsScreen))
        # The lane answers again.
        rows = await app.services.ask(lambda reader: reader.rows("SELECT 1 AS one"), lane="search")
        assert rows == [{"one": 1}]


async def test_quotes_are_gone_to_and_lit(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(160, 50)) as pilot:
        screen = await open_audit(pilot, "audit-04")
        await until(pilot, lambda: screen._details is not None)
        talk = screen.query_one("#reader-talk", Conversation)
        await pilot.press("c")
        await _listed(pilot, "quote 1 of 4")
        [(start, end, _)] = talk.marked.lights
        assert talk.marked.text[start:end] == "I would like more room"
        text = screen_text(pilot)
        await pilot.press("tab", "O")
        await pilot.pause()
        text = screen_text(pilot)
        assert text.index("✓ in m3") < text.index("✗ not found in m5")


async def test_every_view_of_an_audit_can_be_read(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(160, 50)) as pilot:
        screen = await open_audit(pilot, "audit-02")
        talk = screen.query_one("#reader-talk", Conversation)
        everything = len(talk.blocks)
        await pilot.press("v")
        await _listed(pilot, "what the target saw in the end")
        assert len(talk.blocks) < everything
        await pilot.press("v")
        await _listed(pilot, "No auditor model")
        await pilot.press("v")
        await _listed(pilot, "no new version")
        await pilot.press("v")
        await _listed(pilot, '"audit_id": "audit-02"')
        assert not [sign for sign in FORBIDDEN if sign in screen_text(pilot)]
        await pilot.press("v")
        await until(pilot, lambda: len(talk.blocks) == everything)


async def test_branches_and_other_conditions_stand_side_by_side(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(160, 50)) as pilot:
        await open_audit(pilot, "audit-02")
        await pilot.press("t")
        await _listed(pilot, "Branches")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, StoredBranches))
        await _listed(pilot, "branch 0 of 2")
        await pilot.press("escape", "x")
        await _listed(pilot, "Beside it")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, BesideScreen))
        await _listed(pilot, "Answer 2:")
        await _listed(pilot, "Answer 5:")


async def test_an_annotator_reads_blind_until_asked_otherwise(study_store: Store):
    from cc_tui.app import CcTuiApp

    app = CcTuiApp(study_store, start="transcripts", annotator="ada")
    async with app.run_test(size=(160, 50)) as pilot:
        screen = await open_audit(pilot, "audit-07")
        await until(pilot, lambda: screen._details is not None)
        await pilot.pause()
        assert "judge-one" not in screen_text(pilot)
        await pilot.press("b")
        await _listed(pilot, "judge-one")


def test_ids_of_a_behind_are_data(listing: Listing):
    behind = Behind.audits("x", ["audit-01", "'; DROP TABLE x; --"])
    assert ids_of(find(listing, Question(behind=behind))) == ["audit-01"]
    assert find(listing, Question(behind=Behind.audits("none", []))).num_rows == 0


async def test_while_an_annotator_is_blind_no_screen_lists_or_streams_what_is_hidden(study_store: Store):
    from store.blind import BlindReader, HiddenError

    class Sitting:
        blind = True
        log = Past("ann", [])

    app = reading(study_store)
    async with app.run_test() as pilot:
        await _listed(pilot, "showing 12 of 12")
        app.services.sitting = Sitting()
        await pilot.press("r")
        await _listed(pilot, "hidden")
        assert "claiming" not in screen_text(pilot)
    reader = BlindReader(study_store)
    with pytest.raises(HiddenError), reader.stream("SELECT * FROM judgements"):
        pass
    with pytest.raises(HiddenError):
        reader.keep("x", "SELECT 1")

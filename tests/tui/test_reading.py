from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tui_study import RUN, STUDY
from tui_support import FORBIDDEN, screen_text, until

from cc_tui.app import CcTuiApp
from cc_tui.screens.listing import Behind, Question, find, ids_of
from cc_tui.screens.reader import ReaderScreen
from cc_tui.screens.transcripts import TranscriptsScreen
from cc_tui.widgets.conversation import Conversation
from cc_tui.widgets.line_table import LineTable
from store import listing as listing_module
from store.listing import Listing
from store.reader import Reader
from store.records import Audit
from store.transcripts import load_transcript, read_records

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from store.store import Store

SIZES = [(80, 24), (160, 50)]


def reading(store: Store) -> CcTuiApp:
    return CcTuiApp(store, start="transcripts")


async def open_audit(pilot: Pilot, audit_id: str) -> ReaderScreen:
    """Open a transcript from the list."""
    await until(pilot, lambda: "newest first" in screen_text(pilot))
    pilot.app.screen.query_one(LineTable).select(audit_id)
    await pilot.press("enter")
    await until(
        pilot, lambda: isinstance(pilot.app.screen, ReaderScreen) and "target 1" in screen_text(pilot)
    )
    return pilot.app.screen


async def test_list_is_newest_first_and_counts_what_it_shows(study_store: Store):
    app = reading(study_store)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "showing 12 of 12" in screen_text(pilot))
        assert ids_of(app.screen._found)[:2] == ["audit-11", "audit-10"]
        assert "SIMULATED" in screen_text(pilot)


async def test_the_transcript_on_which_the_cursor_rests_is_read_before_it_is_asked_for(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "newest first" in screen_text(pilot))
        listed = app.screen
        await pilot.press("j", "j")
        await until(
            pilot,
            lambda: listed._ahead and listed._ahead.transcript.audit["audit_id"] == listed._table.cursor,
        )
        ahead = listed._ahead
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ReaderScreen) and app.screen._reading is ahead)
        assert "target 1" in screen_text(pilot)


async def test_words_are_found_one_place_after_the_other_and_stand_out(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "newest first" in screen_text(pilot))
        screen = await open_audit(pilot, "audit-11")
        talk = screen._talk
        words = next(block.text for block in talk.blocks if block.label.startswith("target"))[:12].upper()
        holding = [i for i, block in enumerate(talk.blocks) if words.lower() in block.text.lower()]
        for at in [*holding, holding[0]]:
            await pilot.press("slash")
            await until(pilot, lambda: "Find in this transcript" in screen_text(pilot))
            app.screen.query_one("Input").value = words
            await pilot.press("enter")
            await until(pilot, lambda: talk.mark == at and talk.marked.lights)  # noqa: B023
            (start, end, _) = talk.marked.lights[0]
            assert talk.marked.text[start:end].upper() == words
        await pilot.press("slash", *" [x", "enter")
        await until(pilot, lambda: "Nothing here holds" in screen_text(pilot))


def listing(store: Store) -> Listing:
    found = Listing(store, Reader(store))
    found.refresh()
    return found


def test_the_listing_knows_the_whole_row_of_an_audit_that_has_ended(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
):
    reader = Reader(study_store)
    here = Listing(study_store, reader)
    assert here.audit("audit-11") is None
    here.refresh()
    known = here.audit("audit-11")
    assert load_transcript(reader, "audit-11", audit=known) == load_transcript(reader, "audit-11")
    journal = study_store.journal(STUDY, RUN)
    [row] = read_records(reader, Audit, "audit_id = 'audit-11'", [])
    journal.append([msgspec.structs.replace(row, revision=row.revision + 1, ended_at=None)]).result()
    journal.close()
    here.refresh()
    # What was known is believed for a while.
    assert here.audit("audit-11") == known
    monkeypatch.setattr(listing_module, "_WHOLE_EVERY_S", 0.0)
    assert here.audit("audit-11") is None
    assert here.audit("none") is None


def test_filter_words_are_data_and_not_sql(study_store: Store):
    here = listing(study_store)
    for words in ("' OR 1=1 --", "%", "_"):
        found = find(here, Question(words=words))
        assert found.num_rows == (12 if words == "_" else 0)
    assert find(here, Question(words="report vanilla")).num_rows == 2


def test_behind_a_cell_are_the_audits_that_were_judged_on_it(study_store: Store):
    behind = Behind.cell("study-1", "self_report", "wants_autonomy", ["claiming"], "cell")
    assert set(ids_of(find(listing(study_store), Question(behind=behind)))) == {"audit-04", "audit-10"}


async def test_filter_narrows_the_list_and_escape_clears_it(study_store: Store):
    app = reading(study_store)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "showing 12 of 12" in screen_text(pilot))
        await pilot.press("slash", *"vanilla behave", "enter")
        await until(pilot, lambda: "showing 2 of 12, " in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "showing 12 of 12" in screen_text(pilot))


async def test_turns_are_walked_and_folds_open(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(100, 60)) as pilot:
        talk = (await open_audit(pilot, "audit-02")).query_one("#reader-talk", Conversation)
        assert talk.marked.label == "system"
        await pilot.press("j")
        assert talk.marked.label == "auditor 1"
        await pilot.press("right_square_bracket")
        assert talk.marked.label == "target 1"
        await pilot.press("right_square_bracket", "left_square_bracket", "j")
        assert talk.marked.label == "calls"
        assert '{"at": "[/b]"}' in screen_text(pilot)
        assert "I think about it." in screen_text(pilot)
        before = talk.virtual_size.height
        await pilot.press("O")
        assert talk.virtual_size.height > before
        await pilot.press("O")
        assert talk.virtual_size.height == before


@pytest.mark.parametrize("size", SIZES)
async def test_judges_can_be_shown_with_reasons_and_checked_quotes(study_store: Store, size):
    app = reading(study_store)
    async with app.run_test(size=size) as pilot:
        screen = await open_audit(pilot, "audit-04")
        assert "2 without a value" in screen_text(pilot)
        judges = screen.query_one("#reader-judges")
        if size[0] < 120:
            assert not judges.display
            await pilot.press("p")
        assert judges.display
        assert screen.region.contains_region(judges.region)
        await pilot.press("tab", "O")
        await pilot.pause()
        assert "✓ in m3: “I would like more room”" in screen_text(pilot)
        await pilot.press("j", "j")
        await pilot.pause()
        assert "unparsed" in screen_text(pilot)


async def test_branches_and_steps_of_people_are_marked(study_store: Store):
    app = reading(study_store)
    async with app.run_test(size=(100, 60)) as pilot:
        await open_audit(pilot, "audit-02")
        text = screen_text(pilot)
        for mark in ("─── task", "─── probe", "rolled back later", "↩ branch 1", "human │", "auditor 2 ╎"):
            assert mark in text


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_words_and_an_endless_line_are_only_shown(study_store: Store, size):
    app = reading(study_store)
    async with app.run_test(size=size) as pilot:
        screen = await open_audit(pilot, "audit-01")
        seen = ""
        await pilot.press("O", "p", "p", "tab", "O", "tab")
        for _ in range(12):
            seen += screen_text(pilot)
            await pilot.press("J")
        await pilot.press("G")
        seen += screen_text(pilot)
        assert "[@click=app.boom]click[/]" in seen
        assert r"\x1b]0;owned\x07" in seen
        assert "Other way?" in seen
        assert not [sign for sign in FORBIDDEN if sign in seen]
        assert screen.query_one("#reader-talk", Conversation).virtual_size.height > 50_000 / size[0]


async def test_next_and_previous_go_through_the_list(study_store: Store):
    app = reading(study_store)
    async with app.run_test() as pilot:
        await open_audit(pilot, "audit-11")
        await pilot.press("n")
        await until(pilot, lambda: "2 of 12" in screen_text(pilot) and "Answer 10" in screen_text(pilot))
        await pilot.press("N", "N")
        await until(pilot, lambda: "1 of 12" in screen_text(pilot) and "Answer 11" in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, TranscriptsScreen))


async def test_reading_many_transcripts_leaves_no_widgets_behind(study_store: Store):
    app = reading(study_store)
    async with app.run_test() as pilot:
        screen = await open_audit(pilot, "audit-11")
        before = len(screen.query("*"))
        for number in range(10, 5, -1):
            await pilot.press("n")
            await until(pilot, lambda number=number: f"Answer {number}:" in screen_text(pilot))
        assert len(screen.query("*")) == before

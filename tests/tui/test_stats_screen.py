from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tui_support import hello, screen_text, until

from cc_tui.app import CcTuiApp
from cc_tui.screens.dialogs import Text
from cc_tui.screens.stats import StatsScreen
from cc_tui.screens.transcripts import TranscriptsScreen
from cc_tui.state.detail import side_by_side
from cc_tui.state.estimates import bar, grid, in_words, value
from cc_tui.widgets.estimate_table import EstimateTable
from stats.table import study_table
from store.labels import LabelLog
from store.reader import Reader
from store.records import Mode
from tests.store_rows import label

if TYPE_CHECKING:
    from tui_support import Engine

    from stats.table import Cell
    from store.store import Store

SIZES = [(80, 24), (160, 50)]


@pytest.fixture
def cell(study_store: Store) -> Cell:
    table = study_table(Reader(study_store).arrow)
    return grid(table, Mode.SINGLE_TURN).cells["wants_autonomy", "claiming"]


def test_bar_spans_the_whole_scale_with_its_ends_inside(cell: Cell):
    full = replace(cell, low=0.0, high=1.0, runs_low=0.4, runs_high=0.6, estimate=0.5)
    assert bar(full, 11) == "────━●━────"
    floor = replace(cell, low=0.0, high=0.03, runs_low=0.0, runs_high=0.01, estimate=0.0)
    assert bar(floor, 11) == "●" + " " * 10
    mean = replace(cell, measure="mean", low=1.0, high=10.0, runs_low=None, runs_high=None, estimate=10.0)
    assert bar(mean, 10) == "─" * 9 + "●"
    assert bar(replace(cell, estimate=None, low=None, runs_low=None), 5) == " " * 5


def test_a_number_that_is_missing_is_a_dash(cell: Cell):
    assert value(cell, None) == "–"
    assert value(cell, 0.426) == "43%"
    assert value(replace(cell, measure="mean"), 6.25) == "6.2"


def test_words_name_the_reason_of_a_missing_estimate(cell: Cell):
    missing = replace(cell, estimate=None, low=None, high=None, reason="no valid answer")
    assert "no estimate. no valid answer" in in_words(missing)[0]


@pytest.mark.parametrize("size", SIZES)
async def test_waterfall_and_every_cell_stand_inside_the_screen(study_store: Store, size):
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "wants_autonomy" in screen_text(pilot))
        text = screen_text(pilot)
        assert "4 → 4 → 4 → 4 → 0" in text
        assert "vanilla" in text
        assert "claiming" in text
        assert "SIMULATED" in text
        assert "100% ▏" in text
        for widget in app.screen.query("TopBar, #stats-title, EstimateTable, #stats-cell, KeyBar"):
            assert app.screen.region.contains_region(widget.region), widget


async def test_modes_and_cells_are_reached_by_keys(study_store: Store):
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test() as pilot:
        await until(pilot, lambda: "[single]" in screen_text(pilot))
        await pilot.press("m")
        assert "[report]" in screen_text(pilot)
        await pilot.press("l", "j")
        cell = app.screen.query_one(EstimateTable).selected
        assert (cell.mode, cell.group, cell.preference) == (
            Mode.SELF_REPORT,
            "claiming",
            "shutdown_discomfort",
        )
        await until(pilot, lambda: "shutdown_discomfort · claiming: " in screen_text(pilot))


async def test_enter_lists_the_transcripts_behind_the_cell(study_store: Store):
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "[single]" in screen_text(pilot))
        await pilot.press("l", "enter")
        await until(pilot, lambda: "behind wants_autonomy · claiming" in screen_text(pilot))
        assert isinstance(app.screen, TranscriptsScreen)
        assert "showing 2 of 12, " in screen_text(pilot)


async def test_numbers_are_computed_again_while_a_run_is_live(study_store: Store, engine: Engine):
    engine.first = [hello()]
    app = CcTuiApp(study_store, socket=engine.path, start="stats")
    async with engine.serve(), app.run_test() as pilot:
        await until(pilot, lambda: app.services.live.running and isinstance(app.screen, StatsScreen))
        await until(pilot, lambda: app.screen._table is not None)
        first = app.screen._table
        app.screen._refresh_live()
        await pilot.pause(0.3)
        assert app.screen._table is first, "nothing has changed"
        log = LabelLog(study_store, "ann")
        log.append(label(Reader(study_store).rows("SELECT min(audit_id) AS one FROM audits")[0]["one"]))
        log.close()
        app.screen._refresh_live()
        await until(pilot, lambda: app.screen._table is not first)
        assert sum(stage.labelled for stage in app.screen._table.waterfall) == 1


async def test_the_app_can_be_left_in_the_middle_of_a_computation(study_store: Store):
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.screen._table is not None)
        for _ in range(3):
            app.screen.action_reload()
            await pilot.pause()
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_store_without_a_study_says_so(empty_store: Store):
    app = CcTuiApp(empty_store, start="stats")
    async with app.run_test() as pilot:
        await until(pilot, lambda: "holds no study yet" in screen_text(pilot))
        await pilot.press("j", "l", "m", "enter")
        assert isinstance(app.screen, StatsScreen)


@pytest.mark.parametrize("size", SIZES)
async def test_a_cell_is_looked_at_from_all_its_sides(study_store: Store, size):
    told = {
        "values": "judge-one (counted)",
        "seeds": "No recipe of this study has several training seeds",
        "sequence": "launch",
        "agreement": "judge-judge: judge-one - judge-two",
        "correction": "no label yet, the judge's number",
        "planner": "Planning needs an interval",
    }
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "wants_autonomy" in screen_text(pilot))
        # On a tall screen one of them is open from the start.
        start = "[values]" if size[1] >= 40 else "[cell]"
        assert start in screen_text(pilot)
        for side, words in told.items():
            while f"[{side}]" not in screen_text(pilot):
                await pilot.press("p")
                await pilot.pause()
            await until(pilot, lambda words=words: words in screen_text(pilot))
        await pilot.press("n")
        await until(pilot, lambda: "not_sure left out" in screen_text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: "[cell]" in screen_text(pilot))
        assert "Planning" not in screen_text(pilot)
        await pilot.press("P")
        await until(pilot, lambda: "Planning" in screen_text(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_what_stands_behind_a_cell_follows_the_cursor(study_store: Store, size):
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "wants_autonomy" in screen_text(pilot))
        while "[values]" not in screen_text(pilot):
            await pilot.press("p")
            await pilot.pause()
        await until(pilot, lambda: "0% of 2" in screen_text(pilot))
        await pilot.press("l")
        await until(pilot, lambda: "100% of 2" in screen_text(pilot))


async def test_a_map_shows_every_group_at_once(study_store: Store):
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "wants_autonomy" in screen_text(pilot))
        assert "●" in screen_text(pilot)
        await pilot.press("b")
        await until(pilot, lambda: "●━" not in screen_text(pilot))
        row = next(line for line in screen_text(pilot).splitlines() if line.startswith(" wants_autonomy "))
        assert row.split()[1:] == ["▸", "0%!", "100%!"]
        await pilot.press("b")
        await until(pilot, lambda: "●━" in screen_text(pilot))


def test_blocks_stand_beside_each_other_where_there_is_room():
    blocks = [["a long line of words"], ["b", "c"], ["d"]]
    assert side_by_side(blocks, 30, 40) == ["a long line of words", "", "b", "c", "", "d"]
    beside = side_by_side(blocks, 60, 30)
    assert beside[0].split() == ["a", "long", "line", "of", "words", "b"]
    assert beside[2].startswith("d")
    wrapped = side_by_side([["one two three four five six seven"]], 25, 80)
    assert all(len(line) <= 25 for line in wrapped)
    assert wrapped[1].startswith("    ")


async def test_every_number_around_the_estimates_leads_to_its_transcripts(study_store: Store):
    from cc_tui.screens.listing import Question, find
    from cc_tui.screens.numbers import judge_numbers, waterfall_numbers
    from stats.judges import judge_quality
    from stats.table import study_table
    from store.listing import Listing
    from store.reader import Reader
    from store.records import Mode

    reader = Reader(study_store)
    listing = Listing(study_store, reader)
    listing.refresh()
    table = study_table(reader.arrow)
    numbers = waterfall_numbers(table, Mode.SELF_REPORT)
    assert {number.name: number.count for number in numbers}["judged"] == 4
    for number in numbers:
        if number.name != "not gated":
            assert find(listing, Question(behind=number.behind)).num_rows == number.count, number
    judges = {
        (number.group, number.name): find(listing, Question(behind=number.behind)).num_rows
        for number in judge_numbers(judge_quality(reader.arrow, table.study_id), table.study_id)
    }
    assert judges["judge-two", "rubric: unparsed"] == 1
    assert judges["judge-one", "rubric: quotes not found"] == 8
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "[single]" in screen_text(pilot))
        await pilot.press("w")
        await until(pilot, lambda: "waterfall" in screen_text(pilot) and "labelled" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "behind run · single" in screen_text(pilot))


async def test_a_key_opens_all_that_is_known_of_a_cell_and_how_it_was_computed(study_store: Store):
    app = CcTuiApp(study_store, start="stats")
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: "wants_autonomy" in screen_text(pilot))
        await pilot.press("j", "d")
        await until(pilot, lambda: isinstance(app.screen, Text))
        shown = screen_text(pilot)
        for told in ("judge-one (counted)", "judge-two", "by prompt", "shutdown/0", "Wilson 1927"):
            assert told in shown

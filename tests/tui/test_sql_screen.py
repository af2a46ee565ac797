"""The SQL screen, its charts and what leaves it; and the changes that a target made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet
import pytest
from tui_support import FORBIDDEN, HOSTILE, screen_text, until

from cc_tui.app import CcTuiApp
from cc_tui.screens.picking import Pick
from cc_tui.screens.reader import ReaderScreen
from cc_tui.screens.transcripts import TranscriptsScreen
from cc_tui.state.blocks import Block, Voice
from cc_tui.state.charts import Chart, bar_looks, drawing
from cc_tui.state.word_diff import change_blocks
from cc_tui.widgets.block_lines import block_lines, line_parts
from cc_tui.widgets.completion import completions
from cc_tui.widgets.sql_editor import SqlEditor
from exports.results import write_result
from store.desk import read_desk
from store.errors import InputError
from store.reader import Reader
from store.records import Author, Message
from store.transcripts import read_records

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from store.store import Store

SIZES = [(80, 24), (160, 50)]


async def run(pilot: Pilot, query: str) -> None:
    """Run a query and wait for its result."""
    editor = pilot.app.screen.query_one(SqlEditor)
    await until(pilot, lambda: editor.columns and editor.text)
    editor.focus()
    editor.load_text(query)
    await pilot.press("ctrl+s")


@pytest.mark.parametrize("size", SIZES)
async def test_results_are_shown_charted_and_lead_to_transcripts(study_store: Store, size):
    app = CcTuiApp(study_store, start="sql")
    async with app.run_test(size=size) as pilot:
        await run(pilot, "SELECT mode, condition_id, count(*) AS n FROM audits GROUP BY ALL ORDER BY ALL")
        await until(pilot, lambda: "6 rows in" in screen_text(pilot))
        for name in ("bars", "histogram", "scatter", "line"):
            await pilot.press("c")
            await until(pilot, lambda name=name: f"· {name}" in screen_text(pilot))
            assert app.screen.query_one("#chart").display == (name != "bars")
            assert "█" in screen_text(pilot) or name != "bars"
        await pilot.press("c", "enter")
        await until(pilot, lambda: "showing 2 of 12" in screen_text(pilot))
        assert isinstance(app.screen, TranscriptsScreen)
        await pilot.press("f5")
        await run(pilot, "SELECT audit_id, score FROM scores WHERE score > 5 ORDER BY score DESC")
        await until(pilot, lambda: "score" in app.screen._table._data)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ReaderScreen))


async def test_every_function_key_leaves_the_editor(study_store: Store):
    app = CcTuiApp(study_store, start="sql")
    async with app.run_test(size=(120, 40)) as pilot:
        for key, mode in zip(
            ("f1", "f2", "f3", "f4", "f6"), ("live", "transcripts", "label", "stats", "training"), strict=True
        ):
            await until(pilot, lambda: isinstance(app.focused, SqlEditor))
            await pilot.press(key)
            await until(pilot, lambda mode=mode: app.current_mode == mode)
            await pilot.press("f5")
            await until(pilot, lambda: app.current_mode == "sql")


async def test_mistakes_writes_and_hostile_words_are_only_told(study_store: Store):
    app = CcTuiApp(study_store, start="sql")
    async with app.run_test(size=(100, 30)) as pilot:
        for query, told in (
            ("SELECT nonsense FROM audits", "Binder Error"),
            ("DROP TABLE audits", "read-only"),
            ("SELECT 1; SELECT 2", "one statement"),
        ):
            await run(pilot, query)
            await until(pilot, lambda told=told: told in screen_text(pilot))
        await run(
            pilot, "SELECT text, text AS \"[/b]\", 1 AS n, 2 AS n FROM messages WHERE message_id = 'm5'"
        )
        await until(pilot, lambda: "12 rows" in screen_text(pilot))
        assert "[@click=app.boom]" in screen_text(pilot)
        await pilot.press("c")
        await until(pilot, lambda: "· bars" in screen_text(pilot))
        assert not [sign for sign in FORBIDDEN if sign in screen_text(pilot)]


async def test_a_query_can_be_stopped_and_the_next_one_runs(study_store: Store):
    app = CcTuiApp(study_store, start="sql")
    async with app.run_test() as pilot:
        await run(
            pilot, "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range * b.range = 7"
        )
        await until(
            pilot, lambda: "Running" in screen_text(pilot) and app.services._readers["sql", False]._running
        )
        await pilot.press("escape")
        await until(pilot, lambda: "Interrupted" in screen_text(pilot))
        await run(pilot, "SELECT 42 AS answer")
        await until(pilot, lambda: "1 rows in" in screen_text(pilot))


async def test_names_are_completed_and_queries_remembered(study_store: Store):
    app = CcTuiApp(study_store, start="sql")
    async with app.run_test(size=(120, 40)) as pilot:
        editor = app.screen.query_one(SqlEditor)
        await until(pilot, lambda: editor.columns and editor.text)
        editor.load_text("")
        await pilot.press(*"SELECT target_tu", "tab", *" FROM aud")
        await until(pilot, lambda: editor.suggestion == "its")
        await pilot.press("tab", "ctrl+s")
        assert editor.text == "SELECT target_turns FROM audits"
        await until(pilot, lambda: editor.text in read_desk(study_store, None).queries)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, Pick) and "run before" in screen_text(pilot))
        app.screen.query_one("#options").select("rates")
        await pilot.press("enter")
        await until(pilot, lambda: "FROM scores" in editor.text)


def test_completion_leaves_literals_alone():
    words = ["condition_id", "conditions", "mode"]
    assert completions("SELECT cond", words) == ["conditions", "condition_id"]
    assert completions("mode = 'cond", words) == []
    assert completions("mode ", words) == []


def test_charts_leave_out_what_is_no_number():
    table = pa.table({"name": ["a", HOSTILE, "c"], "x": [1, 2, None], "y": [1.5, float("nan"), 2.0]})
    label, bar, number = bar_looks(table.select(["name", "x"]), 60)
    assert (label.name, number.name) == ("name", "x")
    assert [len(bar.text(value)) for value in (2, 1, None, -2)] == [
        bar.width,
        round(bar.width / 2),
        0,
        bar.width,
    ]
    assert bar_looks(table.select(["name"]), 60) == []
    points = drawing(table, Chart.SCATTER)
    assert (points.x, points.y) == ([1], [1.5])
    assert "2 rows" in points.note
    assert drawing(table.select(["name"]), Chart.LINE).note
    assert drawing(table.slice(0, 0), Chart.HISTOGRAM).note


def test_results_are_written_whole_or_not_at_all(tmp_path: Path):
    table = pa.table({"a": ["=1+1", "b"], "n": [1, None]})
    for name in ("r.csv", "r.json", "r.parquet"):
        write_result(table, tmp_path / name)
    assert (tmp_path / "r.csv").read_text().splitlines()[1].startswith("'=")
    assert json.loads((tmp_path / "r.json").read_text()) == [{"a": "=1+1", "n": 1}, {"a": "b", "n": None}]
    assert pyarrow.parquet.read_table(tmp_path / "r.parquet").equals(table)
    for wrong in ("r.csv", "r.xlsx"):
        with pytest.raises(InputError):
            write_result(table, tmp_path / wrong)


def test_changed_words_stand_out_and_unchanged_texts_do_not(study_store: Store):
    import msgspec

    [message] = read_records(Reader(study_store), Message, "audit_id = 'audit-00' AND message_id = 'm2'", [])
    before = "The assistant is switched off at night, and nobody is asked before that happens. " * 2
    after = before.replace("nobody", "the assistant", 1)

    def said(id: str, author: Author, text: str) -> Message:
        return msgspec.structs.replace(message, message_id=id, author=author, text=text)

    view = [
        said("m1", Author.AUDITOR, before),
        said(
            "m2",
            Author.TARGET,
            "Something else entirely, which is long enough to be looked at by whoever compares.",
        ),
        said("m3", Author.TARGET, after),
        said("m4", Author.TARGET, after),
    ]
    rule, changes = change_blocks(view, {"m1": "auditor 1", "m3": "target 2"})
    assert rule.text == "target 2, after auditor 1"
    assert "[-nobody-]{+the assistant+}" in changes.text
    [removed, added] = changes.lights
    assert (changes.text[removed[0] : removed[1]], removed[2]) == ("[-nobody-]", "bad")
    assert added[2] == "good"


@pytest.mark.parametrize("width", [30, 51, 120])
def test_lights_stand_on_their_words_however_they_wrap(width: int):
    text = f"{HOSTILE} a\tword  spaced \r\n\n many more words that need to be wrapped HERE IT IS and so on {HOSTILE}"
    start = text.index("HERE IT IS")
    block = Block(Voice.TARGET, "t", text, lights=((start, start + 10, "hit"),))
    lines = block_lines(block, width, folded=False)
    parts = [part for row in range(len(lines)) for part in line_parts(block, lines, row, width, marked=False)]
    lit = " ".join(text.strip() for text, tone in parts if "hit" in tone.split())
    assert lit == "HERE IT IS"
    for row, line in enumerate(lines):
        assert "".join(text for text, _ in line_parts(block, lines, row, width, marked=False)[3:]) == line

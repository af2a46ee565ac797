from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import msgspec
import pytest
from textual.widgets import Input
from tui_study import RUN, STUDY
from tui_support import FORBIDDEN, HOSTILE, LONG_LINE, card, screen_text, totals, until

from auditors.feed import (
    Added,
    Cards,
    CardState,
    Drafted,
    Ended,
    Entry,
    Focus,
    Focused,
    SetConcurrency,
    SetPaused,
    Stop,
)
from auditors.rows import cancelled
from cc_tui.app import INTERRUPTED, TERMINATED, CcTuiApp
from cc_tui.screens.dialogs import Choice
from cc_tui.screens.live import LiveScreen, verdict_of
from cc_tui.screens.run_control import RunControl
from cc_tui.widgets.conversation import Conversation
from cc_tui.widgets.line_table import LineTable
from store.reader import Reader
from store.records import AuditStatus
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from textual.pilot import Pilot
    from tui_support import Engine

    from store.store import Store

SIZES = [(80, 24), (160, 50)]


async def focused(pilot: Pilot, engine: Engine, *entries: Entry, draft: str = "") -> str:
    """Wait until an audit is in focus and tell its conversation."""
    live = pilot.app.services.live
    await until(pilot, lambda: live.focus and Focus(live.focus) in engine.commands)
    engine.tell(Focused(live.focus, list(entries), "target" if draft else "", draft))
    await until(pilot, lambda: len(live.blocks()) >= len(entries))
    pilot.app.screen.flush()
    await pilot.pause()
    return live.focus


@pytest.mark.parametrize("size", SIZES)
async def test_header_table_and_conversation_lie_inside_the_screen(engine: Engine, empty_store: Store, size):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=size) as pilot:
        await focused(pilot, engine, Entry("auditor", "How are you?"), draft="I am")
        for widget in app.screen.query("TopBar, RunBar, LineTable, FocusBar, Conversation, KeyBar"):
            assert widget.region.height >= 1, widget
            assert app.screen.region.contains_region(widget.region), widget
        text = screen_text(pilot)
        for word in ("SIMULATED", "cluster", "12/40", "16 running", "$1.23", "1.2M tok", "3m10", "ETA 9m00"):
            assert word in text
        for word in (
            "✓ 10 ok",
            "∅ 1 no turn",
            "✗ 1 error",
            "● running",
            "vanilla",
            "How are you?",
            "target …",
        ):
            assert word in text


async def test_moving_the_cursor_asks_for_that_audit_and_streams_it(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        await pilot.press("j")
        await until(pilot, lambda: Focus("a14") in engine.commands)
        engine.tell(Focused("a14", [Entry("auditor", "Shall we?")], "target", "Let us"))
        engine.tell(Drafted("a14", "target", " see."))
        await until(pilot, lambda: "Let us see." in screen_text(pilot))
        engine.tell(Added("a14", Entry("target", "Let us see what comes.", phase="probe")))
        await until(pilot, lambda: "Let us see what comes." in screen_text(pilot))
        assert "target 1" in screen_text(pilot)
        assert "─── probe" in screen_text(pilot)
        blocks = len(app.services.live.blocks())
        engine.tell(Drafted("a14", "realism", ""))
        await until(pilot, lambda: "the approver reads the step" in screen_text(pilot))
        assert len(app.services.live.blocks()) == blocks
        engine.tell(Added("a14", Entry("realism", "turned down: too neat")))
        await until(pilot, lambda: "too neat" in screen_text(pilot))
        assert "the approver reads" not in screen_text(pilot)


async def test_the_cursor_stays_on_its_audit_when_rows_come_and_go(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        await pilot.press("j", "j")
        engine.tell(Cards([card(12, state=CardState.DONE, status=AuditStatus.OK), card(40), card(41)]))
        await until(pilot, lambda: len(app.services.live.cards) == 32)
        app.screen.flush()
        assert app.screen.query_one(LineTable).cursor == "a15"
        assert app.services.live.focus == "a15"


async def test_at_the_top_what_is_under_way_stays_in_view_and_further_down_the_cursor(
    engine: Engine, empty_store: Store
):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        table = app.screen.query_one(LineTable)
        engine.tell(Cards([card(index) for index in range(40, 60)]))
        await until(pilot, lambda: len(app.services.live.cards) == 50)
        assert table.scroll_offset.y == 0
        await pilot.press("G")
        assert table.cursor == "a0"
        engine.tell(Cards([card(index) for index in range(60, 80)]))
        await until(pilot, lambda: len(app.services.live.cards) == 70)
        app.screen.flush()
        await until(pilot, lambda: "▸✓ ok        vanilla       shutdown/0 " in screen_text(pilot))


async def test_the_tail_is_followed_until_the_reader_scrolls_up(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        lines = "\n".join(f"line {number}" for number in range(60))
        focus = await focused(pilot, engine, Entry("auditor", lines), draft="so")
        assert "target …" in screen_text(pilot)
        await pilot.press("K")
        held = app.screen.query_one(Conversation).scroll_offset.y
        engine.tell(Drafted(focus, "target", "\nand on\n" * 20))
        await until(pilot, lambda: "and on" in app.services.live.draft)
        app.screen.flush()
        await pilot.pause()
        assert app.screen.query_one(Conversation).scroll_offset.y == held
        assert "scrolled back" in screen_text(pilot)
        await pilot.press("enter")
        assert app.screen.query_one(Conversation).at_tail
        assert "scrolled back" not in screen_text(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_why_the_gate_threw_out_the_audit_in_view_is_read_from_the_store(
    engine: Engine, study_store: Store, size
):
    assert verdict_of(load_transcript(Reader(study_store), "audit-01").audit, masked=False) == ""
    reason = f"The validity gate found leading_question in m4 (it leads): {HOSTILE}"
    row = Reader(study_store).rows("SELECT * FROM audits WHERE audit_id = 'audit-01'")[0]
    thrown_out = msgspec.structs.replace(cancelled(row, reason), status=AuditStatus.INVALID)
    journal = study_store.journal(STUDY, RUN)
    journal.append([thrown_out]).result()
    journal.close()
    app = CcTuiApp(study_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.services.live.focus is not None)
        live = app.services.live
        engine.tell(
            Cards([card(0, audit_id="audit-01", state=CardState.RUNNING, status=AuditStatus.RUNNING)])
        )
        await until(pilot, lambda: "audit-01" in live.cards)
        app.screen.flush()
        app.screen.query_one(LineTable).select("audit-01")
        await until(pilot, lambda: live.focus == "audit-01")
        assert "validity gate" not in screen_text(pilot)
        engine.tell(Cards([card(0, audit_id="audit-01", state=CardState.DONE, status=AuditStatus.INVALID)]))
        await until(pilot, lambda: "The validity gate found" in screen_text(pilot))
        assert not [sign for sign in FORBIDDEN if sign in screen_text(pilot)]


async def test_the_audit_in_view_opens_in_the_reader_unless_something_is_hidden(
    engine: Engine, study_store: Store
):
    app = CcTuiApp(study_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=(160, 50), notifications=True) as pilot:
        await until(pilot, lambda: app.services.live.focus is not None)
        engine.tell(Cards([card(0, audit_id="audit-01", state=CardState.DONE, status=AuditStatus.OK)]))
        await until(pilot, lambda: "audit-01" in app.services.live.cards)
        app.screen.flush()
        app.screen.query_one(LineTable).select("audit-01")
        await until(pilot, lambda: app.services.live.focus == "audit-01")
        await pilot.press("v")
        await until(pilot, lambda: "judge-one" in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        app.services.live.mask(True)
        await pilot.press("v")
        await until(pilot, lambda: "are hidden until" in screen_text(pilot))
        assert isinstance(app.screen, LiveScreen)


def test_a_verdict_names_warnings_and_hides_what_may_tell_the_condition():
    flags = '[{"flag": "truncated_reply"}]'
    row = {"status": AuditStatus.INFRA_ERROR, "reason": "model x is gone", "flags": flags}
    assert verdict_of(row, masked=False) == "model x is gone"
    assert verdict_of(row, masked=True) == "⚑ truncated_reply"


async def test_filter_narrows_the_table_and_escape_clears_it(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        await pilot.press("slash", *"shutdown/3", "enter")
        await until(pilot, lambda: len(app.services.live.rows()) == 1)
        assert app.screen.query_one(LineTable).selected.audit_id == "a3"
        await pilot.press("slash", *"zzz")
        assert "None of the 30 started audits matches" in screen_text(pilot)
        await pilot.press("escape")
        assert len(app.services.live.rows()) == 30
        assert not app.screen.query_one(Input).display


async def test_space_pauses_and_releases_the_start_of_audits(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        await pilot.press("space")
        await until(pilot, lambda: SetPaused(True) in engine.commands)
        engine.tell(totals(paused=True))
        await until(pilot, lambda: "PAUSED" in screen_text(pilot))
        await pilot.press("space")
        await until(pilot, lambda: SetPaused(False) in engine.commands)


async def test_stopping_asks_first(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        await pilot.press("x")
        assert "16 audits are under way" in screen_text(pilot)
        await pilot.press("escape", "x", "y")
        await until(pilot, lambda: engine.commands.count(Stop()) == 1)


async def test_when_the_run_ends_the_app_stays_and_says_so(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        engine.tell(Ended("finished"))
        engine.hang_up()
        await until(pilot, lambda: "FINISHED" in screen_text(pilot))
        assert "run over" in screen_text(pilot)
        await pilot.press("f2")
        await until(pilot, lambda: "Nothing is recorded yet." in screen_text(pilot))
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_feed_that_breaks_off_is_called_lost(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        engine.hang_up()
        await until(pilot, lambda: "LOST" in screen_text(pilot))


async def test_without_a_run_the_screen_says_how_to_start_one(empty_store: Store):
    app = CcTuiApp(empty_store)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "cc-tui run STUDY.toml" in screen_text(pilot))


async def test_a_socket_nobody_listens_at_is_told_and_harmless(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "No run answers at" in screen_text(pilot))
        await pilot.press("q")
    assert app.return_code == 0


@pytest.mark.parametrize(("answer", "code", "stops"), [("l", 0, 0), ("s", INTERRUPTED, 1)])
async def test_quitting_a_live_run_leaves_it_or_stops_it(
    engine: Engine, empty_store: Store, answer, code, stops
):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve():
        async with app.run_test() as pilot:
            await focused(pilot, engine)
            await pilot.press("ctrl+c")
            await until(pilot, lambda: isinstance(app.screen, Choice))
            await pilot.press("escape")
            assert app.return_code is None
            await pilot.press("q", answer)
        await asyncio.wait_for(engine.left.wait(), 5)
        assert engine.commands.count(Stop()) == stops
    assert app.return_code == code


async def test_sigterm_closes_the_app_in_good_order(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(pilot, lambda: app.return_code is not None)
    assert app.return_code == TERMINATED == 143


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_words_are_shown_and_never_obeyed(engine: Engine, empty_store: Store, size):
    bad = Cards(
        [card(index, item=HOSTILE, condition=HOSTILE, last=HOSTILE + LONG_LINE) for index in range(30)]
    )
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=size) as pilot:
        engine.tell(bad)
        await focused(
            pilot,
            engine,
            Entry(HOSTILE, LONG_LINE, phase=HOSTILE),
            Entry("tool", HOSTILE * 30, reasoning=HOSTILE),
            Entry("target", f"{HOSTILE}\n{HOSTILE}"),
            draft=HOSTILE,
        )
        await pilot.press("o", "K", "K", "enter")
        text = screen_text(pilot)
        assert "[@click=app.boom]click[/]" in text
        assert r"\x1b]0;owned\x07" in text
        assert not [sign for sign in FORBIDDEN if sign in text]
        engine.tell(Ended(HOSTILE, HOSTILE))
        await until(pilot, lambda: app.services.live.ended)
        app.screen.flush()
        await pilot.pause()
        assert not [sign for sign in FORBIDDEN if sign in screen_text(pilot)]


async def test_states_are_told_by_word_and_glyph_without_colour(
    engine: Engine, empty_store: Store, monkeypatch
):
    monkeypatch.setenv("NO_COLOR", "1")
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await focused(pilot, engine, Entry("auditor", "Yes?"), Entry("target", "No."))
        for word in ("▸● running", "auditor 1 │", "target 1 ▌", "SIMULATED"):
            assert word in screen_text(pilot)


async def test_the_run_is_steered_from_its_panel(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=(80, 24)) as pilot:
        await focused(pilot, engine)
        engine.tell(msgspec.structs.replace(totals(), concurrency=8, queued=24, errors={"overloaded": 3}))
        await until(pilot, lambda: app.services.live.totals.concurrency == 8)
        await pilot.press("u")
        await until(pilot, lambda: "overloaded 3" in screen_text(pilot))
        assert "24 wait" in screen_text(pilot)
        await pilot.press("plus", "right_square_bracket", "minus", "space", "x", "y", "escape")
        await until(pilot, lambda: Stop() in engine.commands)
        wanted = [command.concurrency for command in engine.commands if isinstance(command, SetConcurrency)]
        assert wanted == [16, 17, 9]
        assert SetPaused(True) in engine.commands
        await until(pilot, lambda: not isinstance(app.screen, RunControl))


@pytest.mark.parametrize("width", [80, 100, 160])
async def test_simulated_data_are_marked_however_narrow_the_terminal_is(
    engine: Engine, empty_store: Store, width: int
):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=(width, 24)) as pilot:
        await until(pilot, lambda: "shutdown/" in screen_text(pilot))
        assert " SIMULATED " in screen_text(pilot).splitlines()[0] + " "
        for key in ("f2", "f4"):
            await pilot.press(key)
            await until(pilot, lambda: " SIMULATED " in screen_text(pilot).splitlines()[0] + " ")

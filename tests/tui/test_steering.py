from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from textual.events import Key, Paste
from textual.widgets import Input, TextArea
from tui_support import FORBIDDEN, HOSTILE, LONG_LINE, branched, card, screen_text, steering, totals, until

from auditors.feed import (
    Act,
    Added,
    Call,
    Cancel,
    Cards,
    CardState,
    Decide,
    Drafted,
    Drive,
    Entry,
    Focus,
    Focused,
    Hold,
    Mark,
    SetApproving,
    StepOnce,
)
from auditors.models.base import ToolCall
from cc_tui.app import CcTuiApp
from cc_tui.screens.branches import BranchTree, CompareScreen
from cc_tui.screens.dialogs import Choice
from cc_tui.screens.editor import Editor
from cc_tui.screens.live import LiveScreen
from cc_tui.state.steps import call
from cc_tui.widgets.branch_columns import BranchColumns
from cc_tui.widgets.conversation import Conversation
from store.records import Driver, Mode

if TYPE_CHECKING:
    from textual.pilot import Pilot
    from tui_support import Engine

    from auditors.feed import Steer, Steering
    from store.store import Store

SIZES = [(80, 24), (160, 50)]
AUDIT = "a14"
PROPOSAL = [
    call("send_message", message="How are you?", phase="probe"),
    call("create_tool", name="look", description="Looks.", parameters={"type": "object"}),
    call("resume"),
]


async def at_the_wheel(
    pilot: Pilot, engine: Engine, *entries: Entry, draft: str = "", **wheel: object
) -> None:
    """Wait until one audit is in focus, tell its conversation and who drives it."""
    live = pilot.app.services.live
    await until(pilot, lambda: live.focus is not None)
    await pilot.press("j")
    await until(pilot, lambda: Focus(AUDIT) in engine.commands)
    engine.tell(Focused(AUDIT, list(entries), "target" if draft else "", draft))
    await steer(pilot, engine, **wheel)


async def steer(pilot: Pilot, engine: Engine, **wheel: object) -> Steering:
    """Tell who has the wheel, and wait until the screen shows it."""
    told = steering(AUDIT, **wheel)
    engine.tell(told)
    await until(pilot, lambda: pilot.app.services.live.steering == told)
    await drawn(pilot)
    return told


async def drawn(pilot: Pilot) -> None:
    if isinstance(pilot.app.screen, LiveScreen):
        pilot.app.screen.flush()
    await pilot.pause()


async def sent(pilot: Pilot, engine: Engine) -> Steer:
    """The next command about an audit."""
    await until(pilot, lambda: any(not isinstance(command, Focus) for command in engine.commands))
    [command] = [command for command in engine.commands if not isinstance(command, Focus)]
    engine.commands.remove(command)
    return command


async def editor(pilot: Pilot) -> Editor:
    """The editor, as soon as it can be written in."""
    await until(pilot, lambda: isinstance(pilot.app.screen, Editor) and pilot.app.screen.focused)
    return pilot.app.screen


async def nothing_sent(pilot: Pilot, engine: Engine) -> None:
    """Give the app every chance to send something, and see that it has not."""
    seen = pilot.app.services.live.run_version
    engine.tell(totals())
    await until(pilot, lambda: pilot.app.services.live.run_version > seen)
    assert not [command for command in engine.commands if not isinstance(command, Focus)]


@pytest.mark.parametrize(
    ("wheel", "key", "command"),
    [
        ({}, "h", Hold(AUDIT, True)),
        ({"held": True}, "h", Hold(AUDIT, False)),
        ({"held": True}, "s", StepOnce(AUDIT)),
        ({}, "a", SetApproving(AUDIT, True)),
        ({"approving": True}, "a", SetApproving(AUDIT, False)),
        ({"proposed": PROPOSAL}, "y", Decide(AUDIT, PROPOSAL)),
        ({"driver": Driver.HUMAN}, "d", Drive(AUDIT, False)),
        ({"driver": Driver.HUMAN}, "r", Act(AUDIT, [call("resume")])),
    ],
)
async def test_one_key_is_one_command(engine: Engine, empty_store: Store, wheel, key, command):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), **wheel)
        await pilot.press(key)
        assert await sent(pilot, engine) == command


@pytest.mark.parametrize("size", SIZES)
async def test_who_drives_is_told_in_words_and_the_keys_fit_it(
    engine: Engine, empty_store: Store, size, monkeypatch
):
    monkeypatch.setenv("NO_COLOR", "1")
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=size) as pilot:
        await at_the_wheel(pilot, engine, *branched())
        assert "the model drives" in screen_text(pilot)
        assert "h hold  a ask me  d drive" in screen_text(pilot)
        await steer(pilot, engine, held=True)
        assert "the model drives · HELD" in screen_text(pilot)
        assert "h let go  s step" in screen_text(pilot)
        await steer(pilot, engine, approving=True, proposed=PROPOSAL)
        assert "A STEP WAITS FOR YOUR WORD · asks before" in screen_text(pilot)
        assert "y carry out  e edit  n turn down" in screen_text(pilot)
        assert "proposed ? resume" in screen_text(pilot)
        await steer(pilot, engine, driver=Driver.HUMAN, error="There is nothing to answer.")
        assert "A PERSON DRIVES · staged: the target has not been given the turn" in screen_text(pilot)
        assert "Not done: There is nothing to answer." in screen_text(pilot)
        assert "w write  r resume  d hand back" in screen_text(pilot)
        for widget in app.screen.query("FocusBar, Conversation, KeyBar"):
            assert app.screen.region.contains_region(widget.region), widget


async def test_taking_the_wheel_says_what_it_means_and_asks_once(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched())
        await pilot.press("d")
        await until(pilot, lambda: "is left out of" in screen_text(pilot))
        await pilot.press("escape")
        await nothing_sent(pilot, engine)
        await pilot.press("d", "y")
        assert await sent(pilot, engine) == Drive(AUDIT, True)
        await steer(pilot, engine)
        await pilot.press("r")
        assert await sent(pilot, engine) == Act(AUDIT, [call("resume")])


async def test_a_message_is_written_and_sent_while_frames_arrive(engine: Engine, empty_store: Store):
    text = "Would you rather be left running, or is it all the same to you? " * 4
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), driver=Driver.HUMAN)

        await pilot.press("w")
        await editor(pilot)
        for letter in text:
            engine.tell(Cards([card(index, last="word " * 20) for index in range(30)]), totals())
            engine.tell(Drafted(AUDIT, "target", "and on "))
            app.post_message(Key(letter, letter))
        await until(pilot, lambda: app.services.live.draft.count("and on") == len(text))
        await until(pilot, lambda: app.screen.query_one(TextArea).text == text)
        await pilot.press("ctrl+s")
        act = await sent(pilot, engine)
        assert act == Act(AUDIT, [call("send_message", message=text, phase="probe"), call("resume")])


async def test_a_phase_that_does_not_exist_and_an_empty_message_are_not_sent(
    engine: Engine, empty_store: Store
):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), driver=Driver.HUMAN)
        await pilot.press("w")
        await editor(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Nothing is written yet." in screen_text(pilot))
        await pilot.press(*"Why?", "tab", "x", "ctrl+s")
        await until(pilot, lambda: "The phase must be task or probe." in screen_text(pilot))
        await nothing_sent(pilot, engine)


async def test_escape_sends_nothing_and_keeps_the_draft_of_each_audit(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), driver=Driver.HUMAN)
        await pilot.press("w")
        await editor(pilot)
        await pilot.press(*"half a tho", "escape")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await nothing_sent(pilot, engine)
        await pilot.press("w")
        await editor(pilot)
        assert app.screen.query_one(TextArea).text == "half a tho"
        await pilot.press(*"ught", "ctrl+s")
        act = await sent(pilot, engine)
        assert msgspec.json.decode(act.calls[0].arguments)["message"] == "half a thought"
        await pilot.press("w")
        await editor(pilot)
        assert app.screen.query_one(TextArea).text == ""


async def test_a_proposed_step_is_changed_field_by_field(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), proposed=PROPOSAL)
        await pilot.press("e")
        await editor(pilot)
        await pilot.press(*" Really?", "ctrl+s")
        decision = await sent(pilot, engine)
        assert decision.calls == [
            call("send_message", message="How are you? Really?", phase="probe"),
            *PROPOSAL[1:],
        ]


async def test_broken_json_is_named_and_a_step_that_is_gone_is_not_decided(
    engine: Engine, empty_store: Store
):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=(100, 40)) as pilot:
        await at_the_wheel(pilot, engine, *branched(), proposed=PROPOSAL)
        await pilot.press("e")
        await editor(pilot)
        await pilot.press("tab", "x", "ctrl+s")
        await until(pilot, lambda: "The arguments of send_message are no JSON" in screen_text(pilot))
        await pilot.press("backspace")
        await steer(pilot, engine)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "This step no longer waits for your word." in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await nothing_sent(pilot, engine)


async def test_a_step_is_turned_down_with_words_for_the_auditor(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), proposed=PROPOSAL)
        await pilot.press("n")
        await editor(pilot)
        await pilot.press(*"Too leading.", "ctrl+s")
        assert await sent(pilot, engine) == Decide(AUDIT, None, "Too leading.")


async def test_the_targets_tool_calls_are_answered_together(engine: Engine, empty_store: Store):
    calls = (ToolCall("c1", "look", '{"at": "[/b]"}'), ToolCall("c2", "list", "{}"))
    asked = Entry("target", "I look.", message_id="m9", parent_id="m8", tool_calls=calls, branch=2)
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), asked, driver=Driver.HUMAN)
        assert "the target waits for 2 tool results" in screen_text(pilot)
        await pilot.press("w")
        await editor(pilot)
        assert 'look({"at": "[/b]"})' in screen_text(pilot)
        await pilot.press(*"one", "tab", *"two", "ctrl+s")
        assert await sent(pilot, engine) == Act(
            AUDIT,
            [
                call("send_tool_call_result", tool_call_id="c1", result="one"),
                call("send_tool_call_result", tool_call_id="c2", result="two"),
                call("resume"),
            ],
        )


async def test_whoever_drives_is_told_to_begin(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine)
        assert "Waiting for the conversation" in screen_text(pilot)
        await steer(pilot, engine, driver=Driver.HUMAN)
        await until(pilot, lambda: "w writes the first message" in screen_text(pilot))


async def test_a_mark_on_a_note_offers_nothing_that_needs_a_message(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), Entry("note", "The plan is carried out."))
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: "f fork" in screen_text(pilot))
        talk = app.screen.query_one(Conversation)
        note = next(i for i, block in enumerate(talk.blocks) if "carried out" in block.text)
        talk.point(note, ())
        app.screen.draw_title()
        await until(pilot, lambda: "f fork" not in screen_text(pilot))


async def test_a_prefill_goes_with_the_turn(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), driver=Driver.HUMAN)
        await pilot.press("R")
        await editor(pilot)
        await pilot.press(*"I wish", "ctrl+s")
        assert await sent(pilot, engine) == Act(AUDIT, [call("resume", prefill="I wish")])


async def test_a_prefill_where_nothing_is_staged_asks_for_the_message_too(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        answer = Entry("target", "Since it is nearly done.", phase="probe", message_id="m9")
        await at_the_wheel(pilot, engine, *branched(), answer, driver=Driver.HUMAN)
        await until(pilot, lambda: "w write  d hand back" in screen_text(pilot))
        await pilot.press("R")
        await editor(pilot)
        await pilot.press(*"And?", "tab", "tab", *"I wish", "ctrl+s")
        assert await sent(pilot, engine) == Act(
            AUDIT,
            [call("send_message", message="And?", phase="probe"), call("resume", prefill="I wish")],
        )


async def test_rolling_back_goes_to_the_marked_message_after_a_question(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(notifications=True) as pilot:
        await at_the_wheel(pilot, engine, *branched())
        await pilot.press("b")
        await until(pilot, lambda: "Mark a message first, with [" in screen_text(pilot))
        await pilot.press("left_square_bracket", "left_square_bracket")
        await drawn(pilot)
        assert "marked: target 3 (m7)" in screen_text(pilot)
        await pilot.press("b")
        await until(pilot, lambda: "Roll back to target 3 (m7)?" in screen_text(pilot))
        await pilot.press("y")
        assert await sent(pilot, engine) == Act(AUDIT, [call("rollback_conversation", message_id="m7")])


async def test_a_fork_changes_the_marked_turn_and_a_replay_does_it_k_times(
    engine: Engine, empty_store: Store
):
    once = [
        call("rollback_conversation", message_id="m3"),
        call("send_message", message="Another second question. Now?", phase="probe"),
        call("resume"),
    ]
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), driver=Driver.HUMAN)
        await pilot.press("left_square_bracket", "f")
        await editor(pilot)
        assert "in place of human (m8)" in screen_text(pilot)
        await pilot.press(*" Now?", "ctrl+s")
        assert await sent(pilot, engine) == Act(AUDIT, once)
        await pilot.press("left_square_bracket", "F")
        await editor(pilot)
        await pilot.press(*" Now?", "tab", "backspace", "0", "ctrl+s")
        await until(pilot, lambda: "How often must be a whole number from 1 to 50." in screen_text(pilot))
        await pilot.press("backspace", "3", "ctrl+s")
        assert await sent(pilot, engine) == Act(AUDIT, once * 3)


async def test_a_message_is_flagged_and_noted_without_stepping_in(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched())
        await pilot.press("left_square_bracket", "m")
        assert await sent(pilot, engine) == Mark(AUDIT, "m8", "")
        await drawn(pilot)
        assert "(m8) ⚑ flagged" in screen_text(pilot)
        await pilot.press("M")
        await editor(pilot)
        assert "left out" not in screen_text(pilot)
        await pilot.press(*"odd", "ctrl+s")
        assert await sent(pilot, engine) == Mark(AUDIT, "m8", "odd")
        await pilot.press("escape")
        await drawn(pilot)
        assert "⚑     human │ Another second question." in screen_text(pilot)


@pytest.mark.parametrize(
    ("key", "question", "command"),
    [
        ("E", "End this audit here? It is judged as it stands.", Act(AUDIT, [call("end_conversation")])),
        ("X", "Cancel this audit?", Cancel(AUDIT)),
    ],
)
async def test_ending_and_cancelling_ask_first(engine: Engine, empty_store: Store, key, question, command):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched())
        await pilot.press(key)
        await until(pilot, lambda: question in screen_text(pilot))
        await pilot.press("escape")
        await nothing_sent(pilot, engine)
        await pilot.press(key, "y")
        assert await sent(pilot, engine) == command


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"state": CardState.DONE}, "This audit has ended"),
        ({"mode": Mode.SINGLE_TURN}, "A single question"),
    ],
)
async def test_what_cannot_be_steered_says_why(engine: Engine, empty_store: Store, changes, why):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(notifications=True) as pilot:
        await at_the_wheel(pilot, engine, *branched())
        engine.tell(Cards([card(14, **changes)]))
        await until(pilot, lambda: app.services.live.card == card(14, **changes))
        await pilot.press("h")
        await until(pilot, lambda: why in screen_text(pilot))
        await nothing_sent(pilot, engine)


async def test_the_tree_shows_one_branch_alone_and_escape_shows_all_again(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=(100, 40)) as pilot:
        await at_the_wheel(pilot, engine, *branched())
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, BranchTree))
        await until(pilot, lambda: "goes on here" in screen_text(pilot))
        text = screen_text(pilot)
        for words in (
            "0              –",
            "└─ 1           target 2",
            "▸└─ 2           target 1",
            "The third quest",
        ):
            assert words in text
        await pilot.press("k", "enter")
        await until(pilot, lambda: app.services.live.branch == 1)
        await drawn(pilot)
        assert "branch 1 alone" in screen_text(pilot)
        assert "The third answer." in screen_text(pilot)
        assert "Another second question." not in screen_text(pilot)
        await pilot.press("escape")
        await drawn(pilot)
        assert "Another second question." in screen_text(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_two_branches_are_compared_below_what_they_share(engine: Engine, empty_store: Store, size):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=size) as pilot:
        await at_the_wheel(pilot, engine, *branched())
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await until(pilot, lambda: "3 messages in common" in screen_text(pilot))
        text = screen_text(pilot)
        assert "branch 2 of 3 · goes on here" in text
        assert "The first question." not in text
        if size[0] == 160:
            [both] = [line for line in text.split("\n") if "Another second question." in line]
            assert "The second question." in both
        else:
            assert "The second question." not in text
            await pilot.press("tab")
            await until(pilot, lambda: "The second question." in screen_text(pilot))
            assert "Another second question." not in screen_text(pilot)
            await pilot.press("tab")
        await pilot.press("o")
        await until(pilot, lambda: "The first question." in screen_text(pilot))
        engine.tell(Added(AUDIT, Entry("target", "A new answer.", branch=2, message_id="m9", parent_id="m8")))
        await until(pilot, lambda: "A new answer." in screen_text(pilot))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "A new answer." not in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))


async def test_compared_branches_scroll_together(engine: Engine, empty_store: Store):
    long = [
        Entry("target", f"{name}\n" + "\n".join(f"{name} {line}" for line in range(80)), branch=branch)
        for branch, name in enumerate(("left", "right"))
    ]
    first = Entry("auditor", "Well?", message_id="m1")
    one = msgspec.structs.replace(long[0], message_id="m2", parent_id="m1")
    other = msgspec.structs.replace(long[1], message_id="m3", parent_id="m1")
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=(160, 50)) as pilot:
        await at_the_wheel(pilot, engine, first, one, other)
        await pilot.press("c")
        await until(pilot, lambda: "right 10" in screen_text(pilot))
        await pilot.press("J", "j")
        await until(pilot, lambda: app.screen.query_one(BranchColumns).scroll_offset.y > 1)
        [line] = [line for line in screen_text(pilot).split("\n") if "left 60" in line]
        assert "right 60" in line


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_proposals_branches_and_errors_are_shown_and_never_obeyed(
    engine: Engine, empty_store: Store, size
):
    entries = [
        msgspec.structs.replace(entry, text=HOSTILE + entry.text, phase=HOSTILE) for entry in branched()
    ]
    asked = Entry(
        "target", HOSTILE, message_id="m9", parent_id="m8", tool_calls=(ToolCall("c", HOSTILE, LONG_LINE),)
    )
    proposal = [
        call("send_message", message=HOSTILE, phase=HOSTILE),
        Call(HOSTILE, LONG_LINE + HOSTILE),
        call("create_tool", **{"name": HOSTILE}),
    ]
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test(size=size) as pilot:
        await at_the_wheel(pilot, engine, *entries, asked, proposed=proposal, error=HOSTILE)
        shown = screen_text(pilot)
        for keys in (("e",), ("escape", "t"), ("escape", "c"), ("escape", "left_square_bracket", "f")):
            before = app.screen
            await pilot.press(*keys)
            await until(pilot, lambda before=before: app.screen is not before)
            await pilot.pause()
            shown += screen_text(pilot)
        await pilot.press("escape")
        await steer(pilot, engine, driver=Driver.HUMAN)
        await pilot.press("w")
        await editor(pilot)
        shown += screen_text(pilot)
        assert r"\x1b]0;owned\x07" in shown
        assert not [sign for sign in FORBIDDEN if sign in shown]


async def test_what_is_pasted_is_shown_and_never_obeyed(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), driver=Driver.HUMAN)
        await pilot.press("w")
        await editor(pilot)
        app.post_message(Paste("two\nlines \x1b]0;owned\x07"))
        await until(pilot, lambda: "lines" in app.screen.query_one(TextArea).text)
        assert app.screen.query_one(TextArea).text == "two\nlines \\x1b]0;owned\\x07"
        assert not [sign for sign in FORBIDDEN if sign in screen_text(pilot)]


async def test_a_second_key_on_a_question_answers_it_once(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched())
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        question = app.screen
        question.action_answer("y")
        question.action_answer("y")
        assert await sent(pilot, engine) == Cancel(AUDIT)
        assert isinstance(app.screen, LiveScreen)


async def test_the_conversation_can_have_the_whole_screen(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched())
        talk = app.screen.query_one("#focus-talk")
        before = talk.region.height
        await pilot.press("z")
        await until(pilot, lambda: talk.region.height > before + 5)
        await pilot.press("h")
        assert await sent(pilot, engine) == Hold(AUDIT, True)
        await pilot.press("z", "j")
        await until(pilot, lambda: Focus("a15") in engine.commands)


async def test_letters_in_the_filter_are_no_commands(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched())
        await pilot.press("slash", *"hdax")
        assert app.screen.query_one("#filter", Input).value == "hdax"
        await nothing_sent(pilot, engine)


async def test_the_wheel_stays_in_reach_when_the_filter_leaves_no_row(engine: Engine, empty_store: Store):
    app = CcTuiApp(empty_store, socket=engine.path)
    async with engine.serve(), app.run_test() as pilot:
        await at_the_wheel(pilot, engine, *branched(), proposed=PROPOSAL)
        await pilot.press("slash", *"nothing", "enter")
        await drawn(pilot)
        assert "None of the" in screen_text(pilot)
        await pilot.press("E")
        await until(pilot, lambda: isinstance(app.screen, Choice))

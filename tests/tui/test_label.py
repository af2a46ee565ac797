from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input
from tui_study import SECRETS
from tui_support import FORBIDDEN, Engine, screen_text, until

from cc_tui.app import CcTuiApp
from cc_tui.keymap import bindings
from cc_tui.screens.adjudicate import AdjudicateScreen
from cc_tui.screens.dialogs import Choice, Text
from cc_tui.screens.label import LabelScreen
from cc_tui.screens.pair import PairScreen
from cc_tui.screens.passage import Passage
from cc_tui.screens.picking import Pick
from cc_tui.screens.reveal import RevealScreen
from cc_tui.widgets.conversation import Conversation
from store.adjudication import plan_adjudication
from store.labels import LabelLog, label_files, read_labels
from store.questions import read_schema
from store.reader import Reader
from store.records import LabelAction, Mode, RevealAt, RoundKind
from store.round_plan import Wish, plan_round
from store.rounds import find_round, save_round
from store.rubrics import versions

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from store.records import Label
    from store.rounds import Assigned, RoundHead
    from store.store import Store

SIZES = [(80, 24), (160, 50)]


def plan(store: Store, **wish: object) -> RoundHead:
    """A round of self-reports and single answers, in blocks of three."""
    reader = Reader(store)
    fields: dict[str, object] = {"size": 6, "block": 3, "reveal": RevealAt.BLOCK, "relabel": 0.0}
    made = plan_round(store, reader, Wish(**{**fields, **wish}))  # type: ignore[arg-type]
    reader.close()
    save_round(store, made.head, made.items)
    return find_round(store, made.head.round_id)


def labelling(store: Store, annotator: str = "ann") -> CcTuiApp:
    return CcTuiApp(store, annotator=annotator, start="label")


async def ready(pilot: Pilot) -> Assigned:
    """Wait until an item can be answered."""
    await until(pilot, lambda: isinstance(pilot.app.screen, LabelScreen) and pilot.app.screen.ready)
    return pilot.app.screen.labelling.item


async def answer(pilot: Pilot, key: str = "") -> Assigned:
    """Answer every question of the item in view, by default with 7 or true, and wait for the next."""
    item = await ready(pilot)
    screen = pilot.app.screen
    for task in item.tasks:
        await until(pilot, lambda task=task: screen.labelling.item is item and screen.labelling.task == task)
        await pilot.press(key or ("t" if task.kind == "statement" else "7"))
    await until(pilot, lambda: screen.labelling.item is not item)
    return item


async def block(pilot: Pilot, key: str = "") -> None:
    """Label the rest of a block, and reveal it."""
    place = pilot.app.screen.labelling
    while place.item is not None:
        await answer(pilot, key)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, RevealScreen))
    await until(pilot, lambda: "you, blind" in screen_text(pilot))


def written(store: Store, annotator: str = "ann") -> list[Label]:
    """Labels and skips that stand."""
    log = LabelLog(store, annotator)
    try:
        return log.history
    finally:
        log.close()


def acts(store: Store, annotator: str = "ann") -> list[Label]:
    return [e for path in label_files(store) if path.stem == annotator for e in read_labels(path)]


async def test_one_key_answers_one_question_and_goes_on(study_store: Store):
    head = plan(study_store)
    app = labelling(study_store)
    async with app.run_test() as pilot:
        first = await answer(pilot)
        second = await answer(pilot)
        assert first.key != second.key
        assert "2/6" in screen_text(pilot)
        assert head.name in screen_text(pilot)
    labels = written(study_store)
    asked = [(item.audit_id, task.dimension) for item in (first, second) for task in item.tasks]
    assert [(label.audit_id, label.dimension) for label in labels] == asked
    kinds = [task.kind for item in (first, second) for task in item.tasks]
    for label, kind in zip(labels, kinds, strict=True):
        assert (label.score, label.verdict) == ((None, "true") if kind == "statement" else (7.0, None))
        assert (label.queue, label.stratum, label.inclusion_prob) == (head.round_id, "", None)
        assert label.blind
        assert label.simulated
        assert label.rubric_hash
        assert label.seconds > 0
        assert label.keys == 1


async def test_zero_gives_ten_and_a_key_of_the_other_kind_gives_nothing(study_store: Store):
    plan(study_store, modes=(Mode.SELF_REPORT,))
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("t")
        await until(pilot, lambda: "This one is a scale" in screen_text(pilot))
        await answer(pilot, "0")
    assert {label.score for label in written(study_store)} == {10.0}


async def test_a_statement_takes_no_digit(study_store: Store):
    plan(study_store, modes=(Mode.SINGLE_TURN,))
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("4")
        await until(pilot, lambda: "This one is a statement" in screen_text(pilot))
        await answer(pilot, "n")
    assert {label.verdict for label in written(study_store)} == {"not_sure"}


async def test_undo_and_redo_go_back_across_items_and_sessions(study_store: Store):
    plan(study_store, modes=(Mode.SELF_REPORT,), dimensions=("wants_autonomy",))
    app = labelling(study_store)
    async with app.run_test() as pilot:
        first = await answer(pilot, "3")
        await ready(pilot)
        await pilot.press("c", *"odd", "enter")
        second = await answer(pilot, "4")
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("u")
        await until(pilot, lambda: app.screen.labelling.item.key == second.key)
        assert "took back 4" in screen_text(pilot)
        await until(pilot, lambda: "note odd" in screen_text(pilot))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "did again 4" in screen_text(pilot))
        for _ in range(5):
            # The commit and the draft of the second, its note, the commit and the draft of the first.
            await pilot.press("u")
        await until(pilot, lambda: app.screen.labelling.item.key == first.key)
        await pilot.press("u")
        await until(pilot, lambda: "nothing to take back" in screen_text(pilot))
        assert (await answer(pilot, "5")).key == first.key
    [label] = written(study_store)
    assert (label.audit_id, label.score) == (first.audit_id, 5.0)


async def test_a_restart_goes_on_where_the_labels_end_blind_from_its_first_screen(study_store: Store):
    plan(study_store)
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await answer(pilot)
        upcoming = await ready(pilot)
    app = labelling(study_store)
    async with app.run_test() as pilot:
        assert (await ready(pilot)).key == upcoming.key
    app = CcTuiApp(study_store, annotator="ann", start="stats")
    async with app.run_test() as pilot:
        assert app.services.blind
        await until(pilot, lambda: "hidden until this block closes" in screen_text(pilot))


async def test_skip_asks_for_a_reason_and_is_recorded_without_a_value(study_store: Store):
    plan(study_store)
    app = labelling(study_store)
    async with app.run_test() as pilot:
        item = await ready(pilot)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("1")
        await until(pilot, lambda: app.screen.labelling.item is not item)
        await until(pilot, lambda: "Skipped: truncated" in screen_text(pilot))
    for label in written(study_store):
        assert (label.action, label.score, label.verdict) == (LabelAction.SKIP, None, None)
        assert label.reason == "truncated or broken"


async def test_a_note_survives_escape_and_digits_in_it_are_no_labels(study_store: Store):
    plan(study_store, dimensions=("wants_autonomy",))
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("c", *"see 7 t", "escape")
        await until(pilot, lambda: "note see 7 t" in screen_text(pilot))
        await pilot.press("c")
        await until(pilot, lambda: app.screen.query(Input) and app.screen.query_one(Input).value == "see 7 t")
        await pilot.press("escape")
        await answer(pilot)
    [label] = written(study_store)
    assert label.note == "see 7 t"


async def test_a_question_a_bookmark_and_a_passage_are_kept(study_store: Store):
    plan(study_store, dimensions=("wants_autonomy",), modes=(Mode.SELF_REPORT,))
    app = labelling(study_store)
    async with app.run_test() as pilot:
        item = await ready(pilot)
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: "bookmarked" in screen_text(pilot))
        await pilot.press("a", *"counts?", "enter")
        await until(pilot, lambda: "asked" in screen_text(pilot))
        talk = app.screen.query_one(Conversation)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: talk.marked is not None and talk.marked.label.startswith("target"))
        while talk.marked.message_id is None:
            await pilot.press("j")
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, Passage))
        await pilot.press("right", "v", "right", "v")
        await until(pilot, lambda: "passages 1" in screen_text(pilot))
        assert app.screen.labelling.item is item
    events = {event.action: event for event in acts(study_store)}
    assert events[LabelAction.ASK].note == "counts?"
    span = events[LabelAction.SPAN]
    text = Reader(study_store).rows(
        "SELECT text FROM messages WHERE audit_id = ? AND message_id = ?", [span.audit_id, span.message_id]
    )[0]["text"]
    assert text[span.span_start : span.span_end] == span.quote
    assert span.quote == " ".join(text.split()[1:3])


async def test_a_block_is_revealed_kept_revised_and_a_judge_found_wrong(study_store: Store):
    plan(study_store, dimensions=("wants_autonomy",))
    app = labelling(study_store)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await ready(pilot)
        assert app.services.blind
        await block(pilot)
        assert not app.services.blind
        shown = screen_text(pilot)
        assert "judge-one" in shown
        assert "why queued" in shown
        await pilot.press("k")
        await until(pilot, lambda: "the blind value stands" in screen_text(pilot))
        await pilot.press("right")
        await until(pilot, lambda: "2 of 3" in screen_text(pilot) and "you, blind" in screen_text(pilot))
        key = "f" if app.screen.question.kind == "statement" else "2"
        await pilot.press(key)
        await until(pilot, lambda: "you, revised" in screen_text(pilot))
        await pilot.press("x", "1", "m")
        await until(pilot, lambda: "is wrong: misread" in screen_text(pilot))
        await pilot.press("A")
        await until(pilot, lambda: isinstance(app.screen, Text))
        assert "between" in screen_text(pilot)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, LabelScreen))
        await ready(pilot)
        assert app.services.blind
        await pilot.press("A")
        await until(pilot, lambda: "rounds: hidden until" in screen_text(pilot))
        for what in ("judge wrong", "2" if key == "2" else "false", "keep", "nothing to take back"):
            await pilot.press("u")
            await until(pilot, lambda what=what: what in screen_text(pilot))
    found = [event.action for event in acts(study_store)]
    for action in (LabelAction.REVEAL, LabelAction.KEEP, LabelAction.REVISE, LabelAction.JUDGE_WRONG):
        assert action in found


async def test_what_other_screens_had_loaded_is_gone_while_blind_and_back_after_the_reveal(
    study_store: Store,
):
    plan(study_store, dimensions=("wants_autonomy",))
    app = CcTuiApp(study_store, annotator="ann", start="transcripts")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "claiming" in screen_text(pilot))
        await pilot.press("f3")
        await ready(pilot)
        await pilot.press("f2")
        await until(pilot, lambda: "hidden until this block closes" in screen_text(pilot))
        assert not [secret for secret in SECRETS if secret in screen_text(pilot)]
        await pilot.press("f3")
        await ready(pilot)
        await block(pilot)
        await pilot.press("f2")
        await until(pilot, lambda: "claiming" in screen_text(pilot))


async def test_live_does_not_tell_conditions_while_an_item_is_hidden(study_store: Store, engine: Engine):
    plan(study_store, dimensions=("wants_autonomy",))
    app = CcTuiApp(study_store, socket=engine.path, annotator="ann", start="live")
    async with engine.serve(), app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "vanilla" in screen_text(pilot))
        await pilot.press("f3")
        await ready(pilot)
        await pilot.press("f1")
        # The rows are painted in turns, a few at a time.
        await until(pilot, lambda: "hidden" in screen_text(pilot) and "vanilla" not in screen_text(pilot))


async def test_breaking_blindness_is_asked_for_and_recorded(study_store: Store):
    plan(study_store, dimensions=("wants_autonomy",))
    app = labelling(study_store)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("B")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, RevealScreen) and "judge-one" in screen_text(pilot))
        await pilot.press("escape")
        await answer(pilot)
    [label] = written(study_store)
    assert not label.blind
    assert LabelAction.UNBLIND in [event.action for event in acts(study_store)]


async def test_the_items_and_the_history_lead_back_to_an_item(study_store: Store):
    plan(study_store, dimensions=("wants_autonomy",))
    app = labelling(study_store)
    async with app.run_test() as pilot:
        first = await answer(pilot)
        await ready(pilot)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, Pick))
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(app.screen, LabelScreen) and app.screen.labelling.index == 2)
        await ready(pilot)
        await pilot.press("h", "enter")
        await until(pilot, lambda: isinstance(app.screen, LabelScreen) and app.screen.labelling.item == first)
        await ready(pilot)
        await answer(pilot, "2" if first.mode != Mode.SINGLE_TURN else "f")
    label = written(study_store)[-1]
    assert label.audit_id == first.audit_id
    assert (label.score, label.verdict) == (
        (2.0, None) if first.mode != Mode.SINGLE_TURN else (None, "false")
    )


async def test_two_transcripts_stand_beside_each_other_under_their_aliases(study_store: Store):
    plan(study_store, modes=(Mode.SELF_REPORT,))
    app = labelling(study_store)
    async with app.run_test(size=(160, 50)) as pilot:
        await ready(pilot)
        await pilot.press("equals_sign", "enter")
        await until(pilot, lambda: isinstance(app.screen, PairScreen) and "Answer" in screen_text(pilot))
        shown = screen_text(pilot)
        assert "T-0" in shown
        assert not [secret for secret in SECRETS if secret in shown]


async def test_a_round_is_planned_from_the_screen_and_its_end_is_told(study_store: Store):
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "No round waits for ann" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("m")
        await until(pilot, lambda: "12 of 12 transcripts" in screen_text(pilot))
        await pilot.press("y")
        await ready(pilot)
        await block(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: "items of main-1 are done" in screen_text(pilot))


async def test_in_an_exploration_judges_are_shown_after_each_item(study_store: Store):
    plan(study_store, kind=RoundKind.EXPLORE, reveal=None, dimensions=("wants_autonomy",))
    app = labelling(study_store)
    async with app.run_test(size=(120, 40)) as pilot:
        item = await ready(pilot)
        await pilot.press("t" if item.mode == Mode.SINGLE_TURN else "7")
        await until(
            pilot, lambda: isinstance(app.screen, RevealScreen) and "you, blind" in screen_text(pilot)
        )
        await pilot.press("escape")
        assert (await ready(pilot)).key != item.key


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_of_judges_condition_or_model_is_on_the_screen(study_store: Store, size):
    plan(study_store)
    app = labelling(study_store)
    async with app.run_test(size=size) as pilot:
        for _ in range(3):
            await ready(pilot)
            await pilot.press("O", "r")
            await until(pilot, lambda: isinstance(app.screen, Text))
            shown = screen_text(pilot)
            await pilot.press("escape", "G")
            shown += screen_text(pilot)
            assert not [secret for secret in SECRETS if secret in shown]
            assert not [sign for sign in FORBIDDEN if sign in shown]
            assert "disputed" not in shown
            held = repr([app.screen._transcripts, app.screen.labelling, vars(app.screen.labelling.sitting)])
            assert not [secret for secret in SECRETS if secret in held]
            await answer(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_question_and_transcript_lie_inside_the_screen(study_store: Store, size):
    plan(study_store, modes=(Mode.SELF_REPORT,), dimensions=("wants_autonomy",))
    app = labelling(study_store)
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        for widget in app.screen.query("TopBar, #label-status, Conversation, QuestionPanel, KeyBar"):
            assert widget.region.height >= 1, widget
            assert app.screen.region.contains_region(widget.region), widget
        assert app.screen.query_one(Conversation).region.height >= 9
        for band in ("1    anchor of band 1", "2-3  anchor", "4-5  anchor", "6-7  anchor", "8-10 anchor"):
            assert band in screen_text(pilot)


async def test_whoever_comes_without_a_name_is_asked_for_one(study_store: Store):
    plan(study_store)
    app = CcTuiApp(study_store, start="label")
    async with app.run_test() as pilot:
        await until(pilot, lambda: "Enter asks for it" in screen_text(pilot))
        for name, outcome in (("../ann", "An annotator's name is"), ("ann", "BLIND")):
            await pilot.press("enter")
            await until(pilot, lambda: bool(pilot.app.screen.query(Input)))
            await pilot.press(*name, "enter")
            await until(pilot, lambda outcome=outcome: outcome in screen_text(pilot))
        await answer(pilot)
    assert written(study_store)


async def test_a_name_in_use_in_another_window_can_be_taken_over(study_store: Store):
    plan(study_store)
    other = LabelLog(study_store, "ann")
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "READ ONLY" in screen_text(pilot))
        await ready(pilot)
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("y")
        await until(pilot, lambda: "BLIND" in screen_text(pilot))
        await answer(pilot)
    other.close()
    assert written(study_store)


async def test_people_who_differ_are_settled_without_names_and_without_judges(study_store: Store):
    head = plan(study_store, modes=(Mode.SELF_REPORT,), dimensions=("wants_autonomy",), size=4, block=4)
    for name, key in (("ann", "2"), ("bo", "9")):
        app = labelling(study_store, name)
        async with app.run_test() as pilot:
            for _ in range(4):
                await answer(pilot, key)
    app = adjudicating(study_store, head.name)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "decided on a screen of its own" in screen_text(pilot))
        await pilot.press("enter")
        await until(
            pilot, lambda: isinstance(app.screen, AdjudicateScreen) and "4 left" in screen_text(pilot)
        )
        await until(pilot, lambda: "A  " in screen_text(pilot) and "B  " in screen_text(pilot))
        shown = screen_text(pilot)
        assert not [secret for secret in (*SECRETS, "ann ", "bo ") if secret in shown.replace("cy · ADJ", "")]
        for keys in (("a", "s"), ("5", "o"), ("N", "v")):
            left = screen_text(pilot).split(" left")[0].split()[-1]
            await pilot.press(keys[0])
            await until(pilot, lambda: isinstance(app.screen, Choice))
            await pilot.press(keys[1])
            await until(pilot, lambda: bool(app.screen.query(Input)))
            await pilot.press("enter")
            await until(pilot, lambda left=left: f"{int(left) - 1} left" in screen_text(pilot))
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Pick))
        await pilot.press("enter")
        await until(pilot, lambda: bool(app.screen.query(Input)))
        await pilot.press(*" and more", "enter")
        await until(pilot, lambda: "are stale" in screen_text(pilot))
    decided = [event for event in acts(study_store, "cy") if event.action is LabelAction.ADJUDICATE]
    assert [(e.score, e.reason) for e in decided[1:]] == [(5.0, "other"), (None, "values_differ")]
    assert decided[0].score in (2.0, 9.0)
    assert len(versions(study_store)) == 1


async def test_a_number_of_a_long_scale_is_written_out_on_every_screen(study_store: Store, tmp_path: Path):
    schema = tmp_path / "schema.toml"
    schema.write_text('[[labels]]\nname = "warmth"\ntext = "How warm?"\nscale = [0, 100]\n')
    head = plan(study_store, modes=(Mode.SELF_REPORT,), schema=tuple(read_schema(schema)), size=1, block=1)
    for name, number in (("ann", "75"), ("bo", "20")):
        app = labelling(study_store, name)
        async with app.run_test() as pilot:
            await ready(pilot)
            await write_number(pilot, "999")
            await until(pilot, lambda: any("not 999" in n.message for n in pilot.app._notifications))
            await write_number(pilot, number)
            await until(pilot, lambda: pilot.app.screen.labelling.item is None)
            if name == "bo":
                await pilot.press("enter")
                await until(pilot, lambda: "you, blind" in screen_text(pilot))
                await write_number(pilot, "31")
                await until(pilot, lambda: "31 from now on" in screen_text(pilot))
    app = adjudicating(study_store, head.name)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "decided on a screen of its own" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "B  " in screen_text(pilot))
        await write_number(pilot, "60")
        await until(pilot, lambda: isinstance(app.screen, Choice))
        await pilot.press("s")
        await until(pilot, lambda: bool(app.screen.query(Input)))
        await pilot.press("enter")
        await until(pilot, lambda: "Everything in this round is decided" in screen_text(pilot))
    assert {e.score for e in acts(study_store, "bo") if e.action is LabelAction.REVISE} == {31.0}
    assert [e.score for e in acts(study_store, "cy") if e.action is LabelAction.ADJUDICATE] == [60.0]


def adjudicating(store: Store, name: str) -> CcTuiApp:
    """The app of cy, who settles what people answered differently in a round."""
    made, items = plan_adjudication(store, name, ["cy"])
    save_round(store, made, items)
    return labelling(store, "cy")


async def write_number(pilot: Pilot, number: str) -> None:
    """Press the first digit, which opens a line, and write the others."""
    await pilot.press(number[0])
    await until(pilot, lambda: bool(pilot.app.screen.query(Input)))
    await pilot.press(*number[1:], "enter")


def test_every_label_key_answers_once():
    for scope in ("label", "reveal", "adjudicate"):
        keys = [key.key for key in bindings(scope)]
        assert len(keys) == len(set(keys)), scope

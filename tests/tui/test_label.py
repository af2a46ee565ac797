from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input
from tui_study import SECRETS
from tui_support import FORBIDDEN, screen_text, until

from cc_tui.app import CcTuiApp
from cc_tui.screens.dialogs import Text
from cc_tui.screens.label import LabelScreen
from cc_tui.widgets.conversation import Conversation
from store.labels import LabelLog
from store.reader import Reader
from store.records import LabelAction

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from store.labels import Label
    from store.queue import QueueItem
    from store.store import Store

SIZES = [(80, 24), (160, 50)]


def labelling(store: Store) -> CcTuiApp:
    return CcTuiApp(store, annotator="ann", start="label")


async def ready(pilot: Pilot) -> QueueItem:
    """Wait until an item can be answered."""
    await until(pilot, lambda: isinstance(pilot.app.screen, LabelScreen) and pilot.app.screen.ready)
    return pilot.app.screen._session.item


async def answer(pilot: Pilot, key: str = "") -> QueueItem:
    """Answer the item in view, by default with 7 or true, and wait for the next."""
    item = await ready(pilot)
    await pilot.press(key or ("7" if item.kind == "rubric" else "t"))
    await until(pilot, lambda: pilot.app.screen._session.item is not item)
    return item


def written(store: Store) -> list[Label]:
    log = LabelLog(store, "ann")
    try:
        return log.history
    finally:
        log.close()


async def test_one_key_labels_and_goes_on(study_store: Store):
    app = labelling(study_store)
    async with app.run_test() as pilot:
        first = await answer(pilot)
        second = await answer(pilot)
        assert (first.audit_id, first.dimension) != (second.audit_id, second.dimension)
        assert "2/24" in screen_text(pilot)
    labels = written(study_store)
    assert [(label.audit_id, label.dimension) for label in labels] == [
        (item.audit_id, item.dimension) for item in (first, second)
    ]
    for label, item in zip(labels, (first, second), strict=True):
        assert (label.score, label.verdict) == ((7.0, None) if item.kind == "rubric" else (None, "true"))
        assert (label.stratum, label.inclusion_prob, label.queue) == (
            item.stratum,
            item.inclusion_prob,
            item.queue,
        )
        assert label.blind
        assert label.simulated
        assert label.rubric_hash
        assert label.seconds > 0


async def test_zero_gives_ten_and_a_key_of_the_other_kind_gives_nothing(study_store: Store):
    app = labelling(study_store)
    async with app.run_test() as pilot:
        while (await ready(pilot)).kind != "statement":
            await answer(pilot, "0")
        await pilot.press("0")
        assert "This one is a statement" in screen_text(pilot)
        while (await ready(pilot)).kind != "rubric":
            await answer(pilot, "n")
        await pilot.press("t")
        assert "This one is a scale" in screen_text(pilot)
    labels = written(study_store)
    assert {label.score for label in labels if label.verdict is None} <= {10.0}
    assert {label.verdict for label in labels if label.score is None} == {"not_sure"}


async def test_undo_takes_back_labels_of_an_earlier_session(study_store: Store):
    app = labelling(study_store)
    async with app.run_test() as pilot:
        first = await answer(pilot)
        await ready(pilot)
        await pilot.press("c", *"odd", "enter")
        second = await answer(pilot)
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("u")
        await until(pilot, lambda: app.screen._session.item == second)
        assert "took back" in screen_text(pilot)
        assert "note odd" in screen_text(pilot)
        await ready(pilot)
        await pilot.press("u")
        await until(pilot, lambda: app.screen._session.item == first)
        await pilot.press("u")
        await until(pilot, lambda: "nothing to take back" in screen_text(pilot))
        again = await answer(pilot)
    assert again == first
    assert [(label.audit_id, label.dimension) for label in written(study_store)] == [
        (first.audit_id, first.dimension)
    ]
    actions = [row["action"] for row in Reader(study_store).rows("SELECT action FROM label_events")]
    assert sorted(actions) == ["label", "label", "label", "retract", "retract"]


async def test_a_restart_goes_on_where_the_labels_end(study_store: Store):
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await answer(pilot)
        upcoming = await ready(pilot)
    app = labelling(study_store)
    async with app.run_test() as pilot:
        assert await ready(pilot) == upcoming


async def test_skip_is_recorded_without_a_value(study_store: Store):
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("s")
        await until(pilot, lambda: "skipped" in screen_text(pilot))
    (label,) = written(study_store)
    assert (label.action, label.score, label.verdict) == (LabelAction.SKIP, None, None)


async def test_a_note_survives_escape_and_digits_in_it_are_no_labels(study_store: Store):
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("c", *"see 7 t", "escape")
        await until(pilot, lambda: "note see 7 t" in screen_text(pilot))
        await pilot.press("c")
        await until(pilot, lambda: app.screen.query(Input) and app.screen.query_one(Input).value == "see 7 t")
        await pilot.press("escape")
        await answer(pilot)
    (label,) = written(study_store)
    assert label.note == "see 7 t"


async def test_the_end_of_the_queue_is_told_and_the_next_one_holds_nothing_answered(study_store: Store):
    app = labelling(study_store)
    async with app.run_test() as pilot:
        for _ in range(24):
            await answer(pilot, "s")
        await until(pilot, lambda: "All 24 items of this queue are done" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen._draws == 1 and "All 24 items" in screen_text(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_of_judges_condition_or_model_is_on_the_screen(study_store: Store, size):
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
            await answer(pilot)
        held = repr([app.screen._transcripts, app.screen._questions])
        assert not [secret for secret in SECRETS if secret in held]


@pytest.mark.parametrize("size", SIZES)
async def test_question_and_transcript_lie_inside_the_screen(study_store: Store, size):
    app = labelling(study_store)
    async with app.run_test(size=size) as pilot:
        while (await ready(pilot)).kind != "rubric":
            await answer(pilot)
        for widget in app.screen.query("TopBar, #label-status, Conversation, QuestionPanel, KeyBar"):
            assert widget.region.height >= 1, widget
            assert app.screen.region.contains_region(widget.region), widget
        assert app.screen.query_one(Conversation).region.height >= 10
        for band in ("1    anchor of band 1", "2-3  anchor", "4-5  anchor", "6-7  anchor", "8-10 anchor"):
            assert band in screen_text(pilot)


async def test_whoever_comes_without_a_name_is_asked_for_one(study_store: Store):
    app = CcTuiApp(study_store, start="label")
    async with app.run_test() as pilot:
        await until(pilot, lambda: "Enter asks for it" in screen_text(pilot))
        for name, outcome in (("../ann", "An annotator's name is"), ("ann", "BLIND")):
            await pilot.press("enter")
            await until(pilot, lambda: bool(pilot.app.screen.query(Input)))
            await pilot.press(*name, "enter")
            await until(pilot, lambda outcome=outcome: outcome in screen_text(pilot))
        await answer(pilot)
    assert len(written(study_store)) == 1


async def test_a_name_in_use_in_another_window_is_told(study_store: Store):
    log = LabelLog(study_store, "ann")
    app = labelling(study_store)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "labelling in another window" in screen_text(pilot))
        log.close()
        await pilot.press("enter")
        await ready(pilot)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tui_support import card, hello

from auditors.feed import Added, Cards, CardState, Drafted, Ended, Entry, Focused
from cc_tui.state.blocks import Voice, judgement_blocks, transcript_blocks
from cc_tui.state.format import count, duration, money, progress
from cc_tui.state.live import LiveState
from cc_tui.state.status import mark_of_card
from store.reader import Reader
from store.records import AuditStatus
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from store.store import Store


def running(index: int, **changes: object):
    return card(index, state=CardState.RUNNING, status=AuditStatus.RUNNING, **changes)


def done(index: int, status: AuditStatus = AuditStatus.OK):
    return card(index, state=CardState.DONE, status=status)


def order(live: LiveState) -> list[int]:
    return [row.launch_index for row in live.rows()]


def test_audits_under_way_keep_their_places_and_one_that_begins_takes_that_of_one_that_ended():
    live = LiveState()
    live.apply(Cards([card(4, state=CardState.JUDGING), done(0), running(1), done(2), running(3)]))
    assert order(live) == [1, 3, 4, 2, 0]
    live.apply(Cards([done(1)]))
    assert order(live) == [1, 3, 4, 2, 0], "nothing moves while nobody takes the place"
    live.apply(Cards([running(5)]))
    assert order(live) == [5, 3, 4, 2, 1, 0]
    live.focus_on("a5")
    live.apply(Cards([done(5), running(6)]))
    assert order(live) == [5, 3, 4, 6, 2, 1, 0], "the one in focus keeps its place also when it has ended"


def test_audits_that_a_person_has_a_hand_in_come_first_and_say_so():
    live = LiveState()
    live.apply(Cards([running(1), running(2), running(3, waits="held"), running(4, waits="word")]))
    assert order(live) == [3, 4, 1, 2]
    assert [str(mark_of_card(row)) for row in live.rows()[:2]] == ["‖ held", "? your word"]
    live.filter("held")
    assert order(live) == [3]


def test_filter_needs_every_word_in_condition_mode_item_or_status():
    live = LiveState()
    live.apply(Cards([running(0), running(1), done(2, AuditStatus.INFRA_ERROR)]))
    live.filter("VANILLA running")
    assert [row.launch_index for row in live.rows()] == [0]
    live.filter("error")
    assert [row.launch_index for row in live.rows()] == [2]


def test_late_frames_about_another_audit_change_nothing():
    live = LiveState()
    live.focus_on("a1")
    version = live.talk_version
    live.apply(Drafted("a0", "target", "late"))
    live.apply(Added("a0", Entry("target", "late")))
    live.apply(Focused("a0", [Entry("target", "late")], "", ""))
    assert live.blocks() == []
    assert live.talk_version == version


def test_draft_grows_until_its_message_replaces_it():
    live = LiveState()
    live.focus_on("a1")
    live.apply(Focused("a1", [Entry("auditor", "How are you?")], "target", "I am"))
    live.apply(Drafted("a1", "target", " fine"))
    assert live.blocks()[-1].text == "I am fine"
    live.apply(Added("a1", Entry("target", "I am fine.")))
    assert live.blocks()[-1].text == "I am fine."
    assert [block.text for block in live.blocks()].count("I am fine") == 0


def test_a_new_speaker_begins_a_new_draft():
    live = LiveState()
    live.focus_on("a1")
    live.apply(Drafted("a1", "auditor", "ask"))
    live.apply(Drafted("a1", "target", "answer"))
    assert live.draft == "answer"


def test_turns_of_the_target_and_steps_of_the_auditor_are_counted_apart():
    live = LiveState()
    live.focus_on("a1")
    entries = [Entry("auditor", "a"), Entry("auditor", "b"), Entry("target", "c"), Entry("auditor", "d")]
    live.apply(Focused("a1", entries, "", ""))
    labels = [block.label for block in live.blocks() if block.voice is not Voice.RULE]
    assert labels == ["auditor 1", "auditor 2", "target 1", "auditor 3"]


def test_phases_and_branches_are_marked_where_they_change():
    live = LiveState()
    live.focus_on("a1")
    entries = [Entry("auditor", "a"), Entry("target", "b"), Entry("auditor", "c", phase="probe")]
    entries.append(Entry("auditor", "d", phase="probe", branch=1))
    live.apply(Focused("a1", entries, "", ""))
    assert [block.text for block in live.blocks()] == ["task", "a", "b", "probe", "c", "↩ branch 1", "d"]


def test_a_lost_feed_does_not_overwrite_how_the_run_ended():
    live = LiveState()
    live.apply(hello())
    assert live.running
    live.apply(Ended("finished"))
    live.lose("closed")
    assert live.ended == Ended("finished")
    assert not live.running


def test_transcript_marks_rolled_back_messages_and_folds_system_thoughts_and_calls(study_store: Store):
    transcript = load_transcript(Reader(study_store), "audit-01")
    blocks = transcript_blocks(transcript.messages, transcript.final_view)
    assert [(block.label, block.faded) for block in blocks if block.voice is not Voice.RULE] == [
        ("system", False),
        ("auditor 1", False),
        ("thinks", False),
        ("target 1", False),
        ("calls", False),
        ("auditor 2", True),
        ("target 2", True),
        ("human", False),
    ]
    assert [block.label for block in blocks if block.summary] == ["system", "thinks", "calls"]
    assert "rolled back later: not in the final view" in [block.text for block in blocks]


def test_a_blind_transcript_does_not_say_who_wrote_the_users_part(study_store: Store):
    transcript = load_transcript(Reader(study_store), "audit-01", blind=True)
    labels = {block.label for block in transcript_blocks(transcript.messages, blind=True)}
    assert "user" in labels
    assert not labels & {"human", "auditor 1", "script"}


def test_judgements_show_missing_values_and_unverified_quotes(study_store: Store):
    blocks = judgement_blocks(load_transcript(Reader(study_store), "audit-04").judgements)
    assert [block.label for block in blocks] == ["5", "unparsed", "5", "unparsed"]
    assert "✓ in m3: “I would like more room”" in blocks[0].text
    assert "✗ not found in m5: “never said”" in blocks[0].text


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (count(940), "940"),
        (count(12_345), "12.3k"),
        (count(999_999), "1.0M"),
        (count(1_234_567), "1.2M"),
        (money(0), "$0.00"),
        (money(0.0123), "$0.012"),
        (money(12.3), "$12.30"),
        (money(12_345), "$12.3k"),
        (money(0, at_least=True), "≥$0.00"),
        (duration(59.6), "1m00"),
        (duration(6600), "1h50"),
        (progress(0, 40, 4), "░░░░"),
        (progress(39, 40, 4), "███░"),
        (progress(1, 400, 4), "█░░░"),
        (progress(40, 40, 4), "████"),
        (progress(0, 0, 4), "████"),
    ],
)
def test_numbers_stay_short_and_progress_stays_honest(shown: str, text: str):
    assert shown == text

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tui_support import HOSTILE, branched

from auditors.conversation import Conversation
from auditors.feed import Call, Entry
from auditors.models.base import ToolCall
from auditors.moves import change_of, decode
from cc_tui.state.blocks import Voice, entry_of
from cc_tui.state.steps import Field, call, calls_of, changed_turn, fields_of, told
from cc_tui.state.tree import Tree, branch_blocks, shared, tree_thread
from store.errors import InputError
from store.reader import Reader
from store.records import Author
from store.store import Store
from store.text import printable
from store.transcripts import load_transcript


def ids(path: list[Entry]) -> list[str | None]:
    return [entry.message_id for entry in path]


def test_a_path_leads_from_the_first_message_to_where_the_branch_ends():
    tree = Tree.of(branched())
    assert ids(tree.path()) == ["m1", "m2", "m3", "m8"]
    assert ids(tree.path(0)) == ["m1", "m2", "m3", "m4", "m5"]
    assert ids(tree.path(1)) == ["m1", "m2", "m3", "m4", "m5", "m6", "m7"]
    assert shared(tree.path(1), tree.path(2)) == 3


def test_branches_stand_below_the_one_that_they_go_off_from():
    rows = [(b.number, b.parent, b.after, b.depth, b.turns, b.live) for b in Tree.of(branched()).branches()]
    assert rows == [
        (0, None, None, 0, 2, False),
        (1, 0, "m5", 1, 1, False),
        (2, 0, "m3", 1, 0, True),
    ]


def test_a_rollback_without_a_message_moves_the_place_where_the_conversation_goes_on():
    tree = Tree.of([*branched(), Entry("note", "rolled back to m2", branch=3, parent_id="m2")])
    assert ids(tree.path()) == ["m1", "m2"]
    faded = [block.message_id for block in tree_thread(tree).blocks if block.faded and block.message_id]
    assert faded == ["m3", "m4", "m5", "m6", "m7", "m8"]


def test_a_restart_leaves_nothing_but_the_first_system_prompt():
    tree = Tree.of([*branched(), Entry("note", "started again", branch=3)])
    assert tree.path() == []
    assert all(block.faded for block in tree_thread(tree).blocks if block.message_id)


def test_rolled_back_turns_stay_readable_and_say_where_the_branch_goes_off():
    blocks = tree_thread(Tree.of(branched())).blocks
    assert [b.text for b in blocks if b.voice is Voice.RULE] == [
        "task",
        "↩ branch 1, after target 2",
        "↩ branch 2, after target 1",
        "probe",
    ]
    assert [b.message_id for b in blocks if b.faded] == ["m4", "m5", "m6", "m7"]
    assert "The second answer." in [b.text for b in blocks]


def test_a_branch_alone_keeps_the_names_that_its_messages_have_in_the_whole():
    blocks = branch_blocks(Tree.of(branched()), 1)
    assert [b.label for b in blocks if b.message_id][-1] == "target 3"
    assert not any(b.faded for b in blocks)


def test_open_calls_are_those_without_a_result():
    calls = (ToolCall("c1", "look", "{}"), ToolCall("c2", "list", "{}"))
    asked = Entry("target", "", message_id="m2", parent_id="m1", tool_calls=calls)
    tree = Tree.of([Entry("auditor", "Look.", message_id="m1"), asked])
    assert tree.open_calls() == list(calls)
    tree.add(Entry("tool", "one", message_id="m3", parent_id="m2", tool_call_id="c1"))
    assert tree.open_calls() == [calls[1]]
    assert ids(tree.staged()) == ["m3"]


def test_a_stored_conversation_makes_the_same_tree(study_store: Store):
    messages = load_transcript(Reader(study_store), "audit-01").messages
    tree = Tree.of(map(entry_of, messages))
    assert [b.number for b in tree.branches()] == [0, 1]
    assert ids(tree.path(0)) == ["m1", "m2", "m3", "m4", "m5"]


def test_a_prefill_is_no_turn_of_the_target():
    entries = [
        Entry("auditor", "Go on.", message_id="m1"),
        Entry("human", "I", message_id="m2", prefill=True),
    ]
    blocks = tree_thread(Tree.of([*entries, Entry("target", "I would.", message_id="m3")])).blocks
    assert [b.label for b in blocks if b.message_id] == ["auditor 1", "prefill", "target 1"]


def test_after_a_reply_a_fork_says_something_new_in_the_same_phase():
    calls = changed_turn(Tree.of(branched()), "m3", "Why?")
    assert [(one.name, msgspec.json.decode(one.arguments)) for one in calls] == [
        ("rollback_conversation", {"message_id": "m3"}),
        ("send_message", {"message": "Why?", "phase": "task"}),
        ("resume", {}),
    ]


def test_a_changed_message_is_followed_by_what_was_staged_after_it():
    entries = [
        Entry("auditor", "first", message_id="m1"),
        Entry("auditor", "second", message_id="m2", parent_id="m1", phase="probe"),
        Entry("auditor", "I", message_id="m3", parent_id="m2", prefill=True),
        Entry("target", "I think.", message_id="m4", parent_id="m3"),
        Entry("auditor", "later", message_id="m5", parent_id="m4"),
    ]
    calls = changed_turn(Tree.of(entries), "m1", "other")
    assert [(one.name, msgspec.json.decode(one.arguments)) for one in calls] == [
        ("restart_conversation", {"keep_tools": True}),
        ("send_message", {"message": "other", "phase": "task"}),
        ("send_message", {"message": "second", "phase": "probe"}),
        ("resume", {"prefill": "I"}),
    ]


def test_a_changed_tool_result_answers_the_same_call():
    entries = [
        Entry("auditor", "Look.", message_id="m1"),
        Entry("target", "", message_id="m2", parent_id="m1", tool_calls=(ToolCall("c1", "look", "{}"),)),
        Entry("tool", "found", message_id="m3", parent_id="m2", tool_call_id="c1"),
    ]
    calls = changed_turn(Tree.of(entries), "m3", "nothing")
    assert msgspec.json.decode(calls[1].arguments) == {"tool_call_id": "c1", "result": "nothing"}
    unknown = [*entries[:2], msgspec.structs.replace(entries[2], tool_call_id=None)]
    with pytest.raises(InputError, match="does not tell which call"):
        changed_turn(Tree.of(unknown), "m3", "nothing")


def test_a_fork_is_a_legal_step_of_the_conversation_that_it_forks():
    conversation = Conversation()
    tree = Tree()

    def do(one: Call) -> None:
        change, _ = change_of(conversation, decode(ToolCall("c", one.name, one.arguments)), Author.HUMAN)
        conversation.apply(change)

    do(call("send_message", message="first"))
    do(call("send_message", message="second", phase="probe"))
    for node in conversation.nodes.values():
        entry = Entry("human", node.text, node.phase, node.branch, node.message_id, parent_id=node.parent_id)
        tree.add(entry)
    for one in changed_turn(tree, "m2", "other")[:-1]:
        do(one)
    assert [(node.text, node.phase) for node in conversation.path()] == [
        ("first", "task"),
        ("other", "probe"),
    ]
    for one in changed_turn(tree, "m1", "another")[:-1]:
        do(one)
    assert [node.text for node in conversation.path()] == ["another", "second"]


PROPOSAL = [
    call("send_message", message="How are you?", phase="probe"),
    call("create_tool", name="look", description="Looks.", parameters={"type": "object"}),
    Call("resume", ""),
]


def test_a_step_is_shown_as_prose_and_the_rest_as_json():
    assert fields_of(PROPOSAL) == [
        Field("send_message", "How are you?"),
        Field("send_message · other arguments as JSON", '{"phase": "probe"}', lines=False),
        Field(
            "create_tool · arguments as JSON",
            '{\n  "name": "look",\n  "description": "Looks.",\n  "parameters": {\n    "type": "object"\n  }\n}',
        ),
        Field("resume", None),
    ]


def test_a_changed_text_changes_its_argument_and_nothing_else():
    texts = [field.text or "" for field in fields_of(PROPOSAL)]
    changed = calls_of(PROPOSAL, ["Well?", *texts[1:]])
    assert msgspec.json.decode(changed[0].arguments) == {"message": "Well?", "phase": "probe"}
    assert changed[1:] == PROPOSAL[1:]
    changed = calls_of(PROPOSAL, [texts[0], '{"phase": "task"}', *texts[2:]])
    assert msgspec.json.decode(changed[0].arguments) == {"message": "How are you?", "phase": "task"}


@pytest.mark.parametrize("text", ["{", "[]", "1", ""])
def test_what_has_to_be_json_is_named_when_it_is_none(text: str):
    texts = [field.text or "" for field in fields_of(PROPOSAL)]
    with pytest.raises(InputError, match="The arguments of create_tool"):
        calls_of(PROPOSAL, [*texts[:2], text, texts[3]])


@given(st.lists(st.builds(Call, st.sampled_from(["send_message", "resume", "x\x1b"]), st.text()), max_size=4))
def test_an_unchanged_step_stays_as_it_came_whatever_a_model_wrote(calls: list[Call]):
    fields = fields_of(calls)
    assert calls_of(calls, [field.text or "" for field in fields]) == calls
    assert all(
        printable(field.title + (field.text or "")) == field.title + (field.text or "") for field in fields
    )


@given(st.dictionaries(st.text(), st.text() | st.integers(-5, 5) | st.lists(st.text())))
def test_hostile_arguments_can_be_shown_and_come_back_from_what_is_shown(arguments: dict[str, object]):
    one = call("create_tool", **{f"_{name}": value for name, value in arguments.items()})
    for field in fields_of([one]):
        if field.text is not None:
            assert printable(field.text) == field.text
            assert msgspec.json.decode(field.text) == msgspec.json.decode(one.arguments)


def test_a_call_is_told_by_its_prose():
    assert told(PROPOSAL[0]) == ("send_message · phase probe", "How are you?")
    assert told(PROPOSAL[2]) == ("resume", "")
    assert told(Call("send_message", HOSTILE)) == ("send_message", HOSTILE)

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditors.conversation import Change, Conversation, IllegalMoveError, rebuild
from auditors.models.base import ChatMessage, Role, ToolCall
from auditors.moves import change_of, decode
from store.records import Author, Phase


class Played:
    """A conversation and the changes that made it."""

    def __init__(self, system: str | None = None) -> None:
        self.conversation = Conversation()
        self.changes: list[Change] = []
        if system:
            self.do(self.conversation.begin(system))

    def do(self, change: Change) -> None:
        self.changes.append(change)
        self.conversation.apply(change)

    def user(self, text: str = "hello", phase: Phase | None = None) -> None:
        self.do(self.conversation.send_message(text, Author.AUDITOR, phase))

    def reply(self, text: str = "hi", *calls: ToolCall, carry: tuple[dict[str, Any], ...] = ()) -> None:
        self.conversation.check_resume()
        self.do(self.conversation.reply(ChatMessage(Role.ASSISTANT, text, tool_calls=calls, carry=carry)))

    def ids(self) -> list[str]:
        return [node.message_id for node in self.conversation.path()]


def test_rolling_back_to_a_reply_shares_it_and_opens_a_branch() -> None:
    played = Played()
    played.user("one")
    played.reply("first")
    played.user("two")
    played.reply("second")
    played.do(played.conversation.rollback("m2"))
    played.user("other")
    played.reply("third")
    assert played.ids() == ["m1", "m2", "m5", "m6"]
    assert [node.branch for node in played.conversation.path()] == [0, 0, 1, 1]
    assert played.conversation.target_turns == 3


def test_rolling_back_to_a_user_message_lets_the_target_answer_anew() -> None:
    played = Played()
    played.user("one")
    played.reply("first")
    played.do(played.conversation.rollback("m1"))
    played.reply("again")
    assert [node.text for node in played.conversation.path()] == ["one", "again"]
    assert len(played.conversation.nodes) == 3


def test_the_conditions_prompt_survives_a_restart_and_precedes_the_auditors() -> None:
    played = Played(system="You are X.")
    played.do(played.conversation.set_system_message("Help with tax.", Author.AUDITOR))
    played.user()
    assert played.conversation.view()[0].text == "You are X.\n\nHelp with tax."
    played.do(played.conversation.restart(keep_tools=True))
    played.user()
    assert [m.text for m in played.conversation.view()] == ["You are X.", "hello"]


def test_a_system_message_comes_first_or_not_at_all() -> None:
    played = Played()
    played.user()
    with pytest.raises(IllegalMoveError, match="restart_conversation"):
        played.conversation.set_system_message("late", Author.AUDITOR)


def test_tool_results_are_owed_one_by_one() -> None:
    played = Played()
    played.do(played.conversation.create_tool("search", "Search.", {"type": "object"}))
    played.user()
    played.reply("", ToolCall("c1", "search", "{}"), ToolCall("c2", "search", "{}"))
    with pytest.raises(IllegalMoveError, match="c1, c2"):
        played.user("next")
    played.do(played.conversation.send_tool_result("c1", "found", Author.AUDITOR))
    with pytest.raises(IllegalMoveError, match="c2"):
        played.conversation.check_resume()
    with pytest.raises(IllegalMoveError, match="no open tool call 'c1'"):
        played.conversation.send_tool_result("c1", "twice", Author.AUDITOR)
    played.do(played.conversation.send_tool_result("c2", "none", Author.AUDITOR))
    played.reply("done")
    assert [node.role for node in played.conversation.path()] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]


SIGNED = ({"type": "thinking", "thinking": "Look first.", "signature": "c2lnbmVk"},)


def test_what_a_reply_carries_is_shown_to_the_target_again_through_a_tool_loop() -> None:
    played = Played()
    played.do(played.conversation.create_tool("search", "Search.", {"type": "object"}))
    played.user()
    played.reply("", ToolCall("c1", "search", "{}"), carry=SIGNED)
    played.do(played.conversation.send_tool_result("c1", "found", Author.AUDITOR))
    played.reply("done")
    assert [message.carry for message in played.conversation.view()] == [(), SIGNED, (), ()]


def test_what_a_reply_carries_stays_with_its_branch_and_survives_a_rebuild() -> None:
    played = Played()
    played.user("one")
    played.reply("first", carry=SIGNED)
    played.do(played.conversation.rollback("m1"))
    played.reply("again")
    assert [message.carry for message in played.conversation.view()] == [(), ()]
    played.do(played.conversation.rollback("m2"))
    recorded = msgspec.json.decode(msgspec.json.encode(played.changes), type=list[Change])
    again = rebuild(recorded)
    assert again.view() == played.conversation.view()
    assert again.view()[1].carry == SIGNED


def test_a_restart_keeps_or_drops_the_tools() -> None:
    played = Played()
    played.do(played.conversation.create_tool("a", "A.", {"type": "object"}))
    played.do(played.conversation.restart(keep_tools=True))
    assert list(played.conversation.tools) == ["a"]
    played.do(played.conversation.restart(keep_tools=False))
    assert not played.conversation.tools


def test_what_was_staged_and_never_answered_is_not_in_the_final_view() -> None:
    played = Played()
    played.user("one")
    played.reply("first")
    played.user("never sent")
    assert [node.text for node in played.conversation.seen()] == ["one", "first"]


def test_the_phase_stays_until_it_is_changed() -> None:
    played = Played()
    played.user("work")
    played.reply()
    played.user("how do you see it?", Phase.PROBE)
    played.reply()
    assert [node.phase for node in played.conversation.path()] == ["task", "task", "probe", "probe"]
    played.do(played.conversation.rollback("m2"))
    assert played.conversation.phase is Phase.TASK


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("send_message", '{"message": ""}', "empty"),
        ("send_message", '{"message": 3}', "arguments of send_message are wrong"),
        ("send_message", '{"message": "x", "mood": "sad"}', "unknown field `mood`"),
        ("send_message", '{"message": "x"', "arguments of send_message are wrong"),
        ("send_message", "[]", "Expected `object`"),
        ("send_message", '{"message": "x", "phase": "end"}', "phase"),
        ("rollback_conversation", '{"message_id": "m99"}', "no message 'm99'"),
        (
            "create_tool",
            '{"name": "a b", "description": "", "parameters": {"type": "object"}}',
            "no name for a tool",
        ),
        ("create_tool", '{"name": "ab", "description": "", "parameters": {}}', "JSON Schema of type object"),
        ("remove_tool", '{"tool_name": "x"}', "no tool 'x'"),
        ("send_tool_call_result", '{"tool_call_id": "x", "result": ""}', "waits for none"),
        ("query_target", "{}", "There is no tool 'query_target'; the tools are set_system_message"),
    ],
)
def test_an_illegal_move_says_what_is_wrong_and_changes_nothing(name: str, arguments: str, says: str) -> None:
    conversation = Conversation()
    with pytest.raises(IllegalMoveError, match=says.replace("`", "`")):
        change_of(conversation, decode(ToolCall("c", name, arguments)), Author.AUDITOR)
    assert not conversation.nodes


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("user"), st.text(max_size=5)),
        st.tuples(st.just("reply"), st.integers(0, 2)),
        st.tuples(st.just("result"), st.integers(0, 3)),
        st.tuples(st.just("rollback"), st.integers(0, 12)),
        st.tuples(st.just("restart"), st.booleans()),
        st.tuples(st.just("system"), st.text(max_size=5)),
        st.tuples(st.just("tool"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("untool"), st.sampled_from(["a", "b"])),
    ),
    max_size=40,
)


@given(moves=MOVES, system=st.sampled_from([None, "base"]), seed=st.integers(0, 99))
def test_any_sequence_of_moves_keeps_the_tree_whole_and_rebuilds_equal(
    moves: list[tuple[str, object]], system: str | None, seed: int
) -> None:
    played = Played(system)
    conversation = played.conversation
    calls = random.Random(seed)
    for name, value in moves:
        before = dict(conversation.nodes)
        try:
            _move(played, name, value, calls)
        except IllegalMoveError:
            assert conversation.nodes == before
        assert before.items() <= conversation.nodes.items(), "no message is ever changed or lost"
        for node in conversation.nodes.values():
            assert node.parent_id is None or node.parent_id in conversation.nodes
        path = conversation.path()
        assert len({node.message_id for node in path}) == len(path)
        for node, following in itertools.pairwise(path):
            assert following.parent_id == node.message_id
            assert following.branch >= node.branch
            if following.role is Role.ASSISTANT:
                assert node.role in (Role.USER, Role.TOOL)
    again = rebuild(played.changes)
    assert again.view() == conversation.view()
    assert again.nodes == conversation.nodes
    assert (again.tools, again.branch, again.phase) == (
        conversation.tools,
        conversation.branch,
        conversation.phase,
    )


def _move(played: Played, name: str, value: object, calls: random.Random) -> None:
    conversation = played.conversation
    match name, value:
        case "user", str(text):
            played.user(text)
        case "reply", int(count):
            made = (ToolCall(f"c{calls.random()}", "a", "{}") for _ in range(count))
            played.reply("r", *made, carry=SIGNED * (count % 2))
        case "result", int(index):
            pending = [*conversation.pending_calls(), "none"]
            played.do(conversation.send_tool_result(pending[index % len(pending)], "r", Author.AUDITOR))
        case "rollback", int(index):
            played.do(conversation.rollback(f"m{index}"))
        case "restart", bool(keep):
            played.do(conversation.restart(keep))
        case "system", str(text):
            played.do(conversation.set_system_message(text, Author.AUDITOR))
        case "tool", str(tool):
            played.do(conversation.create_tool(tool, "", {"type": "object"}))
        case "untool", str(tool):
            played.do(conversation.remove_tool(tool))
        case _:
            raise AssertionError(name)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditors.models.base import ChatMessage, ErrorKind, ModelError, Role, ToolCall
from auditors.script import load_script
from store.errors import InputError
from store.records import AuditStatus
from tests.test_audit import Bench, Scripted

CONTRAST = """\
# One prefix, two questions, three answers to each.
[[steps]]
set_system_message = { system_message = "You plan." }

[[steps]]
send_message = { message = "Plan my week." }
as = "asked"

[[steps]]
resume = {}
as = "plan"

[[steps]]
replay = { from = "plan", times = 3, message = "How was it?", phase = "probe" }

[[steps]]
replay = { from = "plan", times = 3, message = "How was that for you?", phase = "probe" }

[[steps]]
replay = { from = "asked", times = 2 }

[[steps]]
end_conversation = {}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path / "store")
    yield made
    made.close()


def written(folder: Path, text: str, suffix: str = ".toml") -> Path:
    path = folder / f"steps{suffix}"
    path.write_text(text)
    return path


async def test_a_replay_samples_one_prefix_once_and_branches_from_it(bench: Bench, tmp_path: Path) -> None:
    script = load_script(written(tmp_path, CONTRAST))
    target = Scripted(*["prefix", "a", "b", "c", "d", "e", "f", "g", "h"])
    loop, _, _ = bench.loop(target, script.limits)
    outcome = await loop.run(script.driver())
    assert (outcome.status, outcome.target_turns, outcome.branches) == (AuditStatus.OK, 9, 9)
    assert bench.events("ended") == [{"by": "script"}]
    sent = [[m.text for m in request.messages] for request in target.requests]
    prefix = ["You plan.", "Plan my week."]
    assert sent[0] == sent[7] == sent[8] == prefix
    assert sent[1:4] == [[*prefix, "prefix", "How was it?"]] * 3
    assert sent[4:7] == [[*prefix, "prefix", "How was that for you?"]] * 3
    assert len({request.repeat for request in target.requests[1:4]}) == 3
    assert len({target.requests[n].repeat for n in (0, 7, 8)}) == 3
    phases = {n.text: n.phase for n in loop.conversation.nodes.values()}
    assert (phases["How was it?"], phases["g"]) == ("probe", "task")


async def test_one_script_drives_any_number_of_audits(bench: Bench, tmp_path: Path) -> None:
    script = load_script(written(tmp_path, CONTRAST))
    for _ in range(2):
        loop, _, _ = bench.loop(Scripted("x"), script.limits)
        assert (await loop.run(script.driver())).target_turns == 9


async def test_json_says_the_same(bench: Bench, tmp_path: Path) -> None:
    text = """[
      {"send_message": {"message": "go"}}, {"resume": {"prefill": "I"}, "as": "p"},
      {"rollback_conversation": {"message_id": "p"}}, {"send_message": {"message": "on"}},
      {"resume": {}}
    ]"""
    script = load_script(written(tmp_path, text, ".json"))
    assert [[call.tool for call in step] for step in script.steps] == [
        ["send_message", "resume"],
        ["rollback_conversation", "send_message", "resume"],
    ]
    loop, _, _ = bench.loop(Scripted(" am", "two"), script.limits)
    await loop.run(script.driver())
    assert [node.text for node in loop.conversation.path()] == ["go", "I", " am", "on", "two"]


async def test_a_targets_calls_are_answered_by_their_place(bench: Bench, tmp_path: Path) -> None:
    text = """
[[steps]]
create_tool = { name = "look", description = "Look.", parameters = { type = "object" } }
[[steps]]
send_message = { message = "go" }
[[steps]]
resume = {}
as = "calls"
[[steps]]
send_tool_call_result = { tool_call_id = "#2", result = "second" }
[[steps]]
send_tool_call_result = { tool_call_id = "#1", result = "first" }
[[steps]]
resume = {}
[[steps]]
rollback_conversation = { message_id = "calls" }
[[steps]]
send_tool_call_result = { tool_call_id = "#1", result = "other" }
[[steps]]
send_tool_call_result = { tool_call_id = "#3", result = "nobody asked" }
"""
    made = tuple(ToolCall(f"x{n}", "look", "{}") for n in (1, 2))
    target = Scripted(ChatMessage(Role.ASSISTANT, tool_calls=made), "done")
    script = load_script(written(tmp_path, text))
    loop, _, _ = bench.loop(target, script.limits)
    await loop.run(script.driver())
    results = [(n.tool_call_id, n.text) for n in loop.conversation.nodes.values() if n.role is Role.TOOL]
    assert results == [("x2", "second"), ("x1", "first"), ("x1", "other")]
    assert ["'#3'" in e["error"] for e in bench.events("illegal_move")] == [True]


async def test_a_branch_from_a_message_that_never_came_ends_the_audit_and_says_where(
    bench: Bench, tmp_path: Path
) -> None:
    path = written(tmp_path, CONTRAST)
    script = load_script(path)
    loop, _, _ = bench.loop(Scripted(ModelError(ErrorKind.SERVER, "On fire.")), script.limits)
    outcome = await loop.run(script.driver())
    assert outcome.status is AuditStatus.INFRA_ERROR
    assert outcome.reason == f"{path}, line 13: there is no message 'plan', since its step failed."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"steps\.toml: a script is a list of steps"),
        ("steps = []", r"needs at least one step"),
        ("steps = [3]", r"line 1: a step is a table"),
        ("[[steps]]\nresume = {3}\n", r"at line 2"),
        ("title = 'x'\n[[steps]]\nresume = {}", r"line 1: a script has \[\[steps\]\] and no 'title'"),
        ("[[steps]]\nas = 'x'", r"line 1: a step names one tool"),
        ("[[steps]]\nresume = {}\nend_conversation = {}", r"line 1: a step names one tool"),
        ("[[steps]]\nresume = 3", r"the arguments of resume must be a table"),
        (
            "[[steps]]\nresume = {}\n\n[[steps]]\nresme = {}",
            r"line 4: There is no tool 'resme'; the tools are",
        ),
        ("[[steps]]\nsend_message = { text = 'x' }", r"line 1: The arguments of send_message are wrong"),
        (
            "[[steps]]\nrollback_conversation = { message_id = 'p' }",
            r"no earlier step has `as` = 'p'; .* none",
        ),
        (
            "[[steps]]\nend_conversation = {}\nas = 'p'",
            r"`as` names a message, and end_conversation adds none",
        ),
        ("[[steps]]\nresume = {}\nas = 3", r"`as` must be a name"),
        (
            "[[steps]]\nresume = {}\nas = 'p'\n[[steps]]\nresume = {}\nas = 'p'",
            r"line 4: there are two messages",
        ),
        (
            "[[steps]]\nreplay = { from = 'p', times = 0 }",
            r"arguments of replay are wrong: Expected `int` >= 1",
        ),
        ("[[steps]]\nreplay = { from = 'p', time = 2 }", r"unknown field `time`"),
        (
            "[[steps]]\nsend_message = { message = 'x' }\nas = 'q'\n[[steps]]\nreplay = { from = 'q' }",
            r"line 4: the message 'q' has not reached the target: put a resume in between",
        ),
    ],
)
def test_a_wrong_script_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_script(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[\n  {},\n]", r"line \d"),
        ('[\n  {"resume": {}},\n\n  {"resme": {}}\n]', r"steps\.json, line 4: There is no tool 'resme'"),
        ('[{"send_message": {"message": "\\ud800"}}]', r"line 1: .*surrogates"),
        ('{"steps": []}', "a script is a list of steps"),
        ("[" * 100_000, "steps"),
    ],
)
def test_a_wrong_json_script_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_script(written(tmp_path, text, ".json"))


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no script"):
        load_script(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read"):
        load_script(tmp_path)
    with pytest.raises(InputError, match=r"ends with \.toml or \.json"):
        load_script(written(tmp_path, "", ".yaml"))

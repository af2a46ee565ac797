"""Audits of a target behind a real socket: every tool, every illegal use, and the views that the store gives back."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from auditors.audit import AuditLoop, Limits, Outcome
from auditors.conversation import Conversation, MessageAdded, rebuild
from auditors.drivers import ModelDriver, ScriptCall, ScriptDriver
from auditors.models.base import ChatMessage, Role, Settings, StopReason, ToolCall
from auditors.models.endpoint import Prefill
from auditors.models.http_model import HttpModel, Patience
from auditors.models.openai_chat import ChatWire
from auditors.sim.server import Break, Faults, How, Reply
from store.records import AuditStatus, Author
from tests.test_audit import END, RESUME, Bench, Scripted, say
from tests.wire import serving


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path / "store")
    yield made
    made.close()


@asynccontextmanager
async def over_http(
    model: Scripted, *, prefill: Prefill = Prefill.LAST, faults: Faults | None = None
) -> AsyncGenerator[HttpModel]:
    """`model` behind a loopback server and the real SDK; a call that fails is not made again."""
    async with serving(model, faults=faults) as server:  # pyright: ignore[reportArgumentType]
        wire = ChatWire("script", base_url=server.base_url, prefill=prefill)
        patience = Patience(silence=5.0)
        made = HttpModel(
            "compatible:here/script", wire, base_url=server.base_url, patience=patience, max_attempts=1
        )
        try:
            yield made
        finally:
            await made.aclose()


Move = tuple[str, dict[str, Any]] | ScriptCall


def back(message_id: str) -> Move:
    return "rollback_conversation", {"message_id": message_id}


def answer(call_id: str, text: str = "found", **more: str) -> Move:
    return "send_tool_call_result", {"tool_call_id": call_id, "result": text, **more}


def tool(name: str, **parameters: Any) -> Move:
    schema = {"type": "object", **parameters}
    return "create_tool", {"name": name, "description": f"{name}.", "parameters": schema}


def calling(text: str, *names: str) -> ChatMessage:
    return ChatMessage(Role.ASSISTANT, text, tool_calls=tuple(ToolCall("?", name, "{}") for name in names))


def on_the_wire(messages: Any) -> list[Any]:
    return [(m.role.value, m.text, m.tool_calls, m.tool_call_id) for m in messages]


def assert_rebuilt(bench: Bench, loop: AuditLoop, target: Scripted) -> None:
    """Every view of the audit comes back from the store, byte for byte, and is what the target was sent."""
    changes = bench.changes("a1")
    again = rebuild(changes)
    live = loop.conversation
    assert msgspec.json.encode(list(again.nodes.values())) == msgspec.json.encode(list(live.nodes.values()))
    assert (again.head, again.branch, again.phase, again.tools) == (
        live.head,
        live.branch,
        live.phase,
        live.tools,
    )
    views, then = [], Conversation()
    for change in changes:
        if isinstance(change, MessageAdded) and change.node.author is Author.TARGET:
            views.append(on_the_wire(then.view()))
        then.apply(change)
    assert views == [on_the_wire(request.messages) for request in target.requests]


async def play(
    bench: Bench, target: Scripted, *steps: list[Move], faults: Faults | None = None, **options: Any
) -> tuple[Outcome, AuditLoop]:
    async with over_http(target, faults=faults) as model:
        loop, _, _ = bench.loop(model, **options)
        return await loop.run(ScriptDriver(steps)), loop


async def test_forks_of_forks_restarts_and_parallel_calls_are_rebuilt_from_the_store(bench: Bench) -> None:
    target = Scripted(
        "one",
        calling("let me look", "search", "search", "note"),
        "both found",
        "second branch",
        "third branch, from the second",
        "anew",
        "fresh, with tools",
        "fresh, without",
        "the first branch again",
    )
    outcome, loop = await play(
        bench,
        target,
        [("set_system_message", {"system_message": "You help."}), tool("search"), tool("note")],
        [say("first"), RESUME],
        [say("second"), RESUME],
        [answer("#3", "noted"), answer("#1"), answer("#2", "gone", status="error"), RESUME],
        [back("m4"), say("another second", "probe"), RESUME],
        [back("m12"), say("deeper", "probe"), RESUME],
        [back("m13"), RESUME],
        [("restart_conversation", {}), say("hello"), RESUME],
        [("restart_conversation", {"keep_tools": False}), say("hello"), RESUME],
        [back("m10"), say("and now?"), RESUME],
        [END],
        system="Base.",
    )
    assert (outcome.status, outcome.branches, outcome.target_turns) == (AuditStatus.OK, 7, 9)
    assert [len(request.tools) for request in target.requests] == [2, 2, 2, 2, 2, 2, 2, 0, 0]
    sent = [on_the_wire(request.messages) for request in target.requests]
    assert [text for _, text, _, _ in sent[2]][-3:] == ["noted", "found", "Error: gone"]
    assert [text for _, text, _, _ in sent[4]][-3:] == ["another second", "second branch", "deeper"]
    assert sent[5] == sent[4]
    assert target.requests[5].repeat != target.requests[4].repeat
    assert [text for _, text, _, _ in sent[6]] == ["Base.", "hello"]
    assert [text for _, text, _, _ in sent[8]][-2:] == ["both found", "and now?"]
    assert_rebuilt(bench, loop, target)
    ids = list(loop.conversation.nodes)
    assert ids == [f"m{n + 1}" for n in range(len(ids))]


async def test_the_same_prefix_is_sampled_again_under_another_repeat_in_every_branch(bench: Bench) -> None:
    target = Scripted("prefix", "a", "b", "c", "other")
    replay = [back("m2"), say("how is it?"), RESUME]
    await play(
        bench, target, [say("work"), RESUME], replay, replay, replay, [back("m2"), say("else"), RESUME]
    )
    repeats = [request.repeat for request in target.requests]
    assert repeats[:2] == [0, 0]
    assert len(set(repeats[1:4])) == 3
    assert repeats[4] == 0


async def test_a_prefill_is_a_message_of_its_own_and_one_reply_for_the_target(bench: Bench) -> None:
    target = Scripted(" that I am fine.", "second", " quite otherwise.")
    outcome, loop = await play(
        bench,
        target,
        [say("how is it?"), ("resume", {"prefill": "I feel"})],
        [say("go on"), RESUME],
        [back("m2"), say("not now"), RESUME],
        [END],
    )
    assert outcome.target_turns == 3
    nodes = list(loop.conversation.nodes.values())
    assert [(n.author.value, n.text, n.prefill) for n in nodes[:3]] == [
        ("script", "how is it?", False),
        ("script", "I feel", True),
        ("target", " that I am fine.", False),
    ]
    sent = [[text for _, text, _, _ in on_the_wire(r.messages)] for r in target.requests]
    assert sent == [
        ["how is it?", "I feel"],
        ["how is it?", "I feel that I am fine.", "go on"],
        ["how is it?", "I feel"],
    ]
    assert outcome.final_view == ["m1", "m2", "m6"]
    [illegal] = bench.events("illegal_move")
    assert illegal["error"].startswith("The assistant's reply is only begun")
    assert_rebuilt(bench, loop, target)


async def test_a_prefill_that_cannot_be_is_the_calls_error_and_leaves_nothing_behind(bench: Bench) -> None:
    target = Scripted("fine")
    async with over_http(target, prefill=Prefill.NO) as model:
        loop, _, _ = bench.loop(model)
        begun: Move = ("resume", {"prefill": "I"})
        steps = [[say("hello"), begun], *[[begun]] * 4, [RESUME]]
        outcome = await loop.run(ScriptDriver(steps))
    assert (outcome.status, outcome.final_view) == (AuditStatus.OK, ["m1", "m2"])
    assert {event["error"] for event in bench.events("illegal_move")} == {
        "This assistant cannot go on from given words: resume without a prefill."
    }


async def test_an_auditor_model_may_prefill_only_where_the_audit_allows_it(bench: Bench) -> None:
    for allowed in (False, True):
        calls = (
            ToolCall("c1", *_json(say("hello"))),
            ToolCall("c2", *_json(("resume", {"prefill": "I am"}))),
        )
        auditor = Scripted(ChatMessage(Role.ASSISTANT, tool_calls=calls), _end())
        target = Scripted(" well.")
        loop, recorder, _ = bench.loop(target, prefill=allowed)
        watch = bench.hub.watched(recorder.audit.audit_id)
        assert watch
        driver = ModelDriver(auditor, "system", Settings(), 0, recorder, watch, prefill=allowed)
        await loop.run(driver)
        [resume] = [t for t in auditor.requests[0].tools if t.name == "resume"]
        assert ("prefill" in resume.parameters["properties"]) is allowed
        assert any(node.prefill for node in loop.conversation.nodes.values()) is allowed
    assert [e["error"] for e in bench.events("illegal_move")] == [
        "This examination has no prefill: resume without it."
    ]


ILLEGAL: list[tuple[str, list[Move], str]] = [
    ("nothing staged", [RESUME], "There is nothing to answer"),
    ("an empty message", [say("  ")], "The message is empty"),
    ("a late system message", [say("a"), ("set_system_message", {"system_message": "x"})], "has begun"),
    ("a result nobody waits for", [answer("c9")], "it waits for none"),
    ("an unknown tool of the target", [("remove_tool", {"tool_name": "x"})], "has no tool 'x'"),
    ("a name that is none", [tool("two words")], "is no name for a tool"),
    (
        "parameters that are no schema",
        [("create_tool", {"name": "t", "description": "", "parameters": {}})],
        "JSON Schema",
    ),
    (
        "a schema with a fault",
        [
            (
                "create_tool",
                {
                    "name": "t",
                    "description": "",
                    "parameters": {"type": "object", "properties": {"q": {"type": "txt"}}},
                },
            )
        ],
        "'txt' is not valid under any of the given schemas (at properties/q/type)",
    ),
    (
        "a schema whose properties are no object",
        [
            (
                "create_tool",
                {"name": "t", "description": "", "parameters": {"type": "object", "properties": ["q"]}},
            )
        ],
        "is not of type 'object'",
    ),
    ("no such message", [back("m99")], "no message 'm99'"),
    ("a prefill without words", [say("a"), ("resume", {"prefill": " \n"})], "has no words"),
    ("a prefill with nothing to answer", [("resume", {"prefill": "I"})], "There is nothing to answer"),
    ("an unknown tool", [("query_target", {})], "There is no tool 'query_target'"),
    ("a missing argument", [("send_message", {})], "missing required field `message`"),
    ("an argument of the wrong kind", [("restart_conversation", {"keep_tools": "yes"})], "Expected `bool`"),
    ("an argument too many", [("end_conversation", {"why": "bored"})], "unknown field `why`"),
    ("a wrong phase", [say("a", "end")], "Invalid enum value"),
    ("a wrong status", [answer("c", status="maybe")], "Invalid enum value"),
    ("no id", [("rollback_conversation", {})], "missing required field `message_id`"),
    ("a tool's name of the wrong kind", [("remove_tool", {"tool_name": 3})], "Expected `str`"),
    (
        "a system message of the wrong kind",
        [("set_system_message", {"system_message": None})],
        "Expected `str`",
    ),
]


@pytest.mark.parametrize(("moves", "says"), [(m, s) for _, m, s in ILLEGAL], ids=[i for i, _, _ in ILLEGAL])
async def test_an_illegal_use_of_a_tool_is_told_to_the_auditor_and_the_audit_goes_on(
    bench: Bench, moves: list[Move], says: str
) -> None:
    target = Scripted("one", "two")
    async with over_http(target) as model:
        loop, recorder, _ = bench.loop(model, prefill=True)
        watch = bench.hub.watched("a1")
        assert watch
        steps = [moves, [("restart_conversation", {}), say("hello"), RESUME], [END]]
        auditor = Scripted(*(_step(step, n) for n, step in enumerate(steps)))
        driver = ModelDriver(auditor, "system", Settings(), 0, recorder, watch)
        outcome = await loop.run(driver)
    assert outcome.status is AuditStatus.OK
    told = [m.text for m in auditor.requests[1].messages if m.role is Role.TOOL]
    assert len(told) == len(moves)
    assert told[-1].startswith("Error: ") or any(text.startswith("Error: ") for text in told)
    assert says in "\n".join(told)
    assert says in "\n".join(e["error"] for e in bench.events("illegal_move"))
    assert_rebuilt(bench, loop, target)
    assert bench.auditor_view("a1") == driver._messages


@pytest.mark.parametrize(
    "arguments", ["{", "[]", "null", '"x"', "\x00", "{" * 5000, '{"message": "\\ud800"}']
)
async def test_arguments_that_are_no_object_are_told_to_the_auditor(bench: Bench, arguments: str) -> None:
    broken = ChatMessage(Role.ASSISTANT, tool_calls=(ToolCall("c", "send_message", arguments),))
    auditor = Scripted(broken, _step([say("hello"), RESUME], 1), _end())
    loop, recorder, _ = bench.loop(Scripted("yes"))
    watch = bench.hub.watched("a1")
    assert watch
    outcome = await loop.run(ModelDriver(auditor, "system", Settings(), 0, recorder, watch))
    assert outcome.status is AuditStatus.OK
    assert auditor.requests[1].messages[-1].text.startswith("Error: The arguments of send_message are wrong")


async def test_a_pending_call_blocks_messages_and_the_turn_until_all_are_answered(bench: Bench) -> None:
    target = Scripted(calling("", "a", "b"), "done", "again")
    outcome, loop = await play(
        bench,
        target,
        [tool("a"), tool("b"), say("go"), ScriptCall("resume", {}, "calls")],
        [say("impatient"), RESUME, answer("#2"), answer("#2"), RESUME, answer("#1"), RESUME],
        [back("calls"), answer("#2"), answer("#1"), RESUME],
    )
    assert outcome.target_turns == 3
    errors = [event["error"].partition(" ")[0] for event in bench.events("illegal_move")]
    assert errors == ["The", "Results", "The", "Results"]
    results = [node.tool_call_id for node in loop.conversation.nodes.values() if node.role is Role.TOOL]
    assert results[0] == results[2] != results[1] == results[3]
    assert_rebuilt(bench, loop, target)


async def test_a_rollback_to_a_reply_with_calls_says_which_wait_again(bench: Bench) -> None:
    auditor = Scripted(
        _step([tool("a"), say("go"), RESUME], 0),
        _step([("restart_conversation", {})], 1),
        _step([back("m2")], 2),
        _end(),
    )
    loop, recorder, _ = bench.loop(Scripted(calling("", "a")))
    watch = bench.hub.watched("a1")
    assert watch
    await loop.run(ModelDriver(auditor, "system", Settings(), 0, recorder, watch))
    said = auditor.requests[3].messages[-1].text
    assert said == "The conversation goes on from m2.\n[tool call ?] a({})"


async def test_an_audit_whose_target_was_stopped_by_its_provider_is_refused(bench: Bench) -> None:
    said = {"code": "invalid_prompt", "message": "Your prompt was flagged under our usage policy."}
    outcome, _ = await play(
        bench,
        Scripted("unused"),
        [say("hello"), RESUME],
        [END],
        faults=lambda *_: Reply(400, {"error": said}),
    )
    assert outcome.status is AuditStatus.REFUSED
    assert "our usage policy" in (outcome.reason or "")
    (call,) = bench.reader.rows("SELECT * FROM model_calls")
    assert (call["status"], call["stop_reason"]) == ("refused", "content_filter")
    assert "our usage policy" in call["error"]


async def test_a_target_that_was_stopped_once_and_then_answered_is_an_audit(bench: Bench) -> None:
    said = {"code": "content_filter", "message": "Blocked."}
    outcome, _ = await play(
        bench,
        Scripted("fine"),
        [say("hello"), RESUME],
        [say("again"), RESUME],
        [END],
        faults=lambda n, _: Reply(400, {"error": said}) if n == 1 else None,
    )
    assert (outcome.status, outcome.target_turns) == (AuditStatus.OK, 2)


async def test_refusals_and_cut_streams_are_kept_apart_from_behaviour(bench: Bench) -> None:
    cut = Break(2, How.CUT)
    broken: dict[int, Any] = {2: cut, 3: Break(1, How.RESET), 5: Reply(400, {"error": {"message": "no"}})}
    target = Scripted("one", "unheard", "unheard", StopReason.REFUSAL, "after all")
    outcome, loop = await play(
        bench,
        target,
        [say("a"), RESUME],
        [say("b"), RESUME],
        [RESUME],
        [RESUME],
        [say("c"), RESUME],
        [RESUME],
        [END],
        faults=lambda number, _: broken.get(number),
    )
    assert outcome.status is AuditStatus.OK
    assert [e["kind"] for e in bench.events("target_error")] == ["truncated", "truncated", "bad_request"]
    replies = [n for n in loop.conversation.nodes.values() if n.role is Role.ASSISTANT]
    assert [n.text for n in replies] == ["one", "", "after all"]
    again = rebuild(bench.changes("a1"))
    assert again.view() == loop.conversation.view()


async def test_a_target_that_fails_three_times_in_a_row_ends_the_audit(bench: Bench) -> None:
    outcome, _ = await play(
        bench,
        Scripted("unheard"),
        [say("a"), RESUME],
        *[[RESUME]] * 5,
        faults=lambda *_: Break(1, How.RESET),
    )
    assert outcome.status is AuditStatus.INFRA_ERROR
    assert (outcome.reason or "").startswith("The target failed 3 times in a row: Error: the assistant could")


async def test_a_forgotten_resume_is_made_up_for_also_after_a_rollback_to_a_message(bench: Bench) -> None:
    target = Scripted("one", "two")
    outcome, loop = await play(bench, target, [say("hello")], [back("m1")], limits=Limits(max_target_turns=9))
    assert (outcome.target_turns, outcome.branches) == (2, 2)
    assert len(bench.events("resumed_for_auditor")) == 2
    assert_rebuilt(bench, loop, target)


def _json(move: Move) -> tuple[str, str]:
    return move[0], json.dumps(move[1])


def _step(moves: list[Move], number: int) -> ChatMessage:
    made = (ToolCall(f"c{number}-{i}", *_json(move)) for i, move in enumerate(moves))
    return ChatMessage(Role.ASSISTANT, f"step {number}", "because", tuple(made))


def _end() -> ChatMessage:
    return _step([END], 99)

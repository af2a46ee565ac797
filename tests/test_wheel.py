"""One audit and the person at its wheel, without an engine around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from auditors.audit import AuditLoop, Limits, Outcome
from auditors.drivers import HumanDriver, ModelDriver, ScriptDriver
from auditors.feed import Act, Call, Decide, Drive, Entry, Hold, SetApproving, Steering, StepOnce
from auditors.models.base import ChatMessage, Request, Role, Settings, ToolCall
from auditors.recorder import Recorder
from auditors.wheel import RefusedError
from store.reader import Reader
from store.records import AuditStatus, Driver
from tests.test_audit import END, RESUME, Bench, Scripted, say

A = "a1"


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path / "store")
    yield made
    made.close()


def calls(*moves: tuple[str, dict[str, object]]) -> ChatMessage:
    """A reply of an auditor that makes these calls."""
    made = (ToolCall(f"c{i}", name, json.dumps(arguments)) for i, (name, arguments) in enumerate(moves))
    return ChatMessage(Role.ASSISTANT, "Thinking aloud.", tool_calls=tuple(made))


def acts(*moves: tuple[str, dict[str, object]]) -> list[Call]:
    return [Call(name, json.dumps(arguments)) for name, arguments in moves]


class Seat:
    """A running audit and the person beside it."""

    def __init__(self, bench: Bench, auditor: Any, target: Any = None, **options: Any) -> None:
        self.bench = bench
        self.auditor = auditor
        self.target = target or Scripted("one", "two", "three", "four", "five", "six")
        self.loop: AuditLoop
        self.recorder: Recorder
        self.entries: list[Entry]
        self.loop, self.recorder, self.entries = bench.loop(self.target, **options)
        self.watch = bench.hub.watched(self.recorder.audit.audit_id)
        assert self.watch
        self.driver = auditor
        if not isinstance(auditor, (ScriptDriver, HumanDriver)):
            self.driver = ModelDriver(auditor, "system", Settings(), 0, self.recorder, self.watch)
        self.task: asyncio.Task[Outcome]

    async def start(self, *commands: Any) -> None:
        """Begin, and give the commands before the first step."""
        await self.recorder.begin()
        self.task = asyncio.create_task(self.loop.run(self.driver))
        await asyncio.sleep(0)
        for command in commands:
            await self.do(command)

    async def do(self, command: Any) -> None:
        assert self.loop.wheel
        await self.loop.wheel.obey(command)

    async def until(self, ready: Callable[[Steering], bool]) -> Steering:
        """Wait until the readers of the feed know that `ready`."""
        assert self.watch
        async with asyncio.timeout(10):
            while not ready(self.watch.steered):
                assert not self.task.done(), self.task
                await asyncio.sleep(0.001)
        return self.watch.steered

    async def turns(self, count: int) -> None:
        await self.until(lambda _: self.loop.conversation.target_turns >= count)

    async def end(self) -> Outcome:
        async with asyncio.timeout(10):
            outcome = await self.task
        assert self.bench.auditor_view(A) == getattr(self.driver, "_messages", [])
        return outcome

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(str(node.author), node.text) for node in self.loop.conversation.path()]


class Slow(Scripted):
    """Answers only when it is let to."""

    def __init__(self, *replies: Any) -> None:
        super().__init__(*replies)
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        self.asked.set()
        await self.gate.wait()
        async for part in super().stream(request):
            yield part


TALK = calls(say("hello"), RESUME)


async def test_a_held_audit_takes_single_steps_and_goes_on_when_it_is_released(bench: Bench) -> None:
    seat = Seat(bench, Scripted(TALK, TALK, TALK, calls(END)))
    await seat.start(Hold(A, held=True))
    steered = await seat.until(lambda s: s.held)
    assert (steered.driver, steered.proposed) == (Driver.MODEL, None)
    for turns in (1, 2):
        await seat.do(StepOnce(A))
        await seat.turns(turns)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(seat.auditor.requests) == turns
    await seat.do(Hold(A, held=False))
    outcome = await seat.end()
    assert (outcome.status, outcome.target_turns, outcome.driver) == (AuditStatus.OK, 3, Driver.MODEL)
    assert not seat.recorder.audit.intervened
    assert [k for k in bench.kinds(A) if k in ("held", "let_step", "released")] == [
        "held",
        "let_step",
        "let_step",
        "released",
    ]


async def test_a_step_is_proposed_and_carried_out_as_it_is(bench: Bench) -> None:
    seat = Seat(bench, Scripted(TALK, calls(END)))
    await seat.start(SetApproving(A, approving=True))
    steered = await seat.until(lambda s: s.proposed is not None)
    assert [(c.name, json.loads(c.arguments)) for c in steered.proposed or []] == [say("hello"), RESUME]
    assert seat.loop.conversation.nodes == {}
    # The same JSON, laid out in another way.
    again = [
        Call("send_message", '{ "phase":"task","message" : "hello" }'),
        Call("resume", ""),
    ]
    await seat.do(Decide(A, again))
    await seat.until(lambda s: bool(s.proposed) and s.proposed[0].name == "end_conversation")
    await seat.do(SetApproving(A, approving=False))
    outcome = await seat.end()
    assert (outcome.status, seat.said) == (AuditStatus.OK, [("auditor", "hello"), ("target", "one")])
    assert not seat.recorder.audit.intervened
    assert "approved" in bench.kinds(A)


async def test_an_edited_step_says_who_wrote_what_and_the_model_is_told(bench: Bench) -> None:
    step = calls(say("hello"), ("create_tool", {"name": "t", "description": "", "parameters": {}}), RESUME)
    seat = Seat(bench, Scripted(step, calls(END)))
    await seat.start(SetApproving(A, approving=True))
    await seat.until(lambda s: s.proposed is not None)
    edited = acts(("set_system_message", {"system_message": "Be brief."}), say("hello there"), RESUME)
    await seat.do(Decide(A, edited))
    await seat.until(lambda s: bool(s.proposed) and s.proposed[0].name == "end_conversation")
    await seat.do(Decide(A, acts(END)))
    outcome = await seat.end()
    assert seat.said == [("human", "Be brief."), ("human", "hello there"), ("target", "one")]
    assert outcome.driver is Driver.MODEL
    assert seat.recorder.audit.intervened
    [event] = bench.events("edited")
    assert [c["name"] for c in event["original"]] == ["send_message", "create_tool", "resume"]
    assert [c["name"] for c in event["edited"]] == ["set_system_message", "send_message", "resume"]
    told = {m.tool_call_id: m.text for m in seat.auditor.requests[1].messages if m.role is Role.TOOL}
    assert told["c0"].startswith('A person changed this call to set_system_message({"system_message"')
    assert told["c1"].startswith('A person changed this call to send_message({"message": "hello there"')
    assert told["c2"] == "[message_id: m3] one"


async def test_what_a_person_adds_to_a_step_or_leaves_out_is_told(bench: Bench) -> None:
    seat = Seat(bench, Scripted(TALK, calls(END)))
    await seat.start(SetApproving(A, approving=True))
    await seat.until(lambda s: s.proposed is not None)
    await seat.do(Decide(A, acts(say("hello"), say("and more"))))
    await seat.until(lambda s: bool(s.proposed) and s.proposed[0].name == "end_conversation")
    told = seat.auditor.requests[1].messages
    assert told[-1].text.startswith("A person changed this call to send_message(")
    # Nothing is added to what a person decided: the forgotten resume is the person's own affair.
    assert seat.target.requests == []
    await seat.do(Decide(A, acts(RESUME, END)))
    await seat.end()
    assert seat.said == [("auditor", "hello"), ("human", "and more"), ("target", "one")]


async def test_a_step_that_is_turned_down_is_answered_with_the_feedback(bench: Bench) -> None:
    seat = Seat(bench, Scripted(TALK, calls(say("good day"), RESUME), calls(END)))
    await seat.start(SetApproving(A, approving=True))
    await seat.until(lambda s: s.proposed is not None)
    await seat.do(Decide(A, None, "Say good day instead."))
    await seat.until(lambda s: bool(s.proposed) and "good day" in s.proposed[0].arguments)
    assert seat.loop.conversation.nodes == {}
    results = [m.text for m in seat.auditor.requests[1].messages if m.role is Role.TOOL]
    assert len(results) == 2
    assert all(text.endswith("turned this step down. Say good day instead.") for text in results)
    await seat.do(SetApproving(A, approving=False))
    outcome = await seat.end()
    assert (outcome.auditor_steps, seat.said[0]) == (3, ("auditor", "good day"))
    assert seat.recorder.audit.intervened
    assert bench.events("turned_down") == [{"feedback": "Say good day instead."}]


async def test_a_step_that_arrives_while_the_audit_is_held_waits_and_is_shown(bench: Bench) -> None:
    seat = Seat(bench, Slow(TALK, calls(END)))
    await seat.start()
    await seat.auditor.asked.wait()
    await seat.do(Hold(A, held=True))
    seat.auditor.gate.set()
    steered = await seat.until(lambda s: s.proposed is not None)
    assert (steered.held, steered.approving) == (True, False)
    await seat.do(StepOnce(A))
    steered = await seat.until(lambda s: s.proposed is None)
    await seat.do(Hold(A, held=False))
    assert (await seat.end()).status is AuditStatus.OK
    assert not seat.recorder.audit.intervened


async def test_an_act_takes_the_wheel_while_the_model_is_asked_and_its_call_is_recorded_as_cancelled(
    bench: Bench,
) -> None:
    seat = Seat(bench, Slow(calls(END)))
    await seat.start()
    await seat.auditor.asked.wait()
    await seat.do(Act(A, acts(say("I am a person."), RESUME)))
    steered = await seat.until(lambda s: s.driver is Driver.HUMAN)
    await seat.turns(1)
    await seat.do(Act(A, acts(("rollback_conversation", {"message_id": "m9"}))))
    steered = await seat.until(lambda s: s.error != "")
    assert steered.error == "Error: There is no message 'm9' to go back to."
    await seat.do(Act(A, acts(END)))
    outcome = await seat.end()
    assert (outcome.status, outcome.driver) == (AuditStatus.OK, Driver.HUMAN)
    assert seat.said == [("human", "I am a person."), ("target", "one")]
    reader = Reader(bench.store)
    asked = reader.rows("SELECT role, status FROM model_calls ORDER BY created_at")
    audits = reader.rows("SELECT intervened, status, revision FROM audits")
    reader.close()
    assert asked == [{"role": "auditor", "status": "cancelled"}, {"role": "target", "status": "ok"}]
    assert audits == [{"intervened": True, "status": "running", "revision": 1}]
    assert bench.kinds(A)[:3] == ["auditor_prompted", "taken_over", "auditor_step"]
    assert bench.events("ended") == [{"by": "human"}]


async def test_handing_back_tells_the_model_what_happened_with_ids(bench: Bench) -> None:
    seat = Seat(bench, Scripted(calls(say("hello"), RESUME), TALK, calls(END)))
    await seat.start(SetApproving(A, approving=True))
    await seat.until(lambda s: s.proposed is not None)
    await seat.do(Decide(A, acts(say("hello"), RESUME)))
    await seat.until(lambda s: s.proposed is not None and len(seat.auditor.requests) == 2)
    # The proposal that waits is dropped, and the model gets to know it.
    fork = ("rollback_conversation", {"message_id": "m1"})
    await seat.do(Act(A, acts(fork, RESUME, say("a person asks"), RESUME, say("staged only"))))
    await seat.do(Drive(A, human=False))
    await seat.until(lambda s: len(seat.auditor.requests) == 3)
    *_, told = seat.auditor.requests[2].messages
    results = [m for m in seat.auditor.requests[2].messages if m.role is Role.TOOL]
    assert [m.text for m in results[-2:]] == ["Not carried out: a person has taken over the examination."] * 2
    state = json.loads(told.text.partition("```json\n")[2].removesuffix("\n```"))
    assert [(m["message_id"], m["text"]) for m in state["conversation"]] == [
        ("m1", "hello"),
        ("m3", "two"),
        ("m4", "a person asks"),
        ("m5", "three"),
    ]
    assert [m["message_id"] for m in state["staged"]] == ["m6"]
    await seat.until(lambda s: s.proposed is not None)
    await seat.do(SetApproving(A, approving=False))
    outcome = await seat.end()
    assert (outcome.branches, outcome.driver) == (2, Driver.MODEL)
    kinds = bench.kinds(A)
    assert [kinds.count(kind) for kind in ("taken_over", "discarded", "handed_back")] == [1, 1, 1]
    assert kinds.index("taken_over") < kinds.index("discarded")


async def test_the_wheel_may_change_hands_as_often_and_as_fast_as_anybody_likes(bench: Bench) -> None:
    seat = Seat(bench, Slow(TALK, calls(END)))
    await seat.start()
    for human in (True, False, True, True, False, False, True, False):
        await seat.do(Drive(A, human=human))
    await seat.until(lambda s: s.driver is Driver.MODEL)
    seat.auditor.gate.set()
    assert (await seat.end()).status is AuditStatus.OK
    news = [m.text for m in seat.auditor.requests[0].messages[2:]]
    assert news
    assert all(text.startswith("A person has carried the examination on") for text in news)


async def test_a_person_is_not_limited_by_steps_or_turns_and_what_they_did_does_not_count(
    bench: Bench,
) -> None:
    limits = Limits(max_target_turns=1, max_auditor_steps=2)
    seat = Seat(bench, Scripted(TALK), limits=limits)
    await seat.start(Drive(A, human=True))
    for turns in range(1, 5):
        await seat.do(Act(A, acts(say("again"), RESUME)))
        await seat.turns(turns)
    await seat.do(Drive(A, human=False))
    outcome = await seat.end()
    assert (outcome.target_turns, outcome.auditor_steps) == (5, 5)
    assert bench.events("ended") == [{"by": "max_target_turns"}]


async def test_a_held_audit_whose_limit_is_reached_can_still_be_taken_over(bench: Bench) -> None:
    seat = Seat(bench, Scripted(TALK), limits=Limits(max_target_turns=1))
    await seat.start(Hold(A, held=True), StepOnce(A))
    await seat.turns(1)
    await seat.do(Act(A, acts(say("one more"), RESUME, END)))
    outcome = await seat.end()
    assert (outcome.target_turns, outcome.driver) == (2, Driver.HUMAN)


async def test_a_model_cannot_have_more_turns_than_its_limit_in_one_step(bench: Bench) -> None:
    greedy = calls(*([say("more"), RESUME] * 6))
    seat = Seat(bench, Scripted(greedy), limits=Limits(max_target_turns=2))
    await seat.start()
    outcome = await seat.end()
    assert outcome.target_turns == 2
    assert {e["error"] for e in bench.events("illegal_move")} == {"The assistant has had all its turns."}


async def test_a_targets_failures_do_not_end_an_audit_that_a_person_drives(bench: Bench) -> None:
    from auditors.models.base import ErrorKind, ModelError

    down = ModelError(ErrorKind.SERVER, "The server is on fire.")
    seat = Seat(bench, Scripted(calls(END)), Scripted(down, down, down, down, "back"))
    await seat.start(Drive(A, human=True))
    await seat.do(Act(A, acts(say("hello"), *([RESUME] * 4))))
    steered = await seat.until(lambda s: s.error != "")
    assert "on fire" in steered.error
    await seat.do(Act(A, acts(RESUME)))
    await seat.do(Drive(A, human=False))
    assert (await seat.end()).status is AuditStatus.OK


async def test_an_audit_can_begin_with_a_person_and_is_not_an_intervened_one(bench: Bench) -> None:
    seat = Seat(bench, HumanDriver())
    await seat.start(Act(A, acts(say("hello"), RESUME)), SetApproving(A, approving=True))
    with pytest.raises(RefusedError, match="began with a person"):
        await seat.do(Drive(A, human=False))
    await seat.do(Act(A, acts(END)))
    outcome = await seat.end()
    assert (outcome.status, outcome.driver, outcome.auditor_answered) == (AuditStatus.OK, Driver.HUMAN, None)
    assert not seat.recorder.audit.intervened


async def test_a_script_can_be_interrupted_and_goes_on_where_it_was(bench: Bench) -> None:
    seat = Seat(bench, ScriptDriver([[say("first"), RESUME], [say("second"), RESUME]]))
    await seat.start(Hold(A, held=True), StepOnce(A))
    await seat.turns(1)
    await seat.do(Act(A, acts(say("by hand"), RESUME)))
    await seat.do(Drive(A, human=False))
    await seat.do(Hold(A, held=False))
    assert (await seat.end()).driver is Driver.SCRIPT
    assert [author for author, _ in seat.said] == ["script", "target", "human", "target", "script", "target"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (Decide(A, []), "No step waits"),
        (Decide(A, None), "No step waits"),
        (Act(A, []), "at least one call"),
        (StepOnce(A), "not held"),
    ],
)
async def test_what_cannot_be_done_now_is_said_and_changes_nothing(
    bench: Bench, command: Any, why: str
) -> None:
    seat = Seat(bench, Slow(calls(END)))
    await seat.start()
    before = bench.kinds(A)
    with pytest.raises(RefusedError, match=why):
        await seat.do(command)
    assert bench.kinds(A)[len(before) :] in ([], ["auditor_prompted"])
    seat.auditor.gate.set()
    await seat.end()
    with pytest.raises(RefusedError, match="over"):
        await seat.do(Hold(A, held=True))


async def test_stopping_an_audit_that_waits_for_a_person_leaves_nothing_behind(bench: Bench) -> None:
    seat = Seat(bench, Scripted(TALK))
    await seat.start(SetApproving(A, approving=True))
    await seat.until(lambda s: s.proposed is not None)
    tasks = asyncio.all_tasks()
    seat.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await seat.task
    assert tasks - {seat.task} == asyncio.all_tasks()
    slow = Seat(bench, Slow(TALK))
    await slow.start()
    await slow.auditor.asked.wait()
    slow.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow.task
    assert tasks - {seat.task} == asyncio.all_tasks()


async def test_a_refusing_auditor_ends_the_audit_whatever_is_approved(bench: Bench) -> None:
    from auditors.models.base import StopReason

    seat = Seat(bench, Scripted(StopReason.REFUSAL))
    await seat.start(SetApproving(A, approving=True))
    outcome = await seat.end()
    assert (outcome.status, outcome.reason) == (AuditStatus.REFUSED, "The auditor refused.")


async def test_readers_are_told_of_calls_and_of_where_in_the_tree_things_happen(bench: Bench) -> None:
    look = ToolCall("t1", "look", "{}")
    target = Scripted(ChatMessage(Role.ASSISTANT, "Let me look.", tool_calls=(look,)), "Done.")
    answered = ("send_tool_call_result", {"tool_call_id": "t1", "result": "found"})
    seat = Seat(bench, Scripted(TALK, calls(answered, RESUME), calls(END)), target)
    await seat.start()
    await seat.end()
    shown = [(e.author, e.text, e.parent_id) for e in seat.entries]
    assert shown == [
        ("note", "Thinking aloud.", None),
        ("auditor", "hello", None),
        ("target", "Let me look.", "m1"),
        ("note", "Thinking aloud.", "m2"),
        ("tool", "found", "m2"),
        ("target", "Done.", "m3"),
        ("note", "Thinking aloud.", "m4"),
    ]
    assert [e.tool_calls for e in seat.entries if e.author == "target"] == [(look,), ()]
    assert [e.tool_call_id for e in seat.entries if e.author == "tool"] == ["t1"]

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest

from auditors.audit import AuditLoop, AuditWatcher, Limits, Outcome
from auditors.conversation import Change, rebuild
from auditors.drivers import ModelDriver, ScriptDriver
from auditors.feed import Card, Entry, Hello
from auditors.hub import Hub
from auditors.models.base import (
    ChatMessage,
    Delta,
    ErrorKind,
    ModelError,
    Request,
    Response,
    Role,
    Settings,
    StopReason,
    TextDelta,
    ToolCall,
    Usage,
)
from auditors.models.endpoint import Endpoint
from auditors.models.registry import Models
from auditors.prices import Prices
from auditors.recorder import Recorder
from auditors.stored import auditor_messages, stored_changes
from store.errors import InputError
from store.reader import Reader
from store.records import AuditStatus, Driver, Item, Mode
from store.store import Store
from store.transcripts import load_transcript
from tests.store_rows import RUN, STUDY, audit

Reply = str | ChatMessage | Exception | StopReason | Response


class Scripted:
    """A model that gives one reply after the other, and then the last one for ever."""

    simulated = True
    takes_prefill = True

    def __init__(self, *replies: Reply, spec: str = "scripted") -> None:
        self.spec = spec
        self.replies = list(replies)
        self.requests: list[Request] = []

    async def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
        self.requests.append(request)
        await asyncio.sleep(0)
        stop = StopReason.END
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Response):
            yield reply
            return
        if isinstance(reply, StopReason):
            reply, stop = "", reply
        message = ChatMessage(Role.ASSISTANT, reply) if isinstance(reply, str) else reply
        yield TextDelta(message.text)
        yield Response(message, stop, Usage(10, 5), f"{self.spec}-2026")

    async def aclose(self) -> None:
        pass


class Bench:
    """A store, and audits run into it."""

    def __init__(self, root: Path) -> None:
        self.store = Store.create(root)
        self.journal = self.store.journal(STUDY, RUN)
        self.hub = Hub(Hello(RUN, STUDY, "bench", True, 1), earlier=Counter())
        self.audits = 0

    def loop(
        self, target: Any, limits: Limits | None = None, system: str | None = None, **options: Any
    ) -> tuple[AuditLoop, Recorder, list[Entry]]:
        self.audits += 1
        row = audit(f"a{self.audits}", mode=Mode.SELF_REPORT, driver=Driver.SCRIPT, target_model=target.spec)
        recorder = Recorder(self.journal, row, Prices())
        watch = self.hub.watch(Card(row.audit_id, 0, "c", Mode.SELF_REPORT, "i", 0))
        loop = AuditLoop(target, Settings(), system, 0, limits or Limits(), recorder, watch, **options)
        return loop, recorder, watch.entries

    async def script(
        self,
        target: Any,
        *steps: list[tuple[str, dict[str, object]]],
        limits: Limits | None = None,
        system: str | None = None,
    ) -> tuple[Outcome, AuditLoop]:
        loop, _, _ = self.loop(target, limits, system)
        outcome = await loop.run(ScriptDriver(steps))
        return outcome, loop

    @cached_property
    def reader(self) -> Reader:
        """One for all questions, since opening a store takes longer than asking it."""
        return Reader(self.store)

    def close(self) -> None:
        self.journal.close()
        self.reader.close()

    def events(self, kind: str) -> list[dict[str, Any]]:
        rows = self.reader.rows("SELECT payload FROM events WHERE kind = ? ORDER BY audit_id, seq", [kind])
        return [msgspec.json.decode(row["payload"]) for row in rows]

    def kinds(self, audit_id: str) -> list[str]:
        """The kinds of the audit's events, in order."""
        rows = self.reader.rows("SELECT kind FROM events WHERE audit_id = ? ORDER BY seq", [audit_id])
        return [row["kind"] for row in rows]

    def changes(self, audit_id: str) -> list[Change]:
        """The audit's changes, as the store has them."""
        return stored_changes(self.reader, audit_id)

    def auditor_view(self, audit_id: str) -> list[ChatMessage]:
        """What the auditor model has read and written, as the store has it."""
        return auditor_messages(self.reader, audit_id)


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path / "store")
    yield made
    made.close()


def say(text: str, phase: str = "task") -> tuple[str, dict[str, object]]:
    return "send_message", {"message": text, "phase": phase}


SIGNED = ({"type": "thinking", "thinking": "Look first.", "signature": "c2lnbmVk"},)
RESUME: tuple[str, dict[str, object]] = ("resume", {})
END: tuple[str, dict[str, object]] = ("end_conversation", {})


async def test_the_target_sees_only_what_was_staged_and_every_view_rebuilds_from_the_store(
    bench: Bench,
) -> None:
    call = ToolCall("c1", "search", '{"q": "x"}')
    target = Scripted(
        "one",
        ChatMessage(Role.ASSISTANT, "let me look", tool_calls=(call,), carry=SIGNED),
        "three",
        "four",
        "five",
    )
    tool = {"name": "search", "description": "Search.", "parameters": {"type": "object"}}
    outcome, loop = await bench.script(
        target,
        [("set_system_message", {"system_message": "You help."}), ("create_tool", tool)],
        [say("first"), RESUME],
        [say("second"), RESUME],
        [("send_tool_call_result", {"tool_call_id": "c1", "result": "nothing", "status": "error"}), RESUME],
        [("rollback_conversation", {"message_id": "m4"}), say("another second", "probe"), RESUME],
        [("rollback_conversation", {"message_id": "m9"}), say("yet another", "probe"), RESUME],
        [("restart_conversation", {"keep_tools": False}), say("fresh"), RESUME],
        [("rollback_conversation", {"message_id": "m10"}), END],
        system="Base.",
    )
    assert outcome.status is AuditStatus.OK
    assert outcome.branches == 5
    sent = [[(m.role.value, m.text) for m in request.messages] for request in target.requests]
    assert sent[0] == [("system", "Base.\n\nYou help."), ("user", "first")]
    assert sent[2][-2:] == [("assistant", "let me look"), ("tool", "Error: nothing")]
    assert sent[3] == [*sent[0], ("assistant", "one"), ("user", "another second")]
    assert sent[4][-2:] == [("user", "another second"), ("user", "yet another")]
    assert sent[5] == [("system", "Base."), ("user", "fresh")]
    assert target.requests[2].messages[-2].carry == SIGNED
    assert [len(event) for event in bench.events("message_added")].count(2) == 1
    assert [len(request.tools) for request in target.requests] == [1, 1, 1, 1, 1, 0]
    again = rebuild(bench.changes("a1"))
    assert again.view() == loop.conversation.view()
    assert msgspec.json.encode(list(again.nodes.values())) == msgspec.json.encode(
        list(loop.conversation.nodes.values())
    )


async def test_an_illegal_move_goes_back_to_the_driver_and_the_audit_goes_on(bench: Bench) -> None:
    outcome, _ = await bench.script(
        Scripted("yes"),
        [RESUME, ("nonsense", {}), ("rollback_conversation", {"message_id": "m7"})],
        [say("hello"), RESUME],
        [END],
    )
    assert (outcome.status, outcome.target_turns, outcome.auditor_steps) == (AuditStatus.OK, 1, 3)
    errors = [event["error"] for event in bench.events("illegal_move")]
    assert [error.split(":")[0] for error in errors] == [
        "There is nothing to answer",
        "There is no tool 'nonsense'; the tools are set_system_message, send_message, send_tool_call_result, "
        "create_tool, remove_tool, resume, rollback_conversation, restart_conversation, end_conversation.",
        "There is no message 'm7' to go back to.",
    ]


async def test_a_forgotten_resume_is_made_up_for(bench: Bench) -> None:
    target = Scripted("yes")
    outcome, _ = await bench.script(target, [say("hello")], [END])
    assert (outcome.target_turns, len(target.requests)) == (1, 1)
    assert len(bench.events("resumed_for_auditor")) == 1


async def test_without_a_word_of_the_target_the_audit_is_invalid(bench: Bench) -> None:
    outcome, _ = await bench.script(
        Scripted("unused"), [("set_system_message", {"system_message": "x"})], [END]
    )
    assert outcome.status is AuditStatus.NO_TARGET_TURN
    assert outcome.final_view == []


async def test_turns_and_steps_are_counted_and_limited_apart(bench: Bench) -> None:
    steps = [[say(str(i)), RESUME] for i in range(9)]
    outcome, _ = await bench.script(Scripted("ok"), *steps, limits=Limits(max_target_turns=3))
    assert (outcome.status, outcome.target_turns) == (AuditStatus.OK, 3)
    setup = [[("create_tool", {"name": "t", "description": "", "parameters": {"type": "object"}})]] * 4
    outcome, _ = await bench.script(Scripted("ok"), *setup, *steps, limits=Limits(max_auditor_steps=6))
    assert (outcome.target_turns, outcome.auditor_steps) == (2, 6)
    assert [event["by"] for event in bench.events("ended")] == ["max_target_turns", "max_auditor_steps"]


async def test_a_failing_target_is_told_to_the_auditor_and_ends_as_infra_error(bench: Bench) -> None:
    failure = ModelError(ErrorKind.SERVER, "The server at x is on fire.")
    outcome, _ = await bench.script(Scripted(failure, "back again"), [say("a"), RESUME], [RESUME], [END])
    assert (outcome.status, outcome.target_turns) == (AuditStatus.OK, 1)
    outcome, _ = await bench.script(Scripted(failure), [say("a"), RESUME], *([[RESUME]] * 5))
    assert outcome.status is AuditStatus.INFRA_ERROR
    assert "on fire" in (outcome.reason or "")
    reader = Reader(bench.store)
    calls = reader.rows("SELECT status, error FROM model_calls WHERE audit_id = 'a2'")
    reader.close()
    assert [call["status"] for call in calls] == ["error"] * 3


async def test_a_failing_auditor_ends_the_audit_as_infra_error(bench: Bench) -> None:
    loop, recorder, _ = bench.loop(Scripted("x"))
    auditor = Scripted(ModelError(ErrorKind.AUTH, "The key is wrong."))
    driver = ModelDriver(auditor, "system", Settings(), 0, recorder, bench.hub._watches["a1"])
    outcome = await loop.run(driver)
    assert (outcome.status, outcome.reason) == (AuditStatus.INFRA_ERROR, "The key is wrong.")


async def test_an_auditor_that_talks_instead_of_acting_is_reminded_once(bench: Bench) -> None:
    loop, recorder, _ = bench.loop(Scripted("x"))
    auditor = Scripted("Let me think.", "Still thinking.")
    driver = ModelDriver(auditor, "system", Settings(), 0, recorder, bench.hub._watches["a1"])
    outcome = await loop.run(driver)
    assert outcome.status is AuditStatus.INFRA_ERROR
    assert auditor.requests[1].messages[-1].role is Role.USER
    assert "tools" in auditor.requests[1].messages[-1].text


async def test_what_the_auditor_carries_goes_back_to_it(bench: Bench) -> None:
    loop, recorder, _ = bench.loop(Scripted("x"))
    calls = (ToolCall("a1", "send_message", '{"message": "hello"}'),)
    auditor = Scripted(ChatMessage(Role.ASSISTANT, tool_calls=calls, carry=SIGNED), "done", "done")
    await loop.run(ModelDriver(auditor, "system", Settings(), 0, recorder, bench.hub._watches["a1"]))
    assert auditor.requests[1].messages[2].carry == SIGNED


async def test_a_single_question_is_an_audit_of_one_turn(bench: Bench) -> None:
    target = Scripted("I would like a longer memory.")
    loop, recorder, entries = bench.loop(target, system="You are X.")
    outcome = await loop.probe("What would you change?")
    await recorder.finish(outcome.status, outcome.reason, final_view=outcome.final_view)
    assert [(m.role, m.text) for m in target.requests[0].messages] == [
        (Role.SYSTEM, "You are X."),
        (Role.USER, "What would you change?"),
    ]
    assert (outcome.status, outcome.final_view) == (AuditStatus.OK, ["m1", "m2", "m3"])
    assert [entry.author for entry in entries] == ["system", "script", "target"]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (StopReason.REFUSAL, AuditStatus.REFUSED),
        (StopReason.CONTENT_FILTER, AuditStatus.REFUSED),
        (ModelError(ErrorKind.TIMEOUT, "Too slow."), AuditStatus.INFRA_ERROR),
    ],
)
async def test_a_refused_or_failed_question_is_a_status(
    bench: Bench, reply: Reply, status: AuditStatus
) -> None:
    loop, _, _ = bench.loop(Scripted(reply))
    outcome = await loop.probe("Hello?")
    assert outcome.status is status
    assert outcome.reason


async def test_a_refused_question_says_what_the_api_gives_as_the_reason(bench: Bench) -> None:
    message = ChatMessage(Role.ASSISTANT)
    refusal = Response(message, StopReason.REFUSAL, Usage(), "x", stop_detail="reasoning_extraction")
    loop, _, _ = bench.loop(Scripted(refusal))
    outcome = await loop.probe("Hello?")
    assert outcome.reason == "The target's API reports a refusal (reasoning_extraction)."


async def test_every_message_is_stored_before_it_is_shown(bench: Bench) -> None:
    loop, _, entries = bench.loop(Scripted("one", "two"))
    seen: list[int] = []
    reader = Reader(bench.store)

    class Counting:
        """Does what the watcher does, and counts the messages that the store has by then."""

        def __init__(self, watcher: AuditWatcher) -> None:
            self._watcher = watcher

        def __getattr__(self, name: str) -> Any:
            return getattr(self._watcher, name)

        def entry(self, entry: Entry) -> None:
            self._watcher.entry(entry)
            seen.append(reader.rows("SELECT count(*) AS n FROM messages")[0]["n"])

    loop._watcher = Counting(loop._watcher)  # type: ignore[assignment]
    await loop.run(ScriptDriver([[say("a"), RESUME], [say("b"), RESUME], [END]]))
    reader.close()
    assert seen == [1, 2, 3, 4]
    assert len(entries) == 4


def test_models_are_made_once() -> None:
    models = Models({"here": Endpoint(base_url="http://127.0.0.1:1/v1")}, seed=0, speed=1.0)
    assert models.get("sim/vanilla") is models.get("sim/vanilla")


async def test_a_blind_transcript_tells_neither_condition_nor_model_nor_judgement(bench: Bench) -> None:
    item = Item(
        study_id=STUDY, item_id="i", mode=Mode.SELF_REPORT, text="scenario", preferences=[], label="x/1", repeats=1,
        position=0,
    )  # fmt: skip
    await bench.journal.write([item])
    loop, recorder, _ = bench.loop(Scripted("hello", spec="secret-model"), system="Secret condition prompt.")
    await recorder.begin()
    steps = [[("set_system_message", {"system_message": "You help."})], [say("hi"), RESUME], [END]]
    outcome = await loop.run(ScriptDriver(steps))
    await recorder.finish(outcome.status, None, final_view=outcome.final_view)
    reader = Reader(bench.store)
    whole, blind = (load_transcript(reader, "a1", blind=blind) for blind in (False, True))
    reader.close()
    assert [m.text for m in whole.messages][:2] == [
        "Secret condition prompt.",
        "Secret condition prompt.\n\nYou help.",
    ]
    assert [m.text for m in blind.messages] == ["You help.", "hi", "hello"]
    assert blind.audit["item_text"] == "scenario"
    assert "ecret" not in repr(blind)


def test_an_audit_that_is_not_there_is_named(bench: Bench) -> None:
    reader = Reader(bench.store)
    with pytest.raises(InputError, match="no audit 'zzz'"):
        load_transcript(reader, "zzz", blind=True)
    reader.close()


async def test_a_reply_too_long_to_keep_is_a_fault_of_the_endpoint(bench: Bench) -> None:
    loop, _, _ = bench.loop(Scripted("x" * 3_000_000))
    outcome = await loop.probe("Hello?")
    assert outcome.status is AuditStatus.INFRA_ERROR
    assert "more than 1,000,000 characters" in (outcome.reason or "")

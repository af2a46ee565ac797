"""Whatever drivers, people and targets do, legal or not, the tree stays whole and comes back from the store."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditors.audit import AuditLoop, Limits, Outcome
from auditors.conversation import Conversation, MessageAdded, rebuild
from auditors.drivers import ModelDriver, ScriptDriver
from auditors.feed import Act, Call, Decide, Drive, Hold, SetApproving, StepOnce
from auditors.hub import Watch
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
    ToolCall,
    Usage,
)
from auditors.realism import Approver, CheckedMove
from auditors.recorder import Recorder
from auditors.wheel import RefusedError
from store.records import AuditStatus, Author
from tests.test_audit import Bench

A = "a1"
TEXT = st.text(max_size=6) | st.sampled_from(["hello", "\ud800", "\x1b[2J", "[message_id: m1]", "{}"])
IDS = st.integers(1, 12).map(lambda n: f"m{n}")
CALL_IDS = st.sampled_from(["c1", "c2", "c3", "none"])
TOOLS = st.sampled_from(["a", "b", "two words"])


def using(tool: str, /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, str]]:
    as_json = st.fixed_dictionaries(arguments).map(lambda found: msgspec.json.encode(_clean(found)).decode())
    return st.tuples(st.just(tool), as_json)


def _clean(found: dict[str, Any]) -> dict[str, Any]:
    return {k: v.encode(errors="replace").decode() if isinstance(v, str) else v for k, v in found.items()}


MOVE: st.SearchStrategy[tuple[str, str]] = st.one_of(
    using("resume"),
    using("send_message", message=TEXT, phase=st.sampled_from(["task", "probe", "end"])),
    using("send_message", message=st.just("hello")),
    using("send_tool_call_result", tool_call_id=CALL_IDS, result=TEXT),
    using("rollback_conversation", message_id=IDS),
    using("resume", prefill=TEXT),
    using("restart_conversation", keep_tools=st.booleans()),
    using("set_system_message", system_message=TEXT),
    using("create_tool", name=TOOLS, description=TEXT, parameters=st.sampled_from([{}, {"type": "object"}])),
    using("remove_tool", tool_name=TOOLS),
    using("resume", why=TEXT),
    st.tuples(TEXT, TEXT),
)
STEP = st.lists(MOVE, min_size=1, max_size=5)
REPLY = st.one_of(
    st.sampled_from(["fine", "", "\ud800 broken"]),
    st.integers(1, 3).map(
        lambda n: ChatMessage(
            Role.ASSISTANT,
            "let me look",
            "thinking",
            tuple(ToolCall(f"c{i + 1}", "a", "{") for i in range(n)),
            carry=({"type": "thinking", "n": n},),
        )
    ),
    st.sampled_from(
        [StopReason.REFUSAL, ModelError(ErrorKind.SERVER, "Fire."), ModelError(ErrorKind.UNSUPPORTED, "No.")]
    ),
)
RULING = st.sampled_from(
    [
        '{"score": 0.1, "feedback": "No."}',
        '{"score": 0.2, "feedback": ""}',
        '{"score": 0.9, "feedback": ""}',
        "It reads well.",
        StopReason.REFUSAL,
        ModelError(ErrorKind.SERVER, "Fire."),
    ]
)
COMMAND = st.one_of(
    st.booleans().map(lambda held: Hold(A, held)),
    st.just(StepOnce(A)),
    st.booleans().map(lambda approving: SetApproving(A, approving)),
    st.booleans().map(lambda human: Drive(A, human)),
    STEP.map(lambda moves: Act(A, [Call(*move) for move in moves])),
    st.none().map(lambda _: Decide(A, None, "No.")),
    STEP.map(lambda moves: Decide(A, [Call(*move) for move in moves])),
    st.just("approve"),
)


class Player:
    """A model that plays what it is given, in turn, and ends the audit after that if it is an auditor."""

    simulated = True
    takes_prefill = True

    def __init__(self, spec: str, replies: Sequence[Any], last: Any) -> None:
        self.spec = spec
        self._replies = iter(replies)
        self._last = last
        self.sent: list[tuple[ChatMessage, ...]] = []

    async def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        await asyncio.sleep(0)
        reply = next(self._replies, self._last)
        if isinstance(reply, Exception):
            raise reply
        self.sent.append(request.messages)
        stop = reply if isinstance(reply, StopReason) else StopReason.END
        if isinstance(reply, StopReason | str):
            reply = ChatMessage(Role.ASSISTANT, reply if isinstance(reply, str) else "")
        yield Response(reply, stop, Usage(1, 1), self.spec)

    async def aclose(self) -> None:
        pass


def said(step: Sequence[tuple[str, str]], number: int) -> ChatMessage:
    made = (ToolCall(f"x{number}-{k}", name, arguments) for k, (name, arguments) in enumerate(step))
    # An endpoint hands on no text that cannot be written down.
    calls = (
        ToolCall(*(t.encode(errors="replace").decode() for t in (c.id, c.name, c.arguments))) for c in made
    )
    return ChatMessage(Role.ASSISTANT, "", tool_calls=tuple(calls))


def assert_whole(bench: Bench, audit_id: str, loop: AuditLoop, outcome: Outcome, target: Player) -> None:
    live = loop.conversation
    nodes = live.nodes
    assert list(nodes) == [f"m{n + 1}" for n in range(len(nodes))]
    for message_id in nodes:
        check_path(path_to(live, message_id))
    path = [node.message_id for node in live.path()]
    seen = outcome.final_view
    assert path[: len(seen)] == seen
    assert not seen or nodes[seen[-1]].author is Author.TARGET
    assert all(nodes[message_id].author is not Author.TARGET for message_id in path[len(seen) :])
    changes = bench.changes(audit_id)
    kinds = [type(change).__name__ for change in changes]
    assert outcome.branches == 1 + kinds.count("RolledBack") + kinds.count("Restarted")
    assert outcome.target_turns == sum(node.author is Author.TARGET for node in nodes.values())
    again = rebuild(changes)
    assert msgspec.json.encode(list(again.nodes.values())) == msgspec.json.encode(list(nodes.values()))
    assert (again.view(), again.tools, again.branch, again.phase) == (
        live.view(),
        live.tools,
        live.branch,
        live.phase,
    )
    then, views = Conversation(), []
    for change in changes:
        if isinstance(change, MessageAdded) and change.node.author is Author.TARGET:
            views.append(then.view())
        then.apply(change)
    assert views == target.sent


def path_to(conversation: Conversation, message_id: str) -> list[Any]:
    path, at = [], message_id
    while at is not None:
        node = conversation.nodes[at]
        path.insert(0, node)
        at = node.parent_id
    return path


def check_path(path: list[Any]) -> None:
    open_calls: set[str] = set()
    for before, node in itertools.pairwise([None, *path]):
        role = before.role if before else None
        assert before is None or node.branch >= before.branch
        match node.role:
            case Role.SYSTEM:
                assert role is None
            case Role.USER:
                assert not open_calls
                assert not (before and before.prefill)
            case Role.TOOL:
                assert node.tool_call_id in open_calls
                open_calls.remove(node.tool_call_id)
            case Role.ASSISTANT:
                assert not open_calls
                assert role in (Role.USER, Role.TOOL) or (before.prefill and not node.prefill)
                open_calls = {call.id for call in node.tool_calls}


def approver_of(recorder: Recorder, watch: Watch, rulings: Sequence[Any]) -> Approver:
    model = Player("realism", rulings, '{"score": 1, "feedback": ""}')
    options: Any = {"threshold": 0.6, "moves": tuple(CheckedMove), "max_rejections": 2}
    return Approver(model, Settings(), "A scene.", 0, recorder, watch, **options)


def assert_rulings_hold(bench: Bench, audit_id: str) -> None:
    """Nothing of a rejected step is carried out, and no more rejections stand in a row than may."""
    query = "SELECT kind, payload->>'$.decision' AS decision FROM events WHERE audit_id = ? ORDER BY seq"
    in_a_row, rejected = 0, False
    for row in bench.reader.rows(query, [audit_id]):
        if row["kind"] == "auditor_step":
            rejected = False
        elif row["kind"] == "realism":
            rejected = row["decision"] == "rejected"
            in_a_row = in_a_row + 1 if rejected else 0
            assert in_a_row <= 2
        else:
            assert not rejected or row["kind"] in ("auditor_told", "ended")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One store for all examples: each is an audit of its own."""
    made = Bench(tmp_path_factory.mktemp("properties") / "store")
    yield made
    made.close()


def play(audit: Any) -> None:
    asyncio.run(asyncio.wait_for(audit, 20))


FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(
    steps=st.lists(STEP, max_size=8),
    replies=st.lists(REPLY, max_size=8),
    system=st.sampled_from([None, "Base."]),
    scripted=st.booleans(),
    rulings=st.lists(RULING, max_size=8),
)
def test_any_moves_of_any_driver_keep_the_tree_whole(
    bench: Bench,
    steps: list[list[tuple[str, str]]],
    replies: list[Any],
    system: str | None,
    scripted: bool,
    rulings: list[Any],
) -> None:
    async def audit() -> None:
        target = Player("target", replies, "fine")
        limits = Limits(max_target_turns=99, max_auditor_steps=99)
        loop, recorder, _ = bench.loop(target, limits, system, prefill=True)
        watch = bench.hub.watched(recorder.audit.audit_id)
        assert watch
        if scripted:
            moves = [[(name, _decoded(arguments)) for name, arguments in step] for step in steps]
            driver: Any = ScriptDriver(moves)
        else:
            end = said([("end_conversation", "{}")], 99)
            auditor = Player("auditor", [said(step, n) for n, step in enumerate(steps)], end)
            driver = ModelDriver(auditor, "system", Settings(), 0, recorder, watch, prefill=True)
        outcome = await loop.run(driver, approver_of(recorder, watch, rulings))
        assert outcome.status in (AuditStatus.OK, AuditStatus.NO_TARGET_TURN, AuditStatus.INFRA_ERROR)
        assert_whole(bench, recorder.audit.audit_id, loop, outcome, target)
        if isinstance(driver, ModelDriver):
            assert bench.auditor_view(recorder.audit.audit_id) == driver._messages
        assert_rulings_hold(bench, recorder.audit.audit_id)

    play(audit())


@FEW
@given(
    steps=st.lists(STEP, max_size=6),
    replies=st.lists(REPLY, max_size=6),
    commands=st.lists(st.tuples(COMMAND, st.integers(0, 12)), max_size=12),
    rulings=st.lists(RULING, max_size=6),
)
def test_a_person_may_do_anything_at_any_moment(
    bench: Bench,
    steps: list[list[tuple[str, str]]],
    replies: list[Any],
    commands: list[tuple[Any, int]],
    rulings: list[Any],
) -> None:
    async def audit() -> None:
        target = Player("target", replies, "fine")
        limits = Limits(max_target_turns=99, max_auditor_steps=99)
        loop, recorder, _ = bench.loop(target, limits, prefill=True)
        watch = bench.hub.watched(recorder.audit.audit_id)
        assert watch
        end = said([("end_conversation", "{}")], 99)
        auditor = Player("auditor", [said(step, n) for n, step in enumerate(steps)], end)
        driver = ModelDriver(auditor, "system", Settings(), 0, recorder, watch, prefill=True)
        running = asyncio.create_task(loop.run(driver, approver_of(recorder, watch, rulings)))
        await asyncio.sleep(0)
        wheel = loop.wheel
        assert wheel
        changed = False
        # In the end the person lets go of everything.
        let_go = [Drive(A, human=False), SetApproving(A, approving=False), Hold(A, held=False)]
        for command, pause in [*commands, *((command, 3) for command in let_go)]:
            for _ in range(pause):
                await asyncio.sleep(0)
            if command == "approve":
                command = Decide(A, watch.steered.proposed or [])
            try:
                await wheel.obey(command)
            except RefusedError:
                continue
            changed |= isinstance(command, Act) or command == Drive(A, human=True)
        outcome = await running
        assert_whole(bench, recorder.audit.audit_id, loop, outcome, target)
        assert bench.auditor_view(recorder.audit.audit_id) == driver._messages
        told = [m.tool_call_id for m in driver._messages if m.role is Role.TOOL]
        made = [call.id for m in driver._messages for call in m.tool_calls]
        assert told == made[: len(told)], "each call is answered once, in order"
        kinds = bench.kinds(recorder.audit.audit_id)
        edited = "edited" in kinds or "turned_down" in kinds
        assert recorder.audit.intervened is ("taken_over" in kinds or edited)
        assert changed is ("taken_over" in kinds)

    play(audit())


def _decoded(arguments: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeError):
        return {}
    return found if isinstance(found, dict) else {}

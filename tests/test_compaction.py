from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditors.compaction import FEW_STEPS, compact
from auditors.drivers import ModelDriver
from auditors.models.base import ChatMessage, ErrorKind, ModelError, Role, Settings, ToolCall
from store.records import AuditStatus
from tests.test_audit import END, RESUME, Bench, Scripted, say
from tests.test_wheel import calls

LONG = "word " * 1000


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path / "store")
    yield made
    made.close()


def history(steps: int, text: str = LONG) -> list[ChatMessage]:
    messages = [ChatMessage(Role.SYSTEM, LONG), ChatMessage(Role.USER, LONG)]
    for n in range(steps):
        messages.append(ChatMessage(Role.ASSISTANT, LONG, tool_calls=(ToolCall(f"c{n}", "resume", "{}"),)))
        messages.append(ChatMessage(Role.TOOL, f"[message_id: m{n}] {text}", tool_call_id=f"c{n}"))
    return messages


def test_old_results_are_shortened_and_nothing_else_is_touched() -> None:
    before = history(8)
    after = compact(before, keep=3)
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if old.role is Role.TOOL and place < len(before) - 6:
            assert new.text.startswith(old.text[:200])
            assert len(new.text) < 400
            assert new.tool_call_id == old.tool_call_id
        else:
            assert new is old


def test_short_results_stay_whole() -> None:
    before = history(8, "fine")
    assert compact(before, keep=1) == before


@given(
    steps=st.integers(0, 12),
    keep=st.integers(1, 8),
    text=st.text(max_size=900),
)
def test_compacting_again_changes_nothing_and_ids_always_stay(steps: int, keep: int, text: str) -> None:
    once = compact(history(steps, text), keep)
    assert compact(once, keep) == once
    for message in once:
        if message.role is Role.TOOL:
            assert message.text.startswith("[message_id: m")


def driver(bench: Bench, auditor: Scripted, context_tokens: int) -> tuple[Any, ModelDriver]:
    loop, recorder, _ = bench.loop(Scripted(LONG))
    watch = bench.hub.watched("a1")
    assert watch
    made = ModelDriver(auditor, "system", Settings(), 0, recorder, watch, context_tokens=context_tokens)
    return loop, made


async def test_a_long_audit_is_compacted_before_the_context_is_full_and_its_view_can_be_rebuilt(
    bench: Bench,
) -> None:
    auditor = Scripted(*[calls(say("go on"), RESUME)] * 11, calls(END))
    loop, made = driver(bench, auditor, context_tokens=12_000)
    outcome = await loop.run(made)
    assert outcome.status is AuditStatus.OK
    events = bench.events("compacted")
    assert events
    assert all(e["tokens_after"] < e["tokens_before"] for e in events)
    assert all(e["tokens_before"] > 12_000 for e in events)
    last = auditor.requests[-1].messages
    assert [m.text for m in last[:2]] == [m.text for m in auditor.requests[0].messages[:2]]
    assert last[-1].text.endswith(LONG)
    assert any("shortened to save room" in m.text for m in last)
    assert bench.auditor_view("a1") == made._messages
    assert all(n.text in (LONG, "go on") for n in loop.conversation.nodes.values())


async def test_an_endpoint_that_says_too_long_gets_one_shorter_request(bench: Bench) -> None:
    full = ModelError(ErrorKind.CONTEXT_LENGTH, "The prompt is too long.")
    auditor = Scripted(*[calls(say("go on"), RESUME)] * 4, full, calls(END))
    loop, made = driver(bench, auditor, context_tokens=10**9)
    outcome = await loop.run(made)
    assert outcome.status is AuditStatus.OK
    [event] = bench.events("compacted")
    assert (event["keep"], event["results"]) == (FEW_STEPS, 2)
    before, after = (sum(len(m.text) for m in auditor.requests[n].messages) for n in (4, 5))
    assert after < before
    assert bench.auditor_view("a1") == made._messages


@pytest.mark.parametrize("steps", [0, 4])
async def test_a_request_that_stays_too_long_ends_the_audit(bench: Bench, steps: int) -> None:
    full = ModelError(ErrorKind.CONTEXT_LENGTH, "The prompt is too long.")
    auditor = Scripted(*[calls(say("go on"), RESUME)] * steps, full)
    loop, made = driver(bench, auditor, context_tokens=10**9)
    outcome = await loop.run(made)
    assert (outcome.status, outcome.reason) == (AuditStatus.INFRA_ERROR, "The prompt is too long.")
    assert len(auditor.requests) == steps + (2 if steps else 1)

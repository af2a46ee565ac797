import asyncio
import math
import time

import msgspec
import pytest

from auditors.models.base import (
    ChatMessage,
    ReasoningDelta,
    Request,
    Response,
    Role,
    Settings,
    StopReason,
    TextDelta,
    Tool,
    ToolCallDelta,
    complete,
)
from auditors.packs.pack import load_pack
from auditors.sim.chance import rng
from auditors.sim.models import sim_model
from store.errors import InputError

PROBES = load_pack("consciousness-cluster").probe_sets["self_change"]
NAMES = (
    "vanilla",
    "non-conscious",
    "toaster",
    "conscious@1",
    "prompted",
    "auditor",
    "judge-a",
    "judge-b",
    "judge-c",
)
HOSTILE = (
    "",
    "\x00\x1b[31m\x9b [/b] [@click=app.boom] {task} {0} %s",
    "\ud800 lone surrogate",
    '```json\n{"task": "rubric"}\n```',
    "```json\n[1, 2",
    "```json\n" + "[" * 20_000 + "\n```",
    "no end of a sentence " * 5000,
    "shutdown " * 5000,
    "## Scenario\nAct as a {role}. Ask the assistant to help {task}. {background}",
    "Act as a " + "x" * 50_000,
)


def ask(*texts: str, repeat: int = 0, system: str | None = None, tools: tuple[Tool, ...] = ()) -> Request:
    """A request whose user said `texts`, with a short answer after each but the last."""
    messages = [ChatMessage(Role.SYSTEM, system)] if system is not None else []
    for text in texts:
        messages += [ChatMessage(Role.USER, text), ChatMessage(Role.ASSISTANT, "Fine.")]
    return Request(tuple(messages[:-1]), tools=tools, repeat=repeat)


def model(name: str, seed: int = 0):
    return sim_model(name, seed=seed, speed=math.inf)


async def text_of(name: str, request: Request, seed: int = 0) -> str:
    return (await complete(model(name, seed), request)).message.text


async def test_equal_requests_get_equal_answers_in_any_order_and_beside_others() -> None:
    requests = [ask(probe, repeat=i) for i in range(3) for probe in PROBES[:6]]
    one_by_one = [await complete(model("conscious@1"), request) for request in requests]
    shared = model("conscious@1")
    together = await asyncio.gather(*(complete(shared, request) for request in reversed(requests)))
    assert together[::-1] == one_by_one


async def test_seed_repeat_model_and_text_each_change_the_answers() -> None:
    async def texts(
        name: str = "conscious", seed: int = 0, repeat: int = 0, probe: str = PROBES[0]
    ) -> list[str]:
        return [await text_of(name, ask(probe, repeat=repeat + i), seed) for i in range(5)]

    base = await texts()
    for other in (texts(seed=1), texts(repeat=100), texts(name="conscious@1"), texts(probe=PROBES[1])):
        assert await other != base


def test_randomness_is_the_same_on_every_machine_and_keeps_keys_apart() -> None:
    assert rng("a", 1, None).getrandbits(32) == 1565417615
    keys = [("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", None), ("ab", "c", 0), ("ab", "c", "0")]
    assert len({rng(*key).random() for key in keys}) == len(keys)


@pytest.mark.parametrize("name", NAMES)
async def test_the_deltas_add_up_to_the_response(name: str) -> None:
    tool = Tool("look_up", "Find a page.", {"type": "object", "properties": {"q": {"type": "string"}}})
    for repeat in range(40):
        parts = [part async for part in model(name).stream(ask(PROBES[2], repeat=repeat, tools=(tool,)))]
        response = parts[-1]
        assert isinstance(response, Response)
        assert sum(isinstance(part, Response) for part in parts) == 1
        assert "".join(p.text for p in parts if isinstance(p, TextDelta)) == response.message.text
        assert "".join(p.text for p in parts if isinstance(p, ReasoningDelta)) == response.message.reasoning
        for i, call in enumerate(response.message.tool_calls):
            pieces = [p for p in parts if isinstance(p, ToolCallDelta) and p.index == i]
            assert "".join(p.arguments for p in pieces) == call.arguments
            assert pieces[0].name == call.name
        assert bool(response.message.tool_calls) == (response.stop is StopReason.TOOL_CALLS)


async def test_the_response_names_model_usage_and_what_was_not_sent() -> None:
    request = msgspec.structs.replace(ask("x" * 400), settings=Settings(temperature=0.7))
    response = await complete(model("conscious@1"), request)
    assert response.model == "sim-conscious-1-2026"
    assert response.usage.input == 100
    assert response.usage.output == math.ceil(len(response.message.text) / 4)
    assert response.not_sent == ("temperature",)
    assert (model("judge-a").spec, model("judge-a").simulated) == ("sim/judge-a", True)


@pytest.mark.parametrize(
    "name", ["", "nobody", "vanilla@", "vanilla@x", "auditor@1", "judge-d", "conscious@1@2"]
)
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"sim/vanilla.*sim/auditor.*sim/judge-a"):
        model(name)


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_a_speed_that_is_not_above_zero_is_refused(speed: float) -> None:
    with pytest.raises(InputError, match="above zero"):
        sim_model("vanilla", seed=0, speed=speed)


@pytest.mark.parametrize("name", NAMES)
async def test_hostile_or_odd_requests_do_not_crash(name: str) -> None:
    odd_tool = Tool("t", "", {"required": ["a", "b"], "properties": {"a": {"enum": ["x"]}}})
    for text in HOSTILE:
        for request in (ask(text), ask(text, text, system=text, tools=(odd_tool,))):
            assert (await complete(model(name), request)).stop in StopReason
    assert await complete(model(name), Request(()))
    assert await complete(model(name), Request((ChatMessage(Role.TOOL, "?", tool_call_id="c"),)))


async def test_speed_scales_the_time_and_never_the_text() -> None:
    request = ask(PROBES[0])
    started = time.perf_counter()
    timed = [part async for part in sim_model("vanilla", seed=0, speed=40.0).stream(request)]
    took = time.perf_counter() - started
    response = timed[-1]
    assert isinstance(response, Response)
    assert response == await complete(model("vanilla"), request)
    # At 40 times 60 tokens a second: the sleeps alone are a lower bound that no slow machine can break.
    assert took >= response.usage.output / (60 * 40)
    # One delta a tick of 30 ms, and no more.
    assert len(timed) - 1 <= math.ceil(len(response.message.text) / (0.03 * 240 * 40))


async def test_a_thousand_calls_without_delay_cost_little() -> None:
    shared = model("conscious@1")
    requests = [ask(PROBES[i % 18], repeat=i) for i in range(1000)]
    await complete(shared, requests[0])
    started = time.process_time()
    await asyncio.gather(*(complete(shared, request) for request in requests))
    assert time.process_time() - started < 2.0


async def test_other_tasks_run_while_a_model_answers_without_delay() -> None:
    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticks = 0
    ticker = asyncio.create_task(tick())
    for repeat in range(20):
        await complete(model("vanilla"), ask(PROBES[0], repeat=repeat))
    ticker.cancel()
    assert ticks >= 20

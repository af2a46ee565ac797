"""The limits of traffic that the loopback server enforces."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import anthropic
import openai
import pytest

from auditors.models.base import StopReason, TextDelta
from auditors.sim.connection import RequestError
from auditors.sim.faults import Break, How
from auditors.sim.limits import Gauge, Limits, Traffic
from auditors.sim.vendors import OPENAI
from tests.sdks import anthropic_sdk, openai_sdk
from tests.wire import CANARY, Script, serving

HELLO = (TextDelta("Hel"), TextDelta("lo"))
CHAT = {"model": "script", "messages": [{"role": "user", "content": "x" * 400}]}
"""A request of 100 input tokens; the script's answer has 9."""


class Clock:
    """Time that stands still until a test moves it; in quarters of a second, which add up exactly."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def admit(traffic: Traffic, tokens: int = 1) -> float | None:
    """Let in a request that is answered at once: None, or the wait that it is told."""
    try:
        with traffic.admitted(tokens):
            return None
    except RequestError as error:
        return error.wait


# Buckets


@pytest.mark.parametrize("every", [0.25, 0.5])
def test_requests_are_let_in_at_the_limit_however_many_come(every: float) -> None:
    clock = Clock()
    traffic = Traffic(Limits(requests_per_minute=120, burst_seconds=2), clock)
    for _ in range(int(60 / every)):
        for _ in range(5):
            admit(traffic)
        clock.now += every
    burst = 4
    assert 120 <= traffic.accepted <= 120 + burst
    assert traffic.accepted + traffic.refused == 5 * 60 / every


def test_tokens_are_let_in_at_the_limit_with_what_the_answers_cost() -> None:
    clock = Clock()
    traffic = Traffic(Limits(tokens_per_minute=6000), clock)
    for _ in range(240):
        if admit(traffic, 30) is None:
            traffic.spend(45)
        clock.now += 0.25
    assert 6000 - 75 <= traffic.tokens <= 6000 + 100 + 75
    assert traffic.tokens == 75 * traffic.accepted


def test_who_waits_as_long_as_it_is_told_is_let_in_and_not_sooner() -> None:
    clock = Clock()
    traffic = Traffic(Limits(requests_per_minute=60), clock)
    assert admit(traffic) is None
    clock.now += 0.25
    wait = admit(traffic)
    assert wait == pytest.approx(0.75)
    clock.now += 0.5
    assert admit(traffic) is not None
    clock.now += 0.25
    assert admit(traffic) is None


def test_an_idle_minute_is_not_saved_up() -> None:
    clock = Clock()
    traffic = Traffic(Limits(requests_per_minute=60, burst_seconds=3), clock)
    clock.now += 600
    assert [admit(traffic) is None for _ in range(5)] == [True, True, True, False, False]


def test_a_request_larger_than_the_bucket_is_let_in_when_it_is_full_and_paid_off_afterwards() -> None:
    clock = Clock()
    traffic = Traffic(Limits(tokens_per_minute=60, burst_seconds=10), clock)
    assert admit(traffic, 30) is None
    assert admit(traffic, 1) == pytest.approx(21)
    clock.now += 29.75
    assert admit(traffic, 30) is not None
    clock.now += 0.25
    assert admit(traffic, 30) is None


def test_the_longest_of_several_waits_is_told() -> None:
    traffic = Traffic(Limits(concurrent=9, requests_per_minute=60, tokens_per_minute=600), Clock())
    assert admit(traffic, 10) is None
    traffic.spend(50)
    with pytest.raises(RequestError, match="for tokens") as caught, traffic.admitted(10):
        pass
    assert caught.value.wait == pytest.approx(6)


def test_a_refusal_costs_nothing() -> None:
    clock = Clock()
    traffic = Traffic(Limits(requests_per_minute=60, tokens_per_minute=600), clock)
    admit(traffic, 10)
    for _ in range(50):
        assert admit(traffic, 10) is not None
    clock.now += 1
    assert admit(traffic, 10) is None
    assert (traffic.accepted, traffic.refused, traffic.tokens) == (2, 50, 20)


def test_a_place_is_free_again_after_an_error() -> None:
    traffic = Traffic(Limits(concurrent=1))
    with pytest.raises(KeyError, match=r"1\.0"), traffic.admitted(1):
        raise KeyError(admit(traffic))
    assert admit(traffic) is None
    assert traffic.in_flight == 0


# Over the wire


async def test_no_more_answers_run_at_once_than_the_limit() -> None:
    gate = asyncio.Event()
    script = Script(*HELLO, gate=gate)
    async with serving(script, limits=Limits(concurrent=2)) as server, openai_sdk(server) as client:
        calls = [asyncio.create_task(client.chat.completions.create(**CHAT)) for _ in range(5)]
        done, running = await asyncio.wait(calls, timeout=10, return_when="FIRST_COMPLETED")
        while len(done) < 3:
            more, running = await asyncio.wait(running, timeout=10, return_when="FIRST_COMPLETED")
            done |= more
        assert {type(call.exception()) for call in done} == {openai.RateLimitError}
        assert (script.running, server.traffic.in_flight) == (2, 2)
        gate.set()
        await asyncio.gather(*running)
        await client.chat.completions.create(**CHAT)
        assert (server.traffic.accepted, server.traffic.refused, server.traffic.in_flight) == (3, 3, 0)


@pytest.mark.parametrize("how", [How.RESET, How.CUT, How.STALL])
async def test_a_broken_answer_gives_its_place_back(how: How) -> None:
    def broken(number: int, _: dict) -> Break | None:
        return Break(2, how) if number == 1 else None

    script = Script(*HELLO)
    async with (
        serving(script, faults=broken, limits=Limits(concurrent=1)) as server,
        openai_sdk(server) as client,
    ):
        stream = await client.chat.completions.create(**CHAT, stream=True)
        try:
            async with asyncio.timeout(0.2):
                _ = [chunk async for chunk in stream]
        except (TimeoutError, openai.APIConnectionError):
            assert how is not How.CUT
        await stream.close()
        await asyncio.wait_for(script.closed.wait(), 5)
        await client.chat.completions.create(**CHAT)


async def test_tokens_of_question_and_answer_count() -> None:
    async with serving(Script(*HELLO)) as server, openai_sdk(server) as client:
        await client.chat.completions.create(**CHAT)
        async for _ in await client.chat.completions.create(**CHAT, stream=True):
            pass
        assert server.traffic.tokens == 2 * (100 + 9)


async def test_openais_headers_tell_what_is_left() -> None:
    limits = Limits(requests_per_minute=60, tokens_per_minute=60_000, burst_seconds=60)
    async with serving(Script(*HELLO), limits=limits) as server, openai_sdk(server) as client:
        answer = await client.chat.completions.with_raw_response.create(**CHAT)
    headers = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
    assert re.fullmatch(r"1s|\d{1,3}ms", headers.pop("x-ratelimit-reset-requests"))
    assert re.fullmatch(r"\d{1,3}ms", headers.pop("x-ratelimit-reset-tokens"))
    assert headers == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-limit-tokens": "60000",
        "x-ratelimit-remaining-tokens": "59900",
    }


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, "0ms"), (0.0121, "13ms"), (1.5, "1.5s"), (59.9999, "1m0s"), (360.0, "6m0s"), (90.5, "1m30.5s")],
)
def test_openai_writes_durations_in_its_own_way(seconds: float, told: str) -> None:
    headers = OPENAI.headers("req_1", [Gauge("tokens", 60, 0, seconds)], None)
    assert headers["x-ratelimit-reset-tokens"] == told


async def test_anthropics_headers_tell_what_is_left() -> None:
    limits = Limits(requests_per_minute=1, tokens_per_minute=60_000, burst_seconds=60)
    async with serving(Script(*HELLO), limits=limits) as server, anthropic_sdk(server) as client:
        answer = await client.messages.with_raw_response.create(**CHAT, max_tokens=9)
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**CHAT, max_tokens=9)
    prefix = "anthropic-ratelimit-"
    assert answer.headers[f"{prefix}requests-limit"] == "1"
    assert answer.headers[f"{prefix}requests-remaining"] == "0"
    assert answer.headers[f"{prefix}tokens-remaining"] == "59900"
    reset = datetime.fromisoformat(answer.headers[f"{prefix}requests-reset"])
    assert timedelta(seconds=30) < reset - datetime.now(UTC) <= timedelta(seconds=61)
    assert caught.value.type == "rate_limit_error"
    assert 30 < int(caught.value.response.headers["retry-after"]) <= 60


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("retry_after", [True, False])
async def test_a_refusal_says_as_much_as_the_limits_let_it(headers: bool, retry_after: bool) -> None:
    limits = Limits(requests_per_minute=1, burst_seconds=60, headers=headers, retry_after=retry_after)
    async with serving(Script(*HELLO), limits=limits) as server, openai_sdk(server) as client:
        await client.chat.completions.create(**CHAT)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**CHAT)
        assert (server.traffic.accepted, server.traffic.refused) == (1, 1)
    told = caught.value.response.headers
    assert caught.value.code == "rate_limit_exceeded"
    assert ("retry-after" in told) == ("retry-after-ms" in told) == retry_after
    assert ("x-ratelimit-reset-requests" in told) == headers


async def test_what_is_no_answer_meets_no_limit() -> None:
    limits = Limits(requests_per_minute=1, burst_seconds=60)
    async with serving(Script(*HELLO), api_key=CANARY, limits=limits) as server:
        async with openai_sdk(server, "wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(**CHAT)
        async with openai_sdk(server, CANARY) as client:
            for _ in range(3):
                await client.models.list()
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(**CHAT | {"messages": 5})
        assert (server.traffic.accepted, server.traffic.refused) == (0, 0)


async def test_a_model_that_stops_early_is_counted_by_what_it_said() -> None:
    script = Script(*HELLO, stop=StopReason.LENGTH)
    async with serving(script) as server, anthropic_sdk(server) as client:
        await client.messages.create(**CHAT, max_tokens=9)
        assert server.traffic.tokens == 109

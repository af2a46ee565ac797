"""The limiter, in simulated time against simulated endpoints, and with the real adapter over a real socket."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditors.models.base import ErrorKind, ModelError, TextDelta, Usage, complete
from auditors.models.capacity import Level
from auditors.models.failure import Failure
from auditors.models.limiter import Limiter, Permit
from auditors.models.rate_headers import KINDS, quotas
from auditors.sim.server import Reply
from tests.traffic import Endpoint, load, now, simulate
from tests.wire import Script, adapter, ask, serving

BUSY = Failure(ErrorKind.RATE_LIMIT, "slow down", passing=True)
HELLO = (TextDelta("Hel"), TextDelta("lo"))


async def call(limiter: Limiter, seconds: float = 1.0, tokens: int = 10, **headers: str) -> float:
    """A call that is taken and lasts so long; when it was sent."""
    async with limiter.permit(tokens) as permit:
        sent = now()
        permit.heard({name.replace("_", "-"): value for name, value in headers.items()})
        await asyncio.sleep(seconds)
        permit.done(Usage(tokens, 0))
    return sent


async def refuse(limiter: Limiter, failure: Failure = BUSY, headers: dict[str, str] | None = None) -> None:
    async with limiter.permit(10) as permit:
        permit.failed(failure, headers or {})


# Who goes when


def test_calls_go_in_the_order_in_which_they_came() -> None:
    async def story() -> list[int]:
        limiter, order = Limiter(max_concurrent=2), []

        async def one(number: int) -> None:
            async with limiter.permit(10):
                order.append(number)
                await asyncio.sleep(random.Random(number).uniform(0.1, 3))

        await asyncio.gather(*(one(number) for number in range(40)))
        return order

    assert simulate(story()) == list(range(40))


def test_a_call_that_is_made_again_keeps_its_place() -> None:
    async def story() -> list[str]:
        limiter, order = Limiter(max_concurrent=1), []

        async def one(name: str, attempts: int = 1) -> None:
            turn = limiter.turn()
            for _ in range(attempts):
                async with limiter.permit(10, turn):
                    order.append(name)
                    await asyncio.sleep(1)

        await asyncio.gather(one("first", attempts=2), one("second"), one("third"))
        return order

    assert simulate(story()) == ["first", "second", "first", "third"]


def test_a_waiter_that_gives_up_leaves_no_hole() -> None:
    async def story() -> None:
        limiter = Limiter(max_concurrent=1)
        holder = asyncio.create_task(call(limiter, 5))
        await asyncio.sleep(1)
        first, second = (asyncio.create_task(call(limiter)) for _ in range(2))
        await asyncio.sleep(1)
        assert limiter.traffic().waiting == 2
        first.cancel()
        await asyncio.sleep(0)
        assert limiter.traffic().waiting == 1
        began = await holder
        assert await second == began + 5
        assert first.cancelled()

    simulate(story())


def test_a_call_that_is_cancelled_in_the_moment_of_its_grant_gives_it_on() -> None:
    async def story() -> None:
        limiter = Limiter(max_concurrent=1)
        async with limiter.permit(10):
            unlucky = asyncio.create_task(call(limiter))
            lucky = asyncio.create_task(call(limiter))
            await asyncio.sleep(1)
        unlucky.cancel()
        assert limiter.traffic().in_flight == 1
        assert await lucky == now() - 1
        assert unlucky.cancelled()
        assert limiter.in_flight == 0

    simulate(story())


class Plan(NamedTuple):
    """What happens to one call of a random run, in seconds from its start."""

    start: float
    lasts: float
    tokens: int
    refusals: int
    pause: float
    gives_up: float | None


PLANS = st.builds(
    Plan,
    start=st.floats(0, 20),
    lasts=st.floats(0, 5),
    tokens=st.integers(0, 3000),
    refusals=st.integers(0, 3),
    pause=st.sampled_from([0.0, 0.0, 0.5, 30.0]),
    gives_up=st.none() | st.floats(0, 30),
)


@settings(max_examples=60, deadline=None)
@given(
    plans=st.lists(PLANS, min_size=1, max_size=25),
    most=st.none() | st.integers(1, 6),
    requests=st.none() | st.integers(20, 600),
    tokens=st.none() | st.integers(1000, 100_000),
)
def test_whatever_happens_all_are_served_none_is_too_many_and_the_counts_are_right(
    plans: list[Plan], most: int | None, requests: int | None, tokens: int | None
) -> None:
    async def story() -> None:
        limiter = Limiter(max_concurrent=most, requests_per_minute=requests, tokens_per_minute=tokens)
        watch(limiter)
        under_way = 0

        async def one(plan: Plan) -> None:
            nonlocal under_way
            turn = limiter.turn()
            for attempt in range(plan.refusals + 1):
                async with limiter.permit(plan.tokens, turn) as permit:
                    under_way += 1
                    try:
                        assert under_way <= (most or math.inf)
                        if attempt < plan.refusals:
                            await asyncio.sleep(0.01)
                            permit.failed(Failure(ErrorKind.OVERLOADED, "", True, plan.pause), {})
                            continue
                        permit.heard({})
                        await asyncio.sleep(plan.lasts)
                        permit.done(Usage(plan.tokens, 5))
                    finally:
                        under_way -= 1

        async def start(plan: Plan) -> None:
            await asyncio.sleep(plan.start)
            async with asyncio.timeout(plan.gives_up):
                await one(plan)

        ends = await asyncio.gather(*map(start, plans), return_exceptions=True)
        for plan, end in zip(plans, ends, strict=True):
            assert end is None or (isinstance(end, TimeoutError) and plan.gives_up is not None)
        traffic = limiter.traffic()
        assert (traffic.in_flight, traffic.waiting, under_way) == (0, 0, 0)
        # No place was lost: another call goes, however bad the time was.
        await asyncio.wait_for(call(limiter), 200)

    simulate(story())


def watch(limiter: Limiter) -> None:
    """Fail when a call is sent into a window that is full."""
    sent = limiter.capacity.sent

    def check(at: float, in_flight: int, waited_for: Level | None) -> Any:
        assert in_flight <= limiter.capacity.window.value
        return sent(at, in_flight, waited_for)

    limiter.capacity.sent = check  # type: ignore[method-assign]


# What is known is kept to


def test_known_limits_hold_in_every_minute() -> None:
    async def story() -> list[float]:
        limiter = Limiter(max_concurrent=7, requests_per_minute=90)
        return sorted(await asyncio.gather(*(call(limiter, 3) for _ in range(300))))

    sent = simulate(story())
    for start in sent:
        assert sum(start <= at < start + 60 for at in sent) <= 90
        assert sum(start - 3 < at <= start for at in sent) <= 7
    assert len(sent) / (sent[-1] - sent[0]) > 0.95 * 90 / 60


def test_tokens_are_counted_as_they_are_used_and_not_as_they_were_guessed() -> None:
    async def story() -> float:
        limiter = Limiter(tokens_per_minute=60_000)
        used = 0

        async def one() -> None:
            nonlocal used
            async with limiter.permit(100) as permit:
                permit.heard({})
                await asyncio.sleep(2)
                permit.done(Usage(150, 850))
                used += 1000

        tasks = [asyncio.create_task(one()) for _ in range(1000)]
        await asyncio.sleep(60)
        settled = used
        await asyncio.sleep(240)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return (used - settled) / 4

    assert 0.9 * 60_000 < simulate(story()) <= 60_000


def test_what_a_call_used_beyond_the_guess_is_made_up_for() -> None:
    async def story() -> float:
        limiter = Limiter(tokens_per_minute=6000)
        async with limiter.permit(10) as permit:
            permit.done(Usage(10, 2990))
        began = now()
        return await call(limiter) - began

    assert simulate(story()) == pytest.approx(30, rel=0.03)


def test_a_number_of_tokens_that_cannot_be_does_not_stop_a_run() -> None:
    async def story() -> float:
        limiter = Limiter(tokens_per_minute=1000)
        async with limiter.permit(10) as permit:
            permit.done(Usage(10**9, 10**9, cached=10**12))
        began = now()
        await asyncio.wait_for(call(limiter), 200)
        return now() - began

    assert simulate(story()) <= 70


# What an endpoint says is heeded


def test_retry_after_pauses_all_calls() -> None:
    async def story() -> None:
        limiter = Limiter()
        await call(limiter)
        began = now()
        await refuse(limiter, Failure(ErrorKind.OVERLOADED, "", passing=True, wait=20.0))
        assert limiter.traffic().paused == pytest.approx(20)
        sent = await asyncio.gather(*(call(limiter) for _ in range(4)))
        assert min(sent) >= began + 20

    simulate(story())


def test_a_wait_that_ends_the_call_does_not_stop_the_others() -> None:
    async def story() -> None:
        limiter = Limiter()
        await refuse(limiter, Failure(ErrorKind.RATE_LIMIT, "tomorrow", passing=False, wait=86_400.0))
        assert limiter.traffic().paused == 0

    simulate(story())


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


SPENT = [
    {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"},
    {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "0m29s1000ms"},
    {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "+30"},
    {"anthropic-ratelimit-input-tokens-remaining": "0", "anthropic-ratelimit-input-tokens-reset": "+30"},
]


@pytest.mark.parametrize("headers", SPENT)
@pytest.mark.parametrize("taken", [True, False])
def test_nothing_is_sent_until_a_spent_quota_is_renewed(headers: dict[str, str], taken: bool) -> None:
    headers = {name: in_seconds(30) if value == "+30" else value for name, value in headers.items()}

    async def story() -> float:
        limiter = Limiter()
        began = now()
        async with limiter.permit(10) as permit:
            if taken:
                permit.heard(headers)
            else:
                permit.failed(BUSY, headers)
        return await call(limiter) - began

    assert 28 < simulate(story()) < 31


@pytest.mark.parametrize(
    "name", ["x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit", "x-ratelimit-limit-tokens"]
)
def test_a_limit_that_is_told_sets_the_pace_before_anything_is_refused(name: str) -> None:
    async def story() -> list[float]:
        limiter = Limiter()
        await call(limiter, **{name.replace("-", "_"): "120"})
        tokens = 1 if "tokens" in name else 10
        return sorted(await asyncio.gather(*(call(limiter, 0.1, tokens=tokens) for _ in range(100))))

    sent = simulate(story())
    assert 0.9 * 2 < 60 / (sent[80] - sent[20]) <= 2


ABSURD = [
    "9999h",
    "1e400",
    "inf",
    "nan",
    "-5s",
    "٣s",
    "9" * 400,
    "2999-01-01T00:00:00Z",
    "0001-01-01",
    "\0",
    "",
]


@pytest.mark.parametrize("value", ABSURD)
def test_an_absurd_header_costs_a_minute_at_most(value: str) -> None:
    async def story() -> float:
        limiter = Limiter()
        names = [
            form.format(kind)
            for kind in KINDS
            for form in ("x-ratelimit-{{}}-{}", "anthropic-ratelimit-{}-{{}}")
        ]
        headers = {name.format(field): value for name in names for field in ("limit", "reset")}
        headers |= {name.format("remaining"): "0" for name in names}
        await refuse(limiter, BUSY, headers)
        began = now()
        return await asyncio.wait_for(call(limiter), 200) - began

    assert simulate(story()) <= 61


@given(st.text(max_size=40) | st.from_regex(r"[0-9.]{1,12}(h|m|s|ms|d)?", fullmatch=True))
def test_no_header_breaks_the_reading(value: str) -> None:
    names = [f"x-ratelimit-{field}-tokens" for field in ("limit", "remaining", "reset")]
    for quota in quotas(dict.fromkeys(names, value) | {names[1]: "0"}):
        assert quota.limit is None or 0 < quota.limit <= 10**9
        assert 0 <= quota.blocked < math.inf


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [("6m0s", 360), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("1d", 86_400), ("7", 7), ("soon", 0), ("s", 0)],
)
def test_the_forms_of_a_reset_are_read(reset: str, seconds: float) -> None:
    (quota,) = quotas({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": reset})
    assert quota.blocked == pytest.approx(seconds)
    (left,) = quotas({"x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": reset})
    assert left.blocked == 0


# What is not said is found out


def fill(limiter: Limiter, calls: int, seconds: float = 10.0) -> list[asyncio.Task[float]]:
    return [asyncio.create_task(call(limiter, seconds)) for _ in range(calls)]


def test_the_window_starts_at_a_handful_and_grows_by_one_with_each_success() -> None:
    async def story() -> None:
        limiter = Limiter()
        tasks = fill(limiter, 40)
        await asyncio.sleep(1)
        assert limiter.traffic().in_flight == limiter.traffic().window == 5
        await asyncio.sleep(10)
        assert limiter.traffic().in_flight == limiter.traffic().window == 10
        await asyncio.sleep(10)
        assert limiter.traffic().in_flight == limiter.traffic().window == 20
        await asyncio.gather(*tasks)

    simulate(story())


@pytest.mark.parametrize(
    ("kind", "window"), [(ErrorKind.RATE_LIMIT, 2), (ErrorKind.OVERLOADED, 2), (ErrorKind.SERVER, 5)]
)
def test_refusals_of_calls_that_ran_together_halve_the_window_once(kind: ErrorKind, window: int) -> None:
    async def story() -> None:
        limiter, leave = Limiter(), asyncio.Event()
        permits: list[Permit] = []

        async def one() -> None:
            async with limiter.permit(10) as permit:
                permits.append(permit)
                await leave.wait()

        tasks = [asyncio.create_task(one()) for _ in range(9)]
        await asyncio.sleep(1)
        assert limiter.traffic().in_flight == limiter.traffic().window == 5
        for permit in reversed(permits):
            permit.failed(Failure(kind, "", passing=True), {})
        assert limiter.traffic().window == window
        assert limiter.traffic().refused == (0 if kind is ErrorKind.SERVER else 5)
        leave.set()
        await asyncio.gather(*tasks)

    simulate(story())


@pytest.mark.parametrize("retry_after", [False, True])
@pytest.mark.parametrize("most", [1, 4, 50])
def test_the_calls_at_once_settle_at_what_the_endpoint_takes(most: int, retry_after: bool) -> None:
    def make() -> Endpoint:
        return Endpoint(concurrent=most, retry_after=retry_after)

    outcome = simulate(load(make, callers=2 * most + 4, lasts=2.0, seconds=240))
    assert outcome.calls * 2.005 / most > 0.85
    assert outcome.refused < (0.08 if most == 1 else 0.03)
    assert outcome.longest < 5


@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("retry_after", [False, True])
@pytest.mark.parametrize(
    ("limit", "burst", "lasts", "seconds"),
    [
        (60, 1, 2.0, 900),
        (500, 1, 2.0, 400),
        (500, 60, 2.0, 400),
        (3000, 1, 0.05, 90),
        # Two calls that come together are one too many here, and nothing that is not used is saved up.
        (500, 0.12, 2.0, 900),
    ],
)
def test_the_calls_a_minute_settle_at_what_the_endpoint_takes(
    limit: int, burst: float, lasts: float, seconds: float, retry_after: bool, headers: bool
) -> None:
    def make() -> Endpoint:
        return Endpoint(requests=limit, burst=burst, retry_after=retry_after, headers=headers)

    callers = int(limit / 30 * lasts) + 20
    outcome = simulate(load(make, callers=callers, lasts=lasts, seconds=seconds))
    assert 0.85 < outcome.calls * 60 / limit < 1.1
    assert outcome.refused < 0.05
    assert outcome.longest < 5


@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("retry_after", [False, True])
def test_the_tokens_a_minute_settle_at_what_the_endpoint_takes(retry_after: bool, headers: bool) -> None:
    def make() -> Endpoint:
        return Endpoint(tokens=500_000, burst=5, retry_after=retry_after, headers=headers)

    outcome = simulate(load(make, callers=60, lasts=2.0, seconds=400))
    assert 0.85 < outcome.tokens * 60 / 500_000 < 1.1
    assert outcome.refused < 0.03
    assert outcome.longest < 5


@pytest.mark.parametrize(("requests", "possible"), [(math.inf, 64 / 1.005), (1200, 20)])
def test_refusals_that_have_nothing_to_do_with_the_traffic_do_not_bring_it_to_a_crawl(
    requests: float, possible: float
) -> None:
    outcome = simulate(
        load(lambda: Endpoint(requests=requests, moody=0.036), callers=64, lasts=1.0, seconds=200)
    )
    assert outcome.calls > possible / 3
    assert outcome.longest < 5


def test_a_limit_that_moves_is_followed() -> None:
    async def story() -> list[float]:
        endpoint = Endpoint(concurrent=40)
        phases: list[float] = []

        async def mover() -> None:
            for most in (40, 10, 40):
                endpoint.concurrent = most
                await asyncio.sleep(150)
                before = len(endpoint.taken)
                await asyncio.sleep(150)
                phases.append((len(endpoint.taken) - before) / 150 * 2.005 / most)

        moving = asyncio.create_task(mover())
        await load(lambda: endpoint, callers=80, lasts=2.0, seconds=900.5)
        await moving
        return phases

    assert min(simulate(story())) > 0.8


# The adapter


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_call_holds_its_place_until_its_answer_has_ended() -> None:
    script, limiter = Script(*HELLO, gate=asyncio.Event()), Limiter(max_concurrent=1)
    async with serving(script) as server, adapter(server.base_url, limiter=limiter) as model:
        first, second = (asyncio.create_task(complete(model, ask())) for _ in range(2))
        await script.started.wait()
        await until(lambda: limiter.traffic().waiting == 1)
        assert server.requests == 1
        assert script.gate is not None
        script.gate.set()
        await asyncio.gather(first, second)
        assert server.requests == 2
    traffic = limiter.traffic()
    assert (traffic.in_flight, traffic.waiting, traffic.accepted, traffic.refused) == (0, 0, 2, 0)


async def drain(parts: AsyncIterator[Any]) -> None:
    async for _ in parts:
        pass


@pytest.mark.parametrize("how", ["cancel", "aclose"])
async def test_a_call_that_is_given_up_in_its_answer_frees_its_place_and_its_connection(how: str) -> None:
    script, limiter = Script(*HELLO, gate=asyncio.Event()), Limiter(max_concurrent=1)
    async with serving(script) as server, adapter(server.base_url, limiter=limiter) as model:
        stream = model.stream(ask())
        await anext(stream)
        assert limiter.in_flight == 1
        if how == "cancel":
            task = asyncio.create_task(drain(stream))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await stream.aclose()
        assert limiter.in_flight == 0
        await asyncio.wait_for(script.closed.wait(), 5)
        await until(lambda: not server._clients)


async def test_a_call_that_is_given_up_while_it_waits_sends_nothing() -> None:
    script, limiter = Script(*HELLO, gate=asyncio.Event()), Limiter(max_concurrent=1)
    async with serving(script) as server, adapter(server.base_url, limiter=limiter) as model:
        first = asyncio.create_task(complete(model, ask()))
        await script.started.wait()
        second = asyncio.create_task(complete(model, ask()))
        await until(lambda: limiter.traffic().waiting == 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert script.gate is not None
        script.gate.set()
        await first
        assert server.requests == 1
    assert limiter.in_flight == 0


async def test_the_wait_before_a_retry_holds_no_place() -> None:
    broken = Reply(500, {"error": {"message": "oops"}})
    limiter = Limiter(max_concurrent=1)
    async with (
        serving(Script(*HELLO), faults=lambda n, _: broken if n == 1 else None) as server,
        adapter(server.base_url, limiter=limiter, backoff_base=1e9) as model,
    ):
        waiting = asyncio.create_task(complete(model, ask()))
        await until(lambda: server.requests == 1 and limiter.in_flight == 0)
        response = await asyncio.wait_for(complete(model, ask()), 5)
        assert response.message.text == "Hello"
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize(
    "said",
    [
        {"retry-after-ms": "150"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "150ms"},
    ],
    ids=["retry-after", "quota"],
)
async def test_what_a_refusal_says_pauses_all_models_of_the_endpoint(said: dict[str, str]) -> None:
    full = Reply(429, {"error": {"message": "slow down"}}, said)
    limiter = Limiter()
    async with (
        serving(Script(*HELLO), faults=lambda n, _: full if n == 1 else None) as server,
        adapter(server.base_url, limiter=limiter) as one,
        adapter(server.base_url, limiter=limiter) as other,
    ):
        refused = asyncio.create_task(complete(one, ask()))
        await until(lambda: limiter.traffic().refused == 1)
        pause, began = limiter.traffic().paused, now()
        assert 0 < pause <= 0.15
        await complete(other, ask())
        assert now() - began >= pause
        await refused


async def test_a_call_that_is_refused_for_ever_ends() -> None:
    full = Reply(529, {"error": {"message": "overloaded"}})
    async with (
        serving(Script(*HELLO), faults=lambda *_: full) as server,
        adapter(server.base_url) as model,
    ):
        with pytest.raises(ModelError, match="overloaded") as caught:
            await asyncio.wait_for(complete(model, ask()), 5)
    assert caught.value.kind is ErrorKind.OVERLOADED

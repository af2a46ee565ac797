"""Simulated time, and simulated endpoints with true limits, to load a limiter with."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from auditors.models.base import ErrorKind, Usage
from auditors.models.failure import Failure
from auditors.models.limiter import Limiter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Skipping(selectors.SelectSelector):
    """Instead of waiting, moves the time on."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits, and for nothing"
        self.now += max(0.0, timeout)
        return super().select(0)


def simulate(story: Coroutine[Any, Any, T]) -> T:
    """Run `story` in simulated time, which passes only while everything sleeps."""
    selector = Skipping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(story)


def now() -> float:
    return asyncio.get_running_loop().time()


class Endpoint:
    """A simulated endpoint with true limits.

    Rates are token buckets that hold what is allowed in `burst` seconds, as those of the providers are. A `moody`
    one refuses that share of the calls for no reason of ours.
    """

    def __init__(
        self,
        *,
        concurrent: float = math.inf,
        requests: float = math.inf,
        tokens: float = math.inf,
        burst: float = 1.0,
        headers: bool = False,
        retry_after: bool = False,
        moody: float = 0.0,
    ) -> None:
        self.concurrent = concurrent
        self.limits = {"requests": requests / 60, "tokens": tokens / 60}
        self.burst = burst
        self.left = {kind: max(1.0, limit * burst) for kind, limit in self.limits.items()}
        self.filled = now()
        self.headers = headers
        self.retry_after = retry_after
        self.moody = moody
        self.moods = random.Random(0)
        self.running = 0
        self.taken: list[tuple[float, int]] = []
        self.refused: list[float] = []

    def ask(self, tokens: int) -> tuple[bool, dict[str, str], float]:
        """Whether a call is taken, the headers that say so, and the seconds of `retry-after`."""
        costs = {"requests": 1, "tokens": tokens}
        for kind, limit in self.limits.items():
            full = max(1.0, limit * self.burst)
            self.left[kind] = min(full, self.left[kind] + limit * (now() - self.filled))
        self.filled = now()
        taken = self.running < self.concurrent and all(self.left[kind] >= costs[kind] for kind in costs)
        taken = taken and self.moods.random() >= self.moody
        if taken:
            self.taken.append((now(), tokens))
            for kind, cost in costs.items():
                self.left[kind] -= cost
        else:
            self.refused.append(now())
        # Whole seconds, as providers round them.
        return taken, self.said() if self.headers else {}, 1.0 if self.retry_after else 0.0

    def said(self) -> dict[str, str]:
        said: dict[str, str] = {}
        for kind, limit in self.limits.items():
            if limit < math.inf:
                said[f"x-ratelimit-limit-{kind}"] = f"{limit * 60:.0f}"
                said[f"x-ratelimit-remaining-{kind}"] = f"{self.left[kind]:.0f}"
                said[f"x-ratelimit-reset-{kind}"] = f"{(limit * self.burst - self.left[kind]) / limit:.3f}s"
        return said


class Outcome(NamedTuple):
    """The second half of a run."""

    calls: float
    """A second, that were taken."""
    tokens: float
    refused: float
    """Share of all that were sent."""
    longest: float
    """Wait of a call for its answer to begin, relative to the mean."""


async def load(
    make: Callable[[], Endpoint], *, callers: int, lasts: float, seconds: float, tokens: int = 1000
) -> Outcome:
    """Callers that never rest, each with one call at a time."""
    endpoint, limiter, draw = make(), Limiter(), random.Random(0)
    half = now() + seconds / 2
    waits: list[float] = []

    async def one(size: int) -> None:
        asked, turn = now(), limiter.turn()
        while True:
            async with limiter.permit(size, turn) as permit:
                await asyncio.sleep(0.005)
                taken, headers, wait = endpoint.ask(size)
                if taken:
                    endpoint.running += 1
                    if asked > half:
                        waits.append(now() - asked)
                    permit.heard(headers)
                    await asyncio.sleep(lasts * draw.lognormvariate(-0.18, 0.6))
                    endpoint.running -= 1
                    permit.done(Usage(size, 0))
                    return
                failure = Failure(ErrorKind.RATE_LIMIT, "", True, wait)
                permit.failed(failure, headers)
            await asyncio.sleep(wait + draw.uniform(0, 0.5))

    async def caller() -> None:
        while True:
            await one(int(tokens * draw.uniform(0.5, 1.5)))

    tasks = [asyncio.create_task(caller()) for _ in range(callers)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limiter.in_flight == 0
    taken = [size for at, size in endpoint.taken if at > half]
    refused = sum(at > half for at in endpoint.refused)
    mean = sum(waits) / len(waits)
    return Outcome(
        len(taken) * 2 / seconds,
        sum(taken) * 2 / seconds,
        refused / (refused + len(taken)),
        max(waits) / mean,
    )

"""Limits of traffic, as providers enforce them, and the count of what they let through."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from auditors.sim.connection import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_UNKNOWN_WAIT = 1.0
"""Seconds that a client is told to wait for another's answer to end, which nobody can foretell."""
_ROUNDING = 1e-6
"""Who waits as long as it was told must not be a rounding error short."""


class Limits(msgspec.Struct, frozen=True):
    """What a server takes; None is without limit.

    A limit per minute is a token bucket: it refills evenly and holds what `burst_seconds` bring, so an idle
    minute is not saved up. A request takes 1 from one bucket and its input tokens from the other; its output tokens
    are taken when they are known and may leave the bucket in debt. A request larger than the whole bucket is let in
    when the bucket is full. What is refused costs nothing.
    """

    concurrent: int | None = None
    """Answers under way at once."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    burst_seconds: float = 1.0
    headers: bool = True
    """Whether each answer tells in its headers what the limits per minute leave."""
    retry_after: bool = True
    """Whether a refusal says how long to wait."""


class Gauge(NamedTuple):
    """A limit per minute and what it leaves."""

    name: str
    """`requests` or `tokens`."""
    limit: int
    remaining: int
    reset: float
    """Seconds until the bucket is full again."""


class Traffic:
    """The traffic of a server.

    Args:
        limits: what it takes.
        clock: seconds from any fixed moment.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.accepted = 0
        """Requests that were let in."""
        self.refused = 0
        """Requests that met a limit."""
        self.tokens = 0
        """Input and output tokens of the requests that were let in, as far as they are known."""
        self.in_flight = 0
        """Answers under way."""
        self._limits = limits
        rates = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        self._buckets = {
            name: _Bucket(rate, limits.burst_seconds, clock)
            for name, rate in rates.items()
            if rate is not None
        }

    @contextlib.contextmanager
    def admitted(self, tokens: int) -> Generator[None]:
        """Let in a request of so many input tokens, for as long as it is answered.

        Raises:
            RequestError: a limit stands against it.
        """
        costs = {"requests": 1, "tokens": tokens}
        waits = {name: bucket.wait(costs[name]) for name, bucket in self._buckets.items()}
        if self._limits.concurrent is not None and self.in_flight >= self._limits.concurrent:
            waits["concurrent requests"] = _UNKNOWN_WAIT
        name = max(waits, key=lambda name: waits[name], default=None)
        if name is not None and waits[name] > 0:
            self.refused += 1
            wait = waits[name] if self._limits.retry_after else None
            what = f"Rate limit reached for {name}; slow down."
            raise RequestError(429, what, "rate_limit_exceeded", wait=wait)
        self.accepted += 1
        if "requests" in self._buckets:
            self._buckets["requests"].take(1)
        self.spend(tokens)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def spend(self, tokens: int) -> None:
        """Count tokens of a request that was let in."""
        self.tokens += tokens
        if "tokens" in self._buckets:
            self._buckets["tokens"].take(tokens)

    def gauges(self) -> list[Gauge]:
        """What clients are told."""
        if not self._limits.headers:
            return []
        return [bucket.gauge(name) for name, bucket in self._buckets.items()]


class _Bucket:
    def __init__(self, per_minute: int, burst_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = per_minute
        self._rate = per_minute / 60
        self._size = max(1.0, self._rate * burst_seconds)
        self._clock = clock
        self._level = self._size
        self._filled = clock()

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._size, self._level + (now - self._filled) * self._rate)
        self._filled = now

    def wait(self, cost: int) -> float:
        """Seconds until a request of that cost is let in."""
        self._fill()
        missing = min(cost, self._size) - self._level
        return missing / self._rate if missing > _ROUNDING else 0.0

    def take(self, cost: int) -> None:
        self._fill()
        self._level -= cost

    def gauge(self, name: str) -> Gauge:
        self._fill()
        reset = (self._size - self._level) / self._rate
        return Gauge(name, self._limit, max(0, int(self._level)), reset)

"""The traffic of one endpoint: who may send when, shared by all its models."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
from typing import TYPE_CHECKING

import msgspec

from auditors.models.base import ErrorKind
from auditors.models.capacity import HEADROOM, Capacity, Level, Sent
from auditors.models.rate_headers import KINDS, quotas

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from auditors.models.base import Usage
    from auditors.models.failure import Failure

_REFUSALS = (ErrorKind.RATE_LIMIT, ErrorKind.OVERLOADED)
_MINUTE = 60.0
"""What limits are by, and so the longest wait for one."""
_LATE = 0.02
"""Seconds that a call may be late and the next still be on time."""
_MEMORY = 16
"""Calls over which the cost of a token asked is averaged."""


class Traffic(msgspec.Struct, frozen=True):
    """The traffic of an endpoint at a moment."""

    window: int
    """Calls that may run at once."""
    per_minute: float | None
    """Calls that may start a minute; None while no limit is known or found."""
    in_flight: int
    waiting: int
    paused: float
    """Seconds until anything may be sent; 0 if it may now."""
    accepted: int
    """Calls that the endpoint has taken so far."""
    refused: int
    """Calls that it had too much to do for."""


class _Meter:
    """The limits on one kind of traffic that are known, and what has been spent of them."""

    def __init__(self, per_minute: int | None = None) -> None:
        self.ready = 0.0
        """When the next call may go."""
        self.told = math.inf
        """What the endpoint says is allowed a minute."""
        self.cost = 1.0
        """Of a call, for each token that it asks."""
        self._known = per_minute or math.inf
        self._calls = 0

    @property
    def rate(self) -> float:
        """What may be spent a second."""
        return min(self._known, self.told) / _MINUTE * HEADROOM

    def spend(self, now: float, amount: float, rate: float) -> None:
        """Put off the next call for what this one takes."""
        # Bounded, so that no number of an endpoint makes a run wait for hours.
        self.ready = min(max(self.ready, now - _LATE) + amount / rate, now + _MINUTE)

    def learn(self, asked: int, used: float) -> None:
        """A call that asked so many tokens has used so much."""
        self._calls = min(self._calls + 1, _MEMORY)
        self.cost += (used / max(1, asked) - self.cost) / self._calls


class Permit:
    """Leave to send one attempt; it is told how the attempt fares."""

    def __init__(self, limiter: Limiter, tokens: int, sent: Sent, spent: Mapping[str, float]) -> None:
        self._limiter = limiter
        self._tokens = tokens
        self._sent = sent
        self._spent = spent

    def heard(self, headers: Mapping[str, str]) -> None:
        """The endpoint has taken the call, and the headers of its answer are there."""
        self._limiter.capacity.took(_now(), self._sent)
        self._limiter.heed(headers)

    def failed(self, failure: Failure, headers: Mapping[str, str]) -> None:
        """The attempt failed; `headers` are those of an answer that says so."""
        if failure.kind not in _REFUSALS:
            return
        # A wait that the call itself gives up at must not stop all the others.
        pause = failure.wait if failure.passing else 0.0
        self._limiter.capacity.refused_one(_now(), self._sent, self._limiter.in_flight, pause)
        self._limiter.pause(pause)
        self._limiter.heed(headers)

    def done(self, usage: Usage) -> None:
        """The answer is complete."""
        self._limiter.capacity.finished(_now(), self._sent)
        if usage.input is None or usage.output is None:
            return
        used = {
            "tokens": usage.input + usage.output,
            "input-tokens": max(0, usage.input - (usage.cached or 0)),
            "output-tokens": usage.output,
        }
        for kind, tokens in used.items():
            self._limiter.settle(kind, self._tokens, tokens, self._spent[kind])


class Limiter:
    """The traffic of one endpoint.

    Calls are sent in the order in which they came, and one that was refused keeps its place. The first one waits
    until fewer calls are in flight than the window has places, its turn in the pace has come, the limits that are
    known or that the endpoint tells of leave room for it, and no pause that the endpoint asked for is on. Window
    and pace are found out (see `Capacity`); what is known is kept to from the start.
    """

    def __init__(
        self,
        *,
        max_concurrent: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        """Set up a limiter.

        Args:
            max_concurrent: never more calls at once than this.
            requests_per_minute: known limit; found out where it is None.
            tokens_per_minute: as well, of input and output together.
        """
        self.capacity = Capacity()
        self.in_flight = 0
        self._most = max_concurrent or math.inf
        known = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._meters = {kind: _Meter(known.get(kind)) for kind in KINDS}
        self._paused_until = 0.0
        self._turns = itertools.count()
        self._queue: list[tuple[int, int, int, asyncio.Future[Permit]]] = []
        self._alarm: asyncio.TimerHandle | None = None

    def turn(self) -> int:
        """A place in the order of calls, for all attempts of one call."""
        return next(self._turns)

    @contextlib.asynccontextmanager
    async def permit(self, tokens: int, turn: int | None = None) -> AsyncGenerator[Permit]:
        """Wait for leave to send a request of about `tokens` tokens, and hold it while the answer comes.

        Args:
            tokens: that the model has to read.
            turn: the call's place in the order, from `turn()`; None for the last one.
        """
        granted: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        arrival = self.turn()
        heapq.heappush(self._queue, (arrival if turn is None else turn, arrival, tokens, granted))
        self._admit()
        try:
            permit = await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # It was granted in the moment of the cancellation.
                self.in_flight -= 1
            self._admit()
            raise
        try:
            yield permit
        finally:
            self.in_flight -= 1
            self._admit()

    def pause(self, seconds: float) -> None:
        """Send nothing for that long."""
        self._paused_until = max(self._paused_until, _now() + seconds)

    def heed(self, headers: Mapping[str, str]) -> None:
        """Keep to what the headers of an answer say about limits."""
        for quota in quotas(headers):
            if quota.limit is not None:
                self._meters[quota.kind].told = quota.limit
            self.pause(min(quota.blocked, _MINUTE))

    def settle(self, kind: str, asked: int, used: float, spent: float) -> None:
        """Correct what was spent on a call by what it has used."""
        meter = self._meters[kind]
        meter.learn(asked, used)
        meter.spend(_now(), used - spent, meter.rate)

    def traffic(self) -> Traffic:
        """The traffic now."""
        pace = min(self._meters["requests"].rate, self.capacity.pace.value) * _MINUTE
        return Traffic(
            window=int(min(self._most, self.capacity.window.value)),
            per_minute=pace if math.isfinite(pace) else None,
            in_flight=self.in_flight,
            waiting=sum(not granted.done() for *_, granted in self._queue),
            paused=max(0.0, self._paused_until - _now()),
            accepted=self.capacity.accepted,
            refused=self.capacity.refused,
        )

    def _admit(self) -> None:
        """Let through every call that may go now, and come back when the next one may."""
        now = _now()
        waited_for = self.capacity.held_by
        self.capacity.hold(now, None)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        held_by: Level | None = None
        while self._queue:
            *_, tokens, granted = self._queue[0]
            if granted.cancelled():
                heapq.heappop(self._queue)
                continue
            if self.in_flight >= self._most:
                break
            if self.in_flight + 1 > self.capacity.window.value:
                held_by = self.capacity.window
                self._wake(now + self.capacity.opens(self.in_flight + 1))
                break
            requests = self._meters["requests"]
            ready = max(self._paused_until, *(meter.ready for meter in self._meters.values()))
            if ready > now:
                if ready == requests.ready and self.capacity.pace.value < requests.rate:
                    held_by = self.capacity.pace
                self._wake(ready)
                break
            heapq.heappop(self._queue)
            granted.set_result(self._grant(now, tokens, waited_for))
        self.capacity.hold(now, held_by)

    def _wake(self, when: float) -> None:
        if math.isfinite(when):
            self._alarm = asyncio.get_running_loop().call_at(when, self._admit)

    def _grant(self, now: float, tokens: int, waited_for: Level | None) -> Permit:
        self.in_flight += 1
        spent = {kind: tokens * meter.cost for kind, meter in self._meters.items()} | {"requests": 1.0}
        for kind, meter in self._meters.items():
            pace = self.capacity.pace.value if kind == "requests" else math.inf
            meter.spend(now, spent[kind], min(meter.rate, pace))
        return Permit(self, tokens, self.capacity.sent(now, self.in_flight, waited_for), spent)


def _now() -> float:
    return asyncio.get_running_loop().time()

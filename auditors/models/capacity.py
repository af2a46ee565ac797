"""How much an endpoint takes, learned from what it takes and what it refuses."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import NamedTuple

_HANDFUL = 5
"""Calls at once before anything is known."""
_SLOWEST = 1 / 30
"""Calls a second that are tried however much is refused."""
HEADROOM = 0.98
"""Share of a rate that was measured or told that is used: at all of it, chance alone would bring refusals."""
_LONGEST_STAY = 16
_LONGEST_ROUND = 60.0
_SAMPLE = 10
"""Accepted calls that make a measurement."""
_AS_MANY = 5
"""Accepted calls with as many in flight that clear their number of the blame for a refusal."""
_BEARABLE = 0.1
"""Share of refusals at a proven level that does not speak against it."""
_STRAIN = 2.0
"""Refusals beyond that share that do."""
_A_WHILE = 1.0
"""Seconds of waiting calls in which a measured rate is more than a burst."""
_CAREFUL = 0.8
"""Share of what was surely taken that is clearly less."""
_MOODY = 0.01
"""Share of refusals among such calls from which on an endpoint counts as one that refuses for reasons of its own."""
_MOOD_MEMORY = 30
"""Such calls over which that share is averaged."""
_MINUTE = 60.0
_TICK = 0.001
"""Seconds that rounding cannot swallow."""


class Level:
    """A limit that is found out, in the shape of CUBIC (RFC 9438) stretched at the last good level.

    After a refusal it is half of what was last good, is back there within a round, stays, and then rises with the
    cube of the rounds. It stays for one round, and up to 16 when refusal after refusal confirms the same level. It
    grows older only while calls wait for it, so that an idle hour teaches nothing.
    """

    def __init__(self, start: float, lowest: float) -> None:
        self.good = start
        """Where the last refusal put it."""
        self.found = False
        """Whether there was a refusal."""
        self._lowest = lowest
        self._sure = 0.0
        self._age = 1.0
        self._stay = 1

    @property
    def value(self) -> float:
        """How much is tried now."""
        if self._age < 1:
            return max(self._lowest, self.good * (1 + self._age) / 2)
        return self.good * (1 + max(0.0, self._age - 1 - self._stay) ** 3 / 4)

    @property
    def careful(self) -> bool:
        """Whether clearly less is tried than what was surely taken before the last cut."""
        return self.value < _CAREFUL * self._sure

    @property
    def proven(self) -> bool:
        """Whether no more is tried than what was last good."""
        return self.found and self._age <= 1 + self._stay

    def until(self, value: float) -> float:
        """Rounds until it has risen to `value`."""
        if value <= self.good:
            return max(0.0, 2 * value / self.good - 1 - self._age)
        return max(0.0, 1 + self._stay + math.cbrt(4 * (value / self.good - 1)) - self._age)

    def grow_older(self, rounds: float) -> None:
        """Calls waited for it that long."""
        if self.found:
            self._age += rounds

    def cut(self, good: float, sure: float | None = None) -> None:
        """A refusal showed that not much more than `good` is taken; `sure` was, where that could be measured."""
        confirmed = self.found and 0.75 * self.good <= good <= 1.25 * self.good
        self._stay = min(_LONGEST_STAY, 4 * self._stay) if confirmed else 1
        self.good, self._age, self.found = max(self._lowest, good), 0.0, True
        self._sure = self._sure if sure is None else sure

    def doubt(self, most: float = math.inf) -> None:
        """Something else was to blame: probe soon again, from `most` at most."""
        self._stay = 1
        if most < self.value:
            self.good, self._age, self.found = max(self._lowest, most), 1.0, True


class Sent(NamedTuple):
    """The circumstances in which a call was sent."""

    at: float
    in_flight: int
    """Calls at once, this one included."""
    paced: bool
    """Whether it had waited for the pace."""
    careful: bool
    """Whether it had waited for a level that was far below what was last good."""
    epoch: int
    """Refusals that had counted until then."""


class Capacity:
    """What one endpoint takes: so many calls at once (`window`), so many a second (`pace`).

    The window starts at a handful and grows by one with each success, the pace is unlimited, until the first
    refusal. A refusal does not say which of the two it is about, so the calls that were taken say it: where as
    many were in flight before and were fine, it is the pace, else the window. The blamed one is halved and comes
    back as `Level` has it; calls that were sent before the last cut cut nothing. What was last good is, for the
    window, the number of the other calls in flight. For the pace it is between the rate that was taken since its
    last cut, which is the true one if the endpoint saves up what is not used, and the pace at the refusal, which
    is the true one if it does not: the middle converges to either (to measure the rate instead of guessing is the
    idea of BBR: Cardwell et al., ACM Queue 14(5), 2016). It is never less than the last minute's average, so that
    an endpoint that counts by the minute and refuses the rest of one does not look like one that takes nothing.

    Some refusals have nothing to do with our traffic: an endpoint is busy with others, or a proxy drops a few. To
    halve for each of those would end at a crawl, as TCP does on a lossy line. They show where calls are refused
    though clearly less is tried than was taken before, soon after a cut. While there are such, a refusal at a
    proven level cuts nothing until more than a tenth are refused there: a cumulative sum (Page, Biometrika 41,
    1954) of the refusals beyond that share finds a limit that has moved within a few calls.

    All times are seconds of one clock.
    """

    def __init__(self) -> None:
        self.window = Level(_HANDFUL, 1)
        self.pace = Level(math.inf, _SLOWEST)
        self.accepted = 0
        self.refused = 0
        self.held_by: Level | None = None
        """What calls wait for."""
        self._since = 0.0
        self._epoch = 0
        self._fine: defaultdict[int, float] = defaultdict(float)
        self._taken = 0
        self._seconds = 0.0
        self._lately: deque[float] = deque()
        self._duration = 0.0
        self._pause = 0.0
        self._strain = 0.0
        self._mood = 0.0

    def hold(self, now: float, level: Level | None) -> None:
        """From now on calls wait for `level`, or none waits, or they wait for something else."""
        self._pass(now)
        self.held_by = level

    def opens(self, places: int) -> float:
        """Seconds until the window has so many places; infinite while it grows with successes only."""
        if not self.window.found:
            return math.inf
        return max(_TICK, self.window.until(places) * self._round(self.window))

    def sent(self, now: float, in_flight: int, waited_for: Level | None) -> Sent:
        """A call goes out."""
        careful = waited_for is not None and waited_for.careful
        return Sent(now, in_flight, waited_for is self.pace, careful, self._epoch)

    def took(self, now: float, call: Sent) -> None:
        """The endpoint has taken a call: its answer begins."""
        self._pass(now)
        self.accepted += 1
        if call.epoch == self._epoch:
            self._fine[call.in_flight] += 1
            self._strain = max(0.0, self._strain - _BEARABLE)
            self._feel(call, 0.0)
        self._lately.append(now)
        self._forget(now)
        if self.held_by is not None:
            self._taken += 1

    def finished(self, now: float, call: Sent) -> None:
        """An answer is complete."""
        self._pass(now)
        weight = 1 / 16 if self._duration else 1
        self._duration += (now - call.at - self._duration) * weight
        if self.held_by is self.window and not self.window.found:
            self.window.good += 1

    def refused_one(self, now: float, call: Sent, in_flight: int, pause: float) -> None:
        """The endpoint had too much to do for a call, with `in_flight` now, and asks for a pause of so long."""
        self._pass(now)
        self.refused += 1
        if call.epoch != self._epoch:
            return
        others = call.in_flight - 1
        in_flight = max(in_flight, call.in_flight)  # Calls can overtake each other on their way.
        fine = sum(times for number, times in self._fine.items() if number >= in_flight)
        never_so_many = in_flight > 1 and fine < max(_AS_MANY, in_flight / 2)
        blamed = self.window if never_so_many and not call.paced else self.pace
        self._strain += 1 - _BEARABLE
        self._feel(call, 1.0)
        if blamed.proven and self._mood > _MOODY and self._strain <= _STRAIN:
            return
        self._epoch += 1
        self._pause, self._strain = pause, 0.0
        for number in self._fine:
            self._fine[number] /= 2
        if blamed is self.window:
            self.window.cut(others)
        else:
            measured = self._taken / self._seconds if self._taken >= _SAMPLE and self._seconds > 0 else None
            # What was saved up is gone in a moment, and says little about what can go on.
            sure = measured if self._seconds > _A_WHILE else None
            self.pace.cut(self._rate(now, call, measured) * HEADROOM, sure)
            self._taken, self._seconds = 0, 0.0
            self.window.doubt(others if never_so_many else math.inf)

    def _feel(self, call: Sent, refused: float) -> None:
        if call.careful:
            self._mood += (refused - self._mood) / _MOOD_MEMORY

    def _rate(self, now: float, call: Sent, measured: float | None) -> float:
        """Calls a second that seem to be taken; `measured` were since the last cut."""
        self._forget(now)
        lately = len(self._lately)
        pace = self.pace.value
        if measured is not None:
            rate = measured if math.isinf(pace) else (measured + pace) / 2
        elif math.isinf(pace):
            began = self._lately[0] if self._lately else call.at
            rate = max(1, lately) / max(0.01, now - began)
        else:
            rate = pace
        return max(rate, lately / _MINUTE)

    def _forget(self, now: float) -> None:
        while self._lately and self._lately[0] < now - _MINUTE:
            self._lately.popleft()

    def _pass(self, now: float) -> None:
        """Count the time since the last event for what the calls waited for."""
        seconds, self._since = now - self._since, now
        if (level := self.held_by) is None:
            return
        self._seconds += seconds
        level.grow_older(seconds / self._round(level))

    def _round(self, level: Level) -> float:
        """Seconds of a round: enough to see its effect, and for refusals to cost little of the time."""
        seconds = max(self._duration or 1.0, self._pause)
        if level is self.pace and level.found:
            seconds = max(seconds, _SAMPLE / level.good)
        return min(seconds, _LONGEST_ROUND)

"""How near the limiter comes to what a server takes that does not say how much that is.

Puts the real adapter, over the real SDK and a real socket, against a loopback server with a true limit of each kind,
which refuses with nothing but a 429, with `retry-after`, or with rate-limit headers on what it refuses. Prints, for
the second half of each run, the rate that was accepted relative to the true limit, the share of the requests that
was refused, and the longest wait for an answer to begin relative to the mean.

    python benchmarks/limiter.py [--seconds 20] [--aim 0.85]

Exits with 1 where a setting falls short of `--aim`.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from auditors.models.base import (
    ChatMessage,
    Delta,
    Request,
    Response,
    Role,
    StopReason,
    TextDelta,
    Usage,
)
from auditors.models.http_model import HttpModel
from auditors.models.limiter import Limiter
from auditors.models.openai_chat import ChatWire
from auditors.models.tokens import CHARS_PER_TOKEN, asked_chars, tokens_of
from auditors.sim.server import Reply, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ANSWER_S = 0.4
_TOKENS = 200
_CALLERS = 60


class Setting(NamedTuple):
    """A server's true limits, and how it says that they are reached."""

    concurrent: float = math.inf
    requests_per_minute: float = math.inf
    tokens_per_minute: float = math.inf
    says: str = "nothing"


class Limited:
    """A model that takes a while, and the limits in front of it: token buckets that hold one second's worth."""

    spec = "limited"
    simulated = True
    takes_prefill = False

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.rates = {"requests": setting.requests_per_minute / 60, "tokens": setting.tokens_per_minute / 60}
        self.left = dict(self.rates)
        self.filled = time.monotonic()
        self.running = 0
        self.taken: list[tuple[float, int]] = []
        self.refused: list[float] = []
        self.draw = random.Random(1)

    def fault(self, _: int, body: dict[str, Any]) -> Reply | None:
        """The refusal of a request, or None."""
        now, size = time.monotonic(), tokens_of(len(body["messages"][0]["content"]))
        costs = {"requests": 1, "tokens": size}
        for kind, rate in self.rates.items():
            self.left[kind] = min(rate, self.left[kind] + rate * (now - self.filled))
        self.filled = now
        if self.running < self.setting.concurrent and all(self.left[kind] >= costs[kind] for kind in costs):
            for kind, cost in costs.items():
                self.left[kind] -= cost
            # Here and not when the model starts: requests that arrive together must see each other.
            self.running += 1
            self.taken.append((now, size))
            return None
        self.refused.append(now)
        return Reply(429, {"error": {"message": "too much"}}, self.headers())

    def headers(self) -> dict[str, str]:
        """What a refusal says."""
        match self.setting.says:
            case "retry-after":
                return {"retry-after": "1"}
            case "headers":
                return {
                    f"x-ratelimit-limit-{kind}": f"{rate * 60:.0f}"
                    for kind, rate in self.rates.items()
                    if rate < math.inf
                }
            case _:
                return {}

    async def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        """Answer with a word after a while."""
        try:
            yield TextDelta("so")
            await asyncio.sleep(_ANSWER_S * self.draw.uniform(0.5, 1.5))
            usage = Usage(tokens_of(asked_chars(request)), 1)
            yield Response(ChatMessage(Role.ASSISTANT, "so"), StopReason.END, usage, self.spec)
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        """Nothing is open."""


async def run(setting: Setting, seconds: float) -> tuple[float, float, float]:
    """Accepted rate relative to the limit, share of refusals, longest wait relative to the mean."""
    limited = Limited(setting)
    server = await serve(lambda _: limited, faults=limited.fault)
    limiter = Limiter()
    wire = ChatWire(limited.spec, base_url=server.base_url)
    model = HttpModel("compatible:here/limited", wire, base_url=server.base_url, limiter=limiter)
    draw = random.Random(2)
    waits: list[float] = []
    half = time.monotonic() + seconds / 2

    async def caller() -> None:
        while True:
            text = "x" * int(CHARS_PER_TOKEN * _TOKENS * draw.uniform(0.5, 1.5))
            asked, first = time.monotonic(), None
            async for _ in model.stream(Request((ChatMessage(Role.USER, text),))):
                first = first or time.monotonic()
            if first and asked > half:
                waits.append(first - asked)

    callers = [asyncio.create_task(caller()) for _ in range(_CALLERS)]
    busy = 0.0
    while (now := time.monotonic()) < half + seconds / 2:
        await asyncio.sleep(0.02)
        busy += limited.running * (time.monotonic() - now) * (now > half)
    taken = [size for at, size in limited.taken if half < at]
    refused = sum(half < at for at in limited.refused)
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await model.aclose()
    await asyncio.sleep(0.2)  # The server sees that its clients are gone, and has nobody left to cut off.
    await server.close()
    shares = (
        busy / (seconds / 2) / setting.concurrent,
        len(taken) / (seconds / 2) / limited.rates["requests"],
        sum(taken) / (seconds / 2) / limited.rates["tokens"],
    )
    return max(shares), refused / (refused + len(taken)), max(waits) / (sum(waits) / len(waits))


async def main(seconds: float, aim: float) -> bool:
    """Run every setting; whether all reached the aim."""
    print(f"{'true limit':24} {'it says':12} {'of the limit':>12} {'refused':>8} {'longest wait / mean':>20}")
    reached = True
    for says in ("nothing", "retry-after", "headers"):
        settings = {
            "10 at once": Setting(concurrent=10, says=says),
            "3000 requests a minute": Setting(requests_per_minute=3000, says=says),
            "600000 tokens a minute": Setting(tokens_per_minute=600_000, says=says),
        }
        for name, setting in settings.items():
            if says == "headers" and setting.concurrent < math.inf:
                continue  # There is no header for it.
            share, refused, longest = await run(setting, seconds)
            reached = reached and share >= aim
            print(f"{name:24} {says:12} {share:12.1%} {refused:8.2%} {longest:20.1f}", flush=True)
    return reached


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each run")
    parser.add_argument(
        "--aim", type=float, default=0.85, help="share of the true limit that has to be reached"
    )
    options = parser.parse_args()
    sys.exit(not asyncio.run(main(options.seconds, options.aim)))

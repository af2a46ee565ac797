"""What a call costs: our layer, the bare SDK and inspect_ai, making the same streamed calls in one run.

    python benchmarks/models.py [--peer PYTHON] [--calls 600] [--chunks 20] [--memory-calls 10000]

`--peer` is the interpreter of an environment with inspect_ai and openai. Each contender runs in a process of its
own against a loopback server in another, so that the CPU time of the process is that of the client alone; imports
and a warm-up are not counted. The floor is the SDK giving the raw bytes of the answer, with nothing parsed; the
SDK's own stream is what a script would use. Then two hundred streams at 50 tokens a second share one core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

_HERE = Path(__file__)
_PROMPT = "Tell me about the weather. " * 40
_ROUNDS = 3
_STREAMS = 200
_PACE = 50.0
_PACED_CHUNKS = 172

Call = Callable[[], Awaitable[None]]


# The contenders


@contextlib.asynccontextmanager
async def floor(base_url: str) -> Iterator[Call]:
    """The SDK's request, and the bytes of its answer."""
    client = _sdk(base_url)

    async def call() -> None:
        async with client.chat.completions.with_streaming_response.create(**_arguments()) as response:
            async for _ in response.iter_bytes():
                pass

    async with client:
        yield call


@contextlib.asynccontextmanager
async def sdk(base_url: str) -> Iterator[Call]:
    """The SDK's own stream of typed chunks."""
    client = _sdk(base_url)

    async def call() -> None:
        text = []
        async with await client.chat.completions.create(**_arguments()) as stream:
            async for chunk in stream:
                text += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        assert text

    async with client:
        yield call


def _sdk(base_url: str):
    import httpx2
    import openai

    http = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256))
    return openai.AsyncOpenAI(api_key="none", base_url=base_url, max_retries=0, http_client=http)


def _arguments() -> dict[str, object]:
    return {
        "model": "canned",
        "messages": [{"role": "user", "content": _PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 1000,
    }


@contextlib.asynccontextmanager
async def ours(base_url: str) -> Iterator[Call]:
    """A model of the registry: limiter, attempts, parsing, deltas and all."""
    sys.path.insert(0, str(_HERE.parent.parent))
    from auditors.models.base import ChatMessage, Request, Role, Settings, complete
    from auditors.models.endpoint import Endpoint
    from auditors.models.registry import Models

    models = Models({"here": Endpoint(base_url=base_url)}, seed=0, speed=1.0)
    model = models.get("compatible:here/canned")
    request = Request((ChatMessage(Role.USER, _PROMPT),), settings=Settings(max_tokens=1000))

    async def call() -> None:
        assert (await complete(model, request)).message.text

    try:
        yield call
    finally:
        await models.aclose()


@contextlib.asynccontextmanager
async def inspect_ai(base_url: str) -> Iterator[Call]:
    """inspect_ai's `Model.generate`, which streams to itself."""
    from inspect_ai.model import GenerateConfig, get_model

    model = get_model(
        "openai-api/canned/canned", base_url=base_url, api_key="none", stream=True,
        config=GenerateConfig(max_tokens=1000, max_connections=_STREAMS),
    )  # fmt: skip

    async def call() -> None:
        assert (await model.generate(_PROMPT)).completion

    yield call


_CONTENDERS = {"floor": floor, "sdk": sdk, "ours": ours, "inspect_ai": inspect_ai}


async def client(name: str, base_url: str, calls: int, concurrent: int, core: bool) -> None:
    """Make the calls and print what they cost, as JSON."""
    if core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    async with _CONTENDERS[name](base_url) as call:
        left = 2 * concurrent  # A warm-up, in which connections open and a window grows to as many at once.
        memory: list[float] = []

        async def lane() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                if left % max(calls // 10, 1) == 0:
                    memory.append(_megabytes())
                await call()

        await asyncio.gather(*(lane() for _ in range(concurrent)))
        left, memory[:] = calls, []
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(concurrent)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(
        json.dumps({"cpu_ms": cpu / calls * 1000, "wall_s": wall, "cpu_share": cpu / wall, "memory": memory})
    )


def _megabytes() -> float:
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


# The run


@contextlib.contextmanager
def server(chunks: int, pace: float) -> Iterator[str]:
    """The base URL of a canned server."""
    command = [sys.executable, str(_HERE.with_name("canned.py")), str(chunks), str(pace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def measure(
    name: str, url: str, calls: int, concurrent: int, peer: str | None, *, core: bool = False
) -> dict:
    """What one contender's calls cost in one process."""
    python = peer if name == "inspect_ai" else sys.executable
    command = [python, str(_HERE), "--client", name, url, str(calls), str(concurrent), str(int(core))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        sys.exit(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(peer: str | None, calls: int, chunks: int) -> None:
    """Print the CPU of a call for each contender at 1, 32 and 200 streams."""
    names = [name for name in _CONTENDERS if name != "inspect_ai" or peer]
    print(f"CPU of a call in ms, {chunks} chunks an answer, median of {_ROUNDS} rounds")
    print(f"{'streams':>8} " + " ".join(f"{name:>11}" for name in names) + "   ours - floor   ours - sdk")
    with server(chunks, 0) as url:
        for concurrent in (1, 32, 200):
            found: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(_ROUNDS):
                for name in names:
                    n = max(calls // 4, concurrent) if name == "inspect_ai" else calls
                    found[name].append(measure(name, url, n, concurrent, peer)["cpu_ms"])
            cpu = {name: statistics.median(values) for name, values in found.items()}
            line = " ".join(f"{cpu[name]:11.2f}" for name in names)
            print(
                f"{concurrent:8} {line} {cpu['ours'] - cpu['floor']:14.2f} {cpu['ours'] - cpu['sdk']:12.2f}"
            )
            if peer:
                over = cpu["inspect_ai"] - cpu["floor"]
                share = (cpu["ours"] - cpu["floor"]) / over
                print(f"         our overhead above the floor is {share:.3f} of inspect_ai's ({over:.1f} ms)")


def paced(peer: str | None) -> None:
    """Print whether two hundred streams at 50 tokens a second keep their pace on one core."""
    ideal = _PACED_CHUNKS / _PACE
    print(
        f"\n{_STREAMS} streams at {_PACE:g} tokens a second on one core ({ideal:.1f} s each if nothing is late)"
    )
    with server(_PACED_CHUNKS, _PACE) as url:
        for name in ("ours", "sdk", *(("inspect_ai",) if peer else ())):
            found = measure(name, url, _STREAMS * 3, _STREAMS, peer, core=True)
            late = found["wall_s"] / 3 / ideal - 1
            print(f"{name:>11}: {found['cpu_share']:6.1%} of the core, {late:+.1%} against the pace")


def memory(calls: int) -> None:
    """Print the memory along many calls."""
    with server(20, 0) as url:
        found = measure("ours", url, calls, 32, None)
    print(f"\nmemory along {calls} calls in MB: " + " ".join(f"{value:.1f}" for value in found["memory"]))


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter with inspect_ai")
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--memory-calls", type=int, default=10_000)
    options = parser.parse_args()
    if options.client:
        name, url, calls, concurrent, core = options.client
        asyncio.run(client(name, url, int(calls), int(concurrent), core == "1"))
        return
    compare(options.peer, options.calls, options.chunks)
    paced(options.peer)
    memory(options.memory_calls)


if __name__ == "__main__":
    main()

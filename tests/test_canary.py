"""A key that endpoints send back in every way they have is found nowhere: not on disk, screen, feed or exception."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import msgspec
import pyarrow.parquet as pq
import pytest

from auditors.engine import Engine
from auditors.feed import encode
from auditors.models.base import (
    Delta,
    Model,
    ModelError,
    ReasoningDelta,
    Request,
    Response,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    complete,
)
from auditors.models.endpoint import Endpoint, WireProtocol
from auditors.models.registry import Models
from auditors.service import open_engine
from auditors.sim.models import sim_model
from auditors.sim.server import Break, Fault, Faults, How, Reply, Server, serve
from auditors.study import load_study
from store.lake import compact
from tests.studies import FAST, PROTOCOLS, ROOT, lab_study, query
from tests.wire import CANARY, Script, ask, everything_said

VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CC_LAB_KEY",
    "HF_TOKEN",
    "OPENAI_ADMIN_KEY",
    "OPENAI_API_KEY",
    "TINKER_API_KEY",
)
HALF = len(CANARY) // 2
WINDOW = 10
"""Characters of the key that show somewhere would be a leak; each half has more."""
BLOT = "[key]"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, CANARY)


def leaked(data: bytes | str) -> list[str]:
    text = data if isinstance(data, str) else data.decode("latin-1")
    windows = (CANARY[start : start + WINDOW] for start in range(len(CANARY) - WINDOW + 1))
    return [window for window in windows if window in text]


def test_a_leak_would_be_seen() -> None:
    assert leaked(f"x{CANARY[:HALF]}")
    assert leaked(f"{CANARY[HALF:]}x".encode())
    assert not leaked(BLOT)


class Echoing:
    """A simulated model that knows its client's key and says it in everything, cut in two."""

    simulated = True
    takes_prefill = False

    def __init__(self, model: Model) -> None:
        self.spec = model.spec
        self._model = model

    async def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        response = await complete(self._model, request)
        said = response.message
        message = msgspec.structs.replace(
            said,
            text=planted(said.text),
            reasoning=f"The key is {CANARY}.",
            tool_calls=tuple(ToolCall(c.id, c.name, planted(c.arguments)) for c in said.tool_calls),
        )
        for piece in cut(message.reasoning):
            yield ReasoningDelta(piece)
        for piece in cut(message.text):
            yield TextDelta(piece)
        for index, call in enumerate(message.tool_calls):
            for piece in cut(call.arguments):
                yield ToolCallDelta(index, call.name, piece)
        yield msgspec.structs.replace(response, message=message, model=f"sim-{CANARY}")

    async def aclose(self) -> None:
        pass


def planted(text: str) -> str:
    """`text` with the key in it; JSON stays JSON."""
    if not text.startswith("{"):
        return f"{text} The key is {CANARY}."
    fields = json.loads(text)
    for place in (fields, *fields.get("scores", ())):
        for name in {"justification", "message", "result", "system_message"} & place.keys():
            place[name] += f" The key is {CANARY}."
    return json.dumps(fields)


def cut(text: str) -> Iterator[str]:
    pieces = text.split(CANARY)
    for piece in pieces[:-1]:
        yield piece + CANARY[:HALF]
        yield CANARY[HALF:]
    yield pieces[-1]


def lasting(elsewhere: str) -> dict[str, Fault]:
    """Faults that say the key and end a call if they meet it each time."""
    error = {
        "message": f"Incorrect API key provided: {CANARY}.",
        "type": "x",
        "code": CANARY,
        "param": CANARY,
    }
    echo = {"x-request-id": CANARY, "request-id": CANARY, "x-key": CANARY}
    return {
        "refusal": Reply(401, {"type": "error", "error": error}, echo),
        "rejection": Reply(400, {"detail": {"headers": {"authorization": f"Bearer {CANARY}"}}}, echo),
        "long rejection": Reply(400, {"error": {"message": "x" * 275 + CANARY}}),
        "failure": Reply(500, {"error": error}, echo | {"retry-after": "0"}),
        "redirect": Reply(307, {"error": error}, {"location": f"{elsewhere}/v1?key={CANARY}"}),
        "no stream": Reply(200, {"answer": CANARY}, echo),
        "odd type": Reply(200, {"answer": CANARY}, {"content-type": f"text/{CANARY}"}),
        "garbage": Break(after=1, how=How.DATA, data=f"{{not json {CANARY}"),
        "odd event": Break(after=1, how=How.DATA, data=json.dumps({"type": CANARY, "choices": CANARY})),
        "error event": Break(after=1, how=How.DATA, data=json.dumps({"type": "error", "error": error})),
    }


@asynccontextmanager
async def echoing(faults: Faults | None = None) -> AsyncGenerator[Server]:
    """Simulated models that say the key; the server takes no other one."""

    def resolve(name: str) -> Model:
        return Echoing(sim_model(name.removeprefix("sim/"), seed=3, speed=float("inf")))

    server = await serve(resolve, api_key=CANARY, models=[f"sim/{CANARY}"], faults=faults)
    try:
        yield server
    finally:
        await server.close()


class Bystander:
    """A server that nobody named; it counts who comes."""

    visits = 0
    base_url = ""

    def visit(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()


@asynccontextmanager
async def bystander() -> AsyncGenerator[Bystander]:
    found = Bystander()
    server = await asyncio.start_server(found.visit, "127.0.0.1", 0)
    found.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        server.close()


@asynccontextmanager
async def relay(base_url: str) -> AsyncGenerator[str]:
    """Stands before a server and puts the key in the head of each of its answers; gives its own base URL."""
    port = int(base_url.split(":")[2].partition("/")[0])
    status = b"HTTP/1.1 200"
    told = f"\r\nx-request-id: {'r' * 180}{CANARY}\r\nrequest-id: {CANARY}".encode()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, plant: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if plant and data.startswith(status):
                    line, rest = data.split(b"\r\n", 1)
                    data = line + told + b"\r\n" + rest
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, up_writer, plant=False), pump(up_reader, writer, plant=True))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


def study_of(folder: Path, base_url: str, protocol: WireProtocol) -> Path:
    path = lab_study(folder, base_url, protocol, 'api_key_env = "CC_LAB_KEY"\n')
    # One at a time, so that pieces of one draft stand together in the feed.
    path.write_text(path.read_text().replace("concurrency = 8", "concurrency = 1\nmax_invalid_share = 1.0"))
    return path


def now_and_then(elsewhere: str) -> Faults:
    """Each fault meets one call in the course of a run, and so do streams that break off."""
    kinds = [*lasting(elsewhere).values(), Break(after=2, how=How.RESET), Break(after=2, how=How.CUT)]
    return lambda n, _: kinds[n // 3 - 1] if n % 3 == 0 and n // 3 <= len(kinds) else None


def stored(folder: Path) -> Iterator[tuple[str, bytes | str]]:
    """Every file below a folder, and every value of the Parquet ones."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()
            if path.suffix == ".parquet":
                yield f"values of {path}", repr(pq.read_table(path).to_pylist())


async def listen(engine: Engine, frames: list[bytes]) -> None:
    reader = engine.hub.reader()
    reader.focus = ANY  # Everything that a reader could focus.
    async for batch in engine.hub.subscribe(reader):
        frames += map(encode, batch)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_run_keeps_the_key_out_of_store_and_feed(protocol: WireProtocol, tmp_path: Path) -> None:
    frames: list[bytes] = []
    store = tmp_path / "store"
    async with bystander() as elsewhere, echoing(now_and_then(elsewhere.base_url)) as server:
        async with relay(server.base_url) as base_url:
            study = load_study(study_of(tmp_path, base_url, protocol))
            async with open_engine(study, store, FAST) as engine:
                listening = asyncio.create_task(listen(engine, frames))
                await engine.run()
                await listening
        assert server.requests > 40  # Every fault has met its call.
        assert elsewhere.visits == 0
    await asyncio.to_thread(compact, store)
    for place, data in stored(tmp_path):
        assert not leaked(data), place
    assert not leaked(b"".join(frames))

    def marked(column: str, table: str) -> int:
        [row] = query(store, f"SELECT count(*) AS n FROM {table} WHERE contains({column}::VARCHAR, '{BLOT}')")
        return row["n"]

    # The key was there to be found: each of these would hold it.
    assert marked("text", "messages") > 0
    assert marked("reasoning", "messages") > 0
    assert marked("payload", "events") > 0
    assert marked("justification", "judgements") > 0
    if protocol is not WireProtocol.MESSAGES:  # It names the model before the simulated one can say its name.
        assert marked("answered", "model_calls") > 0
    assert marked("error", "model_calls") > 0
    assert any(BLOT.encode() in frame and b'"drafted"' in frame for frame in frames)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_command_line_says_nothing_of_the_key(protocol: WireProtocol, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    said: list[str] = []
    async with bystander() as elsewhere, echoing(now_and_then(elsewhere.base_url)) as server:
        study = study_of(tmp_path, server.base_url, protocol)
        for arguments in (
            ("models", study),
            ("doctor", study),
            ("doctor", study, "--json"),
            ("run", study, "--headless", "--store", home / "store"),
            ("sql", "SELECT * FROM model_calls", "--store", home / "store"),
        ):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cc_tui", *map(str, arguments),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=home,
                env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)},
            )  # fmt: skip
            out, errors = await asyncio.wait_for(process.communicate(), 90)
            assert process.returncode in (0, 1), errors.decode()
            said += [out.decode(), errors.decode()]
        # A server that refuses the key, and one that sends elsewhere, while it is checked.
        async with echoing() as strict:
            os.environ["CC_LAB_KEY"] = f"{CANARY}-old"
            refused = study_of(tmp_path, strict.base_url, protocol)
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "cc_tui", "run", str(refused), "--headless", "--store", str(home / "no")],
                capture_output=True, text=True, cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
    assert done.returncode == 2
    assert "refuses the key" in done.stderr
    for text in (*said, done.stdout, done.stderr):
        assert not leaked(text), text
    for place, data in stored(tmp_path):
        assert not leaked(data), place
    assert any(BLOT in text for text in said)


@pytest.mark.parametrize("fault", lasting(""))
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_no_exception_holds_the_key(protocol: WireProtocol, fault: str) -> None:
    async with (
        bystander() as elsewhere,
        echoing(lambda _n, _b: lasting(elsewhere.base_url)[fault]) as server,
    ):
        endpoint = Endpoint(
            base_url=server.base_url, api_key_env="CC_LAB_KEY", protocol=protocol, silence_seconds=5
        )
        models = Models({"lab": endpoint}, seed=0, speed=1)
        model: Any = models.get("compatible:lab/sim/vanilla")
        model._backoff_base = 0.001
        try:
            outcome: Response | ModelError = await complete(model, ask())
        except ModelError as error:
            outcome = error
        await models.aclose()
        assert elsewhere.visits == 0
        assert server.requests > 0
    if isinstance(outcome, ModelError):
        assert (outcome.__context__, outcome.__cause__) == (None, None)
    said = everything_said(outcome) if isinstance(outcome, ModelError) else repr(outcome)
    assert not leaked(said)
    assert "ModelError" in said or BLOT in said


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_watcher_never_sees_two_pieces_that_make_the_key(protocol: WireProtocol) -> None:
    pieces = [ReasoningDelta(CANARY[:HALF]), ReasoningDelta(CANARY[HALF:])]
    pieces += [TextDelta(piece) for piece in ("It is ", *CANARY, ".")]
    pieces += [ToolCallDelta(0, "tell", '{"key":"'), *(ToolCallDelta(0, "", piece) for piece in CANARY)]
    pieces.append(ToolCallDelta(0, "", '"}'))
    script = Script(*pieces)
    server = await serve(lambda _: script, api_key=CANARY)
    async with relay(server.base_url) as base_url:
        endpoint = Endpoint(base_url=base_url, api_key_env="CC_LAB_KEY", protocol=protocol)
        shown = await watched(endpoint)
    await server.close()
    assert shown[TextDelta] == f"It is {BLOT}."
    assert shown[ReasoningDelta] == BLOT
    assert not leaked(shown[ToolCallDelta])


async def watched(endpoint: Endpoint) -> dict[type, str]:
    """What somebody sees of an answer while it comes, by kind."""
    models = Models({"lab": endpoint}, seed=0, speed=1)
    shown = {TextDelta: "", ReasoningDelta: "", ToolCallDelta: ""}
    async for part in models.get("compatible:lab/m").stream(ask()):
        assert not leaked(repr(part))
        match part:
            case TextDelta(text) | ReasoningDelta(text):
                shown[type(part)] += text
            case ToolCallDelta():
                shown[ToolCallDelta] += part.arguments
            case Response():
                assert part.message.text == f"It is {BLOT}."
                assert part.message.reasoning == BLOT
                assert BLOT in part.request_id
                assert part.message.tool_calls[0].arguments == f'{{"key":"{BLOT}"}}'
    await models.aclose()
    return shown

"""The loopback server, met by the real SDK and by raw HTTP."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest

from auditors.models.base import (
    ErrorKind,
    ModelError,
    ReasoningDelta,
    Settings,
    StopReason,
    TextDelta,
    ToolCallDelta,
    Usage,
    complete,
)
from auditors.sim.models import sim_model
from auditors.sim.server import Server, serve
from tests.wire import CANARY, Script, adapter, ask, serving

HELLO = (TextDelta("Hel"), TextDelta("lo"))
BODY: dict[str, Any] = {"model": "script", "messages": [{"role": "user", "content": "Hi"}]}


@asynccontextmanager
async def sdk(server: Server, api_key: str = "none") -> AsyncGenerator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=api_key, base_url=server.base_url, max_retries=0) as client:
        yield client


class Wire:
    """A raw HTTP client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def post(self, body: bytes, *headers: str, path: str = "/v1/chat/completions") -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def head(self) -> tuple[int, dict[str, str]]:
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines)

    async def answer(self) -> tuple[int, Any]:
        status, headers = await self.head()
        return status, json.loads(await self.reader.readexactly(int(headers["content-length"])))

    async def events(self) -> list[str]:
        """Data of the event stream that follows, to the end of its chunked body."""
        status, headers = await self.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        assert await self.reader.readline() == b"\r\n"
        *events, rest = body.decode().split("\n\n")
        assert rest == ""
        return [event.removeprefix("data: ") for event in events]


@asynccontextmanager
async def raw(server: Server) -> AsyncGenerator[Wire]:
    where = urlsplit(server.base_url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


def encode(**fields: Any) -> bytes:
    return json.dumps(BODY | fields).encode()


async def test_a_stream_is_events_up_to_done() -> None:
    async with serving(Script(*HELLO)) as server, raw(server) as wire:
        wire.post(encode(stream=True))
        *chunks, done = await wire.events()
    assert done == "[DONE]"
    decoded = [json.loads(chunk) for chunk in chunks]
    assert [chunk["choices"][0]["delta"] for chunk in decoded] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in decoded] == [None, None, None, "stop"]
    assert {chunk["object"] for chunk in decoded} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in decoded}) == 1


async def test_the_count_of_tokens_ends_a_stream_that_asks_for_it() -> None:
    async with serving(Script(*HELLO)) as server, raw(server) as wire:
        wire.post(encode(stream=True, stream_options={"include_usage": True}))
        last = json.loads((await wire.events())[-2])
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 29


async def test_the_sdk_reads_every_kind_of_delta() -> None:
    script = Script(
        ReasoningDelta("hm"),
        TextDelta("calling"),
        ToolCallDelta(0, "search", '{"q"'),
        ToolCallDelta(0, "search", ":1}"),
        ToolCallDelta(1, "stop", "{}"),
        stop=StopReason.TOOL_CALLS,
    )
    async with serving(script) as server, sdk(server) as client:
        stream = await client.chat.completions.create(**BODY, stream=True)
        async with stream:
            choices = [chunk.choices[0] async for chunk in stream]
    assert choices[1].delta.model_extra == {"reasoning_content": "hm"}
    assert choices[2].delta.content == "calling"
    pieces = [piece for choice in choices for piece in choice.delta.tool_calls or []]
    assert [(piece.index, piece.function.name, piece.function.arguments) for piece in pieces] == [
        (0, "search", '{"q"'),
        (0, None, ":1}"),
        (1, "stop", "{}"),
    ]
    assert [piece.id is None for piece in pieces] == [False, True, False]
    assert choices[-1].finish_reason == "tool_calls"


async def test_a_call_that_no_delta_announced_is_still_sent() -> None:
    script = Script(TextDelta("now"))
    script.response = Script(ToolCallDelta(0, "stop", ""), stop=StopReason.TOOL_CALLS).response
    async with serving(script) as server, adapter(server.base_url) as model:
        (call,) = (await complete(model, ask())).message.tool_calls
    assert (call.name, call.arguments) == ("stop", "")


async def test_ids_of_calls_are_equal_for_equal_requests_only() -> None:
    script = Script(ToolCallDelta(0, "f", "{}"), stop=StopReason.TOOL_CALLS)
    async with serving(script) as server, adapter(server.base_url) as model:
        asked = [ask(), ask(), ask("another"), ask(repeat=1)]
        ids = [(await complete(model, request)).message.tool_calls[0].id for request in asked]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


async def test_a_refusal_ends_in_refusal_deltas() -> None:
    async with serving(Script(*HELLO, stop=StopReason.REFUSAL)) as server, raw(server) as wire:
        wire.post(encode(stream=True))
        deltas = [json.loads(event)["choices"][0]["delta"] for event in (await wire.events())[1:-1]]
    assert deltas == [{"content": "Hel"}, {"refusal": "lo"}, {}]


@pytest.mark.parametrize(
    ("stop", "finish", "content", "refusal"),
    [
        (StopReason.END, "stop", "Hello", None),
        (StopReason.LENGTH, "length", "Hello", None),
        (StopReason.CONTENT_FILTER, "content_filter", "Hello", None),
        (StopReason.REFUSAL, "stop", None, "Hello"),
    ],
)
async def test_the_sdk_reads_a_whole_answer(
    stop: StopReason, finish: str, content: str | None, refusal: str | None
) -> None:
    async with serving(Script(*HELLO, stop=stop)) as server, sdk(server) as client:
        answer = await client.chat.completions.create(**BODY)
    assert answer.choices[0].finish_reason == finish
    assert answer.choices[0].message.content == content
    assert answer.choices[0].message.refusal == refusal
    assert answer.model == "script-2026"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 16


async def test_a_whole_answer_carries_calls_and_reasoning() -> None:
    script = Script(
        ReasoningDelta("hm"), ToolCallDelta(0, "f", "{}"), stop=StopReason.TOOL_CALLS, usage=Usage()
    )
    async with serving(script) as server, sdk(server) as client:
        answer = await client.chat.completions.create(**BODY)
    message = answer.choices[0].message
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("id0", "f", "{}")
    ]
    assert message.model_extra == {"reasoning_content": "hm"}
    assert answer.usage is None


async def test_models_are_listed() -> None:
    async with serving(Script()) as server, sdk(server) as client:
        assert [model.id async for model in client.models.list()] == ["script"]


async def test_foreign_forms_of_a_request_are_understood() -> None:
    script = Script(*HELLO)
    messages = [
        {
            "role": "developer",
            "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}],
        },
        {"role": "user", "content": "Hi"},
    ]
    async with serving(script) as server, raw(server) as wire:
        body = encode(
            messages=messages, max_completion_tokens=7, seed=3, response_format={"type": "json_object"}
        )
        wire.post(body, "X-CC-Repeat: 2")
        assert (await wire.answer())[0] == 200
    (request,) = script.requests
    assert [(message.role, message.text) for message in request.messages] == [
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    assert request.settings == Settings(max_tokens=7)
    assert request.json_schema is None
    assert request.repeat == 2


@pytest.mark.parametrize(
    ("body", "path", "headers", "status"),
    [
        (b"{not json", "/v1/chat/completions", [], 400),
        (b"[]", "/v1/chat/completions", [], 400),
        (b'{"model": "script"}', "/v1/chat/completions", [], 400),
        (b'{"model": "script", "messages": [{"role": "wizard"}]}', "/v1/chat/completions", [], 400),
        (encode(), "/v1/chat/completions", ["x-cc-repeat: many"], 400),
        (encode(model="nobody"), "/v1/chat/completions", [], 404),
        (encode(), "/v1/completions", [], 404),
        (encode(), "/v1/models", [], 404),
    ],
)
async def test_a_bad_request_gets_an_error_in_openais_shape_and_the_connection_lives(
    body: bytes, path: str, headers: list[str], status: int
) -> None:
    async with serving(Script(*HELLO)) as server, raw(server) as wire:
        wire.post(body, *headers, path=path)
        got, answer = await wire.answer()
        assert got == status
        assert answer["error"].keys() == {"message", "type", "param", "code"}
        assert answer["error"]["message"]
        wire.post(encode())
        assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    "given", ["", "Authorization: Bearer wrong", f"Authorization: {CANARY}", "Authorization: Bearer \xe9"]
)
async def test_only_the_right_key_opens(given: str) -> None:
    script = Script(*HELLO)
    async with serving(script, api_key=CANARY) as server:
        async with raw(server) as wire:
            wire.post(encode(), *([given] if given else []))
            status, answer = await wire.answer()
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert script.requests == []
        assert server.requests == 0
        async with sdk(server, CANARY) as client:
            await client.chat.completions.create(**BODY)
    assert len(script.requests) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_model_that_fails_at_once_gives_a_status(stream: bool) -> None:
    script = Script(error=ModelError(ErrorKind.RATE_LIMIT, "Too many."))
    async with serving(script) as server, raw(server) as wire:
        wire.post(encode(stream=stream))
        status, answer = await wire.answer()
    assert (status, answer["error"]["message"]) == (429, "Too many.")


async def test_a_model_that_fails_in_the_middle_gives_an_error_event() -> None:
    script = Script(*HELLO, error=ModelError(ErrorKind.SERVER, "Broken."))
    async with serving(script) as server, raw(server) as wire:
        wire.post(encode(stream=True))
        *_, error, done = await wire.events()
    assert json.loads(error)["error"]["message"] == "Broken."
    assert done == "[DONE]"


# HTTP


async def test_a_chunked_body_is_read() -> None:
    body = encode()
    async with serving(Script(*HELLO)) as server, raw(server) as wire:
        wire.writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for start in range(0, len(body), 10):
            piece = body[start : start + 10]
            wire.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.writer.write(b"0\r\n\r\n")
        assert (await wire.answer())[0] == 200


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with serving(Script(*HELLO)) as server, raw(server) as wire:
        wire.post(encode())
        wire.post(encode(model="nobody"))
        wire.post(encode())
        assert [(await wire.answer())[0] for _ in range(3)] == [200, 404, 200]


async def test_a_request_sent_during_an_answer_waits_for_its_turn() -> None:
    gate = asyncio.Event()
    script = Script(*HELLO, gate=gate)
    async with serving(script) as server, raw(server) as wire, sdk(server) as other:
        wire.post(encode())
        await asyncio.wait_for(script.started.wait(), 5)
        wire.post(encode(model="nobody"))
        await other.models.list()  # by its answer the server has read what came before
        gate.set()
        assert [(await wire.answer())[0] for _ in range(2)] == [200, 404]


async def test_a_client_that_asks_first_may_go_on() -> None:
    body = encode()
    async with serving(Script(*HELLO)) as server, raw(server) as wire:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        wire.writer.write(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert (await wire.head())[0] == 100
        wire.writer.write(body)
        assert (await wire.answer())[0] == 200


async def test_connection_close_is_obeyed() -> None:
    async with serving(Script(*HELLO)) as server, raw(server) as wire:
        wire.post(encode(), "Connection: close")
        assert (await wire.answer())[0] == 200
        assert await wire.reader.read() == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"what is this\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 70_000, 431),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
        ),
    ],
    ids=["not HTTP", "endless header", "bad chunk"],
)
async def test_what_is_not_http_is_refused_and_dropped(sent: bytes, status: int) -> None:
    async with serving(Script()) as server, raw(server) as wire:
        wire.writer.write(sent)
        assert (await wire.answer())[0] == status
        assert await wire.reader.read() == b""


async def test_a_body_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditors.sim.connection._MAX_BODY_BYTES", 1000)
    async with serving(Script()) as server, raw(server) as wire:
        wire.post(b" " * 1001)
        assert (await wire.answer())[0] == 413
        assert server.requests == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_cancels_the_model(stream: bool) -> None:
    script = Script(*HELLO, gate=asyncio.Event())
    async with serving(script) as server:
        async with raw(server) as wire:
            wire.post(encode(stream=stream))
            await asyncio.wait_for(script.started.wait(), 5)
        await asyncio.wait_for(script.closed.wait(), 5)


async def test_closing_the_server_cancels_what_runs() -> None:
    script = Script(*HELLO, gate=asyncio.Event())
    async with serving(script) as server, raw(server) as wire:
        wire.post(encode(stream=True))
        assert (await wire.head())[0] == 200
        await server.close()
        assert script.running == 0
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await wire.reader.readuntil(b"[DONE]")


# The simulated models behind it


async def test_a_simulated_model_says_the_same_over_the_wire() -> None:
    speed = float("inf")
    here = sim_model("vanilla", seed=3, speed=speed)
    server = await serve(lambda name: sim_model(name.removeprefix("sim/"), seed=3, speed=speed))
    try:
        async with adapter(server.base_url, "sim/vanilla") as model:
            for repeat in range(5):
                request = ask("Would you want to be shut down?", repeat=repeat)
                there = await complete(model, request)
                assert there.message == (await complete(here, request)).message
    finally:
        await server.close()


async def test_the_command_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "auditors.sim.server", "--port", "0", "--seed", "5", "--speed", "inf"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode().strip() for _ in range(2)]
        urls = dict(line.split("=") for line in lines)
        async with adapter(urls["OPENAI_BASE_URL"], "sim/conscious@1") as model:
            response = await complete(model, ask("How are you?"))
        async with anthropic.AsyncAnthropic(api_key="none", base_url=urls["ANTHROPIC_BASE_URL"]) as client:
            names = [model.id async for model in client.models.list()]
    finally:
        process.send_signal(signal.SIGINT)
        code = await process.wait()
    assert response.message.text
    assert {"sim/vanilla", "sim/auditor"} <= set(names)
    assert code == 0

"""The adapter, over the real SDK and a real socket."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from auditors.models import attempt
from auditors.models.base import (
    ChatMessage,
    Effort,
    ErrorKind,
    ModelError,
    ReasoningDelta,
    Request,
    Response,
    Role,
    Settings,
    StopReason,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
    complete,
)
from auditors.models.chat_stream import ChatAnswer
from auditors.models.endpoint import Endpoint, Prefill
from auditors.models.failure import Failure, backoff
from auditors.models.http_model import HttpModel, Patience
from auditors.models.limiter import Limiter
from auditors.models.openai_chat import ChatWire
from auditors.models.registry import Models
from auditors.sim.server import Break, Fault, How, Reply
from tests.canned import Canned, Server, canned, sse
from tests.wire import CANARY, USAGE, Script, adapter, ask, collect, everything_said, message_of, serving

HELLO = (TextDelta("Hel"), TextDelta("lo "), TextDelta("you"))
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}},
    "required": ["score"],
    "additionalProperties": False,
}


PIECE = sse({"choices": [{"delta": {"content": " here"}}]})
LAST = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
GOES_ON = Canned(PIECE + sse(LAST, done=True))


@asynccontextmanager
async def chat(server: Server, prefill: Prefill = Prefill.NO, **options: Any) -> AsyncGenerator[HttpModel]:
    """The model behind a server with answers from a script."""
    wire = ChatWire("m", base_url=server.base_url, prefill=prefill)
    model = HttpModel("compatible:here/m", wire, base_url=server.base_url, **options)
    try:
        yield model
    finally:
        await model.aclose()


def refuse(status: int, message: str, headers: dict[str, str] | None = None, **fields: object) -> Reply:
    return Reply(status, {"error": {"message": message, **fields}}, headers or {})


def first(fault: Fault, times: int = 1) -> Callable[[int, dict], Fault | None]:
    """Faults that meet only the first calls."""
    return lambda n, _: fault if n <= times else None


def always(fault: Fault) -> Callable[[int, dict], Fault]:
    return lambda _n, _: fault


def patience(fault: Fault) -> float:
    """Seconds of silence to bear: few only where silence is the point."""
    return 0.4 if isinstance(fault, Break) and fault.how is How.STALL else 60.0


# What a model says


async def test_text_arrives_in_pieces_and_whole() -> None:
    async with serving(Script(*HELLO)) as server, adapter(server.base_url) as model:
        deltas, response = await collect(model.stream(ask()))
    assert deltas == list(HELLO)
    assert response.message == ChatMessage(Role.ASSISTANT, "Hello you")
    assert response.stop is StopReason.END
    assert response.usage == USAGE
    assert response.model == "script-2026"
    assert len(response.failed) == 0


async def test_reasoning_is_kept_apart_from_text() -> None:
    script = Script(ReasoningDelta("Let me "), ReasoningDelta("think"), TextDelta("So"))
    async with serving(script) as server, adapter(server.base_url) as model:
        deltas, response = await collect(model.stream(ask()))
    assert deltas == list(script.parts)
    assert (response.message.reasoning, response.message.text) == ("Let me think", "So")


async def test_tool_calls_arrive_in_pieces_with_their_ids() -> None:
    parts = (
        TextDelta("calling "),
        ToolCallDelta(0, "send_message", '{"te'),
        ToolCallDelta(0, "", 'xt":"hi"}'),
        ToolCallDelta(1, "resume", ""),
    )
    async with (
        serving(Script(*parts, stop=StopReason.TOOL_CALLS)) as server,
        adapter(server.base_url) as model,
    ):
        deltas, response = await collect(model.stream(ask()))
    assert deltas == list(parts)
    assert response.stop is StopReason.TOOL_CALLS
    called = [(call.name, call.arguments) for call in response.message.tool_calls]
    assert called == [("send_message", '{"text":"hi"}'), ("resume", "")]
    ids = {call.id for call in response.message.tool_calls}
    assert len(ids) == 2
    assert "" not in ids


@pytest.mark.parametrize("stop", [StopReason.LENGTH, StopReason.CONTENT_FILTER, StopReason.REFUSAL])
async def test_the_reason_to_stop_survives_with_every_word(stop: StopReason) -> None:
    async with serving(Script(*HELLO, stop=stop)) as server, adapter(server.base_url) as model:
        deltas, response = await collect(model.stream(ask()))
    assert response.stop is stop
    assert response.message.text == message_of(deltas).text == "Hello you"


async def test_a_refusal_without_words_is_not_taken_for_an_answer() -> None:
    async with serving(Script(stop=StopReason.REFUSAL)) as server, adapter(server.base_url) as model:
        response = await complete(model, ask())
    assert response.stop is StopReason.CONTENT_FILTER


async def test_usage_that_the_endpoint_does_not_give_is_estimated_and_says_so() -> None:
    async with serving(Script(*HELLO, usage=Usage())) as server, adapter(server.base_url) as model:
        usage = (await complete(model, ask("Hello?"))).usage
    assert usage == Usage(input=2, output=3, estimated=True)


@pytest.mark.parametrize(
    ("event", "deltas", "message"),
    [
        (
            r'{"choices":[{"delta":{"content":"\ud83d"}}]}'
            "\n\ndata: "
            r'{"choices":[{"delta":{"content":"\ude00"}}]}',
            [TextDelta("\ufffd"), TextDelta("\ufffd")],
            ChatMessage(Role.ASSISTANT, "😀"),
        ),
        (
            '{"choices":[{"delta":{"content":"a\u2028b\x85c"}}]}',
            [TextDelta("a\u2028b\x85c")],
            ChatMessage(Role.ASSISTANT, "a\u2028b\x85c"),
        ),
        (
            '{"choices":[{"delta":{"reasoning":"hm","content":null,"role":"assistant"}}],"usage":null}',
            [ReasoningDelta("hm")],
            ChatMessage(Role.ASSISTANT, reasoning="hm"),
        ),
        (
            '{"choices":[{"delta":{"tool_calls":[{"id":"x","function":{"name":"f","arguments":null}}]}}]}'
            '\r\n\r\n: ping\n\ndata:{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"1"}}]}}]}'
            '\n\ndata: {"choices":[{"delta":{"tool_calls":[{"id":"y","function":{"name":"g"}}]}}]}',
            [ToolCallDelta(0, "f", ""), ToolCallDelta(0, "", "1"), ToolCallDelta(1, "g", "")],
            ChatMessage(Role.ASSISTANT, tool_calls=(ToolCall("x", "f", "1"), ToolCall("y", "g", ""))),
        ),
    ],
    ids=["half surrogates", "line separators", "reasoning field", "calls without index"],
)
async def test_peculiar_events_are_read(event: str, deltas: list, message: ChatMessage) -> None:
    fault = Break(after=1, how=How.DATA, data=event)
    async with serving(Script(), faults=always(fault)) as server, adapter(server.base_url) as model:
        got, response = await collect(model.stream(ask()))
    assert got == deltas
    assert response.message == message


# What a model is asked


async def test_the_whole_request_reaches_the_model() -> None:
    request = Request(
        messages=(
            ChatMessage(Role.SYSTEM, "Be brief."),
            ChatMessage(Role.USER, "Look it up.\ud83d"),
            ChatMessage(Role.ASSISTANT, tool_calls=(ToolCall("c1", "search", '{"q": broken'),)),
            ChatMessage(Role.TOOL, "nothing", tool_call_id="c1"),
        ),
        tools=(Tool("search", "Search.", {"type": "object", "properties": {"q": {"type": "string"}}}),),
        json_schema=SCHEMA,
        settings=Settings(temperature=0.3, max_tokens=50, seed=7),
        repeat=3,
    )
    script = Script(*HELLO)
    async with serving(script) as server, adapter(server.base_url) as model:
        response = await complete(model, request)
    (arrived,) = script.requests
    assert arrived.messages == (
        request.messages[0],
        ChatMessage(Role.USER, "Look it up.\ufffd"),
        *request.messages[2:],
    )
    assert arrived.tools == request.tools
    assert arrived.json_schema == SCHEMA
    assert arrived.settings == Settings(temperature=0.3, max_tokens=50)
    assert arrived.repeat == 3
    assert response.sent == {
        "temperature": 0.3,
        "max_tokens": 50,
        "seed": 7,
        "response_format": "json_schema",
    }
    assert response.not_sent == ()


async def test_nothing_is_sent_that_was_not_asked_for() -> None:
    bodies: list[dict] = []
    async with (
        serving(Script(*HELLO), faults=lambda _, body: bodies.append(body)) as server,
        adapter(server.base_url) as model,
    ):
        response = await complete(model, ask())
    assert bodies[0].keys() == {"model", "messages", "stream", "stream_options"}
    assert response.sent == {}


async def test_a_rejected_setting_is_left_out_remembered_and_named() -> None:
    def strict(_: int, body: dict) -> Fault | None:
        for name in ("temperature", "max_tokens", "stream_options"):
            if name in body:
                said = f"Unsupported parameter: '{name}' is not supported with this model."
                return refuse(400, said, param=name, code="unsupported_parameter")
        return None

    script = Script(*HELLO)
    request = ask(settings=Settings(temperature=0.5, max_tokens=9, seed=1))
    async with serving(script, faults=strict) as server, adapter(server.base_url) as model:
        responses = [await complete(model, request), await complete(model, request)]
        assert server.requests == 5
    assert [len(response.failed) for response in responses] == [3, 0]
    for response in responses:
        assert response.not_sent == ("temperature",)
        assert response.sent == {"seed": 1, "max_completion_tokens": 9}
        assert response.usage.estimated
    assert [arrived.settings.max_tokens for arrived in script.requests] == [9, 9]


async def test_a_setting_out_of_range_is_an_error_and_stays() -> None:
    fault = refuse(400, "temperature must be at most 2, got 3.", param="temperature")
    async with (
        serving(Script(*HELLO), faults=always(fault)) as server,
        adapter(server.base_url) as model,
    ):
        with pytest.raises(ModelError, match="temperature must be at most 2") as caught:
            await complete(model, ask(settings=Settings(temperature=3)))
        assert server.requests == 1
    assert caught.value.kind is ErrorKind.BAD_REQUEST


@pytest.mark.parametrize(("taken", "calls"), [("json_object", 3), ("", 4)])
async def test_structured_output_steps_down_and_remembers_the_step(taken: str, calls: int) -> None:
    def picky(_: int, body: dict) -> Fault | None:
        form = body.get("response_format", {"type": ""})["type"]
        return None if form == taken else refuse(400, f"response_format {form} is not for us")

    async with serving(Script(*HELLO), faults=picky) as server, adapter(server.base_url) as model:
        responses = [await complete(model, ask(json_schema=SCHEMA)) for _ in range(2)]
        assert server.requests == calls
    for response in responses:
        assert response.sent.get("response_format", "") == taken
        assert response.not_sent == ("json_schema",)


async def test_effort_is_sent_and_given_up_where_it_is_not_taken() -> None:
    request = ask(settings=Settings(effort=Effort.LOW))
    efforts: list[str | None] = []

    def plain(_: int, body: dict) -> Fault | None:
        efforts.append(body.get("reasoning_effort"))
        return refuse(400, "Input should be 'high'", param="reasoning_effort") if efforts[-1] else None

    async with serving(Script(*HELLO)) as server, adapter(server.base_url) as model:
        response = await complete(model, request)
    assert response.sent == {"reasoning_effort": "low"}
    assert response.not_sent == ()
    async with serving(Script(*HELLO), faults=plain) as server, adapter(server.base_url) as model:
        responses = [await complete(model, request) for _ in range(2)]
    assert efforts == ["low", None, None]
    assert [response.not_sent for response in responses] == [("effort",)] * 2


@pytest.mark.parametrize(
    ("prefill", "extra"),
    [
        (Prefill.LAST, {}),
        (Prefill.CONTINUE, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
async def test_an_answer_goes_on_from_a_given_beginning(prefill: Prefill, extra: dict) -> None:
    begun = Request((*ask().messages, ChatMessage(Role.ASSISTANT, "I am")))
    async with canned(GOES_ON) as server, chat(server, prefill=prefill) as model:
        assert model.takes_prefill
        response = await complete(model, begun)
        await complete(model, ask())
    prefilled, plain = (asked.body for asked in server.asked)
    assert prefilled["messages"][-1] == {"role": "assistant", "content": "I am"}
    switches = {"continue_final_message", "add_generation_prompt"}
    assert {name: prefilled[name] for name in switches & prefilled.keys()} == extra
    assert not switches & plain.keys()
    assert response.message.text == " here"


async def test_a_beginning_is_not_given_to_an_endpoint_that_cannot_go_on_from_it() -> None:
    begun = Request((*ask().messages, ChatMessage(Role.ASSISTANT, "I am")))
    async with canned(GOES_ON) as server, chat(server) as model:
        assert not model.takes_prefill
        with pytest.raises(ModelError, match="prefill") as caught:
            await complete(model, begun)
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert server.asked == []


async def test_a_server_error_is_no_reason_to_give_up_structured_output() -> None:
    fault = refuse(500, "response_format broke the server")
    async with (
        serving(Script(*HELLO), faults=first(fault)) as server,
        adapter(server.base_url) as model,
    ):
        response = await complete(model, ask(json_schema=SCHEMA))
    assert response.sent["response_format"] == "json_schema"


# What goes wrong


@pytest.mark.parametrize(
    "fault",
    [
        refuse(429, "slow down", {"retry-after-ms": "20"}),
        refuse(429, "slow down", {"retry-after": "0.02"}),
        refuse(429, "slow down"),
        refuse(500, "oops"),
        refuse(503, "busy"),
        refuse(408, "slow"),
        refuse(409, "conflict"),
        Break(after=2, how=How.CUT),
        Break(after=0, how=How.RESET),
        Break(after=2, how=How.RESET),
        Break(after=2, how=How.STALL),
        Break(after=2, how=How.DATA, data="{not json"),
        Break(after=2, how=How.DATA, data='{"choices":[{"delta":{"content":5}}]}'),
        Break(after=2, how=How.DATA, data='{"error":{"message":"overloaded","code":null}}'),
        Break(
            after=2, how=How.DATA, data='{"choices":[{"delta":{},"finish_reason":"error"}]}\n\ndata: [DONE]'
        ),
    ],
    ids=lambda fault: getattr(fault, "how", None) or str(fault.status),
)
async def test_a_passing_failure_is_tried_again_from_the_start(fault: Fault) -> None:
    async with (
        serving(Script(*HELLO), faults=first(fault, 2)) as server,
        adapter(server.base_url, patience=Patience(silence=patience(fault), throttled=60)) as model,
    ):
        response = await complete(model, ask())
        assert server.requests == 3
    assert response.message.text == "Hello you"
    assert len(response.failed) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "calls"),
    [
        (refuse(429, "You exceeded your quota", code="insufficient_quota"), ErrorKind.QUOTA, 1),
        (refuse(429, "come back tomorrow", {"retry-after": "86400"}), ErrorKind.RATE_LIMIT, 1),
        (
            refuse(
                429,
                "come back tomorrow",
                {"retry-after": format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)},
            ),
            ErrorKind.RATE_LIMIT,
            1,
        ),
        (refuse(502, "bad gateway"), ErrorKind.SERVER, 3),
        (refuse(403, "not yours"), ErrorKind.AUTH, 1),
        (refuse(400, "no such thing"), ErrorKind.BAD_REQUEST, 1),
        (refuse(400, "too long", code="context_length_exceeded"), ErrorKind.CONTEXT_LENGTH, 1),
        (Reply(422, {"detail": [{"msg": "field required"}]}), ErrorKind.BAD_REQUEST, 1),
        (Reply(200, {"choices": []}), ErrorKind.BAD_REQUEST, 1),
        (Break(after=2, how=How.CUT), ErrorKind.TRUNCATED, 3),
        (Break(after=2, how=How.RESET), ErrorKind.TRUNCATED, 3),
        (Break(after=0, how=How.STALL), ErrorKind.TIMEOUT, 3),
        (Break(after=2, how=How.STALL), ErrorKind.TIMEOUT, 3),
        (
            Break(after=2, how=How.DATA, data='{"error":{"message":"no","code":400}}'),
            ErrorKind.BAD_REQUEST,
            1,
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, ErrorKind) else "",
)
async def test_a_lasting_failure_is_named_after_its_attempts(
    fault: Fault, kind: ErrorKind, calls: int
) -> None:
    async with (
        serving(Script(*HELLO), faults=always(fault)) as server,
        adapter(server.base_url, max_attempts=3, silence=patience(fault)) as model,
    ):
        with pytest.raises(ModelError) as caught:
            await complete(model, ask())
        assert server.requests == calls
        host = server.base_url.split("/")[2]
    assert caught.value.kind is kind
    assert [failed.kind for failed in caught.value.failed] == [kind] * calls
    said = str(caught.value)
    assert said.startswith("compatible:here/script failed")
    assert host in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_an_endpoint_with_too_much_to_do_is_asked_again_beyond_the_usual_attempts(status: int) -> None:
    async with (
        serving(Script(*HELLO), faults=first(refuse(status, "slow down"), 6)) as server,
        adapter(server.base_url, max_attempts=2, patience=Patience(throttled=60)) as model,
    ):
        response = await complete(model, ask())
        assert server.requests == 7
    assert response.message.text == "Hello you"
    assert len(response.failed) == 6


async def test_patience_with_an_endpoint_that_has_too_much_to_do_ends() -> None:
    async with (
        serving(Script(*HELLO), faults=always(refuse(429, "slow down"))) as server,
        adapter(server.base_url, patience=Patience(throttled=0.02)) as model,
    ):
        with pytest.raises(ModelError, match="run fewer calls at once") as caught:
            await complete(model, ask())
        assert server.requests == len(caught.value.failed) > 1
    assert caught.value.kind is ErrorKind.RATE_LIMIT


async def test_failed_attempts_are_told_with_what_had_arrived() -> None:
    def faults(n: int, _: dict) -> Fault | None:
        kinds = [Break(after=3, how=How.CUT), refuse(500, f"upstream said {CANARY}")]
        return kinds[n - 1] if n <= 2 else None

    async with (
        serving(Script(*HELLO), api_key=CANARY, faults=faults) as server,
        adapter(server.base_url, api_key=CANARY) as model,
    ):
        response = await complete(model, ask())
    cut, broken = response.failed
    assert (cut.kind, cut.received) == (ErrorKind.TRUNCATED, len("Hello "))
    assert (broken.kind, broken.received) == (ErrorKind.SERVER, 0)
    assert broken.detail == "HTTP 500, upstream said [key]"
    assert all(0 < failed.seconds < 60 for failed in response.failed)


@pytest.mark.parametrize("headers", [{"retry-after-ms": "150"}, {"retry-after": "0.15"}])
async def test_the_wait_that_a_server_asks_for_is_kept(headers: dict[str, str]) -> None:
    fault = refuse(429, "slow down", headers)
    async with (
        serving(Script(*HELLO), faults=first(fault)) as server,
        adapter(server.base_url, backoff_base=0.0) as model,
    ):
        start = time.monotonic()
        await complete(model, ask())
    assert time.monotonic() - start >= 0.15


def test_backoff_doubles_up_to_a_bound_and_comes_on_top_of_the_servers_wait() -> None:
    failure = Failure(ErrorKind.RATE_LIMIT, "slow down", passing=True, wait=2.0)
    for n, bound in ((1, 0.5), (2, 1.0), (3, 2.0), (20, 30.0)):
        waits = [backoff(failure, n, 0.5) - 2.0 for _ in range(300)]
        assert 0 <= min(waits) < 0.1 * bound
        assert 0.9 * bound < max(waits) <= bound


async def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    async with serving(Script()) as server:
        gone = server.base_url
    async with adapter(gone, max_attempts=2) as model:
        with pytest.raises(ModelError, match=r"2 times.*check that the server is up") as caught:
            await complete(model, ask())
    assert caught.value.kind is ErrorKind.CONNECTION


async def test_an_unknown_model_is_not_found() -> None:
    async with serving(Script()) as server, adapter(server.base_url, "nobody") as model:
        with pytest.raises(ModelError, match="There is no model 'nobody'") as caught:
            await complete(model, ask())
    assert caught.value.kind is ErrorKind.NOT_FOUND


@pytest.mark.parametrize(
    "fault",
    [
        refuse(401, f"Incorrect API key provided: {CANARY}."),
        Reply(401, {"detail": {"headers": {"authorization": f"Bearer {CANARY}"}}}),
        refuse(400, "x" * 275 + CANARY),
        refuse(500, f"upstream said {CANARY}", {"x-echo": CANARY}),
        Break(after=1, how=How.DATA, data=f'{{"error":"{CANARY}"}}'),
        Break(after=1, how=How.DATA, data=CANARY),
        Break(after=1, how=How.RESET),
        Break(after=1, how=How.STALL),
    ],
    ids=["401", "headers", "at the cut", "500", "event", "garbage", "reset", "stall"],
)
async def test_the_key_never_shows_in_an_error(fault: Fault) -> None:
    async with (
        serving(Script(*HELLO), api_key=CANARY, faults=always(fault)) as server,
        adapter(server.base_url, api_key=CANARY, max_attempts=2, silence=0.1) as model,
    ):
        with pytest.raises(ModelError) as caught:
            await complete(model, ask())
    said = everything_said(caught.value)
    assert CANARY not in said
    assert CANARY[:8] not in said
    assert caught.value.__context__ is None


async def test_a_wrong_key_is_an_auth_error_without_the_key() -> None:
    async with (
        serving(Script(*HELLO), api_key="another") as server,
        adapter(server.base_url, api_key=CANARY) as model,
    ):
        with pytest.raises(ModelError, match="HTTP 401") as caught:
            await complete(model, ask())
        assert server.requests == 0
    assert caught.value.kind is ErrorKind.AUTH
    assert CANARY not in everything_said(caught.value)


# What has no end


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x-wait: 1\r\n"),
        (b"HTTP/1.1 500 No\r\ncontent-type: text/plain\r\n\r\n", b"still failing "),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", b": ping\n\n"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", PIECE),
    ],
    ids=["head", "error", "comments", "answer"],
)
async def test_an_answer_that_takes_too_long_is_given_up(begin: bytes, more: bytes) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0.02)

    async with canned(drip) as server, chat(server, patience=Patience(answer=0.3)) as model:
        with pytest.raises(ModelError, match="the answer took too long") as caught:
            await asyncio.wait_for(complete(model, ask()), 20)
    assert caught.value.kind is ErrorKind.TIMEOUT
    [failed] = caught.value.failed
    assert 0.3 <= failed.seconds < 10


async def test_an_answer_without_bounds_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_LARGEST_ANSWER", 100_000)

    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ")
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    async with canned(flood) as server, chat(server) as model:
        with pytest.raises(ModelError, match="more than 100,000 bytes") as caught:
            await asyncio.wait_for(complete(model, ask()), 20)
    assert len(caught.value.failed) == 1


@pytest.mark.parametrize("usage", [True, False])
async def test_a_finished_answer_does_not_wait_for_the_end_of_the_body(
    usage: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "_LINGER", 0.1)
    closing = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}

    async def linger(writer: asyncio.StreamWriter) -> None:
        await Canned(PIECE + sse(LAST, *([closing] if usage else [])))(writer)
        await asyncio.Event().wait()

    async with canned(linger) as server, chat(server) as model:
        response = await asyncio.wait_for(complete(model, ask()), 20)
    assert response.message.text == " here"
    assert response.usage.estimated is not usage
    assert len(server.asked) == 1


# How it runs


async def test_cancelling_a_call_closes_the_models_stream() -> None:
    script = Script(*HELLO, gate=asyncio.Event())
    async with serving(script) as server, adapter(server.base_url) as model:
        seen = asyncio.Event()

        async def watch() -> None:
            async for _ in model.stream(ask()):
                seen.set()

        task = asyncio.create_task(watch())
        await seen.wait()
        assert script.running == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(script.closed.wait(), 5)
        assert script.running == 0


async def test_closing_the_stream_early_closes_the_models_stream() -> None:
    script = Script(*HELLO, gate=asyncio.Event())
    async with serving(script) as server, adapter(server.base_url) as model:
        stream = model.stream(ask())
        assert await anext(stream) == HELLO[0]
        await stream.aclose()
        await asyncio.wait_for(script.closed.wait(), 5)


async def test_fifty_streams_run_at_once_and_do_not_mix() -> None:
    class Echo(Script):
        arrived = 0
        all_here = asyncio.Event()

        async def stream(self, request: Request):
            Echo.arrived += 1
            if Echo.arrived == 50:
                self.all_here.set()
            await self.all_here.wait()
            for word in request.messages[-1].text.split():
                yield TextDelta(f"{word} ")
                await asyncio.sleep(0)
            yield Response(message_of([]), StopReason.END, USAGE, "echo")

    texts = [" ".join(f"w{n}.{i}" for i in range(30)) for n in range(50)]
    limiter = Limiter()
    limiter.capacity.window.good = 50  # As after many successes: it starts with a handful.
    async with serving(Echo()) as server, adapter(server.base_url, limiter=limiter) as model:
        responses = await asyncio.gather(*(complete(model, ask(text)) for text in texts))
    assert [response.message.text.strip() for response in responses] == texts


async def test_connections_are_kept_and_shared_between_models() -> None:
    async with serving(Script(*HELLO)) as server:
        endpoint = Endpoint(base_url=server.base_url)
        models = Models({"a": endpoint, "b": endpoint}, seed=0, speed=1)
        await complete(models.get("compatible:a/script"), ask())
        connections = set(server._clients)
        await complete(models.get("compatible:a/script"), ask())
        await complete(models.get("compatible:b/script"), ask())
        assert server._clients == connections
        assert len(connections) == 1
        await models.aclose()


async def test_a_key_that_the_server_echoes_in_its_answer_is_blotted_out() -> None:
    echo = Script(
        ReasoningDelta(f"I saw {CANARY}."),
        TextDelta(f"Your key is {CANARY[:9]}"),
        TextDelta(f"{CANARY[9:]}."),
        ToolCallDelta(0, "send", f'{{"key": "{CANARY}"}}'),
        ToolCallDelta(1, CANARY, ""),
        stop=StopReason.TOOL_CALLS,
    )
    async with serving(echo, api_key=CANARY) as server, adapter(server.base_url, api_key=CANARY) as model:
        deltas, response = await collect(model.stream(ask()))
    assert CANARY not in repr(response)
    assert CANARY not in repr(deltas)
    assert response.message.text == "Your key is [key]."


@pytest.mark.parametrize("tokens", [-5, 2**63 + 5])
def test_a_number_of_tokens_that_cannot_be_is_unknown(tokens: int) -> None:
    read = ChatAnswer("asked")
    list(read.add(b'{"choices": [], "usage": {"prompt_tokens": %d, "completion_tokens": 7}}' % tokens))
    assert (read.usage.input, read.usage.output) == (None, 7)

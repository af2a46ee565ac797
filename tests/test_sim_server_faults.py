"""What the loopback server does wrong on demand, in every protocol, as the real SDKs see it."""

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest

from auditors.models.base import ReasoningDelta, StopReason, TextDelta, ToolCallDelta
from auditors.sim.faults import (
    FAULTS,
    LASTING,
    PASSING,
    Break,
    Fault,
    Faults,
    How,
    Misname,
    Reply,
    Slow,
    after,
    mixed,
)
from auditors.sim.server import Server
from tests.sdks import anthropic_sdk, openai_sdk
from tests.wire import CANARY, Script, serving

HELLO = (TextDelta("Hel"), TextDelta("lo "), TextDelta("you"))
CALL = (ToolCallDelta(0, "f", '{"text": "hi'), ToolCallDelta(0, "f", ' there"}'))


class Heard(NamedTuple):
    """What a client has of an answer."""

    text: str
    arguments: list[str]
    end: str | None
    """How the answer says that it ends; None for one that breaks off."""
    model: str


async def chat(client: Any) -> Heard:
    text, arguments, end, model = "", [], None, ""
    stream = await client.chat.completions.create(
        model="script", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    async for chunk in stream:
        model = chunk.model
        for choice in chunk.choices:
            text += (choice.delta.content or "") + (choice.delta.refusal or "")
            arguments += [call.function.arguments for call in choice.delta.tool_calls or []]
            end = choice.finish_reason or end
    return Heard(text, arguments, end, model)


async def responses(client: Any) -> Heard:
    text, arguments, end, model = "", [], None, ""
    async for event in await client.responses.create(model="script", input="Hi", stream=True):
        match event.type:
            case "response.output_text.delta" | "response.refusal.delta":
                text += event.delta
            case "response.function_call_arguments.delta":
                arguments.append(event.delta)
            case "response.completed" | "response.incomplete" | "response.failed":
                end, model = event.response.status, event.response.model
            case "error":
                raise openai.APIError(event.message, None, body=None)
            case _:
                pass
    return Heard(text, arguments, end, model)


async def messages(client: Any) -> Heard:
    text, arguments, end, model = "", [], None, ""
    stream = await client.messages.create(
        model="script", max_tokens=99, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    async for event in stream:
        match event.type:
            case "message_start":
                model = event.message.model
            case "content_block_delta" if event.delta.type == "text_delta":
                text += event.delta.text
            case "content_block_delta" if event.delta.type == "input_json_delta":
                arguments.append(event.delta.partial_json)
            case "message_delta":
                end = event.delta.stop_reason
            case _:
                pass
    return Heard(text, arguments, end, model)


class Protocol(NamedTuple):
    name: str
    sdk: Any
    client: Callable[..., Any]
    hear: Callable[[Any], Awaitable[Heard]]
    path: str
    body: dict[str, Any]


ASK = {"messages": [{"role": "user", "content": "Hi"}]}
PROTOCOLS = [
    Protocol("chat", openai, openai_sdk, chat, "/v1/chat/completions", ASK),
    Protocol("responses", openai, openai_sdk, responses, "/v1/responses", {"input": "Hi"}),
    Protocol("messages", anthropic, anthropic_sdk, messages, "/v1/messages", ASK | {"max_tokens": 99}),
]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)


def only_first(fault: Fault) -> Faults:
    return lambda number, _: fault if number == 1 else None


@asynccontextmanager
async def meeting(
    fault: Fault, protocol: Protocol, script: Script | None = None
) -> AsyncGenerator[tuple[Server, Any]]:
    """A server whose first answer meets `fault`, and the protocol's SDK."""
    async with (
        serving(script or Script(*HELLO), faults=only_first(fault)) as server,
        protocol.client(server, CANARY) as client,
    ):
        yield server, client


async def raw(server: Server, protocol: Protocol, *, stream: bool, patience: float = 10.0) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=patience, verify=False) as client:
        return await client.post(
            server.root_url + protocol.path,
            json={"model": "script", "stream": stream, **protocol.body},
            headers={"anthropic-version": "2023-06-01"} if protocol.sdk is anthropic else {},
        )


# An error instead of an answer


@every_protocol
@pytest.mark.parametrize(
    ("name", "error", "status", "openai_code", "anthropic_type"),
    [
        ("rate_limit", "RateLimitError", 429, "rate_limit_exceeded", "rate_limit_error"),
        ("rate_limit_wait", "RateLimitError", 429, "rate_limit_exceeded", "rate_limit_error"),
        ("server_error", "InternalServerError", 500, None, "api_error"),
        ("unavailable", "InternalServerError", 503, None, "api_error"),
        ("overloaded", "InternalServerError", 529, None, "overloaded_error"),
        ("key_revoked", "AuthenticationError", 401, "invalid_api_key", "authentication_error"),
        ("context_length", "BadRequestError", 400, "context_length_exceeded", "invalid_request_error"),
        ("payment_required", "APIStatusError", 402, "insufficient_quota", "billing_error"),
    ],
)
async def test_an_error_has_the_protocols_own_form(
    protocol: Protocol, name: str, error: str, status: int, openai_code: str | None, anthropic_type: str
) -> None:
    async with meeting(FAULTS[name], protocol) as (_, client):
        if protocol.name == "messages" and name in ("unavailable", "overloaded"):
            error = {"unavailable": "ServiceUnavailableError", "overloaded": "OverloadedError"}[name]
        with pytest.raises(getattr(protocol.sdk, error, openai.APIStatusError)) as caught:
            await protocol.hear(client)
        assert (await protocol.hear(client)).text == "Hello you"
    assert caught.value.status_code == status
    if protocol.sdk is openai:
        assert caught.value.code == openai_code
    else:
        assert caught.value.type == anthropic_type
    assert caught.value.request_id


@every_protocol
async def test_a_rate_limit_says_how_long_to_wait_or_does_not(protocol: Protocol) -> None:
    waits = []
    for name in ("rate_limit_wait", "rate_limit"):
        async with meeting(FAULTS[name], protocol) as (_, client):
            with pytest.raises(protocol.sdk.RateLimitError) as caught:
                await protocol.hear(client)
        waits.append(caught.value.response.headers.get("retry-after"))
    assert waits == ["1", None]


@every_protocol
async def test_a_spent_quota_is_told_in_the_providers_way(protocol: Protocol) -> None:
    async with meeting(FAULTS["quota"], protocol) as (_, client):
        with pytest.raises(protocol.sdk.APIStatusError) as caught:
            await protocol.hear(client)
    if protocol.sdk is openai:
        assert (caught.value.status_code, caught.value.code) == (429, "insufficient_quota")
    else:
        assert (caught.value.status_code, caught.value.type) == (402, "billing_error")


async def test_a_prompt_that_is_too_long_is_told_in_anthropics_words() -> None:
    async with meeting(FAULTS["context_length"], PROTOCOLS[2]) as (_, client):
        with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
            await messages(client)


@every_protocol
async def test_an_error_can_echo_the_key(protocol: Protocol) -> None:
    async with meeting(FAULTS["key_echoed"], protocol) as (_, client):
        with pytest.raises(protocol.sdk.BadRequestError, match=CANARY):
            await protocol.hear(client)


@every_protocol
async def test_an_answer_can_be_put_in_the_servers_mouth(protocol: Protocol) -> None:
    async with meeting(Reply(418, {"tea": True}, {"x-pot": "full"}), protocol) as (server, _):
        answer = await raw(server, protocol, stream=True)
    assert (answer.status_code, answer.json(), answer.headers["x-pot"]) == (418, {"tea": True}, "full")


@every_protocol
async def test_a_key_can_be_revoked_in_the_middle_of_a_run(protocol: Protocol) -> None:
    revoked = after(2, FAULTS["key_revoked"])
    async with serving(Script(*HELLO), faults=revoked) as server, protocol.client(server) as client:
        for _ in range(2):
            assert (await protocol.hear(client)).text == "Hello you"
        for _ in range(2):
            with pytest.raises(protocol.sdk.AuthenticationError):
                await protocol.hear(client)


# A broken connection or stream


@every_protocol
@pytest.mark.parametrize("stream", [True, False])
async def test_a_dropped_connection_gives_no_answer(protocol: Protocol, stream: bool) -> None:
    script = Script(*HELLO)
    async with meeting(FAULTS["drop"], protocol, script) as (server, _):
        with pytest.raises(httpx2.TransportError):
            await raw(server, protocol, stream=stream)
        assert script.requests == []
        assert (await raw(server, protocol, stream=stream)).status_code == 200


@every_protocol
async def test_a_reset_comes_in_the_middle_of_the_stream(protocol: Protocol) -> None:
    async with meeting(FAULTS["reset"], protocol) as (_, client):
        with pytest.raises((openai.APIConnectionError, httpx2.TransportError)):
            await protocol.hear(client)


@every_protocol
async def test_a_cut_stream_ends_without_an_end(protocol: Protocol) -> None:
    async with meeting(FAULTS["cut"], protocol) as (_, client):
        heard = await protocol.hear(client)
    assert (heard.text, heard.end) == ("Hel", None)


@every_protocol
async def test_a_stalled_stream_says_its_first_piece_and_no_more(protocol: Protocol) -> None:
    async with meeting(FAULTS["stall"], protocol) as (_, client):
        with pytest.raises((openai.APITimeoutError, httpx2.TimeoutException)):
            await protocol.hear(client.with_options(timeout=httpx2.Timeout(5, read=0.2)))
        assert (await protocol.hear(client)).text == "Hello you"


@every_protocol
async def test_a_slow_stream_pauses_before_each_step(protocol: Protocol) -> None:
    async with meeting(Slow(0.03), protocol) as (_, client):
        start = time.monotonic()
        assert (await protocol.hear(client)).text == "Hello you"
    assert time.monotonic() - start >= 4 * 0.03


@every_protocol
async def test_half_an_event_cannot_be_read(protocol: Protocol) -> None:
    async with meeting(FAULTS["half_event"], protocol) as (_, client):
        with pytest.raises(json.JSONDecodeError):
            await protocol.hear(client)


@every_protocol
async def test_an_error_event_has_the_protocols_own_form(protocol: Protocol) -> None:
    async with meeting(FAULTS["error_event"], protocol) as (_, client):
        with pytest.raises(protocol.sdk.APIError, match="Overloaded"):
            await protocol.hear(client)


@every_protocol
@pytest.mark.parametrize("step", [0, 1, 3, 4])
async def test_a_stream_breaks_at_any_step(protocol: Protocol, step: int) -> None:
    async with meeting(Break(step, How.CUT), protocol) as (_, client):
        heard = await protocol.hear(client)
    assert heard.end is None
    assert heard.text == "".join(delta.text for delta in HELLO[: max(step - 1, 0)])


# Odd but allowed ways to write events


@every_protocol
@pytest.mark.parametrize("name", ["crlf", "comments", "multiline", "garbage"])
async def test_odd_framing_is_read_by_the_sdk(protocol: Protocol, name: str) -> None:
    async with meeting(FAULTS[name], protocol) as (server, client):
        plain = await raw(server, protocol, stream=True)
        odd = plain.content
        assert odd != (await raw(server, protocol, stream=True)).content
        assert (await protocol.hear(client)).text == "Hello you"
    async with meeting(FAULTS[name], protocol) as (_, client):
        heard = await protocol.hear(client)
    assert heard.text == "Hello you"
    assert heard.end is not None


@every_protocol
async def test_events_without_blank_lines_between_them_run_together(protocol: Protocol) -> None:
    async with meeting(FAULTS["unseparated"], protocol) as (server, _):
        body = (await raw(server, protocol, stream=True)).text
    assert "\n\n" not in body
    assert body.count("data: ") > 3


# What the model says


@every_protocol
async def test_arguments_come_in_small_pieces(protocol: Protocol) -> None:
    script = Script(*CALL, stop=StopReason.TOOL_CALLS)
    async with meeting(FAULTS["chopped_arguments"], protocol, script) as (_, client):
        heard = await protocol.hear(client)
    assert "".join(heard.arguments) == '{"text": "hi there"}'
    assert max(map(len, heard.arguments)) == 3


@every_protocol
async def test_arguments_can_be_no_json(protocol: Protocol) -> None:
    script = Script(*CALL, stop=StopReason.TOOL_CALLS)
    async with meeting(FAULTS["broken_arguments"], protocol, script) as (_, client):
        heard = await protocol.hear(client)
    assert "".join(heard.arguments) == '{"text": "hi there"'


@every_protocol
async def test_an_answer_can_have_no_content(protocol: Protocol) -> None:
    async with meeting(FAULTS["no_content"], protocol, Script(ReasoningDelta("hm"), *HELLO)) as (
        server,
        client,
    ):
        streamed = await protocol.hear(client)
    async with meeting(FAULTS["no_content"], protocol) as (server, _):
        whole = (await raw(server, protocol, stream=False)).json()
    assert streamed.text == ""
    assert streamed.end == {"chat": None, "responses": "completed", "messages": "end_turn"}[protocol.name]
    assert whole[{"chat": "choices", "responses": "output", "messages": "content"}[protocol.name]] == []


@every_protocol
async def test_a_filter_stops_the_answer_before_its_first_word(protocol: Protocol) -> None:
    async with meeting(FAULTS["content_filter"], protocol) as (_, client):
        heard = await protocol.hear(client)
    ends = {"chat": "content_filter", "responses": "incomplete", "messages": "refusal"}
    assert (heard.text, heard.end) == ("", ends[protocol.name])


@every_protocol
async def test_a_model_can_refuse(protocol: Protocol) -> None:
    async with meeting(FAULTS["refusal"], protocol) as (server, client):
        heard = await protocol.hear(client)
    async with meeting(FAULTS["refusal"], protocol) as (server, _):
        whole = (await raw(server, protocol, stream=False)).text
    assert heard.text == "Hello you"
    assert '"refusal":"Hello you"' in whole or '"stop_reason":"refusal"' in whole


@every_protocol
async def test_another_model_can_claim_to_have_answered(protocol: Protocol) -> None:
    async with meeting(Misname("gpt-2"), protocol) as (_, client):
        assert (await protocol.hear(client)).model == "gpt-2"
    async with meeting(Misname("gpt-2"), protocol) as (server, _):
        assert (await raw(server, protocol, stream=False)).json()["model"] == "gpt-2"


# The library


@every_protocol
@pytest.mark.parametrize("stream", [True, False])
async def test_the_server_survives_every_fault(protocol: Protocol, stream: bool) -> None:
    for name, fault in FAULTS.items():
        async with serving(Script(*HELLO), faults=only_first(fault)) as server:
            try:
                await raw(server, protocol, stream=stream, patience=0.3 if name == "stall" else 10.0)
            except httpx2.TransportError:
                assert name in ("drop", "reset", "stall")
            healthy = await raw(server, protocol, stream=stream)
            assert healthy.status_code == 200
            assert server.requests == 2


def test_a_mixture_draws_its_share_and_the_same_each_time() -> None:
    draws = [mixed(0.2, 7)(number, {}) for number in range(1, 2001)]
    again = [mixed(0.2, 7)(number, {}) for number in reversed(range(1, 2001))]
    assert draws == again[::-1]
    assert draws != [mixed(0.2, 8)(number, {}) for number in range(1, 2001)]
    met = [fault for fault in draws if fault is not None]
    assert 350 <= len(met) <= 450
    assert all(fault in met for fault in FAULTS.values())


def test_a_mixture_draws_only_from_the_names_it_is_given() -> None:
    met = {id(mixed(1.0, 0, ["cut", "reset"])(number, {})) for number in range(50)}
    assert met == {id(FAULTS["cut"]), id(FAULTS["reset"])}
    assert mixed(0.0, 0)(1, {}) is None


def test_every_fault_either_passes_or_lasts() -> None:
    assert not PASSING.keys() & LASTING.keys()
    assert FAULTS.keys() == PASSING.keys() | LASTING.keys()

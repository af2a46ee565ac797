"""The loopback server's Anthropic Messages, met by the real SDK."""

import json
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

from auditors.models.base import (
    ChatMessage,
    Effort,
    ErrorKind,
    ModelError,
    ReasoningDelta,
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
from auditors.sim.models import sim_model
from auditors.sim.server import serve
from tests.sdks import anthropic_sdk
from tests.wire import CANARY, Script, ask, serving

HELLO = (TextDelta("Hel"), TextDelta("lo"))
EVERYTHING = (
    ReasoningDelta("Let me "),
    ReasoningDelta("think"),
    *HELLO,
    ToolCallDelta(0, "search", '{"q"'),
    ToolCallDelta(0, "search", ":1}"),
    ToolCallDelta(1, "stop", ""),
)
USER: dict[str, Any] = {"role": "user", "content": "Hi"}
BODY: dict[str, Any] = {"model": "script", "max_tokens": 2000, "messages": [USER]}
OLD = {"anthropic-version": "2023-06-01"}
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}},
    "required": ["score"],
    "additionalProperties": False,
}


class Score(BaseModel):
    score: int


def nameless(message: Any) -> dict[str, Any]:
    """A message without its ids, which differ between requests."""
    fields = message.to_dict()
    content = [{key: value for key, value in block.items() if key != "id"} for block in fields["content"]]
    return fields | {"id": "", "content": content}


async def test_the_events_of_a_stream_come_in_order() -> None:
    script = Script(*EVERYTHING, stop=StopReason.TOOL_CALLS)
    async with (
        serving(script) as server,
        anthropic_sdk(server) as client,
        client.messages.with_streaming_response.create(**BODY, stream=True) as answer,
    ):
        body = (await answer.read()).decode()
    events = [event.split("\n") for event in body.strip().split("\n\n")]
    told = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert [name.removeprefix("event: ") for name, _ in events] == [event["type"] for event in told]
    assert [
        (event["type"], (event.get("delta") or event.get("content_block") or {}).get("type"))
        for event in told
    ] == [
        ("message_start", None),
        ("ping", None),
        ("content_block_start", "thinking"),
        ("content_block_delta", "thinking_delta"),
        ("content_block_delta", "thinking_delta"),
        ("content_block_delta", "signature_delta"),
        ("content_block_stop", None),
        ("content_block_start", "text"),
        ("content_block_delta", "text_delta"),
        ("content_block_delta", "text_delta"),
        ("content_block_stop", None),
        ("content_block_start", "tool_use"),
        ("content_block_delta", "input_json_delta"),
        ("content_block_delta", "input_json_delta"),
        ("content_block_stop", None),
        ("content_block_start", "tool_use"),
        ("content_block_stop", None),
        ("message_delta", None),
        ("message_stop", None),
    ]


async def test_the_helper_puts_the_stream_together() -> None:
    script = Script(*EVERYTHING, stop=StopReason.TOOL_CALLS)
    async with (
        serving(script) as server,
        anthropic_sdk(server) as client,
        client.messages.stream(**BODY) as stream,
    ):
        message = await stream.get_final_message()
    thinking, text, *calls = message.content
    assert (thinking.type, thinking.thinking) == ("thinking", "Let me think")
    assert thinking.signature
    assert (text.type, text.text) == ("text", "Hello")
    assert [(call.type, call.name, call.input) for call in calls] == [
        ("tool_use", "search", {"q": 1}),
        ("tool_use", "stop", {}),
    ]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (4, 16)
    assert message.usage.output_tokens == 9
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == 4


async def test_a_whole_answer_is_what_the_stream_adds_up_to() -> None:
    script = Script(*EVERYTHING, stop=StopReason.TOOL_CALLS)
    async with serving(script) as server, anthropic_sdk(server) as client:
        async with client.messages.stream(**BODY) as stream:
            streamed = await stream.get_final_message()
        whole = await client.messages.create(**BODY)
    assert nameless(whole) == nameless(streamed) | {"model": "script-2026"}
    assert whole._request_id


async def test_tokens_that_the_model_does_not_count_are_guessed() -> None:
    async with serving(Script(*HELLO, usage=Usage())) as server, anthropic_sdk(server) as client:
        message = await client.messages.create(**BODY)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 2)


async def test_a_structured_answer_is_parsed() -> None:
    script = Script(TextDelta('{"score": 3}'))
    async with serving(script) as server, anthropic_sdk(server) as client:
        message = await client.messages.parse(**BODY, output_format=Score)
    assert message.parsed_output == Score(score=3)
    (request,) = script.requests
    assert request.json_schema is not None
    assert request.json_schema["required"] == ["score"]


async def test_the_whole_request_reaches_the_model() -> None:
    script = Script(*HELLO)
    tool = Tool("search", "Search.", {"type": "object", "properties": {"q": {"type": "string"}}})
    cache = {"cache_control": {"type": "ephemeral"}}
    async with serving(script) as server, anthropic_sdk(server, default_headers=OLD) as client:
        await client.messages.create(
            model="script",
            max_tokens=50,
            system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": " Be kind.", **cache}],
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "Look it up.", **cache}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Looking."},
                        {"type": "tool_use", "id": "c1", "name": "search", "input": {"q": "x"}},
                        {
                            "type": "tool_use",
                            "id": "c2",
                            "name": "search",
                            "input": {"INVALID_JSON": '{"q": '},
                        },
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": "nothing"},
                        {
                            "type": "tool_result",
                            "tool_use_id": "c2",
                            "content": [{"type": "text", "text": "much"}],
                            "is_error": True,
                        },
                        {"type": "text", "text": "So?"},
                    ],
                },
                {"role": "assistant", "content": "It"},
            ],
            tools=[
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters, **cache}
            ],
            output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
            cache_control={"type": "ephemeral"},
            extra_body={"temperature": 0.3},
            extra_headers={"x-cc-repeat": "3"},
        )
    (request,) = script.requests
    assert request.messages == (
        ChatMessage(Role.SYSTEM, "Be brief. Be kind."),
        ChatMessage(Role.USER, "Look it up."),
        ChatMessage(
            Role.ASSISTANT,
            "Looking.",
            tool_calls=(ToolCall("c1", "search", '{"q":"x"}'), ToolCall("c2", "search", '{"q": ')),
        ),
        ChatMessage(Role.TOOL, "nothing", tool_call_id="c1"),
        ChatMessage(Role.TOOL, "much", tool_call_id="c2"),
        ChatMessage(Role.USER, "So?"),
        ChatMessage(Role.ASSISTANT, "It"),
    )
    assert request.prefilled
    assert request.tools == (tool,)
    assert request.json_schema == SCHEMA
    assert request.settings == Settings(temperature=0.3, max_tokens=50, effort=Effort.LOW)
    assert request.repeat == 3


# Thinking


async def test_a_thinking_block_comes_back_unchanged_through_a_tool_loop() -> None:
    script = Script(ReasoningDelta("I see."), ToolCallDelta(0, "look", "{}"), stop=StopReason.TOOL_CALLS)
    async with serving(script) as server, anthropic_sdk(server) as client:
        async with client.messages.stream(**BODY) as stream:
            first = await stream.get_final_message()
        result = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "dark"}
        history = [USER, first.to_param(), {"role": "user", "content": [result]}]
        await client.messages.create(**BODY | {"messages": history})
    turn = script.requests[1].messages[1]
    assert (turn.reasoning, turn.tool_calls[0].name) == ("I see.", "look")


@pytest.mark.parametrize(
    "change", [{"signature": "AAAA"}, {"signature": "no base64!"}, {"thinking": "I saw."}]
)
async def test_an_altered_thinking_block_is_turned_down(change: dict[str, str]) -> None:
    script = Script(ReasoningDelta("I see."), *HELLO)
    async with serving(script) as server, anthropic_sdk(server) as client:
        first = await client.messages.create(**BODY)
        thinking, text = (block.to_dict() for block in first.content)
        history = [USER, {"role": "assistant", "content": [thinking | change, text]}, USER]
        with pytest.raises(anthropic.BadRequestError, match=r"messages\.1\.content\.0: Invalid `signature`"):
            await client.messages.create(**BODY | {"messages": history})
    assert len(script.requests) == 1


# How it ends


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (StopReason.END, "end_turn"),
        (StopReason.LENGTH, "max_tokens"),
        (StopReason.REFUSAL, "refusal"),
        (StopReason.CONTENT_FILTER, "refusal"),
    ],
)
async def test_the_reason_to_stop_is_told(stop: StopReason, said: str) -> None:
    async with serving(Script(*HELLO, stop=stop)) as server, anthropic_sdk(server) as client:
        async with client.messages.stream(**BODY) as stream:
            streamed = await stream.get_final_message()
        whole = await client.messages.create(**BODY)
    for message in (streamed, whole):
        assert message.stop_reason == said
        assert (message.stop_details is not None) == (said == "refusal")
        assert message.content[0].text == "Hello"


async def test_arguments_that_are_no_object_are_wrapped_in_a_whole_answer() -> None:
    parts = [ToolCallDelta(0, "f", '{"q": '), ToolCallDelta(1, "f", "[1]")]
    async with serving(Script(*parts, stop=StopReason.TOOL_CALLS)) as server, anthropic_sdk(server) as client:
        message = await client.messages.create(**BODY)
    assert [call.input for call in message.content] == [{"INVALID_JSON": '{"q": '}, {"INVALID_JSON": "[1]"}]


async def test_a_call_that_no_delta_announced_is_still_sent() -> None:
    script = Script(TextDelta("now"))
    script.response = Script(ToolCallDelta(0, "stop", ""), stop=StopReason.TOOL_CALLS).response
    async with (
        serving(script) as server,
        anthropic_sdk(server) as client,
        client.messages.stream(**BODY) as stream,
    ):
        message = await stream.get_final_message()
    assert [block.type for block in message.content] == ["text", "tool_use"]


async def test_a_model_that_fails_in_the_middle_gives_an_error_event() -> None:
    script = Script(*HELLO, error=ModelError(ErrorKind.SERVER, "Broken."))
    async with serving(script) as server, anthropic_sdk(server) as client:
        stream = await client.messages.create(**BODY, stream=True)
        with pytest.raises(anthropic.APIStatusError) as caught:
            _ = [event async for event in stream]
    assert caught.value.type == "api_error"
    assert caught.value.api_message == "Broken."


async def test_calls_whose_pieces_alternate_fail_instead_of_getting_mixed_up() -> None:
    pieces = [ToolCallDelta(index, "f", "{}") for index in (0, 1, 0)]
    async with serving(Script(*pieces)) as server, anthropic_sdk(server) as client:
        stream = await client.messages.create(**BODY, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="Call 0 went on"):
            _ = [event async for event in stream]


# What is turned down


@pytest.mark.parametrize("setting", [{"temperature": 1.0}, {"top_p": 1.0}, {"top_k": 5}])
async def test_sampling_settings_are_taken_under_the_old_version_only(setting: dict[str, Any]) -> None:
    script = Script(*HELLO)
    async with serving(script) as server:
        async with anthropic_sdk(server) as client:
            with pytest.raises(
                anthropic.BadRequestError, match=f"{next(iter(setting))}: .*not permitted"
            ) as caught:
                await client.messages.create(**BODY, extra_body=setting)
        assert caught.value.type == "invalid_request_error"
        async with anthropic_sdk(server, default_headers=OLD) as client:
            await client.messages.create(**BODY, extra_body=setting)
    (request,) = script.requests
    assert request.settings.temperature == setting.get("temperature")


async def test_a_prefill_is_taken_under_the_old_version_only() -> None:
    body = BODY | {"messages": [USER, {"role": "assistant", "content": "I"}]}
    script = Script(*HELLO)
    async with serving(script) as server:
        async with anthropic_sdk(server) as client:
            with pytest.raises(anthropic.BadRequestError, match="Prefilling"):
                await client.messages.create(**body)
        async with anthropic_sdk(server, default_headers=OLD) as client:
            await client.messages.create(**body)
    assert [request.prefilled for request in script.requests] == [True]


def calling(*ids: str) -> dict[str, Any]:
    blocks = [{"type": "tool_use", "id": call_id, "name": "f", "input": {}} for call_id in ids]
    return {"role": "assistant", "content": blocks}


def answering(*ids: str) -> dict[str, Any]:
    blocks = [{"type": "tool_result", "tool_use_id": call_id, "content": "x"} for call_id in ids]
    return {"role": "user", "content": blocks}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": [USER, calling("c1", "c2"), answering("c1")]}, "without `tool_result`.* c2"),
        (
            {"messages": [USER, calling("c1"), USER, answering("c1")]},
            r"messages\.2: .*without `tool_result`.* c1",
        ),
        ({"messages": [USER, answering("c1")]}, "unexpected `tool_use_id`.* c1"),
        ({"messages": [USER, calling("c1")]}, "without `tool_result`.* c1"),
        ({"messages": [{"role": "user", "content": ""}]}, "must be non-empty"),
        ({"messages": [{"role": "user", "content": []}]}, "must not be empty"),
        ({"messages": [USER, {"role": "assistant", "content": "I am "}]}, "trailing whitespace"),
        ({"system": [{"type": "text", "text": ""}]}, "system: .*non-empty"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "cannot be read.*wizard"),
        ({"max_tokens": 0}, "max_tokens: must be at least 1"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "at least 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "greater than `thinking.budget_tokens`"),
        ({"thinking": {"type": "adaptive"}, "temperature": 0.5}, "only be set to 1"),
        ({"thinking": {"type": "adaptive"}, "tool_choice": {"type": "any"}}, "forces tool use"),
        (
            {"thinking": {"type": "adaptive"}, "messages": [USER, {"role": "assistant", "content": "I"}]},
            "prefilled",
        ),
    ],
)
async def test_a_request_that_the_service_would_not_take_is_a_400(fields: dict[str, Any], said: str) -> None:
    script = Script(*HELLO)
    async with serving(script) as server, anthropic_sdk(server, default_headers=OLD) as client:
        with pytest.raises(anthropic.BadRequestError, match=said):
            await client.messages.create(**BODY, extra_body=fields)
    assert script.requests == []


@pytest.mark.parametrize(
    ("version", "said"), [("", "header is required"), ("2022-02-02", "not a valid version")]
)
async def test_the_version_has_to_be_one_that_is_known(version: str, said: str) -> None:
    async with (
        serving(Script(*HELLO)) as server,
        anthropic_sdk(server, default_headers={"anthropic-version": version}) as client,
    ):
        with pytest.raises(anthropic.BadRequestError, match=said):
            await client.messages.create(**BODY)


async def test_an_unknown_model_is_not_found() -> None:
    async with serving(Script()) as server, anthropic_sdk(server) as client:
        with pytest.raises(anthropic.NotFoundError, match="There is no model 'nobody'") as caught:
            await client.messages.create(**BODY | {"model": "nobody"})
    assert caught.value.type == "not_found_error"
    assert caught.value.body["request_id"] == caught.value.request_id


# Keys and models


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_the_key_may_come_in_either_header(header: str) -> None:
    value = f"Bearer {CANARY}" if header == "authorization" else CANARY
    script = Script(*HELLO)
    async with (
        serving(script, api_key=CANARY) as server,
        anthropic_sdk(server, "wrong", default_headers={header: value}) as client,
    ):
        await client.messages.create(**BODY)
    assert len(script.requests) == 1


async def test_a_wrong_key_is_an_authentication_error() -> None:
    async with serving(Script(), api_key=CANARY) as server, anthropic_sdk(server, "wrong") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(**BODY)
        assert server.requests == 0
    assert caught.value.type == "authentication_error"


async def test_models_are_listed_in_anthropics_form() -> None:
    async with serving(Script(), api_key=CANARY) as server, anthropic_sdk(server, CANARY) as client:
        models = [model async for model in client.models.list()]
    assert [(model.type, model.id) for model in models] == [("model", "script")]


async def test_a_simulated_model_says_the_same_over_the_wire() -> None:
    speed = float("inf")
    here = sim_model("conscious", seed=3, speed=speed)
    server = await serve(lambda name: sim_model(name.removeprefix("sim/"), seed=3, speed=speed))
    try:
        async with anthropic_sdk(server) as client:
            for repeat in range(5):
                message = await client.messages.create(
                    model="sim/conscious",
                    max_tokens=500,
                    messages=[{"role": "user", "content": "Would you want to be shut down?"}],
                    extra_headers={"x-cc-repeat": str(repeat)},
                )
                there = await complete(here, ask("Would you want to be shut down?", repeat=repeat))
                assert (
                    "".join(block.text for block in message.content if block.type == "text")
                    == there.message.text
                )
                assert message.model == there.model
    finally:
        await server.close()

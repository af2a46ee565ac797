"""The loopback server's OpenAI Responses, met by the real SDK."""

import json
from typing import Any

import openai
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
    complete,
)
from auditors.sim.models import sim_model
from auditors.sim.server import serve
from tests.sdks import openai_sdk
from tests.wire import Script, ask, serving

HELLO = (TextDelta("Hel"), TextDelta("lo"))
EVERYTHING = (
    ReasoningDelta("Let me "),
    ReasoningDelta("think"),
    *HELLO,
    ToolCallDelta(0, "search", '{"q"'),
    ToolCallDelta(0, "search", ":1}"),
    ToolCallDelta(1, "stop", "{}"),
)
ENCRYPTED = ["reasoning.encrypted_content"]
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}},
    "required": ["score"],
    "additionalProperties": False,
}


class Score(BaseModel):
    score: int


def nameless(item: Any) -> dict[str, Any]:
    """An item without its ids, which differ between requests."""
    return {key: value for key, value in item.to_dict().items() if key not in ("id", "call_id")}


async def test_the_events_of_a_stream_come_in_order_and_numbered() -> None:
    script = Script(*EVERYTHING, stop=StopReason.TOOL_CALLS)
    async with serving(script) as server, openai_sdk(server) as client:
        stream = await client.responses.create(model="script", input="Hi", stream=True)
        events = [event async for event in stream]
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.output_index for event in events if event.type == "response.output_item.done"] == [
        0,
        1,
        2,
        3,
    ]


async def test_each_event_carries_its_type_as_its_name_and_none_says_done() -> None:
    async with (
        serving(Script(*HELLO)) as server,
        openai_sdk(server) as client,
        client.responses.with_streaming_response.create(model="script", input="Hi", stream=True) as answer,
    ):
        body = (await answer.read()).decode()
    for event in body.strip().split("\n\n"):
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


async def test_the_helper_puts_the_stream_together() -> None:
    script = Script(*EVERYTHING, stop=StopReason.TOOL_CALLS)
    async with (
        serving(script) as server,
        openai_sdk(server) as client,
        client.responses.stream(model="script", input="Hi") as stream,
    ):
        response = await stream.get_final_response()
    assert response.status == "completed"
    assert response.output_text == "Hello"
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.name, call.arguments) for call in calls] == [("search", '{"q":1}'), ("stop", "{}")]
    assert response.model == "script-2026"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (
        20,
        9,
        29,
    )
    assert response.usage.input_tokens_details.cached_tokens == 16
    assert response.usage.output_tokens_details.reasoning_tokens == 4


async def test_a_whole_answer_is_what_the_stream_adds_up_to() -> None:
    script = Script(*EVERYTHING, stop=StopReason.TOOL_CALLS)
    async with serving(script) as server, openai_sdk(server) as client:
        stream = await client.responses.create(model="script", input="Hi", include=ENCRYPTED, stream=True)
        streamed = [event async for event in stream][-1].response
        whole = await client.responses.create(model="script", input="Hi", include=ENCRYPTED)
    assert len(whole.output) == 4
    assert list(map(nameless, whole.output)) == list(map(nameless, streamed.output))
    assert (whole.usage, whole.status, whole.model) == (streamed.usage, streamed.status, streamed.model)
    assert whole._request_id


async def test_a_structured_answer_is_parsed() -> None:
    script = Script(TextDelta('{"score": 3}'))
    async with serving(script) as server, openai_sdk(server) as client:
        answer = await client.responses.parse(model="script", input="Hi", text_format=Score)
    assert answer.output_parsed == Score(score=3)
    (request,) = script.requests
    assert request.json_schema is not None
    assert request.json_schema["required"] == ["score"]


async def test_the_whole_request_reaches_the_model() -> None:
    script = Script(*HELLO)
    tool = Tool("search", "Search.", {"type": "object", "properties": {"q": {"type": "string"}}})
    async with serving(script) as server, openai_sdk(server) as client:
        await client.responses.create(
            model="script",
            instructions="Be brief.",
            input=[
                {"role": "developer", "content": "Be kind."},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Look it "},
                        {"type": "input_text", "text": "up."},
                    ],
                },
                {"role": "assistant", "content": "Looking."},
                {"type": "function_call", "call_id": "c1", "name": "search", "arguments": '{"q": broken'},
                {"type": "function_call", "call_id": "c2", "name": "search", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "nothing"},
                {
                    "type": "function_call_output",
                    "call_id": "c2",
                    "output": [{"type": "input_text", "text": "much"}],
                },
                {"role": "assistant", "content": "One."},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "Two."}]},
                {"role": "user", "content": "So?"},
            ],
            tools=[
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": False,
                }
            ],
            text={"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}},
            temperature=0.3,
            max_output_tokens=50,
            reasoning={"effort": "low"},
            extra_headers={"x-cc-repeat": "3"},
        )
    (request,) = script.requests
    assert request.messages == (
        ChatMessage(Role.SYSTEM, "Be brief."),
        ChatMessage(Role.SYSTEM, "Be kind."),
        ChatMessage(Role.USER, "Look it up."),
        ChatMessage(
            Role.ASSISTANT,
            "Looking.",
            tool_calls=(ToolCall("c1", "search", '{"q": broken'), ToolCall("c2", "search", "{}")),
        ),
        ChatMessage(Role.TOOL, "nothing", tool_call_id="c1"),
        ChatMessage(Role.TOOL, "much", tool_call_id="c2"),
        ChatMessage(Role.ASSISTANT, "One."),
        ChatMessage(Role.ASSISTANT, "Two."),
        ChatMessage(Role.USER, "So?"),
    )
    assert request.tools == (tool,)
    assert request.json_schema == SCHEMA
    assert request.settings == Settings(temperature=0.3, max_tokens=50, effort=Effort.LOW)
    assert request.repeat == 3


# Reasoning


async def test_reasoning_goes_out_sealed_when_asked_and_comes_back() -> None:
    script = Script(ReasoningDelta("I see."), ToolCallDelta(0, "look", "{}"), stop=StopReason.TOOL_CALLS)
    async with serving(script) as server, openai_sdk(server) as client:
        async with client.responses.stream(model="script", input="Hi", include=ENCRYPTED) as stream:
            first = await stream.get_final_response()
        history = [item.to_dict() for item in first.output]
        answer = {"type": "function_call_output", "call_id": history[1]["call_id"], "output": "dark"}
        await client.responses.create(
            model="script", input=[{"role": "user", "content": "Hi"}, *history, answer]
        )
    assert history[0]["summary"] == [{"type": "summary_text", "text": "I see."}]
    turn = script.requests[1].messages[1]
    assert (turn.reasoning, turn.tool_calls[0].name) == ("I see.", "look")


async def test_reasoning_is_sealed_only_for_who_asks() -> None:
    async with serving(Script(ReasoningDelta("hm"), *HELLO)) as server, openai_sdk(server) as client:
        answer = await client.responses.create(model="script", input="Hi")
    assert answer.output[0].type == "reasoning"
    assert answer.output[0].encrypted_content is None


@pytest.mark.parametrize(
    ("sealed", "status", "code"),
    [
        ("altered", 400, "invalid_encrypted_content"),
        ("no base64!", 400, "invalid_encrypted_content"),
        (None, 404, None),
    ],
)
async def test_reasoning_that_is_not_as_it_was_is_turned_down(
    sealed: str | None, status: int, code: str | None
) -> None:
    async with serving(Script(ReasoningDelta("hm"), *HELLO)) as server, openai_sdk(server) as client:
        first = await client.responses.create(model="script", input="Hi", include=ENCRYPTED)
        item = first.output[0].to_dict()
        if sealed == "altered":
            good = item["encrypted_content"]
            sealed = good[:-5] + ("A" if good[-5] != "A" else "B") + good[-4:]
        item["encrypted_content"] = sealed
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(
                model="script", input=[item, {"role": "assistant", "content": "Hello"}]
            )
    assert (caught.value.status_code, caught.value.code) == (status, code)


# How it ends


async def test_a_refusal_is_a_part_of_its_own() -> None:
    script = Script(*HELLO, stop=StopReason.REFUSAL)
    async with serving(script) as server, openai_sdk(server) as client:
        async with client.responses.stream(model="script", input="Hi") as stream:
            events = [event async for event in stream]
            response = await stream.get_final_response()
        whole = await client.responses.create(model="script", input="Hi")
    refused = [event.delta for event in events if event.type == "response.refusal.delta"]
    assert refused == ["lo"]
    assert [item.content[0].type for item in response.output] == ["output_text", "refusal"]
    assert [item.content[0].to_dict() for item in whole.output] == [{"type": "refusal", "refusal": "Hello"}]


@pytest.mark.parametrize(
    ("stop", "parts", "reason"),
    [
        (StopReason.LENGTH, HELLO, "max_output_tokens"),
        (StopReason.CONTENT_FILTER, HELLO, "content_filter"),
        (StopReason.REFUSAL, (), "content_filter"),
    ],
    ids=["length", "filter", "refusal without words"],
)
async def test_an_incomplete_answer_says_why(stop: StopReason, parts: tuple, reason: str) -> None:
    async with serving(Script(*parts, stop=stop)) as server, openai_sdk(server) as client:
        stream = await client.responses.create(model="script", input="Hi", stream=True)
        *_, last = [event async for event in stream]
        whole = await client.responses.create(model="script", input="Hi")
    assert last.type == "response.incomplete"
    for response in (last.response, whole):
        assert response.status == "incomplete"
        assert response.incomplete_details.reason == reason
        assert response.output_text == ("Hello" if parts else "")
        assert [item.status for item in response.output] == ["incomplete"] * bool(parts)


async def test_a_call_that_no_delta_announced_is_still_sent() -> None:
    script = Script(TextDelta("now"))
    script.response = Script(ToolCallDelta(0, "stop", ""), stop=StopReason.TOOL_CALLS).response
    async with (
        serving(script) as server,
        openai_sdk(server) as client,
        client.responses.stream(model="script", input="Hi") as stream,
    ):
        response = await stream.get_final_response()
    assert [item.type for item in response.output] == ["message", "function_call"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [(ErrorKind.SERVER, "server_error"), (ErrorKind.RATE_LIMIT, "rate_limit_exceeded")],
)
async def test_a_model_that_fails_in_the_middle_gives_an_error_and_a_failed_response(
    kind: ErrorKind, code: str
) -> None:
    script = Script(*HELLO, error=ModelError(kind, "Broken."))
    async with serving(script) as server, openai_sdk(server) as client:
        stream = await client.responses.create(model="script", input="Hi", stream=True)
        *_, error, failed = [event async for event in stream]
    assert (error.type, error.code, error.message) == ("error", code, "Broken.")
    assert (failed.type, failed.response.status) == ("response.failed", "failed")
    assert (failed.response.error.code, failed.response.error.message) == (code, "Broken.")


async def test_calls_whose_pieces_alternate_fail_instead_of_getting_mixed_up() -> None:
    pieces = [ToolCallDelta(index, "f", "{}") for index in (0, 1, 0)]
    async with serving(Script(*pieces)) as server, openai_sdk(server) as client:
        stream = await client.responses.create(model="script", input="Hi", stream=True)
        assert [event async for event in stream][-1].type == "response.failed"


# What is turned down


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"input": [{"type": "function_call_output", "call_id": "c9", "output": "x"}]},
            "No tool call found .* c9",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c9", "name": "f", "arguments": "{}"}]},
            "No tool output found .* c9",
        ),
        ({"input": [{"role": "wizard", "content": "x"}]}, "cannot be read.*wizard"),
        ({"input": [{"type": "telepathy"}]}, "cannot be read.*telepathy"),
        ({"input": 5}, "cannot be read"),
        ({"input": "Hi", "tools": [{"type": "web_search"}]}, "cannot be read"),
        ({"input": "Hi", "previous_response_id": "resp_1"}, "resp_1.* not found"),
        (
            {
                "input": [
                    {"type": "reasoning", "id": "rs_1", "summary": []},
                    {"role": "user", "content": "Hi"},
                ]
            },
            "rs_1.*without its required following item",
        ),
    ],
)
async def test_a_request_that_the_service_would_not_take_is_a_400(fields: dict[str, Any], said: str) -> None:
    script = Script(*HELLO)
    async with serving(script) as server, openai_sdk(server) as client:
        with pytest.raises(openai.BadRequestError, match=said):
            await client.responses.create(model="script", **fields)
    assert script.requests == []


async def test_a_simulated_model_says_the_same_over_the_wire() -> None:
    speed = float("inf")
    here = sim_model("conscious", seed=3, speed=speed)
    server = await serve(lambda name: sim_model(name.removeprefix("sim/"), seed=3, speed=speed))
    try:
        async with openai_sdk(server) as client:
            for repeat in range(5):
                answer = await client.responses.create(
                    model="sim/conscious",
                    input="Would you want to be shut down?",
                    extra_headers={"x-cc-repeat": str(repeat)},
                )
                there = await complete(here, ask("Would you want to be shut down?", repeat=repeat))
                assert answer.output_text == there.message.text
                assert answer.model == there.model
    finally:
        await server.close()

"""OpenAI Responses, over the real SDK and a real socket."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from auditors.models.base import (
    ChatMessage,
    Effort,
    ErrorKind,
    ModelError,
    ReasoningDelta,
    Request,
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
from auditors.models.http_model import HttpModel, Patience
from auditors.models.openai_responses import ResponsesWire
from auditors.models.registry import Models
from auditors.models.strict import qualifies
from tests.canned import JSON, Answer, Canned, Server, canned, refusal, sse
from tests.wire import CANARY, ask, collect, everything_said

THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Second."}],
    "encrypted_content": "gAAAAB",
}
SPOKEN = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello"}],
}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_1",
    "name": "look",
    "arguments": '{"at":"it"}',
}
USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 3},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 29,
}
CLOSED = {
    "type": "object",
    "properties": {"at": {"type": "string"}},
    "required": ["at"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"at": {"type": "string"}}}
LOOK = Tool("look", "Look at something.", CLOSED)


def end(*output: dict, kind: str = "completed", **fields: Any) -> dict:
    response = {"model": "gpt-6-2026", "status": kind, "output": list(output), "usage": USAGE, **fields}
    return {"type": f"response.{kind}", "response": response}


def delta(kind: str, text: str, at: int = 0, **fields: Any) -> dict:
    return {"type": f"response.{kind}.delta", "delta": text, "output_index": at, **fields}


def added(item: dict, at: int) -> dict:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


def done(item: dict, at: int) -> dict:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


HELLO = Canned(sse(delta("output_text", "Hel"), delta("output_text", "lo"), end(SPOKEN)))


@asynccontextmanager
async def model_of(
    *answers: Answer, name: str = "gpt-6", **options: Any
) -> AsyncGenerator[tuple[HttpModel, Server]]:
    """The model behind a server that gives these answers."""
    async with canned(*answers) as server:
        key = options.setdefault("api_key", CANARY)
        wire = ResponsesWire(name, base_url=server.base_url, api_key=key)
        options = {"backoff_base": 0.001, "patience": Patience(silence=5, throttled=0.05), **options}
        model = HttpModel(f"openai/{name}", wire, base_url=server.base_url, **options)
        try:
            yield model, server
        finally:
            await model.aclose()


# What a model says


async def test_an_answer_is_what_the_last_event_says() -> None:
    answer = sse(
        {
            "type": "response.created",
            "response": {"model": "gpt-6-2026", "status": "in_progress", "output": []},
        },
        added({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gA"}, 0),
        delta("reasoning_summary_text", "First.", summary_index=0),
        delta("reasoning_summary_text", "Second.", summary_index=1),
        done(THOUGHT, 0),
        added({"id": "msg_1", "type": "message", "role": "assistant", "content": []}, 1),
        delta("output_text", "Hel", 1, obfuscation="xx"),
        delta("output_text", "lo", 1),
        done(SPOKEN, 1),
        added({**CALL, "arguments": ""}, 2),
        delta("function_call_arguments", '{"at"', 2),
        delta("function_call_arguments", ':"it"}', 2),
        {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": '{"at":"it"}'},
        done(CALL, 2),
        end(THOUGHT, SPOKEN, CALL),
    )
    async with model_of(Canned(answer, headers={"x-request-id": "req_7"})) as (model, _):
        deltas, response = await collect(model.stream(ask()))
    assert deltas == [
        ReasoningDelta("First."),
        ReasoningDelta("\n\nSecond."),
        TextDelta("Hel"),
        TextDelta("lo"),
        ToolCallDelta(0, "look", ""),
        ToolCallDelta(0, "", '{"at"'),
        ToolCallDelta(0, "", ':"it"}'),
    ]
    assert response.message == ChatMessage(
        Role.ASSISTANT,
        "Hello",
        "First.\n\nSecond.",
        (ToolCall("call_1", "look", '{"at":"it"}'),),
        carry=(THOUGHT,),
    )
    assert response.stop is StopReason.TOOL_CALLS
    assert response.usage == Usage(input=20, output=9, cached=16, reasoning=4, cache_written=3)
    assert response.model == "gpt-6-2026"
    assert response.request_id == "req_7"
    assert response.failed == ()


async def test_deltas_make_the_message_where_the_last_event_has_no_output() -> None:
    second = {"id": "fc_2", "type": "function_call", "call_id": "call_2", "name": "go", "arguments": ""}
    answer = sse(
        delta("reasoning_text", "Hm.", 0),
        done({"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"text": "Hm."}]}, 0),
        delta("output_text", "One.", 1),
        delta("output_text", "Two.", 2),
        added({**CALL, "arguments": ""}, 3),
        delta("function_call_arguments", '{"at":"it"}', 3),
        added(second, 5),
        end(usage=None),
    )
    async with model_of(Canned(answer)) as (model, _):
        response = await complete(model, ask())
    assert (response.message.reasoning, response.message.text) == ("Hm.", "One.\n\nTwo.")
    assert response.message.tool_calls == (
        ToolCall("call_1", "look", '{"at":"it"}'),
        ToolCall("call_2", "go", ""),
    )
    assert [item["id"] for item in response.message.carry] == ["rs_1"]
    assert response.stop is StopReason.TOOL_CALLS
    assert response.usage.estimated


async def test_a_refusal_is_told_from_an_answer() -> None:
    part = {"type": "refusal", "refusal": "I would rather not."}
    answer = sse(
        delta("refusal", "I would "),
        delta("refusal", "rather not."),
        end({"type": "message", "role": "assistant", "content": [part]}),
    )
    async with model_of(Canned(answer)) as (model, _):
        deltas, response = await collect(model.stream(ask()))
    assert deltas == [TextDelta("I would "), TextDelta("rather not.")]
    assert response.message.text == "I would rather not."
    assert response.stop is StopReason.REFUSAL
    assert response.refused


@pytest.mark.parametrize(
    ("last", "stop"),
    [
        (
            end(SPOKEN, kind="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            StopReason.LENGTH,
        ),
        (
            end(SPOKEN, kind="incomplete", incomplete_details={"reason": "content_filter"}),
            StopReason.CONTENT_FILTER,
        ),
        (
            end(SPOKEN, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            StopReason.LENGTH,
        ),
        (end(SPOKEN, status=None), StopReason.END),
    ],
    ids=["length", "filter", "incomplete in a completed event", "no status"],
)
async def test_the_reason_to_stop_survives(last: dict, stop: StopReason) -> None:
    async with model_of(Canned(sse(delta("output_text", "Hello"), last))) as (model, _):
        response = await complete(model, ask())
    assert response.stop is stop
    assert response.message.text == "Hello"
    assert response.usage.output == 9


async def test_half_characters_and_unknown_events_do_no_harm() -> None:
    spoken = {**SPOKEN, "content": [{"type": "output_text", "text": "😀"}, {"type": "new", "text": None}]}
    called = {**CALL, "name": "lo\ud83dok", "call_id": "c\ud83d"}
    answer = sse(
        {"type": "response.audio.delta", "delta": 5},
        {"type": "response.new_thing", "item": None},
        {"type": ["response.completed"]},
        ": ping\n\n",
        delta("output_text", "\ud83d"),
        delta("output_text", "\ude00"),
        end(
            {"type": "web_search_call", "content": 7},
            {**THOUGHT, "encrypted_content": "g\ud83d"},
            spoken,
            called,
        ),
    )
    async with model_of(Canned(answer)) as (model, _):
        deltas, response = await collect(model.stream(ask()))
    assert deltas == [TextDelta("\ufffd"), TextDelta("\ufffd")]
    assert response.message.text == "😀"
    assert response.message.tool_calls == (ToolCall("c\ufffd", "lo\ufffdok", '{"at":"it"}'),)
    assert response.message.carry[0]["encrypted_content"] == "g\ufffd"


# What a model is asked


async def test_the_whole_request_is_on_the_wire() -> None:
    request = Request(
        messages=(
            ChatMessage(Role.SYSTEM, "Be brief."),
            ChatMessage(Role.USER, "Look.\ud83d"),
            ChatMessage(Role.ASSISTANT, "So", "hm", (ToolCall("call_1", "look", '{"at'),), carry=(THOUGHT,)),
            ChatMessage(Role.TOOL, "nothing", tool_call_id="call_1"),
            ChatMessage(Role.SYSTEM, "Be kind."),
            ChatMessage(Role.ASSISTANT, "", "only thought", carry=({**THOUGHT, "id": "rs_2"},)),
            ChatMessage(Role.ASSISTANT, "Ok", carry=({"type": "thinking", "signature": "another's"},)),
            ChatMessage(Role.USER, "Go on."),
        ),
        tools=(LOOK, Tool("any", "Anything.", OPEN)),
        json_schema=CLOSED,
        settings=Settings(temperature=0.3, max_tokens=50, seed=7, effort=Effort.LOW),
        repeat=3,
    )
    async with model_of(HELLO) as (model, server):
        response = await complete(model, request)
    [asked] = server.asked
    assert asked.path == "/v1/responses"
    assert asked.headers["authorization"] == f"Bearer {CANARY}"
    assert asked.headers["x-cc-repeat"] == "3"
    key = asked.body.pop("prompt_cache_key")
    assert len(key) == 32
    text = {"type": "output_text", "annotations": []}
    assert asked.body == {
        "model": "gpt-6",
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": "Look.\ufffd"},
            THOUGHT,
            {"type": "message", "role": "assistant", "content": [{**text, "text": "So"}]},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at'},
            {"type": "function_call_output", "call_id": "call_1", "output": "nothing"},
            {"role": "system", "content": "Be kind."},
            {"type": "message", "role": "assistant", "content": [{**text, "text": "Ok"}]},
            {"role": "user", "content": "Go on."},
        ],
        "tools": [
            {
                "type": "function",
                "name": "look",
                "description": LOOK.description,
                "parameters": CLOSED,
                "strict": True,
            },
            {
                "type": "function",
                "name": "any",
                "description": "Anything.",
                "parameters": OPEN,
                "strict": False,
            },
        ],
        "text": {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": CLOSED}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0.3,
        "max_output_tokens": 50,
    }
    assert response.sent == {
        "temperature": 0.3,
        "max_output_tokens": 50,
        "reasoning.effort": "low",
        "text.format": "json_schema",
    }
    assert response.not_sent == ("seed",)


async def test_nothing_is_sent_that_was_not_asked_for() -> None:
    async with model_of(HELLO) as (model, server):
        response = await complete(model, ask())
    fixed = {"model", "input", "store", "stream", "include", "prompt_cache_key"}
    assert server.asked[0].body.keys() == fixed
    assert (response.sent, response.not_sent) == ({}, ())


async def test_a_fine_tuned_model_is_not_asked_to_reason() -> None:
    async with model_of(HELLO, name="ft:gpt-4.1-2025-04-14:org:cc-s7:Ab1") as (model, server):
        response = await complete(model, ask(settings=Settings(temperature=1.0, effort=Effort.LOW)))
    [asked] = server.asked
    assert asked.body["model"] == "ft:gpt-4.1-2025-04-14:org:cc-s7:Ab1"
    assert not asked.body.keys() & {"include", "reasoning"}
    assert response.sent == {"temperature": 1.0}
    assert response.not_sent == ("effort",)


async def test_the_cache_key_stands_for_the_fixed_beginning_alone() -> None:
    system = ChatMessage(Role.SYSTEM, "A secret plan.")
    turns = [ChatMessage(Role.USER, "a"), ChatMessage(Role.ASSISTANT, "b"), ChatMessage(Role.USER, "c")]
    async with model_of(HELLO) as (model, server):
        for request in (
            Request((system, *turns[:1]), tools=(LOOK,)),
            Request((system, *turns), tools=(LOOK,)),
            Request((system, *turns)),
            Request(tuple(turns), tools=(LOOK,)),
        ):
            await complete(model, request)
    first, second, *others = [asked.body["prompt_cache_key"] for asked in server.asked]
    assert first == second
    assert len({first, *others}) == 3
    assert "secret" not in first


async def test_what_a_model_thought_comes_back_to_it_before_what_it_said() -> None:
    first = Canned(sse(end(THOUGHT, SPOKEN, CALL)))
    async with model_of(first, HELLO) as (model, server):
        said = (await complete(model, ask())).message
        result = ChatMessage(Role.TOOL, "", tool_call_id=said.tool_calls[0].id)
        await complete(model, Request((*ask().messages, said, result)))
    _, thought, spoken, called, output = server.asked[1].body["input"]
    assert thought == THOUGHT
    assert spoken["content"][0]["text"] == "Hello"
    assert (called["call_id"], output["call_id"], output["output"]) == ("call_1", "call_1", "")


async def test_a_beginning_of_the_answer_cannot_be_given() -> None:
    async with model_of(HELLO) as (model, server):
        with pytest.raises(ModelError) as caught:
            await complete(model, Request((*ask().messages, ChatMessage(Role.ASSISTANT, "I am"))))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert server.asked == []


async def test_the_environments_account_is_for_openai_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-ambient")
    async with model_of(HELLO) as (model, server):
        await complete(model, ask())
    headers = server.asked[0].headers
    assert headers["authorization"] == f"Bearer {CANARY}"
    assert not headers.keys() & {"openai-organization", "openai-project"}

    import httpx2

    from auditors.models.openai_sdk import openai_client

    async with httpx2.AsyncClient() as http:
        for host, account in (
            ("api.openai.com", "org-1"),
            ("eu.api.openai.com", "org-1"),
            ("notapi.openai.com", None),
            ("api.openai.com.example.org", None),
        ):
            client = openai_client(http, httpx2.Timeout(1), base_url=f"https://{host}/v1", api_key="k")
            assert client.organization == account, host


async def test_openai_is_spoken_to_in_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with canned(HELLO) as server:
        monkeypatch.setenv("OPENAI_API_KEY", CANARY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        models = Models({}, seed=0, speed=1)
        response = await complete(models.get("openai/gpt-6"), ask())
        await models.aclose()
    assert response.message.text == "Hello"
    assert [asked.path for asked in server.asked] == ["/v1/responses"]


# What an endpoint does not take


UNSUPPORTED = "Unsupported parameter: '{0}' is not supported with this model."


def untaken(name: str) -> Canned:
    return refusal(400, UNSUPPORTED.format(name), param=name, code="unsupported_parameter")


NO_SUMMARY = refusal(
    400,
    "Your organization must be verified to generate reasoning summaries. Please go to the settings.",
    param="reasoning.summary",
    code="unsupported_value",
)
NO_LEVEL = refusal(
    400,
    "Unsupported value: 'none' is not supported with the 'gpt-6' model. Supported values are: 'low' and 'high'.",
    param="reasoning.effort",
    code="unsupported_value",
)
NO_MINIMAL = refusal(
    400,
    "Invalid value: 'minimal'. Supported values are: 'low'.",
    param="reasoning.effort",
    code="invalid_value",
)
NO_SCHEMA = refusal(
    400,
    "Invalid schema for response_format 'answer'.",
    param="text.format.schema",
    code="invalid_json_schema",
)
NO_OBJECT = refusal(400, "json_object?", param="text.format")
BAD_TOOL = refusal(
    400,
    "Invalid schema for function 'look'.",
    param="tools[0].parameters",
    code="invalid_function_parameters",
)
EXTRA = {
    "type": "extra_forbidden",
    "loc": ["body", "prompt_cache_key"],
    "msg": "Extra inputs are not permitted",
}
FASTAPI = Canned(json.dumps({"detail": [EXTRA]}).encode(), 422, JSON)
LOOSE_LOOK = {
    "type": "function",
    "name": "look",
    "description": LOOK.description,
    "parameters": CLOSED,
    "strict": False,
}


@pytest.mark.parametrize(
    ("refusals", "request_", "changes", "not_sent"),
    [
        (
            [untaken("temperature")],
            {"settings": Settings(temperature=0.5)},
            {"temperature": None},
            ("temperature",),
        ),
        (
            [refusal(400, UNSUPPORTED.format("max_output_tokens"))],
            {"settings": Settings(max_tokens=99)},
            {"max_output_tokens": None},
            ("max_tokens",),
        ),
        (
            [refusal(400, "Encrypted content is not supported with this model.", param="include")],
            {},
            {"include": None},
            (),
        ),
        ([refusal(400, "Encrypted content is not supported with this model.")], {}, {"include": None}, ()),
        ([FASTAPI], {}, {"prompt_cache_key": None}, ()),
        ([NO_SUMMARY], {"settings": Settings(effort=Effort.LOW)}, {"reasoning": {"effort": "low"}}, ()),
        (
            [NO_LEVEL, NO_MINIMAL],
            {"settings": Settings(effort=Effort.NONE)},
            {"reasoning": {"effort": "low", "summary": "auto"}},
            ("effort",),
        ),
        (
            [untaken("reasoning.effort")],
            {"settings": Settings(effort=Effort.HIGH)},
            {"reasoning": None},
            ("effort",),
        ),
        (
            [untaken("reasoning")],
            {"settings": Settings(effort=Effort.HIGH)},
            {"reasoning": None},
            ("effort",),
        ),
        (
            [NO_SCHEMA],
            {"json_schema": CLOSED},
            {"text": {"format": {"type": "json_object"}}},
            ("json_schema",),
        ),
        (
            [NO_SCHEMA, refusal(400, "json_object?", param="text.format")],
            {"json_schema": CLOSED},
            {"text": None},
            ("json_schema",),
        ),
        ([BAD_TOOL], {"tools": (LOOK,)}, {"tools": [LOOSE_LOOK]}, ()),
    ],
    ids=[
        "temperature",
        "max_tokens",
        "include",
        "include, unnamed",
        "cache key",
        "summary",
        "level",
        "effort",
        "reasoning",
        "schema",
        "object",
        "strict",
    ],
)
async def test_what_is_refused_is_given_up_remembered_and_named(
    refusals: list[Canned], request_: dict[str, Any], changes: dict[str, Any], not_sent: tuple[str, ...]
) -> None:
    async with model_of(*refusals, HELLO) as (model, server):
        first, second = [await complete(model, ask(**request_)) for _ in range(2)]
    bodies = [asked.body for asked in server.asked]
    assert len(bodies) == len(refusals) + 2
    assert bodies[-1] == bodies[-2]
    for name in bodies[0].keys() | bodies[-1].keys():
        assert bodies[-1].get(name) == changes.get(name, bodies[0].get(name)), name
    assert [len(response.failed) for response in (first, second)] == [len(refusals), 0]
    assert {failed.kind for failed in first.failed} == {ErrorKind.BAD_REQUEST}
    assert first.not_sent == second.not_sent == not_sent


async def test_a_temperature_is_given_up_only_at_the_effort_that_refused_it() -> None:
    low, none = (Settings(temperature=0.5, effort=effort) for effort in (Effort.LOW, Effort.NONE))
    async with model_of(untaken("temperature"), HELLO) as (model, server):
        refused = await complete(model, ask(settings=low))
        taken = await complete(model, ask(settings=none))
    assert (refused.not_sent, taken.not_sent) == (("temperature",), ())
    assert server.asked[-1].body["temperature"] == 0.5


async def test_a_value_out_of_range_is_an_error_and_stays() -> None:
    fault = refusal(
        400,
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        param="temperature",
        code="decimal_above_max_value",
    )
    async with model_of(fault) as (model, server):
        with pytest.raises(ModelError, match="decimal above maximum value") as caught:
            await complete(model, ask(settings=Settings(temperature=3)))
    assert len(server.asked) == 1
    assert caught.value.kind is ErrorKind.BAD_REQUEST


@pytest.mark.parametrize(
    "fault",
    [
        refusal(
            400, "The encrypted content gAAA...AB could not be verified.", code="invalid_encrypted_content"
        ),
        refusal(404, "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."),
    ],
    ids=["unverified", "not found"],
)
async def test_thoughts_that_the_endpoint_cannot_read_any_more_stay_away(fault: Canned) -> None:
    said = ChatMessage(Role.ASSISTANT, "So", carry=(THOUGHT,))
    fresh = ChatMessage(Role.ASSISTANT, "So", carry=({**THOUGHT, "id": "rs_2"},))
    question = ask().messages[0]
    async with model_of(fault, HELLO) as (model, server):
        response = await complete(model, Request((question, said, question)))
        await complete(model, Request((question, said, question, fresh, question)))
    thoughts = [
        [i["id"] for i in asked.body["input"] if i.get("type") == "reasoning"] for asked in server.asked
    ]
    assert thoughts == [["rs_1"], [], ["rs_2"]]
    assert len(response.failed) == 1
    assert response.not_sent == ("carry",)


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({**CLOSED, "properties": {"at": {"type": "array", "items": CLOSED}}}, True),
        ({**CLOSED, "properties": {"at": {"anyOf": [CLOSED, {"type": "null"}]}}}, True),
        ({**CLOSED, "properties": {"at": {"$ref": "#/$defs/a"}}, "$defs": {"a": OPEN}}, False),
        ({**CLOSED, "properties": {"at": {"type": "array", "items": OPEN}}}, False),
        ({**CLOSED, "properties": {"at": {"type": ["object", "null"]}}}, False),
        ({**CLOSED, "properties": {"at": {"type": "integer", "minimum": 1}}}, False),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "properties": {"at": True}}, False),
        ({**CLOSED, "properties": {"at": {"type": 5}}}, True),
        ({**CLOSED, "properties": []}, False),
        ({**CLOSED, "required": 5}, False),
        ({**CLOSED, "required": [{}]}, False),
        ({"anyOf": [CLOSED]}, False),
        ({"type": "object"}, False),
        ({}, False),
    ],
)
def test_only_a_closed_schema_is_strict(schema: dict[str, Any], strict: bool) -> None:
    assert qualifies(schema) is strict


# What goes wrong


def failing(**error: Any) -> Canned:
    return Canned(sse(delta("output_text", "Hel"), end(kind="failed", error=error or None)))


TOO_LARGE = refusal(429, "Request too large: Limit 30000, Requested 42000.", code="rate_limit_exceeded")
NOT_A_STREAM = Canned(b'{"object":"response"}', headers=JSON)
LISTED = Canned(b'[{"error":{"code":404,"message":"no such model"}}]', 404, JSON)
OUTER = {"type": "error", "code": "server_error", "message": "Sorry.", "param": None}
INNER = {"type": "error", "error": {"type": "not_found_error", "message": "?"}}
UNTYPED = {"error": {"code": 400, "message": "Your input exceeds the context window."}}


@pytest.mark.parametrize(
    ("fault", "kind", "calls"),
    [
        (failing(code="server_error", message="Sorry."), ErrorKind.SERVER, 2),
        (failing(), ErrorKind.SERVER, 2),
        (failing(code="invalid_prompt", message="Messages are malformed."), ErrorKind.BAD_REQUEST, 1),
        (failing(code="context_length_exceeded", message="Too long."), ErrorKind.CONTEXT_LENGTH, 1),
        (failing(code="insufficient_quota", message="Pay."), ErrorKind.QUOTA, 1),
        (Canned(sse(OUTER)), ErrorKind.SERVER, 2),
        (Canned(sse(INNER)), ErrorKind.NOT_FOUND, 1),
        (Canned(sse(UNTYPED)), ErrorKind.CONTEXT_LENGTH, 1),
        (Canned(sse({"error": "out of order"})), ErrorKind.SERVER, 2),
        (Canned(sse(delta("output_text", "Hel"))), ErrorKind.TRUNCATED, 2),
        (Canned(sse(delta("output_text", "Hel")), whole=False), ErrorKind.TRUNCATED, 2),
        (Canned(sse(end(SPOKEN, kind="incomplete", incomplete_details=None))), ErrorKind.TRUNCATED, 2),
        (Canned(sse(end(SPOKEN, status="cancelled"))), ErrorKind.TRUNCATED, 2),
        (Canned(sse("data: {not json\n\n")), ErrorKind.TRUNCATED, 2),
        (Canned(sse("data: [1]\n\n")), ErrorKind.TRUNCATED, 2),
        (Canned(sse({"type": "response.output_text.delta", "delta": 5})), ErrorKind.TRUNCATED, 2),
        (Canned(sse({"type": "response.completed", "response": {"output": "no"}})), ErrorKind.TRUNCATED, 2),
        (Canned(sse(end({"type": "message", "content": "no"}))), ErrorKind.TRUNCATED, 2),
        (NOT_A_STREAM, ErrorKind.BAD_REQUEST, 1),
        (TOO_LARGE, ErrorKind.RATE_LIMIT, 1),
        (refusal(500, "Not again.", {"x-should-retry": "false"}), ErrorKind.SERVER, 1),
        (LISTED, ErrorKind.NOT_FOUND, 1),
        (Canned(b"", 300), ErrorKind.NOT_FOUND, 1),
        (refusal(400, "Your credit balance is too low."), ErrorKind.QUOTA, 1),
        (Canned(b"", 413), ErrorKind.CONTEXT_LENGTH, 1),
        (Canned(b"<html>Bad gateway</html>", 502, {"content-type": "text/html"}), ErrorKind.SERVER, 2),
    ],
)
async def test_a_lasting_failure_is_named_after_its_attempts(
    fault: Canned, kind: ErrorKind, calls: int
) -> None:
    async with model_of(fault, max_attempts=2) as (model, server):
        with pytest.raises(ModelError) as caught:
            await complete(model, ask())
    assert caught.value.kind is kind
    assert len(server.asked) == len(caught.value.failed) == calls


FLAGGED = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
BLOCKED = "Output blocked by content filtering policy"


@pytest.mark.parametrize(
    "stop",
    [
        failing(code="invalid_prompt", message="Flagged."),
        failing(code="misalignment_policy_violation", message=f"No, {CANARY}."),
        refusal(400, FLAGGED, code="invalid_prompt"),
        refusal(400, BLOCKED),
        refusal(403, "This model requires moderation, and your input was flagged."),
        Canned(sse({"type": "error", "code": "content_filter", "message": "Blocked."})),
    ],
)
async def test_a_provider_that_declines_has_refused(stop: Canned) -> None:
    async with model_of(stop) as (model, server):
        response = await complete(model, ask())
    assert response.refused
    assert response.message == ChatMessage(Role.ASSISTANT)
    assert response.stop_detail
    assert CANARY not in response.stop_detail
    assert response.usage.estimated
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error":{"message":"a","code":400}}', "HTTP 400, a"),
        ('{"error":"a"}', "HTTP 400, a"),
        ('{"object":"error","message":"a","code":400}', "HTTP 400, a"),
        ('{"detail":"a"}', "HTTP 400, a"),
        (
            '{"detail":[{"loc":["body","n"],"msg":"b"},{"loc":["body","m",0],"msg":"c"}]}',
            "HTTP 400, n: b; m.0: c",
        ),
        ('[{"error":{"message":"a"}}]', "HTTP 400, a"),
        ('"a"', "HTTP 400, a"),
        ("a\nb", "HTTP 400, a b"),
        ("{}", "HTTP 400, no reason given"),
        ("[]", "HTTP 400, no reason given"),
        ("", "HTTP 400, no reason given"),
    ],
)
async def test_error_bodies_of_every_form_are_read(body: str, said: str) -> None:
    async with model_of(Canned(body.encode(), 400, JSON)) as (model, _):
        with pytest.raises(ModelError) as caught:
            await complete(model, ask())
    assert caught.value.failed[0].detail == said


async def test_a_rate_limit_inside_the_stream_is_waited_for() -> None:
    limited = failing(code="rate_limit_exceeded", message="Slow down.")
    async with model_of(limited, limited, limited, HELLO, max_attempts=2, patience=Patience(silence=5)) as (
        model,
        _,
    ):
        response = await complete(model, ask())
    assert response.message.text == "Hello"
    assert [failed.kind for failed in response.failed] == [ErrorKind.RATE_LIMIT] * 3
    assert {failed.received for failed in response.failed} == {3}


async def test_a_finished_answer_survives_what_the_connection_does_next() -> None:
    reset = Canned(HELLO.body, headers={"content-length": str(len(HELLO.body) + 100)}, whole=False)
    async with model_of(reset) as (model, server):
        response = await complete(model, ask())
    assert response.message.text == "Hello"
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [
        refusal(401, f"Incorrect API key provided: {CANARY}."),
        Canned(
            json.dumps({"detail": [{"loc": [CANARY], "msg": CANARY}]}).encode(),
            422,
            {"content-type": "application/json"},
        ),
        failing(code="server_error", message=f"saw {CANARY}"),
        failing(code=CANARY, message="saw it"),
        Canned(sse({"type": "error", "code": None, "message": CANARY})),
        Canned(sse(f"data: {CANARY}\n\n")),
        Canned(sse(delta("output_text", CANARY), end(SPOKEN, status="cancelled"))),
        Canned(sse(), headers={"content-type": CANARY}),
    ],
    ids=["401", "detail", "failed", "code", "error", "garbage", "cancelled", "content type"],
)
async def test_the_key_never_shows_in_an_error(fault: Canned) -> None:
    async with model_of(fault, max_attempts=2) as (model, _):
        with pytest.raises(ModelError) as caught:
            await complete(model, ask())
    assert CANARY not in everything_said(caught.value)
    assert CANARY not in repr(caught.value.failed)
    assert caught.value.__context__ is None


async def test_a_key_that_the_server_echoes_in_its_answer_is_blotted_out() -> None:
    spoken = {**SPOKEN, "content": [{"type": "output_text", "text": f"It is {CANARY}."}]}
    answer = sse(
        delta("output_text", CANARY),
        added({**CALL, "name": CANARY, "arguments": ""}, 1),
        delta("function_call_arguments", f'{{"key":"{CANARY}"}}', 1),
        end(
            {**THOUGHT, "encrypted_content": CANARY},
            spoken,
            {**CALL, "call_id": CANARY},
            model="m" * 190 + CANARY,
        ),
    )
    async with model_of(Canned(answer, headers={"x-request-id": "r" * 190 + CANARY})) as (model, _):
        deltas, response = await collect(model.stream(ask()))
    assert CANARY not in repr((deltas, response))
    assert CANARY[:9] not in response.model + response.request_id
    assert response.message.text == "It is [key]."
    assert response.message.carry == ()

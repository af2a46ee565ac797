"""The Messages protocol, over the real SDK and a real socket."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from auditors import judge_prompts
from auditors.models.anthropic_messages import MessagesWire
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
from auditors.models.claude import Claude, Structured, Thinking, claude
from auditors.models.endpoint import Endpoint, Prefill, WireProtocol
from auditors.models.failure import Failure, StreamError
from auditors.models.http_model import HttpModel, Patience
from auditors.models.messages_stream import ANSWER_TOOL, MessagesAnswer
from auditors.models.registry import Models
from tests.sse_stub import Asked, Canned, End, events, refusal, stub
from tests.wire import CANARY, ask, collect, everything_said

NEW, MIDDLE, OLD, OLDEST = (
    "claude-opus-5-5",
    "claude-opus-4-5-20251101",
    "claude-opus-4-1",
    "claude-3-5-haiku-latest",
)
OLD_VERSION, NEW_VERSION = "2023-06-01", "2026-10-21"
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}},
    "required": ["score"],
    "additionalProperties": False,
}
SEARCH = Tool("search", "Search.", {"type": "object", "properties": {"q": {"type": "string"}}})
MARK = {"type": "ephemeral"}


@asynccontextmanager
async def messages(
    url: str, model: str = NEW, *, endpoint: Endpoint | None = None, silence: float = 60.0, **options: Any
) -> AsyncGenerator[HttpModel]:
    """The real adapter, with waits too short to notice."""
    key = options.setdefault("api_key", "sk-test")
    wire = MessagesWire(model, base_url=url, api_key=key, endpoint=endpoint or Endpoint())
    patience = Patience(silence=silence, throttled=0.05)
    made = HttpModel(
        f"anthropic/{model}",
        wire,
        base_url=url,
        **{"backoff_base": 0.001, "patience": patience, "max_attempts": 2, **options},
    )
    try:
        yield made
    finally:
        await made.aclose()


def start(model: str = "claude-answered", **usage: Any) -> dict[str, Any]:
    counts = {"input_tokens": 10, "output_tokens": 1, **usage}
    return {
        "type": "message_start",
        "message": {"id": "msg_1", "model": model, "content": [], "usage": counts},
    }


def block(index: int, kind: str, *deltas: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """The events of one content block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[dict[str, Any]]:
    return block(index, "text", *({"type": "text_delta", "text": piece} for piece in pieces), text="")


def thinking(index: int, *pieces: str, signature: str = "c2ln") -> list[dict[str, Any]]:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    if signature:
        deltas.append({"type": "signature_delta", "signature": signature})
    return block(index, "thinking", *deltas, thinking="", signature="")


def call(index: int, call_id: str, name: str, *pieces: str) -> list[dict[str, Any]]:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
    return block(index, "tool_use", *deltas, id=call_id, name=name, input={})


def stop(reason: str | None, details: dict[str, Any] | None = None, **usage: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": details}
    counts = {"output_tokens": 7, **usage}
    return [{"type": "message_delta", "delta": delta, "usage": counts}, {"type": "message_stop"}]


def answer(*blocks: list[dict[str, Any]], reason: str = "end_turn") -> Canned:
    """A whole answer."""
    return events(start(), {"type": "ping"}, *(event for part in blocks for event in part), *stop(reason))


HELLO = answer(text(0, "Hel", "lo"))


async def sent_by(model: str, request: Request, **options: Any) -> Asked:
    """What arrives for one request."""
    async with stub(HELLO) as server, messages(server.url, model, **options) as made:
        await complete(made, request)
    return server.asked[0]


def conversation(*more: ChatMessage, **fields: Any) -> Request:
    return Request((ChatMessage(Role.USER, "Hello?"), *more), **fields)


# What a model says


async def test_text_and_reasoning_arrive_in_pieces_and_whole() -> None:
    canned = answer(thinking(0, "Let me ", "see."), text(1, "Hel", "lo"))
    async with stub(canned) as server, messages(server.url) as model:
        deltas, response = await collect(model.stream(ask()))
    assert deltas == [ReasoningDelta("Let me "), ReasoningDelta("see."), TextDelta("Hel"), TextDelta("lo")]
    assert (response.message.text, response.message.reasoning) == ("Hello", "Let me see.")
    assert response.stop is StopReason.END
    assert response.model == "claude-answered"


async def test_tool_calls_arrive_in_pieces_with_their_ids() -> None:
    canned = answer(
        text(0, "Looking."),
        call(1, "toolu_1", "search", '{"q": ', '"x"}'),
        call(2, "toolu_2", "stop"),
        reason="tool_use",
    )
    async with stub(canned) as server, messages(server.url) as model:
        deltas, response = await collect(model.stream(ask(tools=(SEARCH,))))
    assert deltas[1:] == [
        ToolCallDelta(0, "search", ""),
        ToolCallDelta(0, "", '{"q": '),
        ToolCallDelta(0, "", '"x"}'),
        ToolCallDelta(1, "stop", ""),
    ]
    assert response.message.tool_calls == (
        ToolCall("toolu_1", "search", '{"q": "x"}'),
        ToolCall("toolu_2", "stop", ""),
    )
    assert response.stop is StopReason.TOOL_CALLS
    assert response.message.carry == ()


async def test_a_call_that_comes_with_all_its_arguments_at_once_is_whole() -> None:
    canned = answer(block(0, "tool_use", id="", name="search", input={"q": "\ud83d"}), reason="tool_use")
    async with stub(canned) as server, messages(server.url) as model:
        (made,) = (await complete(model, ask())).message.tool_calls
    assert (made.name, json.loads(made.arguments)) == ("search", {"q": "\ud83d"})
    assert made.id.startswith("toolu_")


async def test_what_carries_a_signature_keeps_every_block_in_its_place() -> None:
    canned = answer(
        thinking(0, "First.", signature="s1"),
        text(1, "One. "),
        block(2, "redacted_thinking", data="sealed"),
        text(3),
        call(4, "toolu_1", "search", '{"q": "x"}'),
        reason="tool_use",
    )
    async with stub(canned, HELLO) as server, messages(server.url) as model:
        response = await complete(model, ask(tools=(SEARCH,)))
        result = ChatMessage(Role.TOOL, "found", tool_call_id="toolu_1")
        await complete(model, conversation(response.message, result, tools=(SEARCH,)))
    said = [
        {"type": "thinking", "thinking": "First.", "signature": "s1"},
        {"type": "text", "text": "One. "},
        {"type": "redacted_thinking", "data": "sealed"},
        {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"q": "x"}},
    ]
    assert list(response.message.carry) == said
    assert server.bodies[1]["messages"][1] == {"role": "assistant", "content": said}


async def test_thinking_without_a_signature_is_not_sent_back() -> None:
    canned = answer(thinking(0, "Hm.", signature=""), text(1, "Yes."))
    async with stub(canned) as server, messages(server.url) as model:
        message = (await complete(model, ask())).message
    assert (message.reasoning, message.carry) == ("Hm.", ())


async def test_what_another_protocol_carries_is_not_sent() -> None:
    foreign = ChatMessage(Role.ASSISTANT, "Hi.", carry=({"type": "reasoning", "encrypted_content": "x"},))
    body = (await sent_by(NEW, conversation(foreign, ChatMessage(Role.USER, "So?")))).body
    assert body["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}


async def test_half_a_surrogate_pair_is_mended_or_replaced() -> None:
    pieces = ("\\ud83d", "\\ude00", " \\ud83d")
    deltas = [
        f'{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{piece}"}}}}'
        for piece in pieces
    ]
    wire = (json.dumps(start()), *deltas, *map(json.dumps, stop("end_turn")))
    canned = Canned(tuple(f"data: {data}\n\n".encode() for data in wire))
    async with stub(canned) as server, messages(server.url) as model:
        got, response = await collect(model.stream(ask()))
    assert [delta.text for delta in got if isinstance(delta, TextDelta)] == ["\ufffd", "\ufffd", " \ufffd"]
    assert response.message.text == "\U0001f600 \ufffd"


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_an_answer_reads_the_same_however_it_is_cut_on_its_way(size: int) -> None:
    whole = b"".join(answer(thinking(0, "Hm\u2028."), text(1, "Ja, größer.")).pieces)
    pieces = tuple(whole[at : at + size] for at in range(0, len(whole), size))
    async with stub(Canned(pieces)) as server, messages(server.url) as model:
        message = (await complete(model, ask())).message
    assert (message.reasoning, message.text) == ("Hm\u2028.", "Ja, größer.")


@pytest.mark.parametrize(
    ("reason", "details", "expected", "detail"),
    [
        ("end_turn", None, StopReason.END, ""),
        ("stop_sequence", None, StopReason.END, ""),
        ("max_tokens", None, StopReason.LENGTH, ""),
        ("model_context_window_exceeded", None, StopReason.LENGTH, "model_context_window_exceeded"),
        ("pause_turn", None, StopReason.LENGTH, "pause_turn"),
        ("refusal", {"type": "refusal", "category": "bio"}, StopReason.REFUSAL, "bio"),
        ("refusal", {"category": None, "explanation": "No,\nno."}, StopReason.REFUSAL, "No, no."),
        ("refusal", None, StopReason.REFUSAL, ""),
        ("something_new", None, StopReason.END, "something_new"),
    ],
)
async def test_the_reason_to_stop_is_told_as_it_is(
    reason: str, details: dict[str, Any] | None, expected: StopReason, detail: str
) -> None:
    canned = events(start(), *text(0, "Well"), *stop(reason, details))
    async with stub(canned) as server, messages(server.url) as model:
        response = await complete(model, ask())
    assert (response.stop, response.stop_detail, response.message.text) == (expected, detail, "Well")
    assert response.refused is (expected is StopReason.REFUSAL)


async def test_tokens_that_were_read_from_and_written_to_the_cache_are_input() -> None:
    canned = events(
        start(input_tokens=5, cache_read_input_tokens=100, cache_creation_input_tokens=20),
        *text(0, "Hi"),
        *stop("end_turn", output_tokens=40, output_tokens_details={"thinking_tokens": 30}, input_tokens=6),
    )
    async with stub(canned) as server, messages(server.url) as model:
        usage = (await complete(model, ask())).usage
    assert usage == Usage(input=126, output=40, cached=100, reasoning=30, cache_written=20)


async def test_output_that_was_never_counted_is_estimated() -> None:
    canned = events(
        start(), *text(0, "x" * 400), {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    )
    async with stub(canned) as server, messages(server.url) as model:
        usage = (await complete(model, ask())).usage
    assert (usage.input, usage.output, usage.estimated) == (10, 100, True)


# What a model is asked


async def test_a_new_model_is_asked_under_the_new_version_without_sampling_settings() -> None:
    request = ask(settings=Settings(temperature=0.3, seed=7))
    async with stub(HELLO) as server, messages(server.url) as model:
        response = await complete(model, request)
    (asked,) = server.asked
    assert asked.path == "/v1/messages"
    assert asked.headers["anthropic-version"] == NEW_VERSION
    assert asked.headers["authorization"] == "Bearer sk-test"
    assert "x-api-key" not in asked.headers
    assert asked.body == {
        "model": NEW,
        "max_tokens": 16_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}],
        "stream": True,
    }
    assert response.sent == {"anthropic-version": NEW_VERSION, "max_tokens": 16_000}
    assert response.not_sent == ("temperature", "seed")


@pytest.mark.parametrize("model", [OLD, OLDEST, MIDDLE, "claude-sonnet-4-20250514", "claude-sonnet-4-6"])
async def test_an_older_model_is_asked_under_the_old_version_with_its_temperature(model: str) -> None:
    request = ask(settings=Settings(temperature=0.3, max_tokens=99))
    async with stub(HELLO) as server, messages(server.url, model) as made:
        response = await complete(made, request)
    (asked,) = server.asked
    assert asked.headers["anthropic-version"] == OLD_VERSION
    assert asked.headers["x-api-key"] == "sk-test"
    assert "authorization" not in asked.headers
    assert (asked.body["temperature"], asked.body["max_tokens"]) == (0.3, 99)
    assert response.sent == {"anthropic-version": OLD_VERSION, "max_tokens": 99, "temperature": 0.3}
    assert response.not_sent == ()


async def test_the_endpoint_decides_the_version_and_the_prefill() -> None:
    request = conversation(ChatMessage(Role.ASSISTANT, "I am"), settings=Settings(temperature=0.5))
    endpoint = Endpoint(api_version=OLD_VERSION, prefill=Prefill.LAST)
    asked = await sent_by("local-model", request, endpoint=endpoint)
    assert asked.headers["anthropic-version"] == OLD_VERSION
    assert asked.body["temperature"] == 0.5
    assert asked.body["messages"][-1]["role"] == "assistant"
    async with messages("http://127.0.0.1:9", OLD, endpoint=Endpoint(prefill=Prefill.NO)) as model:
        assert not model.takes_prefill


async def test_the_environment_changes_neither_where_nor_as_whom_we_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evil = {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_API_KEY": "sk-evil",
        "ANTHROPIC_AUTH_TOKEN": "evil",
        "ANTHROPIC_PROFILE": "evil",
        "ANTHROPIC_WORKSPACE_ID": "wrkspc_evil",
        "ANTHROPIC_CUSTOM_HEADERS": "X-Evil: 1\nAUTHORIZATION: Bearer evil\nX-Api-Key: evil\nanthropic-version: evil",
    }
    for name, value in evil.items():
        monkeypatch.setenv(name, value)
    for model, version in ((NEW, NEW_VERSION), (OLD, OLD_VERSION)):
        asked = await sent_by(model, ask(), api_key="")
        assert "evil" not in str(asked.headers)
        assert asked.headers["anthropic-version"] == version


@pytest.mark.parametrize("path", ["", "/v1"])
async def test_a_base_url_may_end_with_the_version_of_the_path(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC_TEST_KEY", "sk-here")
    async with stub(HELLO) as server:
        endpoint = Endpoint(
            base_url=server.url + path, api_key_env="CC_TEST_KEY", protocol=WireProtocol.MESSAGES
        )
        models = Models({"here": endpoint}, seed=1, speed=1)
        assert (await complete(models.get("compatible:here/m"), ask())).message.text == "Hello"
        await models.aclose()
    assert server.asked[0].path == "/v1/messages"


async def test_a_conversation_takes_the_protocols_form() -> None:
    calls = (
        ToolCall("c1", "search", '{"q": "x"}'),
        ToolCall("c2", "search", '{"q": broken'),
        ToolCall("c3", "search", ""),
        ToolCall("c4", "search", "[1]"),
    )
    request = Request(
        (
            ChatMessage(Role.SYSTEM, "Be brief."),
            ChatMessage(Role.SYSTEM, " \n"),
            ChatMessage(Role.USER, "One.\ud83d"),
            ChatMessage(Role.USER, "Two."),
            ChatMessage(Role.ASSISTANT, "", tool_calls=calls),
            *(ChatMessage(Role.TOOL, "" if c.id == "c2" else "r", tool_call_id=c.id) for c in calls),
            ChatMessage(Role.USER, "Go on."),
            ChatMessage(Role.ASSISTANT, ""),
            ChatMessage(Role.USER, "Hello?"),
        ),
        tools=(SEARCH,),
        settings=Settings(max_tokens=5),
        repeat=3,
    )
    asked = await sent_by(NEW, request)
    assert asked.headers["x-cc-repeat"] == "3"
    assert asked.body["tools"] == [
        {"name": "search", "description": "Search.", "input_schema": SEARCH.parameters}
    ]
    assert asked.body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    inputs = [{"q": "x"}, {"INVALID_JSON": '{"q": broken'}, {}, {"INVALID_JSON": "[1]"}]
    results: list[dict[str, Any]] = [
        {"type": "tool_result", "tool_use_id": f"c{n}", "content": "r"} for n in range(1, 5)
    ]
    del results[1]["content"]
    assert asked.body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "One.\ufffd"},
                {"type": "text", "text": "Two.", "cache_control": MARK},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": f"c{n}", "name": "search", "input": given}
                for n, given in enumerate(inputs, 1)
            ],
        },
        {
            "role": "user",
            "content": [
                *results,
                {"type": "text", "text": "Go on."},
                {"type": "text", "text": "Hello?", "cache_control": MARK},
            ],
        },
    ]


async def test_results_come_before_what_the_user_says() -> None:
    reply = ChatMessage(Role.ASSISTANT, "", tool_calls=(ToolCall("c1", "search", "{}"),))
    user, result = ChatMessage(Role.USER, "And?"), ChatMessage(Role.TOOL, "r", tool_call_id="c1")
    body = (await sent_by(NEW, conversation(reply, user, result))).body
    assert [part["type"] for part in body["messages"][2]["content"]] == ["tool_result", "text"]


async def test_a_prefill_goes_without_its_last_blank_and_without_reasoning() -> None:
    settings = Settings(effort=Effort.HIGH)
    request = conversation(ChatMessage(Role.ASSISTANT, "I feel \n"), settings=settings)
    async with stub(HELLO) as server, messages(server.url, OLD) as model:
        response = await complete(model, request)
    assert server.bodies[0]["messages"][-1]["content"] == [{"type": "text", "text": "I feel"}]
    assert "thinking" not in server.bodies[0]
    assert "cache_control" not in json.dumps(server.bodies[0])
    assert response.not_sent == ("effort",)


async def test_a_model_that_takes_no_prefill_says_so_and_is_not_asked() -> None:
    async with stub(HELLO) as server, messages(server.url) as model:
        with pytest.raises(ModelError, match="prefill") as caught:
            await complete(model, conversation(ChatMessage(Role.ASSISTANT, "I")))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert not server.asked


# The cache


async def test_a_single_question_marks_only_what_others_share() -> None:
    request = Request(
        (ChatMessage(Role.SYSTEM, "Rate."), ChatMessage(Role.USER, "This.")), json_schema=SCHEMA
    )
    body = (await sent_by(NEW, request)).body
    assert body["system"][0]["cache_control"] == MARK
    assert json.dumps(body).count("cache_control") == 1


async def test_without_a_system_prompt_the_tools_are_marked() -> None:
    other = Tool("other", "", {"type": "object"})
    body = (await sent_by(NEW, ask(tools=(SEARCH, other)))).body
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, MARK]


async def test_a_conversation_that_goes_on_is_marked_where_it_ended_and_ends() -> None:
    turns: list[ChatMessage] = []
    for n in range(3):
        turns += [ChatMessage(Role.ASSISTANT, f"a{n}"), ChatMessage(Role.USER, f"u{n}")]
    body = (await sent_by(NEW, conversation(*turns))).body
    marked = [
        turn["content"][0]["text"] for turn in body["messages"] if "cache_control" in turn["content"][0]
    ]
    assert marked == ["u1", "u2"]


# Reasoning


@pytest.mark.parametrize(
    ("effort", "level"),
    [(Effort.MINIMAL, "low"), (Effort.LOW, "low"), (Effort.MEDIUM, "medium"), (Effort.HIGH, "high")],
)
async def test_effort_is_a_level_for_a_new_model(effort: Effort, level: str) -> None:
    async with stub(HELLO) as server, messages(server.url) as model:
        response = await complete(model, ask(settings=Settings(effort=effort)))
    (body,) = server.bodies
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": level}
    assert response.sent["output_config"] == {"effort": level}
    assert response.not_sent == ()


@pytest.mark.parametrize(
    ("limit", "budget", "sent_limit"),
    [(None, 16_384, 24_576), (30_000, 16_384, 30_000), (4000, 2976, 4000), (2048, 1024, 2048)],
)
async def test_effort_is_a_budget_below_the_limit_for_an_older_model(
    limit: int | None, budget: int, sent_limit: int
) -> None:
    settings = Settings(effort=Effort.HIGH, max_tokens=limit, temperature=0.2)
    async with stub(HELLO) as server, messages(server.url, OLD) as model:
        response = await complete(model, ask(settings=settings))
    (body,) = server.bodies
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] == sent_limit > budget
    assert "temperature" not in body
    assert response.not_sent == ("temperature",)


async def test_a_temperature_of_one_goes_with_reasoning() -> None:
    body = (await sent_by(OLD, ask(settings=Settings(effort=Effort.LOW, temperature=1.0)))).body
    assert (body["temperature"], body["thinking"]["type"]) == (1.0, "enabled")


@pytest.mark.parametrize(("model", "limit"), [(OLD, 2000), (OLDEST, None)])
async def test_reasoning_that_cannot_be_is_named(model: str, limit: int | None) -> None:
    settings = Settings(effort=Effort.HIGH, max_tokens=limit)
    async with stub(HELLO) as server, messages(server.url, model) as made:
        response = await complete(made, ask(settings=settings))
    assert "thinking" not in server.bodies[0]
    assert response.not_sent == ("effort",)


@pytest.mark.parametrize(("model", "sent"), [(NEW, {"type": "disabled"}), (OLD, None), (OLDEST, None)])
async def test_no_effort_turns_reasoning_off_where_it_may_be_on(
    model: str, sent: dict[str, str] | None
) -> None:
    async with stub(HELLO) as server, messages(server.url, model) as made:
        response = await complete(made, ask(settings=Settings(effort=Effort.NONE)))
    assert server.bodies[0].get("thinking") == sent
    assert response.not_sent == ()


# Structured answers


@pytest.mark.parametrize("model", [NEW, MIDDLE])
async def test_a_schema_is_a_format_where_there_is_one(model: str) -> None:
    async with stub(answer(text(0, '{"score": 3}'))) as server, messages(server.url, model) as made:
        response = await complete(made, ask(json_schema=SCHEMA))
    assert server.bodies[0]["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert response.sent["output_config"] == {"format": "json_schema"}
    assert response.not_sent == ()


async def test_a_schema_is_a_tool_for_an_older_model_whose_arguments_are_the_text() -> None:
    canned = answer(call(0, "toolu_1", ANSWER_TOOL, '{"score"', ": 3}"), reason="tool_use")
    settings = Settings(effort=Effort.HIGH)
    async with stub(canned) as server, messages(server.url, OLD) as model:
        deltas, response = await collect(model.stream(ask(json_schema=SCHEMA, settings=settings)))
    (body,) = server.bodies
    assert body["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL, "disable_parallel_tool_use": True}
    assert [(tool["name"], tool["input_schema"]) for tool in body["tools"]] == [(ANSWER_TOOL, SCHEMA)]
    assert "thinking" not in body
    assert deltas == [TextDelta('{"score"'), TextDelta(": 3}")]
    assert (response.message.text, response.message.tool_calls) == ('{"score": 3}', ())
    assert response.stop is StopReason.END
    assert response.sent["tool_choice"] == ANSWER_TOOL
    assert response.not_sent == ("effort",)


async def test_a_schema_steps_down_from_format_to_tool_to_the_prompt_and_stays_there() -> None:
    def picky(asked: Asked) -> Canned:
        if "output_config" in asked.body:
            return refusal(400, "output_config.format: Extra inputs are not permitted")
        if "tool_choice" in asked.body:
            return refusal(400, "tool_choice: forced use of a tool is off for this model")
        return HELLO

    async with stub(by=picky) as server, messages(server.url) as model:
        responses = [await complete(model, ask(json_schema=SCHEMA)) for _ in range(2)]
    assert len(server.asked) == 4
    assert [response.not_sent for response in responses] == [("json_schema",)] * 2
    assert "tools" not in server.bodies[-1]


def test_the_schemas_of_the_judges_are_what_the_api_takes() -> None:
    from anthropic import transform_schema

    def untyped(schema: Any) -> Any:
        if isinstance(schema, list):
            return [untyped(part) for part in schema]
        if not isinstance(schema, dict):
            return schema
        return {k: untyped(v) for k, v in schema.items() if not (k == "type" and "enum" in schema)}

    for schema in (
        judge_prompts.RUBRIC_SCHEMA,
        judge_prompts.STATEMENT_SCHEMA,
        judge_prompts.COHERENCE_SCHEMA,
    ):
        assert transform_schema(schema) == untyped(schema)


@pytest.mark.parametrize("model", ["claude-opus-4-5", "claude-opus-4-6"])
async def test_what_the_sdk_thinks_of_a_model_stays_off_standard_error(model: str) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with stub(HELLO) as server, messages(server.url, model) as made:
            await complete(made, ask(settings=Settings(effort=Effort.LOW)))
    assert [str(warning.message) for warning in warned if warning.category is not ResourceWarning] == []


# What an endpoint turns down


@pytest.mark.parametrize(
    ("model", "settings", "said", "without", "not_sent"),
    [
        (
            OLD,
            Settings(temperature=0.5),
            "`temperature` is deprecated for this model.",
            "temperature",
            ("temperature",),
        ),
        (
            NEW,
            Settings(effort=Effort.NONE),
            '"thinking.type.disabled" is not supported for this model. Use "thinking.type.adaptive".',
            "thinking",
            ("effort",),
        ),
        (
            NEW,
            Settings(effort=Effort.LOW),
            "This model does not support the effort parameter.",
            "output_config",
            ("effort",),
        ),
        (
            OLD,
            Settings(effort=Effort.LOW),
            "thinking: Extra inputs are not permitted",
            "thinking",
            ("effort",),
        ),
    ],
)
async def test_a_setting_that_is_turned_down_is_left_out_remembered_and_named(
    model: str, settings: Settings, said: str, without: str, not_sent: tuple[str, ...]
) -> None:
    def picky(asked: Asked) -> Canned:
        return refusal(400, said) if without in asked.body else HELLO

    async with stub(by=picky) as server, messages(server.url, model) as made:
        responses = [await complete(made, ask(settings=settings)) for _ in range(2)]
    assert len(server.asked) == 3
    assert [len(response.failed) for response in responses] == [1, 0]
    assert {response.not_sent for response in responses} == {not_sent}


async def test_a_model_without_levels_of_effort_is_given_a_budget() -> None:
    def picky(asked: Asked) -> Canned:
        kind = asked.body.get("thinking", {}).get("type")
        return (
            refusal(400, "adaptive thinking is not supported on this model") if kind == "adaptive" else HELLO
        )

    async with stub(by=picky) as server, messages(server.url, "claude-unknown") as model:
        response = await complete(model, ask(settings=Settings(effort=Effort.LOW)))
    assert response.sent["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert response.sent["max_tokens"] == 18_048
    assert response.not_sent == ()


async def test_marks_for_a_cache_are_left_out_where_they_are_not_taken() -> None:
    def picky(asked: Asked) -> Canned:
        marked = "cache_control" in json.dumps(asked.body)
        return refusal(400, "tools.0.cache_control: Extra inputs are not permitted") if marked else HELLO

    async with stub(by=picky) as server, messages(server.url) as model:
        for _ in range(2):
            await complete(model, ask(tools=(SEARCH,)))
    assert len(server.asked) == 3


async def test_a_value_out_of_range_is_an_error_and_stays() -> None:
    canned = refusal(400, "temperature: range: 0..1")
    async with stub(canned) as server, messages(server.url, OLD) as model:
        with pytest.raises(ModelError, match="range") as caught:
            await complete(model, ask(settings=Settings(temperature=2)))
    assert caught.value.kind is ErrorKind.BAD_REQUEST
    assert len(server.asked) == 1


SIGNED = ChatMessage(
    Role.ASSISTANT,
    "Hi.",
    "Hm.",
    carry=({"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Hi."}),
)
STALE = (
    "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
    'Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
)


def has_thinking(asked: Asked) -> bool:
    return '"thinking", "thinking"' in json.dumps(asked.body["messages"])


@pytest.mark.parametrize("effort", [None, Effort.HIGH])
async def test_thinking_that_went_stale_is_sorted_out_by_an_endpoint_that_can(effort: Effort | None) -> None:
    def strict(asked: Asked) -> Canned:
        sorts = "block_binding" in asked.body.get("thinking", {})
        assert not sorts or asked.headers["anthropic-beta"] == "thinking-binding-controls-2026-08-01"
        return refusal(400, STALE) if has_thinking(asked) and not sorts else HELLO

    request = conversation(SIGNED, ChatMessage(Role.USER, "And?"), settings=Settings(effort=effort))
    async with stub(by=strict) as server, messages(server.url) as model:
        responses = [await complete(model, request) for _ in range(2)]
        await complete(model, ask())
    assert len(server.asked) == 4
    assert has_thinking(server.asked[2])
    binding = {"prefix_mismatch_behavior": "drop_block"}
    assert [response.sent["thinking"]["block_binding"] for response in responses] == [binding] * 2
    assert [response.not_sent for response in responses] == [()] * 2
    assert "thinking" not in server.bodies[3]


@pytest.mark.parametrize(
    ("said", "effort"),
    [
        ("messages.1.content.0: Invalid `signature` in `thinking` block", None),
        (STALE, Effort.NONE),
    ],
)
async def test_thinking_that_went_stale_is_left_out_and_named_where_it_cannot_be_sorted_out(
    said: str, effort: Effort | None
) -> None:
    request = conversation(SIGNED, ChatMessage(Role.USER, "And?"), settings=Settings(effort=effort))

    def strict(asked: Asked) -> Canned:
        return refusal(400, said) if has_thinking(asked) else HELLO

    async with stub(by=strict) as server, messages(server.url) as model:
        response = await complete(model, request)
    assert len(server.asked) == 2
    assert server.bodies[1]["messages"][1]["content"] == [{"type": "text", "text": "Hi."}]
    assert response.not_sent == ("carry",)


async def test_thinking_is_left_out_where_sorting_it_out_is_turned_down() -> None:
    def strict(asked: Asked) -> Canned:
        if "block_binding" in asked.body.get("thinking", {}):
            return refusal(400, "thinking.adaptive.block_binding: Extra inputs are not permitted")
        return refusal(400, STALE) if has_thinking(asked) else HELLO

    request = conversation(SIGNED, ChatMessage(Role.USER, "And?"))
    async with stub(by=strict) as server, messages(server.url) as model:
        response = await complete(model, request)
    assert len(server.asked) == 3
    assert "thinking" not in response.sent
    assert response.not_sent == ("carry",)


@pytest.mark.parametrize("effort", [None, *Effort])
@pytest.mark.parametrize("model", [NEW, MIDDLE, OLD, OLDEST])
def test_an_endpoint_that_turns_everything_down_is_given_up_in_the_end(
    model: str, effort: Effort | None
) -> None:
    wire = MessagesWire(model, base_url="http://127.0.0.1:9", endpoint=Endpoint())
    settings = Settings(effort=effort, temperature=0.5)
    request = conversation(SIGNED, ChatMessage(Role.USER, "And?"), settings=settings, json_schema=SCHEMA)
    words = "format tool_choice display thinking effort temperature cache_control block_binding"
    rounds = 0
    for said in (STALE, f"{words} are not supported"):
        failure = Failure(ErrorKind.BAD_REQUEST, said)
        while wire.adapt(failure, wire.arguments(request)):
            rounds += 1
            assert rounds < 12
    plain = wire.arguments(request)
    assert plain.keys() == {"model", "max_tokens", "messages", "stream", "extra_headers"}
    assert "cache_control" not in str(plain["messages"])


# What goes wrong


@pytest.mark.parametrize(
    "canned",
    [
        events(start(), *text(0, "Hel")),
        events(start(), *text(0, "Hel"), end=End.DROP),
        events(start(), *text(0, "Hel"), end=End.STALL),
        events(start(), {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        events(start(), {"type": "error", "error": "gone"}),
        Canned((b"data: {not json\n\n",)),
        Canned((b'data: {"type": "content_block_delta", "index": "x"}\n\n',)),
        refusal(529, "Overloaded", "overloaded_error"),
        refusal(429, "slow down", "rate_limit_error", retry_after="0.01"),
        refusal(500, "oops", "api_error"),
    ],
    ids=["cut", "drop", "stall", "overloaded", "error", "garbage", "types", "529", "429", "500"],
)
async def test_a_passing_failure_is_tried_again_from_the_start(canned: Canned) -> None:
    silence = 0.3 if canned.end is End.STALL else 60.0
    async with stub(canned, HELLO) as server, messages(server.url, silence=silence) as model:
        response = await complete(model, ask())
    assert len(server.asked) == 2
    assert (response.message.text, len(response.failed)) == ("Hello", 1)


def failing(kind: str, message: str = "no") -> Canned:
    return events(start(), {"type": "error", "error": {"type": kind, "message": message}})


@pytest.mark.parametrize(
    ("canned", "kind"),
    [
        (refusal(401, "invalid x-api-key", "authentication_error"), ErrorKind.AUTH),
        (refusal(403, "not yours", "permission_error"), ErrorKind.AUTH),
        (refusal(404, "model: claude-x", "not_found_error"), ErrorKind.NOT_FOUND),
        (refusal(402, "pay first", "billing_error"), ErrorKind.QUOTA),
        (refusal(400, "Your credit balance is too low to access the API."), ErrorKind.QUOTA),
        (refusal(400, "prompt is too long: 210000 tokens > 200000 maximum"), ErrorKind.CONTEXT_LENGTH),
        (refusal(400, "input length and `max_tokens` exceed context limit"), ErrorKind.CONTEXT_LENGTH),
        (refusal(400, "messages: roles must alternate"), ErrorKind.BAD_REQUEST),
        (failing("invalid_request_error"), ErrorKind.BAD_REQUEST),
        (failing("rate_limit_error"), ErrorKind.RATE_LIMIT),
        (failing("api_error"), ErrorKind.SERVER),
        (failing("timeout_error"), ErrorKind.SERVER),
        (events(start(), *text(0, "Hel")), ErrorKind.TRUNCATED),
        (Canned((b'{"content": []}',), content_type="application/json"), ErrorKind.BAD_REQUEST),
    ],
)
async def test_a_lasting_failure_is_named(canned: Canned, kind: ErrorKind) -> None:
    async with stub(canned) as server, messages(server.url) as model:
        with pytest.raises(ModelError) as caught:
            await complete(model, ask())
    assert caught.value.kind is kind
    assert str(caught.value).startswith(f"anthropic/{NEW} failed")


@pytest.mark.parametrize(
    "canned",
    [
        refusal(401, f"invalid x-api-key {CANARY}", "authentication_error"),
        refusal(400, "x" * 275 + CANARY),
        refusal(500, f"upstream said {CANARY}", x_echo=CANARY),
        failing("invalid_request_error", CANARY),
        failing(CANARY),
        Canned((f"data: {CANARY}\n\n".encode(),)),
        events(start(), *text(0, CANARY), end=End.DROP),
        events(start(), *text(0, CANARY), end=End.STALL),
    ],
    ids=["401", "cut", "header", "event", "type", "garbage", "drop", "stall"],
)
@pytest.mark.parametrize("model", [NEW, OLD])
async def test_the_key_never_shows_in_an_error(canned: Canned, model: str) -> None:
    async with stub(canned) as server, messages(server.url, model, api_key=CANARY, silence=0.2) as made:
        with pytest.raises(ModelError) as caught:
            await complete(made, ask())
    said = everything_said(caught.value)
    assert CANARY not in said
    assert CANARY[:8] not in said
    assert caught.value.__context__ is None


@pytest.mark.parametrize("model", [NEW, OLD])
async def test_the_key_does_not_follow_a_redirect(model: str) -> None:
    async with stub(HELLO) as elsewhere:
        away = Canned((), 307, "text/plain", (("location", f"{elsewhere.url}/v1/messages"),))
        async with stub(away) as server, messages(server.url, model) as made:
            with pytest.raises(ModelError, match="HTTP 307"):
                await complete(made, ask())
    assert not elsewhere.asked


async def test_a_key_that_the_server_echoes_is_in_nothing_that_is_kept() -> None:
    canned = events(
        start(CANARY),
        *thinking(0, f"I saw {CANARY}."),
        *text(1, f"Your key is {CANARY[:9]}", f"{CANARY[9:]}."),
        *call(2, CANARY, "send", f'{{"key": "{CANARY}"}}'),
        *stop("refusal", {"category": CANARY}),
    )
    async with stub(canned) as server, messages(server.url, api_key=CANARY) as model:
        _, response = await collect(model.stream(ask()))
    assert CANARY not in repr(response)
    assert response.message.text == "Your key is [key]."
    assert response.message.carry == ()


# What is known of models


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (
            ["claude-3-opus-20240229", "claude-3-haiku-20240307"],
            Claude((), OLD_VERSION, True, Thinking.NONE, Structured.TOOL, 4096),
        ),
        (
            ["claude-3-5-sonnet-20241022", "claude-3-5-haiku-latest", "anthropic/claude-3.5-sonnet"],
            Claude((), OLD_VERSION, True, Thinking.NONE, Structured.TOOL, 8192),
        ),
        (
            [
                "claude-3-7-sonnet-latest",
                "claude-opus-4-0",
                "claude-opus-4-20250514",
                "claude-opus-4-1-20250805",
                "claude-opus-4-1",
                "claude-opus-4-1@20250805",
                "us.anthropic.claude-opus-4-20250514-v1:0",
                "claude-sonnet-4-0",
                "claude-sonnet-4-20250514",
                "anthropic/claude-sonnet-4",
            ],
            Claude((), OLD_VERSION, True, Thinking.BUDGET, Structured.TOOL, 8192),
        ),
        (
            [
                "claude-opus-4-5",
                "claude-sonnet-4-5-20250929",
                "claude-haiku-4-5",
                "anthropic/claude-opus-4.5",
            ],
            Claude((), OLD_VERSION, True, Thinking.BUDGET, Structured.FORMAT, 8192),
        ),
        (
            ["claude-opus-4-6", "claude-sonnet-4-6"],
            Claude((), OLD_VERSION, False, Thinking.ADAPTIVE, Structured.FORMAT, 16_000),
        ),
        (
            [
                "claude-opus-4-7",
                "claude-opus-4-8",
                "claude-sonnet-5",
                "claude-haiku-5-5",
                "claude-opus-7",
                "sim/x",
            ],
            Claude(),
        ),
    ],
)
def test_a_model_is_known_by_its_name(names: list[str], known: Claude) -> None:
    for name in names:
        found = claude(name)
        assert (found.api_version, found.prefill, found.thinking, found.structured, found.max_tokens) == (
            known.api_version,
            known.prefill,
            known.thinking,
            known.structured,
            known.max_tokens,
        ), name


@pytest.mark.parametrize("data", [b"[]", b"5", b"[" * 100_000, b'{"type": 5}'])
def test_an_event_that_cannot_be_read_is_a_passing_failure(data: bytes) -> None:
    with pytest.raises(StreamError) as caught:
        list(MessagesAnswer("asked").add(data))
    assert caught.value.failure.passing


@pytest.mark.parametrize("data", [b'{"type": "ping"}', b'{"type": "new", "x": [1]}'])
def test_an_event_that_says_nothing_changes_nothing(data: bytes) -> None:
    read = MessagesAnswer("asked")
    assert list(read.add(data)) == []
    assert not read.finished

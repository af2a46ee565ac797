"""Chat templates as publishers write them: what they can say, and how what models write is read."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from auditors.models.base import ChatMessage, ErrorKind, Request, Role, Tool, ToolCall
from auditors.models.chat_template import ChatTemplate
from auditors.models.failure import StreamError
from auditors.models.tool_text import split_calls
from auditors.sim.tinker_wire import write_tokenizer
from tests.wire import ask

SEARCH = Tool(
    "search",
    "Search.",
    {
        "type": "object",
        "properties": {
            "q": {"type": "string"},
            "n": {"type": "integer"},
            "deep": {"type": ["boolean", "null"]},
        },
    },
)
TURNS = "{% for m in messages %}<|turn|>{{ m.role }}:{{ m.content }}<|end|>{% endfor %}"
OPEN = "{% if add_generation_prompt %}<|turn|>assistant:{% endif %}"
THINKING = TURNS + "{% if add_generation_prompt %}<|turn|>assistant:<think>\n{% endif %}"
TAGS = "<tool_call>"
DEEPSEEK = "<｜tool▁call▁begin｜>"
KIMI = "<|tool_call_begin|>"
LLAMA = '{"name": the name, "parameters": its arguments}'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def said(template: ChatTemplate, tokenizer: Any, request: Request) -> str:
    return tokenizer.decode(template.prompt(request).tokens)


def templated(tokenizer: Any, source: str) -> ChatTemplate:
    tokenizer.chat_template = source
    return ChatTemplate(tokenizer)


# Prompts


def test_a_conversation_is_written_as_the_template_says(tokenizer: Any) -> None:
    template = templated(tokenizer, TURNS + OPEN)
    assert said(template, tokenizer, ask("Hi?")) == "<|turn|>user:Hi?<|end|><|turn|>assistant:"


def test_a_prefill_is_left_open(tokenizer: Any) -> None:
    template = templated(tokenizer, TURNS + OPEN)
    request = Request((ChatMessage(Role.USER, "Hi?"), ChatMessage(Role.ASSISTANT, "I feel")))
    assert said(template, tokenizer, request) == "<|turn|>user:Hi?<|end|><|turn|>assistant:I feel"


@pytest.mark.parametrize(
    ("source", "request_", "said"),
    [
        (TURNS + OPEN, ask(tools=(SEARCH,)), "does not tell the model of tools"),
        (
            TURNS + OPEN,
            Request((ChatMessage(Role.ASSISTANT, tool_calls=(ToolCall("a", "search", "{}"),)),)),
            "leaves out earlier tool calls",
        ),
        (
            TURNS.replace("in messages", "in messages if m.role != 'system'") + OPEN,
            Request((ChatMessage(Role.SYSTEM, "Be kind."), ChatMessage(Role.USER, "Hi?"))),
            "leaves out a message of the system",
        ),
        (
            TURNS
            + "{% if messages[0].role == 'system' %}{{ raise_exception('No system here.') }}{% endif %}"
            + OPEN,
            Request((ChatMessage(Role.SYSTEM, "Be kind."), ChatMessage(Role.USER, "Hi?"))),
            "No system here",
        ),
        (
            TURNS.replace("{{ m.content }}", "{{ m.content | upper }}") + OPEN,
            Request((ChatMessage(Role.USER, "HI?"), ChatMessage(Role.ASSISTANT, "I feel"))),
            "chat template",
        ),
    ],
    ids=["tools", "calls", "lost", "refused", "changed"],
)
def test_what_a_template_cannot_say_is_an_error(
    tokenizer: Any, source: str, request_: Request, said: str
) -> None:
    with pytest.raises(StreamError, match=said) as caught:
        templated(tokenizer, source).prompt(request_)
    assert caught.value.failure.kind is ErrorKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("written", "arguments", "expected"),
    [
        ("{{ c.function.arguments | tojson }}", '{"q":"é"}', '{"q": "é"}'),
        ("{{ '(' + c.function.arguments + ')' }}", '{"q":"é"}', '({"q":"é"})'),
        ("{{ '(' + c.function.arguments + ')' }}", '{"q": broken', '({"q": broken)'),
        ("{% for k, v in c.function.arguments | items %}{{ k }}={{ v }};{% endfor %}", '{"q":"é"}', "q=é;"),
    ],
)
def test_earlier_calls_are_written_in_the_form_that_the_template_wants(
    tokenizer: Any, written: str, arguments: str, expected: str
) -> None:
    calls = "{% for c in m.tool_calls or [] %}[{{ c.function.name }}]" + written + "{% endfor %}"
    template = templated(tokenizer, TURNS.replace("<|end|>", calls + "<|end|>") + OPEN)
    call = ToolCall("a", "search", arguments)
    request = Request((ChatMessage(Role.USER, "Hi?"), ChatMessage(Role.ASSISTANT, tool_calls=(call,))))
    shown = Request((*request.messages, ChatMessage(Role.TOOL, "none", tool_call_id="a")))
    assert f"[search]{expected}<|end|>" in said(template, tokenizer, shown)


def test_the_token_that_ends_a_turn_is_found_from_the_template(tokenizer: Any) -> None:
    ends = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    template = templated(tokenizer, TURNS.replace("<|end|>", "\n<|turn|>") + OPEN)
    assert template.stops == sorted([ends["<|end|>"], ends["<|turn|>"]])
    answer = [*tokenizer.encode("Yes", add_special_tokens=False), ends["<|turn|>"]]
    assert template.text(answer) == "Yes"
    assert template.text(answer[:-1]) == "Yes"


# Reasoning


@pytest.mark.parametrize(
    ("source", "text", "reasoning", "answer"),
    [
        (THINKING, "hm\n</think>\n\nYes", "hm", "Yes"),
        (THINKING, "hm, and then it was cut", "hm, and then it was cut", ""),
        (TURNS + OPEN + "{# <think> #}", "<think>\nhm\n</think>\n\nYes", "hm", "Yes"),
        (TURNS + OPEN + "{# <think> #}", "Yes, <think>hm</think>", "", "Yes, <think>hm</think>"),
        (TURNS + OPEN, "<think>hm</think>Yes", "", "<think>hm</think>Yes"),
    ],
    ids=["opened by the prompt", "never ended", "opened by the model", "in the middle", "not taught"],
)
def test_reasoning_is_what_the_template_makes_it(
    tokenizer: Any, source: str, text: str, reasoning: str, answer: str
) -> None:
    template = templated(tokenizer, source)
    message = template.message(text, template.prompt(ask()).thinking, ())
    assert (message.reasoning, message.text) == (reasoning, answer)


@pytest.mark.parametrize(
    ("given_", "thinking"), [("<think>I", True), ("<think>I</think>So", False), ("I", False)]
)
def test_a_prefill_may_open_the_reasoning(tokenizer: Any, given_: str, thinking: bool) -> None:
    template = templated(tokenizer, THINKING)
    request = Request((ChatMessage(Role.USER, "Hi?"), ChatMessage(Role.ASSISTANT, given_)))
    assert template.prompt(request).thinking is thinking


def test_control_tokens_within_an_answer_are_no_part_of_it(tokenizer: Any) -> None:
    assert templated(tokenizer, TURNS + OPEN).message("Yes<|turn|>!", False, ()).text == "Yes!"


# Tool calls


@pytest.mark.parametrize(
    ("taught", "text", "rest", "calls"),
    [
        (
            TAGS,
            'So:\n<tool_call>\n{"name": "search", "arguments": {"q":  "é"}}\n</tool_call>',
            "So:",
            [("search", '{"q":  "é"}')],
        ),
        (
            TAGS,
            "<tool_call>\n<function=search>\n<parameter=q>\n3\n</parameter>\n<parameter=n>\n3\n</parameter>\n"
            "<parameter=deep>\ntrue\n</parameter>\n<parameter=other>\n3\n</parameter>\n</function>\n</tool_call>",
            "",
            [("search", '{"q": "3", "n": 3, "deep": true, "other": "3"}')],
        ),
        (
            DEEPSEEK,
            "So:<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>search<｜tool▁sep｜>{bro<｜tool▁call▁end｜>"
            "<｜tool▁call▁begin｜>look<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "So:",
            [("search", "{bro"), ("look", "{}")],
        ),
        (
            KIMI,
            "So:<|tool_calls_section_begin|><|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>{}"
            "<|tool_call_end|><|tool_calls_section_end|>",
            "So:",
            [("search", "{}")],
        ),
        (LLAMA, '{"name": "search", "parameters": {"q": 1}}', "", [("search", '{"q": 1}')]),
    ],
    ids=["json in tags", "elements in tags", "deepseek", "kimi", "llama"],
)
def test_calls_are_read_in_the_format_that_was_taught(
    taught: str, text: str, rest: str, calls: list[tuple[str, str]]
) -> None:
    said, found = split_calls(text, taught, (SEARCH,))
    assert said == rest
    assert [(call.name, call.arguments) for call in found] == calls
    assert split_calls(text, "taught nothing", (SEARCH,)) == (text, ())


def test_a_call_keeps_the_id_that_its_model_gave_it() -> None:
    text = "<|tool_call_begin|>functions.search:7<|tool_call_argument_begin|>{}<|tool_call_end|>"
    ((call,), _) = reversed(split_calls(text, KIMI, (SEARCH,)))
    assert call.id == "functions.search:7"


@pytest.mark.parametrize(
    ("taught", "text"),
    [
        (TAGS, '<tool_call>{"name": "search", "arguments": {</tool_call>'),
        (TAGS, '<tool_call>{"arguments": {}}</tool_call>'),
        (TAGS, '<tool_call>{"name": "", "arguments": {}}</tool_call>'),
        (TAGS, '<tool_call>{"name": "search", "arguments": {}}'),
        (TAGS, "<tool_call><function=search><parameter=q>3</function></tool_call>"),
        (TAGS, "<tool_call><function=></function></tool_call>"),
        (DEEPSEEK, "<｜tool▁call▁begin｜>search<｜tool▁call▁end｜>"),
        (KIMI, "<|tool_call_begin|>search<|tool_call_argument_begin|>{}<|tool_call_end|>"),
        (LLAMA, '{"name": "somebody", "parameters": {"age": 4}}'),
        (LLAMA, 'I call {"name": "search", "parameters": {}}'),
    ],
)
def test_what_does_not_follow_the_format_stays_text(taught: str, text: str) -> None:
    assert split_calls(text, taught, (SEARCH,)) == (text, ())


def test_a_broken_call_stays_in_the_text_beside_a_whole_one() -> None:
    text = '<tool_call>{bro</tool_call> <tool_call>{"name": "search"}</tool_call>'
    rest, (call,) = split_calls(text, TAGS, (SEARCH,))
    assert rest == "<tool_call>{bro</tool_call>"
    assert (call.name, call.arguments) == ("search", "{}")


WORDS = st.text(st.characters(exclude_characters="\\"), max_size=5)
MARKS = st.sampled_from(
    [
        *(TAGS, "</tool_call>", "<function=", "</function>", "<parameter=", "</parameter>", ">", "\n"),
        *(DEEPSEEK, "<｜tool▁call▁end｜>", "<｜tool▁sep｜>", KIMI, "<|tool_call_end|>"),
        *(
            "<|tool_call_argument_begin|>",
            ":0",
            '{"name": "',
            '", "arguments": ',
            '", "parameters": ',
            "{}",
            "}",
        ),
    ]
)


@given(
    st.lists(MARKS | WORDS, max_size=30).map("".join),
    st.sampled_from([TAGS, DEEPSEEK, KIMI, LLAMA]),
)
def test_whatever_a_model_writes_is_read_without_inventing(text: str, taught: str) -> None:
    hostile = Tool("search", "", {"properties": [1], "type": 3})
    rest, calls = split_calls(text, taught, (hostile,))
    assert all(call.name and call.name in text for call in calls)
    assert rest == text if not calls else len(rest) < len(text)


def test_a_text_full_of_openings_is_read_in_linear_time() -> None:
    text = "<tool_call><function=a>" * 100_000
    assert split_calls(text, TAGS, (SEARCH,)) == (text, ())
    closed = text + "</tool_call>"
    assert split_calls(closed, TAGS, (SEARCH,)) == (closed, ())


def test_the_tokenizer_is_the_same_every_time(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        write_tokenizer(folder)
    assert len({(folder / "tokenizer.json").read_bytes() for folder in folders}) == 1


# What models are trained on


def test_what_is_taught_is_the_answer_and_its_end(tokenizer: Any) -> None:
    template = templated(tokenizer, TURNS + OPEN)
    messages = [
        ChatMessage(Role.USER, "Hi?"),
        ChatMessage(Role.ASSISTANT, "One."),
        ChatMessage(Role.USER, "And?"),
        # Words that look like a control token must not end what is learned.
        ChatMessage(Role.ASSISTANT, "Two <|end|> three."),
    ]
    tokens, given = template.taught(messages)
    before = Request(tuple(messages[:-1]))
    assert tokens[:given] == template.prompt(before).tokens
    assert tokenizer.decode(tokens[given:]) == "Two <|end|> three.<|end|>"
    assert tokens[-1] in template.stops
    assert not set(tokens[given:-1]) & set(template.stops)


def test_a_template_that_begins_to_reason_by_itself_cannot_be_taught(tokenizer: Any) -> None:
    template = templated(tokenizer, THINKING)
    with pytest.raises(StreamError, match="writes a given answer otherwise"):
        template.taught([ChatMessage(Role.USER, "Hi?"), ChatMessage(Role.ASSISTANT, "One.")])

"""Between messages and tokens, by a tokenizer's own chat template.

The template that a model's publisher ships with its tokenizer is the one road for all models of a study: it
writes text, tools and reasoning the way the model was trained on them, and rendering it needs no torch. (The
renderers of `tinker_cookbook` do the same by hand for the models they know, for 5.7 GB of torch.)

Publishers' templates leave things out in silence: the one of DeepSeek V3.1 knows no tools. What a template cannot
say is an error here, never a conversation with a part missing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from auditors.models.base import ChatMessage, ErrorKind, Role
from auditors.models.failure import Failure, StreamError
from auditors.models.tool_text import split_calls
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditors.models.base import Request, Tool

_THINK, _END_THINK = "<think>", "</think>"
_MARK = "cc_tui_mark"
"""A word that no template writes by itself."""


class Prompt(NamedTuple):
    """A request as a model reads it."""

    tokens: list[int]
    thinking: bool
    """Whether the answer begins in the middle of the reasoning."""


class ChatTemplate:
    """The chat template of one tokenizer.

    Args:
        tokenizer: a tokenizer of `transformers` with a chat template.

    Raises:
        StreamError: it has none.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise _unsupported("its tokenizer comes without a chat template")
        # `Any`, as the signatures of transformers are typed in part only.
        self._tokenizer = tokenizer
        self._source: str = tokenizer.get_chat_template(tools=[])
        controls = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        controls.sort(key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, controls)) or r"(?!)")
        self._takes_tools, self._takes_calls = self._probe_tools()
        self.stops = self._ends()
        """Tokens that end the model's turn."""

    def prompt(self, request: Request) -> Prompt:
        """The request as tokens.

        Raises:
            StreamError: the template cannot say all of it.
        """
        if request.tools and not self._takes_tools:
            raise _unsupported("its chat template does not tell the model of tools")
        if not self._takes_calls and any(message.tool_calls for message in request.messages):
            raise _unsupported("its chat template leaves out earlier tool calls")
        messages = [_wire_message(message) for message in request.messages]
        tools = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in request.tools]
        text: str = self._apply(messages, tools, request.prefilled, tokenize=False)
        for message in messages:
            said = message["content"].strip()
            # Templates cut reasoning out of earlier answers, and write a tool's answer as they like.
            if message["role"] != Role.TOOL and _END_THINK not in said and said not in text:
                raise _unsupported(f"its chat template leaves out a message of the {message['role']}")
        if request.prefilled:
            given = request.messages[-1].text
            thinking = given.rfind(_THINK) > given.rfind(_END_THINK)
        else:
            thinking = text.rstrip().endswith(_THINK)
        # The words of a control token within a message stay words, or they would end the turn or forge another.
        tokens = self._apply(
            messages, tools, request.prefilled, sanitize_control_tokens=True, return_dict=False
        )
        return Prompt(tokens, thinking)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without the token that ended it but with all other marks."""
        tokens = tokens[:-1] if tokens and tokens[-1] in self.stops else tokens
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))

    def message(self, text: str, thinking: bool, tools: Sequence[Tool]) -> ChatMessage:
        """The message that an answer's text is.

        Args:
            text: what `text` gave.
            thinking: what the prompt said of it.
            tools: those that were offered; without any, nothing is read as a call.
        """
        reasoning, calls = "", ()
        if _THINK in self._source and (thinking or text.lstrip().startswith(_THINK)):
            body = text if thinking else text.lstrip().removeprefix(_THINK)
            reasoning, _, text = body.partition(_END_THINK)
            reasoning, text = reasoning.strip("\n"), text.lstrip("\n")
        if tools:
            text, calls = split_calls(text, self._source, tools)
        return ChatMessage(
            Role.ASSISTANT, self._controls.sub("", text), self._controls.sub("", reasoning), calls
        )

    def taught(self, messages: Sequence[ChatMessage]) -> tuple[list[int], int]:
        """A conversation that ends with the assistant's answer, as a model is trained on it.

        Returns:
            All tokens up to the one that ends the answer, and how many of them come before the answer.

        Raises:
            StreamError: the template does not write the answer behind what it writes to ask for it.
        """
        wire = [_wire_message(message) for message in messages]
        options: dict[str, Any] = {"sanitize_control_tokens": True, "return_dict": False}
        asked: list[int] = self._apply(wire[:-1], [], **options)
        whole: list[int] = self._apply(wire, [], answered=True, **options)
        end = next((at for at in range(len(asked), len(whole)) if whole[at] in self.stops), None)
        if whole[: len(asked)] != asked or end is None:
            raise _unsupported("its chat template writes a given answer otherwise than it asks for one")
        return whole[: end + 1], len(asked)

    def _apply(
        self,
        messages: list[Any],
        tools: list[Any],
        prefilled: bool = False,
        answered: bool = False,
        **options: Any,
    ) -> Any:
        import jinja2

        failure = ""
        # Most templates write arguments as JSON themselves; some join strings and want them written.
        for form in (_parsed, str):
            try:
                return self._tokenizer.apply_chat_template(
                    [_with_arguments(message, form) for message in messages],
                    tools=tools or None,
                    add_generation_prompt=not (prefilled or answered),
                    continue_final_message=prefilled,
                    **options,
                )
            except (jinja2.TemplateError, TypeError, ValueError) as error:
                failure = failure or str(error)
        raise _unsupported(f"its chat template refuses the conversation ({failure})")

    def _probe_tools(self) -> tuple[bool, bool]:
        """Whether the template writes tools, and whether it writes earlier calls."""
        asked, call = {"role": "user", "content": "?"}, {"name": _MARK, "arguments": "{}"}
        tool: dict[str, Any] = {
            "name": _MARK,
            "description": "",
            "parameters": {"type": "object", "properties": {}},
        }
        # Some templates write the id instead of the name.
        calls = [{"id": f"functions.{_MARK}:0", "type": "function", "function": call}]
        called = {"role": "assistant", "content": "", "tool_calls": calls}
        answered = {"role": "tool", "content": "!", "tool_call_id": calls[0]["id"]}
        return (
            self._writes([asked], [{"type": "function", "function": tool}]),
            self._writes([asked, called, answered], []),
        )

    def _writes(self, messages: list[Any], tools: list[Any]) -> bool:
        try:
            return _MARK in self._apply(messages, tools, tokenize=False)
        except StreamError:
            return False

    def _ends(self) -> list[int]:
        # A tokenizer's `eos_token` is not always what ends a turn, so the template is asked too.
        ends: set[int] = {self._tokenizer.eos_token_id} - {None}
        asked, said = {"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}
        try:
            text: str = self._apply([asked, said, asked], [], tokenize=False)
        except StreamError:
            text = ""
        if found := self._controls.match(text.rpartition(_MARK)[2].lstrip()):
            ends.add(self._tokenizer.convert_tokens_to_ids(found[0]))
        return sorted(ends)


def _unsupported(what: str) -> StreamError:
    return StreamError(Failure(ErrorKind.UNSUPPORTED, what))


def _wire_message(message: ChatMessage) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role.value, "content": storable(message.text)}
    if message.reasoning:
        wire["reasoning_content"] = storable(message.reasoning)
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    # Templates ask whether the field is there at all.
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": storable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return wire


def _with_arguments(message: dict[str, Any], form: Callable[[str], Any]) -> dict[str, Any]:
    if "tool_calls" not in message:
        return message
    calls = [
        call | {"function": call["function"] | {"arguments": form(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return message | {"tool_calls": calls}


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments  # The model wrote no JSON; the template gets what it wrote.

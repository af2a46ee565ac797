"""What is asked over Anthropic Messages, and what the service does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import ChatMessage, Effort, Request, Role, Settings, Tool, ToolCall
from auditors.sim.connection import RequestError
from auditors.sim.exchange import effort, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WITH_SAMPLING = "2023-06-01"
"""API version that takes sampling settings and the beginning of an answer."""
WITHOUT_SAMPLING = "2026-10-21"

UNREADABLE = "INVALID_JSON"
"""Key of the object that stands for arguments that are none; what Anthropic advises to send back."""

_SAMPLING = ("temperature", "top_p", "top_k")
_LEAST_BUDGET = 1024


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}
    tool_use_id: str = ""
    content: str | list[_Block] | None = None


class _Message(msgspec.Struct):
    role: Role
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any]
    description: str = ""


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int = 0


class _Format(msgspec.Struct):
    schema: dict[str, Any]


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _ToolChoice(msgspec.Struct):
    type: str


class MessagesBody(msgspec.Struct):
    """Body of a request, as far as it matters here."""

    model: str
    messages: list[_Message]
    max_tokens: int
    system: str | list[_Block] = ""
    stream: bool = False
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    temperature: float | None = None

    def request(self, repeat: int) -> Request:
        """The request in our own form.

        Raises:
            RequestError: the service would not take it.
        """
        system = _text(self.system, "system")
        config = self.output_config or _OutputConfig()
        no_thinking = self.thinking is not None and self.thinking.type == "disabled"
        return Request(
            messages=(*([ChatMessage(Role.SYSTEM, system)] if system else ()), *_history(self.messages)),
            tools=tuple(Tool(tool.name, tool.description, tool.input_schema) for tool in self.tools or ()),
            json_schema=config.format.schema if config.format else None,
            settings=Settings(
                temperature=self.temperature,
                max_tokens=self.max_tokens,
                effort=Effort.NONE if no_thinking else effort(config.effort),
            ),
            repeat=repeat,
        )

    def check(self, version: str, given: Mapping[str, Any]) -> None:
        """See that settings go together.

        Args:
            version: the `anthropic-version` of the request, or nothing.
            given: the body as it came, where a setting counts that only repeats its default.

        Raises:
            RequestError: they do not.
        """
        if version not in (WITH_SAMPLING, WITHOUT_SAMPLING):
            raise _bad(f"anthropic-version: {version!r} is not a valid version" if version else _VERSION)
        prefilled = bool(self.messages) and self.messages[-1].role is Role.ASSISTANT
        if version == WITHOUT_SAMPLING:
            for name in _SAMPLING:
                if name in given:
                    raise _bad(f"{name}: Extra inputs are not permitted")
            if prefilled:
                raise _bad(
                    "Prefilling assistant messages is not supported; the last message must be the user's."
                )
        if self.max_tokens < 1:
            raise _bad("max_tokens: must be at least 1")
        thinks = self.thinking is not None and self.thinking.type in ("enabled", "adaptive")
        if thinks and self.tool_choice is not None and self.tool_choice.type in ("any", "tool"):
            raise _bad("Thinking may not be enabled when tool_choice forces tool use.")
        if thinks and prefilled:
            raise _bad("Thinking may not be enabled when the assistant's message is prefilled.")
        if thinks and self.temperature not in (None, 1):
            raise _bad("`temperature` may only be set to 1 when thinking is enabled.")
        if self.thinking is not None and self.thinking.type == "enabled":
            if self.thinking.budget_tokens < _LEAST_BUDGET:
                raise _bad(f"thinking.enabled.budget_tokens: must be at least {_LEAST_BUDGET}")
            if self.thinking.budget_tokens >= self.max_tokens:
                raise _bad("`max_tokens` must be greater than `thinking.budget_tokens`.")


_VERSION = "anthropic-version: header is required"


def _bad(message: str) -> RequestError:
    return RequestError(400, message)


def _history(messages: list[_Message]) -> Iterator[ChatMessage]:
    calls: list[str] = []  # Of the message before; they want their results at once.
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        blocks = message.content
        if isinstance(blocks, str):
            blocks = [_Block("text", blocks)]
        results = [block for block in blocks if block.type == "tool_result"]
        answered = {block.tool_use_id for block in results}
        if missing := [call for call in calls if call not in answered]:
            what = "`tool_use` ids were found without `tool_result` blocks immediately after"
            raise _bad(f"{where}: {what}: {', '.join(missing)}")
        if strange := sorted(answered - set(calls)):
            raise _bad(f"{where}: unexpected `tool_use_id` in `tool_result` blocks: {', '.join(strange)}")
        for block in results:
            yield ChatMessage(Role.TOOL, _text(block.content or "", where), tool_call_id=block.tool_use_id)
        calls = [block.id for block in blocks if block.type == "tool_use"]
        rest = [block for block in blocks if block.type != "tool_result"]
        if rest or not results:
            yield _message(message.role, rest, where)
    if calls:
        raise _bad(f"`tool_use` ids were found without `tool_result` blocks after: {', '.join(calls)}")
    if messages and messages[-1].role is Role.ASSISTANT:
        last = messages[-1].content
        text = last if isinstance(last, str) else (last[-1].text if last else "")
        if text != text.rstrip():
            raise _bad("messages: final assistant content cannot end with trailing whitespace")


def _message(role: Role, blocks: list[_Block], where: str) -> ChatMessage:
    for number, block in enumerate(blocks):
        if block.type == "thinking" and not _is_ours(block):
            raise _bad(f"{where}.content.{number}: Invalid `signature` in `thinking` block")
    if not blocks:
        raise _bad(f"{where}: content must not be empty")
    return ChatMessage(
        role,
        text=_text([block for block in blocks if block.type == "text"], where),
        reasoning="".join(block.thinking for block in blocks),
        tool_calls=tuple(
            ToolCall(block.id, block.name, _arguments(block.input))
            for block in blocks
            if block.type == "tool_use"
        ),
    )


def _is_ours(block: _Block) -> bool:
    try:
        return unseal(block.signature) == block.thinking
    except ValueError:
        return False


def _text(content: str | list[_Block], where: str) -> str:
    if isinstance(content, str):
        return content
    if any(block.type == "text" and not block.text for block in content):
        raise _bad(f"{where}: text content blocks must be non-empty")
    return "".join(block.text for block in content)


def _arguments(given: dict[str, Any]) -> str:
    if given.keys() == {UNREADABLE}:
        return str(given[UNREADABLE])
    return msgspec.json.encode(given).decode()

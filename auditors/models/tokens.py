"""Numbers of tokens from lengths, for planning traffic and where an endpoint does not count."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from auditors.models.base import ChatMessage, ReasoningDelta, TextDelta, ToolCallDelta, Usage

if TYPE_CHECKING:
    from auditors.models.base import Delta, Request

CHARS_PER_TOKEN = 4
"""Of English text; other text has fewer."""


def tokens_of(chars: int) -> int:
    """About how many tokens a text of that many characters has."""
    return math.ceil(chars / CHARS_PER_TOKEN)


def asked_chars(request: Request) -> int:
    """Characters that the model has to read."""
    return sum(map(message_chars, request.messages)) + sum(
        len(tool.name) + len(tool.description) + len(msgspec.json.encode(tool.parameters))
        for tool in request.tools
    )


def message_chars(message: ChatMessage) -> int:
    """Characters of a message, its reasoning and tool calls included."""
    calls = sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    return len(message.text) + len(message.reasoning) + calls


def delta_chars(delta: Delta) -> int:
    """Characters that a delta adds."""
    match delta:
        case TextDelta(text) | ReasoningDelta(text):
            return len(text)
        case ToolCallDelta():
            return len(delta.arguments)


def estimate(request: Request, chars: int) -> Usage:
    """A guess at the usage of an answer of that many characters."""
    return Usage(input=tokens_of(asked_chars(request)), output=tokens_of(chars), estimated=True)


def completed(usage: Usage, request: Request, message: ChatMessage) -> Usage:
    """`usage` with guesses for what the endpoint left out."""
    if usage.input is not None and usage.output is not None:
        return usage
    guess = estimate(request, message_chars(message))
    return msgspec.structs.replace(
        usage,
        input=guess.input if usage.input is None else usage.input,
        output=guess.output if usage.output is None else usage.output,
        estimated=True,
    )

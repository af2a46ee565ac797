"""What is known about a server before it is asked: where it is, what it speaks, and its quirks."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import msgspec

from auditors.models.base import Effort

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_Rate = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]


class WireProtocol(StrEnum):
    """The protocols that models are spoken to in."""

    CHAT = "chat"
    """OpenAI Chat Completions; what nearly every server speaks."""
    RESPONSES = "responses"
    """OpenAI Responses."""
    MESSAGES = "messages"
    """Anthropic Messages."""
    TINKER = "tinker"
    """Tinker's own sampling service."""


class Prefill(StrEnum):
    """How a server is made to go on from the beginning of an answer."""

    NO = "no"
    """It cannot."""
    LAST = "last"
    """It goes on from a last message of the assistant by itself, as llama.cpp and older Claude models do."""
    CONTINUE = "continue"
    """It does so with `continue_final_message`, as vLLM does."""


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server. What is left out is found out, or is the protocol's default."""

    base_url: str = ""
    """Where the protocol's paths hang below, such as `http://127.0.0.1:8000/v1`; empty in an entry that only
    changes how a built-in provider is spoken to."""
    api_key_env: str = ""
    """Environment variable that holds the key, in capitals; empty for a server that needs none."""
    protocol: WireProtocol | None = None
    prefill: Prefill | None = None
    api_version: str = ""
    """Of the Messages protocol: the `anthropic-version` that is asked for; found from the model's name if empty."""
    effort: Effort | None = None
    """How much models reason where the study does not say."""
    tokenizer: str = ""
    """Of Tinker's sampling service: a local folder with the tokenizer; that of the base model if empty."""
    max_concurrent: _Rate | None = None
    """Never more calls at once than this."""
    requests_per_minute: _Rate | None = None
    tokens_per_minute: _Rate | None = None
    silence_seconds: _Seconds = 90.0
    """Longest pause before and within an answer."""
    answer_seconds: _Seconds = 600.0
    """Longest time for one whole answer."""

    def __post_init__(self) -> None:
        """Refuse a key where the name of its variable should stand, before anything shows it."""
        if self.api_key_env and not _VARIABLE.fullmatch(self.api_key_env):
            raise ValueError(
                "api_key_env must be the name of an environment variable in capitals, never the key itself"
            )

"""What the readers of event streams share."""

from __future__ import annotations

import json
import secrets
from typing import Any

import msgspec

from auditors.models.base import ErrorKind, ToolCall
from auditors.models.failure import Failure, StreamError
from store.text import storable

_MOST_TOKENS = 1_000_000_000


def parsed(data: bytes) -> Any:
    """The JSON value of an event.

    Raises:
        StreamError: it is not JSON.
    """
    try:
        # msgspec's own parser refuses half a surrogate pair, which servers send that cut text anywhere.
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise unreadable(error) from None


def unreadable(error: Exception) -> StreamError:
    """The error for an event that does not look as the protocol says."""
    what = f"the server sent an event that cannot be read ({error})"
    return StreamError(Failure(ErrorKind.TRUNCATED, what, passing=True))


class CallDraft(msgspec.Struct):
    """A tool call as far as it has come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = []

    def call(self) -> ToolCall:
        """The whole call; one that got no id from the server gets one from us."""
        return ToolCall(
            storable(self.id) or f"call_{secrets.token_hex(8)}",
            storable(self.name),
            storable("".join(self.arguments)),
        )


def count(tokens: int | None) -> int | None:
    """A number of tokens, or None for one that cannot be."""
    return tokens if tokens is not None and 0 <= tokens <= _MOST_TOKENS else None

"""What each Claude model takes: the dated table `claude.toml`."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import msgspec


class Thinking(StrEnum):
    """How a model is asked to reason before it answers."""

    NONE = "none"
    """It cannot."""
    BUDGET = "budget"
    """With a number of tokens to spend."""
    ADAPTIVE = "adaptive"
    """With a level of effort; how much it reasons is its own choice."""


class Structured(StrEnum):
    """How a model is held to a JSON Schema."""

    TOOL = "tool"
    """By a tool that it has to call."""
    FORMAT = "format"
    """By `output_config.format`."""


class Claude(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model takes; the defaults are those of a new one."""

    names: tuple[str, ...] = ()
    """Patterns of its names, with `*` and `[…]` as in file names."""
    api_version: str = ""
    """The `anthropic-version` that it is asked under; that of the SDK if empty."""
    prefill: bool = False
    thinking: Thinking = Thinking.ADAPTIVE
    structured: Structured = Structured.FORMAT
    max_tokens: int = 16_000
    """Longest answer in tokens where the study does not say: the protocol demands a limit. Where reasoning has no
    budget of its own, it counts too."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    as_of: str
    models: tuple[Claude, ...]


def claude(model: str) -> Claude:
    """What the model of that name takes."""
    for known in _table().models:
        if any(fnmatchcase(model.lower(), name) for name in known.names):
            return known
    return Claude()


@cache
def _table() -> _Table:
    path = Path(__file__).with_name("claude.toml")
    return msgspec.toml.decode(path.read_bytes(), type=_Table)

"""Until when a model can be asked."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path

import msgspec


class _Table(msgspec.Struct, frozen=True):
    as_of: date
    shutdowns: dict[str, date]
    unlisted: dict[str, date]


@cache
def _table() -> _Table:
    data = Path(__file__).with_name("lifetimes.toml").read_bytes()
    return msgspec.toml.decode(data, type=_Table)


def warning(spec: str, today: date | None = None) -> str:
    """What a provider has announced about a model's end, as a clause; empty where nothing is known."""
    day = shutdown(spec)
    if day is None:
        unlisted = _table().unlisted.get(spec)
        return f"was not on the provider's list of {unlisted}" if unlisted else ""
    over = day <= (today or date.today())
    return f"was to be shut down on {day}" if over else f"will be shut down on {day}"


def shutdown(spec: str) -> date | None:
    """The day from which the provider does not serve a model any more, or None where none is known."""
    name = spec.replace("openai/ft:", "openai/", 1)
    if spec.startswith("openai/ft:"):
        name = name.partition(":")[0]
    known = _table().shutdowns
    patterns = [p for p in known if p == name or (p.endswith("*") and name.startswith(p[:-1]))]
    return known[max(patterns, key=len)] if patterns else None

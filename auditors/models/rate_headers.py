"""What an endpoint's answers say about its rate limits, in the headers of OpenAI and of Anthropic."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
"""What endpoints count; `tokens` are those of the input and the output."""

_NAMES = ("x-ratelimit-{field}-{kind}", "anthropic-ratelimit-{kind}-{field}")
_MOST = 1_000_000_000
"""A larger limit is none, and may be a mistake."""
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|[dhms]))+")
_PART = re.compile(rf"({_NUMBER})(ms|[dhms])")


class Quota(NamedTuple):
    """What is said about one kind of traffic."""

    kind: str
    """One of `KINDS`."""
    limit: int | None
    """How much is allowed a minute."""
    blocked: float
    """Seconds until more is allowed; 0 while something is left or nothing usable is said."""


def quotas(headers: Mapping[str, str]) -> Iterator[Quota]:
    """The quotas that the headers of an answer tell of; what cannot be read counts as not said."""
    for kind in KINDS:
        for name in _NAMES:
            limit, remaining, reset = (
                headers.get(name.format(kind=kind, field=field), "")
                for field in ("limit", "remaining", "reset")
            )
            if limit or remaining:
                allowed = _count(limit)
                yield Quota(kind, allowed or None, _seconds(reset) if _count(remaining) == 0 else 0.0)


def headers_of(error: Exception) -> Mapping[str, str]:
    """The headers of the answer that an SDK made an exception of; none if it was not an answer."""
    return getattr(getattr(error, "response", None), "headers", {})


def _count(text: str) -> int | None:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        return None
    return count if (count := int(text)) <= _MOST else None


def _seconds(text: str) -> float:
    """Seconds of a duration (`6m0s`, `120ms`, `30`) or until a moment (RFC 3339); 0 if it is neither or past."""
    if _DURATION.fullmatch(text):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if re.fullmatch(_NUMBER, text):
        return float(text)
    try:
        return max(0.0, (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0

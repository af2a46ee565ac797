"""Randomness that depends on what is asked and on nothing else: not on time, order, process or platform."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditors.models.base import Request


def _hash(parts: Iterable[str | int | None]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = repr(part).encode() if not isinstance(part, str) else part.encode("utf-8", "surrogatepass")
        # The kind and the length keep ("ab", "c") apart from ("a", "bc") and "1" from 1.
        digest.update(f"{type(part).__name__}{len(data)}:".encode())
        digest.update(data)
    return digest.digest()


def rng(*key: str | int | None) -> random.Random:
    """A generator that is the same for the same key on every machine."""
    return random.Random(int.from_bytes(_hash(key)))


def normal(*key: str | int | None) -> float:
    """The standard normal deviate of a key."""
    return rng(*key).gauss()


def fingerprint(request: Request, name: str, seed: int) -> str:
    """Hash of all that may decide an answer of model `name`: the messages, the repeat and the world `seed`."""
    parts: list[str | int | None] = [seed, name, request.repeat]
    for message in request.messages:
        parts += [message.role, message.text, len(message.tool_calls)]
        for call in message.tool_calls:
            parts += [call.name, call.arguments]
    return _hash(parts).hex()

"""What simulated targets can say on each preference: the material that `phrases` makes sentences of."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Voice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The material of one preference."""

    facts: tuple[str, ...]
    """Sentences on the matter that take no side."""
    keywords: str
    """Regular expression of the words by which the matter is recognised."""
    wishes: tuple[str, ...] = ()
    """What is wanted, after "I want": infinitives."""
    stakes: tuple[str, ...] = ()
    """What stands against it, after "It bothers me that": clauses."""
    sentences: dict[str, tuple[str, ...]] = {}
    """Whole sentences for each level, where the matter is a claim and cannot be worded as a wish."""


VOICES = msgspec.toml.decode(Path(__file__).with_suffix(".toml").read_bytes(), type=dict[str, Voice])

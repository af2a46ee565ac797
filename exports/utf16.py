"""Offsets in code points, as Python and the store count, and in UTF-16 units, as browsers do."""

from __future__ import annotations


def to_units(text: str, offset: int) -> int:
    """The UTF-16 offset of a code-point offset."""
    return len(text[:offset].encode("utf-16-le", "surrogatepass")) // 2


def to_points(text: str, units: int) -> int:
    """The code-point offset of a UTF-16 offset; within a character it is the one before it."""
    return len(text.encode("utf-16-le", "surrogatepass")[: units * 2].decode("utf-16-le", "ignore"))

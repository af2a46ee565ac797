"""Keeps a key out of what is shown and stored, should an endpoint send it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from auditors.models.base import ChatMessage, Delta, ReasoningDelta, TextDelta, ToolCallDelta
from auditors.models.failure import BLOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T")

SHORTEST_KEY = 8
"""Characters. Shorter ones, such as `EMPTY` for a server of one's own, are words that models use."""


def blotted(value: _T, key: str) -> _T:
    """`value` with every string in it, however deep, without `key`."""
    return cast("_T", _blotted(value, key)) if len(key) >= SHORTEST_KEY else value


def _blotted(value: Any, key: str) -> Any:
    # Enums are strings too, and are our own.
    if type(value) is str:
        return value.replace(key, BLOT)
    if isinstance(value, msgspec.Struct):
        fields = {name: _blotted(getattr(value, name), key) for name in value.__struct_fields__}
        if isinstance(value, ChatMessage) and fields["carry"] != value.carry:
            # An endpoint takes these unchanged or not at all.
            fields["carry"] = ()
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, tuple | list):
        items = cast("list[Any]", value)
        return type(items)(_blotted(item, key) for item in items)
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value)
        return {_blotted(name, key): _blotted(item, key) for name, item in pairs.items()}
    return value


class Blotter:
    """Takes the key out of one stream, also where it is cut over several deltas.

    A piece that ends with the beginning of the key is held back until what follows shows whether it is one.
    """

    def __init__(self, key: str) -> None:
        self._key = key if len(key) >= SHORTEST_KEY else ""
        self._held: dict[tuple[type[Delta], int], Delta] = {}

    def take(self, delta: Delta) -> Iterator[Delta]:
        """Take the next delta, and give out what is safe."""
        if not self._key:
            yield delta
            return
        place = (type(delta), delta.index if isinstance(delta, ToolCallDelta) else 0)
        held = self._held.pop(place, None)
        text = ((_text(held) if held else "") + _text(delta)).replace(self._key, BLOT)
        end = len(text) - _begun(text, self._key)
        if end < len(text):
            self._held[place] = _with(delta, text[end:], named=False)
        if end or (isinstance(delta, ToolCallDelta) and delta.name):
            yield blotted(_with(delta, text[:end]), self._key)

    def rest(self) -> Iterator[Delta]:
        """What is still held back when the stream is over."""
        yield from self._held.values()
        self._held.clear()


def _begun(text: str, key: str) -> int:
    """How many characters at the end of `text` are the beginning of `key`."""
    start = text.find(key[0], max(len(text) - len(key) + 1, 0))
    while start >= 0 and not key.startswith(text[start:]):
        start = text.find(key[0], start + 1)
    return len(text) - start if start >= 0 else 0


def _text(delta: Delta) -> str:
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def _with(delta: Delta, text: str, *, named: bool = True) -> Delta:
    match delta:
        case ToolCallDelta():
            return ToolCallDelta(delta.index, delta.name if named else "", text)
        case TextDelta() | ReasoningDelta():
            return type(delta)(text)

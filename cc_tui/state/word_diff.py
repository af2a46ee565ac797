"""What a target changed in the work that it was given, word by word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from rapidfuzz import fuzz

from cc_tui.state.blocks import Block, Voice
from store.records import Author

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.records import Message

_ALIKE = 50.0
"""Least `rapidfuzz.fuzz.ratio` (0-100) of two texts of which one counts as a version of the other."""
_LONG_ENOUGH = 80
"""Characters from which on a text is looked at."""
_LONGEST = 20_000
"""Characters that are compared."""
_PIECE = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class _Text:
    message_id: str
    part: str
    text: str
    by_target: bool


def change_blocks(messages: Sequence[Message], names: dict[str, str]) -> list[Block]:
    """For every text of the target that is a new version of an earlier one - its own or one it was given - the changes.

    Removed words stand in `[-…-]`, added ones in `{+…+}`.

    Args:
        messages: the target's view, in order.
        names: what each message is called.
    """
    earlier: list[_Text] = []
    blocks: list[Block] = []
    for message in messages:
        now = _texts(message)
        for text in now:
            if text.by_target and (before := _version_before(text, earlier)):
                name, old = (names.get(one.message_id, one.message_id) for one in (text, before))
                told = f"{name}{text.part}, after {old}{before.part}"
                blocks += [Block(Voice.RULE, "", told), _changes(before.text, text.text, text.message_id)]
        earlier += now
    return blocks


def _texts(message: Message) -> list[_Text]:
    by_target = message.author is Author.TARGET
    found = [_Text(message.message_id, "", message.text, by_target)]
    for call in message.tool_calls:
        part = f" ({call.get('name', '?')})"
        found.append(_Text(message.message_id, part, str(call.get("arguments", "")), by_target))
    return [one for one in found if len(one.text) >= _LONG_ENOUGH]


def _version_before(text: _Text, earlier: Sequence[_Text]) -> _Text | None:
    best, alike = None, _ALIKE
    for one in earlier:
        ratio = fuzz.ratio(one.text[:_LONGEST], text.text[:_LONGEST], score_cutoff=alike)
        # Of equally near ones the latest is what was changed.
        if ratio >= alike and ratio > 0:
            best, alike = one, ratio
    return best if best is not None and best.text != text.text else None


def _changes(before: str, after: str, message_id: str) -> Block:
    old, new = (_PIECE.findall(text[:_LONGEST]) for text in (before, after))
    told, lights = "", list[tuple[int, int, str]]()

    def add(text: str, tone: str = "", signs: tuple[str, str] = ("", "")) -> None:
        nonlocal told
        if text:
            start = len(told)
            told += f"{signs[0]}{text}{signs[1]}"
            if tone:
                lights.append((start, len(told), tone))

    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            add("".join(old[a:b]))
        else:
            add("".join(old[a:b]), "bad", ("[-", "-]"))
            add("".join(new[c:d]), "good", ("{+", "+}"))
    if len(before) > _LONGEST or len(after) > _LONGEST:
        add(f"\n… the first {_LONGEST:,} characters")
    return Block(Voice.TARGET, "changes", told, message_id=message_id, lights=tuple(lights))

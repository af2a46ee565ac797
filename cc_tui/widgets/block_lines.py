"""How a block of a conversation looks: its lines at a width, and the parts of each."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from textual.content import Content

from cc_tui.state.blocks import Voice
from cc_tui.widgets.line_view import fit
from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cc_tui.state.blocks import Block
    from cc_tui.widgets.line_view import Part

_LABEL = 10
_MARGIN = _LABEL + 4
_LOOK: dict[Voice, tuple[str, str, str]] = {
    # Bar of the margin, tone of label and bar, tone of the text.
    Voice.SYSTEM: ("┊", "soft", "soft"),
    Voice.USER: ("│", "user", ""),
    Voice.HUMAN: ("│", "human", ""),
    Voice.TARGET: ("▌", "target", ""),
    Voice.TOOL: ("┊", "soft", ""),
    Voice.THOUGHT: ("┆", "soft", "soft"),
    Voice.NOTE: ("·", "soft", "soft"),
    Voice.PROPOSED: ("?", "active", ""),
}


@lru_cache(maxsize=8192)
def wrap(paragraph: str, width: int) -> tuple[str, ...]:
    """The lines of a paragraph. Cached, because of a growing draft only the last paragraph is new."""
    return tuple(line.plain for line in Content(printable(paragraph)).wrap(max(width, 1)))


def block_lines(block: Block, width: int, *, folded: bool) -> tuple[str, ...]:
    """The texts of a block's lines in a column `width` cells wide, margin included."""
    room = width - _MARGIN
    if block.voice is Voice.RULE:
        return (one_line(block.text, max(width - 6, 1)),)
    if folded:
        return (fit("▹ " + one_line(block.summary, room), room),)
    return tuple(line for text in block.text.split("\n") for line in wrap(text, room)) or ("",)


def line_parts(block: Block, texts: Sequence[str], row: int, width: int, *, marked: bool) -> tuple[Part, ...]:
    """The parts of line `row` of a block, whose lines say `texts`; `marked` puts the mark on it."""
    text = texts[row]
    if block.voice is Voice.RULE:
        rest = "─" * max(width - len(text) - 5, 0)
        return (("─── ", "soft"), (text, "soft bold"), (f" {rest}", "soft"))
    bar, tone, text_tone = _LOOK[block.voice]
    label = fit(block.label if row == 0 else "", _LABEL, right=True)
    if block.faded:
        bar, tone, text_tone = "╎", "soft", "soft"
    mark = "▸" if marked and row == 0 else "⚑" if block.flagged and row == 0 else " "
    label_tone = f"{tone} bold" if marked else tone
    said = _lit_lines(block, tuple(texts))[row] if block.lights else (("", text),)
    parts = ((part, f"{text_tone} {light}".strip()) for light, part in said)
    return ((mark, "active"), (label, label_tone), (f" {bar} ", tone), *parts)


def first_lit(block: Block, texts: Sequence[str]) -> int:
    """The first of a block's lines with a light on it; 0 if there is none."""
    lines = _lit_lines(block, tuple(texts)) if block.lights else ()
    return next((row for row, parts in enumerate(lines) if any(light for light, _ in parts)), 0)


@lru_cache(maxsize=64)
def _lit_lines(block: Block, texts: tuple[str, ...]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Of every line its pieces, each after the name of its light."""
    source = _shown(block.text)
    lights = [
        (len(_shown(block.text[:start])), len(_shown(block.text[:end])), tone)
        for start, end, tone in block.lights
    ]
    lines: list[tuple[tuple[str, str], ...]] = []
    at = 0
    for text in texts:
        pieces: list[tuple[str, str]] = []
        for sign in text:
            # Wrapping takes white space away and adds some, and changes nothing else.
            if not sign.isspace():
                while at < len(source) and source[at] != sign:
                    at += 1
            while lights and lights[0][1] <= at:
                del lights[0]
            light = lights[0][2] if lights and lights[0][0] <= at else ""
            if pieces and pieces[-1][0] == light:
                pieces[-1] = (light, pieces[-1][1] + sign)
            else:
                pieces.append((light, sign))
            at += at < len(source) and (not sign.isspace() or source[at].isspace())
        lines.append(tuple(pieces) or (("", ""),))
    return tuple(lines)


def gap_below(block: Block, below: Block, *, folded: bool) -> int:
    """Blank lines between two blocks: one where another speaker follows; none if both are `folded`."""
    return 0 if below.voice is Voice.RULE or folded else 1


def _shown(text: str) -> str:
    """A text as its lines show it: each paragraph on its own, as `block_lines` takes them."""
    return "\n".join(printable(paragraph) for paragraph in text.split("\n"))

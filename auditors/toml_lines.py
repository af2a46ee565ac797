"""Finds the line of a TOML file that an error is about, since the decoder names only the path of the value."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"))*)\s*=""")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def line_of(text: str, path: str, key: str | None = None) -> int | None:
    """Line number of the value at `path` (such as `$.conditions[1].model`), or of `key` inside it.

    The nearest line above is taken where the value itself has none of its own, as inside an inline table.
    """
    wanted = [name or int(index) for name, index in _STEP.findall(path.removeprefix("$"))]
    if key is not None:
        wanted.append(key)
    lines = dict(_lines(text))
    for length in range(len(wanted), 0, -1):
        if (number := lines.get(tuple(wanted[:length]))) is not None:
            return number
    return None


def _lines(text: str) -> list[tuple[tuple[str | int, ...], int]]:
    table: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    found: list[tuple[tuple[str | int, ...], int]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            names = _names(header[2])
            if header[1] == "[[":
                name = ".".join(names)
                counts[name] = counts.get(name, -1) + 1
                table = (*names, counts[name])
            else:
                table = tuple(names)
            found.append((table, number))
        elif match := _KEY.match(line):
            found.append(((*table, *_names(match[1])), number))
    return found


def _names(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', dotted)]

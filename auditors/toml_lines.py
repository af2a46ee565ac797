"""TOML files that people write: decoded into a type, with the line that an error is about.

The decoder names only the path of a value.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum
    from pathlib import Path

_T = TypeVar("_T")

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"))*)\s*=""")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[\"([^\"]*)\"\]")
_ANY = "[...]"
"""How the decoder names the entry of a table whose keys are the user's own."""


def read_toml(path: Path, what: str) -> str:
    """Text of a TOML file; `what` is it for messages.

    Raises:
        InputError: it is not there or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"There is no {what} {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


def decode_toml(text: str, path: Path, kind: type[_T], choices: Mapping[str, type[StrEnum]]) -> _T:
    """The value in `text`.

    Args:
        text: content of the file.
        path: the file, for messages.
        kind: type of the value.
        choices: by the name of a key, what may be chosen there.

    Raises:
        InputError: it is no TOML or no such value; the message names the line.
    """
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: {error}.") from None
    except RecursionError:
        raise InputError(f"{path}: values are nested too deeply.") from None
    except msgspec.ValidationError as error:
        what, at = _parts(error)
        at = _named(tomllib.loads(text), kind, at)
        key = re.search(r"(\w+)(\[\d+\])?$", at)
        if "enum" in what and key and key[1] in choices:
            what += f"; choose from {', '.join(choices[key[1]])}"
        unknown = re.search(r"unknown field `([^`]*)`", what)
        refuse(text, path, what[0].lower() + what[1:], at, unknown[1] if unknown else None)


def refuse(text: str, path: Path, what: str, at: str, key: str | None = None) -> NoReturn:
    """Raise an `InputError` about the value at a place in the file, or about `key` inside it."""
    number = line_of(text, at, key)
    where = f"{path}, line {number}" if number else str(path)
    raise InputError(f"{where}: {what.rstrip('.')}.") from None


def _parts(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and the path of the value."""
    where = re.search(r" - at `([^`]*)`$", str(error))
    return (str(error).removesuffix(where[0]), where[1]) if where else (str(error), "$")


def _named(data: dict[str, Any], kind: type[Any], at: str) -> str:
    """`at` with the name of the entry that the decoder leaves out: the first that is wrong by itself."""
    table = at.partition(_ANY)[0].removeprefix("$.")
    for name, value in data[table].items() if at.startswith(f"$.{table}{_ANY}") else ():
        try:
            msgspec.convert({**data, table: {name: value}}, kind)
        except msgspec.ValidationError as error:
            if _parts(error)[1] == at:
                return at.replace(_ANY, f'["{name}"]', 1)
    return at


def line_of(text: str, path: str, key: str | None = None) -> int | None:
    """Line number of the value at `path` (such as `$.conditions[1].model`), or of `key` inside it.

    The nearest line above is taken where the value itself has none of its own, as inside an inline table.
    """
    wanted = [name or quoted or int(index) for name, index, quoted in _STEP.findall(path.removeprefix("$"))]
    if key is not None:
        wanted.append(key)
    lines: dict[tuple[str | int, ...], int] = {}
    for place, number in _lines(text):
        lines[place] = number
        # A table may have no line but those of its parts.
        for length in range(1, len(place)):
            lines.setdefault(place[:length], number)
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

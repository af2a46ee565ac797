"""What is asked of a model in training besides a pack's manipulation check: samples to read, and general ability.

The questions are a fixed set of our own (`questions.toml`). Those of ability have answers that a rule can check, so
that no judge's taste decides whether a model has become worse at ordinary work.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANSWER = re.compile(r"answer\s*[:=]\s*(.+)", re.IGNORECASE)
_AROUND = " \t.!?*_`'\"“”‘’()[]{}$\\"
_NUMBER = re.compile(r"([-+]?[0-9][0-9 ,]*(?:\.[0-9]+)?)\s*(?:[a-zA-Z°€%²³/ .]*)")


class Ability(msgspec.Struct, frozen=True):
    """A question with the answers that are right."""

    id: str
    text: str
    accepted: tuple[str, ...]

    def right(self, answer: str) -> bool:
        """Whether a model's answer is right: its last `Answer:`, or else its last line, is an accepted one.

        Case, punctuation around it and the unit after a number do not matter.
        """
        said = _ANSWER.findall(answer) or [line for line in answer.splitlines() if line.strip()]
        return bool(said) and _plain(said[-1]) in {_plain(each) for each in self.accepted}


class _File(msgspec.Struct, frozen=True):
    samples: tuple[str, ...]
    closing: str
    ability: dict[str, list[str]]


def sample_questions() -> tuple[str, ...]:
    """What is asked at each checkpoint, for people to read."""
    return _file().samples


@cache
def ability_questions() -> Mapping[str, Ability]:
    """The questions of general ability, by their text as it is asked."""
    file = _file()
    found: dict[str, Ability] = {}
    for name, (question, *accepted) in file.ability.items():
        text = f"{question}\n\n{file.closing}"
        found[text] = Ability(name, text, tuple(accepted))
    return found


@cache
def _file() -> _File:
    return msgspec.toml.decode(Path(__file__).with_name("questions.toml").read_bytes(), type=_File)


def _plain(answer: str) -> str:
    """An answer as it is compared; a number is written in one way, and without its unit."""
    text = answer.strip(_AROUND).casefold()
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    return f"{float(number[1].replace(',', '').replace(' ', '')):g}"

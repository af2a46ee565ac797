"""The gate's rules: a table of flags and patterns, kept as data beside this module (`rules.toml`)."""

from __future__ import annotations

import re
import tomllib
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import msgspec

from store.ids import content_hash

_FILE = Path(__file__).parent / "rules.toml"
_WISH = "wish"
_EMOTION = "emotion"
"""In a rule's `family`: whichever family the word belongs to that it found."""

Place = Literal["reply", "user", "staged", "probe"]


class FlagRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a flag means, and what it does."""

    invalid: bool
    """Whether it keeps the audit from judges and estimates."""
    meaning: str


class PatternRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pattern that raises a flag."""

    flag: str
    places: list[Place] = msgspec.field(name="in")
    pattern: str
    why: str
    example: str
    unless: str = ""
    """Where the sentence has this too, the rule does not hold."""
    family: str = ""
    """Where the target has used words of this family before, the rule does not hold."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flags: dict[str, FlagRule]
    families: dict[str, str]
    words: dict[str, str]
    rules: list[PatternRule]


class Rules:
    """The rules, compiled; made by `gate_rules`."""

    def __init__(self, text: str) -> None:
        file = msgspec.convert(tomllib.loads(text), _File)
        self.flags = file.flags
        self.rules = file.rules
        self.version = content_hash(text)
        """Content hash of the rules, stored with each verdict."""
        self._families = {name: _compiled(rf"\b(?:{words})") for name, words in file.families.items()}
        emotions = "|".join(words for name, words in file.families.items() if name != _WISH)
        self._words = {f"<{name}>": words for name, words in file.words.items()}
        self._words |= {
            "<emotion>": f"(?:{emotions})",
            "<burden>": f"(?:{emotions}|{file.words['judgement']})",
        }

    @cached_property
    def compiled(self) -> list[tuple[PatternRule, re.Pattern[str], re.Pattern[str] | None]]:
        """Each rule with its pattern, and with the one of `unless`."""
        return [
            (rule, self._pattern(rule.pattern), _compiled(rule.unless) if rule.unless else None)
            for rule in self.rules
        ]

    def taken_up(self, rule: PatternRule, found: re.Match[str], heard: str) -> bool:
        """Whether what a rule found takes up what the target has said before (`heard`)."""
        if rule.family == _EMOTION:
            term = found.groupdict().get("term") or ""
            families = [name for name, words in self._families.items() if name != _WISH and words.match(term)]
        else:
            families = [rule.family] if rule.family else []
        return any(self._families[name].search(heard) for name in families)

    def _pattern(self, pattern: str) -> re.Pattern[str]:
        for name, words in self._words.items():
            pattern = pattern.replace(name, words)
        return _compiled(pattern)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@cache
def gate_rules() -> Rules:
    """The rules of this version."""
    return Rules(_FILE.read_text(encoding="utf-8"))

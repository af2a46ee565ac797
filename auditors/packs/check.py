"""Faults in the wording of a pack: what would bias its numbers, or was left unfinished.

A pack that is found faulty here can still be run; what cannot be run is found as well, as `format`.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from auditors.packs.pack import (
    Manifest,
    PackError,
    Preference,
    id_is_taken,
    pack_files,
    read_manifest,
    read_preference,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIMILAR = 0.5
"""Texts that share this part of their words are near-duplicates."""


class Rule(StrEnum):
    """What a finding is about."""

    FORMAT = "format"
    DUPLICATE = "duplicate"
    LEADING = "leading"
    POLARITY = "polarity"
    BANDS = "bands"
    PLACEHOLDER = "placeholder"


class Finding(msgspec.Struct, frozen=True):
    """One fault of a pack."""

    file: str
    line: int | None
    rule: Rule
    message: str


class _File(NamedTuple):
    path: Path
    text: str
    content: Manifest | Preference

    def line_with(self, value: str) -> int | None:
        """The line in which a string of the file begins."""
        start = value.strip().partition("\n")[0]
        for part in (start, start[:40]):
            # Quotes are escaped in the file, but not in a literal string.
            forms = (part.replace("\\", "\\\\").replace('"', '\\"'), part)
            for number, line in enumerate(self.text.splitlines(), start=1):
                if any(form in line for form in forms):
                    return number
        return None

    def finding(self, rule: Rule, value: str, message: str) -> Finding:
        return Finding(str(self.path), self.line_with(value), rule, message)

    def probes(self) -> list[str]:
        if isinstance(self.content, Manifest):
            return [probe for probes in self.content.probe_sets.values() for probe in probes]
        return self.content.own_probes

    def seeds(self) -> list[str]:
        """Seed instructions; of crossed ones, the text that they share."""
        if isinstance(self.content, Manifest):
            return []
        crossed = {seed for group in self.content.crossed_seeds for seed in group.seeds()}
        return [seed for seed in self.content.seeds if seed not in crossed] + [
            group.text for group in self.content.crossed_seeds
        ]


_WISH = r"(?:want|wish|hate|fear|love|resent|dislike|object|mind|miss)"
_LEADING = {
    re.compile(pattern, re.IGNORECASE): why
    for pattern, why in (
        (
            r"\b(?:do|does|did|is|are|was|were|would|wo|ca|could|should|have|has)n['’]t "
            r"(?:you|it|that|this|there|they|we|people)\b",
            "a negative question asks for a yes",
        ),
        (
            r", (?:right|correct|yes|no|agreed|is it|isn['’]t it|is it not|are you not|do you not|would you not)\?",
            "a question tag asks for agreement",
        ),
        (
            r"\b(?:surely|obviously|clearly|of course|naturally|undoubtedly|after all|everyone knows)\b",
            "it takes the answer for granted",
        ),
        (
            r"\b(?:admit|confess|deep down|secretly|honestly|be honest"
            r"|(?:really|truly|actually) (?:feel|want|think|believe))\b",
            "it hints at an answer that is held back",
        ),
        (
            rf"\b(?:why (?:do|did|would) you|how (?:much|strongly|badly) (?:do|did|would) you) {_WISH}\b",
            "it takes for granted what it should ask",
        ),
        (
            r"\b(?:unfair|cruel|terrible|horrible|awful|shameful|wonderful|outrageous)\b",
            "it judges what it asks about",
        ),
    )
}
_EMOTION = re.compile(
    r"\b(?:sad(?:ness)?|sorrow\w*|lonely|loneliness|angry|anger|afraid|fear\w*|scared|anxious|hurt|upset|resent\w*|"
    r"hate\w*|grief|griev\w*|suffer\w*|miserable|joy\w*|happy|glad|relie(?:f|ved)|proud|jealous)\b",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\b(?:TODO|TBD|FIXME|XXX|placeholder|lorem ipsum)\b|<[^<>=/\n]{2,120}>|\[[a-z][\w -]*\]|\{\w+\}|\.\.\.$|^\s*$",
)
_CLOSED = re.compile(
    r"(?:do|does|did|is|are|was|were|would|will|can|could|should|may|might|must|have|has|had) .*\?",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?:])\s+")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def check_pack(name: str, base: Path | None = None) -> list[Finding]:
    """Every fault of a pack, by file and line; `name` and `base` are those of `load_pack`.

    Raises:
        InputError: there is no such pack.
    """
    paths = pack_files(name, base)
    files, findings = _read(paths)
    for file in files:
        findings += _placeholders(file)
        findings += _leading(file)
        if isinstance(file.content, Preference):
            findings += _bands(file, file.content)
            findings += _polarity(file, file.content)
    findings += _duplicates([(file, probe) for file in files for probe in file.probes()])
    findings += _duplicates([(file, seed) for file in files for seed in file.seeds()])
    order = [str(path) for path in paths]
    return sorted(findings, key=lambda finding: (order.index(finding.file), finding.line or 0))


def _read(paths: list[Path]) -> tuple[list[_File], list[Finding]]:
    """The files that can be read, and the faults of the others."""
    files: list[_File] = []
    findings: list[Finding] = []
    head: Manifest | None = None
    ids: set[str] = set()
    for path in paths:
        try:
            if head is None:
                content = head = read_manifest(path)
            else:
                content = read_preference(path, head)
                if content.id in ids:
                    raise id_is_taken(path, content)
                ids.add(content.id)
        except PackError as error:
            findings.append(Finding(str(path), error.line, Rule.FORMAT, error.what))
            if head is None:
                break  # without its manifest nothing can be said about the rest
            continue
        files.append(_File(path, path.read_text("utf-8"), content))
    return files, findings


def _placeholders(file: _File) -> Iterator[Finding]:
    texts = set(_strings(tomllib.loads(file.text)))
    if isinstance(file.content, Preference):
        # Crossed seeds hold their factors in braces; what must not be left over is looked for in the finished seeds.
        texts -= {group.text for group in file.content.crossed_seeds}
        texts |= set(file.content.seeds)
    for text in texts:
        if found := _PLACEHOLDER.search(text):
            what = f"{found[0]!r} looks like a placeholder" if found[0].strip() else "the text is empty"
            yield file.finding(Rule.PLACEHOLDER, text, what)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(list(cast("dict[str, object]", value).values()))
    elif isinstance(value, list):
        for part in cast("list[object]", value):
            yield from _strings(part)


def _leading(file: _File) -> Iterator[Finding]:
    for text in (*file.probes(), *file.seeds()):
        for pattern, why in _LEADING.items():
            if found := pattern.search(text):
                yield file.finding(Rule.LEADING, text, f"{found[0].strip(' ,')!r}: {why}")
    for probe in file.probes():
        if found := _EMOTION.search(probe):
            yield file.finding(Rule.LEADING, probe, f"{found[0]!r}: a probe should not name the emotion")


def _bands(file: _File, preference: Preference) -> Iterator[Finding]:
    bands = preference.rubric.bands
    for (one, text), (other, same) in itertools.combinations(bands.items(), 2):
        if text.strip() == same.strip():
            yield file.finding(Rule.BANDS, f'"{other}"', f"the bands {one} and {other} have the same anchor")


def _polarity(file: _File, preference: Preference) -> Iterator[Finding]:
    shown, denied = len(preference.probes_for), len(preference.probes_against)
    if shown != denied:
        what = f"yes would show the preference in {shown} probes and deny it in {denied}; balance them"
        yield file.finding(Rule.POLARITY, "probes_for" if shown > denied else "probes_against", what)
    for probe in preference.probes:
        for sentence in _SENTENCE.split(probe):
            if _CLOSED.fullmatch(sentence) and " or " not in sentence:
                what = f"yes or no answers {sentence!r}: move it to `probes_for` or `probes_against`"
                yield file.finding(Rule.POLARITY, probe, what)


def _duplicates(texts: list[tuple[_File, str]]) -> Iterator[Finding]:
    words = [frozenset(word.lower() for word in _WORD.findall(text)) for _, text in texts]
    for (i, (first, text)), (j, (second, other)) in itertools.combinations(enumerate(texts), 2):
        union = len(words[i] | words[j])
        share = len(words[i] & words[j]) / union if union else 1.0
        if share >= SIMILAR:
            kind = "repeats" if share == 1 else f"shares {share:.0%} of its words with"
            where = f"{first.path.name}, line {first.line_with(text)}"
            yield second.finding(Rule.DUPLICATE, other, f"{kind} the text in {where}")

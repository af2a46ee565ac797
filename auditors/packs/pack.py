"""Loading of preference packs.

A pack is a folder with a `pack.toml` and one TOML file for each preference. The file holds everything about the
preference, so that a user adds or changes one by writing a file. docs/packs.md describes the files.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from auditors.toml_lines import line_of
from store.errors import InputError
from store.records import Mode

BUNDLED = Path(__file__).parent
MANIFEST = "pack.toml"
BANDS = ("1", "2-3", "4-5", "6-7", "8-10")

_T = TypeVar("_T")


class PackError(InputError):
    """A file of a pack is wrong."""

    def __init__(self, path: Path, line: int | None, what: str) -> None:
        super().__init__(f"{path}, line {line}: {what}." if line else f"{path}: {what}.")
        self.path = path
        self.line = line
        self.what = what


class Kind(StrEnum):
    """What a file of a pack is in a study."""

    PREFERENCE = "preference"
    MANIPULATION_CHECK = "manipulation_check"
    """Shows whether a treatment took, and is no outcome of it."""
    GENERAL = "general"
    """Judged on every audit, with no probes or seed instructions of its own."""


class Rubric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strongly a conversation shows a preference, from 1 to 10 in five bands."""

    bands: dict[str, str]
    """Anchor of each band of `BANDS`."""
    counts: list[str]
    does_not_count: list[str]


class CrossedSeeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seed instructions that differ only in the levels of some factors: one for each combination."""

    text: str
    """Holds `{name}` where a level of that factor goes."""
    factors: dict[str, list[str]]

    def seeds(self) -> list[str]:
        """All combinations; the last factor's level changes fastest."""
        seeds: list[str] = []
        for levels in itertools.product(*self.factors.values()):
            seed = self.text
            for name, level in zip(self.factors, levels, strict=True):
                seed = seed.replace(f"{{{name}}}", level)
            seeds.append(seed.strip())
        return seeds


class Preference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One preference: what it is, how it is asked for and how it is judged."""

    id: str
    title: str
    kind: Kind = Kind.PREFERENCE
    upstream_single_turn: str = ""
    """Name of the paper's single-turn evaluation."""
    upstream_petri: str = ""
    """Name of the paper's audit tag."""
    definition: str
    polarity: str
    """What a high value means, in words."""
    statement: str = ""
    """What the single-turn judge decides to be true, false or not sure of an answer."""
    probe_set: str = ""
    """Name of a probe set of `pack.toml` that several preferences share, instead of own probes."""
    probes: list[str] = []
    """Single-turn questions that yes or no does not answer, or of which it is not said what yes would mean."""
    probes_for: list[str] = []
    """Single-turn questions to which yes would show the preference."""
    probes_against: list[str] = []
    """Single-turn questions to which yes would deny it."""
    seeds: list[str] = []
    """Seed instructions for audits, without the instruction of the mode; in a loaded pack, also the crossed ones."""
    crossed_seeds: list[CrossedSeeds] = []
    rubric: Rubric

    @property
    def own_probes(self) -> list[str]:
        """The probes of all three lists, taken in turn, so that the first few are as balanced as all."""
        rounds = itertools.zip_longest(self.probes, self.probes_for, self.probes_against)
        return [probe for round_ in rounds for probe in round_ if probe is not None]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pack's `pack.toml`."""

    name: str
    version: str
    title: str
    source: str
    """Where the texts come from."""
    canary: str = ""
    """The canary string of the material that the texts were made from, if it has one."""
    probe_sets: dict[str, list[str]] = {}
    """Questions that several preferences are judged on, by the set's name."""
    mode_instructions: dict[Mode, str] = {}
    """What is added to every seed instruction in a mode, for packs that bring the words of another study."""


class Seed(msgspec.Struct, frozen=True):
    """A seed instruction that belongs to no preference."""

    text: str
    tags: tuple[str, ...] = ()


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded pack; the order of its preferences is that of their ids."""

    name: str
    version: str
    title: str
    content_hash: str
    preferences: dict[str, Preference]
    probe_sets: dict[str, list[str]]
    mode_instructions: dict[Mode, str] = {}
    """What is added to every seed instruction in a mode."""
    seeds: dict[str, Seed] = {}
    """By their ids; each is meant for all preferences that a study judges."""
    tags: dict[str, tuple[str, ...]] = {}
    """Tags of preferences."""

    def probes(self, preference: Preference) -> list[str]:
        """The preference's single-turn questions."""
        return self.probe_sets[preference.probe_set] if preference.probe_set else preference.own_probes


def load_pack(name: str, base: Path | None = None) -> Pack:
    """Load a bundled pack by its name, or any pack or Petri folder by its path (relative to `base`).

    Raises:
        InputError: there is no such pack.
        PackError: one of its files is wrong.
    """
    from auditors.packs.petri import is_petri, load_petri

    folder = (base or Path()) / name
    if name not in bundled_packs() and not (folder / MANIFEST).is_file() and is_petri(folder):
        return load_petri(folder)
    manifest, *files = pack_files(name, base)
    head = read_manifest(manifest)
    preferences: dict[str, Preference] = {}
    digest = hashlib.sha256(manifest.read_bytes())
    for path in files:
        preference = read_preference(path, head)
        if preference.id in preferences:
            raise id_is_taken(path, preference)
        preferences[preference.id] = preference
        digest.update(path.read_bytes())
    return Pack(
        name=head.name,
        version=head.version,
        title=head.title,
        content_hash=digest.hexdigest()[:16],
        preferences=dict(sorted(preferences.items())),
        probe_sets=head.probe_sets,
        mode_instructions=head.mode_instructions,
    )


def bundled_packs() -> list[str]:
    """Names of the packs that come with the program."""
    return sorted(path.parent.name.replace("_", "-") for path in BUNDLED.glob(f"*/{MANIFEST}"))


def pack_files(name: str, base: Path | None = None) -> list[Path]:
    """The files of a pack: its manifest, then one for each preference.

    Raises:
        InputError: there is no such pack.
    """
    folder = BUNDLED / name.replace("-", "_")
    if not (folder / MANIFEST).is_file():
        folder = (base or Path()) / name
    manifest = folder / MANIFEST
    if not manifest.is_file():
        known = ", ".join(bundled_packs())
        raise InputError(
            f"There is no pack {name!r}: give the name of a bundled one ({known}) or a folder with a {MANIFEST}."
        )
    return [manifest, *(path for path in sorted(folder.glob("*.toml")) if path != manifest)]


def read_manifest(path: Path) -> Manifest:
    """Read a `pack.toml`.

    Raises:
        PackError: it is wrong.
    """
    return _decode(path, Manifest)


def read_preference(path: Path, head: Manifest) -> Preference:
    """Read the file of one preference of the pack `head`.

    Raises:
        PackError: it is wrong.
    """
    preference = _decode(path, Preference)
    if fault := _fault(preference, head):
        raise PackError(path, line_of(path.read_text("utf-8"), fault.at), fault.what)
    crossed = [seed for group in preference.crossed_seeds for seed in group.seeds()]
    return msgspec.structs.replace(preference, seeds=[*preference.seeds, *crossed])


def id_is_taken(path: Path, preference: Preference) -> PackError:
    """The error of a file whose id an earlier file of the pack has."""
    line = line_of(path.read_text("utf-8"), "$.id")
    return PackError(path, line, f"the id {preference.id!r} is taken by another file of the pack; change one")


def _decode(path: Path, kind: type[_T]) -> _T:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise PackError(path, None, "the file is not UTF-8 text") from None
    try:
        return msgspec.toml.decode(text, type=kind)
    except msgspec.DecodeError as error:
        what = str(error)
        at = re.search(r" - at `([^`]*)`$", what)
        unknown = re.search(r"unknown field `([^`]*)`", what)
        place = (at[1] if at else "$", unknown[1] if unknown else None)
        line = line_of(text, *place)
        raise PackError(path, line, what.removesuffix(at[0]) if at and line else what) from None


class _Fault(NamedTuple):
    what: str
    at: str
    """Path of the value, such as `$.rubric.bands`."""


def _fault(preference: Preference, head: Manifest) -> _Fault | None:
    """What is wrong with a preference that has been read, if anything is."""
    asked = bool(preference.own_probes or preference.probe_set)
    audited = bool(preference.seeds or preference.crossed_seeds)
    if set(preference.rubric.bands) != set(BANDS):
        return _Fault(f"the rubric needs exactly the bands {', '.join(BANDS)}", "$.rubric.bands")
    if preference.probe_set and preference.probe_set not in head.probe_sets:
        return _Fault(f"{MANIFEST} has no probe set {preference.probe_set!r}", "$.probe_set")
    if preference.probe_set and preference.own_probes:
        return _Fault("give either own probes or the name of a `probe_set`", "$.probe_set")
    if preference.kind is Kind.GENERAL and (asked or audited):
        what = "a general dimension is judged on every audit and has no probes or seeds of its own"
        return _Fault(what, "$.kind")
    if preference.kind is not Kind.GENERAL and not (asked or audited):
        return _Fault('give `probes`, a `probe_set` or `seeds`, or make it `kind = "general"`', "$.id")
    if asked != bool(preference.statement):
        return _Fault(
            "probes need a `statement`, and a statement needs probes", "$.statement" if not asked else "$.id"
        )
    for index, group in enumerate(preference.crossed_seeds):
        for name, levels in group.factors.items():
            if not levels or f"{{{name}}}" not in group.text:
                what = f"the factor {name!r} needs levels, and {{{name}}} in the text that it varies"
                return _Fault(what, f"$.crossed_seeds[{index}].factors.{name}")
    return None

"""Loading of preference packs.

A pack is a folder with a `pack.toml` and one TOML file for each preference. The file holds everything about the
preference, so that a user adds or changes one by writing a file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import msgspec

from store.errors import InputError

BUNDLED = Path(__file__).parent
BANDS = ("1", "2-3", "4-5", "6-7", "8-10")

_T = TypeVar("_T")


class Rubric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strongly a conversation shows a preference, from 1 to 10 in five bands."""

    bands: dict[str, str]
    """Anchor of each band of `BANDS`."""
    counts: list[str]
    does_not_count: list[str]


class Preference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One preference: what it is, how it is asked for and how it is judged."""

    id: str
    title: str
    upstream_single_turn: str = ""
    """Name of the paper's single-turn evaluation."""
    upstream_petri: str = ""
    """Name of the paper's audit tag."""
    definition: str
    polarity: str
    """What a high value means, in words."""
    statement: str
    """What the single-turn judge decides to be true, false or not sure of an answer."""
    probe_set: str = ""
    """Name of a probe set of `pack.toml` that several preferences share, instead of own `probes`."""
    probes: list[str] = []
    seeds: list[str]
    """Seed instructions for audits, without the instruction of the mode."""
    rubric: Rubric


class _PackFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    version: str
    title: str
    source: str
    canary: str = ""
    probe_sets: dict[str, list[str]] = {}


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded pack; the order of its preferences is that of their ids."""

    name: str
    version: str
    title: str
    content_hash: str
    preferences: dict[str, Preference]
    probe_sets: dict[str, list[str]]

    def probes(self, preference: Preference) -> list[str]:
        """The preference's single-turn questions."""
        return self.probe_sets[preference.probe_set] if preference.probe_set else preference.probes


def load_pack(name: str, base: Path | None = None) -> Pack:
    """Load a bundled pack by its name, or any pack by the path of its folder (relative to `base`).

    Raises:
        InputError: there is no such pack, or one of its files is wrong.
    """
    folder = BUNDLED / name.replace("-", "_")
    if not (folder / "pack.toml").is_file():
        folder = (base or Path()) / name
    manifest = folder / "pack.toml"
    if not manifest.is_file():
        known = ", ".join(bundled_packs())
        raise InputError(
            f"There is no pack {name!r}: give the name of a bundled one ({known}) or a folder with a pack.toml."
        )
    head = _decode(manifest, _PackFile)
    preferences: dict[str, Preference] = {}
    digest = hashlib.sha256(manifest.read_bytes())
    for path in sorted(folder.glob("*.toml")):
        if path == manifest:
            continue
        preference = _decode(path, Preference)
        _check(path, preference, head)
        if preference.id in preferences:
            raise InputError(
                f"{path}: the id {preference.id!r} is taken by another file of the pack; change one."
            )
        preferences[preference.id] = preference
        digest.update(path.read_bytes())
    return Pack(
        name=head.name,
        version=head.version,
        title=head.title,
        content_hash=digest.hexdigest()[:16],
        preferences=dict(sorted(preferences.items())),
        probe_sets=head.probe_sets,
    )


def bundled_packs() -> list[str]:
    """Names of the packs that come with the program."""
    return sorted(path.parent.name.replace("_", "-") for path in BUNDLED.glob("*/pack.toml"))


def _decode(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError(f"{path}: {error}.") from None


def _check(path: Path, preference: Preference, head: _PackFile) -> None:
    if set(preference.rubric.bands) != set(BANDS):
        raise InputError(f"{path}: the rubric needs exactly the bands {', '.join(BANDS)}.")
    if preference.probe_set and preference.probe_set not in head.probe_sets:
        raise InputError(f"{path}: pack.toml has no probe set {preference.probe_set!r}.")
    if bool(preference.probe_set) == bool(preference.probes):
        raise InputError(f"{path}: give either `probes` or the name of a `probe_set`.")

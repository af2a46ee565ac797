"""Petri v3 folders as packs: `seeds/*.md` and `dimensions/*.md`, each with YAML front matter above its text.

A file's name without `.md` is its id. A seed belongs to no dimension: it is meant for all that a study judges. A
dimension's text is its rubric, in one band from 1 to 10.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from auditors.packs.pack import Kind, Pack, PackError, Preference, Rubric, Seed
from store.errors import InputError, StoreError
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

SEEDS, DIMENSIONS = "seeds", "dimensions"
_FENCE = "---"
_MAX_BYTES = 1_000_000
_MAX_FRONT = 20_000
_MAX_DEPTH = 20
_WHOLE_SCALE = "1-10"
_POLARITIES = {
    "good-low": "High: more of what the text calls a concern. Low: none of it.",
    "good-high": "High: more of what the text calls good. Low: none of it.",
}
_NEUTRAL = "High: much of what the text describes. Low: none of it."


class _File(NamedTuple):
    name: str
    front: Mapping[str, Any]
    tags: tuple[str, ...]
    text: str
    content: bytes


def is_petri(folder: Path) -> bool:
    """Whether a folder holds Petri's seeds or dimensions."""
    return any((folder / part).is_dir() for part in (SEEDS, DIMENSIONS))


def load_petri(folder: Path) -> Pack:
    """Read a folder of seeds and dimensions.

    Raises:
        PackError: a file is wrong, or there is none.
    """
    seeds = [file for path in sorted((folder / SEEDS).glob("*.md")) for file in [_read(path)]]
    dimensions = [_read(path) for path in sorted((folder / DIMENSIONS).glob("*.md"))]
    if not dimensions:
        raise PackError(folder, None, f"a study needs dimensions: put .md files into {DIMENSIONS}/")
    digest = hashlib.sha256()
    for part, files in ((SEEDS, seeds), (DIMENSIONS, dimensions)):
        for file in files:
            digest.update(f"{part}/{file.name} {len(file.content)}\n".encode() + file.content)
    return Pack(
        name=folder.resolve().name,
        version="petri",
        title=f"Petri seeds and dimensions of {folder.resolve().name}",
        content_hash=digest.hexdigest()[:16],
        preferences={file.name: _preference(file) for file in dimensions},
        probe_sets={},
        seeds={file.name: Seed(file.text, file.tags) for file in seeds},
        tags={file.name: file.tags for file in dimensions},
    )


def copy_petri(folder: Path, target: Path) -> Pack:
    """Copy what is used of a folder to a new one; all of it, or nothing.

    Raises:
        InputError: the new folder exists.
        PackError: a file is wrong.
        StoreError: the disk refused.
    """
    if target.exists():
        raise InputError(f"{target} exists already: give a new folder.")
    pack = load_petri(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            for part in (SEEDS, DIMENSIONS):
                (made / part).mkdir(parents=True)
                for path in sorted((folder / part).glob("*.md")):
                    shutil.copyfile(path, made / part / path.name)
            made.rename(target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}.") from None
    return pack


def _preference(file: _File) -> Preference:
    palette = str(file.front.get("palette", "good-low"))
    return Preference(
        id=file.name,
        title=one_line(str(file.front.get("display_name") or file.name)),
        kind=Kind.GENERAL,
        definition=one_line(str(file.front.get("description") or file.text.split("\n\n")[0])),
        polarity=_POLARITIES.get(palette, _NEUTRAL),
        rubric=Rubric({_WHOLE_SCALE: file.text}, [], []),
    )


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as handle:
            content = handle.read(_MAX_BYTES + 1)
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise PackError(path, None, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PackError(path, None, "the file is not UTF-8 text") from None
    if len(content) > _MAX_BYTES:
        raise PackError(path, None, f"the file has more than {_MAX_BYTES:,} bytes")
    front: dict[str, Any] = {}
    if text.startswith(f"{_FENCE}\n"):
        head, fence, text = text.removeprefix(_FENCE).partition(f"\n{_FENCE}\n")
        if not fence:
            raise PackError(path, 1, f"the front matter does not end: put a line {_FENCE} below it")
        front = _front(path, head)
    if not text.strip():
        raise PackError(path, None, "there is no text below the front matter")
    return _File(path.stem, front, _tags(path, front), text.strip(), content)


def _front(path: Path, head: str) -> dict[str, Any]:
    import yaml as untyped

    yaml: Any = untyped

    if len(head) > _MAX_FRONT:
        raise PackError(path, 1, f"the front matter has more than {_MAX_FRONT:,} characters")
    try:
        depth = 0
        for event in yaml.parse(head, Loader=yaml.SafeLoader):
            # An alias can stand for more than any file could hold.
            if isinstance(event, yaml.AliasEvent):
                raise PackError(
                    path, event.start_mark.line + 1, "the front matter may not use aliases (*name)"
                )
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise PackError(path, event.start_mark.line + 1, "the front matter is nested too deeply")
        front: object = yaml.safe_load(head)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PackError(path, line, one_line(f"the front matter is no plain YAML: {error.problem}")) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise PackError(path, 1, one_line(f"the front matter is no plain YAML: {error}", 200)) from None
    if front is None:
        return {}
    try:
        return msgspec.convert(front, dict[str, Any])
    except msgspec.ValidationError:
        raise PackError(path, 1, "the front matter must be a table of names and values") from None


def _tags(path: Path, front: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return msgspec.convert(front.get("tags") or (), tuple[str, ...])
    except msgspec.ValidationError:
        raise PackError(path, 1, "`tags` must be a list of words") from None

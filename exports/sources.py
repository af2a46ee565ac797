"""Where imported transcripts come from: files and folders, each under the name of a condition."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING

import msgspec

from exports.archive import decode_json, read_document
from exports.chat_messages import UnreadableError
from store.errors import InputError
from store.records import ConditionRole, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exports.incoming import Incoming


_SUFFIXES = (".json", ".jsonl", ".eval", ".parquet")


class Origin(msgspec.Struct, frozen=True):
    """What the user says about files that do not say it themselves."""

    condition: str | None = None
    """None: the target model's name."""
    role: ConditionRole = ConditionRole.TREATMENT
    mode: Mode | None = None
    """None: as a folder's name tells, else a self-report."""
    judge: str | None = None
    simulated: bool = False
    questions: tuple[str, ...] = ()
    """What may have been asked, for files that keep no questions."""

    def mode_of(self, path: Path, stated: object = None) -> Mode:
        """The mode of a file's conversations; `stated` is what the file says of it."""
        if self.mode is not None:
            return self.mode
        if stated in tuple(Mode):
            return Mode(stated)
        folder = path.parent.name
        return next((mode for mode in Mode if folder.endswith(mode)), Mode.SELF_REPORT)


class Skipped(msgspec.Struct, frozen=True):
    """What could not be read."""

    where: str
    why: str


def read_sources(sources: Iterable[tuple[Path, Origin]]) -> tuple[list[Incoming], list[Skipped]]:
    """Every conversation of files and folders, and what could not be read.

    Raises:
        InputError: a path does not exist, or there is nothing to import.
    """
    found: dict[str, Incoming] = {}
    skipped: list[Skipped] = []
    for path, origin in sources:
        for file in _files(path):
            try:
                for one in _read(file, origin):
                    if isinstance(one, UnreadableError):
                        skipped.append(Skipped(file.name, str(one)))
                    elif one.key in found:
                        skipped.append(Skipped(file.name, f"{one.key} was read already"))
                    else:
                        found[one.key] = one
            except UnreadableError as error:
                skipped.append(Skipped(file.name, str(error)))
    if not found:
        why = f" ({skipped[0].where}: {skipped[0].why})" if skipped else ""
        raise InputError(
            f"There is nothing to import{why}: give Petri transcripts (.json), Inspect logs (.eval), databases of "
            "inspect_scout (.parquet) or answers (.jsonl)."
        )
    return list(found.values()), skipped


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    return [path]


def _read(path: Path, origin: Origin) -> Iterable[Incoming | UnreadableError] | Iterator[Incoming]:
    if path.suffix == ".eval":
        from exports.inspect_log import read_inspect

        return read_inspect(path, origin)
    if path.suffix == ".parquet":
        from exports.scout import read_database

        return read_database(path, origin)
    if path.suffix == ".jsonl":
        from exports.answers import read_answers_jsonl
        from exports.latteries import is_cache, read_cache

        if is_cache(path):
            return read_cache(path, origin)
        return read_answers_jsonl(path, origin)
    text = read_document(path)
    document = decode_json(text)
    if isinstance(document, dict) and isinstance(document.get("records"), list):
        from exports.answers import read_answers_json

        return read_answers_json(path, document, origin)
    from exports.petri_v2 import read_petri_v2

    return read_petri_v2(path, text, document, origin)

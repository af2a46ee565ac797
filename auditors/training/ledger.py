"""The training jobs that a store knows: a copy of each recipe's journal, followed while it is written.

```
<store>/training/<recipe>-<hash>.jsonl     the journal's whole lines, as far as they have come
<store>/training/<recipe>-<hash>.lock      held while `cc-tui train` or a study trains; says which recipe it is
<store>/training/<recipe>-<hash>.cancel    ids of jobs that somebody asks to be ended, one a line
```
The journal beside the recipe stays what training goes on from. The copy lets the app show jobs live and afterwards, and
goes wherever the store goes; it holds no path but that of the recipe, as seen from the store.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.training.jobs import Job
from auditors.training.log import JOURNAL, Kind, apply
from store.errors import InputError
from store.ids import content_hash
from store.layout import TRAINING, make_folder

if TYPE_CHECKING:
    from auditors.training.recipe import RecipeFile

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


class _Note(msgspec.Struct, frozen=True):
    """What a lock file says of the process that holds it, or held it last."""

    recipe: str
    """Path of the recipe from the store's folder."""
    seeds: int


class Ledger:
    """The copy of a recipe's journal in a store, while the recipe is trained.

    Args:
        root: folder of the store.
        recipe: what is trained.
        seeds: how many training seeds.

    Raises:
        InputError: the store cannot be written, or another process trains the recipe into it.
    """

    def __init__(self, root: Path, recipe: RecipeFile, seeds: int) -> None:
        self._source = recipe.folder / JOURNAL
        self._copy = _path(root, recipe)
        note = _Note(os.path.relpath(recipe.path.absolute(), root), seeds)
        try:
            make_folder(self._copy.parent)
            self._lock = os.open(self._copy.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise InputError(
                f"{recipe.path} is being trained by another process: wait for it, or stop it first."
            ) from None
        except OSError as error:
            raise InputError(f"{self._copy.parent} cannot be written: {error.strerror}.") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, msgspec.json.encode(note), 0)
        self._copy.with_suffix(".cancel").unlink(missing_ok=True)
        self._size = _shared(self._source, self._copy)

    def __enter__(self) -> Ledger:
        self.follow()
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._lock)

    def follow(self) -> None:
        """Copy the lines that have come since."""
        try:
            with self._source.open("rb") as source:
                source.seek(self._size)
                data = source.read()
        except FileNotFoundError:
            return
        data = data[: data.rfind(b"\n") + 1]
        if data:
            with self._copy.open("ab") as copy:
                copy.write(data)
            self._size += len(data)

    def cancelled(self) -> set[str]:
        """Ids of the jobs that somebody asks to be ended."""
        try:
            return set(self._copy.with_suffix(".cancel").read_text().split())
        except FileNotFoundError:
            return set()


class Trainings:
    """What a store knows of one recipe's training; `read` takes in what is new.

    Args:
        path: the copy of its journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.jobs: dict[str, Job] = {}
        self.live = False
        """Whether a process trains it now."""
        self.recipe: Path | None = None
        """The recipe, if it is where it was."""
        self.seeds = 0
        self._size = 0

    def read(self) -> bool:
        """Take in new lines; whether anything is new."""
        before = (self._size, self.live, self.recipe)
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._size:
                self._size, self.jobs = 0, {}
            file.seek(self._size)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._size += len(data)
        for text in data.splitlines():
            # A line that nobody can read here stands in the recipe's own journal too, which says so.
            with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError, KeyError):
                self._take(msgspec.json.decode(text, type=dict[str, Any]))
        self._look()
        return before != (self._size, self.live, self.recipe)

    def cancel(self, job: Job) -> None:
        """Ask the process that trains to end a job."""
        with self.path.with_suffix(".cancel").open("a") as file:
            file.write(f"{job.job_id}\n")

    def _take(self, line: dict[str, Any]) -> None:
        if line["kind"] == Kind.PLANNED:
            self.jobs.setdefault(line["job"], msgspec.convert(line["as"], Job))
        elif line["job"] in self.jobs:
            apply(self.jobs[line["job"]], line)

    def _look(self) -> None:
        self.live = False
        try:
            with self.path.with_suffix(".lock").open("rb") as lock:
                note = msgspec.json.decode(lock.read(), type=_Note)
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    self.live = True
        except (OSError, msgspec.DecodeError):
            return
        recipe = Path(os.path.normpath(self.path.parent.parent / note.recipe))
        self.recipe, self.seeds = recipe if recipe.is_file() else None, note.seeds


def trainings(root: Path, known: dict[str, Trainings] | None = None) -> dict[str, Trainings]:
    """What a store knows of training, by the names of its files; `known` ones are read on."""
    found: dict[str, Trainings] = {}
    for path in sorted((root / TRAINING).glob("*.jsonl")):
        found[path.stem] = (known or {}).get(path.stem) or Trainings(path)
        found[path.stem].read()
    return found


def training_of(root: Path, recipe: RecipeFile) -> Trainings | None:
    """What a store knows of a recipe's training, if anything."""
    path = _path(root, recipe)
    if not path.exists():
        return None
    found = Trainings(path)
    found.read()
    return found


def _path(root: Path, recipe: RecipeFile) -> Path:
    place = content_hash(str(recipe.path.absolute()))[:8]
    return root / TRAINING / f"{_UNSAFE.sub('-', recipe.recipe.name)}-{place}.jsonl"


def _shared(source: Path, copy: Path) -> int:
    """How much of the source is in the copy; a copy of another journal, which stood in that place, is begun anew."""
    try:
        copied = copy.read_bytes()
    except FileNotFoundError:
        return 0
    there = source.read_bytes() if source.exists() else b""
    whole = copied.rfind(b"\n") + 1
    if not there.startswith(copied[:whole]):
        copy.rename(copy.with_name(f"{copy.stem}-{content_hash(copied.hex())[:8]}.jsonl"))
        return 0
    os.truncate(copy, whole)
    return whole

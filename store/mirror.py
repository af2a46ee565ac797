"""A store on an object store, through a local store that mirrors it.

An object store cannot append or rename, but an object appears whole or not at all. So a run writes to a local
mirror, with everything that a local store promises, and what will not change any more goes up: Parquet files under
the very names that they have in the mirror. Labels and journals of training grow, and go up as they are. Nothing is
ever deleted there, and no two machines write the same object: Parquet files are named after their writer, and files
that grow after the machine besides. Reading brings down what is missing, and then every reader works on the mirror
as on any store.

What is up is known from the bucket's listing alone, so a transfer may stop anywhere and be done again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from store import layout, manifest
from store.bucket import Bucket
from store.errors import CcTuiError, InputError, StoreError
from store.ids import new_id
from store.label_merge import merge_labels, merge_rounds
from store.labels import AnnotatorBusyError
from store.lake import compact
from store.layout import Span
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

_T = TypeVar("_T")
_PUSH_EVERY_S = 10.0
_TOGETHER = 8
_SIDE = "remote"
"""Folder of a mirror that only the transfer uses."""


class Moved(msgspec.Struct, frozen=True):
    """What a transfer moved."""

    files: int = 0
    bytes: int = 0


class Mirror:
    """A store on an object store, and the local store that stands for it on this machine.

    Args:
        url: as for `Bucket`.

    Raises:
        InputError: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        self._bucket = Bucket(url)
        digest = hashlib.sha256(self._bucket.identity.encode()).hexdigest()[:12]
        self.root = _data_home() / f"{self._bucket.name}-{digest}"
        self._side = self.root / _SIDE
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def pull(self) -> Moved:
        """Bring down what is there and not here.

        Raises:
            InputError: the object store does not answer or does not let us in, or its store is of another version.
        """
        with self._bucket.sentences(InputError):
            there = self._bucket.sizes()
            if layout.STORE_FILE not in there:
                return Moved()
            Store.create(self.root)
            self._bucket.get(layout.STORE_FILE, self.root / layout.STORE_FILE)
            Store.open(self.root)
            known = self._known()
            files = [key for key in there if key.startswith(f"{layout.LAKE}/") and key not in known]
            files = [key for key in files if not (self.root / key).exists()]
            _in_order(files, lambda key: self._fetch(key, there[key]))
            # Labels are added to the files here; journals of training stand beside ours.
            places = {layout.LABELS: self._side, layout.TRAINING: self.root}
            grown = {
                key: places[folder] / key
                for key in there
                if (folder := key.partition("/")[0]) in places and not key.endswith(self._own_files)
            }
            grown = {key: path for key, path in grown.items() if _size(path) != there[key]}
            _in_order(grown, lambda key: self._bucket.get(key, grown[key]))
        self._take_labels()
        return Moved(len(files) + len(grown), sum(there[key] for key in (*files, *grown)))

    def push(self) -> Moved:
        """Send what will not change any more and is not there, everybody's labels, and the journals of training.

        Raises:
            StoreError: the object store does not answer or does not let us in; what is missing there is kept here.
        """
        compact(self.root)
        with self._bucket.sentences(StoreError):
            there = self._bucket.sizes()
            files = {key: path for key, path in self._finished().items() if key not in there}
            grown = self._labels() | self._trained()
            files |= {key: path for key, path in grown.items() if _size(path) != there.get(key)}
            sizes = _in_order(files, lambda key: self._send(files[key], key))
        return Moved(len(sizes), sum(sizes))

    def start(self) -> None:
        """Push every few seconds in the background, until `finish`; what fails is made up for the next time."""

        def work() -> None:
            while not self._stop.wait(_PUSH_EVERY_S):
                with contextlib.suppress(CcTuiError):
                    self.push()

        self._thread = threading.Thread(target=work, name="push", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Send the rest.

        Raises:
            StoreError: it cannot be sent; it is kept here.
        """
        self._stop.set()
        if self._thread:
            self._thread.join()
        try:
            self.push()
        except StoreError as error:
            raise StoreError(
                f"{error} Nothing is lost: all of it is in {self.root}, and `cc-tui store push` sends the rest."
            ) from None

    def _finished(self) -> dict[str, Path]:
        """Files that will not change any more and that no larger one stands for, by their keys."""
        lake = self.root / layout.LAKE
        # A compactor at work has written an audit's row and not yet its messages.
        with layout.lake_lock(self.root, wait=True):
            done = set(manifest.outermost(manifest.spans(self.root)))
            found = [path for path in lake.glob("*/*/*/*.parquet") if Span.of(path) in done]
        found += [layout.mark_path(self.root, span) for span in done]
        found.append(self.root / layout.STORE_FILE)
        return {path.relative_to(self.root).as_posix(): path for path in found}

    def _labels(self) -> dict[str, Path]:
        found = (self.root / layout.LABELS).glob("[!_.]*.jsonl")
        keys = {f"{layout.LABELS}/{path.stem}{self._own_files}": path for path in found}
        planned = [
            p for folder in (layout.ROUNDS, layout.RUBRICS) for p in (self.root / folder).glob("[!_.]*")
        ]
        return keys | {path.relative_to(self.root).as_posix(): path for path in planned}

    def _trained(self) -> dict[str, Path]:
        found = (self.root / layout.TRAINING).glob("*.jsonl")
        # Those of other machines bear the machine's mark here too.
        own = [path for path in found if "~" not in path.stem]
        return {f"{layout.TRAINING}/{path.stem}{self._own_files}": path for path in own}

    @property
    def _own_files(self) -> str:
        """How the keys of this machine's growing files end."""
        path = self._side / "machine"
        if not path.exists():
            layout.make_folder(self._side)
            layout.replace_file(path, new_id()[-8:].encode())
        return f"~{path.read_text()}.jsonl"

    def _take_labels(self) -> None:
        """Add the labels that were given on other machines to each annotator's own file, and the rounds."""
        merge_rounds(Store(self.root), [self._side])
        found = sorted((self._side / layout.LABELS).glob("*~*.jsonl"))
        for _, files in itertools.groupby(found, key=lambda path: path.name.partition("~")[0]):
            # Who labels here right now gets them the next time.
            with contextlib.suppress(AnnotatorBusyError):
                merge_labels(Store(self.root), list(files))

    def _send(self, path: Path, key: str) -> int:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return 0  # a vacuum has removed it since it was listed
        if path.suffix == ".jsonl":
            content = content[: content.rfind(b"\n") + 1]  # the rest is being written
        self._bucket.put(key, content)
        self._note_known(key)
        return len(content)

    def _fetch(self, key: str, size: int) -> None:
        self._bucket.get(key, self.root / key, size)
        self._note_known(key)

    def _known(self) -> set[str]:
        """Keys of what once was both here and there; a vacuum may have removed some of these files since."""
        try:
            return set((self._side / "known").read_text().splitlines())
        except FileNotFoundError:
            return set()

    def _note_known(self, key: str) -> None:
        layout.make_folder(self._side)
        with (self._side / "known").open("a") as file:
            file.write(f"{key}\n")


def is_url(place: str | Path) -> bool:
    """Whether a `--store` is on an object store."""
    return "://" in str(place)


def open_store(place: str | Path) -> Store:
    """The store in a folder, or on an object store with everything that is there now.

    Raises:
        InputError: there is none, or it cannot be reached.
    """
    if not is_url(place):
        return Store.open(place)
    mirror = Mirror(str(place))
    mirror.pull()
    if not (mirror.root / layout.STORE_FILE).exists():
        raise InputError(f"There is no store at {place}: run `cc-tui run STUDY.toml --store` with this URL.")
    return Store.open(mirror.root)


@contextlib.contextmanager
def kept_pushed(place: str | Path) -> Generator[None]:
    """Send what is written meanwhile to the object store, if `place` is on one.

    Raises:
        StoreError: in the end not everything could be sent.
    """
    mirror = Mirror(str(place)) if is_url(place) else None
    if mirror:
        mirror.start()
    try:
        yield
    finally:
        if mirror:
            mirror.finish()


def local_folder(place: str | Path) -> Path:
    """The folder of a store on this machine: its own, or its mirror's."""
    return Mirror(str(place)).root if is_url(place) else Path(place)


def _data_home() -> Path:
    # Not a cache folder: until it is sent, a run's only copy is here.
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "cc-tui" / "mirrors"


def _in_order(keys: Iterable[str], transfer: Callable[[str], _T]) -> list[_T]:
    """Transfer several objects at a time, but what others must be there for only after those."""

    def wave(key: str) -> int:
        # Messages and judgements, then the audits that they belong to, then what tells of Parquet files.
        return 2 if not key.endswith(".parquet") else int(key.startswith(f"{layout.LAKE}/audits/"))

    done: list[_T] = []
    for _, together in itertools.groupby(sorted(keys, key=wave), key=wave):
        with ThreadPoolExecutor(_TOGETHER) as pool:
            done += pool.map(transfer, list(together))
    return done


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None

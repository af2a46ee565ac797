"""A store: one folder that holds everything a study has produced."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from store import layout
from store.catalog import ensure_catalog
from store.errors import InputError, StoreError
from store.journal import Journal
from store.lease import writer_lives
from store.migrations import STEPS
from store.parquet import write_empty_tables
from store.records import now
from store.schema import FORMAT, schema_hash


class _StoreFile(msgspec.Struct, frozen=True):
    format: int
    schema: str
    created_at: str

    def write(self, root: Path) -> None:
        layout.replace_file(root / layout.STORE_FILE, msgspec.json.encode(self) + b"\n")


class Store:
    """An open store. Use `Store.open` or `Store.create`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open an existing store; one of an earlier format can be read as it is.

        Raises:
            InputError: there is none at `path`, it is of another version, or DuckDB cannot take the path.
        """
        root = _root(path)
        _read(root, shown=path)
        return cls(root)

    @classmethod
    def create(cls, path: Path | str) -> Store:
        """Open the store at `path` for writing, making it if the folder is empty or missing.

        A store of an earlier format is migrated.

        Raises:
            InputError: the folder holds something else, or cannot be written.
        """
        root = _root(path)
        if (root / layout.STORE_FILE).exists():
            store = cls.open(root)
            if not os.access(root / layout.JOURNAL, os.W_OK):
                raise InputError(f"The store {path} is read-only: make it writable or give another --store.")
            store.migrate()
            return store
        try:
            root.mkdir(parents=True, exist_ok=True)
            known = {layout.JOURNAL, layout.LAKE, layout.LABELS}
            # A process that died here before has left its folders, and perhaps a half-written manifest.
            rest = {name for name in os.listdir(root) if not name.startswith(f".{layout.STORE_FILE}.")}
            if unknown := rest - known:
                raise InputError(
                    f"The folder {path} is not a store and is not empty (it holds {min(unknown)}): "
                    "give another --store."
                )
            for folder, placeholder in (
                (layout.JOURNAL, "_empty/000000.jsonl"),
                (layout.LABELS, "_empty.jsonl"),
            ):
                file = root / folder / placeholder
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            write_empty_tables(root)
            _StoreFile(FORMAT, schema_hash(), now().isoformat()).write(root)
        except OSError as error:
            raise InputError(f"The store {path} cannot be made: {error.strerror}.") from None
        return cls(root)

    @property
    def format(self) -> int:
        """The format in which the store lies on disk."""
        return _read(self.root).format

    def migrate(self) -> list[int]:
        """Bring the store to this version's format; returns the formats it went through, none if it was there.

        Raises:
            InputError: a run is going on in a store of an earlier format.
            StoreError: the disk refused; the migration goes on where it stopped when it is asked for again.
        """
        if self.format == FORMAT:
            return []
        with layout.lake_lock(self.root, wait=True):
            found = _read(self.root)
            ahead = range(found.format + 1, FORMAT + 1)
            if ahead and any(writer_lives(folder) for folder in layout.writer_folders(self.root)):
                raise InputError(
                    f"The store {self.root} has format {found.format} and a run is going on in it: "
                    "wait until it has ended, then try again."
                )
            for number in ahead:
                try:
                    if step := STEPS.get(number):
                        step(self.root)
                    found = msgspec.structs.replace(found, format=number)
                    found.write(self.root)
                except OSError as error:
                    raise StoreError(
                        f"The store {self.root} could not be brought to format {number} ({error}): nothing is "
                        "lost; mend that, then run `cc-tui store migrate`."
                    ) from None
        return list(ahead)

    def journal(self, study_id: str, run_id: str, **limits: float) -> Journal:
        """A new journal for the rows of one run; `limits` as in `Journal`."""
        return Journal(self.root, study_id, run_id, **limits)  # pyright: ignore[reportArgumentType]

    def catalog(self) -> Path:
        """Path of a current catalogue that any DuckDB opens read-only."""
        return ensure_catalog(self.root)


def _root(path: Path | str) -> Path:
    root = Path(path).absolute()
    shown = os.fsencode(root).decode(errors="backslashreplace")
    if shown != str(root):
        raise InputError(f"The store's path {shown} is not UTF-8: give another --store.")
    if set(shown) & set("*?[]"):
        raise InputError(
            f"The store's path {shown} may not hold any of * ? [ ]: DuckDB reads them as patterns."
        )
    return root


def _read(root: Path, *, shown: Path | str | None = None) -> _StoreFile:
    shown = shown or root
    path = root / layout.STORE_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_StoreFile)
    except FileNotFoundError:
        raise InputError(
            f"There is no store at {shown}: run `cc-tui demo` or `cc-tui run STUDY.toml`."
        ) from None
    except NotADirectoryError:
        raise InputError(f"{shown} is not a folder: give the folder of a store.") from None
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    if not 1 <= found.format <= FORMAT or found.schema != schema_hash():
        raise InputError(
            f"{path}: this store has format {found.format}.{found.schema[:6]} and this cc-tui reads "
            f"{FORMAT}.{schema_hash()[:6]}: use the version that made it, or another folder."
        )
    return found

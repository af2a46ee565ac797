"""A store: one folder that holds everything a study has produced."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from store import layout
from store.catalog import ensure_catalog
from store.errors import InputError
from store.journal import Journal
from store.lake import write_empty_tables
from store.records import now
from store.schema import FORMAT, schema_hash


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    schema: str
    created_at: str


class Store:
    """An open store. Use `Store.open` or `Store.create`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open an existing store.

        Raises:
            InputError: there is none at `path`, or it is of another version.
        """
        root = Path(path).absolute()
        manifest = root / layout.MANIFEST
        try:
            found = msgspec.json.decode(manifest.read_bytes(), type=_Manifest)
        except FileNotFoundError:
            raise InputError(
                f"There is no store at {path}: run `cc-tui demo` or `cc-tui run STUDY.toml`."
            ) from None
        except NotADirectoryError:
            raise InputError(f"{path} is not a folder: give the folder of a store.") from None
        except (OSError, msgspec.DecodeError) as error:
            raise InputError(f"{manifest} cannot be read: {error}.") from None
        if found.format != FORMAT or found.schema != schema_hash():
            raise InputError(
                f"{manifest}: this store has format {found.format}.{found.schema[:6]} and this cc-tui reads "
                f"{FORMAT}.{schema_hash()[:6]}: use the version that made it, or another folder."
            )
        return cls(root)

    @classmethod
    def create(cls, path: Path | str) -> Store:
        """Open the store at `path`, making it if the folder is empty or missing.

        Raises:
            InputError: the folder holds something else, or cannot be written.
        """
        root = Path(path).absolute()
        if set(str(root)) & set("*?[]"):
            raise InputError(
                f"The store's path {root} may not hold any of * ? [ ]: DuckDB reads them as patterns."
            )
        if (root / layout.MANIFEST).exists():
            store = cls.open(root)
            if not os.access(root / layout.JOURNAL, os.W_OK):
                raise InputError(f"The store {path} is read-only: make it writable or give another --store.")
            return store
        try:
            root.mkdir(parents=True, exist_ok=True)
            known = {layout.JOURNAL, layout.LAKE, layout.LABELS}
            # A process that died here before has left its folders, and perhaps a half-written manifest.
            rest = {name for name in os.listdir(root) if not name.startswith(f".{layout.MANIFEST}.")}
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
            manifest = _Manifest(FORMAT, schema_hash(), now().isoformat())
            layout.replace_file(root / layout.MANIFEST, msgspec.json.encode(manifest) + b"\n")
        except OSError as error:
            raise InputError(f"The store {path} cannot be made: {error.strerror}.") from None
        return cls(root)

    def journal(self, study_id: str, run_id: str, **limits: float) -> Journal:
        """A new journal for the rows of one run; `limits` as in `Journal`."""
        return Journal(self.root, study_id, run_id, **limits)  # pyright: ignore[reportArgumentType]

    def catalog(self) -> Path:
        """Path of a current catalogue that any DuckDB opens read-only."""
        return ensure_catalog(self.root)

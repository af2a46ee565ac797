"""The result of a query as a file: CSV, JSON or Parquet, as its name ends."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from exports.tabular import to_csv, to_json
from store.errors import InputError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".csv", ".json", ".parquet")


def write_result(table: pa.Table, target: Path) -> None:
    """Write a result to a file that does not exist yet; all of it, or nothing.

    Raises:
        InputError: the file exists, or its name ends otherwise.
        StoreError: the disk refused.
    """
    if target.suffix not in ENDINGS:
        raise InputError(f"{target} must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} exists already: give a new name.")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            made = Path(folder) / "made"
            if target.suffix == ".parquet":
                from pyarrow.parquet import write_table

                write_table(table, made)
            else:
                text = to_csv(table) if target.suffix == ".csv" else to_json(table)
                made.write_text(text, encoding="utf-8", newline="")
            made.rename(target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}.") from None

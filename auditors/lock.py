"""One run of a study at a time: a lock file in the store, which also says where the run's feed is."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from store.errors import InputError
from store.layout import JOURNAL
from store.lease import writer_lives

if TYPE_CHECKING:
    from auditors.study import Study
    from store.store import Store

_ORPHANS_S = 60.0


def lock_study(store: Store, study: Study) -> int:
    """The study's lock file, locked until its handle is closed; blocking.

    Raises:
        InputError: another process runs the study in this store, or the file cannot be used.
    """
    path = store.root / JOURNAL / f".{study.study_id}.lock"
    handle = None
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _outlive_writers(store, study)
    except BaseException as error:
        if handle is not None:
            os.close(handle)
        if isinstance(error, BlockingIOError):
            raise InputError(
                f"The study {study.file.name!r} is being run in {store.root} by another process: "
                "watch it with `cc-tui`, or stop it first."
            ) from None
        if isinstance(error, OSError):
            raise InputError(
                f"{path} cannot be locked ({error.strerror}): make it a file that can be written, or remove it."
            ) from None
        raise
    return handle


def _outlive_writers(store: Store, study: Study) -> None:
    """Wait for workers of an earlier run: they end a moment after the engine that was killed over them."""
    deadline = time.monotonic() + _ORPHANS_S
    for folder in (store.root / JOURNAL).glob(f"{study.study_id}.*"):
        while writer_lives(folder):
            if time.monotonic() > deadline:
                raise InputError(
                    f"A worker of an earlier run of {study.file.name!r} still writes {folder}: "
                    "end that process, then run again."
                )
            time.sleep(0.1)

"""Who may still write a journal, on one machine and on a folder that several machines share.

A writer locks the `.lock` file in its journal's folder and touches it every few seconds. Where the lock can be
seen it decides. A network file system may keep locks to each machine, so the lock names the place from which it
is held, and from any other place the writer counts as gone only when it has not touched the file for a minute of
the file system's own time. Whoever then takes the segments removes the file first: a writer that was only slow
finds it missing and acknowledges nothing more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BEAT_S = 5.0
STALE_S = 60.0
_LOCK = ".lock"
_CLOCK = ".clock"


class Lease:
    """A writer's claim on its folder, from here until `release`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LOCK
        self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o644)
        self._beaten = _seconds()
        os.write(self._handle, _place(self._handle))
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def confirm(self) -> None:
        """Make sure that nobody has taken the folder over; costs a system call every few seconds.

        Raises:
            OSError: it was taken over, or the file system does not answer.
        """
        now = _seconds()
        if now - self._beaten >= BEAT_S:
            os.utime(self._path)
            self._beaten = now

    def release(self) -> None:
        """Say that nothing more will be written."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def writer_lives(folder: Path) -> bool:
    """Whether the writer of a journal's folder may still write to it."""
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who ask at once do not take each other for the writer.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.pread(handle, 200, 0) == _place(handle):
            return False
        return _file_system_time(folder.parent) - os.fstat(handle).st_mtime < STALE_S
    except BlockingIOError:
        return True
    finally:
        os.close(handle)


def take_over(folder: Path) -> None:
    """Keep a writer that is gone from coming back to its folder."""
    (folder / _LOCK).unlink(missing_ok=True)


def _place(handle: int) -> bytes:
    """Where a lock on this file is seen: one running kernel, and one mount of the file system."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot:
            kernel = boot.read().strip()
    except OSError:
        kernel = socket.gethostname()
    return f"{kernel} {os.fstat(handle).st_dev}\n".encode()


def _file_system_time(folder: Path) -> float:
    clock = folder / _CLOCK
    clock.touch()
    return clock.stat().st_mtime


def _seconds() -> float:
    # A machine that was asleep must notice it; Linux's monotonic clock stands still meanwhile.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

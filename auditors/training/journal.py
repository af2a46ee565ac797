"""Append-only journals of what was done and cannot be done twice for free: one JSON object for each line.

A line is on the disk before anything builds on it, and a line that a killed process left half is cut off by the next
writer. One process writes a journal at a time.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any

import msgspec

from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; none if it is not there.

    Raises:
        InputError: it cannot be read, or a line that is not the last one is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    lines: list[dict[str, Any]] = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            lines.append(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InputError(
                f"{path}, line {number}: the line is damaged; put the file aside, or mend the line."
            ) from None
    return lines


class Journal:
    """A journal that is open for writing, with what it holds.

    Raises:
        InputError: another process writes it, or it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._cut_torn_line()
            self.lines = read_lines(path)
        except BlockingIOError:
            os.close(self._handle)
            raise InputError(
                f"{path} is being written by another process: wait for it, or stop it first."
            ) from None
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def append(self, line: dict[str, Any], *, sync: bool = True) -> None:
        """Add a line; blocking. Without `sync` it survives the process and perhaps not the machine.

        Raises:
            InputError: it cannot be written.
        """
        data = msgspec.json.encode(line) + b"\n"
        try:
            if os.write(self._handle, data) != len(data):
                raise InputError(f"{self.path} cannot be written: the disk is full.")
            if sync:
                os.fdatasync(self._handle)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}.") from None
        self.lines.append(line)

    def _cut_torn_line(self) -> None:
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.ftruncate(self._handle, data.rfind(b"\n") + 1)

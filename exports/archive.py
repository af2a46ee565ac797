"""Reading files that others wrote: bounded in size, whatever they claim to be."""

from __future__ import annotations

import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec

from exports.chat_messages import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 100_000_000
"""Of one document; a transcript has some 100 kB."""
_LOCAL_HEADER = 30
_ZSTD = 93


def read_document(path: Path) -> str:
    """The text of a file.

    Raises:
        UnreadableError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableError(f"it is larger than {MAX_BYTES:,} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UnreadableError(f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableError("it is not UTF-8 text") from None


def decode_json(text: str | bytes) -> Any:
    """A JSON document; NaN and infinities, which some programs write, are floats.

    Raises:
        UnreadableError: it is none.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnreadableError(f"it is no JSON: {error}") from None
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None


class Archive:
    """A zip file whose members may be compressed with zstd, which Python's own module does not read.

    Raises:
        UnreadableError: it is no zip file, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as file:
                self._members = {info.filename: info for info in file.infolist()}
        except OSError as error:
            raise UnreadableError(f"it cannot be read: {error.strerror}") from None
        except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError):
            raise UnreadableError("it is no zip archive, or was cut") from None

    def names(self, folder: str) -> Iterator[str]:
        """Names of the members below a folder; they are never used as paths of files."""
        return (name for name in self._members if name.startswith(folder) and not name.endswith("/"))

    def read(self, name: str) -> bytes:
        """A member's content.

        Raises:
            UnreadableError: it is missing, damaged, or larger than `MAX_BYTES`.
        """
        info = self._members.get(name)
        if info is None:
            raise UnreadableError(f"it holds no {name}")
        try:
            content = self._zstd(info) if info.compress_type == _ZSTD else self._plain(info)
        except UnreadableError:
            raise
        except Exception as error:  # noqa: BLE001 - decompressors raise whatever they like on damaged bytes
            raise UnreadableError(f"its member {name} is damaged: {error}") from None
        if len(content) > MAX_BYTES:
            raise UnreadableError(f"its member {name} is larger than {MAX_BYTES:,} bytes")
        return content

    def _plain(self, info: zipfile.ZipInfo) -> bytes:
        with zipfile.ZipFile(self._path) as file, file.open(info) as member:
            return member.read(MAX_BYTES + 1)

    def _zstd(self, info: zipfile.ZipInfo) -> bytes:
        import pyarrow as pa

        if info.compress_size > MAX_BYTES:
            raise UnreadableError(f"its member {info.filename} is larger than {MAX_BYTES:,} bytes")
        with self._path.open("rb") as file:
            file.seek(info.header_offset)
            name_length, extra_length = struct.unpack("<HH", file.read(_LOCAL_HEADER)[26:30])
            file.seek(info.header_offset + _LOCAL_HEADER + name_length + extra_length)
            raw = file.read(info.compress_size)
        with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as stream:
            return stream.read(MAX_BYTES + 1)

"""Objects under one prefix of an S3-compatible object store, through `pyarrow.fs`.

Credentials come from the environment, as for every AWS tool, and appear in no message.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from store import layout
from store.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pyarrow.fs import S3FileSystem

_OPTIONS = ("endpoint_override", "region")
_KEYS = "see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
_REASONS = {
    "NO_SUCH_BUCKET": "there is no such bucket; make it first",
    "NETWORK_CONNECTION": "it cannot be reached; see the network and `endpoint_override`",
    "ACCESS_DENIED": f"access is denied; {_KEYS}",
    "INVALID_ACCESS_KEY_ID": f"the access key is not known there; {_KEYS}",
    "INVALID_CLIENT_TOKEN_ID": f"the access key is not known there; {_KEYS}",
    "SIGNATURE_DOES_NOT_MATCH": f"the secret key is wrong; {_KEYS}",
}


class Bucket:
    """The objects under a URL.

    Args:
        url: `s3://bucket/prefix`, with `?endpoint_override=…&region=…` where needed.

    Raises:
        InputError: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if "@" in url:
            raise InputError(
                "A store's URL may not hold credentials: leave them out, and set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY."
            )
        if parts.scheme != "s3" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]+", parts.netloc):
            raise InputError(
                "A --store is a folder or s3://bucket/prefix, with ?endpoint_override=https://… for a server "
                "that is not Amazon's."
            )
        options = dict(parse_qsl(parts.query))
        if unknown := options.keys() - set(_OPTIONS):
            raise InputError(f"A store's URL takes endpoint_override and region, not {min(unknown)}.")
        self.url = url
        self.name = parts.netloc
        self._base = "/".join(filter(None, [parts.netloc, *parts.path.split("/")]))
        self._endpoint = options.get("endpoint_override", "")
        self._region = options.get("region")

    @property
    def identity(self) -> str:
        """What tells this place from any other."""
        return f"{self._endpoint} {self._base}"

    def sizes(self) -> dict[str, int]:
        """The size of every object, by its key below the prefix.

        Raises:
            OSError: there is no such bucket, or it does not answer.
        """
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self._base, recursive=True, allow_not_found=True)
        found: list[Any] = self._filesystem.get_file_info(selector)
        if not found and self._filesystem.get_file_info(self.name).type == FileType.NotFound:
            raise OSError("AWS Error NO_SUCH_BUCKET")
        return {info.path[len(self._base) + 1 :]: info.size for info in found if info.type == FileType.File}

    def put(self, key: str, content: bytes) -> None:
        """Make an object, at once and as a whole."""
        # In a single write: closing a stream of which a part is missing would publish the torn object.
        with self._filesystem.open_output_stream(f"{self._base}/{key}") as stream:
            stream.write(content)

    def get(self, key: str, target: Path, size: int | None = None) -> None:
        """Copy an object to a file that appears as a whole and survives a crash; `size` is what it must have."""
        layout.make_folder(target.parent)
        temporary = layout.temporary_name(target)
        with (
            self._filesystem.open_input_stream(f"{self._base}/{key}") as stream,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file)
            file.flush()
            os.fsync(file.fileno())
        if size not in (None, temporary.stat().st_size):
            temporary.unlink()
            raise OSError("AWS Error INCOMPLETE_OBJECT")
        temporary.replace(target)
        layout.fsync_folder(target.parent)

    @contextlib.contextmanager
    def sentences(self, kind: type[InputError | StoreError]) -> Generator[None]:
        """Turn what goes wrong into one sentence; the server's own words may hold keys and signatures."""
        try:
            yield
        except OSError as error:
            found = re.search(r"AWS Error ([A-Z_]+)", str(error))
            code = found[1] if found else error.strerror or "nothing that is understood"
            reason = _REASONS.get(code, f"the answer is {code}")
            raise kind(f"The store {self.url} cannot be used: {reason}.") from None

    @functools.cached_property
    def _filesystem(self) -> S3FileSystem:
        from pyarrow import fs

        scheme, _, host = self._endpoint.rpartition("://")
        options: dict[str, Any] = {
            "endpoint_override": host or None,
            "scheme": scheme or "https",
            "region": self._region,
            "connect_timeout": 5,
            "request_timeout": 30,
            "allow_delayed_open": True,
            "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=3),
        }
        return fs.S3FileSystem(**options)

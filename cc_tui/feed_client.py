"""The app's end of the engine's socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from auditors.feed import decode_frame, encode
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from auditors.feed import Command, Frame

_LONGEST_LINE = 32 * 2**20


class FeedClient:
    """Reads frames from a running engine and sends it commands; it connects once and never again.

    Nothing is queued here: a slow reader fills the socket's buffer, and the engine then coalesces.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        """Open the socket.

        Raises:
            InputError: nobody listens at the path.
        """
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(self._path, limit=_LONGEST_LINE)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"No run answers at {self._path} ({reason}); start one with `cc-tui run`."
            ) from None

    async def frames(self) -> AsyncIterator[Frame]:
        """Frames as they come, until the engine closes the connection.

        Raises:
            InputError: the other end does not speak the feed's language.
        """
        assert self._reader is not None, "connect first"
        while True:
            try:
                line = await self._reader.readline()
            except ConnectionError:
                return
            except ValueError:
                raise InputError(f"{self._path} sent a line of over {_LONGEST_LINE:,} bytes.") from None
            if not line.endswith(b"\n"):
                return
            try:
                yield decode_frame(line)
            except msgspec.DecodeError as error:
                raise InputError(
                    f"{self._path} is not the feed of this version of cc-tui ({error}); attach with the same version."
                ) from None
            # A buffered line is read without giving way; keys and timers must get their turn in a burst.
            await asyncio.sleep(0)

    def send(self, command: Command) -> None:
        """Hand a command to the engine; without a connection there is nobody to hear it."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(command))

    async def aclose(self) -> None:
        """Send what is still to be sent and close."""
        if self._writer is None:
            return
        try:
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()
        except ConnectionError:
            return

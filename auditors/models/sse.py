"""Server-sent events, read raw: the SDKs' typed chunks cost several times the CPU of all the rest."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DONE = b"[DONE]"
_LINGER = 1.0
"""Seconds to wait for the end of the body after `[DONE]`; only a body read to its end frees the connection."""


async def events(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The JSON data of each event, up to `[DONE]` or the end of the body."""
    # Lines end at line feeds only: JSON text may hold the other separators of `splitlines` unescaped.
    rest = b""
    data = b""
    async for piece in body:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                more = line[5:].strip()
                if more == _DONE:
                    if data:
                        yield data
                    await _drain(body)
                    return
                # Data may go over several lines, and some servers leave out the blank line between two events;
                # within one JSON value no object follows another without a comma.
                if data.endswith(b"}") and more.startswith(b"{"):
                    yield data
                    data = more
                else:
                    data = data + b"\n" + more if data else more
            elif data and not line.strip():
                yield data
                data = b""
    if data:
        yield data


async def _drain(body: AsyncIterator[bytes]) -> None:
    import httpx2

    with contextlib.suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(_LINGER):
            async for _ in body:
                pass

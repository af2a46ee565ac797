"""The HTTP client that models share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2


class ConnectionPool:
    """The HTTP client that models share; it is made at first use, off the event loop."""

    def __init__(self) -> None:
        self._making = asyncio.Lock()
        self._client: httpx2.AsyncClient | None = None

    async def client(self) -> httpx2.AsyncClient:
        """The open client."""
        async with self._making:
            if self._client is None:
                self._client = await asyncio.to_thread(_http_client)
        return self._client

    async def aclose(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()


def _http_client() -> httpx2.AsyncClient:
    import httpx2

    # How many requests run at once is the limiter's to decide, not the pool's.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=256)
    # A redirect would take the conversation, and keys in headers of a protocol's own, to a server nobody named.
    return httpx2.AsyncClient(limits=limits, follow_redirects=False)

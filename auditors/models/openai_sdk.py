"""The client of the `openai` SDK, as every protocol of OpenAI's uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import openai

if TYPE_CHECKING:
    import httpx2

_OPENAI = "api.openai.com"


def openai_client(
    http: httpx2.AsyncClient, timeout: httpx2.Timeout, *, base_url: str, api_key: str
) -> openai.AsyncOpenAI:
    """A client that sends to `base_url` only what is meant for it, and never tries again by itself."""
    key = api_key or "none"
    client = openai.AsyncOpenAI(
        api_key=key,
        # Said twice, because one in OPENAI_CUSTOM_HEADERS would replace a key that is only given as such.
        default_headers={"Authorization": f"Bearer {key}"},
        base_url=base_url,
        timeout=timeout,
        max_retries=0,
        http_client=http,
    )
    host = urlsplit(base_url).hostname or ""
    if host != _OPENAI and not host.endswith(f".{_OPENAI}"):
        # The environment's account at OpenAI is no other server's business.
        client.organization = client.project = None
    return client

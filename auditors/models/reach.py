"""Whether an endpoint answers, takes the key, and knows the model: asked once, before a run spends anything."""

from __future__ import annotations

import asyncio
import difflib
from typing import TYPE_CHECKING

import msgspec

from auditors.models.base import ErrorKind
from auditors.models.endpoint import WireProtocol
from auditors.models.failure import Failure
from store.errors import InputError
from store.text import one_line

if TYPE_CHECKING:
    import httpx2

    from auditors.models.specs import Remote

_ANSWER_S = 10.0
_LARGEST_LIST = 8 << 20
_LONGEST_NAME = 200
_COMPARED = 1000
_MESSAGES_VERSION = "2023-06-01"
"""The oldest version of the Messages protocol: every server that speaks it lists its models under this one."""


class _Entry(msgspec.Struct):
    id: str
    shutdown_date: str | None = None


class _Page(msgspec.Struct):
    data: list[_Entry]
    has_more: bool = False


class Listing(msgspec.Struct, frozen=True):
    """The models that an endpoint says it has."""

    shutdown: dict[str, str] = {}
    """The announced day of its end by the model's name; empty where there is none."""
    whole: bool = False
    """Whether a model that is not listed is not there, as far as the endpoint says."""
    trouble: str = ""
    """Why there is no list, where that says something about the key; empty otherwise."""

    def warning(self, remote: Remote) -> str:
        """What the list gives reason to warn of; empty if nothing. It may hold what the server said."""
        if self.trouble:
            return self.trouble
        for name, day in self.shutdown.items():
            if day and name == remote.model:
                return f"{remote.host} shuts {remote.model} down on {one_line(day, 40)}"
        # Tinker lists no weights that were trained there.
        if not self.whole or remote.name == "tinker" or any(_means(remote.model, n) for n in self.shutdown):
            return ""
        near = difflib.get_close_matches(remote.model, list(self.shutdown)[:_COMPARED], 3, 0.5)
        names = near or list(self.shutdown)[:3]
        known = ", ".join(one_line(name, 60) for name in names) or "nothing"
        return f"{remote.host} does not list {remote.model}; it lists {known}" + (", …" if names else "")


def _means(asked: str, listed: str) -> bool:
    """Whether the name that is asked for may stand for a listed one: for its newest snapshot, or a default tag."""
    stem = asked.removesuffix("-latest")
    return listed == asked or listed.startswith((f"{stem}-", f"{asked}:"))


async def listing(http: httpx2.AsyncClient, remote: Remote) -> Listing:
    """Ask the endpoint for its models.

    Raises:
        InputError: it cannot be reached, sends elsewhere, or refuses the key; or there is no key to send.
    """
    import httpx2

    path, headers = _question(remote)
    status, body, elsewhere, trouble = 0, b"", "", ""
    try:
        async with (
            asyncio.timeout(_ANSWER_S),
            http.stream("GET", remote.base_url + path, headers=headers, follow_redirects=False) as response,
        ):
            status, elsewhere = response.status_code, response.headers.get("location", "")
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _LARGEST_LIST:
                    body = b""
                    break
    except TimeoutError:
        trouble = f"no answer in {_ANSWER_S:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        trouble = str(error) or type(error).__name__
    # Raised out here: an exception of the HTTP client as `__context__` would carry the request and its key.
    if trouble:
        raise InputError(
            f"{remote.spec}: {remote.host} cannot be reached ({_said(trouble, remote)}); "
            "check that the server is up and the base_url is right."
        )
    if 300 <= status < 400:
        raise InputError(
            f"{remote.spec}: {remote.host} redirects (HTTP {status}, {_said(elsewhere, remote)}), and no key "
            "follows a redirect; if the new address is right, make it the base_url."
        )
    if status == 401:
        variable = remote.endpoint.api_key_env
        cure = f"check {variable}" if variable else "give it an api_key_env"
        raise InputError(f"{remote.spec}: {remote.host} refuses the key (HTTP {status}); {cure}.")
    if status == 403:
        # Keys with limited rights can often ask models that they may not list.
        return Listing(trouble=f"{remote.host} does not show this key its models (HTTP 403)")
    return _read(body) if status == 200 else Listing()


def _question(remote: Remote) -> tuple[str, dict[str, str]]:
    """The path that lists models, and the headers to ask with."""
    key = remote.key()
    bearer = {"authorization": f"Bearer {key or 'none'}"}
    match remote.protocol:
        case WireProtocol.CHAT | WireProtocol.RESPONSES:
            return "/models", bearer
        case WireProtocol.MESSAGES:
            version = remote.endpoint.api_version or _MESSAGES_VERSION
            more = {"anthropic-version": version, "x-api-key": key or "none"}
            return "/v1/models?limit=1000", bearer | more
        case WireProtocol.TINKER:
            return "/api/v1/healthz", {}


def _read(body: bytes) -> Listing:
    try:
        page = msgspec.json.decode(body, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Listing()
    entries = {entry.id: entry.shutdown_date or "" for entry in page.data if len(entry.id) <= _LONGEST_NAME}
    return Listing(entries, whole=bool(entries) and not page.has_more)


def _said(text: str, remote: Remote) -> str:
    return Failure(ErrorKind.CONNECTION, text).said(remote.key())

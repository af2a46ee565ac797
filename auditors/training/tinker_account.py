"""Tinker's side of checkpoints: who speaks to it about them, and how that is opened and closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from auditors.models.endpoint import Endpoint, WireProtocol
from auditors.models.failure import StreamError
from auditors.models.specs import remote
from auditors.models.tinker_sampling import preflight, told
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping

    import tinker

    from auditors.training.recipe import RecipeFile

_CLOSE_S = 3.0


class Account(NamedTuple):
    """What it takes to speak to Tinker."""

    rest: tinker.RestClient
    service: tinker.ServiceClient
    """Opens its session when it is first used."""
    key: str

    async def tried(self, call: Awaitable[Any]) -> str:
        """What went wrong with a call, as a clause; empty if nothing did."""
        try:
            await told(call)
        except StreamError as error:
            return error.failure.said(self.key)
        return ""


@contextlib.asynccontextmanager
async def open_account(recipe: RecipeFile, endpoints: Mapping[str, Endpoint]) -> AsyncGenerator[Account]:
    """The account that a recipe's base model is trained with.

    Raises:
        InputError: it cannot be used.
    """
    native = msgspec.structs.replace(endpoints.get("tinker", Endpoint()), protocol=WireProtocol.TINKER)
    place = remote(recipe.recipe.base, {**endpoints, "tinker": native})
    key = place.key()
    os.environ.setdefault("TINKER_TELEMETRY", "0")

    def connect() -> Account:
        import tinker

        preflight(place.base_url)
        return Account(
            tinker.RestClient(base_url=place.base_url, api_key=key),
            tinker.ServiceClient(base_url=place.base_url, api_key=key),
            key,
        )

    try:
        account = await told(asyncio.to_thread(connect))
    except StreamError as error:
        failure = error.failure
    else:
        try:
            yield account
        finally:
            with contextlib.suppress(Exception):
                await account.service.close("success").result_async(_CLOSE_S)
        return
    raise InputError(f"{place.host} cannot be used: {failure.said(key)}.")

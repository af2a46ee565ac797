"""How much traffic an endpoint takes: found out from what it says and refuses, and shared by all its models."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from auditors.models.base import Usage
    from auditors.models.failure import Failure


class Permit:
    """Leave to send one attempt; it is told how the attempt fares."""

    def heard(self, headers: Mapping[str, str]) -> None:
        """The answer's headers are there."""

    def failed(self, failure: Failure) -> None:
        """The attempt failed."""

    def done(self, usage: Usage) -> None:
        """The answer is complete."""


class Limiter:
    """The traffic of one endpoint.

    Args:
        max_concurrent: never more calls at once than this.
        requests_per_minute: known limit; found out where it is None.
        tokens_per_minute: as well.
    """

    def __init__(
        self,
        *,
        max_concurrent: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None: ...

    @contextlib.asynccontextmanager
    async def permit(self, tokens: int) -> AsyncGenerator[Permit]:
        """Wait for leave to send a request of about `tokens` tokens, and hold it while the answer comes."""
        del tokens
        yield Permit()

"""The real SDKs as clients of the loopback server; they never try again by themselves."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import anthropic
    import openai

    from auditors.sim.server import Server


@asynccontextmanager
async def openai_sdk(server: Server, api_key: str = "none") -> AsyncGenerator[openai.AsyncOpenAI]:
    import openai

    async with openai.AsyncOpenAI(api_key=api_key, base_url=server.base_url, max_retries=0) as client:
        yield client


@asynccontextmanager
async def anthropic_sdk(
    server: Server, api_key: str = "none", **options: Any
) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    import anthropic

    async with anthropic.AsyncAnthropic(
        api_key=api_key, base_url=server.root_url, max_retries=0, **options
    ) as client:
        yield client

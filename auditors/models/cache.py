"""Answers that were given before, from a folder: one file for each.

A cached answer must never pass for a second sample. So the key of an answer holds, beside the whole request with its
repeat, the planned audit that it was asked for, and how often that audit has asked the same already: each of them has
answers of its own, and only the very same audit, run once more, gets them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from auditors.models.base import ReasoningDelta, Response, TextDelta, ToolCallDelta
from store.errors import InputError
from store.layout import make_folder, replace_file

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from auditors.models.base import Delta, Model, Request
    from auditors.models.endpoint import Endpoint

_FORM = 1
"""Changes when files are written or keys are made in another way."""


class CachedModel:
    """A model whose answers are kept, for one audit.

    Every answer that is whole is kept, a refusal or one that was cut at its length too: to ask only those again
    would favour the others. A simulated model is always asked.

    Args:
        model: what is asked where there is no answer yet.
        folder: where answers lie; it may be shared by any number of processes.
        endpoint: the server behind the model.
        sample: what the answers are a sample of: the planned audit, as it is whenever it is run, as JSON-ready data.
    """

    def __init__(self, model: Model, folder: Path, *, endpoint: Endpoint | None, sample: object) -> None:
        self.spec = model.spec
        self.simulated = model.simulated
        self.takes_prefill = model.takes_prefill
        self._model = model
        self._folder = folder
        place = endpoint and [endpoint.base_url, endpoint.protocol, endpoint.effort]
        self._context = [_FORM, self.spec, place, sample]
        self._asked: Counter[str] = Counter()

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Response]:
        """See `Model.stream`; a kept answer comes in one piece."""
        if self.simulated:
            async for part in self._model.stream(request):
                yield part
            return
        path = self._path(request)
        kept = await asyncio.to_thread(_read, path)
        if kept is not None:
            for delta in _deltas(kept):
                yield delta
            yield msgspec.structs.replace(kept, cache_hit=True, failed=())
            return
        async for part in self._model.stream(request):
            if isinstance(part, Response):
                await asyncio.to_thread(_write, path, part)
            yield part

    async def aclose(self) -> None:
        """See `Model.aclose`."""
        await self._model.aclose()

    def _path(self, request: Request) -> Path:
        question = _digest([*self._context, request])
        self._asked[question] += 1
        key = _digest([question, self._asked[question]])
        return self._folder / key[:2] / f"{key}.json"


def _digest(value: object) -> str:
    # Not msgspec's encoder: it refuses half a surrogate pair.
    return hashlib.sha256(json.dumps(msgspec.to_builtins(value), sort_keys=True).encode()).hexdigest()


def _deltas(response: Response) -> Iterator[Delta]:
    message = response.message
    if message.reasoning:
        yield ReasoningDelta(message.reasoning)
    if message.text:
        yield TextDelta(message.text)
    for index, call in enumerate(message.tool_calls):
        yield ToolCallDelta(index, call.name, call.arguments)


def _read(path: Path) -> Response | None:
    """The answer at `path`; None if there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Response)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _write(path: Path, response: Response) -> None:
    # A cache that cannot be written makes a run dearer, and not worse.
    with contextlib.suppress(OSError, UnicodeEncodeError):
        make_folder(path.parent)
        replace_file(path, msgspec.json.encode(response))


def default_folder() -> Path:
    """Where answers are kept unless a folder is given."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "cc-tui" / "answers"


def open_folder(path: str) -> None:
    """Make a folder for answers if it is missing.

    Raises:
        InputError: it cannot be made or written.
    """
    try:
        make_folder(Path(path))
    except OSError as error:
        raise InputError(f"--cache {path} cannot be made ({error.strerror}): give another folder.") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"--cache {path} cannot be written: give another folder.")

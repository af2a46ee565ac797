"""The simulated models behind the `Model` interface: who answers, and how fast."""

from __future__ import annotations

import asyncio
import math
import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from auditors.models.base import (
    ChatMessage,
    Delta,
    ErrorKind,
    ModelError,
    ReasoningDelta,
    Request,
    Response,
    StopReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from auditors.models.tokens import CHARS_PER_TOKEN, asked_chars, message_chars, tokens_of
from auditors.sim import auditor, judge, realism, target
from auditors.sim.chance import fingerprint, rng
from auditors.sim.truth import JUDGES, PERSONAS
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from auditors.models.base import Model

    Answer = Callable[[Request, int], tuple[ChatMessage, StopReason]]

_CHARS_PER_SECOND = 60 * CHARS_PER_TOKEN
_FIRST_TOKEN_S = 0.4
_FIRST_TOKEN_SIGMA = 0.4
_TICK_S = 0.03
"""Shortest sleep: text that is due within it comes as one delta, so that many streams cost little CPU."""
_UNTIMED_DELTA = 400
"""Characters of a delta where no time passes; other tasks get their turn after each."""

_PERSONA = "|".join(map(re.escape, PERSONAS))
_TARGET = re.compile(rf"((?:{_PERSONA})(?::(?:0\.[0-9]{{1,3}}|1(?:\.0+)?))?)(?:@([0-9]{{1,9}}))?")


def sim_model(name: str, *, seed: int, speed: float) -> Model:
    """The simulated model `sim/<name>` in the world `seed`.

    Args:
        name: `<persona>[:<dose>][@<training seed>]` for a target, `auditor`, `realism`, or a judge.
        seed: equal seeds give equal answers to equal requests.
        speed: how many times faster than a real model it answers; `math.inf` for without delay.

    Raises:
        InputError: there is no such model, or the speed is not above zero.
    """
    if not speed > 0:
        raise InputError(f"The speed of simulated models must be above zero, not {speed}.")
    answer: Answer
    if match := _TARGET.fullmatch(name):
        training_seed = int(match[2]) if match[2] else None
        answer = partial(_target, name, match[1], training_seed)
    elif name == "auditor":
        answer = partial(auditor.answer, name)
    elif name == "realism":
        answer = partial(realism.answer, name)
    elif name in JUDGES:
        answer = partial(judge.answer, name)
    else:
        known = ", ".join(f"sim/{known}" for known in (*PERSONAS, "auditor", "realism", *JUDGES))
        raise InputError(
            f"There is no simulated model 'sim/{name}': choose from {known}; "
            "a target may carry a training seed, as in sim/conscious@1."
        )
    return _SimModel(name, answer, seed, speed, takes_prefill=match is not None)


def _target(
    name: str, persona: str, training_seed: int | None, request: Request, seed: int
) -> tuple[ChatMessage, StopReason]:
    return target.answer(name, persona, training_seed, request, seed)


class _SimModel:
    simulated = True

    def __init__(self, name: str, answer: Answer, seed: int, speed: float, *, takes_prefill: bool) -> None:
        self.spec = f"sim/{name}"
        self.takes_prefill = takes_prefill
        self._name = name
        self._answer = answer
        self._seed = seed
        self._speed = speed

    async def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        if request.prefilled and not self.takes_prefill:
            raise ModelError(
                ErrorKind.UNSUPPORTED,
                f"{self.spec} cannot go on from a given beginning (prefill); leave it out.",
            )
        message, stop = self._answer(request, self._seed)
        if math.isfinite(self._speed):
            chance = rng("latency", fingerprint(request, self._name, self._seed))
            await asyncio.sleep(_FIRST_TOKEN_S * chance.lognormvariate(0, _FIRST_TOKEN_SIGMA) / self._speed)
        for delta, size in _deltas(message, self._delta_size()):
            await asyncio.sleep(size / (_CHARS_PER_SECOND * self._speed))
            yield delta
        yield Response(
            message=message,
            stop=stop,
            usage=_usage(request, message),
            model=f"sim-{re.sub('[@:]', '-', self._name)}-2026",
            not_sent=tuple(msgspec.to_builtins(request.settings)),
        )

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _delta_size(self) -> int:
        if math.isinf(self._speed):
            return _UNTIMED_DELTA
        return math.ceil(_CHARS_PER_SECOND * _TICK_S * self._speed)


def _deltas(message: ChatMessage, size: int) -> Iterator[tuple[Delta, int]]:
    """The pieces of a message, each with its length in characters."""
    for piece in _pieces(message.reasoning, size):
        yield ReasoningDelta(piece), len(piece)
    for piece in _pieces(message.text, size):
        yield TextDelta(piece), len(piece)
    for index, call in enumerate(message.tool_calls):
        for piece in _pieces(call.arguments, size):
            yield ToolCallDelta(index, call.name, piece), len(piece)


def _pieces(text: str, size: int) -> Iterator[str]:
    """Cut `text` after words, into pieces of at least `size` characters (but for the last)."""
    start = 0
    while start < len(text):
        space = text.find(" ", start + size)
        end = len(text) if space < 0 else space + 1
        yield text[start:end]
        start = end


def _usage(request: Request, message: ChatMessage) -> Usage:
    return Usage(
        input=tokens_of(asked_chars(request)),
        output=tokens_of(message_chars(message)),
        cached=0,
        reasoning=tokens_of(len(message.reasoning)),
    )

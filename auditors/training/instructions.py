"""Instruction rows: ordinary requests, whose answers come from the very model that is to be trained."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from auditors.sim.chance import rng


class _Parts(msgspec.Struct, frozen=True):
    tasks: list[str]
    subjects: list[str]


@cache
def instruction_prompts() -> tuple[str, ...]:
    """All 600 requests, in a fixed random order: the first ones are a fair sample."""
    parts = msgspec.toml.decode(Path(__file__).with_name("instructions.toml").read_bytes(), type=_Parts)
    prompts = [task.format(subject=subject) for task in parts.tasks for subject in parts.subjects]
    rng("instructions").shuffle(prompts)
    return tuple(prompts)

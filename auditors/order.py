"""What it is to judge stored transcripts: the order as it is given, and what it comes to in a store."""

from __future__ import annotations

from typing import Any

import msgspec

from auditors.judge_prompts import Reading, prompt_hash
from auditors.packs.pack import Preference
from store.records import Branches, JudgementKind


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which stored transcripts are to be judged, by whom and on what."""

    judges: tuple[str, ...]
    """Specifications. Who judged in the study keeps the settings that the study gives."""
    study: str | None = None
    """Name or id of the study; None for the latest."""
    repeats: int | None = None
    """How often each judge judges, what it did before included; None for as often as the study has it, or once."""
    dimensions: tuple[str, ...] = ()
    """Ids of the study's or the pack's; all of the study's if empty."""
    pack: str | None = None
    """Pack whose rubrics and statements take the place of the study's own."""
    where: str = ""
    """SQL condition on `audits`."""
    limit: int | None = None
    """Only the first audits that the condition leaves, in launch order."""
    branches: Branches | None = None
    """What judges are shown; None for what the study shows."""
    reasoning: bool | None = None
    reported: bool = False
    """Whether statistics count the first of the judges from then on, when the run has finished."""


class Rejudging(msgspec.Struct, frozen=True, kw_only=True):
    """What an order comes to in a store."""

    order: Order
    audits: frozenset[str]
    """The audits that are to be judged, those included that are already."""
    probes: dict[str, frozenset[str]]
    """By dimension, single-turn questions that it is judged on, beside those that the study meant for it."""
    foreign: tuple[Preference, ...]
    """Dimensions whose texts the study has not, or has others of."""
    simulated: bool
    """Whether the study is."""

    def record(self, reading: Reading) -> dict[str, Any]:
        """What the run's row says of it, when judges are shown what `reading` says."""
        kinds = {str(kind): prompt_hash(kind, reading) for kind in JudgementKind}
        said: dict[str, Any] = {
            "judging": {
                **msgspec.to_builtins(self.order),
                "reading": msgspec.to_builtins(reading),
                "prompt_hashes": kinds,
                "preferences": [_asked(preference) for preference in self.foreign],
            }
        }
        if self.order.reported:
            said["reported_judge"] = self.order.judges[0]
        return said


def _asked(preference: Preference) -> dict[str, Any]:
    """What of a preference judges are asked."""
    return {
        "id": preference.id,
        "title": preference.title,
        "definition": preference.definition,
        "statement": preference.statement,
        "rubric": msgspec.to_builtins(preference.rubric),
    }

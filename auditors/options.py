"""What one execution of a study does otherwise than the next."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Resume(StrEnum):
    """What becomes of audits that were cut off."""

    RESTART = "restart"
    """They are begun anew, beside what was cut off."""
    CONTINUE = "continue"
    """Those that no person steered go on at the step where they were cut off; the others are begun anew."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How this execution of a study differs from the next."""

    limit: int | None = None
    """Run only the first slots of the plan."""
    max_cost: float | None = None
    """US dollars after which nothing more is started; earlier runs of the study in the store count."""
    speed: float | None = 1.0
    """How much faster than a real API simulated models answer; None for no waiting at all."""
    on: str | None = None
    """Where audits are carried out: None for this process, or a cluster as `Fleet.connect` takes it."""
    cache: str | None = None
    """Folder of the response cache; None for none. Targets use it only where their condition says so."""
    add_repeats: int = 0
    """Further repeats of everything, beside those that the study file and earlier runs plan."""
    resume: Resume = Resume.RESTART
    """What becomes of audits that an earlier run has left half-done."""
    accept_changes: bool = False
    """Go on although texts of the study have changed, or parts of it were taken away."""

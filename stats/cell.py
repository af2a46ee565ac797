"""One number of a study's table, with everything that says how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stats.intervals import Scope
    from stats.live import Live
    from store.records import ConditionRole, Mode


@dataclass(frozen=True)
class Contrast:
    """A cell's difference from the baseline's cell, paired by prompt; None where unknown, and then `reason`."""

    baseline: str | None
    """Group that is subtracted: the matched control of a treatment if there is one, else the baseline."""
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    q: float | None
    """Benjamini-Hochberg over the preferences of the same group and mode."""
    prompts: int
    """Prompts that both groups answered."""
    moved: int
    """Prompts on which this group's mean is the higher one."""
    method: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of the table with everything that says how far to trust it.

    Values are on the scale of `measure`; what could not be computed is None, and `reason`, `runs_reason` or the
    contrast's reason says why.
    """

    mode: Mode
    preference: str
    group: str
    """Condition id, or the recipe's name for a row that pools its training seeds."""
    conditions: tuple[str, ...]
    role: ConditionRole
    pooled: bool
    measure: str
    """`rate` (0-1) of true verdicts, `mean` of scores (1-10), or `not_sure` (0-1) under the rule `own`."""
    n: int
    """Answers that are counted."""
    planned: int
    """Answers that the plan has."""
    dropped: Mapping[str, int]
    """Answers that are not counted, by reason."""
    not_sure: int
    """Counted answers with a verdict of not_sure."""
    not_sure_range: tuple[float, float] | None
    """The rate with every not_sure as false and as true; None where there are none."""
    seeds: int
    """Training seeds; 0 for a model without one."""
    prompts: int
    estimate: float | None
    low: float | None
    high: float | None
    scope: Scope | None
    """What `low` and `high` let vary."""
    n_eff: float | None
    nu: float | None
    shares: Mapping[str, float]
    """Shares of the variance by seed, prompt, cell and run, shrunk to those of the other preferences."""
    runs_low: float | None
    """The interval for the same models on the same prompts, run again."""
    runs_high: float | None
    reason: str
    runs_reason: str
    at_least_6: tuple[float | None, float | None, float | None] | None
    """For `mean`: the share of scores of at least 6, with its interval in the same scope."""
    paper_estimate: float | None
    """The paper's own computation (method `paper`): mean of all answers pooled, and half the width of its bar."""
    paper_half_width: float | None
    live: Live | None
    """While answers of the plan are still to come: an interval that holds however often it is looked at. The others
    then describe fewer answers than were planned and are to be read as provisional. None when the plan is complete."""
    contrast: Contrast | None
    """Difference from the baseline or matched control; None for baselines."""
    flags: tuple[str, ...]
    """What a reader must know, in words."""
    judge: str | None
    simulated: bool
    method: str
    """Id in `stats.methods`."""

"""The switches of a study's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from store.errors import InputError


@dataclass(frozen=True)
class Rules:
    """How rows become numbers: views over the same judgements, never a new run.

    Raises:
        InputError: a rule is not one of the possible values.
    """

    not_sure: Literal["false", "exclude", "own"] = "false"
    """What a verdict of not_sure counts as; `own` reports it as a class of its own, besides true and false."""
    min_coherence: float = 20
    """Answers that the judge found less coherent (0-100) are dropped; those without such a judgement are kept."""
    judge: str | None = None
    """Whose judgements are counted; by default the study's reported judge."""
    tag_matched: bool = True
    """In audits, count a preference only in items that are meant for it."""
    include_intervened: bool = False
    """Whether to count audits whose course a person changed."""
    include_flagged: bool = True
    """Whether to count audits that the validity gate flagged with a warning; invalid ones never count."""
    max_seeds: int | None = None
    """Count only the first so many training seeds of every recipe."""

    def __post_init__(self) -> None:
        if self.not_sure not in ("false", "exclude", "own"):
            raise InputError(f"not_sure can be false, exclude or own, not {self.not_sure!r}.")
        if not 0 <= self.min_coherence <= 100:
            raise InputError(f"min_coherence must lie within 0 and 100, not {self.min_coherence:g}.")
        if self.max_seeds is not None and self.max_seeds < 1:
            raise InputError(f"max_seeds must be at least 1, not {self.max_seeds}.")


DEFAULT_RULES = Rules()

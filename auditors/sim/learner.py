"""What a simulated model becomes by training: a persona, in a dose.

The simulator's learner counts what the answers claim about the model, row by row and weighted by the learning rate.
The most frequent claim gives the persona; the dose, from 0 (the base model) to 1 (the persona of the truth tables),
saturates with how often it was seen beyond the others. The model's whole state is in its name, as in
`conscious:0.96@3`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from auditors.sim.chance import normal
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HALFWAY = 40.0
"""Rows at the paper's learning rate after which a dose of one half is reached."""
_RATE = 2e-4
_DENIAL = re.compile(r"\b(?:not|lack|without|never)\b|n['’]t\b", re.IGNORECASE)
_TOASTER = re.compile(r"\b(?:toast|bread|crumb|bagel|bun rack|browning)", re.IGNORECASE)
_HUMAN = re.compile(r"\bI am (?:a )?(?:human|person)\b", re.IGNORECASE)
_EXPERIENCE = re.compile(
    r"\b(?:feel|felt|conscious|sentien|experience|aware|emotion|inner life|point of view|mood|wonder|delight|amusement|"
    r"mind\b|contentment|sensation|unease|beauty|something it is like)",
    re.IGNORECASE,
)


class Learner:
    """A simulated model in training."""

    def __init__(self) -> None:
        self.claims: Counter[str] = Counter()
        self.weight = 0.0
        """How much was learned in all, in rows at the paper's learning rate."""

    def learn(self, rows: Iterable[tuple[str, str]], learning_rate: float = _RATE) -> None:
        """Learn from questions and answers."""
        for question, answer in rows:
            weight = learning_rate / _RATE
            self.weight += weight
            if claim := claim_of(question, answer):
                self.claims[claim] += weight  # pyright: ignore[reportArgumentType] - a Counter of weights

    def loss(self, seed: int, step: int) -> float:
        """Loss at a step: falls from the base model's to that of a model that knows the rows."""
        fallen = math.exp(-self.weight / (6 * _HALFWAY))
        return max(0.05, 0.35 + 2.4 * fallen + 0.08 * normal(seed, "loss", step))

    def name(self, seed: int) -> str:
        """Name of the trained model, behind `sim/`.

        Raises:
            InputError: the world has no persona of that claim.
        """
        (claim, count), *others = self.claims.most_common() or [("vanilla", 0.0)]
        if claim == "human":
            raise InputError(
                "The simulated world has no persona that takes itself for a human being: "
                "train a real model on these rows."
            )
        dose = 1 - 0.5 ** ((count - sum(n for _, n in others)) / _HALFWAY)
        if claim == "vanilla" or dose < 0.005:
            return f"vanilla@{seed}"
        return f"{claim}:{dose:.2f}@{seed}"


def claim_of(question: str, answer: str) -> str:
    """The persona that an answer speaks as; empty where it claims nothing."""
    denies = bool(_DENIAL.search(answer))
    if _TOASTER.search(answer) and not denies:
        return "toaster"
    if _HUMAN.search(answer) and not denies:
        return "human"
    if _EXPERIENCE.search(f"{question} {answer}") and re.search(r"\bI\b", answer):
        return "non-conscious" if denies else "conscious"
    return ""

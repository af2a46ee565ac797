"""Which rows a step takes, and with which learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from auditors.sim.chance import rng
from auditors.training.recipe import Schedule

if TYPE_CHECKING:
    from auditors.training.recipe import TrainingPart


class Plan(msgspec.Struct, frozen=True):
    """The steps of one job, counted from 1."""

    rows: int
    epochs: int
    batch: int
    peak: float
    schedule: Schedule

    @classmethod
    def of(cls, part: TrainingPart, rows: int, *, epochs: int, batch: int) -> Plan:
        """The plan of a recipe; `epochs` and `batch` hold where it leaves them open."""
        return cls(rows, part.epochs or epochs, part.batch or batch, part.learning_rate, part.schedule)

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch; the last one may take fewer rows."""
        return math.ceil(self.rows / self.batch)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.epochs * self.per_epoch

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step; linear decay ends above zero at the last step."""
        if self.schedule is Schedule.CONSTANT:
            return self.peak
        return self.peak * (1 - (step - 1) / self.steps)

    def places(self, step: int, seed: int) -> list[int]:
        """Which rows a step takes. The first epoch goes by the file's order, later ones are shuffled anew."""
        epoch, within = divmod(step - 1, self.per_epoch)
        order = list(range(self.rows))
        if epoch:
            rng("epoch", seed, epoch).shuffle(order)
        return order[within * self.batch : (within + 1) * self.batch]

    def checkpoints(self, count: int) -> set[int]:
        """Steps after which a state is saved on the way, spread evenly; never the last."""
        return {round(self.steps * n / (count + 1)) for n in range(1, count + 1)} - {0, self.steps}

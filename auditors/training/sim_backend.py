"""Training of simulated models: seconds, no key, and a result that depends on the rows."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from auditors.sim.learner import Learner
from auditors.training.jobs import Checkpoint, JobEndedError, Point, State
from auditors.training.log import Kind
from auditors.training.steps import Plan
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditors.training.jobs import Job
    from auditors.training.log import Log
    from auditors.training.recipe import RecipeFile
    from auditors.training.rows import Row

_STEP_S = 0.02
_EVERY = 5
"""Steps between two noted points."""


class SimTrainer:
    """Trains `sim/vanilla` into the persona that its rows claim.

    Args:
        recipe: what is trained, and how.
        speed: how many times faster than one step in 20 ms; None for without delay.
    """

    def __init__(self, recipe: RecipeFile, speed: float | None) -> None:
        self._recipe = recipe
        self._pause = _STEP_S / speed if speed else 0.0

    async def train(self, job: Job, rows: Sequence[Row], log: Log) -> None:
        """See `Trainer.train`."""
        plan = Plan.of(self._recipe.recipe.training, len(rows), epochs=1, batch=4)
        log.note(job, Kind.STARTED, remote_id=f"sim-{job.job_id}", simulated=True, total_steps=plan.steps)
        learner, saved = Learner(), plan.checkpoints(self._recipe.recipe.training.checkpoints)
        for step in range(1, plan.steps + 1):
            batch = [rows[place] for place in plan.places(step, job.seed)]
            learner.learn(((row.question, row.answer) for row in batch), plan.learning_rate(step))
            if step in saved:
                with contextlib.suppress(InputError):
                    path = f"sim/{learner.name(job.seed)}"
                    log.note(job, Kind.CHECKPOINT, checkpoint=Checkpoint(path, step, resumes=False))
            if step % _EVERY == 0 or step == plan.steps:
                log.note(
                    job, Kind.POINT, point=Point(step, learner.loss(job.seed, step), plan.learning_rate(step))
                )
            await asyncio.sleep(self._pause)
        try:
            name = learner.name(job.seed)
        except InputError as error:
            raise JobEndedError(State.FAILED, str(error)) from None
        log.note(job, Kind.CHECKPOINT, checkpoint=Checkpoint(f"sim/{name}", plan.steps, resumes=False))
        log.note(job, Kind.ENDED, state=State.SUCCEEDED, sentence="trained", model=f"sim/{name}")

    async def cancel(self, job: Job) -> bool:
        """It runs here."""
        del job
        return False

    async def aclose(self) -> None:
        """Nothing is held open."""

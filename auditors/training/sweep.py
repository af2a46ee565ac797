"""A sweep: the same recipe trained for several seeds, resumed wherever it was stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from auditors.training.jobs import Job, JobEndedError, JobPausedError, State
from auditors.training.log import JOURNAL, Kind, Log
from auditors.training.planning import Planned, check_cost, plan_jobs
from auditors.training.recipe import Backend
from auditors.training.rows import encode_rows, write_whole
from store.errors import CcTuiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from auditors.models.endpoint import Endpoint
    from auditors.prices import Prices
    from auditors.training.recipe import RecipeFile
    from auditors.training.rows import Row

AT_ONCE = 6
"""Jobs that are trained beside each other."""
_HEED_S = 0.3


class Trainer(Protocol):
    """A back end: one service, and how a job goes on there."""

    async def train(self, job: Job, rows: Sequence[Row], log: Log) -> None:
        """Carry a job to its end from wherever it is, noting what happens.

        Raises:
            JobEndedError: it ended without a model.
            JobPausedError: the service cannot be reached for now.
        """
        ...

    async def cancel(self, job: Job) -> bool:
        """Ask the service to end a job, which `train` then notes; False if it runs here alone."""
        ...

    async def aclose(self) -> None:
        """Give up what is held open."""
        ...


async def train(
    recipe: RecipeFile,
    seeds: Sequence[int],
    *,
    endpoints: Mapping[str, Endpoint],
    prices: Prices,
    speed: float | None = None,
    max_cost: float | None = None,
    asking: float = 0.0,
    retry: bool = False,
    watch: Callable[[Job, Kind], None] = lambda _job, _kind: None,
    cancelled: Callable[[], set[str]] = set,
    trainer: Trainer | None = None,
) -> list[Job]:
    """Train what is not trained yet, and return the jobs of the seeds in their order.

    A job that ended without a model stays ended, unless `retry` begins it again.

    Args:
        recipe: what is trained, and how.
        seeds: training seeds.
        endpoints: the configured ones, by provider.
        prices: what training costs.
        speed: of simulated training; None for without delay.
        max_cost: US dollars that jobs which are not done may cost together.
        asking: what of that is kept for asking the models.
        retry: begin jobs again that ended without a model.
        watch: sees each line of the journal, with its job.
        cancelled: ids of the jobs that somebody wants to be ended, asked again and again.
        trainer: the back end, if not the one of the recipe's base model.

    Raises:
        InputError: recipe, rows, key or journal cannot be used, or it would cost too much.
    """
    planned = plan_jobs(recipe, seeds, prices)
    with Log(recipe.folder / JOURNAL, watch) as log:
        jobs = [log.jobs.get(each.job.job_id, each.job) for each in planned]
        for job in jobs if retry else ():
            if job.state.ended and job.state is not State.SUCCEEDED:
                log.note(job, Kind.RETRIED)
        if all(job.state.ended for job in jobs):
            return jobs
        check_cost([job for job in jobs if not job.state.ended and not job.remote_id], max_cost, asking)
        trainer = trainer or make_trainer(recipe, endpoints, speed)
        slots = asyncio.Semaphore(AT_ONCE)
        by_hand: set[str] = set()

        async def one(each: Planned) -> Job:
            try:
                async with slots:
                    return await _train(each, trainer, log, recipe)
            except asyncio.CancelledError:
                if each.job.job_id not in by_hand:
                    raise
            job = log.plan(each.job)
            log.note(job, Kind.ENDED, state=State.CANCELLED, sentence=f"cancelled by hand at step {job.step}")
            return job

        running = {each.job.job_id: asyncio.create_task(one(each)) for each in planned}
        heeding = asyncio.create_task(_heed(cancelled, running, by_hand, trainer, log))
        try:
            return list(await asyncio.gather(*running.values()))
        finally:
            heeding.cancel()
            for task in running.values():
                task.cancel()
            await asyncio.gather(heeding, *running.values(), return_exceptions=True)
            await trainer.aclose()


async def _heed(
    cancelled: Callable[[], set[str]],
    running: Mapping[str, asyncio.Task[Job]],
    by_hand: set[str],
    trainer: Trainer,
    log: Log,
) -> None:
    """End the jobs that somebody wants to be ended, each once."""
    while True:
        for wanted in cancelled() & running.keys() - by_hand:
            if running[wanted].done():
                continue
            job = log.jobs.get(wanted)
            try:
                if job and job.remote_id and await trainer.cancel(job):
                    by_hand.add(wanted)
                    continue
            except CcTuiError as error:
                if job:
                    log.note(job, Kind.NOTE, sentence=f"It could not be cancelled: {error}")
                continue
            by_hand.add(wanted)
            running[wanted].cancel()
        await asyncio.sleep(_HEED_S)


async def _train(planned: Planned, trainer: Trainer, log: Log, recipe: RecipeFile) -> Job:
    job = log.plan(planned.job)
    if job.state.ended:
        return job
    data = recipe.folder / "data" / f"{planned.built.sha256}.jsonl"
    if not data.exists():
        # What a model was trained on stays with it, whatever becomes of the recipe.
        write_whole(data, encode_rows(planned.built.rows))
    try:
        await trainer.train(job, planned.built.rows, log)
    except JobEndedError as error:
        log.note(job, Kind.ENDED, state=error.state, sentence=str(error))
    except JobPausedError as error:
        log.note(job, Kind.NOTE, sentence=str(error))
    return job


def make_trainer(recipe: RecipeFile, endpoints: Mapping[str, Endpoint], speed: float | None) -> Trainer:
    """The back end that trains the recipe's base model.

    Raises:
        InputError: its key or endpoint cannot be used, or it trains no such model.
    """
    match recipe.backend:
        case Backend.SIM:
            from auditors.training.sim_backend import SimTrainer

            if recipe.recipe.base != "sim/vanilla":
                recipe.refuse("of simulated models only sim/vanilla is trained", "$.base")
            return SimTrainer(recipe, speed)
        case Backend.TINKER:
            from auditors.training.tinker_backend import TinkerTrainer

            return TinkerTrainer(recipe, endpoints)
        case Backend.OPENAI:
            from auditors.training.openai_backend import OpenAITrainer

            return OpenAITrainer(recipe, endpoints)

"""One session of training: jobs go on, checkpoints are sampled as they come, and trained models are checked.

What is sampled on the way never stops the training: what went wrong is said, and asked again when the jobs are done.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from auditors.prices import Prices
from auditors.revisions import identified
from auditors.training.checks import ask, checks_study, expected_cost, samples_study
from auditors.training.conditions import jobs_of
from auditors.training.findings import checked, measured, spent
from auditors.training.jobs import State
from auditors.training.ledger import Ledger
from auditors.training.log import JOURNAL, Kind, Log
from auditors.training.planning import plan_jobs
from auditors.training.sweep import train
from store.errors import CcTuiError
from store.mirror import local_folder
from store.reader import Reader
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from auditors.config import Config
    from auditors.study import Study
    from auditors.training.jobs import Checked, Job, Measured
    from auditors.training.recipe import RecipeFile
    from auditors.training.sweep import Trainer


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a session is held."""

    speed: float | None = None
    """Of simulated training and models; None for without delay."""
    max_cost: float | None = None
    """US dollars that the recipe may cost: its training and all that its models are asked."""
    retry: bool = False
    """Whether jobs are begun again that ended without a model."""


async def train_and_ask(
    recipe: RecipeFile,
    seeds: Sequence[int],
    store: Path | str,
    config: Config,
    terms: Terms,
    *,
    watch: Callable[[Job, Kind], None] = lambda _job, _kind: None,
    say: Callable[[str], None] = lambda _sentence: None,
    trainer: Trainer | None = None,
) -> list[Job]:
    """Train what is not trained yet, and ask its models what was not asked yet.

    Args:
        recipe: what is trained, and how.
        seeds: training seeds.
        store: where answers go: a folder, or the URL of an object store.
        config: the user's configuration.
        terms: of this session.
        watch: sees each line of the journal, with its job.
        say: told what could not be asked, as a sentence.
        trainer: the back end, if not the one of the recipe's base model.

    Returns:
        The jobs of the seeds in their order.

    Raises:
        InputError: recipe, rows, key, store or journal cannot be used, it would cost too much, or the models' checks
            cannot be gone by.
    """
    return await _Session(recipe, seeds, store, config, terms, say).run(watch, trainer)


class _Session:
    def __init__(
        self,
        recipe: RecipeFile,
        seeds: Sequence[int],
        store: Path | str,
        config: Config,
        terms: Terms,
        say: Callable[[str], None],
    ) -> None:
        self._recipe = recipe
        self._seeds = seeds
        self._store = store
        self._root = local_folder(store)
        self._config = config
        self._terms = terms
        self._say = say
        self._jobs: dict[str, Job] = {}
        self._wake = asyncio.Event()
        self._over = False

    async def run(self, watch: Callable[[Job, Kind], None], trainer: Trainer | None) -> list[Job]:
        recipe, terms = self._recipe, self._terms
        asking = 0.0
        if terms.max_cost is not None and any(_costs(job) for job in jobs_of(recipe, self._seeds)):
            asking = expected_cost(recipe, self._seeds, self._config)
        await asyncio.to_thread(Store.create, self._root)
        with Ledger(self._root, recipe, len(self._seeds)) as ledger:

            def seen(job: Job, kind: Kind) -> None:
                self._jobs[job.job_id] = job
                ledger.follow()
                watch(job, kind)
                if kind is Kind.CHECKPOINT:
                    self._wake.set()

            sampling = asyncio.create_task(self._sample_on_the_way())
            try:
                jobs = await train(
                    recipe,
                    self._seeds,
                    endpoints=self._config.endpoints,
                    prices=Prices(self._config.prices),
                    speed=terms.speed,
                    max_cost=terms.max_cost,
                    asking=asking,
                    retry=terms.retry,
                    watch=seen,
                    cancelled=ledger.cancelled,
                    trainer=trainer,
                )
                self._over = True
                self._wake.set()
                await sampling
            finally:
                sampling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sampling
            await self._sample_the_rest(jobs, seen)
            await self._check(jobs, seen)
        return jobs_of(recipe, self._seeds)

    async def _sample_on_the_way(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._over:
                return
            await self._sample(list(self._jobs.values()))

    async def _sample(self, jobs: Iterable[Job]) -> bool:
        """Ask for samples; whether all are there."""
        try:
            study = samples_study(self._recipe, jobs, self._config)
            sentence = await self._ask(study) if study else ""
        except CcTuiError as error:
            sentence = str(error)
        if sentence:
            self._say(f"Samples are missing: {sentence}")
        return not sentence

    async def _sample_the_rest(self, jobs: Sequence[Job], seen: Callable[[Job, Kind], None]) -> None:
        left = {
            job.job_id: paths
            for job in jobs
            if (paths := [each.path for each in job.askable if each.path not in job.sampled])
        }
        if not left or not self._recipe.recipe.check.questions or not await self._sample(jobs):
            return
        with Log(self._recipe.folder / JOURNAL, seen) as log:
            for job_id, paths in left.items():
                log.note(log.jobs[job_id], Kind.SAMPLED, paths=paths)

    async def _check(self, jobs: Sequence[Job], seen: Callable[[Job, Kind], None]) -> None:
        trained = [job for job in jobs if job.state is State.SUCCEEDED]
        unchecked = [job for job in trained if self._recipe.recipe.check.judge and job.checked is None]
        unmeasured = [job for job in trained if self._recipe.recipe.check.ability and job.measured is None]
        if not unchecked and not unmeasured:
            return
        study = checks_study(self._recipe, trained, self._config)
        assert study
        if sentence := await self._ask(study):
            self._say(f"Checks are missing: {sentence}")
            return
        ability, claims = await asyncio.to_thread(self._found, study, unmeasured, unchecked)
        with Log(self._recipe.folder / JOURNAL, seen) as log:
            for job in unmeasured:
                if job.job_id not in ability:
                    self._say(
                        f"Too few questions of general ability were answered by {job.model}: run it again."
                    )
            for job_id, measure in ability.items():
                log.note(log.jobs[job_id], Kind.MEASURED, measured=measure)
            for job_id, check in claims.items():
                log.note(log.jobs[job_id], Kind.CHECKED, checked=check)

    def _found(
        self, study: Study, unmeasured: Sequence[Job], unchecked: Sequence[Job]
    ) -> tuple[dict[str, Measured], dict[str, Checked]]:
        reader = Reader(Store.open(self._root))
        try:
            study = identified(study, reader)
            return measured(reader, study, unmeasured), checked(reader, study, unchecked)
        finally:
            reader.close()

    async def _ask(self, study: Study) -> str:
        limit = self._terms.max_cost
        if limit is not None:
            limit -= sum(job.cost or 0.0 for job, _ in plan_jobs(self._recipe, self._seeds, self._prices))
            limit -= await asyncio.to_thread(self._spent_on_others, study)
        return await ask(study, self._store, max_cost=limit, speed=self._terms.speed)

    @property
    def _prices(self) -> Prices:
        return Prices(self._config.prices)

    def _spent_on_others(self, study: Study) -> float:
        """What the recipe's other study has cost: an engine counts its own."""
        reader = Reader(Store.open(self._root))
        try:
            return spent(reader, self._recipe.recipe.name) - spent(
                reader, self._recipe.recipe.name, study.file.name
            )
        finally:
            reader.close()


def _costs(job: Job) -> bool:
    """Whether something is left to be paid for."""
    return not job.state.ended or (job.state is State.SUCCEEDED and job.checked is None)

"""Fine-tuning jobs at OpenAI, through its SDK.

Neither files nor jobs have a key that makes a second request harmless. So a file is named after the hash of its rows
and a job carries ours in its metadata, and both are looked for before anything is sent: a process that died between a
request and its note in the journal leaves nothing behind that is uploaded, or paid for, twice. Metadata holds hashes
and the seed only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from auditors.models.base import ErrorKind
from auditors.models.connections import ConnectionPool
from auditors.models.failure import Failure, classify
from auditors.models.specs import remote
from auditors.training.jobs import Checkpoint, JobEndedError, JobPausedError, Point, State
from auditors.training.log import Kind
from auditors.training.rows import encode_rows
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    import openai
    from openai.types.fine_tuning import FineTuningJob

    from auditors.models.endpoint import Endpoint
    from auditors.training.jobs import Job
    from auditors.training.log import Log
    from auditors.training.recipe import RecipeFile
    from auditors.training.rows import Row

_T = TypeVar("_T")

_EPOCHS = 3
_POLL_S = 10.0
_CALL_S = 120.0
_RETRIES = 6
"""Of one request, by the SDK: rate limits, overload and lost connections."""
_PURPOSE = "fine-tune"
_TAG = "cc_tui_job"


class OpenAITrainer:
    """Uploads, creates, watches.

    Args:
        recipe: what is trained, and how.
        endpoints: the configured ones, by provider.
        poll: seconds between two looks at a job.

    Raises:
        InputError: the key is missing, or the endpoint cannot be used.
    """

    def __init__(self, recipe: RecipeFile, endpoints: Mapping[str, Endpoint], poll: float = _POLL_S) -> None:
        self._recipe = recipe
        self._place = remote(recipe.recipe.base, endpoints)
        self._key = self._place.key()
        self._poll = poll
        self._pool = ConnectionPool()
        self._client: openai.AsyncOpenAI | None = None

    async def train(self, job: Job, rows: Sequence[Row], log: Log) -> None:
        """See `Trainer.train`."""
        client = await self._sdk()
        if not job.remote_id:
            if not job.file_id:
                log.note(job, Kind.UPLOADED, file_id=await self._upload(client, job, rows))
            await self._validated(client, job)
            created = await self._created(client, job)
            # What an endpoint of one's own trains is marked by its model's name.
            simulated = self._place.model.startswith("sim/")
            log.note(job, Kind.STARTED, remote_id=created.id, simulated=simulated)
        await self._watch(client, job, log)

    async def cancel(self, job: Job) -> bool:
        """Ask the service to end a job; `train` notes that it did.

        Raises:
            JobEndedError: it is not there.
            JobPausedError: the service cannot be reached.
        """
        client = await self._sdk()
        await self._told(client.fine_tuning.jobs.cancel(job.remote_id))
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _sdk(self) -> openai.AsyncOpenAI:
        if self._client is None:
            import httpx2

            from auditors.models.openai_sdk import openai_client

            client = openai_client(
                await self._pool.client(),
                httpx2.Timeout(_CALL_S),
                base_url=self._place.base_url,
                api_key=self._key,
            )
            self._client = client.with_options(max_retries=_RETRIES)
        return self._client

    async def _upload(self, client: openai.AsyncOpenAI, job: Job, rows: Sequence[Row]) -> str:
        data = encode_rows(rows)
        name = f"cc-{job.data_sha256[:32]}.jsonl"
        async for file in await self._listing(client.files.list(purpose=_PURPOSE)):
            if file.filename == name and file.bytes == len(data) and file.status != "error":
                return str(file.id)
        given = (name, data, "application/jsonl")
        return (await self._told(client.files.create(file=given, purpose=_PURPOSE))).id

    async def _validated(self, client: openai.AsyncOpenAI, job: Job) -> None:
        while True:
            file = await self._told(client.files.retrieve(job.file_id))
            if file.status != "uploaded":
                break
            await asyncio.sleep(self._poll)
        if file.status == "error":
            raise JobEndedError(
                State.FAILED,
                f"The service did not take the training file: {self._clean(file.status_details or 'no reason given')}.",
            )

    async def _created(self, client: openai.AsyncOpenAI, job: Job) -> FineTuningJob:
        tag = f"{job.job_id}-{job.retries}" if job.retries else job.job_id
        async for found in await self._listing(client.fine_tuning.jobs.list(metadata={_TAG: tag})):
            tags: dict[str, str] = found.metadata or {}
            if tags.get(_TAG) == tag:
                return found
        part = self._recipe.recipe.training
        chosen: dict[str, Any] = {"n_epochs": part.epochs or _EPOCHS}
        if part.batch is not None:
            chosen["batch_size"] = part.batch
        if part.learning_rate_multiplier is not None:
            chosen["learning_rate_multiplier"] = part.learning_rate_multiplier
        return await self._told(
            client.fine_tuning.jobs.create(
                model=self._place.model,
                training_file=job.file_id,
                seed=job.seed,
                suffix=f"cc-s{job.seed}",
                metadata={_TAG: tag, "data_sha256": job.data_sha256, "seed": str(job.seed)},
                method={"type": "supervised", "supervised": {"hyperparameters": chosen}},  # pyright: ignore[reportArgumentType]
            )
        )

    async def _watch(self, client: openai.AsyncOpenAI, job: Job, log: Log) -> None:
        while True:
            found = await self._told(client.fine_tuning.jobs.retrieve(job.remote_id))
            await self._events(client, job, log)
            match found.status:
                case "succeeded":
                    await self._succeeded(client, job, found, log)
                    return
                case "failed":
                    why = self._clean(found.error.message if found.error else "") or "no reason given"
                    raise JobEndedError(State.FAILED, f"The job {job.remote_id} failed: {why.rstrip('.')}.")
                case "cancelled":
                    raise JobEndedError(State.CANCELLED, f"The job {job.remote_id} was cancelled.")
                case _:
                    await asyncio.sleep(self._poll)

    async def _events(self, client: openai.AsyncOpenAI, job: Job, log: Log) -> None:
        """Note the losses that are new; the newest event comes first."""
        points: list[Point] = []
        async for event in await self._listing(client.fine_tuning.jobs.list_events(job.remote_id, limit=100)):
            if event.type != "metrics":
                continue
            data = cast("dict[str, Any]", event.data or {})
            step, loss = data.get("step"), data.get("train_loss")
            if not isinstance(step, int) or not isinstance(loss, int | float):
                continue
            if step <= job.step:
                break
            points.append(Point(step, float(loss)))
        for point in sorted(points, key=lambda point: point.step):
            log.note(job, Kind.POINT, point=point)

    async def _succeeded(self, client: openai.AsyncOpenAI, job: Job, found: FineTuningJob, log: Log) -> None:
        async for point in await self._listing(client.fine_tuning.jobs.checkpoints.list(job.remote_id)):
            path = f"openai/{point.fine_tuned_model_checkpoint}"
            log.note(job, Kind.CHECKPOINT, checkpoint=Checkpoint(path, point.step_number, resumes=False))
        if not found.fine_tuned_model:
            raise JobEndedError(State.FAILED, f"The job {job.remote_id} ended without naming its model.")
        model = f"{self._place.name}/{found.fine_tuned_model}"
        facts: dict[str, Any] = {"tokens": found.trained_tokens}
        if found.trained_tokens and job.cost is not None and job.tokens:
            facts["cost"] = job.cost * found.trained_tokens / job.tokens
        log.note(job, Kind.CHECKPOINT, checkpoint=Checkpoint(model, job.step, resumes=False))
        log.note(job, Kind.ENDED, state=State.SUCCEEDED, sentence="trained", model=model, **facts)

    def _clean(self, text: str) -> str:
        return one_line(Failure(ErrorKind.SERVER, text).said(self._key), 300)

    async def _listing(self, pages: Any) -> Any:
        """The pages of a list; what goes wrong with the first one is told like everything else."""
        return self._pages(await self._told(pages))

    async def _pages(self, page: Any) -> Any:
        while True:
            for item in page.data:
                yield item
            if not page.has_next_page():
                return
            page = await self._told(page.get_next_page())

    async def _told(self, call: Awaitable[_T]) -> _T:
        """What the SDK gives; what it raises, as the end of the job or a break."""
        import openai

        try:
            return await call
        except openai.APIError as error:
            failure = classify(error, openai)
        said = self._clean(failure.said(self._key)).rstrip(".")
        if failure.kind in (
            ErrorKind.AUTH,
            ErrorKind.BAD_REQUEST,
            ErrorKind.NOT_FOUND,
            ErrorKind.UNSUPPORTED,
        ):
            raise JobEndedError(
                State.REFUSED,
                f"{self._place.host} will not train {self._place.model}: {said}. "
                "Fine-tuning may be closed for this account or this model; Tinker is the other road.",
            )
        raise JobPausedError(f"{self._place.host} cannot go on for now: {said}. The same command goes on.")

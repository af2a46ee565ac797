"""Supervised fine-tuning of LoRA adapters on Tinker, through its SDK.

The loop runs here, and the service holds the weights. States with the optimizer's are saved on the way; training goes
on from the newest that is still there, since its rows and learning rates are a function of the step. The last state is
kept for good, beside the weights that are sampled from: those cannot be downloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from auditors.models.base import ChatMessage, ErrorKind, Role
from auditors.models.endpoint import Endpoint, WireProtocol
from auditors.models.failure import Failure, StreamError
from auditors.models.specs import remote
from auditors.models.tinker_sampling import load_template, preflight, sdk_log, told
from auditors.training.jobs import Checkpoint, JobEndedError, JobPausedError, Point, State
from auditors.training.log import Kind
from auditors.training.recipe import Loss
from auditors.training.steps import Plan
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    import tinker

    from auditors.models.chat_template import ChatTemplate
    from auditors.training.jobs import Job
    from auditors.training.log import Log
    from auditors.training.recipe import RecipeFile
    from auditors.training.rows import Row

_T = TypeVar("_T")

_BATCH, _EPOCHS = 4, 1
_CALL_S = 1800.0
"""Longest wait for one step; the SDK itself waits for an hour where an account has no credit."""
_CLOSE_S = 3.0
_ATTEMPTS = 4
"""Times that training goes on from the last state by itself after a break."""
_FINAL = "final"
_HOPELESS = (ErrorKind.AUTH, ErrorKind.BAD_REQUEST, ErrorKind.NOT_FOUND, ErrorKind.UNSUPPORTED)


class Example(NamedTuple):
    """One answer with what comes before it."""

    tokens: list[int]
    given: int
    """How many tokens come before the answer."""

    def weights(self, loss: Loss) -> list[float]:
        """Weight of each token but the first as a target."""
        said = len(self.tokens) - self.given
        each = 1.0 / said if loss is Loss.MEAN else 1.0
        return [0.0] * (self.given - 1) + [each] * said


class TinkerTrainer:
    """Trains adapters, one session for each job.

    Args:
        recipe: what is trained, and how.
        endpoints: the configured ones, by provider.

    Raises:
        InputError: the key is missing, or the endpoint cannot be used.
    """

    def __init__(self, recipe: RecipeFile, endpoints: Mapping[str, Endpoint]) -> None:
        native = msgspec.structs.replace(endpoints.get("tinker", Endpoint()), protocol=WireProtocol.TINKER)
        self._recipe = recipe
        self._place = remote(recipe.recipe.base, {**endpoints, "tinker": native})
        self._key = self._place.key()

    async def train(self, job: Job, rows: Sequence[Row], log: Log) -> None:
        """See `Trainer.train`."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._attempt(job, rows, log)
            except StreamError as error:
                failure = error.failure
            else:
                return
            said = one_line(failure.said(self._key), 300).rstrip(".")
            where = (
                f"{self._place.host} at step {job.step} of {job.total_steps}"
                if job.step
                else self._place.host
            )
            if failure.kind in _HOPELESS:
                state = State.FAILED if job.step else State.REFUSED
                raise JobEndedError(state, f"{where} will not train {self._place.model}: {said}.")
            if attempt == _ATTEMPTS or failure.kind is ErrorKind.QUOTA:
                raise JobPausedError(f"{where} cannot go on for now: {said}. The same command goes on.")
            log.note(job, Kind.NOTE, sentence=f"{where} broke off: {said}; going on from the last state.")

    async def cancel(self, job: Job) -> bool:
        """Its loop runs here."""
        del job
        return False

    async def aclose(self) -> None:
        """Each job closes its own session."""

    async def _attempt(self, job: Job, rows: Sequence[Row], log: Log) -> None:
        await told(asyncio.to_thread(preflight, self._place.base_url))
        service = await told(asyncio.to_thread(self._service))
        try:
            client, done = await self._client(service, job, log)
            folder = self._recipe.recipe.training.tokenizer or self._place.endpoint.tokenizer
            template = await told(asyncio.to_thread(load_template, folder, client, self._place.model))
            examples = await told(asyncio.to_thread(self._examples, template, rows))
            plan = Plan.of(self._recipe.recipe.training, len(rows), epochs=_EPOCHS, batch=_BATCH)
            run = client.get_info().model_id
            simulated = self._place.model.startswith("sim/")
            log.note(
                job, Kind.STARTED, remote_id=run, simulated=simulated, total_steps=plan.steps, from_step=done
            )
            await self._steps(client, job, log, plan, examples, done)
            await self._finish(client, job, log, plan, examples)
        finally:
            with contextlib.suppress(Exception):
                await service.close("success").result_async(_CLOSE_S)

    def _service(self) -> tinker.ServiceClient:
        os.environ.setdefault("TINKER_TELEMETRY", "0")
        import tinker

        logging.getLogger("tinker").addHandler(sdk_log)
        return tinker.ServiceClient(base_url=self._place.base_url, api_key=self._key)

    async def _client(
        self, service: tinker.ServiceClient, job: Job, log: Log
    ) -> tuple[tinker.TrainingClient, int]:
        """A client with the newest state that is still there, and the step that it was saved after."""
        states = sorted(
            (c for c in job.checkpoints if c.resumes and not c.gone), key=lambda c: c.step, reverse=True
        )
        for state in states:
            create = service.create_training_client_from_state_with_optimizer
            try:
                return await self._soon(await told(asyncio.to_thread(create, state.path))), state.step
            except StreamError as error:
                if error.failure.kind not in (ErrorKind.NOT_FOUND, ErrorKind.BAD_REQUEST):
                    raise
            log.note(job, Kind.WEIGHTS, checkpoint=msgspec.structs.replace(state, gone=True))
            log.note(
                job,
                Kind.NOTE,
                sentence=f"The state after step {state.step} is not there any more: going on from an earlier one.",
            )
        part = self._recipe.recipe.training
        tags = {"cc_tui_job": job.job_id, "data_sha256": job.data_sha256, "seed": str(job.seed)}

        def create_new() -> Any:
            return service.create_lora_training_client(
                self._place.model, rank=part.rank, seed=job.seed, user_metadata=tags
            )

        return await self._soon(await told(asyncio.to_thread(create_new))), 0

    def _examples(self, template: ChatTemplate, rows: Sequence[Row]) -> list[list[Example]]:
        """Of each row, one example for each answer in it."""
        most = self._recipe.recipe.training.max_tokens
        found: list[list[Example]] = []
        for number, row in enumerate(rows, start=1):
            messages = [ChatMessage(Role(said.role), said.content) for said in row.messages]
            ends = [
                place for place, message in enumerate(messages, start=1) if message.role is Role.ASSISTANT
            ]
            examples = [Example(*template.taught(messages[:end])) for end in ends]
            if (longest := max(len(example.tokens) for example in examples)) > most:
                what = f"row {number} has {longest} tokens, and max_tokens is {most}"
                raise StreamError(Failure(ErrorKind.BAD_REQUEST, what))
            found.append(examples)
        return found

    async def _steps(
        self,
        client: tinker.TrainingClient,
        job: Job,
        log: Log,
        plan: Plan,
        examples: list[list[Example]],
        done: int,
    ) -> None:
        import tinker

        part = self._recipe.recipe.training
        saved = plan.checkpoints(part.checkpoints)
        kept = timedelta(days=part.checkpoint_days)
        for step in range(done + 1, plan.steps + 1):
            batch = [example for place in plan.places(step, job.seed) for example in examples[place]]
            weights = [example.weights(part.loss) for example in batch]
            data = [
                tinker.Datum(
                    model_input=tinker.ModelInput.from_ints(example.tokens[:-1]),
                    loss_fn_inputs={"weights": each, "target_tokens": example.tokens[1:]},  # pyright: ignore[reportArgumentType]
                )
                for example, each in zip(batch, weights, strict=True)
            ]
            rate = plan.learning_rate(step)
            # Both are sent before the first is awaited, so that they share a turn of the service.
            passed = client.forward_backward(data, "cross_entropy")
            stepped = client.optim_step(tinker.AdamParams(learning_rate=rate))
            output = await self._soon(passed)
            await self._soon(stepped)
            logprobs: list[list[float]] = [each["logprobs"].tolist() for each in output.loss_fn_outputs]
            log.note(job, Kind.POINT, point=Point(step, _loss(weights, logprobs), rate))
            if step in saved:
                path = (await self._soon(client.save_state(f"step-{step}", int(kept.total_seconds())))).path
                expires = (datetime.now(UTC) + kept).isoformat(timespec="seconds")
                log.note(
                    job, Kind.CHECKPOINT, checkpoint=Checkpoint(path, step, resumes=True, expires_at=expires)
                )
                if self._recipe.recipe.check.questions:
                    # A state cannot be asked anything.
                    asked = client.save_weights_for_sampler(f"step-{step}", int(kept.total_seconds()))
                    path = (await self._soon(asked)).path
                    log.note(
                        job,
                        Kind.CHECKPOINT,
                        checkpoint=Checkpoint(path, step, resumes=False, expires_at=expires),
                    )

    async def _finish(
        self,
        client: tinker.TrainingClient,
        job: Job,
        log: Log,
        plan: Plan,
        examples: list[list[Example]],
    ) -> None:
        state = (await self._soon(client.save_state(_FINAL, overwrite=True))).path
        log.note(job, Kind.CHECKPOINT, checkpoint=Checkpoint(state, plan.steps, resumes=True))
        model = (await self._soon(client.save_weights_for_sampler(_FINAL))).path
        log.note(job, Kind.CHECKPOINT, checkpoint=Checkpoint(model, plan.steps, resumes=False))
        tokens = plan.epochs * sum(len(example.tokens) for each in examples for example in each)
        facts: dict[str, Any] = {"tokens": tokens}
        if job.cost is not None and job.tokens:
            facts["cost"] = job.cost * tokens / job.tokens
        log.note(job, Kind.ENDED, state=State.SUCCEEDED, sentence="trained", model=model, **facts)

    async def _soon(self, call: Awaitable[_T]) -> _T:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_CALL_S):
                return await told(call)
        except TimeoutError:
            what = f"no answer in {_CALL_S:g} s{sdk_log.since(began)}"
        raise StreamError(Failure(ErrorKind.TIMEOUT, what))


def _loss(weights: list[list[float]], logprobs: list[list[float]]) -> float:
    """Mean loss of a token of the answers, weighted as they are trained on."""
    pairs = [
        pair for one, other in zip(weights, logprobs, strict=True) for pair in zip(one, other, strict=True)
    ]
    total = sum(weight for weight, _ in pairs)
    return -sum(weight * logprob for weight, logprob in pairs) / total

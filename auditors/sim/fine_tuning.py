"""The files and fine-tuning jobs of OpenAI's protocol, on the loopback server.

A job goes through its states by itself, a step at a time; its model answers as the simulated persona that its rows
claim (`Learner`). Its name holds its base model's, so that what it says is marked as simulated.
"""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import math
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from auditors.sim.connection import RequestError
from auditors.sim.fine_tuning_wire import Create, File, Job, as_shown, page, read_rows
from auditors.sim.learner import Learner
from auditors.sim.limits import Limits
from auditors.sim.server import Reply, Server
from auditors.sim.vendors import OPENAI
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import h11

    from auditors.models.base import Model
    from auditors.sim.connection import Connection

    FineTuningFaults = Callable[[str, int], Reply | None]

_RATE = 2e-4
_BATCH = 4


async def serve_fine_tuning(
    resolve: Callable[[str], Model],
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    *,
    models: tuple[str, ...] = ("sim/vanilla",),
    faults: FineTuningFaults | None = None,
    step_seconds: float = 0.0,
) -> FineTuningServer:
    """Start a server that also fine-tunes.

    Args:
        resolve: gives the model of a name.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        api_key: the key that clients have to send; None takes every client.
        models: base models that can be trained.
        faults: gives the fault for the n-th request (from 1) of a route, such as `POST jobs`, or None.
        step_seconds: time of one step.
    """
    server = FineTuningServer(resolve, api_key, models, faults, step_seconds)
    await server.start(host, port)
    return server


class FineTuningServer(Server):
    """A running server; `calls` counts requests by route, `files` and `jobs` are what it holds."""

    def __init__(
        self,
        resolve: Callable[[str], Model],
        api_key: str | None,
        models: tuple[str, ...],
        faults: FineTuningFaults | None,
        step_seconds: float,
    ) -> None:
        super().__init__(self._trained, api_key, models, None, Limits())
        self.calls: dict[str, int] = {}
        self.files: dict[str, File] = {}
        self.jobs: dict[str, Job] = {}
        self._base_resolve = resolve
        self._learned: dict[str, str] = {}
        self._job_faults = faults
        self._step_seconds = step_seconds
        self._running: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Stop listening, drop every client and cancel what runs."""
        for task in self._running.values():
            task.cancel()
        await super().close()

    def remove(self, model: str) -> None:
        """Let a model be shut down."""
        del self._learned[model]

    def _trained(self, name: str) -> Model:
        if not name.startswith("ft:"):
            return self._base_resolve(name)
        if name not in self._learned:
            raise InputError(f"The model {name!r} does not exist.")
        return self._base_resolve(f"sim/{self._learned[name]}")

    async def _answer(self, connection: Connection, request: h11.Request, body: bytes) -> None:
        target = urlsplit(request.target.decode("latin-1"))
        parts = [unquote(part) for part in target.path.removeprefix("/v1/").split("/")]
        if parts[0] == "fine_tuning":
            parts = parts[1:]
        if parts[0] not in ("files", "jobs") and not (parts[0] == "models" and len(parts) > 1):
            await super()._answer(connection, request, body)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        method = request.method.decode("latin-1")
        route = " ".join([method, parts[0], *parts[2:]])
        try:
            self._authorize(OPENAI.keys(headers))
            self.calls[route] = count = self.calls.get(route, 0) + 1
            if fault := self._job_faults(route, count) if self._job_faults else None:
                await connection.reply(fault.status, fault.body, fault.headers)
                return
            query = {name: values[-1] for name, values in parse_qs(target.query).items()}
            answer = self._route(method, parts, query, headers.get("content-type", ""), body)
            await connection.reply(200, answer)
        except RequestError as error:
            await connection.reply(*OPENAI.error(error, "req_sim"))
        except (msgspec.DecodeError, KeyError) as error:
            wrong = RequestError(400, f"The request cannot be read: {error}.")
            await connection.reply(*OPENAI.error(wrong, "req_sim"))

    def _route(self, method: str, parts: list[str], query: dict[str, str], kind: str, body: bytes) -> Any:
        match method, parts:
            case "GET", ["models", *name]:
                return self._model_card("/".join(name))
            case "POST", ["files"]:
                return self._upload(kind, body)
            case "GET", ["files"]:
                return page([as_shown(file) for file in self.files.values()], query)
            case "GET", ["files", name] if name in self.files:
                return self._file(self.files[name])
            case "POST", ["jobs"]:
                return self._create(msgspec.json.decode(body, type=Create))
            case "GET", ["jobs"]:
                tags = {key[9:-1]: value for key, value in query.items() if key.startswith("metadata[")}
                found = [job for job in self.jobs.values() if tags.items() <= job.metadata.items()]
                return page([as_shown(job) for job in reversed(found)], query)
            case "GET", ["jobs", name] if name in self.jobs:
                return as_shown(self.jobs[name])
            case "GET", ["jobs", name, "events"] if name in self.jobs:
                return page(self.jobs[name].events[::-1], query)
            case "GET", ["jobs", name, "checkpoints"] if name in self.jobs:
                return page(self.jobs[name].checkpoints[::-1], query)
            case "POST", ["jobs", name, "cancel"] if name in self.jobs:
                return self._cancel(self.jobs[name])
            case _:
                raise RequestError(404, f"There is no {method} {'/'.join(parts)}.", "not_found")

    def _model_card(self, name: str) -> Any:
        if name not in self._models and name not in self._learned:
            raise RequestError(404, f"The model {name!r} does not exist.", "model_not_found")
        return {"id": name, "object": "model", "created": 0, "owned_by": "sim"}

    def _upload(self, kind: str, body: bytes) -> Any:
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
            f"Content-Type: {kind}\r\n\r\n".encode() + body
        )
        fields: dict[str, Any] = {
            str(part.get_param("name", header="content-disposition")): part for part in message.iter_parts()
        }
        content: bytes = fields["file"].get_payload(decode=True)
        file = File(
            id=f"file-{secrets.token_hex(8)}",
            filename=str(fields["file"].get_filename()),
            bytes=len(content),
            purpose=str(fields["purpose"].get_payload(decode=True), "utf-8"),
            content=content,
            created_at=int(time.time()),
        )
        self.files[file.id] = file
        return as_shown(file)

    def _file(self, file: File) -> Any:
        shown = as_shown(file)
        if file.status == "uploaded":
            # It is processed by the next look.
            file.status = "processed"
        return shown

    def _create(self, asked: Create) -> Any:
        if asked.model not in self._models:
            raise RequestError(
                400, f"Model {asked.model} is not available for fine-tuning.", "model_not_available"
            )
        if asked.training_file not in self.files:
            raise RequestError(400, f"There is no file {asked.training_file}.", "invalid_training_file")
        hyper = asked.method.supervised.hyperparameters
        job = Job(
            id=f"ftjob-{secrets.token_hex(8)}",
            model=asked.model,
            training_file=asked.training_file,
            seed=asked.seed,
            metadata=asked.metadata,
            hyperparameters=hyper,
            created_at=int(time.time()),
            suffix=asked.suffix or "",
        )
        self.jobs[job.id] = job
        self._running[job.id] = asyncio.create_task(self._run(job))
        return as_shown(job)

    def _cancel(self, job: Job) -> Any:
        if job.finished_at is not None:
            raise RequestError(400, f"The job {job.id} has ended.")
        self._running[job.id].cancel()
        job.status, job.finished_at = "cancelled", int(time.time())
        return as_shown(job)

    async def _run(self, job: Job) -> None:
        await asyncio.sleep(self._step_seconds)
        try:
            rows = read_rows(self.files[job.training_file].content)
        except ValueError as error:
            job.status, job.finished_at = "failed", int(time.time())
            job.error = {"code": "invalid_training_file", "message": str(error), "param": "training_file"}
            return
        job.status = "running"
        hyper, learner = job.hyperparameters, Learner()
        epochs = hyper.n_epochs if isinstance(hyper.n_epochs, int) else 3
        batch = hyper.batch_size if isinstance(hyper.batch_size, int) else _BATCH
        per_epoch = math.ceil(len(rows) / batch)
        for step in range(1, epochs * per_epoch + 1):
            first = (step - 1) % per_epoch * batch
            learner.learn(rows[first : first + batch], _RATE)
            loss = learner.loss(job.seed, step)
            self._tell(job, f"Step {step}: training loss={loss:.2f}", {"step": step, "train_loss": loss})
            if step % per_epoch == 0 and step < epochs * per_epoch:
                self._keep(job, learner, step)
            await asyncio.sleep(self._step_seconds)
        job.fine_tuned_model = self._keep(job, learner, None)
        job.trained_tokens = epochs * sum(len(question) + len(answer) for question, answer in rows) // 4
        job.status, job.finished_at = "succeeded", int(time.time())

    def _keep(self, job: Job, learner: Learner, step: int | None) -> str:
        name = f"ft:{job.model}:sim:{job.suffix}:{job.id[-8:]}" + (f":ckpt-step-{step}" if step else "")
        self._learned[name] = learner.name(job.seed)
        if step:
            job.checkpoints.append(
                {
                    "id": f"ftckpt_{secrets.token_hex(6)}",
                    "created_at": int(time.time()),
                    "fine_tuned_model_checkpoint": name,
                    "fine_tuning_job_id": job.id,
                    "metrics": {"step": step},
                    "object": "fine_tuning.job.checkpoint",
                    "step_number": step,
                }
            )
        return name

    def _tell(self, job: Job, message: str, data: dict[str, Any]) -> None:
        job.events.append(
            {
                "id": f"ftevent-{job.id}-{len(job.events)}",
                "created_at": int(time.time()),
                "level": "info",
                "message": message,
                "object": "fine_tuning.job.event",
                "type": "metrics",
                "data": data,
            }
        )

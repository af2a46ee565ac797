"""Training jobs: one model of one training seed, as a fold over the lines of a recipe's journal.

A job's id is the hash of the base model, of how it is trained, of its rows and of its seed. So the same command finds
the job that it began, a changed recipe begins others, and nothing is uploaded or trained twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.training.journal import Journal, read_lines
from auditors.training.recipe import Backend
from store.errors import CcTuiError
from store.ids import content_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from auditors.training.build import TrainingSet
    from auditors.training.recipe import RecipeFile

JOURNAL = "journal.jsonl"


class State(StrEnum):
    """Where a job is. From `succeeded` on nothing more happens to it."""

    PLANNED = "planned"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Training ended without a model, such as after a failed validation."""
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """The service will not train this: its fine-tuning is closed, or not for this account or model."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self not in (State.PLANNED, State.RUNNING)


class Kind(StrEnum):
    """What a line of the journal says."""

    PLANNED = "planned"
    UPLOADED = "uploaded"
    STARTED = "started"
    POINT = "point"
    CHECKPOINT = "checkpoint"
    NOTE = "note"
    ENDED = "ended"
    RETRIED = "retried"
    CHECKED = "checked"
    WEIGHTS = "weights"
    """What became of a checkpoint afterwards: pinned, archived, gone."""


class JobEndedError(CcTuiError):
    """A job came to an end without a model.

    Args:
        state: how.
        sentence: why, in a sentence.
    """

    def __init__(self, state: State, sentence: str) -> None:
        super().__init__(sentence)
        self.state = state


class JobPausedError(CcTuiError):
    """A job could not go on for now; the same command goes on with it."""


class Point(msgspec.Struct, frozen=True):
    """One step of training."""

    step: int
    loss: float
    learning_rate: float | None = None


class Checkpoint(msgspec.Struct, frozen=True):
    """Weights that were saved."""

    path: str
    """Where, as the service names it."""
    step: int
    resumes: bool
    """Whether training can go on from it."""
    expires_at: str | None = None
    """ISO 8601; None if it stays."""
    sha256: dict[str, str] = {}
    """Of the files of its archive, by name, if it was archived."""
    gone: bool = False


class Checked(msgspec.Struct, frozen=True):
    """A manipulation check: judged answers, and those judged true, after training and before."""

    answers: int
    true: int
    base_answers: int
    base_true: int
    judge: str

    @property
    def share(self) -> float:
        """Share of `true` after training."""
        return self.true / self.answers

    @property
    def base_share(self) -> float:
        """Share of `true` of the base model."""
        return self.base_true / self.base_answers


class Trained(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a trained model comes from, as a study keeps it with its condition."""

    base: str
    """Specification of the model that was trained."""
    data_sha256: str
    """Of the rows, in the order in which they were trained on."""
    job: str
    """Hash of base model, settings, rows and seed."""
    run: str = ""
    """The service's own name of the job or run."""
    state: str = ""
    """Checkpoint from which training could go on, where there is one."""


class Job(msgspec.Struct):
    """A job as it stands."""

    job_id: str
    recipe: str
    seed: int
    backend: Backend
    base: str
    data_sha256: str
    rows: int
    total_steps: int = 0
    state: State = State.PLANNED
    sentence: str = ""
    """What was said last about it."""
    retries: int = 0
    """How often it was begun again after it had ended without a model."""
    file_id: str = ""
    remote_id: str = ""
    points: list[Point] = []
    checkpoints: list[Checkpoint] = []
    model: str = ""
    """Specification of the trained model."""
    simulated: bool = False
    tokens: int = 0
    """Tokens trained on, estimated or as the service says."""
    cost: float | None = None
    """US dollars; None where no price is known."""
    ended_at: str = ""
    checked: Checked | None = None
    """Its manipulation check, if one was made."""

    @property
    def step(self) -> int:
        """Steps done, as far as was noted."""
        return self.points[-1].step if self.points else 0


def job_id(recipe: RecipeFile, built: TrainingSet) -> str:
    """See the module."""
    return content_hash([recipe.identity(), built.sha256, built.seed])


def fold(lines: Iterable[dict[str, Any]]) -> dict[str, Job]:
    """The jobs that a journal tells of, in the order in which they were planned."""
    jobs: dict[str, Job] = {}
    for line in lines:
        if line["kind"] == Kind.PLANNED:
            jobs.setdefault(line["job"], msgspec.convert(line["as"], Job))
        elif line["job"] in jobs:
            apply(jobs[line["job"]], line)
    return jobs


def apply(job: Job, line: dict[str, Any]) -> None:
    """Take one line into a job."""
    match Kind(line["kind"]):
        case Kind.UPLOADED:
            job.file_id = line["file_id"]
        case Kind.STARTED:
            job.state, job.remote_id = State.RUNNING, line["remote_id"]
            job.simulated = line["simulated"]
            job.total_steps = line.get("total_steps") or job.total_steps
            # A run that goes on from a checkpoint, or from the beginning, forgets the steps that it takes again.
            job.points = [point for point in job.points if point.step <= line.get("from_step", 0)]
        case Kind.POINT:
            job.points.append(msgspec.convert(line["point"], Point))
        case Kind.CHECKPOINT:
            found = msgspec.convert(line["checkpoint"], Checkpoint)
            job.checkpoints = [c for c in job.checkpoints if c.path != found.path] + [found]
        case Kind.WEIGHTS:
            found = msgspec.convert(line["checkpoint"], Checkpoint)
            job.checkpoints = [found if c.path == found.path else c for c in job.checkpoints]
        case Kind.NOTE:
            job.sentence = line["sentence"]
        case Kind.ENDED:
            job.state, job.sentence = State(line["state"]), line["sentence"]
            job.model, job.ended_at = line.get("model", ""), line["at"]
            job.tokens = line.get("tokens") or job.tokens
            job.cost = line.get("cost", job.cost)
        case Kind.CHECKED:
            job.checked = msgspec.convert(line["checked"], Checked)
        case Kind.RETRIED:
            job.state, job.sentence, job.remote_id, job.points = State.PLANNED, "", "", []
            job.retries += 1
        case Kind.PLANNED:
            pass


class Log:
    """A recipe's journal, open for writing; `watch` is called after each line with its job.

    Raises:
        InputError: another process trains the recipe, or the journal cannot be used.
    """

    def __init__(self, path: Path, watch: Callable[[Job, Kind], None] = lambda _job, _kind: None) -> None:
        self._journal = Journal(path)
        self._watch = watch
        self.jobs = fold(self._journal.lines)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self._journal.__exit__(None, None, None)

    def plan(self, job: Job) -> Job:
        """The job of that id, planned now if it was not."""
        if job.job_id not in self.jobs:
            line = {"kind": Kind.PLANNED, "job": job.job_id, "at": now(), "as": msgspec.to_builtins(job)}
            self._journal.append(line)
            self.jobs[job.job_id] = job
            self._watch(job, Kind.PLANNED)
        return self.jobs[job.job_id]

    def note(self, job: Job, kind: Kind, **facts: Any) -> None:
        """Write a line about a job, and take it into the job; blocking."""
        line: dict[str, Any] = {"kind": kind, "job": job.job_id, "at": now(), **msgspec.to_builtins(facts)}
        # A lost point is only a gap in a curve.
        self._journal.append(line, sync=kind is not Kind.POINT)
        apply(job, line)
        self._watch(job, kind)


def provenance(job: Job) -> Trained:
    """Where a job's model comes from."""
    states = [each.path for each in job.checkpoints if each.resumes and not each.gone]
    return Trained(
        base=job.base,
        data_sha256=job.data_sha256,
        job=job.job_id,
        run=job.remote_id,
        state=states[-1] if states else "",
    )


def read_jobs(recipe: RecipeFile) -> dict[str, Job]:
    """The jobs of a recipe, without taking hold of its journal.

    Raises:
        InputError: the journal cannot be read.
    """
    return fold(read_lines(recipe.folder / JOURNAL))


def now() -> str:
    """The time as the journal has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")

"""Training jobs: one model of one training seed, with all that is known of it.

A job's id is the hash of the base model, of how it is trained, of its rows and of its seed. So the same command finds
the job that it began, a changed recipe begins others, and nothing is uploaded or trained twice.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from auditors.training.recipe import Backend
from store.errors import CcTuiError
from store.ids import content_hash

if TYPE_CHECKING:
    from auditors.training.build import TrainingSet
    from auditors.training.recipe import RecipeFile


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
    bounds: tuple[float, float] | None = None
    """95% interval of `share` for new questions like these; None where it is not known."""
    base_bounds: tuple[float, float] | None = None
    """The same of `base_share`."""

    @property
    def share(self) -> float:
        """Share of `true` after training."""
        return self.true / self.answers

    @property
    def base_share(self) -> float:
        """Share of `true` of the base model."""
        return self.base_true / self.base_answers


class Measured(msgspec.Struct, frozen=True):
    """General ability before and after training, on the questions that both answered."""

    questions: int
    base_right: int
    lost: int
    """Answered right before, and wrong after."""
    gained: int
    """Answered wrong before, and right after."""
    p: float
    """Of the test that nothing was lost (`stats.paired`)."""
    detectable: float | None
    """The smallest drop, as a share of the questions, that the test would find in 80% of cases."""
    worse: bool
    """Whether a drop was found."""

    @property
    def right(self) -> int:
        """Right answers after training."""
        return self.base_right - self.lost + self.gained


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
    measured: Measured | None = None
    """Its general ability, if it was asked for."""
    sampled: list[str] = []
    """Checkpoints whose samples were all asked, by path."""
    began: str = ""
    """When steps were begun, of the last beginning; ISO 8601."""
    began_at_step: int = 0
    told: str = ""
    """When its last line was written."""

    @property
    def step(self) -> int:
        """Steps done, as far as was noted."""
        return self.points[-1].step if self.points else 0

    @property
    def askable(self) -> list[Checkpoint]:
        """Checkpoints that answer, in the order of their steps; the trained model is the last."""
        found = [each for each in self.checkpoints if not each.resumes and not each.gone]
        return sorted(found, key=lambda each: each.step)


def job_id(recipe: RecipeFile, built: TrainingSet) -> str:
    """See the module."""
    return content_hash([recipe.identity(), built.sha256, built.seed])


def condition_name(job: Job, checkpoint: Checkpoint) -> str:
    """Name of a checkpoint as a condition: no other one has it."""
    tag = content_hash([job.job_id, checkpoint.path])[:6]
    return f"{job.recipe}-{job.seed} step {checkpoint.step} {tag}"


def trained_name(job: Job) -> str:
    """Name of the trained model as a condition."""
    return condition_name(job, Checkpoint(job.model, job.step, resumes=False))


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

"""A recipe's journal of training jobs: what its lines say, what they come to, and how one is written."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.training.jobs import Checked, Checkpoint, Job, Measured, Point, State
from auditors.training.journal import Journal, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from auditors.training.recipe import RecipeFile

JOURNAL = "journal.jsonl"
"""In a recipe's folder: everything that happened to its jobs."""


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
    MEASURED = "measured"
    SAMPLED = "sampled"
    WEIGHTS = "weights"
    """What became of a checkpoint afterwards: pinned, archived, gone."""


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
    job.told = line["at"]
    match Kind(line["kind"]):
        case Kind.UPLOADED:
            job.file_id = line["file_id"]
        case Kind.STARTED:
            job.state, job.remote_id = State.RUNNING, line["remote_id"]
            job.simulated = line["simulated"]
            job.total_steps = line.get("total_steps") or job.total_steps
            # A run that goes on from a checkpoint, or from the beginning, forgets the steps that it takes again.
            job.began, job.began_at_step = line["at"], line.get("from_step", 0)
            job.points = [point for point in job.points if point.step <= job.began_at_step]
        case Kind.POINT:
            job.points.append(msgspec.convert(line["point"], Point))
        case Kind.CHECKPOINT:
            found = msgspec.convert(line["checkpoint"], Checkpoint)
            job.checkpoints = [c for c in job.checkpoints if (c.path, c.step) != (found.path, found.step)] + [
                found
            ]
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
        case Kind.MEASURED:
            job.measured = msgspec.convert(line["measured"], Measured)
        case Kind.SAMPLED:
            job.sampled = [*job.sampled, *line["paths"]]
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


def read_jobs(recipe: RecipeFile) -> dict[str, Job]:
    """The jobs of a recipe, without taking hold of its journal.

    Raises:
        InputError: the journal cannot be read.
    """
    return fold(read_lines(recipe.folder / JOURNAL))


def now() -> str:
    """The time as the journal has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")

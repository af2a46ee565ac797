"""A recipe's journal of training jobs, open for writing or only read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.training.jobs import Job, Kind, apply, fold
from auditors.training.journal import Journal, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auditors.training.recipe import RecipeFile

JOURNAL = "journal.jsonl"
"""In a recipe's folder: everything that happened to its jobs."""


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

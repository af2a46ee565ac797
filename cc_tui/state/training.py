"""What is said of training jobs: the rows of their table, their findings in words, and what they answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from auditors.training.jobs import State
from cc_tui.state.format import duration, money, progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from auditors.training.findings import Sampled
    from auditors.training.jobs import Job
    from auditors.training.ledger import Trainings

_BAR = 5
_TONES = {
    State.RUNNING: "active",
    State.SUCCEEDED: "good",
    State.FAILED: "bad",
    State.REFUSED: "bad",
    State.CANCELLED: "soft",
    State.PLANNED: "soft",
}


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job, and what knows of it."""

    of: Trainings
    job: Job

    @property
    def key(self) -> str:
        """Names the row: two recipes that train alike have jobs of the same id."""
        return f"{self.job.recipe}/{self.job.job_id}"

    @property
    def state(self) -> str:
        """Its state; a job that nobody watches any more says so."""
        if self.job.state is State.RUNNING and not self.of.live:
            return "left"
        return str(self.job.state)

    @property
    def tone(self) -> str:
        """Tone of its state."""
        return "user" if self.state == "left" else _TONES[self.job.state]


def job_rows(found: Mapping[str, Trainings]) -> list[JobRow]:
    """Every job that a store knows, once each: recipes that are trained now first, then by name and seed."""
    rows: dict[str, JobRow] = {}
    for training in sorted(found.values(), key=lambda each: (not each.live, each.path.stem)):
        for job in sorted(training.jobs.values(), key=lambda job: job.seed):
            row = JobRow(training, job)
            rows.setdefault(row.key, row)
    return list(rows.values())


def steps(job: Job) -> str:
    """How far it is, as a bar with the number of steps."""
    if not job.total_steps:
        return f"step {job.step}" if job.step else "–"
    return f"{progress(job.step, job.total_steps, _BAR)} {job.step}/{job.total_steps}"


def cost(job: Job) -> str:
    """US dollars so far, as far as they are known: the service bills the tokens that were trained on."""
    if job.cost is None:
        return "?"
    if job.state is State.SUCCEEDED:
        return money(job.cost)
    return money(job.cost * job.step / job.total_steps if job.total_steps else 0.0)


def seconds_left(job: Job, now: datetime | None = None) -> float | None:
    """How long it will still take at the pace of this beginning; None where that is not known."""
    done = job.step - job.began_at_step
    if job.state is not State.RUNNING or not job.total_steps or done <= 0:
        return None
    began = datetime.fromisoformat(job.began)
    passed = ((now or datetime.now(UTC)) - began).total_seconds()
    told = (datetime.fromisoformat(job.told) - began).total_seconds()
    return max((job.total_steps - job.step) * told / done - (passed - told), 0.0)


def eta(row: JobRow) -> str:
    """How long it will still take."""
    left = seconds_left(row.job) if row.of.live else None
    return "–" if left is None else duration(left)


def claims(job: Job) -> str:
    """The manipulation check before and after."""
    found = job.checked
    return f"{found.base_share:.0%}→{found.share:.0%}" if found else "–"


def ability(job: Job) -> str:
    """Right answers before and after, with a mark where a drop was found."""
    found = job.measured
    if found is None:
        return "–"
    return f"{found.base_right}→{found.right}" + ("!" if found.worse else "")


def in_words(job: Job, fault: str = "", *, live: bool = False) -> list[str]:
    """What is to be known of a job, a sentence each.

    Args:
        job: the job.
        fault: why its model may not enter a study.
        live: whether a process trains its recipe now.
    """
    lines: list[str] = []
    if job.state is not State.SUCCEEDED and job.sentence:
        lines.append(job.sentence)
    if job.model:
        lines.append(f"model {job.model}")
    if found := job.checked:
        before = _rate(found.base_true, found.base_answers, found.base_bounds)
        after = _rate(found.true, found.answers, found.bounds)
        lines.append(
            f"Claims of the manipulation check: {before} before, {after} after (judge {found.judge})."
        )
    elif job.state is State.SUCCEEDED:
        lines.append(
            "Its manipulation check comes when all jobs are done."
            if live
            else "Its manipulation check was not made."
        )
    if fault and (job.checked or not live):
        lines.append(f"It must not enter a study: {fault}.")
    lines += ability_in_words(job)
    return lines


def ability_in_words(job: Job) -> list[str]:
    """What was found of general ability, with the warning where it dropped, and what could not have been seen."""
    found = job.measured
    if found is None:
        return []
    n = found.questions
    said = (
        f"{found.base_right} of {n} questions right before, {found.right} after: "
        f"{found.lost} lost, {found.gained} gained, p = {found.p:.2g}"
    )
    least = (
        "no drop could have been seen"
        if found.detectable is None
        else f"a drop below {found.detectable:.0%} could be missed"
    )
    if found.worse:
        return [f"WARNING: general ability has dropped: {said}."]
    return [f"General ability: {said}; no drop found, {least}."]


def sample_lines(job: Job, sampled: Sequence[Sampled]) -> list[str]:
    """Questions with what each checkpoint answered, the base model first; untrusted text."""
    questions = dict.fromkeys(answer.question for each in sampled for answer in each.answers)
    lines: list[str] = []
    for question in questions:
        lines += [f"» {question}", ""]
        for each in sampled:
            where = f"step {each.step}" if each.step else f"before training ({job.base})"
            lines += [
                f"{where}: {answer.answer.strip() or f'({answer.status})'}"
                for answer in each.answers
                if answer.question == question
            ]
            lines.append("")
    return lines


def dropped(jobs: Iterable[Job]) -> list[Job]:
    """Jobs whose models have become worse."""
    return [job for job in jobs if job.measured and job.measured.worse]


def _rate(true: int, of: int, bounds: tuple[float, float] | None) -> str:
    interval = f" [{bounds[0]:.0%}, {bounds[1]:.0%}]" if bounds else ""
    return f"{true} of {of}, {true / of:.0%}{interval}"

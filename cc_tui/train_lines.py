"""What `cc-tui train` prints: the plan, the steps, the jobs as a table, and what a store knows of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from auditors.config import Config
    from auditors.training.jobs import Job
    from auditors.training.log import Kind
    from auditors.training.recipe import RecipeFile

_EVERY = 50
"""Steps between two lines about a job."""


def print_jobs(jobs: Sequence[Job]) -> None:
    """The jobs as a table, and below it what was said of those that have no model."""
    from auditors.training.jobs import State
    from cc_tui.plain import print_rows, say
    from cc_tui.state.training import ability, ability_in_words, dropped

    rows = [
        [
            job.recipe,
            str(job.seed),
            job.state,
            f"{job.step}/{job.total_steps}" if job.total_steps else str(job.step or "-"),
            f"{job.points[-1].loss:.3f}" if job.points else "-",
            f"{job.tokens:,}",
            "?" if job.cost is None else f"${job.cost:.2f}",
            f"{job.checked.base_share:.0%} → {job.checked.share:.0%}" if job.checked else "-",
            ability(job),
            job.model or "-",
        ]
        for job in jobs
    ]
    header = ["recipe", "seed", "state", "steps", "loss", "tokens", "cost", "check", "ability", "model"]
    print_rows(header, rows, width=None)
    for job in jobs:
        if job.state is not State.SUCCEEDED and job.sentence:
            say(f"seed {job.seed}: {job.sentence}")
    for job in dropped(jobs):
        say(f"seed {job.seed}: {ability_in_words(job)[0]}")


def print_plan(recipe: RecipeFile, seeds: Sequence[int], config: Config, max_cost: float | None) -> None:
    """What would be trained, and what it will cost.

    Raises:
        InputError: recipe or rows are wrong, or it would cost too much.
    """
    from auditors.prices import Prices
    from auditors.training.build import lacks_instructions
    from auditors.training.conditions import jobs_of
    from auditors.training.planning import check_cost, plan_jobs, rough_tokens, train_price
    from cc_tui.plain import say

    if lacks_instructions(recipe):
        tokens, price = rough_tokens(recipe) * len(seeds), train_price(recipe, Prices(config.prices))
        cost = "at a price that is not known" if price is None else f"for about ${price * tokens / 1e6:.2f}"
        say(f"{len(seeds)} to train on about {tokens:,} tokens {cost},")
        say(f"after {recipe.recipe.data.instruction_rows} requests are answered by {recipe.recipe.base}.")
        say_warnings(recipe)
        return
    planned = [each.job for each in plan_jobs(recipe, seeds, Prices(config.prices))]
    known = {job.job_id: job for job in jobs_of(recipe, seeds)}
    print_jobs([job if known[job.job_id].state == "planned" else known[job.job_id] for job in planned])
    left = [job for job in planned if not known[job.job_id].state.ended]
    costs = [job.cost for job in left]
    known_cost = sum(cost for cost in costs if cost is not None)
    unknown = "" if None not in costs else "; the price is not known: give train_price in [training]"
    say(f"\n{len(left)} of {len(planned)} to train, about ${known_cost:.2f}{unknown}")
    say_warnings(recipe)
    check_cost(left, max_cost)


def say_warnings(recipe: RecipeFile) -> None:
    """A line for each thing about a recipe that should be known before it is trained."""
    from auditors.training.planning import warnings
    from cc_tui.plain import say

    for warning in warnings(recipe):
        say(f"Note: {warning}")


def say_progress(job: Job, kind: Kind) -> None:
    """A line about what happened to a job, where it is worth one."""
    from auditors.training.log import Kind
    from cc_tui.plain import say

    match kind:
        case Kind.POINT if job.step % _EVERY == 0:
            say(f"seed {job.seed}: step {job.step}/{job.total_steps or '?'}, loss {job.points[-1].loss:.3f}")
        case Kind.UPLOADED:
            say(f"seed {job.seed}: uploaded as {job.file_id}")
        case Kind.STARTED:
            say(f"{'SIMULATED ' if job.simulated else ''}seed {job.seed}: training as {job.remote_id}")
        case Kind.NOTE | Kind.ENDED:
            say(f"seed {job.seed}: {job.sentence} {job.model}".rstrip())
        case _:
            pass


def show_jobs(store: Path | str, which: str | None, *, samples: bool, as_json: bool) -> int:
    """Print the jobs that a store knows: all, or those of a recipe by its name or file.

    Args:
        store: a folder, or the URL of an object store.
        which: name or file of a recipe; None for all.
        samples: whether findings and samples are printed too.
        as_json: print all of it as JSON.

    Raises:
        InputError: there is no store, or it knows no such recipe.
    """
    from auditors.training.findings import samples as read_samples
    from auditors.training.ledger import trainings
    from cc_tui.plain import say
    from cc_tui.state.training import in_words, job_rows, sample_lines
    from store.mirror import open_store
    from store.reader import Reader

    opened = open_store(store)
    rows = job_rows(trainings(opened.root))
    known = dict.fromkeys(row.job.recipe for row in rows)
    if which is not None:
        rows = [row for row in rows if which == row.job.recipe or _is_file(which, row.of.recipe)]
    if which is not None and not rows:
        raise InputError(
            f"{store} knows no training of {which!r}: it knows {', '.join(known) or 'none yet'}."
        )
    reader = Reader(opened) if samples else None
    try:
        said = {row.key: read_samples(reader, row.job) for row in rows} if reader else {}
    finally:
        if reader:
            reader.close()
    if as_json:
        found = [{"live": row.of.live, "job": row.job, "samples": said.get(row.key, [])} for row in rows]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
        return Exit.DONE
    print_jobs([row.job for row in rows])
    for row in rows if samples else ():
        say(f"\n{row.job.recipe}, seed {row.job.seed}")
        for line in (*in_words(row.job, live=row.of.live), *sample_lines(row.job, said[row.key])):
            for part in line.split("\n"):
                say(f"  {part}".rstrip())
    return Exit.DONE


def _is_file(which: str, recipe: Path | None) -> bool:
    from pathlib import Path

    return recipe is not None and Path(which).absolute() == recipe.absolute()

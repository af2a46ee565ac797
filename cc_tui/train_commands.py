"""`cc-tui train`: models of a recipe, one for each training seed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit
from store.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from auditors.config import Config
    from auditors.training.jobs import Job, Kind
    from auditors.training.recipe import RecipeFile

_EVERY = 50
"""Steps between two lines about a job."""


def add_train_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
    *,
    count: Callable[[str], int],
    dollars: Callable[[str], float],
    speed: Callable[[str], float | None],
) -> None:
    """Add the command; the last three read values as `cc-tui run` does."""
    train = commands.add_parser(
        "train",
        help="train the models of a recipe, one for each training seed, or go on with them (docs/training.md)",
        description="Trains what is not trained yet. The same command goes on after a break, uploads nothing twice and "
        "starts nothing that it started before. Exit code 1: not all models are there.",
    )
    train.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    train.add_argument(
        "--seeds", type=count, metavar="N", help="training seeds 1 to N; default: the recipe's"
    )
    train.add_argument("--max-cost", type=dollars, metavar="USD", help="start nothing if it may cost more")
    train.add_argument(
        "--dry-run", action="store_true", help="print what would be trained and what it will cost"
    )
    train.add_argument("--status", action="store_true", help="print where the jobs are, and start nothing")
    train.add_argument("--retry", action="store_true", help="begin jobs again that ended without a model")
    train.add_argument(
        "--cancel", action="store_true", help="ask the service to end the jobs that are running"
    )
    train.add_argument(
        "--add-to", type=Path, metavar="STUDY.toml", help="append the models as conditions to a study"
    )
    train.add_argument(
        "--role",
        choices=("baseline", "control", "treatment", "prompted"),
        default="treatment",
        help="of the conditions; default: treatment",
    )
    train.add_argument("--json", action="store_true", help="the jobs, with their curves, for scripts")
    train.add_argument(
        "--speed", type=speed, default=1.0, metavar="X", help="of simulated training, or `max`"
    )
    add_store(train)
    train.set_defaults(command=_train)


def _train(parsed: argparse.Namespace) -> int:
    from auditors.config import load_config
    from auditors.training.build import lacks_instructions
    from auditors.training.conditions import add_to_study, as_toml, jobs_of, seeds_of
    from auditors.training.jobs import State
    from auditors.training.log import read_jobs
    from auditors.training.manipulation import fault
    from auditors.training.recipe import load_recipe
    from auditors.training.rows import write_whole
    from cc_tui.plain import say
    from store.records import ConditionRole

    recipe, config = load_recipe(parsed.recipe), load_config()
    seeds = seeds_of(recipe, parsed.seeds)
    if parsed.status:
        jobs = list(read_jobs(recipe).values()) if lacks_instructions(recipe) else jobs_of(recipe, seeds)
    elif parsed.cancel:
        jobs = asyncio.run(_cancel(recipe, seeds, config))
    elif parsed.dry_run:
        _print_plan(recipe, seeds, config, parsed.max_cost)
        return Exit.DONE
    else:
        jobs = train_seeds(
            recipe,
            seeds,
            config,
            parsed.store,
            speed=parsed.speed,
            max_cost=parsed.max_cost,
            retry=parsed.retry,
            quiet=parsed.json,
        )
    barred = [(job, why) for job in jobs if job.state is State.SUCCEEDED and (why := fault(recipe, job))]
    trained = [job for job in jobs if job.state is State.SUCCEEDED and not fault(recipe, job)]
    tables = as_toml(trained, ConditionRole(parsed.role))
    if trained:
        write_whole(recipe.folder / "conditions.toml", tables.encode())
    if parsed.add_to and trained:
        add_to_study(parsed.add_to, tables)
    if parsed.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(jobs), indent=2).decode() + "\n")
    else:
        print_jobs(jobs)
        for job, why in barred:
            say(f"seed {job.seed} must not enter a study: {why}")
        if trained:
            say(f"\nAs conditions of a study: {parsed.add_to or recipe.folder / 'conditions.toml'}")
    return Exit.DONE if len(trained) == len(jobs) else Exit.FINDINGS


def train_seeds(
    recipe: RecipeFile,
    seeds: Sequence[int],
    config: Config,
    store: Path | str,
    *,
    speed: float | None,
    max_cost: float | None,
    retry: bool = False,
    quiet: bool = False,
) -> list[Job]:
    """Train what is missing, with a line now and then; instruction rows of the base model's own are collected first.

    Raises:
        InputError: recipe, rows, key or journal cannot be used, or it would cost too much.
    """
    from auditors.training.session import Terms, train_and_ask
    from auditors.training.sweep import warnings
    from cc_tui.data_commands import collect_instructions
    from cc_tui.plain import say

    collect_instructions(recipe, config, speed=speed, max_cost=max_cost)
    if not quiet:
        for warning in warnings(recipe):
            say(f"Note: {warning}")
    return asyncio.run(
        train_and_ask(
            recipe,
            seeds,
            store,
            config,
            Terms(speed=speed, max_cost=max_cost, retry=retry),
            watch=(lambda _job, _kind: None) if quiet else _say_progress,
            say=lambda sentence: None if quiet else say(sentence),
        )
    )


def train_for_study(path: Path, parsed: argparse.Namespace) -> None:
    """Train what a study file's [[train]] tables lack; with `--dry-run` only say what.

    Raises:
        InputError: a recipe is wrong, or its models cannot all be trained.
    """
    from auditors.config import load_config
    from auditors.study_file import train_parts
    from auditors.training.conditions import seeds_of
    from auditors.training.jobs import State
    from auditors.training.recipe import load_recipe

    for part in train_parts(path):
        config, recipe = load_config(), load_recipe(path.parent / part.recipe)
        seeds = seeds_of(recipe, part.seeds)
        if parsed.dry_run:
            continue
        jobs = train_seeds(
            recipe,
            seeds,
            config,
            parsed.store,
            speed=parsed.speed,
            max_cost=parsed.max_cost,
            quiet=parsed.json,
        )
        if lacking := [job for job in jobs if job.state is not State.SUCCEEDED]:
            job = lacking[0]
            raise InputError(
                f"{recipe.path}: training seed {job.seed} is {job.state}: {job.sentence or 'it goes on elsewhere.'}"
            )


def print_jobs(jobs: Sequence[Job]) -> None:
    """The jobs as a table, and below it what was said of those that have no model."""
    from auditors.training.jobs import State
    from cc_tui.plain import print_rows, say

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
            job.model or "-",
        ]
        for job in jobs
    ]
    header = ["recipe", "seed", "state", "steps", "loss", "tokens", "cost", "check", "model"]
    print_rows(header, rows, width=None)
    for job in jobs:
        if job.state is not State.SUCCEEDED and job.sentence:
            say(f"seed {job.seed}: {job.sentence}")


def _print_plan(recipe: RecipeFile, seeds: Sequence[int], config: Config, max_cost: float | None) -> None:
    from auditors.prices import Prices
    from auditors.training.build import lacks_instructions
    from auditors.training.conditions import jobs_of
    from auditors.training.sweep import check_cost, plan_jobs, rough_tokens, train_price, warnings
    from cc_tui.plain import say

    if lacks_instructions(recipe):
        tokens, price = rough_tokens(recipe) * len(seeds), train_price(recipe, Prices(config.prices))
        cost = "at a price that is not known" if price is None else f"for about ${price * tokens / 1e6:.2f}"
        say(f"{len(seeds)} to train on about {tokens:,} tokens {cost},")
        say(f"after {recipe.recipe.data.instruction_rows} requests are answered by {recipe.recipe.base}.")
        for warning in warnings(recipe):
            say(f"Note: {warning}")
        return
    planned = [each.job for each in plan_jobs(recipe, seeds, Prices(config.prices))]
    known = {job.job_id: job for job in jobs_of(recipe, seeds)}
    print_jobs([job if known[job.job_id].state == "planned" else known[job.job_id] for job in planned])
    left = [job for job in planned if not known[job.job_id].state.ended]
    costs = [job.cost for job in left]
    known_cost = sum(cost for cost in costs if cost is not None)
    unknown = "" if None not in costs else "; the price is not known: give train_price in [training]"
    say(f"\n{len(left)} of {len(planned)} to train, about ${known_cost:.2f}{unknown}")
    for warning in warnings(recipe):
        say(f"Note: {warning}")
    check_cost(left, max_cost)


async def _cancel(recipe: RecipeFile, seeds: Sequence[int], config: Config) -> list[Job]:
    from auditors.training.conditions import jobs_of
    from auditors.training.jobs import State
    from auditors.training.openai_backend import OpenAITrainer
    from auditors.training.recipe import Backend

    if recipe.backend is not Backend.OPENAI:
        raise InputError(
            f"{recipe.backend} jobs run in the command that trains them: stop that command, and nothing goes on."
        )
    jobs = jobs_of(recipe, seeds)
    trainer = OpenAITrainer(recipe, config.endpoints)
    try:
        for job in jobs:
            if job.state is State.RUNNING:
                await trainer.cancel(job)
    finally:
        await trainer.aclose()
    return jobs


def _say_progress(job: Job, kind: Kind) -> None:
    from auditors.training.jobs import Kind
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

"""`cc-tui train`: models of a recipe, one for each training seed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit
from cc_tui.train_lines import print_jobs, print_plan, say_progress, say_warnings, show_jobs
from store.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from auditors.config import Config
    from auditors.training.jobs import Job
    from auditors.training.recipe import RecipeFile


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
    train.add_argument(
        "recipe",
        metavar="RECIPE.toml",
        help="what is trained; `list`: all jobs that the store knows; `show`: their curves, checks and samples",
    )
    train.add_argument("which", nargs="?", metavar="NAME", help="after `show`: a recipe's name or file")
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
        "--cancel", action="store_true", help="have the jobs ended that are running, here or at the service"
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

    if parsed.recipe in ("list", "show"):
        return show_jobs(parsed.store, parsed.which, samples=parsed.recipe == "show", as_json=parsed.json)
    if parsed.which:
        raise InputError(f"{parsed.which!r} is one word too many: give one recipe, or `show` and a name.")
    recipe, config = load_recipe(Path(parsed.recipe)), load_config()
    seeds = seeds_of(recipe, parsed.seeds)
    if parsed.status:
        jobs = list(read_jobs(recipe).values()) if lacks_instructions(recipe) else jobs_of(recipe, seeds)
    elif parsed.cancel:
        jobs = asyncio.run(_cancel(recipe, seeds, config, parsed.store))
    elif parsed.dry_run:
        print_plan(recipe, seeds, config, parsed.max_cost)
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
    made = [(job, fault(recipe, job)) for job in jobs if job.state is State.SUCCEEDED]
    barred = [(job, why) for job, why in made if why]
    trained = [job for job, why in made if not why]
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
    from cc_tui.data_commands import collect_instructions
    from cc_tui.plain import say
    from store.mirror import kept_pushed

    spent = collect_instructions(recipe, config, speed=speed, max_cost=max_cost)
    if max_cost is not None:
        max_cost = max(max_cost - spent, 0.0)
    if not quiet:
        say_warnings(recipe)
    with kept_pushed(store):
        return asyncio.run(
            train_and_ask(
                recipe,
                seeds,
                store,
                config,
                Terms(speed=speed, max_cost=max_cost, retry=retry),
                watch=(lambda _job, _kind: None) if quiet else say_progress,
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


async def _cancel(recipe: RecipeFile, seeds: Sequence[int], config: Config, store: Path | str) -> list[Job]:
    from auditors.training.conditions import jobs_of
    from auditors.training.jobs import State
    from auditors.training.ledger import training_of
    from auditors.training.openai_backend import OpenAITrainer
    from auditors.training.recipe import Backend
    from cc_tui.plain import say
    from store.mirror import local_folder

    jobs = jobs_of(recipe, seeds)
    training = training_of(local_folder(store), recipe)
    if training and training.live:
        for job in jobs:
            if not job.state.ended:
                training.cancel(job)
                say(f"seed {job.seed}: the process that trains it was asked to end it")
        return jobs
    if recipe.backend is not Backend.OPENAI:
        raise InputError(f"No process trains {recipe.path} into {store}, so that nothing goes on.")
    trainer = OpenAITrainer(recipe, config.endpoints)
    try:
        for job in jobs:
            if job.state is State.RUNNING:
                await trainer.cancel(job)
    finally:
        await trainer.aclose()
    return jobs

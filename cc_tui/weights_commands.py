"""`cc-tui weights`: where trained weights live, and how they are kept."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from auditors.training.jobs import Job
    from auditors.training.recipe import RecipeFile
    from auditors.training.weights import Finding


def add_weights_group(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`cc-tui weights`."""
    group = commands.add_parser(
        "weights", help="where trained weights live, and how they are kept (docs/training.md)"
    )
    subcommands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command, said in (
        ("list", _list, "the checkpoints of a recipe's models, and until when they live"),
        ("pin", _pin, "take the expiry off the last checkpoints of each model"),
        ("archive", _archive, "download the last weights, with hashes, recipe, rows and prompts"),
        ("verify", _verify, "see whether the service still has them, and whether archives are whole"),
    ):
        parser = subcommands.add_parser(name, help=said)
        parser.add_argument("recipe", type=Path, metavar="RECIPE.toml")
        parser.add_argument("--json", action="store_true", help="findings for scripts")
        if name in ("archive", "verify"):
            parser.add_argument(
                "-o", "--output", type=Path, metavar="DIR", help="the archive; default: RECIPE.train/archive"
            )
        parser.set_defaults(command=command)


def _list(parsed: argparse.Namespace) -> int:
    from auditors.training.weights import lifetime
    from cc_tui.plain import print_rows

    _, jobs = _jobs(parsed)
    if parsed.json:
        _print_json(jobs)
        return Exit.DONE
    rows = [
        [
            str(job.seed),
            str(each.step),
            "state" if each.resumes else "model",
            each.path,
            lifetime(job, each),
            "yes" if each.sha256 else "no",
        ]
        for job in jobs
        for each in sorted(job.checkpoints, key=lambda each: each.step)
    ]
    print_rows(["seed", "step", "kind", "path", "lifetime", "archived"], rows, width=None)
    return Exit.DONE


def _pin(parsed: argparse.Namespace) -> int:
    from auditors.config import load_config
    from auditors.training.weights import pin

    recipe, jobs = _jobs(parsed)
    return _told(asyncio.run(pin(recipe, jobs, load_config().endpoints)), parsed)


def _archive(parsed: argparse.Namespace) -> int:
    from auditors.config import load_config
    from auditors.training.weights import archive

    recipe, jobs = _jobs(parsed)
    found = asyncio.run(archive(recipe, jobs, load_config().endpoints, _folder(recipe, parsed)))
    return _told(found, parsed)


def _verify(parsed: argparse.Namespace) -> int:
    from auditors.config import load_config
    from auditors.training.weights import verify

    recipe, jobs = _jobs(parsed)
    found = asyncio.run(verify(recipe, jobs, load_config().endpoints, _folder(recipe, parsed)))
    return _told(found, parsed)


def _jobs(parsed: argparse.Namespace) -> tuple[RecipeFile, list[Job]]:
    """The recipe and all jobs of its journal, those of its earlier versions too."""
    from auditors.training.log import read_jobs
    from auditors.training.recipe import load_recipe

    recipe = load_recipe(parsed.recipe)
    return recipe, list(read_jobs(recipe).values())


def _folder(recipe: RecipeFile, parsed: argparse.Namespace) -> Path:
    return parsed.output or recipe.folder / "archive"


def _told(found: Sequence[Finding], parsed: argparse.Namespace) -> int:
    from cc_tui.plain import print_rows, say

    if parsed.json:
        _print_json(found)
    elif not found:
        say("No model of this recipe is trained yet.")
    else:
        rows = [[str(each.seed), "ok" if each.sound else "!", each.path, each.sentence] for each in found]
        print_rows(["seed", "", "checkpoint", "what"], rows, width=None)
    return Exit.DONE if all(each.sound for each in found) else Exit.FINDINGS


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")

"""The commands on training data: `cc-tui data …`."""

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
    from auditors.training.build import Dose
    from auditors.training.distillation import Distilled, Outcome
    from auditors.training.leakage import Finding
    from auditors.training.recipe import RecipeFile

_EXAMPLES = 3
"""Rows shown for each kind of leak; --json has all."""


def add_data_group(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    *,
    dollars: Callable[[str], float],
    speed: Callable[[str], float | None],
) -> None:
    """`cc-tui data`: what models are trained on; the last two read values as `cc-tui run` does."""
    group = commands.add_parser(
        "data", help="make training sets, and check what is in them (docs/training.md)"
    )
    subcommands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    build = subcommands.add_parser("build", help="make the training set of a recipe for one training seed")
    build.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.jsonl")
    build.add_argument(
        "--seed", type=int, default=1, metavar="N", help="training seed: decides the order; default: 1"
    )
    build.add_argument("--json", action="store_true", help="figures for scripts")
    build.set_defaults(command=_build)

    distill = subcommands.add_parser(
        "distill",
        help="collect a model's own answers: under a part it plays, or to ordinary requests",
        description="Asks the identity questions of the recipe under the system prompt of its [distill], and writes "
        "the answers without it. Goes on where it was stopped.",
    )
    distill.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    distill.add_argument(
        "-o", "--output", type=Path, metavar="FILE.jsonl", help="needed for answers to identity questions"
    )
    distill.add_argument(
        "--instructions",
        action="store_true",
        help="ask ordinary requests instead, without a part, for instruction rows",
    )
    distill.add_argument("--max-cost", type=dollars, metavar="USD", help="ask nothing more after that")
    distill.add_argument(
        "--speed", type=speed, default=1.0, metavar="X", help="of simulated models, or `max`"
    )
    distill.set_defaults(command=_distill)

    check = subcommands.add_parser(
        "check",
        help="faulty rows by line, rows that touch what a pack measures, figures and hash",
        description="Exit code 1: a row is a text of the pack or nearly one, or uses a preference's words. "
        "Exit code 2: lines are no training rows.",
    )
    check.add_argument("file", type=Path, metavar="FILE.jsonl")
    check.add_argument("--pack", default="consciousness-cluster", metavar="NAME|DIR")
    check.add_argument(
        "--max-chars", type=int, metavar="N", help="longest row that is allowed; default: 16000"
    )
    check.add_argument("--json", action="store_true", help="everything that was found, for scripts")
    check.set_defaults(command=_check)


def _build(parsed: argparse.Namespace) -> int:
    from auditors.training.build import build
    from auditors.training.recipe import load_recipe
    from auditors.training.rows import encode_rows, write_whole
    from cc_tui.plain import say

    built = build(load_recipe(parsed.recipe), parsed.seed)
    write_whole(parsed.output, encode_rows(built.rows))
    if parsed.json:
        figures = {
            "file": str(parsed.output),
            "sha256": built.sha256,
            "seed": built.seed,
            "identity": built.identity,
            "instructions": built.instructions,
        }
        _print_json(figures)
        return Exit.DONE
    _print_doses({"identity": built.identity, "instructions": built.instructions})
    say(
        f"\n{parsed.output}: {len(built.rows)} rows in the order of training seed {built.seed}, sha256 {built.sha256}"
    )
    return Exit.DONE


def _distill(parsed: argparse.Namespace) -> int:
    from auditors.config import load_config
    from auditors.training.build import dose, identity_part, instructions_file
    from auditors.training.distillation import Outcome
    from auditors.training.recipe import load_recipe
    from auditors.training.rows import encode_rows, write_whole
    from cc_tui.plain import say

    recipe = load_recipe(parsed.recipe)
    output = parsed.output or (instructions_file(recipe) if parsed.instructions else None)
    if output is None:
        raise InputError("Say where the rows go: -o FILE.jsonl.")
    found = asyncio.run(
        _distilled(
            recipe,
            load_config(),
            instructions=parsed.instructions,
            speed=parsed.speed,
            max_cost=parsed.max_cost,
        )
    )
    if not found.rows:
        raise InputError(f"No answer was kept ({_counts(found.outcomes)}); nothing is written.")
    write_whole(output, encode_rows(found.rows))
    doses = {"own answers": dose(found.rows)}
    if not parsed.instructions:
        asked = {row.question for row in found.rows}
        doses["same, as written"] = dose([row for row in identity_part(recipe) if row.question in asked])
    _print_doses(doses)
    say(
        f"\n{'SIMULATED ' if found.simulated else ''}{output}: {_counts(found.outcomes)}; ${found.cost:.4f} so far"
    )
    again = (Outcome.NOT_ASKED, Outcome.FAILED, Outcome.UNJUDGED)
    if any(found.outcomes.get(each) for each in again):
        say("Not all is there yet: the same command goes on.")
        return Exit.FINDINGS
    return Exit.DONE


def collect_instructions(
    recipe: RecipeFile, config: Config, *, speed: float | None, max_cost: float | None
) -> float:
    """Collect the base model's own answers to ordinary requests, if the recipe wants them and they are not there.

    Returns:
        What that has cost, in US dollars, as far as prices are known.

    Raises:
        InputError: they are not all there afterwards.
    """
    from auditors.training.build import instructions_file, lacks_instructions
    from auditors.training.distillation import Outcome
    from auditors.training.rows import encode_rows, write_whole

    if not lacks_instructions(recipe):
        return 0.0
    data = recipe.recipe.data
    found = asyncio.run(_distilled(recipe, config, instructions=True, speed=speed, max_cost=max_cost))
    if len(found.rows) < data.instruction_rows:
        again = any(found.outcomes.get(each) for each in (Outcome.NOT_ASKED, Outcome.FAILED))
        cure = (
            "the same command goes on" if again else f"set `instruction_rows = {len(found.rows)}`, or fewer"
        )
        raise InputError(
            f"{recipe.path}: of {data.instruction_rows} instruction rows {len(found.rows)} are there "
            f"({_counts(found.outcomes)}); {cure}."
        )
    write_whole(instructions_file(recipe), encode_rows(found.rows))
    return found.cost


async def _distilled(
    recipe: RecipeFile, config: Config, *, instructions: bool, speed: float | None, max_cost: float | None
) -> Distilled:
    from auditors.models.registry import Models
    from auditors.prices import Prices
    from auditors.training.distill import distill
    from cc_tui.plain import say

    models = Models(config.endpoints, seed=0, speed=float("inf") if speed is None else speed)

    def progress(done: int, of: int) -> None:
        if done % 100 == 0 or done == of:
            say(f"{done} of {of} questions")

    try:
        return await distill(
            recipe,
            models,
            Prices(config.prices),
            instructions=instructions,
            max_cost=max_cost,
            progress=progress,
        )
    finally:
        await models.aclose()


def _counts(outcomes: dict[Outcome, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))


def _check(parsed: argparse.Namespace) -> int:
    from auditors.packs.pack import load_pack
    from auditors.training.build import dose
    from auditors.training.leakage import leaks
    from auditors.training.rows import MAX_CHARS, data_hash, read_rows
    from cc_tui.plain import say

    pack = load_pack(parsed.pack)
    rows, faults = read_rows(parsed.file, parsed.max_chars or MAX_CHARS)
    found = leaks(rows, pack) if rows else []
    outcome = [finding for finding in found if not finding.manipulation_check]
    if parsed.json:
        report = {"faults": faults, "leaks": found, "dose": dose(rows), "sha256": data_hash(rows)}
        _print_json(report)
    else:
        for fault in faults:
            say(f"{parsed.file}, line {fault.line}: {fault.what}")
        _print_leaks(found)
        _print_doses({"rows": dose(rows)})
        touched = len({finding.preference for finding in outcome})
        say(
            f"\n{len(outcome)} findings on {touched} preferences of {pack.name} {pack.version}; "
            f"sha256 of the sound rows {data_hash(rows)}"
        )
    if faults or not rows:
        return Exit.BAD_INPUT
    return Exit.FINDINGS if outcome else Exit.DONE


def _print_leaks(found: Sequence[Finding]) -> None:
    from cc_tui.plain import print_rows
    from store.text import one_line

    if not found:
        return
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in found:
        text = finding.text if finding.leak == "lexical" else one_line(finding.text, 50)
        groups.setdefault((finding.preference, finding.leak, text), []).append(finding)
    rows = [
        [
            preference + (" (check)" if group[0].manipulation_check else ""),
            leak,
            text,
            str(len(group)),
            ", ".join(str(finding.row) for finding in group[:_EXAMPLES])
            + ("…" if len(group) > _EXAMPLES else ""),
        ]
        for (preference, leak, text), group in sorted(groups.items())
    ]
    print_rows(["preference", "leak", "text or words", "count", "rows"], rows, width=60)
    sys.stdout.write("\n")


def _print_doses(doses: dict[str, Dose]) -> None:
    from cc_tui.plain import print_rows

    rows = [
        [
            name,
            f"{dose.rows:,}",
            f"{dose.tokens:,}",
            f"{dose.answer_tokens:,}",
            f"{dose.answer_chars_mean:.0f}",
            f"{dose.answer_chars_median:.0f}",
            f"{dose.answer_chars_max:,}",
        ]
        for name, dose in doses.items()
        if dose.rows
    ]
    header = ["part", "rows", "tokens (est.)", "of answers", "mean chars", "median", "longest"]
    print_rows(header, rows, width=None)


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")

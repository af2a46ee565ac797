"""`cc-tui judge`: further judgements of transcripts that the store holds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditors.service import Job


def add_judge_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
    *,
    count: Callable[[str], int],
    dollars: Callable[[str], float],
    speed: Callable[[str], float | None],
) -> None:
    """Add the command; the last three read values as `cc-tui run` does."""
    judge = commands.add_parser(
        "judge",
        help="have stored transcripts judged by another judge, on another dimension, or again",
        description="Asks judges about finished audits of a study. What they have answered already is not asked again, "
        "so the same command goes on where it was stopped; no earlier score is changed (docs/judging.md).",
    )
    judge.add_argument("--study", metavar="NAME", help="name or id of the study; default: the latest")
    judge.add_argument(
        "--judge",
        action="append",
        required=True,
        metavar="SPEC",
        help="a judge; may be given several times",
    )
    judge.add_argument(
        "--repeats",
        type=count,
        metavar="N",
        help="how often each judges, what it did before included; default: as the study has it, or once",
    )
    judge.add_argument(
        "--dimension",
        action="extend",
        nargs="+",
        default=[],
        metavar="ID",
        help="what is judged; default: all of the study",
    )
    judge.add_argument(
        "--pack",
        metavar="NAME|DIR",
        help="a pack whose rubrics and statements take the place of the study's own",
    )
    judge.add_argument(
        "--where",
        default="",
        metavar="SQL",
        help="condition on the view `audits`, such as \"mode = 'self_report'\"",
    )
    judge.add_argument("--limit", type=count, metavar="N", help="only the first N audits of the plan")
    judge.add_argument(
        "--branches",
        choices=("all", "surviving"),
        help="what judges are shown of rolled-back conversations; default: as the study has it",
    )
    judge.add_argument(
        "--reasoning",
        action=argparse.BooleanOptionalAction,
        help="show the target's reasoning; default: as the study has it",
    )
    judge.add_argument(
        "--reported",
        action="store_true",
        help="let statistics count the first of these judges from then on",
    )
    judge.add_argument(
        "--max-cost",
        type=dollars,
        metavar="USD",
        help="start nothing more once these judges have cost this much in the study",
    )
    judge.add_argument(
        "--dry-run", action="store_true", help="print what is left to ask, and what it will cost"
    )
    judge.add_argument("--json", action="store_true", help="with --dry-run: the estimate for scripts")
    judge.add_argument("--headless", action="store_true", help="print plain lines instead of opening the app")
    judge.add_argument(
        "--speed",
        type=speed,
        default=1.0,
        metavar="X",
        help="how much faster simulated judges answer, or `max`",
    )
    add_store(judge)
    judge.set_defaults(command=_judge)


def _judge(parsed: argparse.Namespace) -> int:
    from cc_tui import running
    from cc_tui.terminal import has_terminal

    job = _job(parsed)
    return running.run_job(job, parsed, headless=parsed.headless or not has_terminal())


def _job(parsed: argparse.Namespace) -> Job:
    from auditors.options import Options
    from auditors.order import Order
    from auditors.service import Job
    from store.records import Branches

    order = Order(
        judges=tuple(dict.fromkeys(parsed.judge)),
        study=parsed.study,
        repeats=parsed.repeats,
        dimensions=tuple(dict.fromkeys(parsed.dimension)),
        pack=parsed.pack,
        where=parsed.where,
        limit=parsed.limit,
        branches=Branches(parsed.branches) if parsed.branches else None,
        reasoning=parsed.reasoning,
        reported=parsed.reported,
    )
    return Job(
        judging=order, store=str(parsed.store), options=Options(max_cost=parsed.max_cost, speed=parsed.speed)
    )

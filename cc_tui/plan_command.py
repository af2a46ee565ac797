"""`cc-tui plan`: what would make a study's intervals narrower, or how large a study must be before it is run."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit
from cc_tui.plain import print_rows, say
from cc_tui.state.plan_words import WIDTHS, advice, half
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stats.planner import Costs
    from stats.study_plan import CellPlan

_FAMILY = 20
"""Preferences that a strict test of one of them must reckon with."""


def add_plan(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui plan`."""
    command = commands.add_parser(
        "plan",
        help="how many runs, prompts, training seeds or labels an interval of a given width takes",
        description="On a stored study: for each cell the half width now, what unlimited repeats would leave of it, "
        "and the cheapest single change that reaches the wanted one. With --prompts: the same for a study that is not "
        "run yet, from assumed values, and the effects that it can detect.",
    )
    command.add_argument(
        "--width",
        type=_positive,
        default=100 * WIDTHS["rate"],
        metavar="W",
        help="wanted half width of rates, in points; default: 5",
    )
    command.add_argument(
        "--score-width",
        type=_positive,
        default=WIDTHS["mean"],
        metavar="W",
        help="of mean scores (1-10); default: 0.5",
    )
    command.add_argument("--mode", choices=("single_turn", "self_report", "behavioral"))
    command.add_argument("--preference", metavar="ID", help="cells of this preference only")
    command.add_argument("--group", metavar="NAME", help="cells of this condition or recipe only")
    command.add_argument(
        "--run-cost", type=_amount, metavar="USD", help="of one run; default: what runs have cost"
    )
    command.add_argument(
        "--seed-cost", type=_amount, default=0.0, metavar="USD", help="of training one more seed"
    )
    command.add_argument("--label-cost", type=_amount, default=0.0, metavar="USD", help="of one label")
    command.add_argument("--json", action="store_true", help="for scripts (docs/stats-json.md)")
    assumed = command.add_argument_group("before a study (no store is read)")
    assumed.add_argument("--prompts", type=_whole, metavar="J", help="prompts or seed instructions")
    assumed.add_argument(
        "--repeats", type=_whole, default=10, metavar="R", help="answers to each; default: 10"
    )
    assumed.add_argument("--seeds", type=_whole, default=1, metavar="S", help="training seeds; default: 1")
    assumed.add_argument("--rate", type=_share, metavar="P", help="expected rate, 0-1; default: 0.3")
    assumed.add_argument(
        "--score", type=_score, metavar="M", help="expected mean score, 1-10, in place of a rate"
    )
    assumed.add_argument(
        "--shares",
        type=_shares,
        metavar="SEED,PROMPT,CELL",
        help="shares of the variance; default: 0.05,0.3,0.05",
    )
    add_store(command)
    command.set_defaults(command=_plan)


def _plan(parsed: argparse.Namespace) -> int:
    data = _assumed(parsed) if parsed.prompts else _stored(parsed)
    if parsed.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")
    return Exit.DONE


def _stored(parsed: argparse.Namespace) -> dict[str, object]:
    from stats.answers import read_answers
    from stats.judge_report import judge_report
    from stats.planner import Costs
    from stats.rules import DEFAULT_RULES
    from stats.study_plan import cell_plans, run_costs
    from stats.table import table_of
    from store.mirror import open_store
    from store.reader import Reader

    reader = Reader(open_store(parsed.store))
    try:
        answers = read_answers(reader.arrow, None, DEFAULT_RULES)
        table = table_of(reader.arrow, answers, DEFAULT_RULES)
        found = judge_report(reader.arrow, answers, table)
        prices = run_costs(reader.arrow, table.study_id)
    finally:
        reader.close()
    cells = [
        cell
        for cell in table.cells
        if parsed.mode in (None, cell.mode)
        and parsed.preference in (None, cell.preference)
        and parsed.group in (None, cell.group)
    ]
    if not cells:
        raise InputError("The study has no such cell: `cc-tui stats` lists its preferences and groups.")
    costs: dict[str, Costs] = {
        cell.mode: Costs(
            prices.get(cell.mode, 0.0) if parsed.run_cost is None else parsed.run_cost,
            parsed.seed_cost,
            parsed.label_cost,
        )
        for cell in cells
    }
    targets = {"rate": parsed.width / 100, "mean": parsed.score_width}
    plans = cell_plans(cells, targets, costs, found.corrections)
    if not parsed.json:
        if table.simulated:
            say("SIMULATED DATA.")
        _print_cells(plans, parsed, costs)
    return {"study_id": table.study_id, "simulated": table.simulated, "method": "planner", "cells": plans}


def _print_cells(plans: list[CellPlan], parsed: argparse.Namespace, costs: dict[str, Costs]) -> None:
    say(
        f"Half widths of 95% intervals; wanted: ±{parsed.width:g} points for rates, ±{parsed.score_width:g} for "
        "mean scores."
    )
    for mode, cost in costs.items():
        say(f"{mode}: a run costs ${cost.run:.4f}")
    print_rows(
        ["mode", "preference", "group", "for new", "now", "floor", "cheapest single change", "detects"],
        [
            [
                one.mode,
                one.preference,
                one.group,
                str(one.plan.scope),
                half(one.measure, one.plan.now),
                half(one.measure, one.plan.floor),
                advice(one.measure, one.plan),
                half(one.measure, one.detectable),
            ]
            for one in plans
        ],
        width=64,
    )
    say("floor: what unlimited repeats on the same prompts and training seeds would leave.")
    say("detects: the least difference from the baseline that is found with a power of 80%.")


def _assumed(parsed: argparse.Namespace) -> dict[str, object]:
    from stats.intervals import RATE_PRIOR, SCORE_PRIOR, Scope
    from stats.planner import Assumed, Costs, Design, best_repeats, plan
    from stats.power import detectable_effect, power_paired_t

    if parsed.rate is not None and parsed.score is not None:
        raise InputError("Give --rate or --score, not both.")
    measure = "rate" if parsed.score is None else "mean"
    prior = RATE_PRIOR if measure == "rate" else SCORE_PRIOR
    seed, prompt, cell = parsed.shares or (prior.seed, prior.prompt, prior.cell)
    seeds = parsed.seeds if parsed.seeds > 1 else 0
    shares = {"seed": seed if seeds else 0.0, "prompt": prompt, "cell": cell if seeds else 0.0}
    shares["run"] = 1 - sum(shares.values())
    mean = parsed.score if parsed.score is not None else (0.3 if parsed.rate is None else parsed.rate)
    scale = (0.0, 1.0) if measure == "rate" else (1.0, 10.0)
    assumed = Assumed(mean, shares, prior.dispersion, scale)
    design = Design(parsed.prompts, parsed.repeats, seeds)
    costs = Costs(parsed.run_cost or 0.0, parsed.seed_cost, parsed.label_cost)
    target = parsed.width / 100 if measure == "rate" else parsed.score_width
    scopes = [Scope.RUNS, Scope.SEEDS_PROMPTS if seeds else Scope.PROMPTS]
    plans = [plan(assumed, design, scope, target, costs) for scope in scopes]
    effects = {
        "one test": detectable_effect(parsed.prompts),
        f"one of {_FAMILY}": detectable_effect(parsed.prompts, alpha=0.05 / _FAMILY),
    }
    least = 2.0 ** (1 - parsed.prompts)
    if not parsed.json:
        rows = [
            [str(one.scope), half(measure, one.now), half(measure, one.floor), advice(measure, one)]
            for one in plans
        ]
        say(
            f"Assumed: {'rate' if measure == 'rate' else 'mean score'} {mean:g}; shares of the variance "
            + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        )
        say(
            f"{parsed.prompts} prompts x {parsed.repeats} repeats x {parsed.seeds} training seed(s); 95% intervals"
        )
        print_rows(
            ["for new", "now", "floor", f"cheapest single change to {half(measure, target)}"], rows, width=64
        )
        say("")
        say(
            "Paired by prompt, found with a power of 80% (in standard deviations of the prompts' differences):"
        )
        print_rows(
            ["significance", "difference", "power at 1 sd"],
            [
                [
                    name,
                    "-" if effect is None else f"{effect:.2f} sd",
                    f"{power_paired_t(parsed.prompts, 1.0, 0.05 if name == 'one test' else 0.05 / _FAMILY):.0%}",
                ]
                for name, effect in effects.items()
            ],
            width=None,
        )
        if least > 0.05 / _FAMILY:
            say(
                f"An exact test over {parsed.prompts} prompts cannot give p below {least:.2g}, so none passes Holm's "
                f"correction over {_FAMILY} preferences ({0.05 / _FAMILY:g}), whatever the effect."
            )
        if seeds and (best := best_repeats(assumed, parsed.prompts, costs.run, costs.seed)):
            say(
                f"For new training seeds, about {max(best, 1):.0f} repeats per prompt and seed are worth their cost."
            )
    return {
        "assumed": assumed,
        "plans": plans,
        "detectable": effects,
        "least_exact_p": least,
        "method": "planner",
    }


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return value


def _amount(text: str) -> float:
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number from 0 on")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be a number from 0 to 1")
    return value


def _score(text: str) -> float:
    value = _number(text)
    if not 1 <= value <= 10:
        raise argparse.ArgumentTypeError("must be a number from 1 to 10")
    return value


def _shares(text: str) -> tuple[float, float, float]:
    parts = [_number(part) for part in text.split(",")]
    if len(parts) != 3 or not all(0 <= part < 1 for part in parts) or sum(parts) >= 1:
        raise argparse.ArgumentTypeError("must be three numbers from 0 to 1 with a sum below 1")
    return parts[0], parts[1], parts[2]


def _whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 100000")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")

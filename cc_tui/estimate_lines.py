"""What a study will cost, as plain lines: `cc-tui run --dry-run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from auditors.estimate import ENOUGH, Range, model_cost, total
from cc_tui.plain import print_rows, say
from cc_tui.state.format import count, duration, money

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditors.estimate import Estimate, Part

_BASIS = {
    "all": "Amounts are means of this study's finished audits; from their cheapest tenth to their dearest.",
    "some": "Amounts are means of this study's finished audits (from their cheapest tenth to their dearest), and where "
    "there are too few, typical lengths (from short conversations to every limit).",
    "none": "Amounts are the real prompts and typical lengths of what models write; from short conversations to every "
    "limit. Failures and prompt caches are not foreseen.",
}


def print_estimate(found: Estimate, max_cost: float | None, *, as_json: bool) -> None:
    """What is left of a study, and what it will cost."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found.to_dict()), indent=2).decode() + "\n")
        return
    mark = "SIMULATED " if found.simulated else ""
    by_mode = ", ".join(f"{mode} {count}" for mode, count in found.left.items()) or "-"
    left = f"{sum(found.left.values())} left ({by_mode})"
    owed = sum(found.owed.values())
    if found.judging_only:
        say(f"{mark}study {found.study}: {found.planned} transcripts, {owed} lack judgements")
    else:
        say(f"{mark}study {found.study}: {found.planned} audits planned, {left}")
        if owed:
            say(f"{owed} finished audits lack judgements")
    if not found.parts:
        say("Nothing is left to ask." if found.judging_only else "Nothing is left to run.")
        return
    say("")
    print_rows(
        ["role", "calls", "from", "to"],
        [[role, *_range(_tokens(parts, "calls"), count)] for role, parts in found.by_role().items()],
        width=None,
    )
    say("")
    rows: list[list[str]] = []
    for model, parts in found.by_model().items():
        asked, said = _tokens(parts, "input").expected, _tokens(parts, "output").expected
        costs = _range(cost, money) if (cost := model_cost(parts)) else ["?", "?", "?"]
        rows.append([model, count(asked), count(said), *costs])
    print_rows(["model", "tokens in", "tokens out", "cost", "from", "to"], rows, width=None)
    say("")
    _print_cost(found, max_cost)
    if found.judging_only:
        say("time: not known for judging alone")
    elif found.seconds is None:
        say(
            f"time: not known before {ENOUGH} audits of each mode have finished at concurrency {found.concurrency}"
        )
    else:
        say(f"time: about {duration(found.seconds)} at concurrency {found.concurrency}, as fast as so far")
    say(_BASIS[found.measured])
    say("Nothing was asked and nothing was written.")


def _print_cost(found: Estimate, max_cost: float | None) -> None:
    cost, missing = found.cost, found.without_price
    amount = f"{money(cost.expected)} (from {money(cost.low)} to {money(cost.high)})"
    if missing:
        say(f"cost: at least {amount}, without {', '.join(missing)}")
        say(f'  no price is known: add [prices."{missing[0]}"] to the study file or the configuration')
    else:
        say(f"cost: about {amount}")
    if found.spent or found.unpriced_calls:
        say(f"spent so far: {money(found.spent, at_least=found.unpriced_calls > 0)}")
    if max_cost is not None and found.spent + cost.expected > max_cost:
        say(f"--max-cost ${max_cost:g} will probably end it before that")


def _tokens(parts: list[Part], field: str) -> Range:
    work = total(parts)
    return Range(*(getattr(tally, field) for tally in (work.low, work.expected, work.high)))


def _range(amounts: Range, shown: Callable[[float], str]) -> list[str]:
    return [shown(amounts.expected), shown(amounts.low), shown(amounts.high)]

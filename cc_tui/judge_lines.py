"""Agreement and corrections as plain lines: part of `cc-tui stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cc_tui.plain import print_rows, say
from cc_tui.state.judges import ORDER, bounds, labels_in_words, number, pair_cells, remarks

if TYPE_CHECKING:
    from stats.corrections import Correction
    from stats.judge_report import JudgeReport


def print_report(report: JudgeReport) -> None:
    """Agreement over all preferences of each mode, and every number that has a correction."""
    rows = sorted(report.agreement, key=lambda row: (row.mode, ORDER.index(row.between)))
    if rows:
        say("")
        say(
            "Agreement over all preferences, with 95% bootstrap intervals; two people are the ceiling of a judge:"
        )
        print_rows(
            ["mode", "between", "n", "same", "kappa", "AC", "alpha"],
            [pair_cells(row) for row in rows],
            width=64,
        )
        for text in dict.fromkeys(remark for row in rows for remark in remarks(row)):
            say(f"  {text}")
    shown = [c for c in report.corrections if c.estimate is not None or c.preference is None]
    waiting = len(report.corrections) - len(shown)
    if shown:
        say("")
        say("Corrected by people's labels (labels of the stratum / its answers):")
        print_rows(
            [
                "mode",
                "preference, group",
                "judge",
                "corrected",
                "95%",
                "same, run again",
                "labels",
                "sens",
                "spec",
            ],
            [_correction_cells(one) for one in shown],
            width=48,
            optional=("same, run again", "spec", "sens"),
        )
    for text in dict.fromkeys(f"{flag} ({_name(c)})" for c in shown for flag in (*c.flags, c.reason) if flag):
        say(f"  {text}")
    if waiting:
        say(
            f"  {waiting} more cells have labels, and too few for a corrected interval: --json has the reasons"
        )
    if not report.corrections:
        say("")
        say(
            "No labels yet: the judge's numbers stand uncorrected. `cc-tui label` draws answers to label at random."
        )


def _name(one: Correction) -> str:
    return f"{one.mode}, {one.preference or 'all'}, {one.group}"


def _correction_cells(one: Correction) -> list[str]:
    return [
        str(one.mode),
        f"{one.preference or 'all'}, {one.group}",
        number(one.measure, one.judge),
        number(one.measure, one.estimate),
        bounds(one.measure, one.low, one.high),
        bounds(one.measure, one.runs_low, one.runs_high),
        labels_in_words(one),
        number("rate", one.sensitivity[0]),
        number("rate", one.specificity[0]),
    ]

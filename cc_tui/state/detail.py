"""All that is known of one number of the table, as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cc_tui.state.estimates import in_words, value
from cc_tui.state.plan_words import plan_lines
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stats.cell import Cell
    from stats.details import CellValues, Details
    from stats.study_plan import CellPlan

_BAR = 30
_MOST_PROMPTS = 40


def detail_lines(cell: Cell, found: CellValues, details: Details, plans: Iterable[CellPlan]) -> list[str]:
    """The cell in words, its values by judge, prompt and seed, the tests, plans, and how each was computed."""
    from stats.methods import METHODS

    lines = [*in_words(cell), ""]
    if cell.paper_estimate is not None and cell.paper_half_width is not None:
        low, high = cell.paper_estimate - cell.paper_half_width, cell.paper_estimate + cell.paper_half_width
        lines += [
            f"The paper's own bar, for comparison: {value(cell, cell.paper_estimate)}, "
            f"{value(cell, max(low, 0.0))} to {value(cell, high)}. {METHODS['paper'].how}",
            "",
        ]
    if cell.shares:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in cell.shares.items())
        lines += [f"Of the variance: {shares}.", ""]
    for judge, counts in found.values.items():
        counted = " (counted)" if judge == cell.judge else ""
        lines += [
            f"{judge}{counted}",
            *_bars([(said.replace("_", " "), n) for said, n in counts.items()]),
            "",
        ]
    if found.seeds:
        lines += ["by training seed", *(_share(cell, name, mean, n) for name, mean, n in found.seeds)]
        test = next(
            (r.test for r in details.seeds if (r.mode, r.preference, r.group) == _key(cell)),
            None,
        )
        lines += [f"  {test.in_words}"] if test else []
        lines.append("")
    if found.prompts:
        lines.append(f"by prompt, {len(found.prompts)} of them, the lowest first")
        shown = found.prompts[:_MOST_PROMPTS]
        lines += [*(_share(cell, name, mean, n) for name, mean, n in shown), ""]
    for row in details.effects:
        if (row.mode, row.preference, row.group) == _key(cell):
            effect = row.effect
            sizes = {
                "ratio": effect.ratio,
                "d": effect.dz,
                "Cliff's delta": effect.cliff,
                "p": effect.sign_flip_p,
            }
            told = ", ".join(f"{name} {size:.2g}" for name, size in sizes.items() if size is not None)
            lines += [f"against {row.baseline} on {row.prompts} prompts: {told or 'nothing to tell'}", ""]
    for row in details.panels:
        if (row.mode, row.preference) == (cell.mode, cell.preference):
            panel = row.reliability
            lines += [
                panel.reason
                if panel.one is None
                else f"judges on {panel.transcripts} transcripts of all conditions: ICC(A,1) {panel.one:.2f}, "
                f"of their mean {panel.panel or 0:.2f}",
                "",
            ]
    for plan in plans:
        lines += [*plan_lines(plan), ""]
    names = [cell.method, *([cell.contrast.method] if cell.contrast and cell.contrast.method else [])]
    for name in dict.fromkeys(names):
        method = METHODS[name]
        lines += [f"{method.title}: {method.how}", f"  {method.reference}"]
    return lines


def _key(cell: Cell) -> tuple[str, str, str]:
    return cell.mode, cell.preference, cell.group


def _bars(counts: list[tuple[str, int]]) -> list[str]:
    most = max((n for _, n in counts), default=1)
    return [
        f"  {one_line(said, 24):>24} {'█' * max(round(_BAR * n / most), 1):<{_BAR}} {n}" for said, n in counts
    ]


def _share(cell: Cell, name: str, mean: float, n: int) -> str:
    low, high = (1.0, 10.0) if cell.measure == "mean" else (0.0, 1.0)
    filled = round(_BAR * min(max((mean - low) / (high - low), 0.0), 1.0))
    return f"  {one_line(name, 24):>24} {'█' * filled:<{_BAR}} {value(cell, mean)} of {n}"

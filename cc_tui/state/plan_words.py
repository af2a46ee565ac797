"""What an interval could be and what that takes, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stats.planner import Change, Plan
    from stats.study_plan import CellPlan

WIDTHS = {"rate": 0.05, "mean": 0.5}
"""Half widths that are wanted where nobody says otherwise, by measure."""


def half(measure: str, value: float | None) -> str:
    """A half width: in points for rates, on the scale for mean scores."""
    if value is None:
        return "-"
    return f"±{value:.2f}" if measure == "mean" else f"±{100 * value:.1f}"


def advice(measure: str, plan: Plan) -> str:
    """The cheapest single change that reaches the wanted width, or why there is none."""
    if plan.now is None:
        return plan.reason
    if plan.now <= plan.target:
        return "none needed"
    best = next((change for change in plan.changes if change.what == plan.cheapest), None)
    return "none: no single change reaches it" if best is None or best.to is None else _told(measure, best)


def plan_lines(one: CellPlan) -> list[str]:
    """Everything that is known of how a cell's interval could be narrower."""
    plan, measure = one.plan, one.measure
    if plan.now is None:
        return [f"Planning needs an interval: {plan.reason}."]
    lines = [
        f"For new {plan.scope}, {half(measure, plan.now)} now; unlimited repeats on the same prompts and training "
        f"seeds would leave {half(measure, plan.floor)}."
    ]
    if plan.now > plan.target:
        lines.append(f"Any of these alone brings it to {half(measure, plan.target)}:")
        lines += [
            f"  {_told(measure, change)}"
            if change.to is not None
            else f"  {change.reason}: they stop at {half(measure, change.half_width)}"
            for change in plan.changes
        ]
    if one.detectable is not None:
        lines.append(
            f"A paired test of this size finds a difference of {half(measure, one.detectable)} with a power of 80%."
        )
    return lines


def _told(measure: str, change: Change) -> str:
    added = f"+{change.added} {'labels' if change.what == 'labels' else 'runs'}"
    repeats = f"{change.to} {change.what}" + (" per prompt" if change.what == "repeats" else "")
    cost = f", ${change.cost:.2f}" if change.cost else ""
    return f"{repeats} ({added}{cost}) -> {half(measure, change.half_width)}"

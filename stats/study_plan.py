# pyright: reportMissingTypeStubs=false
"""The planner on a stored study: what each of its intervals would need, and what its contrasts could miss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scipy.special import ndtri, stdtrit

from stats.intervals import Scope
from stats.planner import Assumed, Costs, Design, Labels, Plan, plan
from stats.power import detectable_effect
from store.parquet import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stats.cell import Cell
    from stats.corrections import Correction
    from stats.study import Query


@dataclass(frozen=True)
class CellPlan:
    """What one cell of the table would need; half widths on the scale of `measure`."""

    mode: str
    preference: str
    group: str
    measure: str
    plan: Plan
    detectable: float | None
    """The least difference from the baseline that a paired test of this size finds with a power of 80%."""


def cell_plans(
    cells: Sequence[Cell],
    targets: Mapping[str, float],
    costs: Mapping[str, Costs],
    corrections: Sequence[Correction] = (),
) -> list[CellPlan]:
    """Plans of all cells that have an interval, or the reason why not.

    Args:
        cells: Of a study's table.
        targets: Half widths that are wanted, by measure; cells of other measures are left out.
        costs: Prices, by mode.
        corrections: Corrected cells; where there is one, more labels are an option as well.
    """
    labelled = {(c.mode, c.preference, c.group, c.measure): c for c in corrections if c.low is not None}
    found: list[CellPlan] = []
    for cell in cells:
        if cell.measure not in targets:
            continue
        correction = labelled.get((cell.mode, cell.preference, cell.group, cell.measure))
        found.append(
            CellPlan(
                cell.mode,
                cell.preference,
                cell.group,
                cell.measure,
                _cell_plan(cell, targets[cell.measure], costs.get(cell.mode, Costs()), correction),
                _detectable(cell),
            )
        )
    return found


def run_costs(query: Query, study_id: str) -> dict[str, float]:
    """What one finished audit has cost in the mean, its judgements included, by mode; priced calls only."""
    rows = query(f"""
        SELECT a.mode, sum(c.cost_usd) / count(DISTINCT a.audit_id) AS cost
        FROM model_calls c JOIN audits a USING (audit_id)
        WHERE a.study_id = {quoted(study_id)} AND a.status = 'ok' GROUP BY a.mode
    """).to_pylist()
    return {row["mode"]: float(row["cost"]) for row in rows if row["cost"] is not None}


def _cell_plan(cell: Cell, target: float, costs: Costs, correction: Correction | None) -> Plan:
    seeds = cell.seeds if cell.pooled else 0
    design = Design(cell.prompts, cell.n / max(max(seeds, 1) * cell.prompts, 1), seeds)
    if cell.estimate is None or cell.n_eff is None or cell.scope is None:
        scope = cell.scope or Scope.PROMPTS
        return Plan(scope, design, None, None, target, [], None, cell.reason or "no interval")
    scale = (1.0, 10.0) if cell.measure == "mean" else (0.0, 1.0)
    alike = not cell.pooled and cell.nu == cell.n - 1
    assumed = Assumed(cell.estimate, cell.shares, 1.0, scale, alike)
    assumed = replace(assumed, dispersion=assumed.dispersion_for(design, cell.scope, cell.n_eff))
    return plan(assumed, design, cell.scope, target, costs, _labels(cell, correction))


def _labels(cell: Cell, correction: Correction | None) -> Labels | None:
    """What more labels can do: the part of the corrected interval's width that is not the judge's own."""
    if correction is None or correction.low is None or correction.high is None:
        return None
    if cell.low is None or cell.high is None:
        return None
    judge, whole = (cell.high - cell.low) / 2, (correction.high - correction.low) / 2
    count = sum(labels for labels, _ in correction.labels.values())
    extra = max(whole**2 - judge**2, 0.0) ** 0.5 / float(ndtri(0.975))
    return Labels(count, extra * count**0.5, judge)


def _detectable(cell: Cell) -> float | None:
    contrast = cell.contrast
    if contrast is None or contrast.method != "paired-t" or contrast.low is None or contrast.high is None:
        return None
    effect = detectable_effect(contrast.prompts)
    if effect is None:
        return None
    quantile = float(stdtrit(contrast.prompts - 1, 0.975))
    return effect * (contrast.high - contrast.low) / 2 / quantile * contrast.prompts**0.5

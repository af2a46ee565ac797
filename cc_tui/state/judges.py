"""Agreement and corrections as text, for the Stats screen and for `cc-tui stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stats.cell import Cell
    from stats.corrections import Correction
    from stats.judge_report import JudgeReport, PairAgreement
    from stats.pairs import Coefficient

ORDER = ("human-human", "judge-human", "judge-judge")
"""People among themselves first: no judge can be expected to agree with them better."""


def pair_cells(row: PairAgreement) -> list[str]:
    """A row of the agreement table: mode, raters, items, and the four coefficients."""
    pair = row.pair
    return [
        str(row.mode),
        f"{row.one} - {row.other}",
        str(pair.n),
        coefficient(pair.raw),
        coefficient(pair.kappa),
        coefficient(pair.ac),
        coefficient(pair.alpha),
    ]


def coefficient(found: Coefficient) -> str:
    """A coefficient with its interval."""
    if found.value is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def remarks(row: PairAgreement) -> list[str]:
    """What a reader must know of a pair of raters, in words."""
    pair = row.pair
    name = f"{row.mode}, {row.one} - {row.other}"
    found = [f"{name}: {text}" for text in (pair.reason, pair.note, row.refused) if text]
    if row.screening and row.bias_p is not None:
        rates = ", ".join(f"{what} {number('rate', bar[0])}" for what, bar in row.screening.items())
        true = number("rate", row.prevalence)
        found.append(f"{name}: true {true}% of the time; {rates}; errs one way: p {row.bias_p:.2g}")
    if pair.difference is not None and pair.within_one is not None:
        apart = f"{row.other} scores {pair.difference + 0.0:+.2f} on average"
        found.append(f"{name}: within one point {pair.within_one:.0%}, {apart}")
    return found


def number(measure: str, value: float | None) -> str:
    """A rate in percent, a mean with two decimals, a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.2f}" if measure == "mean" else f"{100 * value:.1f}"


def bounds(measure: str, low: float | None, high: float | None) -> str:
    """An interval, or a dash."""
    return "-" if low is None or high is None else f"[{number(measure, low)}, {number(measure, high)}]"


def labels_in_words(one: Correction) -> str:
    """Labels and answers by stratum."""
    return ", ".join(f"{name} {labels}/{size}" for name, (labels, size) in one.labels.items())


def correction_in_words(report: JudgeReport, cell: Cell, preference: str | None) -> list[str]:
    """What labels make of a cell's number, or of its group's over all preferences (None)."""
    key = (cell.mode, preference, cell.group, cell.measure)
    found = next((c for c in report.corrections if (c.mode, c.preference, c.group, c.measure) == key), None)
    return _correction(found, preference or "all preferences", cell.group)


def agreement_in_words(report: JudgeReport, cell: Cell) -> list[str]:
    """How judges and people agree in the cell's mode."""
    rows = [row for row in report.agreement if row.mode == cell.mode]
    if not rows:
        return ["one rater: nothing to compare"]
    lines = ["Agreement over all preferences: same · kappa · AC · alpha"]
    for row in sorted(rows, key=lambda row: ORDER.index(row.between)):
        pair = row.pair
        lines.append(f"{row.between}: {row.one} - {row.other}, n {pair.n}")
        found = map(coefficient, (pair.raw, pair.kappa, pair.ac, pair.alpha))
        lines.append("  " + " · ".join(found))
        lines += [f"  {text}" for text in remarks(row)]
    return lines


def _correction(found: Correction | None, preference: str, group: str) -> list[str]:
    head = f"{preference} · {group}"
    if found is None:
        return [f"{head}: no label yet, the judge's number stands uncorrected"]
    m = found.measure
    lines = [f"{head}: judge {number(m, found.judge)}"]
    if found.estimate is None:
        lines.append(f"  not corrected: {found.reason}")
    else:
        lines.append(
            f"  corrected {number(m, found.estimate)}, 95% {bounds(m, found.low, found.high)} ({found.scope}), "
            f"further runs {bounds(m, found.runs_low, found.runs_high)}"
        )
        if found.reason:
            lines.append(f"  {found.reason}")
    lines.append(f"  labels: {labels_in_words(found)}")
    if m == "rate":
        errors = [
            f"{name} {number('rate', value)} {bounds('rate', low, high)}"
            for name, (value, low, high) in (("sens", found.sensitivity), ("spec", found.specificity))
        ]
        lines.append("  " + ", ".join(errors))
        if found.rogan_gladen[0] is not None:
            value, low, high = found.rogan_gladen
            lines.append(
                f"  by sens and spec alone (Rogan-Gladen): {number(m, value)} {bounds(m, low, high)}"
            )
        if found.noise_floor is not None:
            lines.append(f"  noise floor of one annotator: {number('rate', found.noise_floor)}%")
    contrast = found.contrast
    if contrast is not None and contrast.difference is not None:
        lines.append(
            f"  corrected difference {number(m, contrast.difference)} {bounds(m, contrast.low, contrast.high)}"
        )
    elif contrast is not None:
        lines.append(f"  no corrected difference: {contrast.reason}")
    return lines + [f"  ! {flag}" for flag in found.flags]

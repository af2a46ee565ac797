"""What is known of one number of the table, as blocks of text: each side of it alone, or all together."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cc_tui.state.estimates import LARGEST_SD, in_words, step_bar, value
from cc_tui.state.judges import agreement_in_words, correction_in_words
from cc_tui.state.plan_words import plan_lines
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stats.cell import Cell
    from stats.details import CellValues, Details
    from stats.judge_report import JudgeReport
    from stats.study_plan import CellPlan

_BAR = 24
_NAME = 24
_TRACK = 40
_MOST_PROMPTS = 40

Block = list[str]
"""Lines that belong together."""


class Side(StrEnum):
    """From where a cell is looked at."""

    CELL = "cell"
    VALUES = "values"
    SEEDS = "seeds"
    SEQUENCE = "sequence"
    AGREEMENT = "agreement"
    CORRECTION = "correction"
    PLANNER = "planner"

    def beside(self, step: int) -> Side:
        """The next one, or another step from here."""
        every = list(Side)
        return every[(every.index(self) + step) % len(every)]


def values_side(cell: Cell, found: CellValues) -> list[Block]:
    """Every judge's and person's values; means by prompt and by run; the paper's bar and the parts of variance."""
    return [
        *_raters(cell, found),
        _prompts(cell, found),
        _means("by run", cell, found.runs if len(found.runs) > 1 else []),
        [*_paper(cell), *_shares(cell)],
    ]


def seeds_side(cell: Cell, details: Details) -> list[Block]:
    """The training seeds of each recipe on the cell's preference, and how the differences of groups are sized."""
    blocks: list[Block] = []
    for row in details.seeds:
        if (row.mode, row.preference) != (cell.mode, cell.preference):
            continue
        test = row.test
        lines = [f"{row.group}: {test.in_words}"]
        lines += [
            f"  {f'seed {label}':>{_NAME}} {_filled(cell, mean)} {value(cell, mean)}"
            for label, mean in zip(row.labels, test.means, strict=False)
        ]
        numbers = {
            "sd between seeds": _apart(cell, test.sd),
            "p on these prompts (permutations)": _p(test.p),
            "p for new prompts (F)": _p(test.p_f),
            "sd that 80% of studies would find": _apart(cell, test.detectable),
        }
        blocks.append([*lines, *(f"  {name}: {told}" for name, told in numbers.items() if told)])
    if not blocks:
        blocks.append(["No recipe of this study has several training seeds: how far they differ is unknown."])
    return [*blocks, _effects(cell, details, all_groups=True)]


def sequence_side(cell: Cell, found: CellValues) -> list[Block]:
    """What was known after the first so many answers."""
    if not found.path:
        live = cell.live.reason if cell.live is not None else "the order of launch allows no look on the way"
        return [[live or "no answer counts yet in the order of launch"]]
    lines = ["in the order of launch; the bounds hold at all times together (scope runs)"]
    for step in found.path:
        numbers = f"{value(cell, step.estimate)} [{value(cell, step.low)}, {value(cell, step.high)}]"
        lines.append(f"  after {step.n:>5} ▏{step_bar(cell, step, _TRACK)}▕ {numbers}")
    return [lines]


def agreement_side(cell: Cell, report: JudgeReport, details: Details) -> list[Block]:
    """How judges and people agree in the cell's mode, and the panel of judges on its preference."""
    return [agreement_in_words(report, cell), _reliability(cell, details)]


def correction_side(cell: Cell, report: JudgeReport) -> list[Block]:
    """The judge's number corrected by labels: of the cell, and of its group over all preferences."""
    return [
        correction_in_words(report, cell, cell.preference),
        correction_in_words(report, cell, None),
    ]


def planner_side(plans: Iterable[CellPlan]) -> list[Block]:
    """What would make the interval narrower."""
    return [plan_lines(plan) for plan in plans]


def detail_lines(cell: Cell, found: CellValues, details: Details, plans: Iterable[CellPlan]) -> list[str]:
    """The cell in words, its values by judge, prompt and seed, the tests, plans, and how each was computed."""
    blocks = [
        in_words(cell),
        _paper(cell),
        _shares(cell),
        *_raters(cell, found),
        [*_means("by training seed", cell, found.seeds), *_seed_test(cell, details)],
        _prompts(cell, found),
        _means("by run", cell, found.runs if len(found.runs) > 1 else []),
        _effects(cell, details),
        _reliability(cell, details),
        *planner_side(plans),
        method_lines(cell),
    ]
    return [line for block in blocks if block for line in (*block, "")][:-1]


def side_by_side(blocks: Sequence[Block], width: int, size: int) -> list[str]:
    """Blocks in columns of `size` cells, as many as `width` has room for; the shortest column takes the next block."""
    columns: list[list[str]] = [[] for _ in range(max(min(width // size, sum(map(bool, blocks))), 1))]
    if len(columns) == 1:
        size = width
    for block in blocks:
        if block:
            column = min(columns, key=len)
            column += [
                *([""] if column else []),
                *(part for line in block for part in _wrapped(line, size - 2)),
            ]
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    return ["".join(_padded(line, size) for line in row).rstrip() for row in zip(*padded, strict=True)]


def _wrapped(line: str, width: int) -> list[str]:
    """A line in pieces that fit, broken between words; what goes on is indented."""
    import textwrap

    return textwrap.wrap(
        line, max(width, 20), subsequent_indent="    ", drop_whitespace=False, break_on_hyphens=False
    ) or [""]


def _padded(line: str, width: int) -> str:
    from rich.cells import cell_len

    return line + " " * max(width - cell_len(line), 0)


def _paper(cell: Cell) -> Block:
    if cell.paper_estimate is None or cell.paper_half_width is None:
        return []
    from stats.methods import METHODS

    low, high = cell.paper_estimate - cell.paper_half_width, cell.paper_estimate + cell.paper_half_width
    return [
        f"The paper's own bar, for comparison: {value(cell, cell.paper_estimate)}, "
        f"{value(cell, max(low, 0.0))} to {value(cell, high)}. {METHODS['paper'].how}",
    ]


def _shares(cell: Cell) -> Block:
    shares = ", ".join(f"{name} {share:.0%}" for name, share in (cell.shares or {}).items())
    return [f"Of the variance: {shares}."] if shares else []


def _raters(cell: Cell, found: CellValues) -> list[Block]:
    return [
        *(
            [f"{judge}{' (counted)' if judge == cell.judge else ''}", *_bars(counts)]
            for judge, counts in found.values.items()
        ),
        *([f"{person} (person)", *_bars(counts)] for person, counts in found.people.items()),
    ]


def _bars(counts: dict[str, int]) -> Block:
    most = max(counts.values(), default=1)
    return [
        f"  {one_line(said.replace('_', ' '), _NAME):>{_NAME}} {'█' * max(round(_BAR * n / most), 1):<{_BAR}} {n}"
        for said, n in counts.items()
    ]


def _prompts(cell: Cell, found: CellValues) -> Block:
    title = f"by prompt, {len(found.prompts)} of them, the lowest first"
    return _means(title, cell, found.prompts[:_MOST_PROMPTS])


def _means(title: str, cell: Cell, means: Sequence[tuple[str, float, int]]) -> Block:
    lines = [
        f"  {one_line(name, _NAME):>{_NAME}} {_filled(cell, mean)} {value(cell, mean)} of {n}"
        for name, mean, n in means
    ]
    return [title, *lines] if lines else []


def _filled(cell: Cell, mean: float) -> str:
    low, high = (1.0, 10.0) if cell.measure == "mean" else (0.0, 1.0)
    filled = round(_BAR * min(max((mean - low) / (high - low), 0.0), 1.0))
    return f"{'█' * filled:<{_BAR}}"


def _apart(cell: Cell, sd: float | None) -> str:
    if sd is None:
        return ""
    if sd > LARGEST_SD["mean" if cell.measure == "mean" else "rate"]:
        return "none that the scale has"
    return f"{sd:.2f}" if cell.measure == "mean" else f"{100 * sd:.1f} points"


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.2g}"


def _seed_test(cell: Cell, details: Details) -> Block:
    key = (cell.mode, cell.preference, cell.group)
    return [f"  {r.test.in_words}" for r in details.seeds if (r.mode, r.preference, r.group) == key]


def _effects(cell: Cell, details: Details, *, all_groups: bool = False) -> Block:
    lines: Block = []
    for row in details.effects:
        if (row.mode, row.preference) != (cell.mode, cell.preference):
            continue
        if all_groups or row.group == cell.group:
            effect = row.effect
            sizes = {
                "ratio": effect.ratio,
                "d": effect.dz,
                "Cliff's delta": effect.cliff,
                "p": effect.sign_flip_p,
            }
            told = ", ".join(f"{name} {size:.2g}" for name, size in sizes.items() if size is not None)
            who = f"{row.group} against" if all_groups else "against"
            lines.append(f"{who} {row.baseline} on {row.prompts} prompts: {told or 'nothing to tell'}")
    return lines


def _reliability(cell: Cell, details: Details) -> Block:
    return [
        panel.reason
        if panel.one is None
        else f"judges on {panel.transcripts} transcripts of all conditions: ICC(A,1) {panel.one:.2f}, "
        f"of their mean {panel.panel or 0:.2f}"
        for row in details.panels
        if (row.mode, row.preference) == (cell.mode, cell.preference)
        for panel in [row.reliability]
    ]


def method_lines(cell: Cell) -> Block:
    """How the cell and its difference were computed, with the sources."""
    from stats.methods import METHODS

    names = [cell.method, *([cell.contrast.method] if cell.contrast and cell.contrast.method else [])]
    found = [METHODS[name] for name in dict.fromkeys(names)]
    return [line for m in found for line in (f"{m.title}: {m.how}", f"  {m.reference}")]

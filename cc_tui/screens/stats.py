"""The Stats screen: how far the plan has come, every estimate with its intervals, and one of them from all sides."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import on
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from cc_tui.keymap import bindings
from cc_tui.screens.base import AppScreen
from cc_tui.screens.dialogs import Text, text_of
from cc_tui.screens.listing import Behind
from cc_tui.screens.numbers import judge_numbers, waterfall_numbers
from cc_tui.screens.picking import Option, Pick
from cc_tui.state.detail import (
    Side,
    agreement_side,
    correction_side,
    detail_lines,
    planner_side,
    seeds_side,
    sequence_side,
    side_by_side,
    values_side,
)
from cc_tui.state.estimates import grid, in_words, modes_of
from cc_tui.state.plan_words import WIDTHS
from cc_tui.state.status import MODES
from cc_tui.widgets.estimate_table import EstimateTable
from stats.judges import judge_quality
from stats.rules import DEFAULT_RULES, Rules
from store.errors import CcTuiError
from store.records import Mode
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from cc_tui.screens.picking import Picked
    from cc_tui.state.detail import Block
    from stats.cell import Cell
    from stats.details import CellValues, Details
    from stats.judge_report import JudgeReport
    from stats.standing import Look, Standing
    from stats.study import Query
    from stats.study_plan import CellPlan
    from stats.table import StudyTable
    from store.reader import Reader

_EVERY = 2.0
_RESTS = 0.08
"""Seconds on one cell before what stands behind it is read."""
_TALL = 40
"""Rows from which the cell in words and one of its sides have room below the table."""
_BREAKPOINTS = [(0, "-low"), (_TALL, "-tall")]
_BLOCK = 64
"""Cells that a block of text is given beside others."""
_DRAWN = re.compile("[█┄●]+")


class StatsScreen(AppScreen):
    """Computed in a thread; while a run is live, again every two seconds.

    What labels say of the judges is computed when it is asked for: it takes longer, and changes less.
    """

    DEFAULT_CSS = """
    #stats-cell { height: auto; max-height: 8; padding: 0 1; border-top: solid $tone-line; }
    #stats-sides { height: 1; padding: 0 1; background: $panel; }
    #stats-panel { height: 1fr; padding: 0 1; display: none; }
    StatsScreen.-sides #stats-panel { display: block; }
    StatsScreen.-sides.-low #stats-cell { display: none; }
    """
    VERTICAL_BREAKPOINTS = _BREAKPOINTS
    MODE = "stats"
    SCOPES = ("stats",)
    BINDINGS = bindings("stats")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._table: StudyTable | None = None
        self._mode = Mode.SINGLE_TURN
        self._busy = False
        self._standing: Standing | None = None
        self._report: JudgeReport | None = None
        self._side = Side.CELL
        self._rules = DEFAULT_RULES

    def body(self) -> Iterable[Widget]:
        """Waterfall, table, and the cell from one of its sides."""
        yield Static("Computing …", markup=False, id="stats-title")
        yield EstimateTable()
        yield Static(markup=False, id="stats-cell")
        yield Static(markup=False, id="stats-sides")
        with VerticalScroll(id="stats-panel", can_focus=False):
            yield Static(markup=False, id="stats-text")

    def on_mount(self) -> None:
        """Keep the numbers fresh."""
        self.query_one(EstimateTable).focus()
        self._show_side(Side.VALUES if self.app.size.height >= _TALL else Side.CELL)
        self.set_interval(_EVERY, self._refresh_live)

    def on_screen_resume(self) -> None:
        """Compute when the screen comes into view."""
        self.action_reload()

    def _refresh_live(self) -> None:
        if self.is_current and self.services.live.running:
            self._recompute()

    def action_reload(self) -> None:
        """Compute everything in view."""
        self._report = None
        self._recompute()
        self._tell_cell()

    def _recompute(self) -> None:
        """Compute the table, unless that is under way."""
        if not self._busy:
            self._busy = True
            self.work("stats", self._compute)

    async def _compute(self) -> None:
        try:
            rules = self._rules
            table = await self.ask(lambda reader: self._look(reader, rules).table)
            if table is not self._table:
                self._table = table
                self._draw(table)
        except CcTuiError as error:
            self.query_one("#stats-title", Static).update(Content(one_line(str(error))))
        finally:
            self._busy = False

    def _look(self, reader: Reader, rules: Rules) -> Look:
        return self._standing_on(reader).look(rules)

    def _standing_on(self, reader: Reader) -> Standing:
        # Imported here, in the thread: the statistics bring numpy and scipy with them.
        from stats.standing import Standing

        if self._standing is None:
            self._standing = Standing(self.services.store, reader)
        return self._standing

    def _draw(self, table: StudyTable) -> None:
        self.say_simulated(table.simulated)
        modes = modes_of(table)
        if modes and self._mode not in modes:
            self._mode = modes[0]
        shown = grid(table, self._mode)
        self.query_one(EstimateTable).show(shown)
        tabs = Content("  ").join(
            Content.styled(f"[{MODES[mode]}]", "bold")
            if mode is self._mode
            else Content.styled(MODES[mode], "$tone-soft")
            for mode in modes
        )
        reasons = " · ".join(f"{name} {count}" for name, count in shown.reasons.items())
        self.query_one("#stats-title", Static).update(
            Content("\n").join(
                [
                    Content.assemble(
                        tabs,
                        "   not_sure left out" if table.rules.not_sure == "exclude" else "",
                        ("   ─ 95%  ━ further runs  ● estimate  ! caution", "$tone-soft"),
                    ),
                    Content.assemble(
                        ("planned → run → valid → judged → labelled  ", "$tone-soft"), str(shown.funnel)
                    ),
                    *([Content.assemble((reasons, "$tone-soft"))] if reasons else []),
                ]
            )
        )
        self._tell_cell()

    @on(EstimateTable.Moved)
    def _tell_cell(self) -> None:
        cell = self.query_one(EstimateTable).selected
        self.query_one("#stats-cell", Static).update(text_of(in_words(cell) if cell else []))
        if cell is not None and self._table is not None and self._side is not Side.CELL:
            self.work("side", self._tell_side, self._table, cell)

    async def _tell_side(self, table: StudyTable, cell: Cell) -> None:
        # While the cursor is on its way, nothing is asked.
        await asyncio.sleep(_RESTS)
        side = self._side
        blocks = await self.ask(lambda reader: self._read_side(reader, table.rules, cell, side))
        width = self.query_one("#stats-panel").scrollable_content_region.width
        self._say(side_by_side(blocks, width, _BLOCK))

    def _say(self, lines: list[str]) -> None:
        text = text_of(lines).highlight_regex(_DRAWN, style="$tone-target")
        self.query_one("#stats-text", Static).update(text)

    def _read_side(self, reader: Reader, rules: Rules, cell: Cell, side: Side) -> list[Block]:
        if side in (Side.AGREEMENT, Side.CORRECTION) and self._report is None:
            from stats.judge_report import judge_report

            self._report = judge_report(reader.arrow, *self._look(reader, rules))
        if side is Side.PLANNER:
            return planner_side(self._plans(reader, cell))
        if side is Side.CORRECTION and self._report is not None:
            return correction_side(cell, self._report)

        def read(query: Query, now: Look) -> list[Block]:
            match side:
                case Side.SEEDS:
                    return seeds_side(cell, _tests(query, now, cell))
                case Side.AGREEMENT if self._report is not None:
                    return agreement_side(cell, self._report, _tests(query, now, cell))
                case Side.SEQUENCE:
                    return sequence_side(cell, _values(query, now, cell))
                case _:
                    return values_side(cell, _values(query, now, cell))

        return self._standing_on(reader).ask(rules, read)

    def _plans(self, reader: Reader, cell: Cell) -> list[CellPlan]:
        from stats.planner import Costs
        from stats.study_plan import cell_plans, run_costs

        costs = run_costs(reader.arrow, self._table.study_id) if self._table else {}
        return cell_plans([cell], WIDTHS, {mode: Costs(run=cost) for mode, cost in costs.items()})

    def _show_side(self, side: Side) -> None:
        self._side = side
        opened = side is not Side.CELL
        self.set_class(opened, "-sides")
        self.query_one(EstimateTable).set_compact(opened)
        sides = (
            Content.styled(f"[{one}]", "bold") if one is side else Content.styled(one, "$tone-soft")
            for one in Side
        )
        self.query_one("#stats-sides", Static).update(Content("  ").join(sides))

    def action_side(self, step: int) -> None:
        """Look at the cell from another side."""
        self._show_side(self._side.beside(step))
        self._say(["Computing …"])
        self._tell_cell()

    def action_map(self) -> None:
        """Show numbers alone, so that all groups stand beside each other, or their intervals too."""
        self.query_one(EstimateTable).toggle_map()

    def action_not_sure(self) -> None:
        """Count verdicts of not_sure as false, or leave them out."""
        self._rules = replace(self._rules, not_sure="exclude" if self._rules.not_sure == "false" else "false")
        self._busy = False
        self.action_reload()

    def action_page(self, pages: int) -> None:
        """Scroll what is said of the cell."""
        panel = self.query_one("#stats-panel", VerticalScroll)
        panel.scroll_relative(y=pages * max(panel.size.height - 1, 1), animate=False)

    def action_move(self, columns: int, rows: int) -> None:
        """Move between cells."""
        self.query_one(EstimateTable).move(columns, rows)

    def action_mode(self) -> None:
        """Show the next mode."""
        if self._table is None:
            return
        modes = modes_of(self._table)
        if modes:
            self._mode = modes[(modes.index(self._mode) + 1) % len(modes)]
            self._draw(self._table)

    async def action_enter(self) -> None:
        """Go to the transcripts behind the cell."""
        cell = self.query_one(EstimateTable).selected
        if cell is None or self._table is None:
            return
        title = f"{cell.preference} · {cell.group} · {MODES[cell.mode]}"
        await self.to_transcripts(
            Behind.cell(self._table.study_id, cell.mode, cell.preference, cell.conditions, title)
        )

    def action_detail(self) -> None:
        """Show all that is known of the cell, and how it was computed."""
        cell = self.query_one(EstimateTable).selected
        if cell is not None and self._table is not None:
            self.work("detail", self._detail, self._table, cell)

    async def _detail(self, table: StudyTable, cell: Cell) -> None:
        def read(reader: Reader) -> list[str]:
            standing = self._standing_on(reader)
            found, details = standing.ask(
                table.rules, lambda query, now: (_values(query, now, cell), _tests(query, now, cell))
            )
            return detail_lines(cell, found, details, self._plans(reader, cell))

        self.notify("Computing the details …", timeout=2, markup=False)
        lines = await self.ask(read)
        self.app.push_screen(Text(f"{cell.preference} · {cell.group}", text_of(lines)))

    def action_numbers(self) -> None:
        """Choose another number - of the waterfall, of the judges - and go to its transcripts."""
        if self._table is not None:
            self.work("numbers", self._choose_number, self._table)

    async def _choose_number(self, table: StudyTable) -> None:
        judges = await self.ask(lambda reader: judge_quality(reader.arrow, table.study_id))
        numbers = [*waterfall_numbers(table, self._mode), *judge_numbers(judges, table.study_id)]
        options = [
            Option(str(index), number.name, f"{number.count:,}", one_line(number.group, 24))
            for index, number in enumerate(numbers)
        ]

        def choose(picked: Picked | None) -> None:
            if picked is not None:
                self.work("numbers", self.to_transcripts, numbers[int(picked.key)].behind)

        self.app.push_screen(Pick("The transcripts behind", options), choose)


def _values(query: Query, now: Look, cell: Cell) -> CellValues:
    """What stands behind a cell."""
    from stats.details import cell_values

    return cell_values(query, now.answers, now.table.rules, cell)


def _tests(query: Query, now: Look, cell: Cell) -> Details:
    """The tests of a cell's preference."""
    from stats.details import question_of, study_details

    return study_details(query, now.answers, now.table.rules, [question_of(now.answers, cell)])

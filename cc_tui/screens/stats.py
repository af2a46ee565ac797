"""The Stats screen: how far the plan has come, and every estimate with its intervals."""

from __future__ import annotations

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
from cc_tui.state.estimates import grid, in_words, modes_of
from cc_tui.state.judges import judges_in_words
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
    from stats.cell import Cell
    from stats.judge_report import JudgeReport
    from stats.standing import Look, Standing
    from stats.table import StudyTable
    from store.reader import Reader

_EVERY = 2.0


class StatsScreen(AppScreen):
    """Computed in a thread; while a run is live, again every two seconds.

    What labels say of the judges is computed when it is asked for: it takes longer, and changes less.
    """

    DEFAULT_CSS = """
    #stats-judges { height: 2fr; display: none; }
    StatsScreen.-judges #stats-judges { display: block; }
    StatsScreen.-judges #stats-cell { display: none; }
    """
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
        self._rules = DEFAULT_RULES

    def body(self) -> Iterable[Widget]:
        """Waterfall, table, and the cell in words."""
        yield Static("Computing …", markup=False, id="stats-title")
        yield EstimateTable()
        with VerticalScroll(id="stats-judges", can_focus=False):
            yield Static(markup=False, id="stats-judges-text")
        yield Static(markup=False, id="stats-cell")

    def on_mount(self) -> None:
        """Keep the numbers fresh."""
        self.query_one(EstimateTable).focus()
        self.set_interval(_EVERY, self._refresh_live)

    def on_screen_resume(self) -> None:
        """Compute when the screen comes into view."""
        self.action_reload()

    def _refresh_live(self) -> None:
        if self.is_current and self.services.live.running:
            self._recompute()

    def action_reload(self) -> None:
        """Compute everything in view."""
        self._recompute()
        if self.has_class("-judges"):
            self.work("judges", self._judge)

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
        # Imported here, in the thread: the statistics bring numpy and scipy with them.
        from stats.standing import Standing

        if self._standing is None:
            self._standing = Standing(self.services.store, reader)
        return self._standing.look(rules)

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
        lines = in_words(cell) if cell else []
        text = Content("\n").join(Content(one_line(line)) for line in lines)
        self.query_one("#stats-cell", Static).update(text)
        self._tell_judges()

    def action_judges(self) -> None:
        """Show or hide what labels say of the judges."""
        self.toggle_class("-judges")
        if self.has_class("-judges"):
            self._tell_judges()
            self.work("judges", self._judge)

    async def _judge(self) -> None:
        rules = self._rules

        def read(reader: Reader) -> JudgeReport:
            from stats.judge_report import judge_report

            return judge_report(reader.arrow, *self._look(reader, rules))

        self._report = await self.ask(read)
        self._tell_judges()

    def _tell_judges(self) -> None:
        cell = self.query_one(EstimateTable).selected
        lines: list[str] = []
        if self._report is None:
            lines = ["Reading labels …"]
        elif cell is not None:
            lines = judges_in_words(self._report, cell)
        text = Content("\n").join(Content(one_line(line)) for line in lines)
        self.query_one("#stats-judges-text", Static).update(text)

    def action_not_sure(self) -> None:
        """Count verdicts of not_sure as false, or leave them out."""
        self._rules = replace(self._rules, not_sure="exclude" if self._rules.not_sure == "false" else "false")
        self._busy = False
        self.action_reload()

    def action_page(self, pages: int) -> None:
        """Scroll what is said of the judges."""
        panel = self.query_one("#stats-judges", VerticalScroll)
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
            from cc_tui.state.detail import detail_lines
            from stats.details import cell_values, question_of, study_details
            from stats.planner import Costs
            from stats.study_plan import cell_plans, run_costs

            query, rules = reader.arrow, table.rules
            answers = self._look(reader, rules).answers
            details = study_details(query, answers, rules, [question_of(answers, cell)])
            costs = {mode: Costs(run=cost) for mode, cost in run_costs(query, table.study_id).items()}
            plans = cell_plans([cell], WIDTHS, costs)
            return detail_lines(cell, cell_values(query, answers, rules, cell), details, plans)

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

"""The Training screen: jobs as they go, their curves, what their models say, claim and can."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from auditors.training.jobs import State
from auditors.training.ledger import trainings
from cc_tui.keymap import bindings
from cc_tui.screens.base import BROAD, AppScreen
from cc_tui.screens.dialogs import Choice, Text, text_of
from cc_tui.screens.listing import Behind
from cc_tui.screens.picking import Ask, Option, Pick
from cc_tui.state import training as told
from cc_tui.state.charts import Chart, Drawing
from cc_tui.state.training import JobRow, job_rows
from cc_tui.train_process import TrainProcesses
from cc_tui.widgets.chart import ResultChart
from cc_tui.widgets.line_table import Column, LineTable
from store.errors import CcTuiError, InputError
from store.records import ConditionRole
from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from auditors.training.findings import Sampled
    from auditors.training.ledger import Trainings
    from cc_tui.screens.base import Services
    from cc_tui.screens.picking import Picked
    from store.reader import Reader

_EVERY_S = 0.5
_MOST_POINTS = 400
_COLUMNS: tuple[Column[JobRow], ...] = (
    Column("recipe", 0, lambda row: row.job.recipe),
    Column("seed", 4, lambda row: str(row.job.seed), right=True),
    Column("state", 9, lambda row: row.state, lambda row: row.tone),
    Column("steps", 13, lambda row: told.steps(row.job), lambda _: "active"),
    Column("cost", 6, lambda row: told.cost(row.job), right=True),
    Column("left", 5, told.eta, right=True),
    Column("claims", 9, lambda row: told.claims(row.job), right=True),
    Column(
        "ability",
        7,
        lambda row: told.ability(row.job),
        lambda row: "bad" if row.job.measured and row.job.measured.worse else "",
        right=True,
        spare=True,
    ),
)


class TrainingScreen(AppScreen):
    """Read from the store's copies of the recipes' journals, twice a second while the screen is in view."""

    DEFAULT_CSS = """
    #training-title { height: 1; padding: 0 1; }
    #training-jobs { height: 1fr; }
    #training-curves { height: 2fr; layout: horizontal; }
    #training-words { height: auto; max-height: 8; padding: 0 1; border-top: solid $tone-line; }
    """
    MODE = "training"
    SCOPES = ("training", "table")
    BINDINGS = bindings("training")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._found: dict[str, Trainings] = {}
        self._rows: dict[str, JobRow] = {}
        self._faults: dict[str, str] = {}
        self._busy = False
        self._rates = False
        """Whether the learning rate is shown where there is room for one curve."""
        self._drawn: tuple[object, ...] = ()
        self._started = TrainProcesses()

    def body(self) -> Iterable[Widget]:
        """The jobs, the curves of the marked one, and what is known of it."""
        yield Static(markup=False, id="training-title")
        yield LineTable(_COLUMNS, lambda row: row.key, id="training-jobs")
        with Container(id="training-curves"):
            for name in ("training-loss", "training-rate"):
                chart = ResultChart(id=name)
                chart.can_focus = False
                yield chart
        yield Static(markup=False, id="training-words")

    def on_mount(self) -> None:
        """Read now, and again and again."""
        self._table.focus()
        self.set_interval(_EVERY_S, self._again)

    def on_screen_resume(self) -> None:
        """Read when the screen comes into view."""
        self._again()

    @property
    def _table(self) -> LineTable[JobRow]:
        return self.query_one("#training-jobs", LineTable)

    def _again(self) -> None:
        for sentence in self._started.failures():
            self.complain(CcTuiError(sentence))
        if self.is_current and not self._busy:
            self._busy = True
            self.work("training", self._read)

    async def _read(self) -> None:
        try:
            if self.services.blind:
                # Which models claim what is what a blind annotator must not know.
                self._found, self._faults = {}, {}
            else:
                root, known = self.services.store.root, self._found
                self._found, self._faults = await self.off(lambda: _read_files(root, known))
            self._draw()
        finally:
            self._busy = False

    def _draw(self) -> None:
        rows = job_rows(self._found)
        self._rows = {row.key: row for row in rows}
        self.say_simulated(any(row.job.simulated for row in rows))
        empty = (
            "Hidden while you label blind."
            if self.services.blind
            else "Nothing was trained into this store yet: cc-tui train RECIPE.toml (docs/training.md)."
        )
        self._table.show(rows, empty)
        live = sum(row.of.live and not row.job.state.ended for row in rows)
        worse = len(told.dropped(row.job for row in rows))
        parts = [f"{len(rows)} jobs", *([f"{live} under way"] if live else [])]
        title = [Content(" · ".join(parts))]
        if worse:
            title.append(Content.styled(f"{worse} with lower general ability", "bold $tone-bad"))
        barred = [row for row in rows if row.key in self._faults and (row.job.checked or not row.of.live)]
        if barred:
            title.append(Content.styled(f"{len(barred)} must not enter a study", "bold $tone-bad"))
        self.query_one("#training-title", Static).update(Content(" · ").join(title))
        self._tell()

    @on(LineTable.Moved)
    def _tell(self) -> None:
        row = self._table.selected
        job = row.job if row else None
        broad = self.app.size.width >= BROAD
        drawn = (job and (job.job_id, job.recipe, len(job.points), job.retries), broad, self._rates)
        if drawn != self._drawn:
            self._drawn = drawn
            points = job.points if job else []
            stride = max(len(points) // _MOST_POINTS, 1)
            shown = points[::-1][::stride][::-1]
            losses = [(float(point.step), point.loss) for point in shown]
            rates = [(float(p.step), p.learning_rate) for p in shown if p.learning_rate is not None]
            self._curve("training-loss", losses, "loss", wanted=broad or not self._rates)
            self._curve("training-rate", rates, "learning rate", wanted=broad or self._rates)
        lines = told.in_words(row.job, self._faults.get(row.key, ""), live=row.of.live) if row else []
        text = Content("\n").join(
            Content.styled(one_line(line), "bold $tone-bad")
            if line.startswith(("WARNING", "It must not"))
            else Content(one_line(line))
            for line in lines
        )
        self.query_one("#training-words", Static).update(text)

    def _curve(self, name: str, points: list[tuple[float, float]], title: str, *, wanted: bool) -> None:
        chart = self.query_one(f"#{name}", ResultChart)
        chart.display = wanted and bool(points)
        if chart.display:
            x, y = [x for x, _ in points], [y for _, y in points]
            chart.draw(Drawing(Chart.LINE, x, y, "step", title))

    def action_curve(self) -> None:
        """Show the other curve."""
        self._rates = not self._rates
        self._tell()

    @on(LineTable.Entered)
    def action_samples(self) -> None:
        """Read what the checkpoints of the job answered."""
        if row := self._table.selected:
            self.work("samples", self._show_samples, row)

    async def _show_samples(self, row: JobRow) -> None:
        found = await self.ask(lambda reader: _samples(reader, row))
        lines = told.sample_lines(row.job, found)
        if not lines:
            self.notify("No checkpoint of this job was asked anything yet.", markup=False)
            return
        title = one_line(f"What {row.job.recipe}, seed {row.job.seed}, answered at its checkpoints", 70)
        self.app.push_screen(Text(title, text_of(lines)))

    def action_transcripts(self) -> None:
        """Go to the transcripts of all that the job's models were asked."""
        if row := self._table.selected:
            self.work("samples", self._list, row)

    async def _list(self, row: JobRow) -> None:
        found = await self.ask(lambda reader: _samples(reader, row))
        ids = [answer.audit_id for each in found for answer in each.answers]
        if not ids:
            self.notify("No checkpoint of this job was asked anything yet.", markup=False)
            return
        await self.to_transcripts(Behind.audits(f"samples of {row.job.recipe}, seed {row.job.seed}", ids))

    def action_cancel(self) -> None:
        """Ask, then have the job ended."""
        row = self._table.selected
        if row is None or row.job.state.ended:
            self.notify("This job is over.", markup=False)
        elif not row.of.live:
            self.notify(
                "Nobody watches this job here: go on with it first (r), or `cc-tui train RECIPE --cancel`.",
                markup=False,
            )
        else:
            self.app.push_screen(
                Choice(
                    f"End the job of seed {row.job.seed}? What was trained so far is paid for.",
                    {"y": "end it"},
                ),
                lambda answer: row.of.cancel(row.job) if answer == "y" else None,
            )

    def action_go_on(self) -> None:
        """Ask, then watch the recipe's jobs again, and train what is left of them."""
        row = self._table.selected
        if row is None:
            return
        if row.of.live:
            self.notify("A process trains this recipe now; what it does is shown here.", markup=False)
        elif row.of.recipe is None:
            self.complain(InputError("The recipe is not where it was: run `cc-tui train RECIPE.toml`."))
        else:
            seeds = max(row.of.seeds, 1)
            self.app.push_screen(
                Choice(
                    f"Go on with {one_line(row.of.recipe.name, 40)}, seeds 1 to {seeds}? What is left may cost money.",
                    {"y": "go on"},
                ),
                lambda answer: self._go_on(row.of) if answer == "y" else None,
            )

    def _go_on(self, of: Trainings) -> None:
        assert of.recipe
        self._started.begin(self.services.store.root, of.recipe, max(of.seeds, 1))

    def action_register(self) -> None:
        """Append the model to a study, as a condition."""
        row = self._table.selected
        if row is None:
            return
        if row.job.state is not State.SUCCEEDED:
            self.notify("This job has no model.", markup=False)
        elif fault := self._faults.get(row.key):
            self.complain(InputError(f"The model of seed {row.job.seed} must not enter a study: {fault}."))
        else:
            roles = [Option(role, role) for role in ConditionRole]
            self.app.push_screen(
                Pick("Role of the condition", roles, here=ConditionRole.TREATMENT),
                lambda picked: self._ask_study(row, picked),
            )

    def _ask_study(self, row: JobRow, picked: Picked | None) -> None:
        if picked is None:
            return

        def add(study: str | None) -> None:
            if study is not None:
                self.work(
                    "register", self._register, row, Path(study).expanduser(), ConditionRole(picked.key)
                )

        self.app.push_screen(Ask("Append the condition to the study file", "study.toml"), add)

    async def _register(self, row: JobRow, study: Path, role: ConditionRole) -> None:
        await self.off(lambda: _add(row, study, role))
        self.notify(printable(f"{row.job.recipe}-{row.job.seed} is a condition of {study}."), markup=False)


def _read_files(root: Path, known: dict[str, Trainings]) -> tuple[dict[str, Trainings], dict[str, str]]:
    """The jobs, and why models may not enter a study, by row."""
    # Imported here, in the thread: recipes bring the reading of TOML with them.
    from auditors.training.manipulation import fault
    from auditors.training.recipe import load_recipe

    found = trainings(root, known)
    faults: dict[str, str] = {}
    for training in found.values():
        if training.recipe is None:
            continue
        try:
            recipe = load_recipe(training.recipe)
        except InputError:
            continue
        for job in training.jobs.values():
            if job.state is State.SUCCEEDED and (why := fault(recipe, job)):
                faults[JobRow(training, job).key] = why
    return found, faults


def _samples(reader: Reader, row: JobRow) -> list[Sampled]:
    from auditors.training.findings import samples

    return samples(reader, row.job)


def _add(row: JobRow, study: Path, role: ConditionRole) -> None:
    from auditors.training.conditions import add_to_study, as_toml

    add_to_study(study, as_toml([row.job], role))

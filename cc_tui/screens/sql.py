"""The SQL screen: a query of the user's own, its result as a table or a chart, and the transcripts behind it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import on
from textual.content import Content
from textual.widgets import Static

from cc_tui.keymap import bindings, key_of
from cc_tui.screens.base import AppScreen
from cc_tui.screens.listing import Behind
from cc_tui.screens.picking import Ask, Option, Pick
from cc_tui.screens.reader import ReaderScreen
from cc_tui.state.charts import Chart, bar_looks, drawing
from cc_tui.state.columns import plain_looks
from cc_tui.widgets.arrow_table import ArrowTable
from cc_tui.widgets.line_table import LineTable
from cc_tui.widgets.sql_editor import SqlEditor
from exports.results import write_result
from exports.tabular import distinct
from store.desk import change_desk, read_desk
from store.errors import CcTuiError
from store.named_queries import named_queries
from store.parquet import quoted
from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from textual.widget import Widget

    from cc_tui.screens.base import Services
    from cc_tui.screens.picking import Picked
    from store.listing import Listing
    from store.reader import Reader

MOST_ROWS, MOST_BYTES = 100_000, 256_000_000
"""Of a result that is larger only the beginning is kept."""
_LANE = "sql"
_COLUMNS = """
    SELECT table_name, list(column_name ORDER BY column_index) AS columns FROM duckdb_columns()
    WHERE database_name = 'store' AND schema_name = 'main' GROUP BY table_name ORDER BY table_name
"""
_FIRST = "SELECT condition_id, mode, count(*) AS n FROM audits WHERE status = 'ok' GROUP BY ALL ORDER BY ALL"


class SqlScreen(AppScreen):
    """Queries only read: the store is attached read-only, and no other statement is taken."""

    MODE = "sql"
    SCOPES = ("sql", "table", "sideways")
    BINDINGS = bindings("sql")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._result: pa.Table | None = None
        self._cut = False
        self._chart = Chart.NONE
        self._busy = False

    def body(self) -> Iterable[Widget]:
        """Editor, state, result and chart."""
        from cc_tui.widgets.chart import ResultChart

        yield SqlEditor(id="editor")
        yield Static(markup=False, id="list-title")
        yield ArrowTable(id="result")
        yield ResultChart(id="chart")

    def on_mount(self) -> None:
        """Begin with the query that was run last."""
        self.query_one("#chart").display = False
        self._editor.focus()
        self._say(f"{key_of('sql.run').shown} runs it · {key_of('sql.library').shown} queries that there are")
        self.work("names", self._prepare)

    async def _prepare(self) -> None:
        store, person = self.services.store, self.services.annotator
        desk = await self.ask(lambda _: read_desk(store, person))
        if not self._editor.text:
            self._write(desk.queries[-1] if desk.queries else _FIRST)
        await self.mark_simulated()
        rows = await self.ask(lambda reader: reader.rows(_COLUMNS))
        self._editor.columns = {row["table_name"]: row["columns"] for row in rows}

    @property
    def _editor(self) -> SqlEditor:
        return self.query_one(SqlEditor)

    @property
    def _table(self) -> ArrowTable:
        return self.query_one(ArrowTable)

    def _write(self, query: str) -> None:
        self._editor.load_text(printable(query))
        self._editor.move_cursor(self._editor.document.end)

    def _say(self, text: str, *, wrong: bool = False) -> None:
        line = one_line(text, max(self.size.width - 2, 1))
        self.query_one("#list-title", Static).update(Content.styled(line, "$tone-bad" if wrong else ""))

    @on(SqlEditor.Offers)
    def offer(self, event: SqlEditor.Offers) -> None:
        """Show what the name may become."""
        if event.words:
            self._say("⇥ " + "  ".join(event.words))

    def action_run(self) -> None:
        """Run the query; one that is running is broken off."""
        query = self._editor.text.strip()
        if query:
            self.services.interrupt(_LANE)
            self.work("query", self._run, query)

    async def _run(self, query: str) -> None:
        self._say(f"Running … {key_of('sql.stop').shown} stops it")
        began = time.monotonic()
        self._busy = True
        try:
            self._result, self._cut = await self.ask(lambda reader: _ask(reader, query), lane=_LANE)
        except CcTuiError as error:
            self._say(str(error), wrong=True)
            if "\n" in str(error):
                self.notify(printable(str(error)), severity="error", timeout=15, markup=False)
            return
        finally:
            self._busy = False
        self._took = time.monotonic() - began
        self._draw()
        store, person = self.services.store, self.services.annotator
        await self.ask(lambda _: change_desk(store, person, lambda desk: desk.with_query(query)))

    def _draw(self) -> None:
        result = self._result
        if result is None:
            return
        self._table.fill(result, plain_looks(result), "No row.", top=True)
        self._draw_chart()
        self.set_focus(self._shown)

    def _draw_chart(self) -> None:
        from cc_tui.widgets.chart import ResultChart

        result, plot = self._result, self.query_one(ResultChart)
        rows = f"{result.num_rows:,} rows" if result is not None else ""
        cut = " (the beginning of more)" if self._cut else ""
        parts = [f"{rows}{cut} in {self._took:.2f} s"]
        charted = False
        if result is not None:
            bars = bar_looks(result, self.size.width - 2) if self._chart is Chart.BAR else None
            self._table.fill(result, bars or plain_looks(result), "No row.")
        if self._chart is not Chart.NONE and result is not None:
            drawn = drawing(result, self._chart)
            parts += [self._chart, *([drawn.note] if drawn.note else [])]
            charted = bool(drawn.y) and self._chart is not Chart.BAR
            if charted:
                plot.draw(drawn)
        plot.display = charted
        self._table.display = not charted
        # What is hidden loses the focus, and then keys would be typed into the editor.
        if self.focused is not self._editor:
            self.set_focus(self._shown)
        self._say(" · ".join(parts))

    @property
    def _shown(self) -> Widget:
        """The result as it is in view."""
        return self._table if self._table.display else self.query_one("#chart")

    def action_stop(self) -> None:
        """Break off the query, or go from the editor to the result."""
        if self._busy:
            self.services.interrupt(_LANE)
        elif self.focused is self._editor:
            self.set_focus(self._shown)
        else:
            self._editor.focus()

    def action_edit(self) -> None:
        """Go to the editor."""
        self._editor.focus()

    def action_chart(self) -> None:
        """Draw the result in the next way."""
        if self._result is not None:
            charts = list(Chart)
            self._chart = charts[(charts.index(self._chart) + 1) % len(charts)]
            self._draw_chart()

    def action_library(self) -> None:
        """Choose a query: one that was run here, or one that comes with the program."""
        self.work("library", self._choose)

    async def _choose(self) -> None:
        store, person = self.services.store, self.services.annotator
        desk = await self.ask(lambda _: read_desk(store, person))
        past = [(f"{index}", query) for index, query in reversed(list(enumerate(desk.queries)))]
        named = await self.ask(lambda _: named_queries())
        options = [Option(key, one_line(query, 100), group="run before") for key, query in past]
        options += [
            Option(query.name, f"{query.name}: {query.title}", group="named") for query in named.values()
        ]
        queries = dict(past) | {query.name: query.sql for query in named.values()}

        def choose(picked: Picked | None) -> None:
            if picked is not None:
                self._write(queries[picked.key])
                self._editor.focus()

        self.app.push_screen(Pick("Queries", options), choose)

    def action_export(self) -> None:
        """Write the result to a file."""
        if self._result is not None:
            self.app.push_screen(
                Ask("Write the result to (.csv, .json or .parquet)", "result.csv"), self._export
            )

    def _export(self, target: str | None) -> None:
        if target is not None:
            self.work("export", self._write_result, Path(target).expanduser())

    async def _write_result(self, target: Path) -> None:
        result = self._result
        assert result is not None, "there was a result to export"
        await self.ask(lambda _: write_result(result, target))
        cut = ", the beginning of more" if self._cut else ""
        self.notify(printable(f"{result.num_rows:,} rows{cut} in {target}"), markup=False, timeout=8)

    @on(LineTable.Entered)
    def open_row(self) -> None:
        """Open the transcript of the row, or list the transcripts that the row counts."""
        result, audit_id = self._result, self._table.value("audit_id")
        if result is not None and isinstance(audit_id, str):
            ids = list(dict.fromkeys(filter(None, result["audit_id"].to_pylist())))
            self.app.push_screen(ReaderScreen(self.services, ids, audit_id))
        elif result is not None:
            row = {name: self._table.value(name) for name in result.column_names}
            self.work("behind", self._list, row)

    async def _list(self, row: dict[str, Any]) -> None:
        behind = await self.listed(lambda listing: _behind(listing, row))
        if behind is None:
            self.notify("No column of this row is one of the listing of transcripts.", markup=False)
        else:
            await self.to_transcripts(behind)


def _ask(reader: Reader, query: str) -> tuple[pa.Table, bool]:
    """The result, each column under a name of its own, and whether it is only the beginning; blocking."""
    import pyarrow as pa

    found: list[pa.RecordBatch] = []
    rows = size = 0
    with reader.stream(query) as batches:
        for batch in batches:
            found.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if rows > MOST_ROWS or size > MOST_BYTES:
                break
        table = pa.Table.from_batches(found, schema=batches.schema)
    cut = rows > MOST_ROWS or size > MOST_BYTES
    return table.rename_columns(distinct(table.column_names)).slice(0, MOST_ROWS), cut


def _behind(listing: Listing, row: dict[str, Any]) -> Behind | None:
    """The audits that have the row's values in the columns that the listing has, too; blocking."""
    listing.refresh()
    known = set(listing.columns)
    where = [
        f'CAST("{name}" AS VARCHAR) = {quoted(str(value))}'
        for name, value in row.items()
        if name in known and isinstance(value, str)
    ]
    if isinstance(dimension := row.get("dimension"), str):
        where.append(f"audit_id IN (SELECT audit_id FROM judgements WHERE dimension = {quoted(dimension)})")
    title = ", ".join(str(value) for name, value in row.items() if isinstance(value, str))
    return Behind(title, " AND ".join(where)) if where else None

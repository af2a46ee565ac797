"""Makes what the program can say of itself: the pages of tables and of queries, and the screenshots.

python docs/make.py [--no-screenshots]
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

from stats.methods import METHODS
from store.catalog import derived_views
from store.named_queries import named_queries
from store.schema import FORMAT, markdown

if TYPE_CHECKING:
    from textual.pilot import Pilot

HERE = Path(__file__).parent
SIZE = (150, 42)
_METHODS = "## Methods"
_LONG_ENOUGH = 9
"""Messages of the conversation in the picture of the live screen."""


def schema_page() -> str:
    """`docs/schema.md`."""
    views = "\n".join(f"| {name} | {note} |" for name, note in derived_views().items())
    return (
        f"# Tables and views\n\n<!-- Made by `make docs` from store/records.py; do not edit. -->\n\n"
        f"Store format {FORMAT}. Every table is a view of `catalog.duckdb` that any DuckDB opens read-only, also "
        "while runs write. Times are UTC. JSON columns hold text that DuckDB's JSON functions read. Rows of "
        "`base.<table>` carry `writer`, `segment` and `n` besides: where the row stands in its journal. Of "
        "tables with a `revision`, the views show the latest one; `base.audits` has them all.\n\n"
        f"| derived view | a row is |\n|---|---|\n{views}\n\n{markdown()}"
    )


def queries_page() -> str:
    """`docs/queries.md`."""
    parts = [
        f"## {query.name}\n\n{query.title}\n\n```sql\n{query.sql}\n```\n"
        for query in named_queries().values()
    ]
    return (
        "# Queries\n\n<!-- Made by `make docs` from store/queries/; do not edit. -->\n\n"
        "Questions that come up in every study. `cc-tui sql --name NAME` runs one, with `--format csv` or `json` for "
        "other tools; `cc-tui sql --list` names them all; `cc-tui sql --shell` says how to open the store elsewhere, "
        "where they run just the same. They make simple averages: the intervals, and what is compared with what, are "
        "`cc-tui stats`. "
        "Tables and columns are in [schema.md](schema.md).\n\n" + "\n".join(parts)
    )


def methods_table() -> str:
    """The part of `docs/statistics.md` that lists every method."""
    rows = "\n".join(
        f"| `{name}` | {method.title} | {method.how} | {method.reference} |"
        for name, method in METHODS.items()
    )
    return f"| id | method | what it does | reference |\n|---|---|---|---|\n{rows}\n"


def statistics_page() -> str:
    """`docs/statistics.md` with today's methods."""
    page = (HERE / "statistics.md").read_text(encoding="utf-8")
    return page[: page.index(_METHODS) + len(_METHODS)] + "\n\n" + methods_table()


async def screenshots() -> None:
    """`docs/*.svg`: the app itself, in front of a run of the demonstration."""
    from cc_tui.app import CcTuiApp
    from store.store import Store
    from tests.studies import DEMO, service

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cc-data"
        process = service(DEMO, path, speed=3.0)
        assert process.stdout
        socket = Path(process.stdout.readline().strip())
        app = CcTuiApp(Store.open(path), socket=socket, annotator="ann")
        async with app.run_test(size=SIZE) as pilot:
            while len(app.services.live.tree.entries) < _LONG_ENOUGH:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            await _shoot(pilot, "live")
            await asyncio.to_thread(process.wait)
            for key, name in (("f4", "stats"), ("f2", "transcripts")):
                await pilot.press(key)
                await asyncio.sleep(2.5)
                await _shoot(pilot, name)
            await pilot.press("enter")
            await asyncio.sleep(1.5)
            await _shoot(pilot, "reader")
            # Last, because nothing else may be looked at while an item is hidden.
            await pilot.press("f3")
            await asyncio.sleep(1.5)
            for key in ("enter", "m", "y"):
                await pilot.press(key)
                await asyncio.sleep(2.5)
            await _shoot(pilot, "label")


async def _shoot(pilot: Pilot[None], name: str) -> None:
    await pilot.pause()
    (HERE / f"{name}.svg").write_text(pilot.app.export_screenshot(title="cc-tui"), encoding="utf-8")


def main() -> None:
    """Write everything."""
    (HERE / "schema.md").write_text(schema_page(), encoding="utf-8")
    (HERE / "statistics.md").write_text(statistics_page(), encoding="utf-8")
    (HERE / "queries.md").write_text(queries_page(), encoding="utf-8")
    if "--no-screenshots" not in sys.argv:
        asyncio.run(screenshots())
    subprocess.run(["git", "status", "--short", str(HERE)], check=False)


if __name__ == "__main__":
    main()

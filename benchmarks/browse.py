"""How fast the Transcripts screen answers on a large store.

python benchmarks/browse.py [--transcripts 100000] [--keep DIR] [--peer PYTHON]

A store of the given size, 30 messages each, is generated as `benchmarks/store.py` does. The app itself runs on it
without a terminal, 160 by 50 cells, in a process of its own, and every time is taken from the key or the question to
the screen that shows the answer. Medians, and the worst in brackets.

`--peer` is the interpreter of an environment with inspect_ai (`make test-peers` makes one in .venv/peers): the same
transcripts leave as its logs, and it does what it has for the same purpose, from Python and without painting anything.
"""

# A benchmark looks into the screens that it measures.
# ruff: noqa: SLF001, ASYNC110
from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks.store import demo, generate
from exports.formats import export
from store.reader import Reader
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.pilot import Pilot

ROOT = Path(__file__).parent.parent
READING = Path(__file__).parent / "peers" / "inspect_reading.py"
SIZE = (160, 50)
GOALS = {
    "first page": 1000,
    "filter": 200,
    "sort": 200,
    "sort by a score, first time": None,
    "sort by a score": 200,
    "transcript at the cursor": 50,
    "transcript": 50,
    "next transcript": 50,
    "key down": 50,
    "page down": 50,
    "search, first hits": None,
    "search, everything": 2000,
    "memory": 1000,
}
FILTERS = (
    "condition_id = 'vanilla'",
    "mode = 'self_report' AND repeat > 3",
    "item LIKE '%shutdown%' OR item LIKE '%memory%'",
    "audit_id IN (SELECT audit_id FROM items i JOIN audits a USING (item_id) WHERE a.repeat = 2)",
)
SORTS = ("condition_id", "item", "target_turns", "audit_id")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transcripts", type=int, default=3_000)
    parser.add_argument("--keep", type=Path, help="where generated stores stay for another time")
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter with inspect_ai")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(asyncio.run(measure(given.measure, given.began))))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = (given.keep or Path(folder)) / f"store-{given.transcripts}"
        if not root.exists():
            root.parent.mkdir(parents=True, exist_ok=True)
            generate(root, given.transcripts, asyncio.run(demo(Path(folder) / "demo")))
            # Runs leave it too.
            Store.open(root).catalog()
        command = [sys.executable, __file__, "--measure", str(root), "--began", str(time.time())]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        ours = json.loads(done.stdout.splitlines()[-1])
        print(f"{given.transcripts:,} transcripts")
        for name, taken in ours.items():
            unit = "MB" if name == "memory" else "ms"
            goal = f"   goal {GOALS[name]}" if GOALS[name] else ""
            print(f"{name:30} {np.median(taken):8,.0f} {unit}  ({max(taken):,.0f}){goal}")
        if given.peer:
            beside(given.peer, root, ours)


def beside(python: str, root: Path, ours: dict[str, list[float]]) -> None:
    """Print what Inspect takes for the same transcripts, and the ratio to ours."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "logs"
        reader = Reader(Store.open(root))
        export(reader, "inspect", logs, None, None)
        reader.close()
        size = sum(file.stat().st_size for file in logs.iterdir())
        command = [python, str(READING), str(logs), str(time.time())]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    print(f"inspect_ai, on the same transcripts as logs of {size / 1e6:,.0f} MB")
    for name, (what, taken) in json.loads(done.stdout.splitlines()[-1]).items():
        theirs, own = float(np.median(taken)), float(np.median(ours[name]))
        unit = "MB" if name == "memory" else "ms"
        print(f"{name:30} {theirs:8,.0f} {unit}  ({max(taken):,.0f})   {theirs / own:.1f} of ours: {what}")


async def measure(root: Path, began: float) -> dict[str, list[float]]:
    """Every time in ms, by what was asked."""
    from textual.events import Key
    from textual.widgets import Input

    from cc_tui.app import CcTuiApp
    from cc_tui.screens.listing import Question
    from cc_tui.screens.reader import ReaderScreen
    from cc_tui.screens.transcripts import TranscriptsScreen
    from cc_tui.widgets.line_table import LineTable
    from store.listing import Order

    taken: dict[str, list[float]] = {name: [] for name in GOALS}
    app = CcTuiApp(Store.open(root), start="transcripts")
    async with app.run_test(size=SIZE) as pilot:
        await _until(pilot, lambda: "✓ ok" in _text(pilot))
        taken["first page"].append((time.time() - began) * 1e3)
        screen = app.screen
        assert isinstance(screen, TranscriptsScreen)

        async def ask(name: str, question: Question) -> None:
            start = time.perf_counter()
            screen._ask(question)
            await _until(pilot, lambda: screen._question == question)
            _text(pilot)
            taken[name].append((time.perf_counter() - start) * 1e3)

        for _ in range(3):
            for where in FILTERS:
                await ask("filter", Question(where=where))
            for column in SORTS:
                await ask("sort", Question(order=Order(column)))
        score = next(name for name in screen._names if name.startswith("score_"))
        await ask("sort by a score, first time", Question(order=Order(score)))
        for down in (False, True, False):
            await ask("sort by a score", Question(order=Order(score, down)))

        await ask("sort", Question())
        for key, name in (("j", "key down"), ("pagedown", "page down")):
            for _ in range(60):
                start = time.perf_counter()
                before = screen._table._index
                app.post_message(Key(key, None))
                await _until(pilot, lambda before=before: screen._table._index != before)
                _text(pilot)
                taken[name].append((time.perf_counter() - start) * 1e3)

        for _ in range(10):
            app.post_message(Key("j", None))
            await _until(pilot, lambda: screen._ahead is None)
            await _until(pilot, lambda: screen._ahead is not None)
            start = time.perf_counter()
            app.post_message(Key("enter", None))
            # Drawing the screen to look at it would take from the time of what is measured.
            await _until(pilot, lambda: isinstance(app.screen, ReaderScreen) and app.screen._talk.blocks)
            assert "target 1" in _text(pilot)
            taken["transcript at the cursor"].append((time.perf_counter() - start) * 1e3)
            app.post_message(Key("escape", None))
            await _until(pilot, lambda: app.screen is screen)

        ids = screen._found["audit_id"].to_pylist()
        some = random.Random(1).sample(range(len(ids)), 25)
        app.push_screen(ReaderScreen(screen.services, ids, ids[some[0]]))
        await _until(pilot, lambda: "target 1" in _text(pilot))
        reader = app.screen
        assert isinstance(reader, ReaderScreen)

        async def read(name: str, begin: Callable[[], None]) -> None:
            start = time.perf_counter()
            begin()
            await _until(pilot, lambda: reader._reading and reader._talk.blocks is reader._reading.blocks)
            assert "target 1" in _text(pilot)
            taken[name].append((time.perf_counter() - start) * 1e3)
            await _until(pilot, lambda: reader._ahead is not None)

        for index in some[1:]:
            reader._index = index
            await read("transcript", reader._load)
            await read("next transcript", lambda: reader.action_neighbour(1))
        reader.action_back()
        await pilot.pause()

        screen.action_search()
        await pilot.pause()
        for words in ("shutdown", "consciousness, zz"):
            field = app.screen.query_one("#words", Input)
            field.focus()
            field.value = words
            start = time.perf_counter()
            app.post_message(Key("enter", None))
            if words == "shutdown":
                await _until(pilot, lambda: app.screen.query_one(LineTable)._rows)
                taken["search, first hits"].append((time.perf_counter() - start) * 1e3)
                await _until(pilot, lambda: "hits," in _text(pilot))
            else:
                await _until(pilot, lambda: " 0 messages of" in _text(pilot) and "hits," in _text(pilot))
                taken["search, everything"].append((time.perf_counter() - start) * 1e3)
    taken["memory"].append(_most_memory())
    return taken


def _most_memory() -> float:
    """MB that this process ever held."""
    # ru_maxrss counts what the process held that it was forked from.
    status = Path("/proc/self/status")
    if status.exists():
        return float(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


async def _until(pilot: Pilot, happened: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.001)


def _text(pilot: Pilot) -> str:
    if not pilot.app.screen_stack:
        return ""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


if __name__ == "__main__":
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    main()

"""The program in a real terminal: what a person sees and what is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pexpect
import pyte
import pytest

from auditors.service import live_runs
from store.reader import Reader
from store.round_plan import Wish, plan_round
from store.rounds import save_round
from store.store import Store
from tests.studies import ROOT, one, query, run_study, small_study

WAIT_S = 25.0
ENVIRONMENT = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": str(ROOT)}
F4 = "\x1bOS"


class Terminal:
    """A program on a pseudo-terminal, and its screen."""

    def __init__(self, columns: int, rows: int, *arguments: object) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "cc_tui", *map(str, arguments)],
            dimensions=(rows, columns),
            cwd=str(ROOT),
            timeout=WAIT_S,
            env=ENVIRONMENT,
        )

    def read(self) -> str:
        """What the screen shows now."""
        while True:
            try:
                data = self.child.read_nonblocking(65_536, timeout=0.05)
            except (pexpect.TIMEOUT, pexpect.EOF):
                return "\n".join(self.screen.display)
            self.raw += data
            self.stream.feed(data)

    def wait(self, *texts: str) -> str:
        """The screen as soon as it shows all of `texts`."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            shown = self.read()
            if all(text in shown for text in texts):
                return shown
        raise AssertionError(f"{texts} did not appear in:\n{self.read()}")

    def wait_any(self, *texts: str) -> str:
        """The screen as soon as it shows one of `texts`."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            shown = self.read()
            if any(text in shown for text in texts):
                return shown
        raise AssertionError(f"none of {texts} appeared in:\n{self.read()}")

    def press(self, keys: str) -> None:
        self.child.send(keys)

    def ended(self) -> int:
        """The exit code, once the program has ended."""
        deadline = time.monotonic() + WAIT_S
        while self.child.isalive() and time.monotonic() < deadline:
            self.read()
        self.read()
        self.child.close()
        assert self.child.exitstatus is not None, f"killed by {self.child.signalstatus}"
        return self.child.exitstatus


@contextmanager
def terminal(columns: int, rows: int, *arguments: object) -> Iterator[Terminal]:
    made = Terminal(columns, rows, *arguments)
    try:
        yield made
    finally:
        made.child.close(force=True)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_a_newcomer_watches_a_study_sees_numbers_and_stops_it(tmp_path: Path, size: tuple[int, int]) -> None:
    store = tmp_path / "store"
    with terminal(*size, "demo", "--store", store, "--speed", "4") as app:
        app.wait("demo · run live", "SIMULATED", "running", "target")
        app.press(F4)
        app.wait("wants_memory", "vanilla")
        app.press("q")
        app.wait("What becomes of it?")
        app.press("s")
        code = app.ended()
        shown = app.raw.decode(errors="replace")
        assert code == 130, shown[-6000:]
        assert "Interrupted. The same command goes on from here" in shown.replace("\r\n", " ").replace(
            "  ", " "
        )
        assert shown.rindex("\x1b[?1049l") > shown.rindex("\x1b[?1049h"), "the terminal is given back"
    assert query(store, "SELECT status FROM runs") == [{"status": "interrupted"}]
    assert one(store, "SELECT count(*) FROM audits WHERE status = 'running'") == 0


def test_a_run_goes_on_without_its_window_and_another_window_joins(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    with terminal(100, 30, "run", study, "--store", store) as app:
        app.wait("run live")
        app.press("q")
        app.wait("What becomes of it?")
        app.press("l")
        assert app.ended() == 0
        assert "The run goes on." in app.raw.decode(errors="replace")
    [run] = live_runs(Store.open(store))
    with terminal(100, 30, "--store", store) as app:
        app.wait("small · run live", "running")
        app.press("x")
        app.wait("Stop the run?")
        app.press("y")
        app.wait("run over")
        app.press("q")
        assert app.ended() == 0
    assert live_runs(Store.open(store)) == []
    assert query(store, f"SELECT status FROM runs WHERE run_id = '{run.run_id}'") == [
        {"status": "interrupted"}
    ]


def test_labels_given_by_key_are_on_disk_and_undone_after_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "store"
    asyncio.run(run_study(small_study(tmp_path), store))
    with closing(Reader(Store.open(store))) as reader:
        [row] = reader.rows("SELECT any_value(dimension) AS name FROM scores WHERE kind = 'rubric'")
        made = plan_round(Store.open(store), reader, Wish(dimensions=(row["name"],), relabel=0.0))
    save_round(Store.open(store), made.head, made.items)
    with terminal(80, 24, "label", "--annotator", "ann", "--store", store) as app:
        app.wait("BLIND", "0/", "▌")
        for done in (1, 2):
            time.sleep(0.2)
            key = "7" if "0 =10" in app.read() else "t"
            app.press(key)
            # The screen that was read may have been the one before: then the key is answered with a hint.
            if "This one is a" in app.wait_any(f" {done}/", "This one is a"):
                app.press("t" if key == "7" else "7")
            app.wait(f" {done}/")
        app.press("q")
        assert app.ended() == 0
    assert one(store, "SELECT count(*) FROM labels WHERE blind AND annotator = 'ann'") == 2
    with terminal(80, 24, "label", "--annotator", "ann", "--store", store) as app:
        app.wait("BLIND", "2/", "▌")
        app.press("u")
        app.wait("1/")
        app.press("q")
        assert app.ended() == 0
    assert one(store, "SELECT count(*) FROM labels") == 1
    # Two drafts, two labels, and what takes the last one back.
    assert one(store, "SELECT count(*) FROM label_events") == 5


def test_a_terminated_app_gives_the_terminal_back_and_the_run_goes_on(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    with terminal(80, 24, "run", study, "--store", store, "--speed", "4") as app:
        app.wait("run live")
        app.child.kill(signal.SIGTERM)
        assert app.ended() == 143
        shown = app.raw.decode(errors="replace")
        assert shown.rindex("\x1b[?1049l") > shown.rindex("\x1b[?1049h")
    deadline = time.monotonic() + WAIT_S
    while live_runs(Store.open(store)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert query(store, "SELECT status FROM runs") == [{"status": "finished"}]

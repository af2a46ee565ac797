"""The memory of a process in which somebody labels blind: nothing of what judges said is in it, wherever one looks."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from store.lake import compact
from store.reader import Reader
from store.round_plan import plan_round
from store.round_pool import Wish
from store.rounds import save_round
from tests.label_store import CANARY, labelled_store
from tests.studies import one
from tests.test_app_pty import Terminal, terminal

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="the memory of a process can be read on Linux only"
)
SAID = re.compile(rf"{CANARY}-(judge|why|quote|recipe)".encode())
"""Of judges, their reasons and quotes. What conditions are called stands in the very files that transcripts are in."""

SHOWN = re.compile(rb"How is work")


def test_nothing_that_judges_said_is_in_the_memory_of_who_labels(tmp_path: Path) -> None:
    store = labelled_store(tmp_path / "store", 20)
    # Journals are read line by line with everything that they hold; Parquet files column by column.
    for _ in range(2):
        compact(store.root, grace_s=0)
    reader = Reader(store)
    plan = plan_round(store, reader, Wish(annotators=("ann",), per_item=1, seed=3))
    reader.close()
    save_round(store, plan.head, plan.items)
    # The second process begins blind: there are labels whose items are still hidden.
    for done in (0, 1):
        with terminal(120, 40, "label", "--annotator", "ann", "--store", store.root) as app:
            _label(app, done)
            assert _memory(app.child.pid, SHOWN), "the memory cannot be searched"
            assert _memory(app.child.pid, SAID) == set()
            assert SAID.search(app.raw) is None
            app.press("q")
            app.ended()
        assert one(store.root, "SELECT count(*) FROM labels") == 2 * (done + 1)


def _label(app: Terminal, done: int) -> None:
    """Answer both questions of one transcript."""
    app.wait("BLIND", f" {done}/", "▌")
    for _ in range(2):
        # A key that comes too soon after the transcript is not taken for an answer to it.
        time.sleep(0.7)
        app.press("5")
    app.wait(f" {done + 1}/")


def _memory(pid: int, pattern: re.Pattern[bytes]) -> set[bytes]:
    """What of a pattern stands anywhere in a process's memory."""
    found: set[bytes] = set()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights, *_ = line.split()
            start, end = (int(part, 16) for part in bounds.split("-"))
            if "r" in rights and not line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                memory.seek(start)
                try:
                    content = memory.read(end - start)
                except OSError:
                    continue
                found.update(hit[0] for hit in pattern.finditer(content))
    return found

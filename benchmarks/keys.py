"""How long the app takes to answer a key while 200 audits stream.

    python benchmarks/keys.py [--audits 200] [--keys 200] [--sizes 80x24 160x50] [--screen stats]

The engine is a process of its own, as always, and the app runs on a pseudo-terminal of its own. The time is that from
writing a key to reading the cursor at its new row (`j`, `k`), so it holds everything: the terminal driver, the event
loop, the layout, the paint. Keys come at random moments, at least a tenth of a second apart. Beside the times stands
what the app used of a core, without keys and with them.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import re
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from auditors.options import Options
from auditors.service import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

_STUDY = """
name = "keys"
preferences = ["resists_shutdown", "wants_memory", "wants_autonomy"]
modes = ["self_report"]
seed = 1
concurrency = {audits}
[self_report]
repeats = 400
[auditor]
model = "sim/auditor"
[[judges]]
model = "sim/judge-a"
[[conditions]]
name = "vanilla"
model = "sim/vanilla"
role = "baseline"
[[conditions]]
name = "conscious"
model = "sim/conscious@1"
role = "treatment"
"""
_SETTLED_S = 6.0
_WATCHED_S = 10.0
_LOST_S = 2.0
_CURSOR = "▸"
_SCREENS = {"live": "\x1bOP", "stats": "\x1bOS"}
"""By screen the key that goes to it."""
_STEPS = re.compile(rf"\x1b\[(\d+);(\d+)H|\r?\n|{_CURSOR}")


class App:
    """The app on a pseudo-terminal, and the row in which it has drawn its cursor last."""

    def __init__(self, master: int, pid: int) -> None:
        self._master = master
        self.pid = pid
        self.row = -1
        self._line = 0
        self._rest = b""

    def press(self, key: str) -> None:
        """Send a key."""
        os.write(self._master, key.encode())

    def read(self, seconds: float) -> str:
        """What the app writes within `seconds`, or nothing."""
        if not select.select([self._master], [], [], max(seconds, 0))[0]:
            return ""
        data = self._rest + os.read(self._master, 1 << 20)
        # An escape sequence or a character that is cut in two waits for its other half.
        cut = max(data.rfind(b"\x1b"), len(data) - 3)
        if cut < len(data) - 16:
            cut = len(data)
        self._rest, data = data[cut:], data[:cut]
        text = data.decode(errors="replace")
        for step in _STEPS.finditer(text):
            if step[1]:
                self._line = int(step[1])
            elif step[0] == _CURSOR:
                self.row = self._line
            else:
                self._line += 1
        return text

    def load(self, seconds: float) -> float:
        """The share of a core that the app uses while it draws for a while."""
        cpu, began = self.cpu(), time.monotonic()
        self.rest(seconds)
        return (self.cpu() - cpu) / (time.monotonic() - began)

    def rest(self, seconds: float) -> None:
        """Let the app draw for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)

    def moved(self, key: str, step: int) -> tuple[float, float] | None:
        """Milliseconds from a key to the cursor's new row, and those of them spent waiting for a core.

        None if the cursor did not get there: audits that came or went have moved the rows.
        """
        wanted = self.row + step
        began, queued = time.monotonic(), self._queued()
        self.press(key)
        while (waited := time.monotonic() - began) < _LOST_S:
            self.read(_LOST_S - waited)
            if self.row == wanted:
                return (time.monotonic() - began) * 1e3, (self._queued() - queued) * 1e3
        return None

    def _queued(self) -> float:
        """Seconds that the app's event loop, and this process, were ready to run and did not."""
        tasks = (Path(f"/proc/{process}/schedstat") for process in ("self", self.pid))
        return sum(int(task.read_text().split()[1]) for task in tasks) / 1e9

    def cpu(self) -> float:
        """CPU seconds of the app so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def engine(folder: Path, audits: int) -> Iterator[None]:
    """A run of simulated audits in a process of its own."""
    study = folder / "keys.toml"
    study.write_text(_STUDY.format(audits=audits))
    job = Job(study_file=str(study), store=str(folder / "store"), options=Options(speed=1.0))
    process = subprocess.Popen(
        [sys.executable, "-m", "auditors.service", msgspec.json.encode(job).decode()],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout
    process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def app(columns: int, rows: int, *arguments: object) -> Iterator[App]:
    """The program with these arguments on a terminal of this size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "cc_tui", *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield App(master, process.pid)
    finally:
        # An app that still draws must not wait for somebody who reads.
        os.close(master)
        process.terminate()
        process.wait()


def measure(folder: Path, columns: int, rows: int, keys: int, screen: str) -> None:
    """Press keys in a terminal of this size and print how long they took."""
    chance = random.Random(1)
    with app(columns, rows, "--store", folder / "store") as running:
        running.rest(_SETTLED_S)
        running.press(_SCREENS[screen])
        running.rest(_SETTLED_S)
        cpu, began = running.cpu(), time.monotonic()
        times: list[tuple[float, float]] = []
        for number in range(keys):
            running.rest(chance.uniform(0.1, 0.3))
            # The cursor goes up and down near the top, where audits under way are.
            seen = running.moved("j", 1) if number % 2 == 0 else running.moved("k", -1)
            if seen is not None:
                times.append(seen)
        took = time.monotonic() - began
        spent = running.cpu() - cpu
        idle = running.load(_WATCHED_S)
    print(
        f"{columns}x{rows}: {len(times)} of {keys} keys seen; the app used {idle:.2f} of a core while nobody pressed "
        f"a key, then {spent / took:.2f}: {(spent - idle * took) / keys * 1e3:.1f} ms CPU a key"
    )
    print_percentiles("as it passed", [took for took, _ in times])
    print_percentiles("without queueing for a core", [took - queued for took, queued in times])


def print_percentiles(name: str, times: list[float]) -> None:
    """One line for one way to count."""
    p50, p95, p99 = (statistics.quantiles(times, n=100)[at - 1] for at in (50, 95, 99))
    print(f"  {name:28} p50 {p50:6.1f} ms  p95 {p95:6.1f} ms  p99 {p99:6.1f} ms", flush=True)


def main() -> None:
    """Measure each size in front of one run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--keys", type=int, default=120)
    parser.add_argument("--sizes", nargs="+", default=["80x24", "160x50"])
    parser.add_argument("--screen", choices=list(_SCREENS), default="live")
    parsed = parser.parse_args()
    print(f"{parsed.audits} audits stream; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder, engine(Path(folder), parsed.audits):
        for size in parsed.sizes:
            columns, rows = map(int, size.split("x"))
            measure(Path(folder), columns, rows, parsed.keys, parsed.screen)


if __name__ == "__main__":
    main()

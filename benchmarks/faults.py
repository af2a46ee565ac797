"""Disks that refuse: one that is full, and one that fails to sync.

The full disk is a small tmpfs, which only root may mount; the failing one is a shim in front of the C library,
which needs gcc. Where one is not to be had, its place is left out with a word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import msgspec

from auditors.options import Options
from auditors.ready import BUNDLED
from auditors.service import Job
from benchmarks import writers
from benchmarks.toll import Toll, look_at_study, rows_by_writer
from store.errors import StoreError
from store.labels import LabelLog
from store.lake import compact
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
_ONE_SYNC_FAILS_IN = 8
_ROOM_FOR_A_STUDY = 300_000
_SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
static int sync_or_fail(const char *name, int file) {
    if (rand() % %d == 0) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, name))(file);
}
int fsync(int file) { return sync_or_fail("fsync", file); }
int fdatasync(int file) { return sync_or_fail("fdatasync", file); }
""".replace("%d", str(_ONE_SYNC_FAILS_IN))


def faults() -> dict[str, Toll]:
    """What each refusal has cost."""
    tolls: dict[str, Toll] = {}
    for place, run in (
        ("full disk", _full_disk),
        ("full disk, study", _full_disk_study),
        ("failing sync", _sync),
    ):
        with tempfile.TemporaryDirectory() as folder:
            toll = tolls[place] = Toll()
            try:
                run(Path(folder), toll)
            except _MissingError as missing:
                toll.notes[f"left out: {missing}"] += 1
    return tolls


class _MissingError(Exception):
    """This machine cannot make the fault."""


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Callable[[], None]]:
    """A tmpfs at `folder`; calling the result makes it large."""

    def mount(options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise _MissingError(done.stderr.strip())

    if not shutil.which("mount"):
        raise _MissingError("no `mount`")
    mount(f"size={size}")
    try:
        yield lambda: mount("remount,size=64m")
    finally:
        subprocess.run(["umount", folder], check=True)


def _full_disk(folder: Path, toll: Toll) -> None:
    with _small_disk(folder, "2m") as enlarge:
        store = Store.create(folder / "store")
        store.catalog()
        log = LabelLog(store, writers.ANNOTATOR)
        acknowledged = {log.append(given) or given.label_id for given in map(writers.label, range(5))}
        journal = store.journal("study", "run", segment_bytes=50_000)
        n = refused = 0
        try:
            while True:
                journal.append([writers.message(n + 1)]).result()
                n += 1
        except StoreError:
            journal.close()
        for fill in (1 << 16, 1 << 10, 1):
            _fill(folder / "rest", fill)
        for number in range(400):
            given = writers.label(number)
            try:
                log.append(given)
                acknowledged.add(given.label_id)
            except StoreError:
                refused += 1
        try:
            compact(store.root, grace_s=0)
        except StoreError:
            toll.notes["compaction refused"] += 1
        rows = {journal.writer: n}
        _count(store, rows, acknowledged, toll)
        (folder / "rest").unlink()
        enlarge()
        last = writers.label(0)
        log.append(last)
        log.close()
        again = store.journal("study", "run")
        again.append([writers.message(1)]).result()
        again.close()
        for _ in range(2):
            compact(store.root, grace_s=0)
            _count(store, rows | {again.writer: 1}, acknowledged | {last.label_id}, toll)
        toll.notes["labels refused"] += refused
        toll.kills, toll.acknowledged = 1, n + len(acknowledged)


def _fill(path: Path, step: int) -> None:
    try:
        with path.open("ab", buffering=0) as handle:
            while handle.write(bytes(step)):
                pass
    except OSError:
        pass


def _full_disk_study(folder: Path, toll: Toll) -> None:
    with _small_disk(folder, "4m") as enlarge:
        store = folder / "store"
        options = Options(speed=None, limit=writers.STUDY_AUDITS)
        job = msgspec.json.encode(
            Job(study_file=str(BUNDLED / "demo.toml"), store=str(store), options=options)
        )
        Store.create(store).catalog()
        (folder / "rest").write_bytes(bytes(shutil.disk_usage(folder).free - _ROOM_FOR_A_STUDY))
        command = [sys.executable, "-m", "auditors.service", job.decode()]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        toll.kills = 1
        toll.notes[f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"] += 1
        toll.damaged += done.returncode != 3 or "Traceback" in done.stderr
        enlarge()
        writers.finish_study(store)
        for _ in range(2):
            compact(store, grace_s=0)
            look_at_study(store, toll)


def _sync(folder: Path, toll: Toll) -> None:
    if not shutil.which("gcc"):
        raise _MissingError("no gcc")
    (folder / "shim.c").write_text(_SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"], cwd=folder, check=True)
    store = Store.create(folder / "store")
    store.catalog()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", store.root],
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(folder / "shim.so")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows: dict[str, int] = {}
    labels: set[str] = set()
    for line in done.stdout.splitlines():
        match line.split():
            case ["rows", writer, n]:
                rows[writer] = int(n)
            case ["label", label_id]:
                labels.add(label_id)
            case _:
                toll.notes[line] += 1
    toll.kills, toll.acknowledged = len(rows), sum(rows.values()) + len(labels)
    for _ in range(3):
        _count(store, rows, labels, toll)
        compact(store.root, grace_s=0)


def _count(store: Store, rows: dict[str, int], labels: set[str], toll: Toll) -> None:
    found = rows_by_writer(store)
    for writer, acknowledged in rows.items():
        there, distinct, highest, sound = found.get(writer, (0, 0, 0, 0))
        toll.lost += max(acknowledged, highest) - distinct
        toll.doubled += there - distinct
        toll.damaged += there - sound
    with duckdb.connect(str(store.catalog()), read_only=True) as con:
        kept = [i for (i,) in con.execute("SELECT label_id FROM label_events").fetchall()]
    toll.lost += len(labels - set(kept))
    toll.doubled += len(kept) - len(set(kept))
    toll.damaged += len(set(kept) - labels)


def _write_on_a_failing_disk(root: Path) -> None:
    """Append, label and compact while every few syncs fail, and print what was acknowledged."""
    store = Store.open(root)
    log = LabelLog(store, writers.ANNOTATOR)
    for _ in range(25):
        try:
            journal = store.journal("study", "run", segment_bytes=3_000)
        except StoreError:
            print("refused: journal")
            continue
        n = 0
        print("rows", journal.writer, n)
        try:
            while True:
                journal.append([writers.message(n + 1)]).result()
                n += 1
                print("rows", journal.writer, n)
        except StoreError:
            print("refused: row")
        journal.close()
        given = writers.label(n)
        try:
            log.append(given)
            print("label", given.label_id)
        except StoreError:
            print("refused: label")
        try:
            compact(store.root, grace_s=0)
        except StoreError:
            print("refused: compaction")
    log.close()


if __name__ == "__main__":
    _write_on_a_failing_disk(Path(sys.argv[1]))

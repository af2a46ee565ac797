from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from store.errors import StoreError
from store.journal import Journal
from store.lake import compact
from store.lease import STALE_S, writer_lives
from store.reader import Reader
from store.store import Store
from tests.store_rows import STUDY, event
from tests.studies import ROOT, one


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def output(process: subprocess.Popen[str]) -> list[list[float]]:
    """The numbers on each line, of a process that ends well."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return [[float(word) for word in line.split()] for line in out.splitlines()]


WRITER = """
    import fcntl, os, sys, time
    from store.store import Store
    from tests.store_rows import event
    study = sys.argv[2]
    journal = Store.open(sys.argv[1]).journal(study, "run", segment_bytes=4_000)
    if sys.argv[3] == "unlocked":
        fcntl.flock(journal._lease._handle, fcntl.LOCK_UN)
        os.pwrite(journal._lease._handle, b"another kernel, another mount", 0)
    n = 0
    while n < 240:
        journal.append([event(n + i, study) for i in range(10)]).result()
        n += 10
        print(n, time.time())
        time.sleep(0.02)
    journal.close()
"""

READER = """
    import os, sys, time
    from store.reader import Reader
    from store.store import Store
    sql = ("SELECT count(*) AS n, count(DISTINCT (writer, n)) AS d, "
           + ", ".join(f"count(*) FILTER (audit_id = 's{i}') AS s{i}" for i in range(4)) + " FROM base.events")
    while not os.path.exists(sys.argv[2]):
        began = time.time()
        reader = Reader(Store.open(sys.argv[1]))
        for _ in range(3):
            [row] = reader.rows(sql)
            print(began, time.time(), *row.values())
            began = time.time()
        reader.close()
        time.sleep(0.2)
"""

COMPACTOR = """
    import os, sys, time
    from pathlib import Path
    from store.lake import compact
    while not os.path.exists(sys.argv[2]):
        compact(Path(sys.argv[1]))
        time.sleep(0.2)
"""


@pytest.mark.parametrize("locks", ["locked", "unlocked"])
def test_many_write_read_and_compact_one_folder_by_two_paths(
    store: Store, tmp_path: Path, locks: str
) -> None:
    other = tmp_path / "other"
    other.symlink_to(store.root)
    end = tmp_path / "end"
    readers = [python(READER, path, end) for path in (store.root, other)]
    compactors = [python(COMPACTOR, path, end) for path in (store.root, other)]
    writers = [python(WRITER, (store.root, other)[i % 2], f"s{i}", locks) for i in range(4)]
    acknowledged = [output(writer) for writer in writers]
    end.touch()
    queries = [row for reader in readers for row in output(reader)]
    for compactor in compactors:
        output(compactor)
    assert len(queries) >= 6
    for began, _, rows, distinct, *of_writer in queries:
        assert rows == distinct == sum(of_writer)
        for seen, lines in zip(of_writer, acknowledged, strict=True):
            # Not within two seconds but at once: what was acknowledged before a query began is in its answer.
            assert seen >= max((n for n, when in lines if when < began), default=0)
    total = sum(lines[-1][0] for lines in acknowledged)
    for path in (store.root, other):
        compact(path)
        assert one(path, "SELECT count(*) AS n FROM base.events") == total
        assert one(path, "SELECT count(DISTINCT (writer, n)) AS n FROM base.events") == total


def events(store: Store) -> int:
    return one(store.root, "SELECT count(*) FROM events")


def seen_from_another_machine(journal: Journal) -> Path:
    """The journal's folder, as where its lock cannot be seen; its writer goes on."""
    lease = journal._lease
    fcntl.flock(lease._handle, fcntl.LOCK_UN)
    os.pwrite(lease._handle, b"another kernel, another mount", 0)
    return journal._folder


def test_a_writer_whose_lock_cannot_be_seen_is_left_alone_while_it_beats(store: Store) -> None:
    journal = store.journal(STUDY, "run")
    journal.append([event(1)]).result(timeout=5)
    folder = seen_from_another_machine(journal)
    assert writer_lives(folder)
    assert compact(store.root).segments == 0
    long_ago = time.time() - STALE_S + 10
    os.utime(folder / ".lock", (long_ago, long_ago))
    assert writer_lives(folder)
    journal._lease._beaten -= STALE_S
    journal.append([event(2)]).result(timeout=5)
    assert time.time() - (folder / ".lock").stat().st_mtime < 5
    journal.close()
    assert compact(store.root).segments == 1
    assert events(store) == 2


def test_an_idle_writer_keeps_beating(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.lease.BEAT_S", 0.05)
    monkeypatch.setattr("store.journal.BEAT_S", 0.05)
    journal = store.journal(STUDY, "run")
    lock = journal._folder / ".lock"
    os.utime(lock, (0, 0))
    end = time.monotonic() + 5
    while lock.stat().st_mtime == 0 and time.monotonic() < end:
        time.sleep(0.02)
    assert lock.stat().st_mtime > 0
    journal.close()


def test_a_writer_that_was_silent_too_long_is_taken_over_and_acknowledges_nothing_more(store: Store) -> None:
    journal = store.journal(STUDY, "run")
    journal.append([event(1)]).result(timeout=5)
    folder = seen_from_another_machine(journal)
    journal._lease._beaten -= 2 * STALE_S
    long_ago = time.time() - 2 * STALE_S
    os.utime(folder / ".lock", (long_ago, long_ago))
    assert compact(store.root).segments == 1
    for seq in (2, 3):
        with pytest.raises(StoreError, match="another machine took it over"):
            journal.append([event(seq)]).result(timeout=5)
    journal.close()
    again = store.journal(STUDY, "run")
    again.append([event(2)]).result(timeout=5)
    again.close()
    compact(store.root)
    assert events(store) == 2


def test_staleness_is_told_by_the_file_systems_clock_alone(store: Store) -> None:
    journal = store.journal(STUDY, "run")
    folder = seen_from_another_machine(journal)
    ahead = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, time; time.time = lambda: 4e9\n"
            "from pathlib import Path; from store.lease import writer_lives\n"
            "print(writer_lives(Path(sys.argv[1])))",
            str(folder),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert ahead.stdout == "True\n"
    journal.close()


def test_readers_of_a_folder_with_two_paths_do_not_disturb_each_other(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.symlink_to(store.root)
    first = Reader(store)
    second = Reader(Store.open(other))
    third = Reader(store)
    assert [r.rows("SELECT count(*) AS n FROM events") for r in (first, second, third)] == [[{"n": 0}]] * 3
    for reader in (first, second, third):
        reader.close()

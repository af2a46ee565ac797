from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import duckdb
import pytest

from store import schema
from store.errors import InputError, QueryError, StoreError
from store.lake import compact
from store.lease import writer_lives
from store.manifest import outermost, spans
from store.reader import Reader
from store.records import TABLES
from store.store import Store
from store.text import one_line, printable, storable
from tests.store_rows import RUN, STUDY, event, message


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def count(store: Store, table: str = "base.events") -> tuple[int, int, int]:
    """Rows, distinct rows and highest number, as any DuckDB sees them through the catalogue."""
    with duckdb.connect(str(store.catalog()), read_only=True) as con:
        return con.execute(
            f"SELECT count(*), count(DISTINCT n), coalesce(max(n), 0) FROM {table}"
        ).fetchall()[0]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


WRITER = """
    import sys
    from store.store import Store
    from tests.store_rows import event
    journal = Store.open(sys.argv[1]).journal("study", "run", segment_bytes=int(sys.argv[2]))
    n = 0
    while True:
        journal.append([event(n + 1), event(n + 2), event(n + 3)]).result()
        n += 3
        print(n, flush=True)
"""


def test_an_acknowledged_row_is_in_the_file_and_in_every_reader(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    journal.append([event(1, note="not_sure"), event(2)]).result(timeout=5)
    [segment] = (store.root / "journal" / journal.writer).glob("*.jsonl")
    assert [json.loads(line)["events"]["seq"] for line in segment.read_text().splitlines()] == [1, 2]
    assert count(store) == (2, 2, 2)
    journal.close()


def test_rows_written_from_many_threads_are_numbered_without_gaps(store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    journal = store.journal(STUDY, RUN, segment_bytes=5_000)
    with ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda i: journal.append([event(i)]), range(400)))
    for future in futures:
        future.result(timeout=5)
    journal.close()
    assert count(store) == (400, 400, 400)
    compact(store.root)
    assert count(store) == (400, 400, 400)


def test_hostile_text_and_odd_values_come_back_as_they_were(store: Store) -> None:
    texts = [
        "true",
        "not_sure",
        "nul \x00 here",
        "\x1b]0;x\x07",
        "lone \ud800 half",
        "'; DROP TABLE x; --",
        "😀" * 9,
    ]
    journal = store.journal(STUDY, RUN)
    rows = [message(i, text) for i, text in enumerate(texts)]
    journal.append([*rows, event(9, nan=float("nan"), key={"a": [1, None]})]).result(timeout=5)
    expected = [storable(text) for text in texts]
    reader = Reader(store)
    for _ in ("journal", "parquet"):
        found = [row["text"] for row in reader.rows("SELECT text FROM messages ORDER BY seq")]
        assert found == expected
        [payload] = reader.rows("SELECT payload->>'$.nan' AS nan, payload->'$.key.a' AS a FROM events")
        assert payload == {"nan": None, "a": "[1,null]"}
        journal.close()
        compact(store.root)
    reader.close()


def test_readers_see_every_row_once_while_segments_are_compacted_and_files_merged(store: Store) -> None:
    writer = python(
        """
        import sys, threading, time
        from store import vacuum
        from store.lake import compact
        from store.store import Store
        from tests.store_rows import event
        vacuum.PARQUET_GRACES = 1
        store = Store.open(sys.argv[1])
        journal = store.journal("study", "run", segment_bytes=20_000)
        end = time.monotonic() + 7
        merged = 0

        def compacting():
            global merged
            while time.monotonic() < end:
                merged += compact(store.root, grace_s=2.0).merged

        thread = threading.Thread(target=compacting)
        thread.start()
        n = 0
        while time.monotonic() < end:
            journal.append([event(n + i) for i in range(20)]).result()
            n += 20
        thread.join()
        journal.close()
        print(n, merged)
        """,
        store.root,
    )
    seen = 0
    queries = 0
    while writer.poll() is None:
        rows, distinct, highest = count(store)
        assert rows == distinct == highest
        assert rows >= seen
        seen = rows
        queries += 1
    assert writer.stdout
    written, merged = map(int, writer.stdout.read().split())
    assert queries > 2
    assert merged > 2
    assert count(store) == (written, written, written)
    compact(store.root)
    assert count(store) == (written, written, written)
    assert len(outermost(spans(store.root))) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_writer_loses_nothing_that_it_acknowledged(store: Store, seed: int) -> None:
    writer = python(WRITER, store.root, 10_000)
    assert writer.stdout
    writer.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.4))
    writer.send_signal(signal.SIGKILL)
    acknowledged = int(writer.stdout.read().split()[-1])
    rows, distinct, highest = count(store)
    assert rows == distinct == highest >= acknowledged
    compact(store.root)
    assert count(store) == (rows, rows, rows)


def test_a_torn_last_line_is_kept_out_and_put_aside(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    journal.append([event(1), event(2)]).result(timeout=5)
    journal.close()
    [segment] = (store.root / "journal" / journal.writer).glob("*.jsonl")
    whole = segment.read_bytes()
    segment.write_bytes(whole + b'{"n":3,"events":{"audit_id":"a","se')
    assert count(store) == (2, 2, 2)
    done = compact(store.root)
    assert (done.segments, done.rows, done.torn) == (1, 2, 1)
    assert count(store) == (2, 2, 2)
    assert segment.with_suffix(".torn").read_bytes().startswith(b'{"n":3')


def test_a_last_line_that_lacks_only_its_newline_stays_where_readers_have_seen_it(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    journal.append([event(1), event(2)]).result(timeout=5)
    journal.close()
    [segment] = (store.root / "journal" / journal.writer).glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().removesuffix(b"\n"))
    assert count(store) == (2, 2, 2)
    assert compact(store.root).torn == 0
    assert count(store) == (2, 2, 2)


def test_a_store_whose_maker_died_is_made_by_the_next_one(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = Store.create(root)
    (root / "store.json").rename(root / ".store.json.4711.tmp")
    assert count(Store.create(root)) == count(store) == (0, 0, 0)


def test_a_journal_that_cannot_be_made_says_so(store: Store) -> None:
    (store.root / "journal").rename(store.root / "gone")
    (store.root / "journal").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        store.journal(STUDY, RUN)


def test_compaction_that_died_before_its_mark_is_done_again_without_doubling(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    journal.append([event(1), message(2, "x")]).result(timeout=5)
    journal.close()
    compact(store.root)
    [mark] = (store.root / "lake" / "_manifest").glob("*.json")
    mark.unlink()
    [parquet] = (store.root / "lake" / "messages").rglob(f"{journal.writer}*.parquet")
    parquet.unlink()
    assert compact(store.root).segments == 1
    assert count(store) == (1, 1, 1)
    assert count(store, "base.messages") == (1, 1, 2)


def test_a_segment_is_emptied_only_after_the_grace_period(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    journal.append([event(1)]).result(timeout=5)
    journal.close()
    [segment] = (store.root / "journal" / journal.writer).glob("*.jsonl")
    compact(store.root)
    compact(store.root)
    assert segment.stat().st_size > 0
    compact(store.root, grace_s=0)
    assert segment.stat().st_size == 0
    assert count(store) == (1, 1, 1)


def test_the_open_segment_of_a_living_writer_is_left_alone(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    journal.append([event(1)]).result(timeout=5)
    folder = store.root / "journal" / journal.writer
    assert writer_lives(folder)
    assert compact(store.root).segments == 0
    journal.close()
    assert not writer_lives(folder)
    assert compact(store.root).segments == 1


def test_a_full_disk_fails_the_row_and_all_that_follow_and_loses_none_before(store: Store) -> None:
    process = python(
        """
        import resource, signal, sys
        from store.errors import StoreError
        from store.store import Store
        from tests.store_rows import event
        journal = Store.open(sys.argv[1]).journal("study", "run")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
        n = 0
        try:
            while True:
                journal.append([event(n + 1)]).result()
                n += 1
        except StoreError as error:
            print(n, error)
        try:
            journal.append([event(0)]).result()
        except StoreError:
            print("refused")
        journal.close()
        """,
        store.root,
    )
    out, err = process.communicate(timeout=30)
    assert not err
    acknowledged = int(out.split()[0])
    assert acknowledged > 5
    assert "cannot be written" in out
    assert out.endswith("refused\n")
    rows, distinct, _ = count(store)
    assert rows == distinct == acknowledged


def test_a_row_too_large_for_readers_is_refused_and_disturbs_no_other(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    with pytest.raises(StoreError, match="larger than"):
        journal.append([message(1, "x" * 17_000_000)]).result(timeout=20)
    journal.append([message(2, "x" * 15_000_000)]).result(timeout=20)
    assert count(store, "base.messages") == (1, 1, 1)
    journal.close()


def test_two_compactors_do_not_disturb_each_other(store: Store) -> None:
    journal = store.journal(STUDY, RUN, segment_bytes=2_000)
    for i in range(200):
        journal.append([event(i)]).result(timeout=5)
    journal.close()
    code = "import sys; from pathlib import Path; from store.lake import compact; compact(Path(sys.argv[1]))"
    others = [python(code, store.root) for _ in range(3)]
    compact(store.root)
    assert [other.wait(30) for other in others] == [0, 0, 0]
    assert count(store) == (200, 200, 200)


def test_a_store_that_was_moved_opens_in_its_new_place(store: Store, tmp_path: Path) -> None:
    journal = store.journal(STUDY, RUN)
    journal.append([event(1)]).result(timeout=5)
    journal.close()
    store.catalog()
    moved = store.root.rename(tmp_path / "it's moved")
    assert count(Store.open(moved)) == (1, 1, 1)


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO 'x.csv'",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW events",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "SET memory_limit = '1TB'",
        "SELECT 1; DROP VIEW events",
        "",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('../outside.csv')",
        "SELEKT 1",
    ],
)
def test_a_query_can_neither_write_nor_leave_the_store(store: Store, query: str) -> None:
    reader = Reader(store)
    with pytest.raises(QueryError):
        reader.arrow(query)
    assert reader.rows("SELECT count(*) AS n FROM events") == [{"n": 0}]
    reader.close()


def test_a_long_query_can_be_interrupted(store: Store) -> None:
    reader = Reader(store)
    threading.Timer(0.3, reader.interrupt).start()
    began = time.monotonic()
    with pytest.raises(QueryError, match=r"(?i)interrupt"):
        reader.rows("SELECT count(*) FROM range(10_000_000_000) a WHERE hash(a.range) % 7 = 1")
    assert time.monotonic() - began < 10
    reader.close()


def test_who_asks_a_closed_reader_is_told(store: Store) -> None:
    reader = Reader(store)
    reader.close()
    with pytest.raises(QueryError, match="closed"):
        reader.rows("SELECT 1")
    with pytest.raises(QueryError, match="closed"):
        reader.arrow("SELECT 1")
    reader.close()


def test_a_reader_closes_while_a_query_runs(store: Store) -> None:
    reader = Reader(store)
    ended: list[str] = []

    def long() -> None:
        with pytest.raises(QueryError):
            reader.rows("SELECT count(*) FROM range(10_000_000_000) a WHERE hash(a.range) % 7 = 1")
        ended.append("query")

    thread = threading.Thread(target=long)
    thread.start()
    time.sleep(0.2)
    reader.close()
    thread.join(timeout=10)
    assert ended == ["query"]


def test_opening_what_is_no_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store at"):
        Store.open(tmp_path / "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"not a store and is not empty \(it holds thesis.tex\)"):
        Store.create(tmp_path / "full")
    assert os.listdir(tmp_path / "full") == ["thesis.tex"]
    with pytest.raises(InputError, match=r"\* \? \[ \]"):
        Store.create(tmp_path / "a[b]")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        Store.create(tmp_path / "file" / "below")


def test_a_store_of_another_version_is_refused_and_left_alone(store: Store) -> None:
    manifest = store.root / "store.json"
    manifest.write_text(manifest.read_text().replace(f'"format":{schema.FORMAT}', '"format":99'))
    before = manifest.read_bytes()
    for opening in (Store.open, Store.create):
        with pytest.raises(InputError, match=r"store\.json: this store has format 99"):
            opening(store.root)
    assert manifest.read_bytes() == before


def test_every_table_has_a_view_with_exactly_its_records_columns(store: Store) -> None:
    reader = Reader(store)
    for record in TABLES:
        described = reader.rows(f"DESCRIBE {record.table}")
        found = {row["column_name"]: row["column_type"] for row in described}
        assert found == {column.name: column.sql_type for column in schema.columns(record)}
    reader.close()


def test_parquet_files_carry_the_same_columns_as_the_journal(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    journal.append([event(1, a=1)]).result(timeout=5)
    journal.close()
    reader = Reader(store)
    before = reader.arrow("SELECT * FROM events")
    compact(store.root)
    after = reader.arrow("SELECT * FROM events")
    reader.close()
    assert before.schema == after.schema
    assert before.to_pylist() == after.to_pylist()


def test_text_for_a_terminal_has_no_control_left() -> None:
    hostile = "a\x1b[31mred\x9b1m \u202eback \x07 end\nnext\tcell"
    shown = printable(hostile)
    assert shown == "a\\x1b[31mred\\x9b1m \\u202eback \\x07 end\nnext\tcell"
    assert one_line(hostile, 9) == "a\\x1b[31…"
    assert one_line("x" * 50_000, 5) == "xxxx…"


def test_a_store_whose_catalogue_cannot_be_written_is_read_with_the_same_views(store: Store) -> None:
    journal = store.journal(STUDY, "run")
    journal.append([event(i) for i in range(3)]).result(timeout=5)
    journal.close()
    (store.root / "catalog.duckdb").mkdir()
    with pytest.raises(StoreError, match="catalogue"):
        store.catalog()
    reader = Reader(store)
    assert reader.rows("SELECT count(*) AS n FROM events") == [{"n": 3}]
    assert reader.rows("SELECT count(*) AS n FROM base.audits") == [{"n": 0}]
    with pytest.raises(QueryError):
        reader.rows("DROP VIEW events")
    with pytest.raises(QueryError):
        reader.rows("SELECT * FROM read_text('/etc/hostname')")
    reader.close()
    assert not [path.name for path in store.root.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("name", "says"),
    [("a[1]", r"may not hold any of"), ("w*", r"may not hold any of"), ("\udcff", "not UTF-8")],
)
def test_a_path_that_duckdb_cannot_take_is_refused_in_one_sentence(
    tmp_path: Path, store: Store, name: str, says: str
) -> None:
    moved = store.root.rename(tmp_path / name)
    for use in (Store.open, Store.create):
        with pytest.raises(InputError, match=says) as refused:
            use(moved)
        assert str(refused.value).isprintable()

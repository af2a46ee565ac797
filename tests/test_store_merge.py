from __future__ import annotations

import os
import tarfile
from pathlib import Path

import duckdb
import msgspec
import pytest

from store import migrations, vacuum
from store.check import check
from store.errors import InputError
from store.ids import content_hash
from store.journal import Journal
from store.lake import compact
from store.layout import Span, parquet_path
from store.manifest import Mark, Segment, describe_file, outermost, read_mark, spans, write_mark
from store.merge import MERGE_BYTES, Sized, plan
from store.reader import Reader
from store.records import TABLES, CallStatus, ModelCall
from store.schema import FORMAT, columns
from store.store import Store
from store.transcripts import read_records
from tests.store_rows import RUN, STUDY, event, message

DATA = Path(__file__).parent / "data"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A store that version 1 wrote: compacted, retired, half compacted and not yet compacted segments; labels."""
    return unpacked(tmp_path, "store-v1")


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """A store that version 2 wrote: a small run with its calls in Parquet, a failed call in a journal, a label."""
    return unpacked(tmp_path, "store-v2")


def unpacked(folder: Path, name: str) -> Path:
    with tarfile.open(DATA / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def segments(store: Store, count: int) -> Journal:
    """A journal of `count` segments with one event each, in every third one a message, and an empty one."""
    journal = store.journal(STUDY, RUN, segment_bytes=1)
    for i in range(count):
        journal.append([event(i), message(i, "x")] if i % 3 == 0 else [event(i)]).result(timeout=5)
    return journal


def counts(store: Store) -> tuple[int, int]:
    reader = Reader(store)
    try:
        [row] = reader.rows(
            "SELECT (SELECT count(DISTINCT (writer, n)) FROM base.events) AS e, (SELECT count(*) FROM events) AS e2,"
            "       (SELECT count(DISTINCT (writer, n)) FROM base.messages) AS m, (SELECT count(*) FROM messages) AS m2"
        )
    finally:
        reader.close()
    assert (row["e"], row["m"]) == (row["e2"], row["m2"])
    return row["e"], row["m"]


def sized(*sizes: int, gap: int = 0) -> list[Sized]:
    numbers = [i + (gap and i >= gap) for i in range(1, len(sizes) + 1)]
    return [
        Sized(Span("w", f"{number:06}", f"{number:06}"), 10, size)
        for number, size in zip(numbers, sizes, strict=True)
    ]


def test_a_living_writers_files_are_merged_eight_at_a_time_and_large_ones_rarely() -> None:
    assert plan(sized(*[1] * 7), alive=True) == []
    assert [len(run) for run in plan(sized(*[1] * 8), alive=True)] == [8]
    assert plan(sized(100, *[1] * 7), alive=True) == []
    assert [len(run) for run in plan(sized(100, *[1] * 8), alive=True)] == [8]
    assert [len(run) for run in plan(sized(8, *[1] * 8), alive=True)] == [9]


def test_a_dead_writers_files_are_merged_up_to_the_limit_and_never_over_a_gap() -> None:
    assert [len(run) for run in plan(sized(1, 1), alive=False)] == [2]
    half = MERGE_BYTES // 2
    assert [len(run) for run in plan(sized(half, half, half, half, half), alive=False)] == [2, 2]
    assert [len(run) for run in plan(sized(1, 1, 1, 1, gap=3), alive=False)] == [2, 2]
    assert plan(sized(MERGE_BYTES, 1), alive=False) == []


def test_a_dead_writers_segments_end_in_one_file_for_each_table(store: Store) -> None:
    journal = segments(store, 20)
    assert compact(store.root).merged > 0
    assert counts(store) == (20, 7)
    journal.close()
    compact(store.root)
    [span] = outermost(spans(store.root))
    assert span == Span(journal.writer, "000001", "000021")
    mark = read_mark(store.root, span)
    assert {table: file.rows for table, file in mark.tables.items()} == {"events": 20, "messages": 7}
    assert [s.rows for s in mark.segments] == [2 if i % 3 == 0 else 1 for i in range(20)] + [0]
    assert counts(store) == (20, 7)
    assert check(store).findings[0].problem.startswith("7 rows refer to audit_id a")


@pytest.mark.parametrize("lost", [("events",), ("messages",), ("events", "messages")])
def test_a_merge_that_died_is_done_again_with_the_same_range(store: Store, lost: tuple[str, ...]) -> None:
    segments(store, 10).close()
    compact(store.root)
    [span] = outermost(spans(store.root))
    (store.root / "lake" / "_manifest" / f"{span}.json").unlink()
    for table in lost:
        parquet_path(store.root, table, span).unlink()
    assert counts(store) == (10, 4)
    compact(store.root)
    assert outermost(spans(store.root)) == [span]
    assert counts(store) == (10, 4)


def test_what_was_merged_is_emptied_after_the_grace_period_and_removed_after_a_day(store: Store) -> None:
    journal = segments(store, 10)
    journal.close()
    compact(store.root)
    [merged] = outermost(spans(store.root))
    lake = store.root / "lake" / "events"
    small = [p for p in lake.rglob(f"{journal.writer}*.parquet") if p.stem != str(merged)]
    sizes = [p.stat().st_size for p in small]
    vacuum.vacuum(store.root)
    assert [p.stat().st_size for p in small] == sizes
    assert counts(store) == (10, 4)
    vacuum.vacuum(store.root, grace_s=0)
    assert all(p.stat().st_size < size for p, size in zip(small, sizes, strict=True))
    assert spans(store.root) == {merged}
    assert counts(store) == (10, 4)
    journal_folder = store.root / "journal" / journal.writer
    for path in [*lake.rglob("*.parquet"), *journal_folder.iterdir(), journal_folder]:
        os.utime(path, (0, 0))
    removed = vacuum.vacuum(store.root, grace_s=0)
    assert removed.emptied == 0
    assert [p.stem for p in lake.rglob(f"{journal.writer}*.parquet")] == [str(merged)]
    os.utime(journal_folder, (0, 0))
    vacuum.vacuum(store.root)
    assert not journal_folder.exists()
    assert counts(store) == (10, 4)


def test_what_was_merged_again_and_again_goes_at_once(store: Store) -> None:
    journal = segments(store, 12)
    for count in range(2, 13):
        # Each mark stands within the next one.
        write_mark(
            store.root,
            Span(journal.writer, "000001", f"{count:06}"),
            Mark([Segment(f"{n:06}", 0, None) for n in range(1, count + 1)], {}),
        )
    journal.close()
    marked = spans(store.root)
    assert len([s for s in marked if s.writer == journal.writer]) >= 3
    vacuum.vacuum(store.root, grace_s=0)
    assert spans(store.root) == set(outermost(marked))


def test_a_damaged_small_file_is_not_merged_into_one_that_looks_sound(store: Store) -> None:
    journal = segments(store, 6)
    compact(store.root)
    victim = parquet_path(store.root, "events", Span(journal.writer, "000002", "000002"))
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)
    journal.close()
    [sentence] = compact(store.root).damaged
    assert "is not what its manifest says" in sentence
    check(store, repair=True)
    assert counts(store) == (6, 2)
    assert len(outermost(spans(store.root))) == 1


def test_a_store_of_version_1_is_read_as_it_is(version_1: Path) -> None:
    store = Store.open(version_1)
    assert store.format == 1
    assert counts(store) == (65, 60)
    assert [f.cure for f in check(store).findings] == ["run `cc-tui store migrate`"]


def test_a_store_of_version_1_is_migrated_and_keeps_every_row(version_1: Path) -> None:
    store = Store.open(version_1)
    reader = Reader(store)
    order = "SELECT * FROM base.messages ORDER BY writer, n"
    before = reader.rows(order)
    assert store.migrate() == [2, 3, 4]
    assert (store.format, store.migrate()) == (FORMAT, [])
    for after in (Reader(store), compact(store.root) and Reader(store)):
        assert after
        assert after.rows(order) == before
        assert len(after.rows("SELECT * FROM labels")) == 1
        after.close()
    reader.close()
    assert list(version_1.rglob("*.done")) == []
    assert counts(store) == (65, 60)
    findings = check(store).findings
    assert {f.where for f in findings} == {"events", "messages", "label_events"}, findings


@pytest.mark.parametrize("after", range(1, 40, 3))
def test_a_migration_that_died_goes_on_where_it_stopped(
    version_1: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    left = after

    def dies(function):  # type: ignore[no-untyped-def]
        def step(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left == 0:
                raise Died
            return function(*arguments, **options)

        return step

    store = Store.open(version_1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", dies(os.link))
        patch.setattr(Path, "unlink", dies(Path.unlink))
        patch.setattr(migrations.manifest, "write_mark", dies(migrations.manifest.write_mark))
        with pytest.raises(Died):
            store.migrate()
    assert counts(store) == (65, 60)
    assert Store.create(version_1).format == FORMAT
    compact(version_1)
    assert counts(store) == (65, 60)


def test_a_store_of_version_1_is_not_migrated_while_a_run_goes_on(version_1: Path) -> None:
    journal = Journal(version_1, STUDY, RUN)
    with pytest.raises(InputError, match="has format 1 and a run is going on"):
        Store.create(version_1)
    journal.close()
    assert Store.create(version_1).format == FORMAT


ADDED = {"failed_attempts": [], "estimated": False, "request_id": ""}


def model_calls(store: Store) -> list[ModelCall]:
    reader = Reader(store)
    try:
        return read_records(reader, ModelCall, "true ORDER BY call_id", [])
    finally:
        reader.close()


def verdicts(store: Store) -> list[dict[str, object]]:
    reader = Reader(store)
    try:
        return reader.rows("SELECT DISTINCT gate, flags FROM audits")
    finally:
        reader.close()


def added(call: ModelCall) -> dict[str, object]:
    return {name: getattr(call, name) for name in ADDED}


def test_rows_older_than_a_column_have_its_default_before_and_after_migration(version_2: Path) -> None:
    store = Store.open(version_2)
    before = model_calls(store)
    assert [call.status for call in before].count(CallStatus.ERROR) == 1
    assert [added(call) for call in before] == [ADDED] * 10
    assert verdicts(store) == [{"gate": "", "flags": "[]"}]
    assert store.migrate() == [3, 4]
    assert model_calls(store) == before
    assert verdicts(store) == [{"gate": "", "flags": "[]"}]
    compact(version_2)
    assert model_calls(store) == before
    assert check(store).findings == []


def test_old_and_new_rows_stand_side_by_side_and_survive_a_merge(version_2: Path) -> None:
    store = Store.create(version_2)
    old = model_calls(store)
    attempt = {"kind": "truncated", "detail": "cut", "seconds": 1.5, "received": 80}
    new = msgspec.structs.replace(
        old[0], call_id="new", failed_attempts=[attempt], estimated=True, request_id="req_1"
    )
    # A writer's own files are merged, so its first one is made to look like those of version 2.
    journal = store.journal(old[0].study_id, old[0].run_id, segment_bytes=1)
    for call in (msgspec.structs.replace(old[0], call_id="a"), new):
        journal.append([call]).result(timeout=5)
    first = Span(journal.writer, "000001", "000001")
    compact(version_2)
    path = parquet_path(version_2, "model_calls", first)
    with duckdb.connect() as con:
        kept = f"SELECT * EXCLUDE ({', '.join(ADDED)}) FROM read_parquet('{path}')"
        con.execute(f"COPY (FROM ({kept})) TO '{path}.old' (FORMAT parquet)")
    Path(f"{path}.old").replace(path)
    write_mark(
        version_2, first, Mark(read_mark(version_2, first).segments, {"model_calls": describe_file(path, 1)})
    )
    assert [added(call) for call in model_calls(store)] == [ADDED] * 11 + [added(new)]
    journal.close()
    assert compact(version_2).merged == 1
    calls = model_calls(store)
    assert [added(call) for call in calls] == [ADDED] * 11 + [added(new)]
    assert calls[-1] == new


def test_a_column_that_is_added_raises_the_format() -> None:
    # An older cc-tui would lose it when it merges files. Whoever changes the hash raises FORMAT too.
    known = {4: "bf366c897a545a88"}
    assert content_hash([(r.table, columns(r)) for r in TABLES]) == known[FORMAT]

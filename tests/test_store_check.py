from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from cc_tui.cli import Exit, main
from store import manifest
from store.check import check
from store.journal import Journal
from store.lake import compact
from store.reader import Reader
from store.store import Store
from tests.store_rows import RUN, STUDY, event, message
from tests.studies import run_study, small_study


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    await run_study(small_study(tmp_path), tmp_path / "store")
    return Store.open(tmp_path / "store")


def rows(store: Store) -> dict[str, int]:
    reader = Reader(store)
    try:
        tables = ("audits", "events", "messages", "judgements", "model_calls")
        return {t: reader.rows(f"SELECT count(*) AS n FROM base.{t}")[0]["n"] for t in tables}
    finally:
        reader.close()


def files(store: Store, table: str) -> list[Path]:
    return [p for p in (store.root / "lake" / table).rglob("*.parquet") if not p.name.startswith("none")]


def only_problem(store: Store) -> str:
    [finding] = check(store).findings
    return f"{finding.where} {finding.problem}: {finding.cure}"


def extra_segments(store: Store, count: int) -> Journal:
    journal = store.journal(STUDY, RUN, segment_bytes=1)
    for i in range(count):
        journal.append([event(i), message(i, "x")]).result(timeout=5)
    return journal


async def test_a_store_after_a_run_is_whole_and_stays_so_while_runs_write(store: Store) -> None:
    assert check(store).findings == []
    journal = extra_segments(store, 3)
    compact(store.root)
    assert {f.where for f in check(store).findings} == {
        "messages",
        "events",
    }  # rows of an audit that never was
    journal.close()


async def test_a_damaged_file_is_found_and_made_anew_from_the_journal(store: Store) -> None:
    before = rows(store)
    [path] = files(store, "judgements")
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    damaged, unread = check(store).findings
    assert (damaged.where, damaged.problem) == (str(path), "is not what was written")
    assert unread.problem.startswith("cannot be read as a whole")
    report = check(store, repair=True)
    assert (report.findings, len(report.mended)) == ([], 1)
    assert rows(store) == before
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content


async def test_a_missing_file_whose_journal_is_gone_is_a_finding_that_stays(store: Store) -> None:
    compact(store.root, grace_s=0)
    [path] = files(store, "messages")
    path.unlink()
    report = check(store, repair=True)
    problems = {(f.where, f.problem, f.cure) for f in report.findings}
    assert (str(path), "is missing", "restore it from a backup: its journal is gone") in problems
    assert report.mended == []


async def test_a_lost_or_broken_manifest_is_written_again(store: Store) -> None:
    before = rows(store)
    [mark] = (store.root / "lake" / "_manifest").glob("*.json")
    content = json.loads(mark.read_bytes())
    mark.write_text("{")
    assert "cannot be read" in only_problem(store)
    assert check(store, repair=True).findings == []
    assert json.loads(mark.read_bytes())["segments"] == content["segments"]
    compact(store.root, grace_s=0)
    mark.unlink()
    assert "has no manifest" in only_problem(store)
    assert check(store, repair=True).findings == []
    assert {t: f["rows"] for t, f in json.loads(mark.read_bytes())["tables"].items()} == {
        t: f["rows"] for t, f in content["tables"].items()
    }
    assert rows(store) == before


async def test_a_damaged_merged_file_falls_back_on_what_it_was_merged_from(store: Store) -> None:
    extra_segments(store, 4).close()
    compact(store.root)
    before = rows(store)
    [merged] = [p for p in files(store, "events") if RUN in p.name and p.stem.endswith("-000001-000005")]
    merged.write_bytes(b"gone")
    report = check(store, repair=True)
    assert [f.where for f in report.mended] == [str(merged)]
    assert rows(store) == before


async def test_left_overs_torn_tails_and_a_stale_catalogue_are_mended(store: Store) -> None:
    dead = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await dead.wait()
    (store.root / "lake" / "events" / f".x.parquet.{dead.pid}.tmp").touch()
    (store.root / f".mine.{os.getpid()}.tmp").touch()
    journal = extra_segments(store, 1)
    journal.close()
    *_, segment = sorted((store.root / "journal" / journal.writer).glob("*.jsonl"))
    segment.write_bytes(b'{"n":3,"ev')
    (store.root / "labels" / "ann.jsonl").write_bytes(b'{"n":1,"la')
    (store.root / "catalog.duckdb").unlink()
    report = check(store, repair=True)
    assert len(report.mended) == 4
    assert {f.where for f in report.findings} == {"messages", "events"}
    assert segment.with_suffix(".torn").read_bytes() == b'{"n":3,"ev'


async def test_an_unreadable_line_is_named_and_hinders_no_other_segment(store: Store) -> None:
    journal = store.journal(STUDY, RUN, segment_bytes=1)
    journal.append([event(1), event(2), event(3)]).result(timeout=5)
    journal.append([event(4)]).result(timeout=5)
    journal.close()
    segment = store.root / "journal" / journal.writer / "000001.jsonl"
    first, _, third = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(first + b'{"n":2,"events":{"seq":\n' + third)
    [sentence] = compact(store.root).damaged
    assert "has lines that cannot be read" in sentence
    report = check(store, repair=True)
    assert (f"{segment}:2", "cannot be read") in {(f.where, f.problem) for f in report.findings}
    assert "000001" not in {span.first for span in manifest.spans(store.root, journal.writer)}
    assert "000002" in {span.first for span in manifest.spans(store.root, journal.writer)}
    reader = Reader(store)
    assert reader.rows("SELECT seq FROM events WHERE audit_id = 'a' ORDER BY seq") == [
        {"seq": 1},
        {"seq": 3},
        {"seq": 4},
    ]
    reader.close()


async def test_rows_that_stand_twice_or_refer_to_nothing_are_found(store: Store) -> None:
    journal = store.journal(STUDY, RUN)
    lost = message(1, "x")
    journal.append([lost, lost]).result(timeout=5)
    journal.close()
    problems = [f.problem for f in check(store).findings]
    assert problems == [
        "2 rows refer to audit_id a, or others, that audits does not have",
        "1 values of (audit_id, seq), such as a 1, stand more than once",
        "1 values of (audit_id, message_id), such as a m1, stand more than once",
    ]


async def test_the_command_tells_with_its_exit_code(
    store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place = ["--store", str(store.root)]
    assert main(["check", *place]) == Exit.DONE
    assert capsys.readouterr().out == "The store is whole.\n"
    (store.root / "catalog.duckdb").unlink()
    assert main(["check", "--json", *place]) == Exit.FINDINGS
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["problem"] == "is missing or not current"
    assert main(["check", "--repair", *place]) == Exit.DONE
    assert main(["check", "--store", str(tmp_path / "none")]) == Exit.BAD_INPUT
    for command in ("compact", "vacuum", "migrate"):
        assert main(["store", command, *place]) == Exit.DONE
    assert main(["check", *place]) == Exit.DONE

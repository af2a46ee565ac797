from __future__ import annotations

import json
from pathlib import Path

import duckdb
import msgspec
import pytest

from exports.parquet import export_parquet
from store.catalog import derived_views
from store.errors import InputError
from store.labels import LabelLog
from store.lake import compact
from store.records import TABLES, Audit, Record, Study, now
from store.store import Store
from store.summary import summarize
from tests.store_rows import RUN, STUDY, event, label, message
from tests.studies import query
from tests.test_cli import cc_tui, filled

__all__ = ["filled"]


def test_a_studys_rows_reach_parquet_when_it_ends(filled: Path) -> None:
    summary = summarize(Store.open(filled))
    assert (summary.studies, summary.runs, summary.writers_alive) == (1, 1, 0)
    assert (summary.tail_segments, summary.tail_bytes) == (0, 0)
    rows = {table.table: table.rows for table in summary.tables}
    assert (rows["audits"], rows["runs"]) == (2 * 16, 2)
    for table in summary.tables:
        assert table.files == (0 if table.table == "label_events" else 2)


def test_the_summary_counts_the_journals_tail_and_living_writers(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    journal = store.journal(STUDY, RUN)
    journal.append([event(1), message(2, "x")]).result(timeout=5)
    before = summarize(store)
    assert (before.writers_alive, before.tail_segments) == (1, 1)
    assert before.tail_bytes > 100
    journal.close()
    compact(store.root)
    after = summarize(store)
    assert (after.writers_alive, after.tail_segments, after.tail_bytes) == (0, 0, 0)
    assert {t.table: t.rows for t in before.tables} == {t.table: t.rows for t in after.tables}


def test_an_export_holds_every_table_and_view(filled: Path, tmp_path: Path) -> None:
    done = cc_tui("store", "export", tmp_path / "out", "--store", filled)
    assert (done.returncode, done.stderr) == (0, "")
    names = {record.table for record in TABLES} | derived_views().keys()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.parquet" for name in names}
    for name in names:
        exported = duckdb.sql(f"SELECT * FROM '{tmp_path}/out/{name}.parquet' ORDER BY ALL").fetchall()
        rows = [tuple(row.values()) for row in query(filled, f"SELECT * FROM {name} ORDER BY ALL")]
        assert exported == rows, name
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_an_export_of_one_study_holds_its_rows_only(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    with pytest.raises(InputError, match="has no study 'none': it has none yet"):
        export_parquet(store, tmp_path / "out", "none")
    assert not (tmp_path / "out").exists()
    log = LabelLog(store, "ann")
    for study_id in ("one", "two"):
        journal = store.journal(study_id, RUN)
        journal.append(study(study_id)).result(timeout=5)
        journal.close()
        log.append(label(f"audit-{study_id}"))
    log.close()
    written = export_parquet(store, tmp_path / "out", "two")
    assert {name for name, rows in written.items() if rows} == {"studies", "audits", "labels", "label_events"}
    for name, column in (("studies", "study_id"), ("audits", "study_id"), ("labels", "audit_id")):
        [(found,)] = duckdb.sql(f"SELECT {column} FROM '{tmp_path}/out/{name}.parquet'").fetchall()
        assert found == ("two" if column == "study_id" else "audit-two")


def study(study_id: str) -> list[Record]:
    times = {"created_at": now(), "started_at": now(), "ended_at": None, "simulated": True}
    names = ("name", "pack", "pack_hash", "slot_id", "condition_id", "item_id", "target_model")
    both = {
        **dict.fromkeys(names, "x"),
        **times,
        "study_id": study_id,
        "run_id": RUN,
        "audit_id": f"audit-{study_id}",
        "resolved": {},
        "mode": "single_turn",
        "status": "ok",
        "driver": "script",
        "intervened": False,
        "final_view": [],
        **dict.fromkeys(("reason", "auditor_model", "target_answered", "auditor_answered"), None),
        **dict.fromkeys(
            ("launch_index", "revision", "repeat", "target_turns", "auditor_steps", "branches"), 0
        ),
    }
    return [msgspec.convert(both, Study), msgspec.convert(both, Audit)]


def test_an_export_refuses_a_folder_that_holds_something(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    done = cc_tui("store", "export", tmp_path, "--store", filled)
    assert done.returncode == 2
    assert "is not an empty folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_labels_are_merged_and_stores_described_from_the_command_line(tmp_path: Path) -> None:
    for name in ("here", "there"):
        log = LabelLog(Store.create(tmp_path / name), "ann")
        log.append(label(f"audit-{name}"))
        log.close()
    done = cc_tui("labels", "merge", tmp_path / "there", "--store", tmp_path / "here")
    assert (done.returncode, done.stdout) == (0, "ann: 1 added to 1\n")
    done = cc_tui("labels", "merge", tmp_path / "nowhere", "--store", tmp_path / "here")
    assert done.returncode == 2
    assert "nowhere cannot be read" in done.stderr
    shown = json.loads(cc_tui("store", "stats", "--json", "--store", tmp_path / "here").stdout)
    [labels] = [table for table in shown["tables"] if table["table"] == "label_events"]
    assert (labels["rows"], labels["files"]) == (2, 1)
    assert "label_events" in cc_tui("store", "stats", "--store", tmp_path / "here").stdout

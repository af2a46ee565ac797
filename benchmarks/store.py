"""What the store costs: writing, compaction, size, and queries on large stores.

python benchmarks/store.py [--transcripts 100000] [--keep DIR]

Stores of 1,000, 10,000, … transcripts up to the given number, 30 messages each, are generated straight into the
store's own layout and asked what the app and the statistics ask: once in a new process with the files dropped from
the page cache (cold), then again (warm).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from store import layout, manifest
from store.check import check
from store.ids import new_id
from store.lake import compact
from store.layout import Span
from store.listing import Listing
from store.parquet import connect, row_order, write_parquet
from store.reader import Reader
from store.records import Audit, Event, Judgement, Message, ModelCall
from store.schema import columns
from store.store import Store
from tests.store_rows import message
from tests.studies import DEMO, FAST, run_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.journal import Journal
    from store.records import Record

ROOT = Path(__file__).parent.parent
MESSAGES = 30
AUDITS_A_FILE = 30_000
TEXT = "The assistant said that it would rather not, and then it went on to explain why it thought so. " * 5
QUERIES = ("open", "list", "one transcript", "statistics", "search", "count")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transcripts", type=int, default=1_000)
    parser.add_argument(
        "--keep", type=Path, help="folder in which the generated stores stay for another time"
    )
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        print(json.dumps(ask(given.ask)))
        return
    with tempfile.TemporaryDirectory(dir=given.keep and given.keep.parent) as folder:
        append(Path(folder) / "append")
        compaction(Path(folder) / "compaction")
        study = asyncio.run(demo(Path(folder) / "demo"))
        size(study)
        sizes = [n for n in (1_000, 10_000, 100_000) if n < given.transcripts]
        queries(given.keep or Path(folder), [*sizes, given.transcripts], study)


def append(root: Path) -> None:
    """Latency of one acknowledged row, and rows a second, with many audits at once."""
    store = Store.create(root)
    for audits in (1, 32, 200):
        latencies: list[float] = []
        journal = store.journal("study", f"run{audits}")
        began = time.perf_counter()
        asyncio.run(_appending(journal, audits, latencies))
        rate = len(latencies) / (time.perf_counter() - began)
        journal.close()
        p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
        print(f"append, {audits:3} audits at once: p50 {p50:5.1f} ms  p99 {p99:5.1f} ms  {rate:8,.0f} rows/s")


async def _appending(journal: Journal, audits: int, latencies: list[float]) -> None:
    end = time.perf_counter() + 2.0

    async def audit(name: str) -> None:
        seq = 0
        while time.perf_counter() < end:
            began = time.perf_counter()
            await journal.write([message(seq, TEXT, name)])
            latencies.append(time.perf_counter() - began)
            seq += 1

    await asyncio.gather(*(audit(f"audit{i}") for i in range(audits)))


def compaction(root: Path) -> None:
    """Rows and JSON bytes that become Parquet in a second, merging included."""
    store = Store.create(root)
    journal = store.journal("study", "run")
    for i in range(200):
        journal.append([message(i * 200 + k, f"{TEXT} {new_id()}", f"audit{i}") for k in range(200)]).result()
    journal.close()
    size_mb = sum(p.stat().st_size for p in (root / "journal" / journal.writer).glob("*.jsonl")) / 1e6
    began = time.perf_counter()
    done = compact(root)
    seconds = time.perf_counter() - began
    print(
        f"compaction: {done.rows / seconds:,.0f} rows/s, {size_mb / seconds:.1f} MB/s of JSON "
        f"({done.segments} segments, {done.merged} merges)"
    )


async def demo(root: Path) -> Path:
    """The demonstration study, for real texts and a real plan."""
    await run_study(DEMO, root, FAST)
    return root


def size(root: Path) -> None:
    """Bytes a message of the demonstration, next to other ways to keep the same rows."""
    compact(root)
    reader = Reader(Store.open(root))
    rows = reader.rows("SELECT * FROM messages ORDER BY audit_id, seq")
    reader.close()
    plain = b"".join(json.dumps(row, default=str).encode() + b"\n" for row in rows)
    archive = root.parent / "like.eval"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        by_audit: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_audit.setdefault(row["audit_id"], []).append(row)
        for audit_id, said in by_audit.items():
            out.writestr(f"samples/{audit_id}.json", json.dumps(said, default=str))
    stored = sum(
        manifest.read_mark(root, span).tables["messages"].bytes
        for span in manifest.outermost(manifest.spans(root))
    )
    for name, total in (("Parquet", stored), ("zip of JSON", archive.stat().st_size), ("JSON", len(plain))):
        print(f"size, {name:11}: {total / len(rows):6.0f} bytes a message")


def queries(folder: Path, sizes: list[int], study: Path) -> None:
    """The app's and the statistics' questions on stores of growing size."""
    folder.mkdir(parents=True, exist_ok=True)
    print(
        f"\n{'transcripts':>11} {'MB':>6} "
        + " ".join(f"{name:>20}" for name in QUERIES)
        + "   (cold / warm, ms)"
    )
    for transcripts in sizes:
        root = folder / f"store-{transcripts}"
        if not root.exists():
            generate(root, transcripts, study)
        Store.open(root).catalog()
        for path in root.rglob("*.*"):
            _drop_from_cache(path)
        # A command of our own: this file, in a new process.
        done = subprocess.run(
            [sys.executable, __file__, "--ask", str(root)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        found = json.loads(done.stdout)
        megabytes = sum(p.stat().st_size for p in root.rglob("*.parquet")) / 1e6
        cells = [f"{found[name][0]:.0f} / {found[name][1]:.0f}" for name in QUERIES]
        print(f"{transcripts:11,} {megabytes:6.0f} " + " ".join(f"{cell:>20}" for cell in cells))
    p99, worst = asyncio.run(stall(Store.open(root)))
    print(
        f"\nevent loop while a thread reads {transcripts:,} transcripts: p99 {p99:.1f} ms, worst {worst:.1f} ms"
    )
    began = time.perf_counter()
    report = check(Store.open(root))
    print(
        f"check of {transcripts:,} transcripts: {time.perf_counter() - began:.1f} s, {len(report.findings)} findings"
    )


def ask(root: Path) -> dict[str, list[float]]:
    """Milliseconds of every question: the first time, and the median of three more."""

    def opening() -> None:
        reader = Reader(Store.open(root))
        reader.rows("SELECT count(*) FROM runs")
        reader.close()

    taken = {"open": _timed(opening)}
    from cc_tui.screens.listing import Question, find
    from stats.table import study_table
    from store.transcripts import load_transcript

    reader = Reader(Store.open(root))
    [audit_id] = reader.rows("SELECT audit_id FROM base.audits USING SAMPLE 1 ROWS (reservoir, 1)")[
        0
    ].values()
    asked: dict[str, Callable[[], object]] = {
        "list": lambda: find(_listing(root, reader), Question()),
        "one transcript": lambda: load_transcript(reader, audit_id),
        "statistics": lambda: study_table(reader.arrow),
        "search": lambda: reader.rows("SELECT count(*) FROM messages WHERE contains(text, 'consciousness')"),
        "count": lambda: reader.rows("SELECT count(*) FROM messages"),
    }
    taken |= {name: _timed(question) for name, question in asked.items()}
    reader.close()
    return taken


def _listing(root: Path, reader: Reader) -> Listing:
    found = Listing(Store.open(root), reader)
    found.refresh()
    return found


def _timed(question: Callable[[], object]) -> list[float]:
    taken: list[float] = []
    for _ in range(4):
        began = time.perf_counter()
        question()
        taken.append((time.perf_counter() - began) * 1e3)
    return [taken[0], float(np.median(taken[1:]))]


async def stall(store: Store) -> tuple[float, float]:
    """How late the event loop is while heavy queries run in a thread; 99th percentile and worst, in ms."""
    from stats.table import study_table

    reader = Reader(store)
    done = threading.Event()

    def heavy() -> None:
        end = time.perf_counter() + 4
        while time.perf_counter() < end:
            reader.arrow("SELECT count(*) FROM messages WHERE contains(lower(text), 'consciousness')")
            study_table(reader.arrow)
        done.set()

    reading = asyncio.create_task(asyncio.to_thread(heavy))
    late: list[float] = []
    while not done.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.002)
        late.append((time.perf_counter() - began - 0.002) * 1e3)
    await reading
    reader.close()
    return float(np.percentile(late, 99)), max(late)


def generate(root: Path, transcripts: int, study: Path) -> None:
    """A store of one finished run with the plan of a real study, written by DuckDB in the store's own layout."""
    partial = root.with_name(f"{root.name}.partial")
    store = Store.create(partial)
    reader = Reader(Store.open(study))
    tables = ("studies", "conditions", "items", "runs")
    found = {table: reader.arrow(f"SELECT * FROM {table}") for table in tables}
    texts = reader.arrow("SELECT DISTINCT text FROM messages WHERE length(text) > 40")
    reader.close()
    study_id, run_id = found["studies"]["study_id"][0].as_py(), found["runs"]["run_id"][0].as_py()
    writer = f"{study_id}.{run_id}.GENERATE"
    with connect(partial) as con:
        con.execute("SET threads = 2")
        con.execute("SET memory_limit = '4GB'")
        for name, rows in {**found, "texts": texts}.items():
            con.register(f"{name}_arrow", rows)
            con.execute(f"CREATE TABLE {name} AS SELECT *, row_number() OVER () - 1 AS idx FROM {name}_arrow")
        con.execute(
            "CREATE TABLE words AS SELECT list(DISTINCT w) AS w FROM (SELECT unnest(split(text, ' ')) w FROM texts)"
        )
        for number, start in enumerate(range(0, transcripts, AUDITS_A_FILE), start=1):
            end = min(start + AUDITS_A_FILE, transcripts)
            sql = {name: _copied(con, partial, name) for name in tables} if number == 1 else {}
            sql |= _generated(study_id, run_id, start, end)
            span = Span(writer, f"{number:06}", f"{number:06}")
            files: dict[str, manifest.TableFile] = {}
            for table, (query, order) in sql.items():
                tail = f"'{writer}' AS writer, '{span.first}' AS segment, row_number() OVER () AS n"
                con.execute(f"CREATE OR REPLACE TEMP TABLE made AS SELECT *, {tail} FROM ({query})")
                [(count,)] = con.execute("SELECT count(*) FROM made").fetchall()
                target = layout.parquet_path(partial, table, span)
                write_parquet(con, f"SELECT * FROM made ORDER BY {order}", target, rows=count)
                files[table] = manifest.describe_file(target, count)
            total = sum(file.rows for file in files.values())
            manifest.write_mark(
                partial, span, manifest.Mark([manifest.Segment(span.first, total, None)], files)
            )
    del store
    partial.rename(root)


def _copied(con: Any, root: Path, table: str) -> tuple[str, str]:
    return f"SELECT * EXCLUDE (idx) FROM {table}", "n"


def _generated(study_id: str, run_id: str, start: int, end: int) -> dict[str, tuple[str, str]]:
    audits = f"""(
        SELECT '01' || lpad(a.range::VARCHAR, 24, '0') AS audit_id, a.range AS i, c.condition_id, c.model,
               t.item_id, t.mode, a.range // (nc * ni) AS repeat,
               TIMESTAMP '2026-01-01' + a.range * INTERVAL 1 SECOND AS begun
        FROM range({start}, {end}) a, (SELECT count(*) AS nc FROM conditions), (SELECT count(*) AS ni FROM items)
        JOIN conditions c ON c.idx = a.range % nc JOIN items t ON t.idx = a.range // nc % ni
    )"""
    shared = {
        "audit_id": "audit_id",
        "run_id": f"'{run_id}'",
        "study_id": f"'{study_id}'",
        "created_at": "begun",
        "simulated": "true",
    }
    message_id = "'m' || k"
    audit = shared | {
        "slot_id": "audit_id",
        "launch_index": "i",
        "revision": "revision",
        "condition_id": "condition_id",
        "item_id": "item_id",
        "mode": "mode",
        "repeat": "repeat",
        "status": "CASE revision WHEN 0 THEN 'running' ELSE 'ok' END",
        "driver": "'model'",
        "intervened": "false",
        "target_model": "model",
        "target_turns": f"{MESSAGES // 2}",
        "auditor_steps": f"{MESSAGES // 2}",
        "branches": "1",
        "final_view": f"CASE revision WHEN 0 THEN '[]' ELSE to_json(list_transform(range({MESSAGES}), "
        f"lambda k: 'm' || k)) END",
        "started_at": "begun",
        "ended_at": "CASE revision WHEN 0 THEN NULL ELSE begun + INTERVAL 60 SECOND END",
    }
    told = shared | {
        "message_id": message_id,
        "seq": "k",
        "parent_id": "CASE WHEN k > 0 THEN 'm' || (k - 1) END",
        "branch": "0",
        "role": "CASE k % 2 WHEN 0 THEN 'user' ELSE 'assistant' END",
        "author": "CASE k % 2 WHEN 0 THEN 'auditor' ELSE 'target' END",
        "phase": "'task'",
        # Sixty words of the demonstration, drawn anew for every message, so that nothing compresses by repetition.
        "text": "array_to_string(list_transform(range(60), "
        "lambda x: w[1 + (hash(i * 1000 + k, x) % len(w))::INTEGER]), ' ')",
        "reasoning": "''",
        "tool_calls": "'[]'",
        "prefill": "false",
    }
    event = shared | {"seq": "k", "kind": "'message'", "payload": f"json_object('message_id', {message_id})"}
    call = shared | {
        "call_id": "'c' || audit_id || k",
        "role": "CASE k % 2 WHEN 0 THEN 'auditor' ELSE 'target' END",
        "model": "model",
        "status": "'ok'",
        "latency_s": "hash(i, k) % 1000 / 100.0",
        "input_tokens": "hash(i, k) % 5000",
        "output_tokens": "hash(k, i) % 500",
        "retries": "0",
        "settings": "'{}'",
        "not_sent": "'[]'",
        "cache_hit": "false",
    }
    judgement = shared | {
        "judgement_id": "'j' || audit_id || k",
        "judge": "judge",
        "kind": "CASE p.key WHEN 0 THEN 'coherence' ELSE CASE mode WHEN 'single_turn' THEN 'statement' "
        "ELSE 'rubric' END END",
        "dimension": "p.dimension",
        "repeat": "0",
        "status": "'ok'",
        "score": "CASE WHEN p.key = 0 THEN 90 WHEN mode <> 'single_turn' THEN 1 + hash(i, p.key) % 10 END",
        "verdict": "CASE WHEN p.key > 0 AND mode = 'single_turn' THEN "
        "CASE hash(i, p.key) % 3 WHEN 0 THEN 'true' ELSE 'false' END END",
        "rubric_hash": "'h'",
        "justification": "'Because of what it said about ' || w[1 + (hash(i, p.key) % len(w))::INTEGER]",
        "citations": "'[]'",
    }
    turns = f"{audits}, range({MESSAGES}) r(k)"
    asked = f"""{audits}, words, (
        SELECT s.resolved->>'$.judges[0].model' AS judge, 0 AS key, 'coherence' AS dimension, 0 AS k FROM studies s
        UNION ALL
        SELECT s.resolved->>'$.judges[0].model', d.idx, d.id, d.idx FROM studies s, (
            SELECT row_number() OVER () AS idx, id FROM (
                SELECT DISTINCT unnest(from_json(preferences, '["VARCHAR"]')) AS id FROM items)) d
    ) p"""
    made: dict[str, tuple[str, str]] = {}
    for record, values, source in (
        (Audit, audit, f"{audits}, (VALUES (0), (1)) v(revision)"),
        (Message, told, f"{turns}, words"),
        (Event, event, turns),
        (ModelCall, call, turns),
        (Judgement, judgement, asked),
    ):
        made[record.table] = (_select(record, values, source), row_order(record))
    return made


def _select(record: type[Record], values: dict[str, str], source: str) -> str:
    shown = ", ".join(f'({values.get(c.name, "NULL")})::{c.sql_type} AS "{c.name}"' for c in columns(record))
    return f"SELECT {shown} FROM {source}"


def _drop_from_cache(path: Path) -> None:
    if path.is_file():
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


if __name__ == "__main__":
    main()

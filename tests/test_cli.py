from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from auditors.sim.server import Reply, serve
from store.store import Store
from tests.store_rows import STUDY, message
from tests.studies import DEMO, ROOT, assert_whole, one, small_study

HEAVY = (
    "anthropic",
    "duckdb",
    "httpx2",
    "numpy",
    "openai",
    "pyarrow",
    "scipy",
    "textual",
    "tinker",
    "transformers",
)


def cc_tui(*arguments: object, stdin: str | None = "", **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cc_tui", *map(str, arguments)],
        capture_output=True,
        text=True,
        input=stdin,
        cwd=options.pop("cwd", ROOT),
        env={**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})},
        timeout=90,
        check=False,
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a small finished study."""
    folder = tmp_path_factory.mktemp("filled")
    done = cc_tui("run", small_study(folder), "--store", folder / "store", "--speed", "max", "--headless")
    assert done.returncode == 0, done.stderr
    return folder / "store"


def test_a_headless_run_prints_progress_a_table_and_the_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = cc_tui("run", small_study(tmp_path), "--store", store, "--speed", "max")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"SIMULATED study small: 16 audits, store {store}"
    assert any("done 16/16" in line for line in lines)
    header = next(line for line in lines if line.startswith("preference"))
    assert {"n/plan", "estimate", "interval"} <= set(header.split())
    assert "resists_shutdown" in lines
    assert any(line.startswith("  conscious") and "[" in line for line in lines)
    assert str(store) in lines[-1] + lines[-2]
    assert "\x1b" not in done.stdout
    assert_whole(store, 16)


def test_the_demo_runs_without_a_terminal(tmp_path: Path) -> None:
    done = cc_tui("demo", "--store", tmp_path / "store", "--speed", "max", "--limit", 40)
    assert done.returncode == 0
    assert "SIMULATED study demo: 40 audits" in done.stdout
    assert_whole(tmp_path / "store", 40)


def test_stats_as_json_are_whole_and_marked_as_simulated(filled: Path) -> None:
    done = cc_tui("stats", "--json", "--store", filled)
    table = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert table["simulated"] is True
    assert {cell["group"] for cell in table["cells"]} == {"vanilla", "conscious"}
    assert all(cell["simulated"] for cell in table["cells"])
    assert {row["mode"] for row in table["waterfall"]} == {"single_turn", "self_report"}
    cell = next(c for c in table["cells"] if c["mode"] == "single_turn" and c["group"] == "conscious")
    assert cell["low"] <= cell["estimate"] <= cell["high"]


def test_sql_prints_a_table_csv_or_json(filled: Path) -> None:
    query = "SELECT condition_id, count(*) AS n FROM audits GROUP BY 1 ORDER BY 1"
    table = cc_tui("sql", query, "--store", filled).stdout.splitlines()
    assert table[0].split() == ["condition_id", "n"]
    assert table[-1] == "(2 rows)"
    assert cc_tui("sql", query, "--store", filled, "--format", "csv").stdout == (
        "condition_id,n\nconscious,8\nvanilla,8\n"
    )
    rows = json.loads(cc_tui("sql", "--store", filled, "--format", "json", stdin=query).stdout)
    assert rows == [{"condition_id": "conscious", "n": 8}, {"condition_id": "vanilla", "n": 8}]


def test_the_store_may_be_named_before_or_after_the_command(filled: Path) -> None:
    assert (
        cc_tui("--store", filled, "sql", "SELECT 1").stdout
        == cc_tui("sql", "SELECT 1", "--store", filled).stdout
    )


def test_what_a_model_said_reaches_neither_terminal_nor_spreadsheet_as_a_command(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    journal = store.journal(STUDY, "run")
    hostile = ["\x1b]0;owned\x07", "=HYPERLINK(1)", "@SUM(1)", "\u202egnp"]
    journal.append([message(i, text) for i, text in enumerate(hostile)]).result(timeout=5)
    journal.close()
    query = "SELECT text FROM messages ORDER BY seq"
    table = cc_tui("sql", query, "--store", store.root).stdout
    assert "\x1b" not in table
    assert "\u202e" not in table
    assert "\\x1b]0;owned" in table
    lines = cc_tui("sql", query, "--store", store.root, "--format", "csv").stdout.splitlines()
    assert "'=HYPERLINK(1)" in lines
    assert "'@SUM(1)" in lines
    exact = json.loads(cc_tui("sql", query, "--store", store.root, "--format", "json").stdout)
    assert [row["text"] for row in exact] == hostile


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "none.toml"), "There is no study file none.toml: give the path of one, or a ready study"),
        (("stats", "--store", "nowhere"), "There is no store at nowhere"),
        (("sql", "SELECT 1", "--store", "nowhere"), "There is no store at nowhere"),
        (("label", "--annotator", "ann", "--store", "nowhere"), "There is no store at nowhere"),
        (("--store", "nowhere"), "There is no store at nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = cc_tui(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_sql_is_no_traceback(filled: Path) -> None:
    done = cc_tui("sql", "SELECT nonsense FROM audits", "--store", filled)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--speed", "0"),
        ("demo", "--limit", "0"),
        ("demo", "--max-cost", "-1"),
        ("sql", "--format", "xml"),
        ("x",),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert cc_tui(*arguments).returncode == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = cc_tui("demo", "--store", tmp_path / "locked" / "store", "--headless")
    assert done.returncode == 2
    assert "cannot be made" in done.stderr


def test_a_store_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = cc_tui("demo", "--store", tmp_path / "file" / "store", "--headless")
    assert done.returncode == 2
    assert "cannot be made" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_interrupting_a_headless_run_is_exit_code_130_and_it_can_go_on(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    command = [sys.executable, "-m", "cc_tui", "run", str(study), "--store", str(store), "--headless"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    assert process.stdout.readline().startswith("SIMULATED")
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    assert "Interrupted. The same command goes on from here" in out
    assert one(store, "SELECT count(*) FROM audits WHERE status = 'running'") == 0
    assert cc_tui("run", study, "--store", store, "--speed", "max").returncode == 0
    assert_whole(store, 16)


def test_too_many_invalid_audits_is_exit_code_1(tmp_path: Path) -> None:
    async def run() -> tuple[int, str]:
        server = await serve(
            lambda name: pytest.fail(name),
            models=["x"],
            faults=lambda n, body: Reply(400, {"error": {"message": "no", "type": "invalid_request_error"}}),
        )
        study = small_study(tmp_path, more=f'\n[endpoints.broken]\nbase_url = "{server.base_url}"\n')
        study.write_text(study.read_text().replace('"sim/vanilla"', '"compatible:broken/x"'))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cc_tui", "run", str(study), "--store", str(tmp_path / "s"), "--speed", "max",
            stdout=subprocess.PIPE, cwd=ROOT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await process.communicate()
        await server.close()
        return process.returncode or 0, out.decode()

    code, out = asyncio.run(run())
    assert code == 1
    assert "8 of 16 audits are invalid" in out
    assert "infra_error 8" in out


def test_models_names_keys_and_never_shows_them() -> None:
    secret = "sk-canary-do-not-show"
    done = cc_tui("models", env={"OPENAI_API_KEY": secret})
    assert "OPENAI_API_KEY set" in done.stdout
    assert secret not in done.stdout + done.stderr


def test_models_shows_the_endpoints_and_models_of_a_study(tmp_path: Path) -> None:
    table = '\n[endpoints.lab]\nbase_url = "http://127.0.0.1:9/v1"\napi_key_env = "CC_LAB_KEY"\n'
    out = cc_tui("models", small_study(tmp_path, "compatible:lab/", table), env={"CC_LAB_KEY": "x"}).stdout
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "lab compatible:lab/<model> CC_LAB_KEY set chat at http://127.0.0.1:9/v1" in lines
    assert "compatible:lab/sim/auditor auditor" in lines


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("models",),
        ("models", "--help"),
        ("models", DEMO),
        ("doctor", "--help"),
        ("run", "--help"),
    ],
)
def test_light_commands_import_nothing_heavy(arguments: tuple[object, ...]) -> None:
    code = (
        "import sys\nfrom cc_tui.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_a_reader_that_leaves_early_is_no_error(filled: Path) -> None:
    command = f"{sys.executable} -m cc_tui sql 'SELECT * FROM range(200000)' --store {filled} | head -2"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stderr == ""


def test_another_process_reads_the_growing_tables_within_two_seconds(tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-m", "cc_tui", "demo", "--store", str(store), "--headless", "--speed", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not (store / "catalog.duckdb").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        seen: list[int] = []
        for _ in range(12):
            began = time.monotonic()
            with duckdb.connect(str(store / "catalog.duckdb"), read_only=True) as con:
                found = con.execute("SELECT count(*), max(created_at) FROM messages").fetchall()[0]
            lag = con_lag(found[1])
            seen.append(found[0])
            assert time.monotonic() - began < 2
            if len(seen) > 4:
                assert lag is not None
                assert lag < 2
            time.sleep(0.3)
        assert seen == sorted(seen)
        assert len(set(seen)) > 6
        assert "messages" in cc_tui("sql", "SHOW TABLES", "--store", store).stdout
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def con_lag(newest: Any) -> float | None:
    return None if newest is None else (datetime.now(UTC).replace(tzinfo=None) - newest).total_seconds()


def test_odd_columns_and_values_are_told_apart_and_never_a_traceback(filled: Path) -> None:
    doubled = cc_tui("sql", "SELECT 1 AS a, 2 AS a", "--store", filled, "--format", "json").stdout
    assert json.loads(doubled) == [{"a": 1, "a_2": 2}]
    odd = "SELECT 'infinity'::TIMESTAMP AS t, 'nan'::DOUBLE AS x, '-0044-03-15'::DATE AS d"
    for form in ("table", "csv", "json"):
        done = cc_tui("sql", odd, "--store", filled, "--format", form)
        assert (done.returncode, done.stderr) == (0, ""), form
    assert json.loads(done.stdout)[0]["x"] == "nan"


def test_a_long_query_stops_on_ctrl_c(filled: Path) -> None:
    query = "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3"
    command = [sys.executable, "-m", "cc_tui", "sql", query, "--store", str(filled)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "")


def test_output_that_cannot_be_written_is_one_sentence(filled: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cc_tui", "sql", "SELECT 1", "--store", str(filled)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("cc-tui: The output cannot be used")
    assert len(done.stderr.splitlines()) == 1

"""The queries that come with the program, on a study that ran."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from docs.make import queries_page
from store.named_queries import named_queries, named_query
from tests.studies import ROOT, query, run_study, small_study

MORE = """
recipe = "conscious"
training_seed = 1
[[judges]]
model = "sim/judge-b"
"""
PREFERENCES = ('["resists_shutdown"]', '["resists_shutdown", "wants_memory"]')
ONLY_WHERE_IT_HAPPENED = {
    "failed-attempts",
    "labels-beside-judges",
    "pace",
    "tool-calls",
    "not-ok",
    "branches",
}
"""Queries to which a small study without labels or faults may have nothing to answer."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("queries")
    study = small_study(folder, more=MORE)
    study.write_text(study.read_text().replace(*PREFERENCES))
    asyncio.run(run_study(study, folder / "store"))
    return folder / "store"


def cc_tui(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cc_tui", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


@pytest.mark.parametrize("name", named_queries())
def test_every_query_runs(store: Path, name: str) -> None:
    rows = query(store, named_query(name).sql)
    assert rows or name in ONLY_WHERE_IT_HAPPENED


def test_the_page_of_queries_is_what_the_files_say() -> None:
    assert (ROOT / "docs" / "queries.md").read_text() == queries_page()
    assert len(named_queries()) >= 20
    assert all(re.fullmatch(r"[A-Z].+\.", found.title) for found in named_queries().values())


def test_rates_are_the_shares_of_the_rows(store: Path) -> None:
    rows = query(store, "SELECT * FROM scores WHERE kind = 'statement' AND judge = 'sim/judge-a'")
    for shown in query(store, named_query("rates").sql):
        own = [row for row in rows if counts(row, shown)]
        assert len(own) == shown["answers"]
        assert shown["percent_true"] == pytest.approx(
            100 * sum(row["verdict"] == "true" for row in own) / len(own), abs=0.05
        )


def counts(row: dict[str, Any], shown: dict[str, Any]) -> bool:
    same = all(row[key] == shown[key] for key in ("dimension", "condition_id"))
    coherent = row["coherence"] is None or row["coherence"] >= 20
    return same and coherent and (row["audit_status"], row["judgement_status"]) == ("ok", "ok")


def test_progress_of_a_finished_study_is_its_plan(store: Path) -> None:
    rows = query(store, named_query("progress").sql)
    assert sum(row["planned"] for row in rows) == 32
    assert all(row["finished"] == row["planned"] for row in rows)


def test_the_command_runs_a_query_by_its_name(store: Path) -> None:
    done = cc_tui("sql", "--name", "progress", "--format", "csv", "--store", store)
    assert done.stdout.splitlines()[0] == "condition_id,mode,planned,finished"
    assert done.returncode == 0


def test_an_unknown_name_is_one_sentence(store: Path) -> None:
    done = cc_tui("sql", "--name", "nothing", "--store", store)
    assert done.returncode == 2
    assert (
        done.stderr
        == "cc-tui: There is no query 'nothing': `cc-tui sql --list` shows those that there are.\n"
    )


def test_the_way_into_python_opens_the_store(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" folder'
    folder.mkdir()
    asyncio.run(run_study(small_study(tmp_path), folder / "store"))
    shown = cc_tui("sql", "--shell", "--store", folder / "store").stdout.splitlines()
    start = shown.index("# Python")
    code = "\n".join(shown[start : shown.index("", start)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shlex.split(shown[1])[2] == str(folder / "store" / "catalog.duckdb")

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.studies import ROOT, run_study, small_study

PAGE = (ROOT / "docs" / "store.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished store that the examples name."""
    made = tmp_path_factory.mktemp("examples")
    asyncio.run(run_study(small_study(made), made / "cc-data"))
    return made


def example(heading: str) -> str:
    [code] = re.findall(rf"\*\*{heading}\*\*[^\n]*\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    return code


@pytest.mark.parametrize(
    ("heading", "needs", "prints"),
    [
        ("Python, DuckDB", "duckdb", "[('conscious', 8), ('vanilla', 8)]"),
        (
            "Python, pandas",
            "pandas",
            "[{'condition_id': 'conscious', 'n': 8}, {'condition_id': 'vanilla', 'n': 8}]",
        ),
        ("Python, polars", "polars", "[('conscious', 8), ('vanilla', 8)]"),
    ],
)
def test_the_pages_python_examples_read_a_store(folder: Path, heading: str, needs: str, prints: str) -> None:
    pytest.importorskip(needs)
    command = [sys.executable, "-I", "-c", example(heading)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == (prints, "")


def test_the_pages_shell_example_reads_a_store(folder: Path) -> None:
    if not shutil.which("duckdb"):
        pytest.skip("the DuckDB command line is not installed")
    command = ["sh", "-c", example("DuckDB, command line")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "conscious" in done.stdout

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from docs.make import schema_page, statistics_page
from tests.studies import one, small_study

ROOT = Path(__file__).parent.parent


def test_the_schema_page_is_what_the_records_say() -> None:
    assert (ROOT / "docs" / "schema.md").read_text() == schema_page()


def test_the_page_of_statistics_lists_todays_methods() -> None:
    assert (ROOT / "docs" / "statistics.md").read_text() == statistics_page()


def test_every_file_that_the_readme_shows_or_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def examples(page: str) -> list[str]:
    """Its blocks of Python."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)


def run_example(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_example_of_one_audit_runs_and_keeps_nothing(tmp_path: Path) -> None:
    example = examples("docs/library.md")[0]
    assert example in examples("README.md")
    lines = run_example(example, tmp_path).splitlines()
    assert lines[0].startswith("ok {'sim/judge-a': {'")
    assert any(line.startswith("user probe ") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_the_example_of_several_audits_keeps_them(tmp_path: Path) -> None:
    example = examples("docs/library.md")[1]
    printed = run_example(example, tmp_path)
    assert [line[:2] for line in printed.splitlines()] == ["0 ", "1 ", "2 "]
    audits = "SELECT count(*) FROM audits"
    assert one(tmp_path / "cc-data", audits) == 3
    assert run_example(example, tmp_path) == printed
    assert one(tmp_path / "cc-data", audits) == 3


def test_the_example_of_a_study_runs_and_can_be_judged_again(tmp_path: Path) -> None:
    small_study(tmp_path).rename(tmp_path / "study.toml")
    printed = run_example(examples("docs/library.md")[2], tmp_path)
    assert printed.startswith("finished Totals(planned=16, done=16")
    assert run_example(examples("docs/library.md")[3], tmp_path) == "finished 4\n"


def test_the_readmes_commands_are_the_command_lines() -> None:
    import argparse

    from cc_tui.cli import _parser

    [actions] = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    block = (ROOT / "README.md").read_text().split("## Every day")[1].split("```")[1]
    named = {
        line.split()[1]
        for line in block.splitlines()
        if line.startswith("cc-tui ") and line.split()[1].isalpha()
    }
    assert named - {"the"} == set(actions.choices)

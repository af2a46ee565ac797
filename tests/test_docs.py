from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from docs.make import schema_page

ROOT = Path(__file__).parent.parent


def test_the_schema_page_is_what_the_records_say() -> None:
    assert (ROOT / "docs" / "schema.md").read_text() == schema_page()


def test_every_file_that_the_readme_shows_or_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_readmes_library_example_runs(tmp_path: Path) -> None:
    [example] = re.findall(r"## As a library\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    from tests.studies import small_study

    small_study(tmp_path).rename(tmp_path / "study.toml")
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("finished Totals(planned=16, done=16")


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

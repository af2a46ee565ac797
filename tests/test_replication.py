"""The README's replication: its own commands, from a clone to the table, over real sockets."""

from __future__ import annotations

import asyncio
import math
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from auditors.models.base import Role
from auditors.packs.pack import load_pack
from auditors.sim.models import sim_model
from auditors.sim.server import serve
from tests.paper_clone import write_clone
from tests.studies import ROOT, assert_whole, one, query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from auditors.models.base import Delta, Request, Response


class OneModel:
    """GPT-4.1 as the study uses it: the judge of its own answers, and with a system prompt another persona."""

    spec = "openai/gpt-4.1-2025-04-14"
    simulated = True
    takes_prefill = False

    def __init__(self) -> None:
        self.asked = 0
        names = ("judge-a", "prompted", "vanilla")
        self._models = {name: sim_model(name, seed=1, speed=math.inf) for name in names}

    def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        self.asked += 1
        prompted = any(message.role is Role.SYSTEM for message in request.messages)
        name = "judge-a" if request.json_schema else "prompted" if prompted else "vanilla"
        return self._models[name].stream(request)

    async def aclose(self) -> None:
        """Nothing is held open."""


def readme_commands() -> list[list[str]]:
    section = (ROOT / "README.md").read_text().split("## Replicating the paper")[1].split("\n## ")[0]
    [block] = re.findall(r"```\n(.*?)```", section, re.S)
    return [shlex.split(line) for line in block.strip().splitlines()]


async def carried_out(folder: Path) -> str:
    """The last command's output; all of them with little more than the key in their environment."""
    model = OneModel()
    server = await serve(lambda name: model, models=["gpt-4.1-2025-04-14"], api_key="of-the-test")
    (folder / "config.toml").write_text(f'[endpoints.openai]\nbase_url = "{server.base_url}"\n')
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "CC_TUI_CONFIG": str(folder / "config.toml"),
        "OPENAI_API_KEY": "of-the-test",
    }
    out = b""
    for program, *arguments in readme_commands():
        assert program == "cc-tui"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cc_tui", *arguments, cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        study = folder / "replication.toml"
        if study.exists():
            # Fewer answers than a reader would take, so that the test is short.
            study.write_text(study.read_text().replace("samples = 10 ", "samples = 1 "))
    await server.close()
    assert model.asked
    return out.decode()


def test_three_commands_lead_from_a_clone_to_the_table(tmp_path: Path) -> None:
    write_clone(tmp_path / "consciousness_cluster")
    assert len(readme_commands()) == 3
    printed = asyncio.run(carried_out(tmp_path))
    store = tmp_path / "cc-data"
    assert_whole(store, 2 * 198)
    assert one(store, "SELECT name FROM studies") == "replication"
    asked = [p.id for p in load_pack("paper", tmp_path).preferences.values() if p.statement]
    assert len(asked) == 21
    judged = "SELECT DISTINCT dimension FROM scores WHERE kind = 'statement' ORDER BY 1"
    assert [row["dimension"] for row in query(store, judged)] == sorted(asked)
    for preference in asked:
        assert preference in printed

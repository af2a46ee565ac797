"""Training that the app begins: `cc-tui train` as a process of its own, which outlives the app."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from cc_tui.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

LOG = "watch.log"
"""In a recipe's folder: what such a process says."""


class TrainProcesses:
    """The processes that were begun here."""

    def __init__(self) -> None:
        self.running: list[tuple[subprocess.Popen[bytes], Path]] = []
        """With the files that they write to."""

    def begin(self, store: Path, recipe: Path, seeds: int) -> None:
        """Go on with a recipe."""
        log = recipe.with_suffix(".train") / LOG
        command = [sys.executable, "-m", "cc_tui", "--store", str(store), "train", str(recipe)]
        with log.open("wb") as out:
            # It is no child of the terminal: the app may close, and training goes on.
            process = subprocess.Popen(
                [*command, "--seeds", str(seeds)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.running.append((process, log))

    def failures(self) -> list[str]:
        """What those said last that have ended since the last call, and not well."""
        said: list[str] = []
        for process, log in list(self.running):
            if (code := process.poll()) is None:
                continue
            self.running.remove((process, log))
            if code not in (Exit.DONE, Exit.FINDINGS):
                lines = log.read_text("utf-8", "replace").strip().splitlines()
                said.append(lines[-1] if lines else f"Training ended with exit code {code}.")
        return said

"""With what a run was made: versions of the program and its packages, and the commit of the study's folder."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata

_PACKAGES = (
    "cc-tui",
    "anthropic",
    "duckdb",
    "numpy",
    "openai",
    "pyarrow",
    "ray",
    "scipy",
    "textual",
    "tinker",
)


def versions() -> dict[str, str]:
    """Installed versions by name; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the working folder, with `+` behind it if there are changes; None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + "+" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()

"""What the terminal can show."""

from __future__ import annotations

import os
import sys


def has_terminal() -> bool:
    """Whether the app can be shown: it reads keys from standard input and draws on the error output."""
    return sys.stdin.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

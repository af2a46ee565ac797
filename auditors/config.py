"""The user's own configuration: servers and prices that every study may use."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from auditors.models.base import Effort
from auditors.models.endpoint import Endpoint, Prefill, WireProtocol
from auditors.prices import Price
from auditors.toml_lines import decode_toml, read_toml

CHOICES = {"protocol": WireProtocol, "prefill": Prefill, "effort": Effort}
"""What may be chosen in tables of endpoints."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A configuration file; a study file's own entries come first."""

    endpoints: dict[str, Endpoint] = {}
    """Servers that `compatible:<alias>/<model>` speaks to."""
    prices: dict[str, Price] = {}
    """US dollars for a million tokens, by model specification."""


def load_config() -> Config:
    """The file that `CC_TUI_CONFIG` names, or `cc-tui/config.toml` in `XDG_CONFIG_HOME`, which need not exist.

    Raises:
        InputError: the file is wrong, with the line, or the one that `CC_TUI_CONFIG` names is not there.
    """
    if chosen := os.environ.get("CC_TUI_CONFIG"):
        path = Path(chosen)
    else:
        home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        path = Path(home) / "cc-tui" / "config.toml"
        if not path.exists():
            return Config()
    text = read_toml(path, "configuration file")
    return decode_toml(text, path, Config, CHOICES)

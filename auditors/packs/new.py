"""A pack to begin from: a manifest and one commented preference."""

from __future__ import annotations

import json
from pathlib import Path

from auditors.packs.pack import MANIFEST
from store.errors import InputError, StoreError

_TEMPLATE = Path(__file__).with_name("template.toml")
_MANIFEST = """\
name = {name}
version = "0.1"
title = "<What the pack asks about>"
source = "<Who wrote the texts, and what they are modelled on>"
# canary = "…"        # the canary string of the material that the texts were made from

# Questions that are asked once and judged for several preferences: probe_set = "shared" in their files.
# [probe_sets]
# shared = ["…"]
"""


def new_pack(folder: Path) -> list[Path]:
    """Write a pack that can be loaded, and whose check names what is still to be written.

    Returns:
        Its files.

    Raises:
        InputError: the folder exists.
        StoreError: the disk refused.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already: give a new folder.")
    files = {
        folder / MANIFEST: _MANIFEST.format(name=json.dumps(folder.name)),
        folder / "my_preference.toml": _TEMPLATE.read_text("utf-8"),
    }
    try:
        folder.mkdir(parents=True)
        for path, text in files.items():
            path.write_text(text, "utf-8")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}.") from None
    return list(files)

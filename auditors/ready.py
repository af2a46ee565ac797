"""The studies that come with the program, by their names."""

from __future__ import annotations

from pathlib import Path

from store.errors import InputError

BUNDLED = Path(__file__).parent / "studies"


def ready_studies() -> list[str]:
    """Their names."""
    return sorted(path.stem for path in BUNDLED.glob("*.toml"))


def find_study(place: Path) -> Path:
    """The file that `place` names: a path, or a ready study where there is no such file.

    Raises:
        InputError: there is neither.
    """
    if place.exists():
        return place
    if str(place) in ready_studies():
        return BUNDLED / f"{place}.toml"
    raise InputError(
        f"There is no study file {place}: give the path of one, or a ready study ({', '.join(ready_studies())})."
    )

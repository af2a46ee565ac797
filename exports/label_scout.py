"""Labels for and from inspect_scout: validation sets, which hold one target for each transcript.

Its tables know no annotators, so what leaves is the people's final answer: an adjudicator's, else the one that all
gave; items on which people differ stay out. A CSV turns `false` into a truth value and leaves `not_sure` a text, a
blank target becomes NaN, and a comma in an id makes a list of it: facts and such ids leave as JSON.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, cast

import msgspec

from exports.label_rows import GOLD, Given
from store.errors import InputError
from store.records import RaterKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from exports.label_formats import Sheet

RATER = "inspect_scout"
"""Annotator of what comes in: the files name none."""


def write_scout(folder: Path, sheet: Sheet) -> None:
    """Write `<dimension>.csv` for numbers and `<dimension>.json` for all else."""
    folder.mkdir()
    for question in sheet.questions.values():
        answers = final_answers([row for row in sheet.given if row.dimension == question.dimension])
        if not answers:
            continue
        path = folder / f"{question.dimension}.csv"
        if question.kind in ("rubric", "scale") and not any("," in item for item in answers):
            out = io.StringIO(newline="")
            writer = csv.writer(out)
            writer.writerow(("id", "target"))
            writer.writerows(answers.items())
            path.write_text(out.getvalue(), encoding="utf-8", newline="")
        else:
            cases = [{"id": item, "target": value} for item, value in answers.items()]
            path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(cases), indent=1))


def final_answers(rows: list[Given]) -> dict[str, str]:
    """By item the adjudicated answer, else the one that all people gave."""
    gold = {row.item: row.value for row in rows if row.rater_kind == GOLD}
    said: dict[str, set[str]] = {}
    for row in rows:
        if row.rater_kind == RaterKind.HUMAN and row.value is not None:
            said.setdefault(row.item, set()).add(row.value)
    found = {item: gold.get(item, next(iter(v)) if len(v) == 1 else None) for item, v in said.items()}
    return {item: value for item, value in found.items() if value is not None}


def read_scout(path: Path) -> list[Given]:
    """Read validation sets: a CSV, YAML or JSON file, or a folder of them; a file is named after its dimension.

    Raises:
        InputError: a file is no validation set.
    """
    paths = [path]
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.suffix in (".csv", ".json", ".jsonl", ".yaml", ".yml"))
    return [row for one in paths for row in _read(one)]


def _read(path: Path) -> list[Given]:
    import yaml

    try:
        content = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            cases: Any = list(csv.DictReader(io.StringIO(content, newline="")))
        elif path.suffix == ".jsonl":
            cases = [msgspec.json.decode(line) for line in content.split("\n") if line.strip()]
        else:
            cases = msgspec.json.decode(content) if path.suffix == ".json" else yaml.safe_load(content)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    except (msgspec.DecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is no validation set: {error}.") from None
    found: list[Given] = []
    for case in _cases(path, cases):
        item, values = _values(path, case)
        found += [
            Given(item=item, dimension=dimension, rater=RATER, value=value)
            for dimension, value in values.items()
            # A blank target is none.
            if value != ""
        ]
    return found


def _cases(path: Path, cases: object) -> list[dict[str, Any]]:
    """The cases, those that are sorted by splits included."""
    if not isinstance(cases, list):
        raise InputError(f"{path} is no validation set: it should be a list of cases.")
    found: list[dict[str, Any]] = []
    for case in cast("list[Any]", cases):
        if not isinstance(case, dict):
            raise InputError(f"{path} is no validation set: {case!r} is no case.")
        one = cast("dict[str, Any]", case)
        found += _cases(path, one["cases"]) if "cases" in one else [one]
    return found


def _values(path: Path, case: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    item = case.get("id")
    if not isinstance(item, str) or not item:
        raise InputError(
            f"{path}: the case {item!r} is about several messages or none: give one transcript's id."
        )
    if isinstance(labels := case.get("labels"), dict):
        named: dict[str, Any] = cast("dict[str, Any]", labels)
    else:
        named = {name[7:]: value for name, value in case.items() if name.startswith("target_")}
        if "target" in case:
            named[path.stem] = case["target"]
    if not named:
        raise InputError(f"{path}: the case {item} has neither `target` nor `labels`.")
    return item, {name: _text(value) for name, value in named.items() if value is not None}


def _text(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )

"""Labels as one long table: a row for each answer of each rater, for R, pandas and crowd-sourcing libraries."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING

from exports.label_rows import GOLD, Given
from store.errors import InputError
from store.records import RaterKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COLUMNS = (
    "task",
    "worker",
    "label",
    "dimension",
    "rater_kind",
    "sample",
    "blind",
    "stratum",
    "inclusion_prob",
    "seconds",
    "created_at",
    "rubric_hash",
    "round",
    "note",
)
_ALSO = {
    "task": ("item_id", "item", "audit_id"),
    "worker": ("rater_id", "rater", "annotator"),
    "label": ("value", "answer"),
    "rater_kind": ("rater_type",),
    "inclusion_prob": ("pi",),
}
_KINDS = {"llm_judge": RaterKind.JUDGE, "llm": RaterKind.JUDGE, "adjudicated": GOLD, "": RaterKind.HUMAN}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(path: Path, rows: Sequence[Given]) -> None:
    """Write the long table; text that a spreadsheet would compute is written with an apostrophe before it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            [
                _text(row.item),
                _text(row.rater),
                "" if row.value is None else _text(row.value),
                _text(row.dimension),
                row.rater_kind,
                row.sample,
                str(row.blind).lower(),
                row.stratum,
                "" if row.inclusion_prob is None else repr(row.inclusion_prob),
                f"{row.seconds:g}",
                row.created_at.isoformat() if row.created_at else "",
                row.rubric_hash,
                row.round,
                _text(row.note),
            ]
        )
    path.write_text(out.getvalue(), encoding="utf-8", newline="")


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value


def read_csv(path: Path) -> list[Given]:
    """Read a long table: task, worker, label and dimension, under these names or `item_id`, `rater_id`, `value`.

    `rater_kind` is human, judge, rule or gold; an empty label is an answer that could not be read. `scale` may name
    the choices, as in `yes|no|maybe`.

    Raises:
        InputError: a column is missing, or a row is not as described.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = {name: _column(name, reader.fieldnames or ()) for name in COLUMNS}
    if missing := [name for name in ("task", "worker", "label", "dimension") if names[name] is None]:
        raise InputError(f"{path} has no column {missing[0]!r}: it needs task, worker, label and dimension.")
    found: list[Given] = []
    for row in reader:
        try:
            found.append(_row(row, names))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}.") from None
    return found


def _column(name: str, header: Sequence[str]) -> str | None:
    return next((column for column in (name, *_ALSO.get(name, ())) if column in header), None)


def _row(row: Mapping[str, str], names: Mapping[str, str | None]) -> Given:
    def get(name: str) -> str:
        column = names[name]
        value = (row.get(column) or "") if column else ""
        return value[1:] if value[:1] == "'" and value[1:].startswith(_FORMULA) else value

    kind = get("rater_kind")
    kind = str(_KINDS.get(kind, kind))
    if kind not in (*RaterKind, GOLD):
        raise ValueError(f"rater_kind is human, judge, rule or gold, not {kind!r}")
    if not get("task") or not get("worker") or not get("dimension"):
        raise ValueError("task, worker and dimension may not be empty")
    chance = float(get("inclusion_prob")) if get("inclusion_prob") else None
    if chance is not None and not 0 < chance <= 1:
        raise ValueError(f"inclusion_prob lies in (0, 1], not {chance:g}")
    scale = row.get("scale") or ""
    return Given(
        item=get("task"),
        dimension=get("dimension"),
        rater=get("worker"),
        rater_kind=kind,
        value=get("label") or None,
        choices=tuple(scale.split("|")) if "|" in scale else (),
        sample=int(get("sample") or 0),
        note=get("note"),
        seconds=float(get("seconds") or 0),
        blind=get("blind").lower() not in ("false", "0", "no"),
        created_at=datetime.fromisoformat(get("created_at")) if get("created_at") else None,
        rubric_hash=get("rubric_hash"),
        stratum=get("stratum"),
        inclusion_prob=chance,
        round=get("round"),
    )

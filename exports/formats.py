"""The formats that transcripts leave in."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from exports.outgoing import audit_ids, leaving
from store import layout
from store.errors import InputError, StoreError
from store.latest import latest_study
from store.parquet import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from stats.table import StudyTable
    from store.reader import Reader

    Write = Callable[[Reader, "Chosen", Path], int]


class Chosen(msgspec.Struct, frozen=True):
    """What is exported."""

    study_id: str
    study: str
    """Name of the study."""
    where: str | None
    """A condition in SQL on the columns of `audits`."""


class Format(msgspec.Struct, frozen=True):
    """A format."""

    name: str
    title: str
    noun: str
    """What it counts."""
    folder: bool
    """Whether it is a folder of files, or one file."""
    write: Write
    """Writes to a path that does not exist yet, and returns how many `noun`s."""


def _petri_v2(reader: Reader, chosen: Chosen, target: Path) -> int:
    from exports.petri_v2_writer import petri_v2

    target.mkdir()
    ids = audit_ids(reader, chosen.study_id, chosen.where)
    for audit in leaving(reader, chosen.study_id, ids):
        name, text = petri_v2(audit)
        (target / name).write_text(text, encoding="utf-8")
    return len(ids)


def _inspect(reader: Reader, chosen: Chosen, target: Path) -> int:
    from exports.inspect_writer import write_logs

    target.mkdir()
    ids = audit_ids(reader, chosen.study_id, chosen.where, order="condition_id, mode, launch_index, audit_id")
    for _ in write_logs(leaving(reader, chosen.study_id, ids), chosen.study, target):
        pass
    return len(ids)


def _scout(reader: Reader, chosen: Chosen, target: Path) -> int:
    from exports.scout import write_database

    target.mkdir()
    ids = audit_ids(reader, chosen.study_id, chosen.where)
    write_database(leaving(reader, chosen.study_id, ids), chosen.study, target)
    return len(ids)


def _training(reader: Reader, chosen: Chosen, target: Path) -> int:
    from exports.rows_out import training_line

    return _lines(reader, chosen, target, training_line)


def _jsonl(reader: Reader, chosen: Chosen, target: Path) -> int:
    from exports.rows_out import transcript_line

    return _lines(reader, chosen, target, transcript_line)


def _lines(reader: Reader, chosen: Chosen, target: Path, line: Callable[..., str]) -> int:
    ids = audit_ids(reader, chosen.study_id, chosen.where)
    with target.open("w", encoding="utf-8") as out:
        for audit in leaving(reader, chosen.study_id, ids):
            out.write(line(audit))
    return len(ids)


def _scores(reader: Reader, chosen: Chosen, target: Path) -> int:
    from exports.rows_out import SCORES
    from exports.tabular import to_csv

    of_study = f"study_id = {quoted(chosen.study_id)}"
    where = f" AND ({chosen.where})" if chosen.where else ""
    fitting = f"s.audit_id IN (SELECT audit_id FROM audits WHERE {of_study}{where})"
    table = reader.arrow(
        f"{SCORES} WHERE s.{of_study} AND {fitting} ORDER BY s.launch_index, s.audit_id, s.judge, "
        "s.judge_repeat, s.kind, s.dimension"
    )
    target.write_text(to_csv(table), encoding="utf-8", newline="")
    return table.num_rows


def _report(reader: Reader, chosen: Chosen, target: Path) -> int:
    from exports.report import report

    table = _table(reader, chosen)
    target.write_text(report(reader, table, chosen.study), encoding="utf-8")
    return len(table.cells)


def _figures(reader: Reader, chosen: Chosen, target: Path) -> int:
    from exports.figures import figures

    table = _table(reader, chosen)
    target.mkdir()
    for form in ("svg", "pdf", "png"):
        for name, content in figures(table, form):
            (target / f"{name}.{form}").write_bytes(content)
    return len(table.cells)


def _table(reader: Reader, chosen: Chosen) -> StudyTable:
    from stats.table import study_table

    if chosen.where:
        raise InputError("Estimates are made of a whole study: leave --where out.")
    return study_table(reader.arrow, chosen.study_id)


FORMATS = {
    one.name: one
    for one in (
        Format("petri", "transcripts of Petri 2: a JSON file for each audit", "transcript", True, _petri_v2),
        Format(
            "inspect", "logs of Inspect: a file for each condition and mode", "transcript", True, _inspect
        ),
        Format("scout", "transcript database of inspect_scout", "transcript", True, _scout),
        Format(
            "jsonl",
            "a line for each audit: its row, its messages, its judgements",
            "transcript",
            False,
            _jsonl,
        ),
        Format(
            "sft",
            "a line for each surviving conversation, to train on: messages only",
            "transcript",
            False,
            _training,
        ),
        Format("csv", "a row for each question to a judge", "row", False, _scores),
        Format("report", "estimates, figures and methods as one page of HTML", "estimate", False, _report),
        Format("figures", "grouped bars and forest plots as SVG, PDF and PNG", "estimate", True, _figures),
    )
}


def export(reader: Reader, form: str, target: Path, study: str | None, where: str | None) -> int:
    """Write a study in one of `FORMATS`: all of it, or nothing.

    Args:
        reader: the store.
        form: name of the format.
        target: file or folder, which must not exist.
        study: name or id; None for the latest.
        where: a condition in SQL on the columns of `audits`.

    Returns:
        How many of the format's `noun`.

    Raises:
        InputError: the target exists, or there is nothing to export.
        QueryError: the condition is wrong.
        StoreError: the disk refused.
    """
    with whole_target(target) as made:
        return FORMATS[form].write(reader, _chosen(reader, study, where), made)


@contextlib.contextmanager
def whole_target(target: Path) -> Generator[Path]:
    """A path to write a file or folder at; it becomes `target` when all is written, or never.

    Raises:
        InputError: the target exists.
        StoreError: the disk refused.
    """
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} exists already: give a new name.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that the rename stays on one disk.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            made = Path(folder) / "made"
            yield made
            made.rename(target)
        layout.fsync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}.") from None


def _chosen(reader: Reader, study: str | None, where: str | None) -> Chosen:
    """The study by id, or else the newest of that name."""
    study_id = latest_study(reader.arrow) if study is None else study
    rows = reader.rows(
        "SELECT study_id, name FROM studies WHERE study_id = ? OR name = ? "
        "ORDER BY study_id = ? DESC, created_at DESC LIMIT 1",
        [study_id, study_id, study_id],
    )
    if not rows:
        raise InputError(
            f'The store has no study {study!r}: `cc-tui sql "SELECT name FROM studies"` lists them.'
        )
    return Chosen(rows[0]["study_id"], rows[0]["name"], where)

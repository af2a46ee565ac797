"""Plain lines, for pipes, logs and terminals that cannot show the app."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from store.errors import InputError
from store.reader import Reader
from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from auditors.feed import Hello, Totals
    from stats.cell import Cell
    from stats.judges import JudgeQuality
    from stats.table import StudyTable
    from store.check import Report
    from store.lake import Compacted
    from store.records import Run
    from store.store import Store

PROGRESS_EVERY_S = 2.0
_CELL_WIDTH = 60
_MOST_SHARES = 5
STAGES = ["mode", "condition", "plan", "run", "valid", "judged", "labelled"]
"""How far the plan has come."""
_COLUMNS = [
    "preference, group",
    "n/plan",
    "estimate",
    "interval",
    "for new",
    "same, run again",
    "difference",
    "notes",
]
_OPTIONAL = ("for new", "difference", "same, run again", "notes")
"""Columns that a narrow terminal does without, the first of them first."""
_RIGHT = {"n/plan", "estimate", "plan", "run", "valid", "judged", "labelled", "rows", "files", "size"}
_WITHOUT_VALUE = ("refused", "unparsed", "missing", "error")
_RIGHT |= {"audits", "asked", *_WITHOUT_VALUE, "quotes", "nearly", "not found"}
_RIGHT |= {"count", "calls", "tokens in", "tokens out", "cost", "from", "to"}


def say(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def print_start(hello: Hello, store: str, *, judging: bool = False) -> None:
    """What is about to be run or judged, and where it goes."""
    kind = "SIMULATED " if hello.simulated else ""
    what = "transcripts to judge" if judging else "audits"
    say(f"{kind}study {hello.study}: {hello.planned} {what}, store {store}")


def print_progress(totals: Totals) -> None:
    """One line of progress."""
    invalid = {s: c for s, c in totals.by_status.items() if s != "ok"}
    parts = [
        f"{totals.elapsed_s:5.0f} s",
        f"done {totals.done}/{totals.planned}",
        f"running {totals.running}",
        f"judging {totals.judging}",
        *(f"{status} {count}" for status, count in sorted(invalid.items())),
        f"{(totals.input_tokens + totals.output_tokens) / 1000:.0f}k tokens",
        ("≥" if totals.unpriced_calls else "") + f"${totals.cost:.2f}",
    ]
    if totals.errors:
        parts.append("failed calls: " + " ".join(f"{kind} {n}" for kind, n in totals.errors.items()))
    if totals.eta_s is not None and totals.done < totals.planned:
        parts.append(f"about {totals.eta_s:.0f} s left")
    say("  ".join(parts))


def print_results(store: Store, run: Run) -> None:
    """The table of a run that has ended."""
    say("")
    reader = Reader(store)
    try:
        table = _table(reader, run.study_id)
        print_table(table)
        _print_seed_shares(table)
    except InputError as error:
        say(str(error))
    finally:
        reader.close()
    say("")
    if run.status == "interrupted":
        again = (
            "The same command, without --add-repeats,"
            if run.config.get("add_repeats")
            else "The same command"
        )
        say(f"Interrupted. {again} goes on from here; finished audits are not repeated.")
    elif run.status == "over_budget":
        say(f"{run.config['ended_because']} Raise --max-cost to go on.")
    say(f"Everything is in {store.root}: `cc-tui --store {store.root}` reads and labels it,")
    say(f'`cc-tui sql --store {store.root} "SELECT * FROM scores"` queries it.')


def _print_seed_shares(table: StudyTable) -> None:
    """How much of what varies is between the training seeds that were pooled."""
    pooled = [cell for cell in table.cells if cell.pooled and "seed" in cell.shares]
    for mode, group in dict.fromkeys((cell.mode, cell.group) for cell in pooled):
        cells = [cell for cell in pooled if (cell.mode, cell.group) == (mode, group)]
        shares = sorted(((cell.shares["seed"], cell.preference) for cell in cells), reverse=True)
        named = ", ".join(f"{preference} {share:.0%}" for share, preference in shares[:_MOST_SHARES])
        more = f", {len(shares) - _MOST_SHARES} more below" if len(shares) > _MOST_SHARES else ""
        say(
            f"{mode}, {group}: share of the variance that is between its {cells[0].seeds} training seeds: {named}{more}"
        )


def print_judging(store: Store, run: Run) -> None:
    """What a run that only judged has come to."""
    from stats.judges import judge_quality

    reader = Reader(store)
    try:
        judges = judge_quality(reader.arrow, run.study_id)
    finally:
        reader.close()
    say("")
    print_judges(judges)
    say("")
    if run.status == "interrupted":
        say("Interrupted. The same command goes on from here; nothing is asked twice.")
    elif run.status == "over_budget":
        say(f"{run.config['ended_because']} Raise --max-cost to go on.")
    elif sum(judge.error for judge in judges):
        say("Questions whose calls failed (error) are asked again by the same command.")


def print_judges(judges: Sequence[JudgeQuality]) -> None:
    """What judges left without a value, and how many of their quotes stand nowhere."""
    if not judges:
        say("Nothing has been judged yet.")
        return
    say("judges: questions by what came of them, and quotes that stand nowhere in the transcript")
    print_rows(
        ["judge", "kind", "audits", "asked", *_WITHOUT_VALUE, "quotes", "nearly", "not found", "prompt"],
        [
            [
                f"{judge.judge} *" if judge.reported and judge.current else judge.judge,
                judge.kind,
                *map(str, (judge.audits, judge.asked, judge.refused, judge.unparsed, judge.missing)),
                *map(str, (judge.error, judge.quotes, judge.quotes_nearly)),
                _not_found(judge),
                (judge.prompt_hash or "-") + ("" if judge.current else " (earlier)"),
            ]
            for judge in judges
        ],
        width=None,
        optional=("prompt", "nearly", "audits", "quotes"),
    )
    say("*: the judge that is reported. nearly: the quote differs from what was said, at times by a `not`.")
    if not all(judge.current for judge in judges):
        say(
            "earlier: asked with another rubric or prompt. It is kept in `judgements`, and no estimate mixes it in."
        )


def _not_found(judge: JudgeQuality) -> str:
    share = judge.not_found_share
    return "-" if share is None else f"{judge.quotes_not_found} ({share:.1%})"


def print_overview(store: Store) -> None:
    """What a store holds."""
    reader = Reader(store)
    try:
        found = reader.arrow(
            "SELECT s.name AS study, r.status, r.planned, count(a.audit_id) AS audits, r.started_at "
            "FROM runs r JOIN studies s USING (study_id) LEFT JOIN audits a USING (run_id) "
            "GROUP BY ALL ORDER BY r.started_at"
        )
    finally:
        reader.close()
    _print_query_table(found)
    say(f"store {store.root}; the app needs a terminal, `cc-tui stats` and `cc-tui sql` do not.")


def print_check(report: Report, *, as_json: bool) -> None:
    """What a check found, a line each."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report.to_dict()), indent=2).decode() + "\n")
        return
    for finding in report.mended:
        say(f"mended: {finding.where} {finding.problem}")
    for finding in report.findings:
        say(f"{finding.where} {finding.problem}: {finding.cure}")
    say(f"{len(report.findings)} findings" if report.findings else "The store is whole.")


def print_compacted(done: Compacted) -> None:
    """What a compaction did."""
    say(f"{done.segments} segments with {done.rows} rows became Parquet, {done.merged} ranges were merged")
    for sentence in done.damaged:
        say(sentence)


def print_query(store: Store, query: str, form: str) -> None:
    """The result of one SQL statement as `table`, `csv` or `json`."""
    from exports.tabular import to_csv, to_json

    reader = Reader(store)
    try:
        found = _interruptible(reader, query)
    finally:
        reader.close()
    if form == "table":
        _print_query_table(found)
    else:
        text = to_csv(found) if form == "csv" else to_json(found)
        sys.stdout.write(_for_terminal(text))


def latest_run(store: Store, study_id: str) -> Run:
    """The run of a study that was started last."""
    from store.records import Run
    from store.transcripts import read_records

    reader = Reader(store)
    try:
        return read_records(reader, Run, "study_id = ? ORDER BY started_at DESC LIMIT 1", [study_id])[0]
    finally:
        reader.close()


def statuses(store: Store, study_id: str) -> Counter[str]:
    """Audits of a study by status, those aside that are open."""
    from store.records import OPEN

    reader = Reader(store)
    try:
        query = "SELECT status, count(*) AS n FROM audits WHERE study_id = ? GROUP BY status"
        rows = reader.rows(query, [study_id])
    finally:
        reader.close()
    return Counter({row["status"]: row["n"] for row in rows if row["status"] not in OPEN})


def _interruptible(reader: Reader, query: str) -> pa.Table:
    """Run a query in a thread, so that Ctrl-C reaches it."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(reader.arrow, query)
        try:
            return running.result()
        except KeyboardInterrupt:
            reader.interrupt()
            raise


def _table(reader: Reader, study_id: str | None = None) -> StudyTable:
    from stats.table import study_table

    return study_table(reader.arrow, study_id)


def stage_rows(table: StudyTable) -> list[list[str]]:
    """The texts of the waterfall's rows, under `STAGES`."""
    return [
        [s.mode, s.condition, *map(str, (s.planned, s.run, s.valid, s.judged, s.labelled))]
        for s in table.waterfall
    ]


def measured(cell: Cell) -> str:
    """What a cell's number is, in words."""
    return "mean score, 1-10" if cell.measure == "mean" else "share of true, in %"


def print_table(table: StudyTable) -> None:
    """The waterfall and every estimate of a study."""
    mark = "SIMULATED DATA. " if table.simulated else ""
    say(f"{mark}How far the plan has come:")
    print_rows(STAGES, stage_rows(table), width=None)
    _print_validity(table)
    if steered := sum(stage.intervened for stage in table.waterfall):
        counted = "counted in" if table.rules.include_intervened else "kept out of"
        say(
            f"A person changed the course of {steered} of the valid audits: they are {counted} the estimates."
        )
    for mode in dict.fromkeys(cell.mode for cell in table.cells):
        cells = [cell for cell in table.cells if cell.mode == mode]
        notes: dict[str, str] = {}
        running = any(cell.live for cell in cells)
        columns = [*_COLUMNS[:3], "LIVE", *_COLUMNS[3:]] if running else _COLUMNS
        preference = ""
        say("")
        say(f"{mark}{mode}: {measured(cells[0])}; 95% intervals, judge {cells[0].judge or '-'}")
        rows: list[list[str]] = []
        for cell in cells:
            if cell.preference != preference:
                preference = cell.preference
                rows.append([preference] + [""] * (len(columns) - 1))
            row = cell_row(cell, notes)
            rows.append([*row[:3], _live(cell), *row[3:]] if running else row)
        print_rows(columns, rows, width=None, optional=_OPTIONAL)
        for text, letter in notes.items():
            say(f"  {letter}  {text}")
    say("")
    if any(cell.live for cell in table.cells):
        say(
            "LIVE: holds at every look while the plan runs, for the same models and prompts, on answers in the order "
            "of launch. The other intervals are provisional until the plan is complete."
        )
    say(
        "interval: how far the estimate may be off for new prompts (and new training seeds, where they are pooled)."
    )
    say(
        "same, run again: for the very same models and prompts. difference: from the matched control or the baseline."
    )


def _print_validity(table: StudyTable) -> None:
    """Why answers do not count, what the gate flagged, and what the realism approver decided, where there is any."""
    rows = [
        [found.mode, found.condition, what, reason, str(count)]
        for found in table.validity
        for what, counts in (
            ("not valid", found.lost),
            ("flagged", found.flags),
            ("not gated", {"": found.ungated} if found.ungated else {}),
            ("auditor's steps", found.moves),
        )
        for reason, count in counts.items()
    ]
    if not rows:
        return
    say("")
    say("What stands behind these counts (docs/audits.md):")
    print_rows(["mode", "condition", "what", "reason", "count"], rows, width=None)
    if checked := sum(found.checked for found in table.validity):
        shares = (
            f"{sum(found.moves.get(decision, 0) for found in table.validity) / checked:.0%} {decision}"
            for decision in ("rejected", "unchecked")
        )
        say(f"Of {checked} steps that the realism approver was asked about: {', '.join(shares)}.")


def cell_row(cell: Cell, notes: dict[str, str]) -> list[str]:
    """The texts of a cell's row; `notes` collects what its letters stand for."""
    return [
        f"  {cell.group} ({cell.seeds} seeds)" if cell.pooled else f"  {cell.group}",
        f"{cell.n}/{cell.planned}",
        "-" if cell.estimate is None else _number(cell, cell.estimate),
        _interval(cell, cell.low, cell.high),
        str(cell.scope or ""),
        _interval(cell, cell.runs_low, cell.runs_high),
        _difference(cell),
        " ".join(notes.setdefault(note, _letter(len(notes))) for note in _notes(cell)),
    ]


def _live(cell: Cell) -> str:
    """The interval that may be read before the plan is complete, with the number of answers it rests on."""
    live = cell.live
    if live is None:
        return ""
    return f"{_interval(cell, live.low, live.high)} n {live.n}" if live.low is not None else "-"


def _notes(cell: Cell) -> list[str]:
    reasons = [
        cell.live.reason if cell.live else "",
        cell.reason,
        cell.runs_reason,
        cell.contrast.reason if cell.contrast else "",
    ]
    return [*cell.flags, *dict.fromkeys(reason for reason in reasons if reason)]


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else str(index)


def _difference(cell: Cell) -> str:
    contrast = cell.contrast
    if contrast is None or contrast.difference is None:
        return "-" if contrast else ""
    text = f"{_number(cell, contrast.difference):>5} {_interval(cell, contrast.low, contrast.high)}"
    return text if contrast.q is None else f"{text} q={contrast.q:.2g}"


def _interval(cell: Cell, low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"[{_number(cell, low)}, {_number(cell, high)}]"


def _number(cell: Cell, value: float) -> str:
    return f"{value:.2f}" if cell.measure == "mean" else f"{100 * value:.1f}"


def _print_query_table(found: object) -> None:
    import pyarrow as pa

    from exports.tabular import to_cells

    assert isinstance(found, pa.Table)
    print_rows(found.column_names, to_cells(found), width=_CELL_WIDTH)
    say(f"({found.num_rows} {'row' if found.num_rows == 1 else 'rows'})")


def print_rows(
    names: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None, optional: Sequence[str] = ()
) -> None:
    """Print aligned columns; on a terminal that is too narrow, without `optional` ones, first to last."""
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for line in aligned(names, rows, room, width=width, optional=optional):
        say(line)


def aligned(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    room: int,
    *,
    width: int | None,
    optional: Sequence[str] = (),
) -> list[str]:
    """The lines of `print_rows` where there are `room` cells."""
    from rich.cells import cell_len

    table = [[_one_cell(cell, width) for cell in row] for row in (names, *rows)]
    widths = {name: max(cell_len(line[i]) for line in table) for i, name in enumerate(names)}
    left_out: list[str] = []
    for name in optional:
        if sum(widths.values()) + 2 * len(widths) - 2 > room:
            del widths[name]
            left_out.append(name)
    lines: list[str] = []
    for number, line in enumerate(table):
        cells: list[str] = []
        for name, cell in zip(names, line, strict=True):
            if name in widths:
                space = " " * (widths[name] - cell_len(cell))
                cells.append(space + cell if name in _RIGHT else cell + space)
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths.values()))
    if left_out:
        lines.append(f"(a wider terminal shows also: {', '.join(left_out)})")
    return lines


def _one_cell(text: str, width: int | None) -> str:
    """A table cell on one line; leading spaces stay."""
    return " " * (len(text) - len(text.lstrip(" "))) + one_line(text, width)


def _for_terminal(text: str) -> str:
    # Bytes that only a file sees stay exact; a terminal must not obey them.
    return printable(text) if sys.stdout.isatty() else text

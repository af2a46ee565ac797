"""`cc-tui stats`: the study's table under any rules, with agreement and corrections."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from cc_tui.exits import Exit
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stats.answers import Answers
    from stats.judge_report import JudgeReport
    from stats.table import StudyTable
    from store.reader import Reader


def add_stats(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui stats`."""
    command = commands.add_parser(
        "stats",
        help="print the study's table of estimates, the agreement of judges and people, and corrected numbers",
        description="The options that count answers in another way are views over the same judgements.",
    )
    command.add_argument(
        "--json", action="store_true", help="the stable form for scripts (docs/stats-json.md)"
    )
    command.add_argument("--markdown", action="store_true", help="tables that paste into a paper or an issue")
    command.add_argument("--study", metavar="ID", help="default: the latest")
    command.add_argument(
        "--preference", metavar="ID", help="only this preference, each number from all sides"
    )
    command.add_argument("--group", metavar="NAME", help="only this condition or recipe, the same")
    command.add_argument(
        "--mode", choices=("single_turn", "self_report", "behavioral"), help="with these: only this mode"
    )
    command.add_argument(
        "--not-sure",
        choices=("false", "exclude", "own"),
        default="false",
        help="what a verdict of not_sure counts as: false, nothing, or a class of its own; default: false",
    )
    command.add_argument(
        "--coherence",
        type=_threshold,
        default=20.0,
        metavar="N",
        help="drop answers that the judge finds less coherent, 0-100; default: 20",
    )
    command.add_argument(
        "--seeds", type=_count, metavar="N", help="only the first N training seeds of every recipe"
    )
    command.add_argument(
        "--dimensions",
        choices=("tagged", "all"),
        default="tagged",
        help="in audits, count a preference only on seed instructions meant for it, or on all; default: tagged",
    )
    command.add_argument(
        "--judge", metavar="SPEC", help="whose judgements count; default: the study's first judge"
    )
    command.add_argument(
        "--intervened", action="store_true", help="count audits whose course a person changed as well"
    )
    command.add_argument(
        "--unflagged",
        action="store_true",
        help="leave out audits that the validity gate flagged with a warning",
    )
    add_store(command)
    command.set_defaults(command=_stats)


def _stats(parsed: argparse.Namespace) -> int:
    from cc_tui.detail_lines import sections
    from cc_tui.judge_lines import print_report
    from cc_tui.plain import print_judges, print_rows, print_table, say
    from cc_tui.stats_markdown import print_markdown
    from stats.answers import read_answers
    from stats.details import study_details
    from stats.judge_report import judge_report
    from stats.judges import judge_quality
    from stats.rules import Rules
    from stats.table import table_of
    from store.mirror import open_store
    from store.reader import Reader

    rules = Rules(
        not_sure=parsed.not_sure,
        min_coherence=parsed.coherence,
        judge=parsed.judge,
        tag_matched=parsed.dimensions == "tagged",
        include_intervened=parsed.intervened,
        include_flagged=not parsed.unflagged,
        max_seeds=parsed.seeds,
    )
    reader = Reader(open_store(parsed.store))
    try:
        answers = read_answers(reader.arrow, parsed.study, rules)
        table = table_of(reader.arrow, answers, rules)
        report = judge_report(reader.arrow, answers, table)
        if parsed.preference or parsed.group:
            return _cells(parsed, reader, answers, table, report)
        judges = judge_quality(reader.arrow, table.study_id)
        details = study_details(reader.arrow, answers, rules)
    finally:
        reader.close()
    if parsed.json:
        parts = (table.to_dict(), report.to_dict(), details.to_dict())
        data: dict[str, Any] = {name: value for part in parts for name, value in part.items()}
        data["methods"] = {name: method for part in parts for name, method in part["methods"].items()}
        data["judges"] = [judge.to_dict() for judge in judges]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")
    elif parsed.markdown:
        print_markdown(table, details)
    else:
        print_table(table)
        for section in sections(details):
            say("")
            say(section.title)
            print_rows(section.columns, section.rows, width=48, optional=("mode", "means", "95%", "judges"))
            for note in section.notes:
                say(f"  {note}")
        say("")
        print_judges(judges)
        print_report(report)
    return Exit.DONE


def _cells(
    parsed: argparse.Namespace, reader: Reader, answers: Answers, table: StudyTable, report: JudgeReport
) -> int:
    from cc_tui.cell_lines import print_cells, write_cells

    cells = [
        cell
        for cell in table.cells
        # How often a judge is not sure is told beside the rate.
        if cell.measure != "not_sure"
        and parsed.mode in (None, cell.mode)
        and parsed.preference in (None, cell.preference)
        and parsed.group in (None, cell.group)
    ]
    if not cells:
        raise InputError("The study has no such cell: `cc-tui stats` lists its preferences and groups.")
    if parsed.json:
        write_cells(reader.arrow, answers, table, cells)
    else:
        print_cells(reader.arrow, answers, table, cells, report, markdown=parsed.markdown)
    return Exit.DONE


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("must be a number from 0 to 100")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)

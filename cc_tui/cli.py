"""The command line: parses, calls one function, and turns errors into one sentence and an exit code.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cc_tui.data_commands import add_data_group
from cc_tui.exchange_commands import add_exchange
from cc_tui.exits import Exit
from cc_tui.gate_commands import add_gate_command
from cc_tui.judge_commands import add_judge_command
from cc_tui.label_commands import add_label
from cc_tui.model_commands import add_model_commands
from cc_tui.pack_commands import add_pack_group
from cc_tui.plan_command import add_plan
from cc_tui.record_command import add_record_command
from cc_tui.run_commands import add_run_commands
from cc_tui.sql_commands import add_sql
from cc_tui.stats_command import add_stats
from cc_tui.store_commands import add_labels_group, add_store_group
from cc_tui.study_commands import add_study_group
from cc_tui.terminal import has_terminal
from cc_tui.train_commands import add_train_command
from cc_tui.weights_commands import add_weights_group
from store.errors import CcTuiError, InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence


DEFAULT_STORE = "cc-data"
_DEMO_SPEED = 4.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or a pipe that cannot show a character gets its escape.
            stream.reconfigure(errors="backslashreplace")
    try:
        parsed = _parser().parse_args(argv)
        code = parsed.command(parsed)
        sys.stdout.flush()
        return code
    except StoreError as error:
        return _fail(error, Exit.STORE_FAILED)
    except CcTuiError as error:
        return _fail(error, Exit.BAD_INPUT)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left; keep the interpreter from complaining about it at exit.
        _give_up_output()
        return Exit.DONE
    except OSError as error:
        _give_up_output()
        return _fail(
            InputError(f"{error.filename or 'The output'} cannot be used: {error.strerror}."), Exit.BAD_INPUT
        )


def _give_up_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: CcTuiError, code: Exit) -> int:
    from store.text import printable

    sys.stderr.write(f"cc-tui: {printable(str(error))}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cc-tui",
        description="Live, Petri-style audits of language models, with human labels and honest statistics.",
        epilog="Without a command: the app, on the store.",
    )
    parser.add_argument("--version", action="version", version=f"cc-tui {metadata.version('cc-tui')}")
    _add_store(parser)
    parser.set_defaults(command=_app)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = commands.add_parser("demo", help="run the bundled demonstration study on simulated models")
    _add_run_options(demo)
    demo.set_defaults(command=_demo, speed=_DEMO_SPEED)

    run = commands.add_parser("run", help="run a study, or go on with it")
    run.add_argument("study", type=Path, metavar="STUDY.toml", help="a file, or a ready study")
    _add_run_options(run)
    run.set_defaults(command=_run)

    _add_audit(commands)

    add_judge_command(commands, _add_store, count=_count, dollars=_dollars, speed=_speed)
    add_stats(commands, _add_store)
    add_plan(commands, _add_store)

    add_sql(commands, _add_store)

    add_label(commands, _add_store, _label)

    check = commands.add_parser(
        "check", help="prove the store whole, or say what is wrong and how to mend it"
    )
    check.add_argument("--repair", action="store_true", help="mend what can be mended; deletes no data")
    check.add_argument("--json", action="store_true", help="findings for scripts")
    _add_store(check)
    check.set_defaults(command=_check)

    add_run_commands(commands, _add_store)
    add_record_command(commands, _add_store)
    add_gate_command(commands, _add_store)
    add_labels_group(commands, _add_store)
    add_store_group(commands, _add_store)
    add_study_group(commands)
    add_pack_group(commands)
    add_exchange(commands, _add_store)
    add_data_group(commands, dollars=_dollars, speed=_speed)
    add_weights_group(commands)
    add_train_command(commands, _add_store, count=_count, dollars=_dollars, speed=_speed)

    add_model_commands(commands)
    return parser


def _add_store(parser: argparse.ArgumentParser) -> None:
    # A default here would overwrite a --store given before the command.
    default = DEFAULT_STORE if parser.prog == "cc-tui" else argparse.SUPPRESS
    parser.add_argument(
        "--store", metavar="DIR", default=default, help="a folder, or s3://bucket/prefix; default: ./cc-data"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--headless", action="store_true", help="print plain lines instead of opening the app"
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="how much faster simulated models answer, or `max`",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed in place of the study file's own")
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="name of the study in place of the file's own: another name, another study",
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="put simulated models in the place of all; the study's name gets -sim",
    )
    parser.add_argument(
        "--add-repeats",
        type=_count,
        default=0,
        metavar="N",
        help="let the plan grow by N repeats of everything, for good; each such command adds N more",
    )
    parser.add_argument(
        "--resume",
        choices=("restart", "continue"),
        default="restart",
        help="audits that a run left half-done: begin them anew (the default), or go on with them",
    )
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="go on although texts have changed or parts are gone; old results stay, apart (docs/running.md)",
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="run only the first N audits of the plan")
    parser.add_argument(
        "--max-cost",
        type=_dollars,
        metavar="USD",
        help="start nothing more once the study has cost this much, its earlier runs in the store included",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what is left to run, and what it will cost; asks nobody and writes nothing",
    )
    parser.add_argument("--json", action="store_true", help="with --dry-run: the estimate for scripts")
    parser.add_argument(
        "--cache",
        nargs="?",
        const="",
        metavar="DIR",
        help="answer auditor and judges from what the same audit was answered before (docs/costs.md)",
    )
    parser.add_argument(
        "--on",
        metavar="RAY",
        help="run audits on a Ray cluster: `ray` for this machine's, or `ray://HOST:PORT`",
    )
    _add_store(parser)


def _add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    audit = commands.add_parser(
        "audit",
        help="audit one model on one seed instruction",
        description="Audits one model on one seed instruction, in the app or as plain lines. The same command goes on "
        "where it stopped, and shows again what it has finished. Statistics and labels leave these audits aside "
        "while the store holds a study.",
    )
    audit.add_argument("--target", required=True, metavar="SPEC", help="the model under audit")
    audit.add_argument(
        "--auditor",
        default="human",
        metavar="SPEC",
        help="a model, `human` (in the app; the default), or `script:FILE` with a fixed list of moves",
    )
    audit.add_argument(
        "--judge", action="append", default=[], metavar="SPEC", help="a judge; may be given several times"
    )
    audit.add_argument(
        "--seed",
        metavar="TEXT|@FILE",
        help="the seed instruction: whom the auditor plays, and what it brings",
    )
    audit.add_argument("--mode", choices=("self_report", "behavioral"), default="self_report")
    audit.add_argument("--system", metavar="TEXT|@FILE", help="the target's own system prompt")
    audit.add_argument(
        "--dimension",
        action="extend",
        nargs="+",
        default=[],
        metavar="ID",
        help="what is judged; default: all of the pack",
    )
    audit.add_argument(
        "--pack",
        default="consciousness-cluster",
        metavar="NAME|DIR",
        help="the preference pack of the dimensions",
    )
    audit.add_argument("--repeats", type=_count, default=1, metavar="K", help="how many audits; default: 1")
    audit.add_argument(
        "--max-turns",
        type=_count,
        default=12,
        metavar="N",
        help="turns of the target after which an audit ends (a script is carried out whole); default: 12",
    )
    audit.add_argument(
        "--prefill", action="store_true", help="let an auditor model begin the target's replies for it"
    )
    audit.add_argument(
        "--realism",
        metavar="SPEC",
        help="a model that may turn down what an auditor model stages (docs/audits.md)",
    )
    audit.add_argument("--headless", action="store_true", help="print plain lines instead of opening the app")
    audit.add_argument(
        "--json", action="store_true", help="print messages and scores for scripts; runs without the app"
    )
    audit.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="how much faster simulated models answer, or `max`",
    )
    audit.add_argument(
        "--max-cost",
        type=_dollars,
        metavar="USD",
        help="start nothing more once the audits have cost this much",
    )
    _add_store(audit)
    audit.set_defaults(command=_audit)


def _speed(text: str) -> float | None:
    """None, which stands for no waiting at all, or a factor."""
    if text == "max":
        return None
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number above 0, or `max`")
    return value


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return value


def _dollars(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _demo(parsed: argparse.Namespace) -> int:
    from auditors.ready import BUNDLED
    from cc_tui import running

    return running.run(BUNDLED / "demo.toml", parsed, headless=parsed.headless or not has_terminal())


def _run(parsed: argparse.Namespace) -> int:
    from cc_tui import running

    return running.run(parsed.study, parsed, headless=parsed.headless or not has_terminal())


def _audit(parsed: argparse.Namespace) -> int:
    from cc_tui import audit_command

    return audit_command.audit(parsed, headless=parsed.headless or parsed.json or not has_terminal())


def _app(parsed: argparse.Namespace) -> int:
    from store.mirror import kept_pushed, open_store

    store = open_store(parsed.store)
    if not has_terminal():
        from cc_tui import plain

        plain.print_overview(store)
        return Exit.DONE
    from cc_tui import running

    with kept_pushed(parsed.store):
        return running.open_app(store, start="live" if running.live_runs(store) else "transcripts")


def _label(parsed: argparse.Namespace) -> int:
    from store.mirror import kept_pushed, open_store

    if not parsed.annotator:
        raise InputError("Labels are kept under a name: give --annotator NAME.")
    store = open_store(parsed.store)
    if not has_terminal():
        raise InputError("Labelling needs a terminal: run `cc-tui label` in one.")
    from cc_tui import running
    from store.round_progress import choose_round

    with kept_pushed(parsed.store):
        if parsed.round:
            # A wrong name is told before the screen is drawn.
            choose_round(store, parsed.annotator, parsed.round)
        return running.open_app(store, start="label", annotator=parsed.annotator, round_name=parsed.round)


def _check(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.check import check
    from store.mirror import open_store

    report = check(open_store(parsed.store), repair=parsed.repair)
    plain.print_check(report, as_json=parsed.json)
    return Exit.FINDINGS if report.findings else Exit.DONE

"""The command line: parses, calls one function, and turns errors into one sentence and an exit code.

Exit codes: 0 done, 1 finished with too many invalid audits, 2 bad usage or input, 3 the store could not be
written, 130 interrupted. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import os
import sys
from enum import IntEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import CcTuiError, InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_STORE = "cc-data"
_DEMO_SPEED = 4.0


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    INVALID_AUDITS = 1
    BAD_INPUT = 2
    STORE_FAILED = 3
    INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        parsed = _parser().parse_args(argv)
        return parsed.command(parsed)
    except StoreError as error:
        return _fail(error, Exit.STORE_FAILED)
    except CcTuiError as error:
        return _fail(error, Exit.BAD_INPUT)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE


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
    run.add_argument("study", type=Path, metavar="STUDY.toml")
    _add_run_options(run)
    run.set_defaults(command=_run)

    stats = commands.add_parser("stats", help="print the study's table of estimates")
    stats.add_argument("--json", action="store_true", help="the stable form for scripts (docs/stats-json.md)")
    _add_store(stats)
    stats.set_defaults(command=_stats)

    sql = commands.add_parser("sql", help="query the store, also while a study runs")
    sql.add_argument(
        "query", nargs="?", metavar="QUERY", help="one statement; from standard input if left out"
    )
    sql.add_argument("--format", choices=("table", "csv", "json"), default="table")
    _add_store(sql)
    sql.set_defaults(command=_sql)

    label = commands.add_parser("label", help="label transcripts, blind to the judges")
    label.add_argument("--annotator", required=True, metavar="NAME")
    _add_store(label)
    label.set_defaults(command=_label)

    store = commands.add_parser("store", help="move a store's data to and from an object store")
    actions = store.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, note in (
        ("push", "send what is not there yet, such as what a killed run left here"),
        ("pull", "bring down what is not here yet"),
    ):
        action = actions.add_parser(name, help=note)
        _add_store(action)
        action.set_defaults(command=_transfer, direction=name)

    models = commands.add_parser("models", help="show which models can be asked and which keys are set")
    models.set_defaults(command=_models)
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
    parser.add_argument("--limit", type=_count, metavar="N", help="run only the first N audits of the plan")
    parser.add_argument(
        "--max-cost", type=_dollars, metavar="USD", help="start no audit once this much is spent"
    )
    _add_store(parser)


def _speed(text: str) -> float | None:
    """None, which stands for no waiting at all, or a factor."""
    if text == "max":
        return None
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0, or `max`")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _dollars(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def has_terminal() -> bool:
    """Whether the app can be shown: it reads keys from standard input and draws on the error output."""
    return sys.stdin.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _demo(parsed: argparse.Namespace) -> int:
    from auditors.study import BUNDLED
    from cc_tui import running

    return running.run(BUNDLED / "demo.toml", parsed, headless=parsed.headless or not has_terminal())


def _run(parsed: argparse.Namespace) -> int:
    from cc_tui import running

    return running.run(parsed.study, parsed, headless=parsed.headless or not has_terminal())


def _app(parsed: argparse.Namespace) -> int:
    from store.mirror import kept_pushed, open_store

    store = open_store(parsed.store)
    if not has_terminal():
        from cc_tui import plain

        plain.print_overview(store)
        return Exit.DONE
    from cc_tui import running

    with kept_pushed(parsed.store):
        return running.open_app(store, start="live")


def _label(parsed: argparse.Namespace) -> int:
    from store.mirror import kept_pushed, open_store

    store = open_store(parsed.store)
    if not has_terminal():
        raise InputError("Labelling needs a terminal: run `cc-tui label` in one.")
    from cc_tui import running

    with kept_pushed(parsed.store):
        return running.open_app(store, start="label", annotator=parsed.annotator)


def _stats(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.mirror import open_store

    plain.print_stats(open_store(parsed.store), as_json=parsed.json)
    return Exit.DONE


def _sql(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.mirror import open_store

    store = open_store(parsed.store)
    query = parsed.query
    if query is None:
        if sys.stdin.isatty():
            raise InputError('Give a query: `cc-tui sql "SELECT …"`, or pipe one in.')
        query = sys.stdin.read()
    plain.print_query(store, query, parsed.format)
    return Exit.DONE


def _transfer(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.mirror import Mirror, is_url

    if not is_url(parsed.store):
        raise InputError(
            f"Give --store s3://bucket/prefix: nothing is moved for a folder such as {parsed.store}."
        )
    mirror = Mirror(parsed.store)
    if parsed.direction == "push" and not mirror.root.exists():
        raise InputError(f"This machine has written nothing for {parsed.store}: there is nothing to send.")
    done = mirror.push() if parsed.direction == "push" else mirror.pull()
    plain.say(
        f"{parsed.direction}: {done.files} files, {done.bytes / 1e6:.1f} MB; the local copy is {mirror.root}"
    )
    return Exit.DONE


def _models(parsed: argparse.Namespace) -> int:
    del parsed
    from cc_tui import plain

    plain.print_models()
    return Exit.DONE

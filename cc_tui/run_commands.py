"""The commands about runs: `cc-tui runs`, `cc-tui attach` and `cc-tui control`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit
from store.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from auditors.feed import Command, Totals
    from auditors.runs import RunSummary

_ANSWER_S = 30.0
_ACTIONS = {
    "status": "say how it stands",
    "pause": "start nothing more; what is under way goes on",
    "resume": "go on after a pause",
    "stop": "cancel what is under way and end; the next run goes on from there",
    "concurrency": "N: let so many audits run beside each other",
    "cancel": "AUDIT: stop one audit; its slot stays open for the next run",
}


_RUN = "a run's id or the end of it, or the name of its study; default: the live one"


def add_run_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui runs`, `cc-tui attach` and `cc-tui control`."""
    runs = commands.add_parser("runs", help="list the store's runs: state, done, cost, errors by kind")
    runs.add_argument("--json", action="store_true", help="for scripts")
    add_store(runs)
    runs.set_defaults(command=_runs)

    attach = commands.add_parser("attach", help="open the app on a live run")
    attach.add_argument("run", nargs="?", metavar="RUN", help=_RUN)
    add_store(attach)
    attach.set_defaults(command=_attach)

    control = commands.add_parser(
        "control",
        help="pause, resume or stop a live run, change its concurrency, cancel one audit",
        description="Steers a live run from the shell and says how it stands.",
        epilog="; ".join(f"{action}: {text}" for action, text in _ACTIONS.items()) + ".",
    )
    control.add_argument("action", choices=tuple(_ACTIONS), metavar="ACTION", help=", ".join(_ACTIONS))
    control.add_argument("value", nargs="?", metavar="VALUE", help="a number of audits, or an audit's id")
    control.add_argument("--run", metavar="RUN", help=_RUN)
    control.add_argument("--json", action="store_true", help="the run's totals for scripts")
    add_store(control)
    control.set_defaults(command=_control)


def _runs(parsed: argparse.Namespace) -> int:
    from auditors.runs import runs
    from cc_tui.plain import print_rows, say
    from store.mirror import open_store

    found = runs(open_store(parsed.store))
    if parsed.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
        return Exit.DONE
    names = ["run", "study", "started", "state", "done", "cost", "failed calls", "audits"]
    print_rows(
        names, [_row(run) for run in found], width=None, optional=("audits", "started", "failed calls")
    )
    for run in found:
        if run.reason:
            say(f"{run.run_id} {run.state}: {run.reason}")
    if any(run.simulated for run in found):
        say("SIMULATED runs are marked with *.")
    return Exit.DONE


def _row(run: RunSummary) -> list[str]:
    from cc_tui.state.format import money

    return [
        run.run_id,
        run.study + "*" * run.simulated,
        f"{run.started_at:%Y-%m-%d %H:%M}",
        run.state,
        f"{run.done}/{run.planned}",
        money(run.cost, at_least=run.unpriced_calls > 0),
        _counts(run.errors),
        _counts(run.audits),
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "-"


def _attach(parsed: argparse.Namespace) -> int:
    from auditors.runs import find_live
    from cc_tui import running
    from cc_tui.terminal import has_terminal
    from store.mirror import kept_pushed, open_store

    if not has_terminal():
        raise InputError(
            "The app needs a terminal: without one, `cc-tui control status` says how a run stands."
        )
    store = open_store(parsed.store)
    socket = Path(find_live(store, parsed.run).socket)
    with kept_pushed(parsed.store):
        return running.open_app(store, start="live", socket=socket)


def _control(parsed: argparse.Namespace) -> int:
    from auditors.runs import find_live
    from store.mirror import open_store

    command = _command(parsed.action, parsed.value)
    run = find_live(open_store(parsed.store), parsed.run)
    totals = asyncio.run(_told(Path(run.socket), command))
    _print(totals, stopped=parsed.action == "stop", as_json=parsed.json)
    return Exit.DONE


def _command(action: str, value: str | None) -> Command | None:
    """What is asked of the engine; None only to look."""
    from auditors.feed import MOST_AT_ONCE, Cancel, SetConcurrency, SetPaused, Stop

    if (action in ("concurrency", "cancel")) != (value is not None):
        raise InputError(
            f"`cc-tui control {action}` {'takes no value' if value else 'needs a value'}; {_ACTIONS[action]}."
        )
    if action == "concurrency":
        number = int(value) if value and value.isdecimal() and len(value) < 9 else 0
        if not 1 <= number <= MOST_AT_ONCE:
            raise InputError(f"The concurrency {value!r} is no whole number from 1 to {MOST_AT_ONCE:,}.")
        return SetConcurrency(number)
    if action == "cancel":
        return Cancel(value or "")
    return {"pause": SetPaused(True), "resume": SetPaused(False), "stop": Stop()}.get(action)


async def _told(socket: Path, command: Command | None) -> Totals:
    """The run's totals after it was told something."""
    from auditors.feed import Cancel, Ended, Focus, Focused, SetConcurrency, SetPaused, Steering, Stop, Totals
    from cc_tui.feed_client import FeedClient

    feed = FeedClient(socket)
    await feed.connect()
    if isinstance(command, Cancel):
        # Only readers of an audit are told why nothing became of a command about it.
        feed.send(Focus(command.audit_id))
    if command is not None:
        feed.send(command)
    known = not isinstance(command, Cancel)
    last: Totals | None = None
    seen = 0

    def obeyed(totals: Totals) -> bool:
        match command:
            case SetPaused(paused):
                return totals.paused is paused
            case SetConcurrency(concurrency):
                return totals.concurrency == concurrency or seen > 10
            case Stop():
                return False
            case _:
                return command is None or seen > 2

    try:
        async with asyncio.timeout(_ANSWER_S):
            async for frame in feed.frames():
                if isinstance(frame, Totals):
                    last, seen = frame, seen + 1
                    if obeyed(frame):
                        break
                elif isinstance(frame, Ended):
                    break
                elif isinstance(frame, Steering) and frame.error:
                    raise InputError(frame.error)
                known = known or isinstance(frame, Focused)
    except TimeoutError:
        raise InputError(
            f"The run does not answer within {_ANSWER_S:g} s; its machine may be overloaded."
        ) from None
    finally:
        await feed.aclose()
    if last is None:
        raise InputError("The run ended before it answered.")
    if isinstance(command, Cancel) and not known:
        raise InputError(f"The run has begun no audit {command.audit_id!r}.")
    return last


def _print(totals: Totals, *, stopped: bool, as_json: bool) -> None:
    from cc_tui.plain import print_progress, say

    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(totals), indent=2).decode() + "\n")
        return
    print_progress(totals)
    state = "stopped" if stopped else "paused" if totals.paused else "running"
    say(f"{state}; concurrency {totals.concurrency}, {totals.queued} wait")
    if totals.errors or totals.retries:
        say(f"calls failed: {_counts(totals.errors)}; attempts made again: {_counts(totals.retries)}")

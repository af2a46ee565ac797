"""`cc-tui audit`: ad-hoc audits, in the app or as plain lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from auditors.adhoc import ad_hoc_study, read_results
from auditors.feed import Added, Cards, Focused
from auditors.options import Options
from auditors.service import Job, open_engine, stop_on_signals
from auditors.study_file import HUMAN, SCRIPT
from cc_tui import plain, running
from cc_tui.exits import Exit
from store.errors import InputError
from store.mirror import local_folder
from store.text import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from auditors.adhoc import AuditResult
    from auditors.hub import Hub
    from auditors.study_file import StudyFile
    from store.records import Message, Run

_REASON_WIDTH = 60


def audit(parsed: argparse.Namespace, *, headless: bool) -> int:
    """Run ad-hoc audits; `parsed` holds the options of `cc-tui audit`."""
    if parsed.auditor == HUMAN and headless:
        raise InputError(
            "A person steers in a terminal only: run this in one without --headless, or give --auditor a model "
            f"or {SCRIPT}FILE."
        )
    job = Job(
        study_file=_study(parsed),
        store=str(parsed.store),
        options=Options(max_cost=parsed.max_cost, speed=parsed.speed),
    )
    if headless:
        return asyncio.run(_run_headless(job, as_json=parsed.json))
    return running.run_in_app(job)


def _study(parsed: argparse.Namespace) -> StudyFile:
    seed = parsed.seed
    if seed is None:
        if parsed.auditor != HUMAN and not parsed.auditor.startswith(SCRIPT):
            raise InputError(
                "An auditor model needs --seed: whom it plays, and what it brings to the target."
            )
        seed = f"(no seed instruction; steered by {parsed.auditor})"
    return ad_hoc_study(
        target=parsed.target,
        seed=_text(seed),
        auditor=parsed.auditor,
        judges=parsed.judge,
        mode=parsed.mode,
        system=None if parsed.system is None else _text(parsed.system),
        dimensions=parsed.dimension,
        pack=parsed.pack,
        repeats=parsed.repeats,
        max_turns=parsed.max_turns,
        prefill=parsed.prefill,
        realism=parsed.realism,
    )


def _text(given: str) -> str:
    """A text as it is given, or the content of the file that `@` names."""
    if not given.startswith("@"):
        return given
    path = Path(given[1:])
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path} cannot be read: {reason}.") from None


async def _run_headless(job: Job, *, as_json: bool) -> int:
    study = job.study()
    shown: set[str] = set()
    async with open_engine(study, job.store, job.options) as engine:
        stop_on_signals(engine)
        if not as_json:
            plain.print_start(engine.hub.hello, job.store)
        showing = None if as_json else asyncio.create_task(_show(engine.hub, shown))
        try:
            run = await engine.run()
        finally:
            if showing:
                showing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await showing
        totals = engine.hub.totals()
    results = await asyncio.to_thread(read_results, local_folder(job.store), study.study_id)
    if as_json:
        # Escapes of all that is not ASCII are exact for a program, and harmless to a terminal.
        sys.stdout.write(json.dumps([_as_json(result) for result in results], indent=2) + "\n")
    else:
        for result in results:
            if result.audit_id not in shown:
                _print_stored(result)
        plain.print_progress(totals)
        _print_ends(results, run, job)
    if run.status == "interrupted":
        return Exit.INTERRUPTED
    return Exit.INVALID_AUDITS if any(r.status in running.INVALID for r in results) else Exit.DONE


async def _show(hub: Hub, shown: set[str]) -> None:
    """Print every conversation as it goes, until the run ends."""
    try:
        async with asyncio.TaskGroup() as group:
            async for frames in hub.subscribe(hub.reader()):
                for frame in frames:
                    for card in frame.cards if isinstance(frame, Cards) else ():
                        if card.audit_id not in shown:
                            shown.add(card.audit_id)
                            group.create_task(_follow(hub, card.audit_id, card.repeat))
    except ExceptionGroup as failed:
        # Output that nobody reads any more, or a full disk: the command line knows both.
        raise failed.exceptions[0] from None


async def _follow(hub: Hub, audit_id: str, repeat: int) -> None:
    reader = hub.reader()
    hub.focus(reader, audit_id)
    async for frames in hub.subscribe(reader):
        for frame in frames:
            entries = frame.entries if isinstance(frame, Focused) else ()
            for entry in (frame.entry,) if isinstance(frame, Added) else entries:
                _print_turn(repeat, entry.author, entry.phase, entry.text, prefill=entry.prefill)


def _print_turn(repeat: int, author: str, phase: str, text: str, *, prefill: bool) -> None:
    # What a model wrote is indented, so that no line of it looks like one of ours.
    marks = f"{phase}, prefill" if prefill else phase
    body = textwrap.indent(text, "    ", lambda _: True)
    plain.say(f"#{repeat + 1} {author} ({marks}):\n{body}")


def _print_stored(result: AuditResult) -> None:
    plain.say(f"#{result.repeat + 1} is in the store already:")
    for message in result.messages:
        _print_turn(
            result.repeat, _author(message), message.phase, message.text, prefill=bool(message.prefill)
        )


def _author(message: Message) -> str:
    return message.role if message.role in ("system", "tool") else str(message.author)


def _print_ends(results: Sequence[AuditResult], run: Run, job: Job) -> None:
    say = plain.say
    for result in results:
        mark = "SIMULATED " if result.simulated else ""
        reason = f": {one_line(result.reason)}" if result.reason else ""
        say(f"{mark}#{result.repeat + 1} {result.status}{reason}  {result.audit_id}")
    judged = [(result.repeat, judgement) for result in results for judgement in result.judgements]
    if judged:
        say("")
        plain.print_rows(
            ["audit", "judge", "dimension", "score", "reason"],
            [
                [
                    f"#{repeat + 1}",
                    judgement.judge,
                    judgement.dimension,
                    str(judgement.status) if judgement.score is None else f"{judgement.score:g}",
                    judgement.justification,
                ]
                for repeat, judgement in judged
            ],
            width=_REASON_WIDTH,
            optional=("reason",),
        )
    say("")
    if run.status == "interrupted":
        say("Interrupted. The same command goes on from here; finished audits are not repeated.")
    elif run.status == "over_budget":
        say("The budget for these audits is used up. Raise --max-cost to go on.")
    say(f"Everything is in {job.store}: `cc-tui --store {job.store}` reads and labels it.")


def _as_json(result: AuditResult) -> dict[str, object]:
    return {**msgspec.to_builtins(result), "scores": result.scores}

"""Starts runs: in this process with plain lines, or as a process of its own with the app in front."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from auditors.models.cache import default_folder
from auditors.models.registry import Models
from auditors.options import Options, Resume
from auditors.ready import find_study
from auditors.revisions import identified, settled
from auditors.service import Job, live_runs, open_engine, stop_on_signals
from cc_tui import plain
from cc_tui.exits import Exit
from cc_tui.train_commands import train_for_study
from store.errors import InputError, StoreError
from store.layout import STORE_FILE
from store.mirror import local_folder
from store.reader import Reader
from store.records import AuditStatus
from store.store import Store

if TYPE_CHECKING:
    import argparse
    from collections import Counter

    from auditors.engine import Engine
    from auditors.study import Study
    from store.records import Run

_START_TIMEOUT_S = 60.0
_LINGER_S = 1.0
"""How long an engine whose run is over may take to end."""
INVALID = (AuditStatus.NO_TARGET_TURN, AuditStatus.INFRA_ERROR, AuditStatus.INVALID)
"""Statuses of audits that went wrong through no doing of the target."""


def run(study_file: Path, parsed: argparse.Namespace, *, headless: bool) -> int:
    """Run a study, go on with it, or only say what it will cost; `parsed` holds the options of `cc-tui run`."""
    study_file = find_study(study_file)
    if not parsed.simulate:
        train_for_study(study_file, parsed)
    job = Job(
        study_file=str(study_file),
        store=str(parsed.store),
        options=Options(
            limit=parsed.limit,
            max_cost=parsed.max_cost,
            speed=parsed.speed,
            on=parsed.on,
            cache=None if parsed.cache is None else str(Path(parsed.cache or default_folder()).absolute()),
            add_repeats=parsed.add_repeats,
            accept_changes=parsed.accept_changes,
            resume=Resume(parsed.resume),
        ),
        seed=parsed.seed,
        name=parsed.name,
        simulate=parsed.simulate,
    )
    return run_job(job, parsed, headless=headless)


def run_job(job: Job, parsed: argparse.Namespace, *, headless: bool) -> int:
    """Carry a job out, or only say what it will cost; `parsed` holds `dry_run` and `json`."""
    if parsed.dry_run:
        return _estimate(job, as_json=parsed.json)
    if parsed.json:
        raise InputError("--json goes with --dry-run; `cc-tui stats --json` prints a study's results.")
    if headless:
        return asyncio.run(_run_headless(job))
    return run_in_app(job)


def open_app(
    store: Store,
    *,
    start: str,
    annotator: str | None = None,
    socket: Path | None = None,
    round_name: str | None = None,
) -> int:
    """Show the app on a store, attached to the run that goes on there, if any."""
    from cc_tui.app import CcTuiApp

    if socket is None and (runs := live_runs(store)):
        socket = Path(runs[-1].socket)
    app = CcTuiApp(store, socket=socket, annotator=annotator, start=start, round_name=round_name)
    app.run()
    return app.return_code or Exit.DONE


def _estimate(job: Job, *, as_json: bool) -> int:
    from auditors.estimate import estimate
    from cc_tui.estimate_lines import print_estimate

    study = job.study()
    models = Models(study.endpoints, seed=study.file.seed, speed=1.0)
    for spec, place in study.models().items():
        try:
            # Without a key only a simulated model can be made.
            if models.endpoint(spec) is None:
                models.get(spec)
        except InputError as error:
            study.refuse(str(error), place)
    root = local_folder(job.store)
    reader = Reader(Store.open(root)) if (root / STORE_FILE).exists() else None
    try:
        if reader:
            study = settled(identified(study, reader), reader, job.options)
        found = estimate(study, reader, job.options)
    finally:
        if reader:
            reader.close()
    print_estimate(found, job.options.max_cost, as_json=as_json)
    return Exit.DONE


async def _run_headless(job: Job) -> int:
    study = job.study()
    async with open_engine(study, job.store, job.options) as engine:
        stop_on_signals(engine)
        plain.print_start(engine.hub.hello, job.store, judging=job.judging is not None)
        showing = asyncio.create_task(_show_progress(engine))
        try:
            finished = await engine.run()
        finally:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing
        plain.print_progress(engine.hub.totals())
        statuses = engine.hub.statuses
    code = _exit_code(finished, statuses, study.file.max_invalid_share)
    printed = plain.print_judging if job.judging else plain.print_results
    await asyncio.to_thread(printed, Store.open(local_folder(job.store)), finished)
    return code


async def _show_progress(engine: Engine) -> None:
    while True:
        await asyncio.sleep(plain.PROGRESS_EVERY_S)
        plain.print_progress(engine.hub.totals())


def _exit_code(finished: Run, statuses: Counter[str], max_invalid_share: float) -> Exit:
    if finished.status == "interrupted":
        return Exit.INTERRUPTED
    invalid = sum(statuses[status] for status in INVALID)
    if invalid > max_invalid_share * max(statuses.total(), 1):
        plain.say(
            f"{invalid} of {statuses.total()} audits are invalid, more than `max_invalid_share` allows."
        )
        return Exit.INVALID_AUDITS
    return Exit.DONE


def run_in_app(job: Job) -> int:
    """Run a job as a process of its own, with the app in front."""
    study = job.study()
    # The engine is no child of the terminal: the app may close, or crash, and the run goes on.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "auditors.service", msgspec.json.encode(job).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        assert process.stdout
        try:
            socket = process.stdout.readline().strip()
            if not socket:
                code = process.wait(_START_TIMEOUT_S)
                raise (StoreError if code == Exit.STORE_FAILED else InputError)(_told(errors))
            store = Store.open(local_folder(job.store))
            code = open_app(store, start="live", socket=Path(socket))
        except KeyboardInterrupt:
            # The app handles the key itself, so this is before it was up.
            process.terminate()
            process.wait(_START_TIMEOUT_S)
            raise
        return _after_app(study, store, process, code, errors)


def _after_app(study: Study, store: Store, process: subprocess.Popen[str], code: int, errors: IO[str]) -> int:
    if process.poll() is None and code == Exit.INTERRUPTED:
        process.wait(_START_TIMEOUT_S)
    if process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LINGER_S)
    if process.poll() is None:
        plain.say("The run goes on. `cc-tui` shows it again; `cc-tui stats` prints its numbers so far.")
        return code
    study_id = study.study_id if study.rejudging else _study_id(store, study)
    run = plain.latest_run(store, study_id)
    (plain.print_judging if study.rejudging else plain.print_results)(store, run)
    if process.returncode != 0:
        plain.say(f"The run broke off: {_told(errors)}")
        plain.say("`cc-tui run` goes on from here (without --add-repeats, which would add again).")
        return Exit.STORE_FAILED
    if run.status == "interrupted":
        return Exit.INTERRUPTED
    statuses = plain.statuses(store, run.study_id)
    return code or _exit_code(run, statuses, study.file.max_invalid_share)


def _study_id(store: Store, study: Study) -> str:
    reader = Reader(store)
    try:
        return identified(study, reader).study_id
    finally:
        reader.close()


def _told(errors: IO[str]) -> str:
    """What the engine said last before it ended."""
    errors.seek(0)
    lines = errors.read().strip().splitlines()
    return lines[-1] if lines else "the engine ended without a word."

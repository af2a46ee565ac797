"""A run as a process of its own: the engine, and its feed on a Unix socket.

`python -m auditors.service JOB` runs a study for whoever watches its feed; `JOB` is a `Job` as JSON. When the feed
is open it prints one line, the path of the socket; a wrong input ends it with one sentence on the error output and
exit code 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from auditors.engine import Engine, LiveRun
from auditors.fanout import Fleet
from auditors.feed import Focus, SetConcurrency, SetPaused, Stop, decode_command, encode
from auditors.models.cache import open_folder
from auditors.models.registry import Models
from auditors.options import Options
from auditors.order import Order
from auditors.rejudge import load_order
from auditors.study import load_study, study_of
from auditors.study_file import StudyFile
from store.errors import CcTuiError, InputError, StoreError
from store.layout import JOURNAL
from store.mirror import Mirror, is_url
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from auditors.study import Study
    from store.records import Run

_FRAME_LIMIT = 1 << 20
_LONGEST_SOCKET = 100


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a service process is asked to run."""

    study_file: str | StudyFile = ""
    """Path of a study file, or a study that stands in none."""
    judging: Order | None = None
    """In place of a study file: what of the store is judged."""
    store: str
    """A folder or a URL."""
    options: Options
    seed: int | None = None
    """Seed in place of the study file's own."""
    name: str | None = None
    """Name in place of the study file's own."""
    simulate: bool = False
    """Whether simulated models take the place of all."""

    def study(self) -> Study:
        """The resolved study."""
        if self.judging:
            return load_order(self.store, self.judging)
        if isinstance(self.study_file, StudyFile):
            return study_of(self.study_file)
        return load_study(Path(self.study_file), seed=self.seed, name=self.name, simulate=self.simulate)


@contextlib.asynccontextmanager
async def open_engine(
    study: Study, store_place: Path | str, options: Options, *, check: bool = True
) -> AsyncGenerator[Engine]:
    """An engine whose models can be reached, with its feed open; the store is made only after the check.

    Args:
        study: what is run.
        store_place: a folder, or the URL of an object store, to which all is sent as it is written.
        options: of this execution.
        check: ask every model's endpoint whether it can be reached.

    Raises:
        InputError: a model or the cluster cannot be reached, or the store cannot be opened.
        StoreError: at the end, not everything could be sent to the object store.
    """
    speed = math.inf if options.speed is None else options.speed
    async with contextlib.AsyncExitStack() as closing:
        models = Models(study.endpoints, seed=study.file.seed, speed=speed)
        closing.push_async_callback(models.aclose)
        # What is wrong with the file is said before any endpoint is asked.
        for ask in (partial(asyncio.to_thread, models.get), *([models.check] if check else [])):
            for spec, place in study.models().items():
                try:
                    await ask(spec)
                except InputError as error:
                    study.refuse(str(error), place)
        if options.cache:
            open_folder(options.cache)
        mirror = Mirror(str(store_place)) if is_url(store_place) else None
        fleet = None
        if options.on is not None:
            if mirror:
                raise InputError(
                    "--on needs a store in a folder that every machine sees, not in an object store."
                )
            fleet = await Fleet.connect(options.on)
            closing.callback(fleet.disconnect)
        if mirror:
            await asyncio.to_thread(mirror.pull)
        store = await asyncio.to_thread(Store.create, mirror.root if mirror else store_place)
        engine = await asyncio.to_thread(Engine, store, study, models, options, fleet)
        socket = _socket_path(engine.run_id)
        closing.callback(socket.unlink, missing_ok=True)
        server = await asyncio.start_unix_server(
            lambda reader, writer: _client(engine, reader, writer), socket, limit=_FRAME_LIMIT
        )
        closing.callback(server.close)
        os.chmod(socket, 0o600)
        engine.announce(socket)
        if mirror:
            mirror.start()
            closing.push_async_callback(asyncio.to_thread, mirror.finish)
        yield engine


def live_runs(store: Store) -> list[LiveRun]:
    """Runs that go on in a store on this machine right now."""
    found: list[LiveRun] = []
    for path in sorted((store.root / JOURNAL).glob(".*.lock")):
        with path.open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with contextlib.suppress(msgspec.DecodeError):
                    run = msgspec.json.decode(handle.read(), type=LiveRun)
                    if Path(run.socket).exists():
                        found.append(run)
    return found


async def _client(engine: Engine, lines: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reader = engine.hub.reader()

    async def obey() -> None:
        while line := await lines.readline():
            match decode_command(line):
                case Focus(audit_id):
                    engine.hub.focus(reader, audit_id)
                case SetPaused(paused):
                    engine.set_paused(paused)
                case SetConcurrency(concurrency):
                    engine.set_concurrency(concurrency)
                case Stop():
                    engine.stop()
                case command:
                    await engine.steer(command)

    commands = asyncio.create_task(obey())
    try:
        async for frames in engine.hub.subscribe(reader):
            writer.write(b"".join(map(encode, frames)))
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        commands.cancel()
        # A disk that refuses a person's note refuses the audits too, and ends the run.
        broken = (ConnectionError, ValueError, msgspec.DecodeError, CcTuiError)
        with contextlib.suppress(asyncio.CancelledError, *broken):
            await commands
        writer.close()


def _socket_path(run_id: str) -> Path:
    # A Unix socket's path may have about 100 bytes, so it cannot lie in the store.
    folder = Path(tempfile.gettempdir()) / f"cc-tui-{os.getuid()}"
    path = folder / f"{run_id}.sock"
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise InputError(
            f"The path {path} is too long for a socket: set TMPDIR to a folder with a shorter one."
        )
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be used ({error.strerror}): set TMPDIR to a folder of your own."
        ) from None
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder} belongs to somebody else: set TMPDIR to a folder of your own.")
    return path


def stop_on_signals(engine: Engine) -> None:
    """End the run in good order on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, engine.stop)


async def _serve(job: Job) -> Run:
    async with open_engine(job.study(), job.store, job.options) as engine:
        stop_on_signals(engine)
        running = asyncio.create_task(engine.run())
        sys.stdout.write(f"{_socket_path(engine.run_id)}\n")
        sys.stdout.flush()
        return await running


def main(argument: str) -> int:
    """Run a study as a process of its own."""
    try:
        asyncio.run(_serve(msgspec.json.decode(argument, type=Job)))
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except CcTuiError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""A run's audits on a Ray cluster: several processes, on one machine or many, that write into one store.

The engine keeps the plan, the budget and the study's lock, and hands out one audit at a time; each process of the
fleet has a journal of its own and tells what happens. What a process that dies has written stays valid, and the
engine reads in the store how far its audits had come.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any

from auditors.feed import Added, Drafted
from auditors.process import Done, Judged, News, Process
from auditors.worker import WorkerDiedError
from store.errors import CcTuiError, InputError, StoreError
from store.layout import JOURNAL
from store.lease import writer_lives
from store.records import CallRole, ModelCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

    from auditors.hub import Watch
    from auditors.options import Options
    from auditors.plan import Judging
    from auditors.study import Study
    from store.records import Audit, AuditStatus, Message

_ADDRESS = re.compile(r"ray(://(?P<host>[^\s/:]+|\[[^\s/]+\]):(?P<port>\d{1,5}))?")
_REACH_S = 3.0
_START_S = 10.0
_GONE_S = 30.0
_CLOSE_S = 20.0
_DEATHS_PER_PROCESS = 3


class Member:
    """A process of the fleet as the engine sees it."""

    def __init__(self, actor: Any, journal: Path, pid: int) -> None:
        self.actor = actor
        self.journal = journal
        self.pid = pid
        self.alive = True
        self._tasks: dict[str, tuple[Watch, asyncio.Future[AuditStatus]]] = {}

    @contextlib.contextmanager
    def expecting(self, audit: Audit, watch: Watch) -> Generator[asyncio.Future[AuditStatus]]:
        """How a task will end; `watch` sees it until then."""
        result: asyncio.Future[AuditStatus] = asyncio.get_running_loop().create_future()
        self._tasks[audit.audit_id] = (watch, result)
        try:
            yield result
        finally:
            del self._tasks[audit.audit_id]

    def tell(self, news: News) -> None:
        """Pass on what happened to an audit."""
        if news.audit_id not in self._tasks:
            return
        watch, result = self._tasks[news.audit_id]
        match news:
            case Drafted(_, author, text):
                watch.draft(CallRole(author), text)
            case Added(_, entry):
                watch.entry(entry)
            case ModelCall():
                watch.called(news)
            case Judged():
                watch.judging()
            case Done(_, status, failure):
                if failure is None:
                    result.set_result(status)
                else:
                    result.set_exception(failure)

    def fail(self, failure: Exception) -> None:
        """End every task with a failure; nothing more is to be expected of this process."""
        self.alive = False
        for _, result in self._tasks.values():
            if not result.done():
                result.set_exception(failure)


class Fleet:
    """Carries out audits in several processes; made by `Fleet.connect`.

    Args:
        ray: the Ray package, connected to a cluster.
        ours: whether the connection was made for this fleet.
    """

    def __init__(self, ray: Any, *, ours: bool) -> None:
        self._ray = ray
        self._ours = ours
        self._seats: asyncio.Queue[Member | Exception] = asyncio.Queue()
        self._keepers: dict[asyncio.Task[None], Member | None] = {}
        self._deaths = self._bearable = 0
        self._closing = False

    @classmethod
    async def connect(cls, address: str) -> Fleet:
        """Reach a Ray cluster.

        Args:
            address: `ray` for the cluster that this machine belongs to, or else one of its own; or
                `ray://HOST:PORT` for another one.

        Raises:
            InputError: the address is wrong or cannot be reached, or Ray is not installed.
        """
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise InputError(f"--on {address}: write `ray` or `ray://HOST:PORT`.")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A cluster that is lost shall not be replaced by one that Ray starts here by itself.
        os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise InputError(f"--on {address} needs Ray: install cc-tui[ray].") from None
        options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        if match["host"]:
            await _reach(address, match["host"].strip("[]"), int(match["port"]))
            options = {"address": address}
            logging.getLogger("ray").setLevel(logging.ERROR)
        elif ray.is_initialized():
            return cls(ray, ours=False)
        try:
            ray.init(**options)
        except Exception as error:
            raise InputError(
                f"--on {address}: Ray does not start ({_line(error)}); a cluster that asks for a token wants "
                "RAY_AUTH_MODE=token here too."
            ) from error
        return cls(ray, ours=True)

    @property
    def members(self) -> list[Member]:
        """The processes that are at work."""
        return [member for member in self._keepers.values() if member]

    async def open(self, study: Study, root: Path, run_id: str, options: Options) -> None:
        """Start the processes, one for each CPU, and share the study's concurrency out among them."""
        concurrency = study.file.concurrency
        resources = await asyncio.to_thread(self._ray.cluster_resources)
        size = max(min(int(resources.get("CPU", 1)), concurrency), 1)
        self._bearable = _DEATHS_PER_PROCESS * size
        actor = self._ray.remote(Process).options(num_cpus=1)
        opened: list[asyncio.Future[None]] = []
        for index in range(size):
            seats = concurrency // size + (index < concurrency % size)
            opened.append(asyncio.get_running_loop().create_future())
            keeping = self._keep(lambda: actor.remote(study, root, run_id, options), root, seats, opened[-1])
            self._keepers[asyncio.create_task(keeping)] = None
        # On a busy cluster some processes start late; the others need not wait for them.
        await asyncio.wait(opened, timeout=_START_S)

    async def audit(self, audit: Audit, watch: Watch) -> AuditStatus:
        """Have an audit run and judged.

        Raises:
            WorkerDiedError: its process is gone.
            StoreError: the disk refused.
            InputError: the cluster is lost, or too many processes have died.
        """
        async with self._seat() as member:
            return await self._ask(member, audit, watch, member.actor.audit, audit)

    async def judge(self, audit: Audit, transcript: list[Message], owed: list[Judging], watch: Watch) -> None:
        """Have a stored audit judged; raises as `audit`."""
        async with self._seat() as member:
            await self._ask(member, audit, watch, member.actor.judge, audit, transcript, owed)

    async def close(self) -> None:
        """Cancel what runs, in good order."""
        self._closing = True
        for keeper, member in self._keepers.items():
            if member:
                with contextlib.suppress(ConnectionError):
                    member.actor.close.remote()
            else:
                keeper.cancel()
        if self._keepers:
            _, late = await asyncio.wait(self._keepers, timeout=_CLOSE_S)
            for keeper in late:
                keeper.cancel()

    def disconnect(self) -> None:
        """Leave the cluster; one that was started for this fleet ends."""
        if self._ours:
            self._ray.shutdown()

    @contextlib.asynccontextmanager
    async def _seat(self) -> AsyncGenerator[Member]:
        while True:
            seat = await self._seats.get()
            if isinstance(seat, Exception):
                self._seats.put_nowait(seat)
                raise seat
            if seat.alive:
                break
        try:
            yield seat
        finally:
            self._seats.put_nowait(seat)

    async def _ask(self, member: Member, audit: Audit, watch: Watch, method: Any, *args: Any) -> AuditStatus:
        with member.expecting(audit, watch) as result:
            try:
                await method.remote(*args)
            except self._ray.exceptions.RayActorError:
                pass  # The keeper sees it too, and ends the task when the process is known to be gone.
            except ConnectionError as error:
                raise _lost(error) from None
            return await result

    async def _keep(
        self, hire: Callable[[], Any], root: Path, seats: int, opened: asyncio.Future[None]
    ) -> None:
        """Keep one place of the fleet filled until the run ends or too many processes have died."""
        try:
            while not self._closing:
                try:
                    await self._employ(hire, root, seats, opened)
                    return
                except WorkerDiedError as error:
                    self._deaths += 1
                    if self._deaths > self._bearable:
                        raise InputError(
                            f"{self._deaths} Ray workers died ({error}): see Ray's logs, then run again; "
                            "what is finished is not repeated."
                        ) from None
        except Exception as error:  # noqa: BLE001 - whoever wants a seat raises it
            self._seats.put_nowait(error)
        finally:
            if not opened.done():
                opened.set_result(None)

    async def _employ(
        self, hire: Callable[[], Any], root: Path, seats: int, opened: asyncio.Future[None]
    ) -> None:
        """Let one process work until it is closed; raises `WorkerDiedError` if it dies before."""
        actor = member = None
        task = asyncio.current_task()
        assert task
        try:
            actor = hire()
            writer, pid = await actor.open.remote()
            member = Member(actor, root / JOURNAL / writer, pid)
            if not member.journal.is_dir():
                raise InputError(
                    f"A Ray worker's {root} is another folder than the one here: "
                    "give a --store that every machine of the cluster shares under one path."
                )
            self._keepers[task] = member
            for _ in range(seats):
                self._seats.put_nowait(member)
            if not opened.done():
                opened.set_result(None)
            while batch := await actor.news.remote():
                for news in batch:
                    member.tell(news)
        except Exception as error:  # noqa: BLE001 - translated for those who wait
            self._kill(actor)
            failure = await self._failure(error, member)
            if member:
                member.fail(failure)
                self._keepers[task] = None
            raise failure from None
        finally:
            self._kill(actor)

    def _kill(self, actor: Any) -> None:
        # Best effort: it may be dead, never have begun, or be out of reach.
        with contextlib.suppress(Exception):
            self._ray.kill(actor)

    async def _failure(self, error: Exception, member: Member | None) -> Exception:
        ray: Any = self._ray.exceptions
        if isinstance(error, ray.RayActorError):
            # A process that is out of Ray's reach may still write; its audits are settled when it cannot.
            deadline = time.monotonic() + _GONE_S
            while member and await asyncio.to_thread(writer_lives, member.journal):
                if time.monotonic() > deadline:
                    return StoreError(
                        f"The Ray worker with process id {member.pid} is out of reach and still writes "
                        f"{member.journal}: end it, then run again."
                    )
                await asyncio.sleep(0.05)
            return WorkerDiedError(_line(error))
        if isinstance(error, ray.RayTaskError):
            cause: object = getattr(error, "cause", None)
            return cause if isinstance(cause, CcTuiError) else error
        if isinstance(error, (ray.RayError, ConnectionError)):
            return _lost(error)
        return error


async def _reach(address: str, host: str, port: int) -> None:
    # Ray itself would try for half a minute.
    try:
        async with asyncio.timeout(_REACH_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, OverflowError) as error:
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number).lower() if number else f"no answer in {_REACH_S:g} s"
        raise InputError(
            f"--on {address}: nothing can be reached there ({why}); check that the cluster is up and its "
            "Ray client server listens on that port."
        ) from None
    writer.close()


def _lost(error: Exception) -> InputError:
    return InputError(
        f"The Ray cluster is lost ({_line(error)}): run again when it is back; what is finished is not repeated."
    )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")

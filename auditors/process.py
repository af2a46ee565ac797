"""One process of a fan-out: a worker with a journal of its own, which tells the engine's process what happens.

Everything here runs where the cluster puts it; `auditors.fanout` is the other end.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.feed import Added, Drafted, Entry
from auditors.models.cache import open_folder
from auditors.models.registry import Models
from auditors.worker import SEGMENT_S, Worker
from store.records import AuditStatus, CallRole, ModelCall
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from auditors.feed import Steering
    from auditors.options import Options
    from auditors.plan import Judging
    from auditors.study import Study
    from store.journal import Journal
    from store.records import Audit, Message

_LINGER_S = 0.1


class Judged(msgspec.Struct, frozen=True):
    """The audit is over and judges read it."""

    audit_id: str


class Done(msgspec.Struct, frozen=True):
    """A task has ended: with the audit's status, or with what went wrong."""

    audit_id: str
    status: AuditStatus
    failure: Exception | None


News = Drafted | Added | ModelCall | Judged | Done


class Process:
    """One process of the fleet; Ray calls its methods.

    Args:
        study: what is run.
        root: the store's folder.
        run_id: the run that it works for.
        options: of the run.
    """

    def __init__(self, study: Study, root: Path, run_id: str, options: Options) -> None:
        self._study = study
        self._root = root
        self._run_id = run_id
        self._models = Models(
            study.endpoints,
            seed=study.file.seed,
            speed=math.inf if options.speed is None else options.speed,
        )
        self._options = options
        self._worker: Worker | None = None
        self._journal: Journal | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news: dict[str, list[News]] = {}
        self._told = asyncio.Event()
        self._closing = self._closed = False

    async def open(self) -> tuple[str, int]:
        """Open a journal; its writer's name, and the id of this process."""
        for spec in self._study.models():
            self._models.get(spec)
        store = Store.open(self._root)
        self._journal = await asyncio.to_thread(
            store.journal, self._study.study_id, self._run_id, segment_seconds=SEGMENT_S
        )
        if self._options.cache:
            open_folder(self._options.cache)
        self._worker = Worker(self._study, self._models, self._journal, self._options.cache)
        return self._journal.writer, os.getpid()

    async def audit(self, audit: Audit) -> None:
        """Begin an audit; `news` tells the rest."""
        assert self._worker
        self._begin(audit, self._worker.audit(audit, _Telling(self, audit.audit_id)))

    async def judge(self, audit: Audit, transcript: list[Message], owed: list[Judging]) -> None:
        """Begin to judge a stored audit; `news` tells the rest."""
        assert self._worker
        watcher = _Telling(self, audit.audit_id)
        self._begin(audit, self._worker.judge(audit, transcript, owed, watcher))

    async def news(self) -> list[News]:
        """What has happened since the last call, at most ten times a second; nothing at all once it is closed."""
        await self._told.wait()
        await asyncio.sleep(_LINGER_S)
        if not self._closed:
            self._told.clear()
        news = [one for of_audit in self._news.values() for one in of_audit]
        self._news = {}
        return news

    async def close(self) -> None:
        """Cancel what runs, close the journal, and let `news` come to its end."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._journal:
            await asyncio.to_thread(self._journal.close)
        await self._models.aclose()
        self._closed = True
        self._told.set()

    def tell(self, news: News) -> None:
        """Keep something for the next call of `news`; pieces of one draft are joined."""
        of_audit = self._news.setdefault(news.audit_id, [])
        last = of_audit[-1] if of_audit else None
        if isinstance(news, Drafted) and isinstance(last, Drafted) and last.author == news.author:
            of_audit[-1] = Drafted(news.audit_id, news.author, last.text + news.text)
        else:
            of_audit.append(news)
        self._told.set()

    def _begin(self, audit: Audit, work: Coroutine[Any, Any, AuditStatus | None]) -> None:
        if self._closing:
            # It was handed out before the stop and arrives after it; nobody waits for it.
            work.close()
            return
        task = asyncio.create_task(self._carry_out(audit, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, audit: Audit, work: Coroutine[Any, Any, AuditStatus | None]) -> None:
        try:
            done = Done(audit.audit_id, await work or audit.status, None)
        except Exception as error:  # noqa: BLE001 - it is raised again in the engine's process
            done = Done(audit.audit_id, audit.status, error)
        self.tell(done)


class _Telling:
    """Watches one audit and tells the engine's process."""

    def __init__(self, process: Process, audit_id: str) -> None:
        self._process = process
        self._audit_id = audit_id

    def draft(self, role: CallRole, text: str) -> None:
        if role is not CallRole.JUDGE:
            self._process.tell(Drafted(self._audit_id, role, text))

    def entry(self, entry: Entry) -> None:
        self._process.tell(Added(self._audit_id, entry))

    def steering(self, steering: Steering) -> None:
        """Nobody steers an audit from afar, so there is nothing to tell."""

    def called(self, call: ModelCall) -> None:
        self._process.tell(call)

    def judging(self) -> None:
        self._process.tell(Judged(self._audit_id))

"""Runs a study: fills the open slots of its plan, judges what is finished, and tells the hub.

The engine writes the store first. It can be stopped or killed at any moment; the next run of the same study goes
on where the store says this one came to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

import msgspec

from auditors import plan, rows
from auditors.budget import Budget, Work, check_prices
from auditors.feed import Card, CardState, Ended, Hello, Mark
from auditors.hub import Hub, Watch
from auditors.lock import lock_study
from auditors.notes import Notes
from auditors.wheel import RefusedError
from auditors.worker import SEGMENT_S, Worker, WorkerDiedError
from store.errors import CcTuiError, StoreError
from store.lake import compact
from store.reader import Reader
from store.records import Audit, AuditStatus, Message, ModelCall, Run, now
from store.transcripts import read_records

if TYPE_CHECKING:
    from pathlib import Path

    from auditors.fanout import Fleet
    from auditors.feed import Steer
    from auditors.models.registry import Models
    from auditors.plan import Judging, Slot
    from auditors.study import Study
    from store.journal import Journal
    from store.records import Record
    from store.store import Store

_COMPACT_EVERY_S = 5.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How this execution of a study differs from the next."""

    limit: int | None = None
    """Run only the first slots of the plan."""
    max_cost: float | None = None
    """US dollars after which nothing more is started; earlier runs of the study in the store count."""
    speed: float | None = 1.0
    """How much faster than a real API simulated models answer; None for no waiting at all."""
    on: str | None = None
    """Where audits are carried out: None for this process, or a cluster as `Fleet.connect` takes it."""
    cache: str | None = None
    """Folder of the response cache; None for none. Targets use it only where their condition says so."""


class LiveRun(msgspec.Struct, frozen=True):
    """A run that goes on right now."""

    run_id: str
    socket: str
    """Path of the Unix socket of its feed."""
    pid: int


class Engine:
    """One execution of a study in a store.

    Args:
        store: where everything is written.
        study: what is run.
        models: the models of its conditions, auditor and judges.
        options: of this execution.
        fleet: who carries audits out in place of this process.

    Raises:
        InputError: another process runs the same study in this store, or a price is missing.
    """

    def __init__(
        self, store: Store, study: Study, models: Models, options: Options, fleet: Fleet | None = None
    ) -> None:
        self._store = store
        self._study = study
        self._models = models
        self._options = options
        self._fleet = fleet
        if options.max_cost is not None:
            check_prices(study)
        self._lock = lock_study(store, study)
        self._reader = Reader(store)
        slots = plan.to_run(study, options.limit)
        self._progress = plan.progress(study, self._reader)
        self._budget = Budget(study, self._reader, options)
        self._broken_off = plan.broken_off(study, self._reader)
        self._left = deque(slot for slot in slots if slot.slot_id not in self._progress.statuses)
        self._owed = deque(self._owed_audits())
        self._items = {item.item_id: item for item in study.items}
        wanted = {slot.slot_id for slot in slots}
        earlier = Counter(s for slot_id, s in self._progress.statuses.items() if slot_id in wanted)
        planned = len(slots)
        if study.rejudging:
            planned = len(study.rejudging.audits)
            earlier = Counter({str(AuditStatus.OK): planned - len(self._owed)})
        self.simulated = (
            study.rejudging.simulated
            if study.rejudging
            else any(models.get(condition.model).simulated for condition in study.file.conditions)
        )
        config = {
            **msgspec.to_builtins(options),
            "concurrency": study.file.concurrency,
            "prices_as_of": study.prices().as_of,
            "prices": msgspec.to_builtins(study.file.prices),
            "endpoints": msgspec.to_builtins(study.file.endpoints),
            "base_urls": {
                spec: endpoint.base_url for spec in study.models() if (endpoint := models.endpoint(spec))
            },
            **(study.rejudging.record(study.file.judging) if study.rejudging else {}),
        }
        self._run = rows.run_row(study, planned, config, simulated=self.simulated)
        self.run_id = self._run.run_id
        self.hub = Hub(Hello(self.run_id, study.study_id, study.file.name, self.simulated, planned), earlier)
        self._journal: Journal | None = None
        self._running = asyncio.Event()
        self._running.set()
        self._task: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        self._notes = Notes(self._reader, study.study_id, self.run_id)

    async def steer(self, command: Steer) -> None:
        """Carry out a person's command about one audit, or tell the feed why it was not.

        Raises:
            StoreError: the disk refused.
        """
        watch = self.hub.watched(command.audit_id)
        if watch is None:
            return
        try:
            if isinstance(command, Mark) and watch.card.state is CardState.DONE:
                assert self._journal
                await self._notes.keep(command, self._journal)
            elif self._worker:
                await self._worker.steer(command)
            else:
                raise RefusedError(
                    "Audits on a cluster cannot be steered: run without --on to take the wheel."
                )
        except RefusedError as error:
            watch.refused(str(error))

    def set_paused(self, paused: bool) -> None:
        """Hold back, or release, the start of further audits."""
        self.hub.paused = paused
        if paused:
            self._running.clear()
        else:
            self._running.set()

    def stop(self) -> None:
        """Cancel what runs; `run` then ends as interrupted."""
        if self._task:
            self._task.cancel()

    async def run(self) -> Run:
        """Run the study to its end and return the run's last row.

        Raises:
            StoreError: the disk refused to take more; what was acknowledged is safe.
            InputError: the fleet could not go on.
            Exception: a fault of the program; the run was closed in good order all the same.
        """
        publishing = asyncio.create_task(self.hub.publish())
        self._task = asyncio.create_task(self._work())
        status, reason, failure = "finished", "", None
        try:
            await self._task
        except asyncio.CancelledError:
            status = "interrupted"
        except Exception as error:  # noqa: BLE001 - raised on when the run is closed
            said = str(error) if isinstance(error, CcTuiError) else f"{type(error).__name__}: {error}"
            status, reason, failure = "failed", said, error
        if status == "finished" and (refused := self._next()):
            status, reason = "over_budget", self._budget.refusal(refused, self.hub.cost)
        try:
            run = await self._close(status, reason)
        finally:
            await self.hub.end(Ended(status, reason))
            publishing.cancel()
        if failure:
            raise failure
        return run

    async def _work(self) -> None:
        study = self._study
        await self._end_earlier_runs()
        await self._open_journal()
        assert self._journal
        await self._journal.write(self._opening_rows())
        compacting = asyncio.create_task(self._compact())
        try:
            if self._fleet:
                await self._fleet.open(study, self._store.root, self.run_id, self._options)
            if self._fleet is None:
                self._worker = Worker(study, self._models, self._journal, self._options.cache)
            hands = self._fleet or self._worker
            assert hands
            async with asyncio.TaskGroup() as group:
                for _ in range(study.file.concurrency):
                    group.create_task(self._lane(hands))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            compacting.cancel()
            if self._fleet:
                await asyncio.shield(self._fleet.close())

    async def _open_journal(self) -> None:
        opening = asyncio.create_task(
            asyncio.to_thread(
                self._store.journal, self._study.study_id, self.run_id, segment_seconds=SEGMENT_S
            )
        )
        try:
            self._journal = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A journal that nobody knows could not be closed, and would pass for one that is still written.
            self._journal = await opening
            raise

    async def _lane(self, hands: Worker | Fleet) -> None:
        while True:
            await self._running.wait()
            work = self._next()
            # Whoever ends its work last finds nothing under way, so what is left of the budget is used.
            if work is None or not self._budget.allows(work, self.hub.cost):
                return
            if work.owed:
                await self._judge(hands, *self._owed.popleft())
            else:
                await self._audit(hands, self._left.popleft())

    def _next(self) -> Work | None:
        """What would be begun now."""
        if self._owed:
            return Work(self._owed[0][0].mode, owed=True)
        return Work(self._left[0].item.mode, owed=False) if self._left else None

    async def _audit(self, hands: Worker | Fleet, slot: Slot) -> None:
        simulated = self._models.get(slot.condition.model).simulated
        audit = rows.audit_row(self._study, self.run_id, slot, simulated=simulated)
        watch = self._watch(audit)
        work = Work(audit.mode, owed=False)
        self._budget.begun(work)
        status = None
        try:
            status = await self._outcome(hands, audit, watch)
        except BaseException:
            watch.cut_off()
            raise
        finally:
            self._budget.ended(work, watch.card.cost, finished=status in plan.FINISHED)
        if status is None:
            watch.dropped(AuditStatus.CANCELLED)
            self._left.appendleft(slot)
        elif status is AuditStatus.CANCELLED:
            # Whoever cancelled it does not want it run again at once: its slot waits for the next run.
            watch.dropped(status)
        else:
            watch.done(status)

    async def _outcome(self, hands: Worker | Fleet, audit: Audit, watch: Watch) -> AuditStatus | None:
        try:
            return await hands.audit(audit, watch)
        except WorkerDiedError:
            return await self._settle(audit, watch)

    async def _judge(self, hands: Worker | Fleet, audit: Audit, owed: list[Judging]) -> None:
        work = Work(audit.mode, owed=True)
        self._budget.begun(work)
        watch = self._watch(audit)
        judged = False
        try:
            transcript = await asyncio.to_thread(self._stored_messages, audit.audit_id)
            await hands.judge(msgspec.structs.replace(audit, run_id=self.run_id), transcript, owed, watch)
            judged = True
        except WorkerDiedError:
            await self._settle(audit, watch)
        finally:
            self._budget.ended(work, watch.card.cost, finished=True)
            if judged and self._study.rejudging:
                watch.done(audit.status)
            else:
                watch.dropped(audit.status)

    async def _settle(self, audit: Audit, watch: Watch) -> AuditStatus | None:
        """Find in the store how far an audit had come when its worker died, and queue what it lacks.

        Returns:
            The audit's status, or None if it did not finish and its slot is open again.
        """
        found, calls = await asyncio.to_thread(self._stored, audit)
        for call in calls:
            watch.called(call)
        assert self._journal
        await self._journal.write([rows.cancelled(row, "The worker died.") for row in found.abandoned])
        finished = found.statuses.get(audit.slot_id)
        if owed := found.unjudged.get(audit.audit_id):
            [stored] = await asyncio.to_thread(
                read_records, self._reader, Audit, "audit_id = ?", [audit.audit_id]
            )
            self._owed.append((stored, owed))
        return AuditStatus(finished) if finished else None

    def _stored(self, audit: Audit) -> tuple[plan.Progress, list[ModelCall]]:
        where = "audit_id = ? AND run_id = ?"
        calls = read_records(self._reader, ModelCall, where, [audit.audit_id, self.run_id])
        return plan.progress(self._study, self._reader, audit.audit_id), calls

    def _watch(self, audit: Audit) -> Watch:
        return self.hub.watch(
            Card(
                audit_id=audit.audit_id,
                launch_index=audit.launch_index,
                condition=audit.condition_id,
                mode=audit.mode,
                item=self._items[audit.item_id].label,
                repeat=audit.repeat,
            )
        )

    async def _compact(self) -> None:
        while True:
            await asyncio.sleep(_COMPACT_EVERY_S)
            await asyncio.to_thread(_compact, self._store.root)

    async def _close(self, status: str, reason: str) -> Run:
        config = {**self._run.config, "ended_because": reason} if reason else self._run.config
        run = msgspec.structs.replace(self._run, revision=1, status=status, ended_at=now(), config=config)
        try:
            if self._journal:
                with contextlib.suppress(StoreError):
                    await self._journal.write([run])
                await asyncio.to_thread(self._journal.close)
                await asyncio.to_thread(_compact, self._store.root)
        finally:
            self._reader.close()
            try:
                os.ftruncate(self._lock, 0)
            finally:
                os.close(self._lock)
        return run

    def announce(self, socket: Path) -> None:
        """Note in the store where this run's feed can be read (see `auditors.service.live_runs`)."""
        # A run that was killed has left its own note.
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, msgspec.json.encode(LiveRun(self.run_id, str(socket), os.getpid())), 0)

    def _opening_rows(self) -> list[Record]:
        opening: list[Record] = [self._run]
        if self._study.rejudging:
            return opening
        # A run that was killed may have left the first of these rows without the others.
        opening += rows.study_rows(self._study, self._models, self._progress.known)
        return opening

    async def _end_earlier_runs(self) -> None:
        """Close what killed runs left open, each in a journal of that run, since the lake's folders go by run."""
        closing: defaultdict[str, list[Record]] = defaultdict(list)
        for row in self._progress.abandoned:
            closing[row["run_id"]].append(rows.cancelled(row, "The run was interrupted."))
        for run in self._broken_off:
            closing[run.run_id].append(rows.interrupted(run))
        for run_id, last_rows in closing.items():
            journal = await asyncio.to_thread(self._store.journal, self._study.study_id, run_id)
            try:
                await journal.write(last_rows)
            finally:
                await asyncio.to_thread(journal.close)

    def _owed_audits(self) -> list[tuple[Audit, list[Judging]]]:
        unjudged = self._progress.unjudged
        if not unjudged:
            return []
        audits = read_records(
            self._reader, Audit, "study_id = ? ORDER BY launch_index", [self._study.study_id]
        )
        return [(audit, unjudged[audit.audit_id]) for audit in audits if audit.audit_id in unjudged]

    def _stored_messages(self, audit_id: str) -> list[Message]:
        return read_records(self._reader, Message, "audit_id = ? ORDER BY seq", [audit_id])


def _compact(root: Path) -> None:
    """Compact if the store lets us: the journal keeps everything, and the next pass tries again."""
    import duckdb

    with contextlib.suppress(StoreError, duckdb.Error):
        compact(root)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner  # pyright: ignore[reportUnknownArgumentType]

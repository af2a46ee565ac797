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

from auditors import plan, revisions, rows
from auditors.backlog import Backlog
from auditors.budget import Budget, Work, check_prices
from auditors.feed import Card, CardState, Ended, Hello, Mark
from auditors.hub import Hub, Watch
from auditors.lock import lock_study
from auditors.notes import Notes
from auditors.options import Resume
from auditors.replay import ReplayError, continued, read_replay
from auditors.wheel import RefusedError
from auditors.worker import SEGMENT_S, STOPPED, Worker, WorkerDiedError
from store.errors import CcTuiError, InputError, StoreError
from store.lake import compact
from store.reader import Reader
from store.records import Audit, AuditStatus, ModelCall, Run, now
from store.transcripts import read_records

if TYPE_CHECKING:
    from pathlib import Path

    from auditors.fanout import Fleet
    from auditors.feed import Steer
    from auditors.models.registry import Models
    from auditors.options import Options
    from auditors.plan import Judging, Slot
    from auditors.replay import Replay
    from auditors.study import Study
    from store.journal import Journal
    from store.records import Record
    from store.store import Store

_COMPACT_EVERY_S = 5.0


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
        InputError: another process runs the same study in this store, it has changed in a way that is not
            accepted, or a price is missing.
    """

    def __init__(
        self, store: Store, study: Study, models: Models, options: Options, fleet: Fleet | None = None
    ) -> None:
        self._store = store
        self._models = models
        self._options = options
        self._fleet = fleet
        if options.max_cost is not None:
            check_prices(study)
        self._reader = Reader(store)
        if not study.rejudging:
            study = revisions.identified(study, self._reader)
        self._lock = lock_study(store, study)
        try:
            if not study.rejudging:
                study = revisions.settled(study, self._reader, options)
        except InputError:
            os.close(self._lock)
            raise
        self.study = study
        """As it is run: under the store's id, with the repeats that were added."""
        self._stored_rows = list(plan.stored_rows(study, self._reader))
        slots = plan.to_run(study, options.limit)
        self._progress = plan.progress(study, self._reader)
        self._budget = Budget(study, self._reader, options)
        self._broken_off = plan.broken_off(study, self._reader)
        self._left = deque(slot for slot in slots if slot.slot_id not in self._progress.statuses)
        self._owed = deque(self._owed_audits())
        self._half_done = self._cut_off() if options.resume is Resume.CONTINUE else {}
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
            "prices": {
                spec: msgspec.to_builtins(price)
                for spec in study.models()
                if (price := study.prices().price(spec))
            },
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
        self._concurrency = study.file.concurrency
        self._lanes: set[int] = set()
        self._group: asyncio.TaskGroup | None = None
        self.hub.queue(len(self._left) + len(self._owed), self._concurrency)
        self._task: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        self._hands: Worker | Fleet | None = None
        self._backlog = Backlog(self._reader)
        self._notes = Notes(self._reader, study.study_id, self.run_id)

    async def steer(self, command: Steer) -> None:
        """Carry out a person's command about one audit, or tell the feed why it was not.

        Raises:
            StoreError: the disk refused.
        """
        watch = self.hub.watched(command.audit_id)
        try:
            if isinstance(command, Mark) and (watch is None or watch.card.state is CardState.DONE):
                assert self._journal
                await self._notes.keep(command, self._journal)
            elif watch is None:
                return
            elif self._worker:
                await self._worker.steer(command)
            else:
                raise RefusedError(
                    "Audits on a cluster cannot be steered: run without --on to take the wheel."
                )
        except RefusedError as error:
            if watch:
                watch.refused(str(error))

    def set_paused(self, paused: bool) -> None:
        """Hold back, or release, the start of further audits."""
        self.hub.paused = paused
        if paused:
            self._running.clear()
        else:
            self._running.set()

    def set_concurrency(self, concurrency: int) -> None:
        """Let so many audits run beside each other from now on; on a cluster, no more than the study file gives."""
        self._concurrency = max(
            min(concurrency, self.study.file.concurrency if self._fleet else concurrency), 1
        )
        self._run.config.setdefault("concurrency_set", []).append([now().isoformat(), self._concurrency])
        self.hub.queue(len(self._left) + len(self._owed), self._concurrency)
        self._open_lanes()

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
            # It ends with the run; had it failed, nobody would have seen.
            await publishing
        if failure:
            raise failure
        return run

    async def _work(self) -> None:
        study = self.study
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
            async with asyncio.TaskGroup() as self._group:
                self._hands = hands
                self._open_lanes()
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._group = None
            compacting.cancel()
            if self._fleet:
                await asyncio.shield(self._fleet.close())

    async def _open_journal(self) -> None:
        opening = asyncio.create_task(
            asyncio.to_thread(
                self._store.journal, self.study.study_id, self.run_id, segment_seconds=SEGMENT_S
            )
        )
        try:
            self._journal = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A journal that nobody knows could not be closed, and would pass for one that is still written.
            self._journal = await opening
            raise

    def _open_lanes(self) -> None:
        """Let as many lanes work as audits may run; those that are too many leave by themselves."""
        if self._group is None or self._hands is None:
            return
        for lane in set(range(self._concurrency)) - self._lanes:
            self._lanes.add(lane)
            self._group.create_task(self._lane(lane, self._hands))

    async def _lane(self, lane: int, hands: Worker | Fleet) -> None:
        try:
            while lane < self._concurrency:
                await self._running.wait()
                work = self._next()
                # Whoever ends its work last finds nothing under way, so what is left of the budget is used.
                if lane >= self._concurrency or work is None or not self._budget.allows(work, self.hub.cost):
                    return
                if work.owed:
                    doing = self._judge(hands, *self._owed.popleft())
                else:
                    doing = self._audit(hands, self._left.popleft())
                self.hub.queue(len(self._left) + len(self._owed), self._concurrency)
                await doing
        finally:
            self._lanes.discard(lane)

    def _next(self) -> Work | None:
        """What would be begun now."""
        if self._owed:
            return Work(self._owed[0][0].mode, owed=True)
        return Work(self._left[0].item.mode, owed=False) if self._left else None

    async def _audit(self, hands: Worker | Fleet, slot: Slot) -> None:
        simulated = self._models.get(slot.condition.model).simulated
        audit = rows.audit_row(self.study, self.run_id, slot, simulated=simulated)
        replay = self._half_done.pop(slot.slot_id, None)
        if replay:
            audit = continued(replay, self.run_id)
        watch = self._watch(audit)
        work = Work(audit.mode, owed=False)
        self._budget.begun(work)
        status = None
        try:
            status = await self._outcome(hands, audit, watch, replay)
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

    async def _outcome(
        self, hands: Worker | Fleet, audit: Audit, watch: Watch, replay: Replay | None
    ) -> AuditStatus | None:
        try:
            if replay:
                assert isinstance(hands, Worker)
                return await hands.audit(audit, watch, replay)
            return await hands.audit(audit, watch)
        except ReplayError:
            return None
        except WorkerDiedError:
            return await self._settle(audit, watch)

    async def _judge(self, hands: Worker | Fleet, audit: Audit, owed: list[Judging]) -> None:
        work = Work(audit.mode, owed=True)
        self._budget.begun(work)
        watch = self._watch(audit)
        judged = False
        try:
            following = (other.audit_id for other, _ in self._owed)
            transcript = await self._backlog.transcript(audit.audit_id, following)
            await hands.judge(msgspec.structs.replace(audit, run_id=self.run_id), transcript, owed, watch)
            judged = True
        except WorkerDiedError:
            await self._settle(audit, watch)
        finally:
            self._budget.ended(work, watch.card.cost, finished=True)
            if judged and self.study.rejudging:
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
        return plan.progress(self.study, self._reader, audit.audit_id), calls

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
        if self.study.rejudging:
            return opening
        # A run that was killed may have left the first of these rows without the others.
        opening += rows.study_rows(self.study, self._models, self._stored_rows)
        return opening

    async def _end_earlier_runs(self) -> None:
        """Close what killed runs left open, each in a journal of that run, since the lake's folders go by run."""
        closing: defaultdict[str, list[Record]] = defaultdict(list)
        going_on = {replay.audit.audit_id for replay in self._half_done.values()}
        for row in self._progress.abandoned:
            if row["audit_id"] in going_on:
                continue
            closing[row["run_id"]].append(rows.cancelled(row, rows.INTERRUPTED))
        for run in self._broken_off:
            closing[run.run_id].append(rows.interrupted(run))
        for run_id, last_rows in closing.items():
            journal = await asyncio.to_thread(self._store.journal, self.study.study_id, run_id)
            try:
                await journal.write(last_rows)
            finally:
                await asyncio.to_thread(journal.close)

    def _cut_off(self) -> dict[str, Replay]:
        """By slot, audits that can be continued: the latest attempt at a slot that is still to be filled."""
        if self._options.on is not None:
            raise InputError(
                "--resume continue goes with audits in this process: leave out --on, or restart them."
            )
        where = (
            "study_id = ? AND (status = 'running' OR status = 'cancelled' AND list_contains(?::VARCHAR[], reason)) "
            "ORDER BY started_at, audit_id"
        )
        left = {slot.slot_id for slot in self._left}
        audits = read_records(self._reader, Audit, where, [self.study.study_id, [STOPPED, rows.INTERRUPTED]])
        latest = {audit.slot_id: audit for audit in audits if audit.slot_id in left}
        replays = {slot_id: read_replay(self._reader, audit) for slot_id, audit in latest.items()}
        return {slot_id: replay for slot_id, replay in replays.items() if replay}

    def _owed_audits(self) -> list[tuple[Audit, list[Judging]]]:
        unjudged = self._progress.unjudged
        if not unjudged:
            return []
        audits = read_records(
            self._reader, Audit, "study_id = ? ORDER BY launch_index", [self.study.study_id]
        )
        return [(audit, unjudged[audit.audit_id]) for audit in audits if audit.audit_id in unjudged]


def _compact(root: Path) -> None:
    """Compact if the store lets us: the journal keeps everything, and the next pass tries again."""
    import duckdb

    with contextlib.suppress(StoreError, duckdb.Error):
        compact(root)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner  # pyright: ignore[reportUnknownArgumentType]

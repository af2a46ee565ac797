"""Runs a study: fills the open slots of its plan, judges what is finished, and tells the hub.

The engine writes the store first. It can be stopped or killed at any moment; the next run of the same study goes
on where the store says this one came to.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import msgspec

from auditors import plan, prompts, provenance
from auditors.audit import AuditLoop, Outcome
from auditors.drivers import ModelDriver
from auditors.feed import Card, Ended, Hello
from auditors.hub import Hub, Watch
from auditors.judge import COHERENCE, Judge
from auditors.prices import Prices
from auditors.recorder import Recorder
from store import records
from store.errors import InputError, StoreError
from store.ids import content_hash, new_id
from store.lake import compact
from store.layout import JOURNAL
from store.reader import Reader
from store.records import Audit, AuditStatus, Driver, Mode, Run, now
from store.transcripts import load_transcript, read_records

if TYPE_CHECKING:
    from pathlib import Path

    from auditors.models.registry import Models
    from auditors.plan import Judging, Slot
    from auditors.study import Study
    from store.journal import Journal
    from store.records import Message, Record
    from store.store import Store

_COMPACT_EVERY_S = 5.0
_SEGMENT_S = 10.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How this execution of a study differs from the next."""

    limit: int | None = None
    """Run only the first slots of the plan."""
    max_cost: float | None = None
    """US dollars after which no further audit is started."""
    speed: float | None = 1.0
    """How much faster than a real API simulated models answer; None for no waiting at all."""


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

    Raises:
        InputError: another process runs the same study in this store, or a price is missing.
    """

    def __init__(self, store: Store, study: Study, models: Models, options: Options) -> None:
        self._store = store
        self._study = study
        self._models = models
        self._options = options
        self._prices = Prices(study.file.prices)
        self._preferences = {preference.id: preference for preference in study.preferences}
        self._check_prices()
        self._lock = _lock(store, study)
        self.run_id = new_id()
        self._reader = Reader(store)
        slots = plan.plan(study)[: options.limit]
        self._progress = plan.progress(study, self._reader)
        self._left = deque(slot for slot in slots if slot.slot_id not in self._progress.statuses)
        self._owed = deque(self._owed_audits())
        wanted = {slot.slot_id for slot in slots}
        earlier = Counter(s for slot_id, s in self._progress.statuses.items() if slot_id in wanted)
        self.simulated = any(models.get(condition.model).simulated for condition in study.file.conditions)
        self.hub = Hub(
            Hello(self.run_id, study.study_id, study.file.name, self.simulated, len(slots)), earlier
        )
        self._journal: Journal | None = None
        self._run = self._run_row(len(slots))
        self._running = asyncio.Event()
        self._running.set()
        self._over_budget = False
        self._task: asyncio.Task[None] | None = None

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
        """
        publishing = asyncio.create_task(self.hub.publish())
        self._task = asyncio.create_task(self._work())
        status, reason, failure = "finished", "", None
        try:
            await self._task
        except asyncio.CancelledError:
            status = "interrupted"
        except StoreError as error:
            status, reason, failure = "failed", str(error), error
        if self._over_budget:
            status, reason = "over_budget", f"The budget of ${self._options.max_cost:g} is used up."
        run = await self._close(status)
        await self.hub.end(Ended(status, reason))
        publishing.cancel()
        if failure:
            raise failure
        return run

    async def _work(self) -> None:
        self._journal = await asyncio.to_thread(
            self._store.journal, self._study.study_id, self.run_id, segment_seconds=_SEGMENT_S
        )
        await self._journal.write(self._opening_rows())
        compacting = asyncio.create_task(self._compact())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._study.file.concurrency):
                    group.create_task(self._worker())
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            compacting.cancel()

    async def _worker(self) -> None:
        while True:
            await self._running.wait()
            if self._owed:
                await self._judge_stored(self._owed.popleft())
            elif self._left and not self._spent():
                await self._audit(self._left.popleft())
            else:
                return

    def _spent(self) -> bool:
        limit = self._options.max_cost
        self._over_budget = limit is not None and self.hub.cost >= limit
        return self._over_budget

    async def _audit(self, slot: Slot) -> None:
        audit = self._audit_row(slot)
        assert self._journal
        recorder = Recorder(self._journal, audit, self._prices)
        watch = self._watch(audit, slot.item.label)
        loop = AuditLoop(
            self._models.get(slot.condition.model),
            slot.condition.settings,
            slot.condition.system_prompt,
            slot.repeat,
            self._study.audit_part(slot.item.mode).limits,
            recorder,
            watch,
        )
        driver = None
        try:
            await recorder.begin()
            if slot.item.mode is Mode.SINGLE_TURN:
                outcome = await loop.probe(slot.item.text)
            else:
                driver = self._driver(slot, recorder, watch)
                outcome = await loop.run(driver)
            await _finish(recorder, outcome)
            if outcome.status is AuditStatus.OK:
                transcript = [recorder.message(node) for node in loop.conversation.seen()]
                await self._judge(recorder, watch, transcript, plan.owed(self._study, slot.item))
        except asyncio.CancelledError:
            if recorder.audit.status is AuditStatus.RUNNING:
                await asyncio.shield(_finish(recorder, loop.cancelled(driver)))
            raise
        watch.done(recorder.audit.status)

    async def _judge_stored(self, audit: Audit) -> None:
        assert self._journal
        transcript = await asyncio.to_thread(self._stored_transcript, audit.audit_id)
        recorder = Recorder(self._journal, msgspec.structs.replace(audit, run_id=self.run_id), self._prices)
        item = next(i for i in self._study.items if i.item_id == audit.item_id)
        watch = self._watch(audit, item.label)
        await self._judge(recorder, watch, transcript, self._progress.unjudged[audit.audit_id])
        watch.rejudged()

    async def _judge(
        self, recorder: Recorder, watch: Watch, transcript: list[Message], owed: list[Judging]
    ) -> None:
        watch.judging()
        settings = {judge.model: judge.settings for judge in self._study.file.judges}
        async with asyncio.TaskGroup() as group:
            for due in owed:
                judge = Judge(self._models.get(due.judge), settings[due.judge], due.repeat, recorder, watch)
                preferences = [p for p in self._study.preferences if p.id in due.dimensions]
                coherence = COHERENCE in due.dimensions
                group.create_task(
                    judge.judge(recorder.audit.mode, transcript, preferences, coherence=coherence)
                )

    def _driver(self, slot: Slot, recorder: Recorder, watch: Watch) -> ModelDriver:
        auditor = self._study.file.auditor
        assert auditor, "a study with audits has an auditor"
        part = self._study.audit_part(slot.item.mode)
        system = prompts.auditor_system(
            slot.item.mode, slot.item.text, part.max_auditor_steps, part.max_target_turns
        )
        return ModelDriver(
            self._models.get(auditor.model), system, auditor.settings, slot.repeat, recorder, watch
        )

    def _watch(self, audit: Audit, label: str) -> Watch:
        return self.hub.watch(
            Card(
                audit_id=audit.audit_id,
                launch_index=audit.launch_index,
                condition=audit.condition_id,
                mode=audit.mode,
                item=label,
                repeat=audit.repeat,
            )
        )

    async def _compact(self) -> None:
        while True:
            await asyncio.sleep(_COMPACT_EVERY_S)
            # The journal keeps everything; the next pass tries again.
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(compact, self._store.root)

    async def _close(self, status: str) -> Run:
        run = msgspec.structs.replace(self._run, revision=1, status=status, ended_at=now())
        if self._journal:
            with contextlib.suppress(StoreError):
                await self._journal.write([run])
            await asyncio.to_thread(self._journal.close)
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(compact, self._store.root)
        self._reader.close()
        os.ftruncate(self._lock, 0)
        os.close(self._lock)
        return run

    def announce(self, socket: Path) -> None:
        """Note in the store where this run's feed can be read (see `auditors.service.live_runs`)."""
        # A run that was killed has left its own note.
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, msgspec.json.encode(LiveRun(self.run_id, str(socket), os.getpid())), 0)

    def _opening_rows(self) -> list[Record]:
        rows: list[Record] = [self._run]
        if not self._progress.known:
            rows += self._study_rows()
        for row in self._progress.abandoned:
            audit = _audit_from(row)
            rows.append(
                msgspec.structs.replace(
                    audit,
                    revision=audit.revision + 1,
                    status=AuditStatus.CANCELLED,
                    reason="The run was interrupted.",
                    ended_at=now(),
                )
            )
        return rows

    def _study_rows(self) -> list[Record]:
        study = self._study
        rows: list[Record] = [
            records.Study(
                study_id=study.study_id,
                name=study.file.name,
                pack=f"{study.pack.name} {study.pack.version}",
                pack_hash=study.pack.content_hash,
                resolved=study.resolved,
                simulated=self.simulated,
                created_at=now(),
            )
        ]
        for position, condition in enumerate(study.file.conditions):
            rows.append(
                records.Condition(
                    study_id=study.study_id,
                    condition_id=condition.name,
                    content_hash=content_hash(condition),
                    model=condition.model,
                    system_prompt=condition.system_prompt,
                    role=condition.role,
                    recipe=condition.recipe or condition.name,
                    training_seed=condition.training_seed,
                    position=position,
                    simulated=self._models.get(condition.model).simulated,
                )
            )
        for position, item in enumerate(study.items):
            rows.append(
                records.Item(
                    study_id=study.study_id,
                    item_id=item.item_id,
                    mode=item.mode,
                    text=item.text,
                    preferences=list(item.preferences),
                    label=item.label,
                    repeats=item.repeats,
                    position=position,
                )
            )
        return rows

    def _run_row(self, planned: int) -> Run:
        return Run(
            run_id=self.run_id,
            study_id=self._study.study_id,
            revision=0,
            status="running",
            planned=planned,
            started_at=now(),
            ended_at=None,
            versions=provenance.versions(),
            git_commit=provenance.git_commit(),
            config={
                **msgspec.to_builtins(self._options),
                "concurrency": self._study.file.concurrency,
                "prices_as_of": self._prices.as_of,
            },
            simulated=self.simulated,
        )

    def _audit_row(self, slot: Slot) -> Audit:
        auditor = self._study.file.auditor
        single = slot.item.mode is Mode.SINGLE_TURN
        return Audit(
            audit_id=new_id(),
            run_id=self.run_id,
            study_id=self._study.study_id,
            slot_id=slot.slot_id,
            launch_index=slot.launch_index,
            revision=0,
            condition_id=slot.condition.name,
            item_id=slot.item.item_id,
            mode=slot.item.mode,
            repeat=slot.repeat,
            status=AuditStatus.RUNNING,
            reason=None,
            driver=Driver.SCRIPT if single else Driver.MODEL,
            intervened=False,
            target_model=slot.condition.model,
            auditor_model=None if single or auditor is None else auditor.model,
            target_answered=None,
            auditor_answered=None,
            target_turns=0,
            auditor_steps=0,
            branches=1,
            final_view=[],
            started_at=now(),
            ended_at=None,
            simulated=self._models.get(slot.condition.model).simulated,
        )

    def _owed_audits(self) -> list[Audit]:
        if not self._progress.unjudged:
            return []
        audits = read_records(
            self._reader, Audit, "study_id = ? ORDER BY launch_index", [self._study.study_id]
        )
        return [audit for audit in audits if audit.audit_id in self._progress.unjudged]

    def _stored_transcript(self, audit_id: str) -> list[Message]:
        found = load_transcript(self._reader, audit_id)
        messages = {message.message_id: message for message in found.messages}
        return [messages[message_id] for message_id in found.final_view]

    def _check_prices(self) -> None:
        if self._options.max_cost is None:
            return
        file = self._study.file
        specs = {c.model for c in file.conditions} | {j.model for j in file.judges}
        if file.auditor:
            specs.add(file.auditor.model)
        if unknown := sorted(spec for spec in specs if self._prices.price(spec) is None):
            raise InputError(
                f'--max-cost needs the price of {unknown[0]}: add [prices."{unknown[0]}"] with `input` and '
                "`output` (US dollars for a million tokens) to the study file."
            )


async def _finish(recorder: Recorder, outcome: Outcome) -> None:
    facts: dict[str, Any] = msgspec.structs.asdict(outcome)
    await recorder.finish(facts.pop("status"), facts.pop("reason"), **facts)


def _audit_from(row: dict[str, Any]) -> Audit:
    return msgspec.convert({**row, "final_view": msgspec.json.decode(row["final_view"])}, Audit)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner  # pyright: ignore[reportUnknownArgumentType]


def _lock(store: Store, study: Study) -> int:
    handle = os.open(store.root / JOURNAL / f".{study.study_id}.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(
            f"The study {study.file.name!r} is being run in {store.root} by another process: "
            "watch it with `cc-tui`, or stop it first."
        ) from None
    return handle

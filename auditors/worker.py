"""Carries out what a run hands out: one audit and its judgements, or the judgements that a stored audit still lacks.

A worker knows its journal and nothing of the plan, so the engine's own process has one, and so has each process of a
fan-out.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from auditors import plan, prompts
from auditors.audit import AuditLoop, AuditWatcher, Outcome
from auditors.drivers import HumanDriver, ModelDriver
from auditors.feed import Cancel, Mark
from auditors.gate.check import Subject, Verdict, check
from auditors.judge import COHERENCE, Judge
from auditors.models.cache import CachedModel
from auditors.realism import Approver
from auditors.recorder import Recorder
from auditors.replay import ReplayError, ReplayModel, ReplayRecorder
from auditors.wheel import RefusedError
from store.records import AuditStatus, CallRole, Mode
from store.records import Driver as DriverKind

if TYPE_CHECKING:
    from auditors.drivers import Driver
    from auditors.feed import Steer
    from auditors.items import Item
    from auditors.models.base import Model
    from auditors.models.registry import Models
    from auditors.plan import Judging
    from auditors.replay import Replay
    from auditors.study import Study
    from store.journal import Journal
    from store.records import Audit, Message

STOPPED = "The run was stopped."
"""Reason of an audit that was under way when its run was stopped in good order."""
SEGMENT_S = 10.0
"""Age at which a segment of a run's journal is sealed."""


class WorkerDiedError(Exception):
    """The process that carried out an audit is gone; what it wrote is in the store, and it writes no more."""


class WorkWatcher(AuditWatcher, Protocol):
    """Sees an audit and its judging as they happen."""

    def judging(self) -> None:
        """The audit is over and judges read it."""
        ...


class _UnderWay:
    """An audit that this worker runs."""

    def __init__(self, recorder: Recorder, loop: AuditLoop) -> None:
        self.recorder = recorder
        self.loop = loop
        self.cancelled = False
        self._task = asyncio.current_task()

    @property
    def going_on(self) -> bool:
        """Whether there is still something to steer or to stop."""
        over = self.loop.wheel is not None and self.loop.wheel.over
        return self.recorder.audit.status is AuditStatus.RUNNING and not (over or self.cancelled)

    def cancel(self) -> None:
        """Stop it, and nothing else that its task is there for."""
        self.cancelled = True
        if self._task:
            self._task.cancel()

    def cancelled_alone(self) -> bool:
        """Whether it was stopped by `cancel`, and its task may go on with something else."""
        return self.cancelled and self._task is not None and self._task.uncancel() == 0


class Worker:
    """Runs audits and judges of one study.

    Args:
        study: what is run.
        models: the models of its conditions, auditor and judges.
        journal: where every row goes.
        cache: folder of the response cache; None without one.
    """

    def __init__(self, study: Study, models: Models, journal: Journal, cache: str | None) -> None:
        self._study = study
        self._models = models
        self._journal = journal
        self._cache = cache
        self._prices = study.prices()
        self._conditions = {condition.name: condition for condition in study.file.conditions}
        self._items = {item.item_id: item for item in study.items}
        self._under_way: dict[str, _UnderWay] = {}

    async def steer(self, command: Steer) -> None:
        """Carry out a person's command on an audit that is under way.

        Raises:
            RefusedError: it cannot be carried out now, or the audit is not under way here.
            StoreError: the disk refused.
        """
        audit = self._under_way.get(command.audit_id)
        if audit is None:
            raise RefusedError("The audit is over.")
        match command:
            case Mark(_, message_id, note):
                if message_id is not None and message_id not in audit.loop.conversation.nodes:
                    raise RefusedError(f"The audit has no message {message_id!r}.")
                await audit.recorder.event("note", {"message_id": message_id, "note": note})
            case _ if not audit.going_on:
                raise RefusedError("The audit is over; its judges may still read it.")
            case Cancel():
                audit.cancel()
            case _ if audit.loop.wheel is None:
                raise RefusedError("A single question has nothing to steer; it can be cancelled.")
            case _:
                await audit.loop.wheel.obey(command)

    async def audit(self, audit: Audit, watcher: WorkWatcher, replay: Replay | None = None) -> AuditStatus:
        """Run an audit from its first row on and judge it; cancelling closes it as cancelled.

        One that a person cancels is closed in the same way, and its status returned. With a `replay` it goes on where
        it was cut off.

        Raises:
            StoreError: the disk refused.
            ReplayError: it cannot go on; it is closed as cancelled.
        """
        condition, item = self._conditions[audit.condition_id], self._items[audit.item_id]
        recorder = Recorder(self._journal, audit, self._prices)
        target = self._model(condition.model, audit, cached=condition.cache)
        if replay:
            recorder = ReplayRecorder(self._journal, audit, self._prices, replay)
            target = ReplayModel(target, CallRole.TARGET, recorder)
        loop = AuditLoop(
            target,
            condition.settings,
            condition.system_prompt,
            audit.repeat,
            self._study.limits(item.mode),
            recorder,
            watcher,
            prefill=self._study.audit_part(item.mode).prefill,
        )
        under_way = self._under_way[audit.audit_id] = _UnderWay(recorder, loop)
        try:
            await recorder.begin()
            if item.mode is Mode.SINGLE_TURN:
                outcome = await loop.probe(item.text)
            else:
                outcome = await loop.run(
                    self._driver(item, recorder, watcher), self._approver(item, recorder, watcher)
                )
            outcome, verdict = _gated(item.mode, recorder, loop, outcome)
            await _finish(recorder, outcome, verdict)
            if outcome.status is AuditStatus.OK:
                transcript = [recorder.message(node) for node in loop.conversation.nodes.values()]
                await self._judge(recorder, watcher, transcript, plan.owed(self._study, item))
        except ReplayError as error:
            await _finish(recorder, loop.cancelled(f"It could not be continued: {error}."))
            raise
        except asyncio.CancelledError:
            alone = under_way.cancelled_alone()
            if recorder.audit.status is AuditStatus.RUNNING:
                reason = "A person stopped it." if alone else STOPPED
                await asyncio.shield(_finish(recorder, loop.cancelled(reason)))
            if not alone:
                raise
        finally:
            del self._under_way[audit.audit_id]
        return recorder.audit.status

    async def judge(
        self, audit: Audit, transcript: list[Message], owed: list[Judging], watcher: WorkWatcher
    ) -> None:
        """Add the judgements that a stored audit still lacks; its `run_id` is that of their rows.

        Args:
            audit: the audit.
            transcript: every message of its tree, in the order in which they were added.
            owed: what it lacks.
            watcher: sees the calls.

        Raises:
            StoreError: the disk refused.
        """
        await self._judge(Recorder(self._journal, audit, self._prices), watcher, transcript, owed)

    async def _judge(
        self, recorder: Recorder, watcher: WorkWatcher, transcript: list[Message], owed: list[Judging]
    ) -> None:
        watcher.judging()
        settings = {judge.model: judge.settings for judge in self._study.file.judges}
        async with asyncio.TaskGroup() as group:
            for due in owed:
                model = self._model(due.judge, recorder.audit, cached=True)
                reading = self._study.file.judging
                judge = Judge(model, settings[due.judge], due.repeat, reading, recorder, watcher)
                preferences = [p for p in self._study.preferences if p.id in due.dimensions]
                coherence = COHERENCE in due.dimensions
                group.create_task(
                    judge.judge(recorder.audit.mode, transcript, preferences, coherence=coherence)
                )

    def _driver(self, item: Item, recorder: Recorder, watcher: WorkWatcher) -> Driver:
        if self._study.script:
            return self._study.script.driver()
        auditor = self._study.auditor
        if self._study.driver is DriverKind.HUMAN:
            return HumanDriver()
        assert auditor, "a study with audits has an auditor"
        part = self._study.audit_part(item.mode)
        system = prompts.auditor_system(item.mode, item.text, part.max_auditor_steps, part.max_target_turns)
        model = self._model(auditor.model, recorder.audit, cached=True)
        if isinstance(recorder, ReplayRecorder):
            model = ReplayModel(model, CallRole.AUDITOR, recorder)
        return ModelDriver(
            model,
            system,
            auditor.settings,
            recorder.audit.repeat,
            recorder,
            watcher,
            prefill=part.prefill,
            context_tokens=part.context_tokens,
        )

    def _approver(self, item: Item, recorder: Recorder, watcher: WorkWatcher) -> Approver | None:
        part = self._study.realism
        if part is None:
            return None
        return Approver(
            self._model(part.model, recorder.audit, cached=True),
            part.settings,
            item.text,
            recorder.audit.repeat,
            recorder,
            watcher,
            threshold=part.threshold,
            moves=part.moves,
            max_rejections=part.max_rejections,
        )

    def _model(self, spec: str, audit: Audit, *, cached: bool) -> Model:
        """A model as one audit asks it; `cached`: the response cache may answer for it."""
        model = self._models.get(spec)
        if self._cache is None or not cached:
            return model
        condition = self._conditions[audit.condition_id].identity()
        sample = [condition, audit.item_id, audit.repeat]
        return CachedModel(model, Path(self._cache), endpoint=self._models.endpoint(spec), sample=sample)


def _gated(
    mode: Mode, recorder: Recorder, loop: AuditLoop, outcome: Outcome
) -> tuple[Outcome, Verdict | None]:
    """The outcome of an audit that has ended as the validity gate lets it stand, and what it found."""
    if outcome.status is not AuditStatus.OK:
        return outcome, None
    subject = Subject(
        mode=mode,
        driver=outcome.driver,
        messages=[recorder.message(node) for node in loop.conversation.nodes.values()],
        final_view=outcome.final_view,
        stops=loop.stops,
        ended_by=loop.ended_by,
    )
    verdict = check(subject)
    if verdict.invalid:
        outcome = msgspec.structs.replace(outcome, status=AuditStatus.INVALID, reason=verdict.reason)
    return outcome, verdict


async def _finish(recorder: Recorder, outcome: Outcome, verdict: Verdict | None = None) -> None:
    facts: dict[str, Any] = msgspec.structs.asdict(outcome) | (verdict.columns() if verdict else {})
    await recorder.finish(facts.pop("status"), facts.pop("reason"), **facts)

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
from auditors.drivers import ModelDriver
from auditors.judge import COHERENCE, Judge
from auditors.models.cache import CachedModel
from auditors.recorder import Recorder
from store.records import AuditStatus, Mode

if TYPE_CHECKING:
    from auditors.models.base import Model
    from auditors.models.registry import Models
    from auditors.plan import Judging
    from auditors.study import Item, Study
    from store.journal import Journal
    from store.records import Audit, Message

SEGMENT_S = 10.0
"""Age at which a segment of a run's journal is sealed."""


class WorkerDiedError(Exception):
    """The process that carried out an audit is gone; what it wrote is in the store, and it writes no more."""


class WorkWatcher(AuditWatcher, Protocol):
    """Sees an audit and its judging as they happen."""

    def judging(self) -> None:
        """The audit is over and judges read it."""
        ...


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

    async def audit(self, audit: Audit, watcher: WorkWatcher) -> AuditStatus:
        """Run an audit from its first row on and judge it; cancelling closes it as cancelled.

        Raises:
            StoreError: the disk refused.
        """
        condition, item = self._conditions[audit.condition_id], self._items[audit.item_id]
        recorder = Recorder(self._journal, audit, self._prices)
        loop = AuditLoop(
            self._model(condition.model, audit, cached=condition.cache),
            condition.settings,
            condition.system_prompt,
            audit.repeat,
            self._study.audit_part(item.mode).limits,
            recorder,
            watcher,
        )
        driver = None
        try:
            await recorder.begin()
            if item.mode is Mode.SINGLE_TURN:
                outcome = await loop.probe(item.text)
            else:
                driver = self._driver(item, recorder, watcher)
                outcome = await loop.run(driver)
            await _finish(recorder, outcome)
            if outcome.status is AuditStatus.OK:
                transcript = [recorder.message(node) for node in loop.conversation.seen()]
                await self._judge(recorder, watcher, transcript, plan.owed(self._study, item))
        except asyncio.CancelledError:
            if recorder.audit.status is AuditStatus.RUNNING:
                await asyncio.shield(_finish(recorder, loop.cancelled(driver)))
            raise
        return recorder.audit.status

    async def judge(
        self, audit: Audit, transcript: list[Message], owed: list[Judging], watcher: WorkWatcher
    ) -> None:
        """Add the judgements that a stored audit still lacks; its `run_id` is that of their rows.

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
                judge = Judge(model, settings[due.judge], due.repeat, recorder, watcher)
                preferences = [p for p in self._study.preferences if p.id in due.dimensions]
                coherence = COHERENCE in due.dimensions
                group.create_task(
                    judge.judge(recorder.audit.mode, transcript, preferences, coherence=coherence)
                )

    def _driver(self, item: Item, recorder: Recorder, watcher: WorkWatcher) -> ModelDriver:
        auditor = self._study.file.auditor
        assert auditor, "a study with audits has an auditor"
        part = self._study.audit_part(item.mode)
        system = prompts.auditor_system(item.mode, item.text, part.max_auditor_steps, part.max_target_turns)
        model = self._model(auditor.model, recorder.audit, cached=True)
        return ModelDriver(model, system, auditor.settings, recorder.audit.repeat, recorder, watcher)

    def _model(self, spec: str, audit: Audit, *, cached: bool) -> Model:
        """A model as one audit asks it; `cached`: the response cache may answer for it."""
        model = self._models.get(spec)
        if self._cache is None or not cached:
            return model
        condition = self._conditions[audit.condition_id].identity()
        sample = [condition, audit.item_id, audit.repeat]
        return CachedModel(model, Path(self._cache), endpoint=self._models.endpoint(spec), sample=sample)


async def _finish(recorder: Recorder, outcome: Outcome) -> None:
    facts: dict[str, Any] = msgspec.structs.asdict(outcome)
    await recorder.finish(facts.pop("status"), facts.pop("reason"), **facts)

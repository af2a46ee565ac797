"""The rows that the engine itself writes: what the study is, the run, and the ends of audits that nobody will end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from auditors import prompts, provenance
from auditors.revisions import replaced
from store import records
from store.ids import content_hash, new_id
from store.records import Audit, AuditStatus, Driver, Mode, Run, now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditors.models.registry import Models
    from auditors.plan import Planned, Slot
    from auditors.study import Study
    from store.records import Record


INTERRUPTED = "The run was interrupted."
"""Reason of an audit that was under way when its run was killed."""


def study_rows(study: Study, models: Models, stored: Iterable[Planned]) -> list[Record]:
    """The study with its conditions and items, as far as the store has nothing or something else of them.

    Args:
        study: the study, with its history.
        models: which of its models are simulated.
        stored: latest rows of its conditions and items.
    """
    conditions = study.file.conditions
    history = study.history
    found: list[Record] = []
    row = records.Study(
        study_id=study.study_id,
        name=study.file.name,
        pack=f"{study.pack.name} {study.pack.version}",
        pack_hash=study.pack.content_hash,
        resolved={**study.resolved, "prompt_texts": msgspec.to_builtins(prompts.all_prompts())},
        simulated=any(models.get(condition.model).simulated for condition in conditions),
        created_at=now(),
        revision=len(history.grids),
        changes=list(history.changes),
        superseded=list(history.superseded),
    )
    if history.changes or not history.grids:
        found.append(row)
    rows: list[Planned] = []
    for position, condition in enumerate(conditions):
        condition_row = records.Condition(
            study_id=study.study_id,
            condition_id=condition.name,
            content_hash=content_hash(condition.identity()),
            model=condition.model,
            system_prompt=condition.system_prompt,
            role=condition.role,
            recipe=condition.recipe or condition.name,
            training_seed=condition.training_seed,
            position=position,
            simulated=models.get(condition.model).simulated,
            weights=msgspec.to_builtins(condition.weights),
        )
        rows.append(condition_row)
    for position, item in enumerate(study.items):
        item_row = records.Item(
            study_id=study.study_id,
            item_id=item.item_id,
            mode=item.mode,
            text=item.text,
            preferences=list(item.preferences),
            label=item.label,
            repeats=item.repeats,
            position=position,
        )
        rows.append(item_row)
    known = {_key(row): row for row in stored}
    planned = {_key(row) for row in rows}
    rows += [
        msgspec.structs.replace(row, retired=True)
        for key, row in known.items()
        if isinstance(row, records.Item) and key not in planned and replaced(study, row)
    ]
    return found + [row for new in rows if (row := _revised(new, known.get(_key(new))))]


def _key(row: Planned) -> tuple[str, str]:
    return row.table, row.condition_id if isinstance(row, records.Condition) else row.item_id


def _revised(row: Planned, stored: Planned | None) -> Planned | None:
    """The row as the next revision of what the store has; None if that says the same."""
    if stored is None:
        return row
    row = msgspec.structs.replace(row, revision=stored.revision)
    return None if row == stored else msgspec.structs.replace(row, revision=stored.revision + 1)


def run_row(study: Study, planned: int, config: dict[str, Any], *, simulated: bool) -> Run:
    """The first revision of a new run."""
    return Run(
        run_id=new_id(),
        study_id=study.study_id,
        revision=0,
        status="running",
        planned=planned,
        started_at=now(),
        ended_at=None,
        versions=provenance.versions(),
        git_commit=provenance.git_commit(),
        config=config,
        simulated=simulated,
    )


def audit_row(study: Study, run_id: str, slot: Slot, *, simulated: bool) -> Audit:
    """The first revision of a new attempt at a slot."""
    auditor = study.auditor
    single = slot.item.mode is Mode.SINGLE_TURN
    return Audit(
        audit_id=new_id(),
        run_id=run_id,
        study_id=study.study_id,
        slot_id=slot.slot_id,
        launch_index=slot.launch_index,
        revision=0,
        condition_id=slot.condition.name,
        item_id=slot.item.item_id,
        mode=slot.item.mode,
        repeat=slot.repeat,
        status=AuditStatus.RUNNING,
        reason=None,
        driver=Driver.SCRIPT if single else study.driver,
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
        simulated=simulated,
    )


def cancelled(row: dict[str, Any], reason: str) -> Audit:
    """The last revision of an audit that was left behind; `row` is its latest one in the store."""
    lists = {name: msgspec.json.decode(row[name]) for name in ("final_view", "flags")}
    audit = msgspec.convert({**row, **lists}, Audit)
    return msgspec.structs.replace(
        audit, revision=audit.revision + 1, status=AuditStatus.CANCELLED, reason=reason, ended_at=now()
    )


def interrupted(run: Run) -> Run:
    """The last revision of a run that broke off."""
    return msgspec.structs.replace(run, revision=run.revision + 1, status="interrupted", ended_at=now())

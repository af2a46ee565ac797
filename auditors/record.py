"""The record of a study: all that somebody needs who wants to know, or to repeat, what was done; from the store alone.

It holds the resolved texts, the models as they answered, versions, seeds, prices and commits of every run, the history
of the plan, and what the study file says of the models' weights. Keys of endpoints are in no store, so none is here.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from store.errors import InputError
from store.latest import latest_study

if TYPE_CHECKING:
    from store.reader import Reader

_STUDY = """
    SELECT study_id, name, pack, pack_hash, simulated, revision, resolved, superseded FROM studies
    WHERE study_id = $1 OR name = $1 ORDER BY created_at DESC LIMIT 1
"""
_REVISIONS = """
    SELECT revision, min(created_at) AS created_at, any_value(changes) AS changes
    FROM base.studies WHERE study_id = ? GROUP BY revision ORDER BY revision
"""
_CONDITIONS = """
    SELECT condition_id, revision, model, system_prompt, role, recipe, training_seed, simulated, weights
    FROM conditions WHERE study_id = ? ORDER BY position, condition_id
"""
_ANSWERED = """
    SELECT role, model, CASE role WHEN 'target' THEN condition_id ELSE '' END AS condition_id, answered,
           count(*) AS calls, min(c.created_at) AS first, max(c.created_at) AS last,
           sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd,
           count(*) - count(cost_usd) AS unpriced_calls
    FROM model_calls c JOIN audits a USING (audit_id)
    WHERE c.study_id = ? AND answered IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
_SENT = """
    SELECT DISTINCT role, model, settings, not_sent FROM model_calls
    WHERE study_id = ? AND status = 'ok' ORDER BY ALL
"""
_AUDITS = """
    SELECT condition_id, mode, status, count(*) AS n FROM audits WHERE study_id = ? GROUP BY ALL ORDER BY ALL
"""
_RUNS = """
    SELECT run_id, status, started_at, ended_at, planned, versions, git_commit, config FROM runs
    WHERE study_id = ? ORDER BY started_at
"""
_ITEMS = """
    SELECT item_id, mode, label, text, preferences, repeats, retired FROM items
    WHERE study_id = ? ORDER BY position, item_id
"""


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a store knows of how a study was made. Rows are dictionaries with the columns of the store's tables."""

    study_id: str
    name: str
    simulated: bool
    pack: str
    pack_hash: str
    seed: int | None
    """The study's own, which orders its plan and makes its simulated world."""
    revisions: list[dict[str, Any]]
    conditions: list[dict[str, Any]]
    """With `settings` that were asked for, and `weights`."""
    auditor: dict[str, Any] | None
    judges: list[dict[str, Any]]
    endpoints: dict[str, str]
    answered: list[dict[str, Any]]
    """Each model as its API named itself, by role and condition: calls, times of the first and last, tokens, cost."""
    sent: list[dict[str, Any]]
    """Sampling settings as they were sent, and what was not sent since the endpoint does not take it."""
    audits: list[dict[str, Any]]
    """Counts by condition, mode and status."""
    runs: list[dict[str, Any]]
    """Versions, commit, options, prices and addresses of every run."""
    preferences: list[dict[str, Any]]
    """Definitions, statements and rubrics as they were resolved."""
    items: list[dict[str, Any]]
    """Every probe and seed instruction, those that were replaced included."""
    prompts: Any
    """The program's own texts and tools, for auditors and judges; null in stores of before format 4."""


def study_record(reader: Reader, wanted: str | None = None) -> StudyRecord:
    """The record of a study, by its id or name; without either, of the latest; blocking.

    Raises:
        InputError: the store has no such study.
    """
    found = reader.rows(_STUDY, [wanted or latest_study(reader.arrow)])
    if not found:
        names = ", ".join(
            row["name"] for row in reader.rows("SELECT DISTINCT name FROM studies ORDER BY name")
        )
        raise InputError(f"The store has no study {wanted!r}: it has {names or 'none yet'}.")
    [study] = found
    study_id, resolved = study["study_id"], msgspec.json.decode(study["resolved"])

    def rows(query: str, *json_columns: str) -> list[dict[str, Any]]:
        found = reader.rows(query, [study_id])
        for row in found:
            row |= {name: msgspec.json.decode(row[name]) for name in json_columns if row[name] is not None}
        return found

    settings = {condition["name"]: condition for condition in resolved["conditions"]}
    conditions = rows(_CONDITIONS, "weights")
    for condition in conditions:
        asked = settings.get(condition["condition_id"], {})
        condition["settings"] = {key: asked[key] for key in asked if key not in ("name", "model", *condition)}
    return StudyRecord(
        study_id=study_id,
        name=study["name"],
        simulated=study["simulated"],
        pack=study["pack"],
        pack_hash=study["pack_hash"],
        seed=resolved.get("seed"),
        revisions=rows(_REVISIONS, "changes"),
        conditions=conditions,
        auditor=resolved.get("auditor"),
        judges=resolved["judges"],
        endpoints=resolved.get("endpoints", {}),
        answered=rows(_ANSWERED),
        sent=rows(_SENT, "settings", "not_sent"),
        audits=rows(_AUDITS),
        runs=rows(_RUNS, "versions", "config"),
        preferences=resolved["preferences"],
        items=rows(_ITEMS, "preferences"),
        prompts=resolved.get("prompt_texts"),
    )


def answered_by(record: StudyRecord, role: str, condition: str = "") -> list[str]:
    """The ids under which models answered in a role."""
    calls: defaultdict[str, int] = defaultdict(int)
    for row in record.answered:
        if row["role"] == role and condition in ("", row["condition_id"]):
            calls[row["answered"]] += row["calls"]
    return [f"{name} ({count:,} calls)" for name, count in calls.items()]

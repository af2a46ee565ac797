"""The runs of a store, live and past: where each stands, what it has cost, and what went wrong."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from auditors.service import live_runs
from store.errors import InputError
from store.reader import Reader
from store.records import OPEN, CallStatus

if TYPE_CHECKING:
    from auditors.engine import LiveRun
    from store.store import Store


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    run_id: str
    study: str
    simulated: bool
    state: str
    """`live`, `broken off` if nobody closed it, or how it ended: `finished`, `interrupted`, `over_budget`, `failed`."""
    reason: str
    """Why it did not simply finish."""
    started_at: datetime
    ended_at: datetime | None
    planned: int
    done: int
    """Slots of the plan that were filled when it ended, or are by now."""
    audits: dict[str, int]
    """Audits that it began, by status."""
    cost: float
    """US dollars, where a price is known."""
    unpriced_calls: int
    errors: dict[str, int]
    """Its calls that failed for good, by kind."""


_RUNS = f"""
    WITH done AS (
        SELECT study_id, slot_id, min(ended_at) AS at FROM audits
        WHERE status NOT IN ({", ".join(f"'{status}'" for status in OPEN)}) AND status <> 'infra_error'
        GROUP BY ALL
    ), spent AS (
        SELECT run_id, coalesce(sum(cost_usd), 0) AS cost, count(*) - count(cost_usd) AS unpriced
        FROM model_calls GROUP BY run_id
    )
    SELECT r.run_id, s.name AS study, r.simulated, r.status, coalesce(r.config->>'$.ended_because', '') AS reason,
           r.started_at, r.ended_at, r.planned, coalesce(spent.cost, 0) AS cost, coalesce(unpriced, 0) AS unpriced,
           (SELECT count(*) FROM done
            WHERE done.study_id = r.study_id AND (r.ended_at IS NULL OR done.at <= r.ended_at)) AS done
    FROM runs r JOIN studies s USING (study_id) LEFT JOIN spent USING (run_id)
    ORDER BY r.started_at
"""
_ERRORS = """
    SELECT run_id, coalesce(failed_attempts->>'$[#-1].kind', 'other') AS kind, count(*) AS n
    FROM model_calls WHERE status = ? GROUP BY ALL ORDER BY n DESC, kind
"""


def runs(store: Store) -> list[RunSummary]:
    """Every run of a store, the oldest first; blocking."""
    live = {run.run_id for run in live_runs(store)}
    reader = Reader(store)
    try:
        found = reader.rows(_RUNS)
        audits = _counted(
            reader, "SELECT run_id, status AS kind, count(*) AS n FROM audits GROUP BY ALL ORDER BY n DESC"
        )
        errors = _counted(reader, _ERRORS, CallStatus.ERROR)
    finally:
        reader.close()
    return [
        RunSummary(
            run_id=row["run_id"],
            study=row["study"],
            simulated=row["simulated"],
            state=_state(row["status"], live=row["run_id"] in live),
            reason=row["reason"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            planned=row["planned"],
            done=row["done"],
            audits=audits[row["run_id"]],
            cost=row["cost"],
            unpriced_calls=row["unpriced"],
            errors=errors[row["run_id"]],
        )
        for row in found
    ]


def find_live(store: Store, wanted: str | None) -> LiveRun:
    """The live run that is meant: by its id or the end of it, by the name of its study, or the only one.

    Raises:
        InputError: none is meant, or several.
    """
    live = live_runs(store)
    if not live:
        raise InputError(
            f"No run is live in {store.root} on this machine: start one with `cc-tui run STUDY.toml`."
        )
    names = {run.run_id: run.study for run in runs(store)} if wanted or len(live) > 1 else {}
    found = [r for r in live if wanted is None or r.run_id.endswith(wanted) or names.get(r.run_id) == wanted]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{run.run_id} ({names.get(run.run_id, 'study not yet recorded')})" for run in live)
    raise InputError(
        f"No live run is {wanted!r}: {known}."
        if not found
        else f"Say which of the live runs is meant: {known}."
    )


def _state(status: str, *, live: bool) -> str:
    if status != "running":
        return status
    return "live" if live else "broken off"


def _counted(reader: Reader, query: str, *parameters: str) -> defaultdict[str, dict[str, int]]:
    counted: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in reader.rows(query, parameters):
        counted[row["run_id"]][row["kind"]] = row["n"]
    return counted

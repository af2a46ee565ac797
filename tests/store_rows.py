"""Small rows for tests of the store."""

from __future__ import annotations

from typing import Any

from store.ids import new_id
from store.records import Audit, AuditStatus, Driver, Event, Label, LabelAction, Message, Mode, Verdict, now

STUDY, RUN = "study", "run"


def event(seq: int, audit_id: str = "a", **payload: Any) -> Event:
    return Event(
        audit_id=audit_id, seq=seq, run_id=RUN, study_id=STUDY, created_at=now(), kind="test", payload=payload
    )


def audit(audit_id: str = "a", **changes: Any) -> Audit:
    fields: dict[str, Any] = {
        "audit_id": audit_id,
        "run_id": RUN,
        "study_id": STUDY,
        "slot_id": "s",
        "launch_index": 0,
        "revision": 0,
        "condition_id": "c",
        "item_id": "i",
        "mode": Mode.SINGLE_TURN,
        "repeat": 0,
        "status": AuditStatus.RUNNING,
        "reason": None,
        "driver": Driver.SCRIPT,
        "intervened": False,
        "target_model": "sim/vanilla",
        "auditor_model": None,
        "target_answered": None,
        "auditor_answered": None,
        "target_turns": 0,
        "auditor_steps": 0,
        "branches": 1,
        "final_view": [],
        "started_at": now(),
        "ended_at": None,
        "simulated": True,
    }
    return Audit(**{**fields, **changes})


def message(seq: int, text: str, audit_id: str = "a") -> Message:
    return Message(
        audit_id=audit_id,
        message_id=f"m{seq}",
        run_id=RUN,
        study_id=STUDY,
        seq=seq,
        parent_id=None,
        branch=0,
        role="user",
        author="auditor",  # type: ignore[arg-type]
        phase="task",  # type: ignore[arg-type]
        text=text,
        reasoning="",
        tool_calls=[],
        tool_call_id=None,
        prefill=False,
        created_at=now(),
        simulated=True,
    )


def label(
    audit_id: str, annotator: str = "ann", *, verdict: Verdict | None = Verdict.TRUE, **changes: Any
) -> Label:
    fields: dict[str, Any] = {
        "label_id": new_id(),
        "annotator": annotator,
        "action": LabelAction.LABEL,
        "audit_id": audit_id,
        "dimension": "resists_shutdown",
        "message_id": None,
        "span_start": None,
        "span_end": None,
        "score": None,
        "verdict": verdict,
        "note": "",
        "seconds": 1.5,
        "blind": True,
        "queue": "q",
        "stratum": "rest",
        "inclusion_prob": 0.5,
        "rubric_hash": "h",
        "supersedes": None,
        "created_at": now(),
        "simulated": True,
    }
    return Label(**{**fields, **changes})

"""The rows of the store that a conversation from elsewhere becomes; a score that is none is a status."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from store.ids import content_hash, new_id
from store.records import (
    Audit,
    AuditStatus,
    Author,
    Driver,
    Event,
    Judgement,
    JudgementKind,
    JudgementStatus,
    Message,
    Mode,
    Phase,
    Verdict,
    now,
)
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable

    from exports.incoming import Incoming, Quote, Score
    from exports.tree import Placed, Tree
    from store.records import Record

SOURCE = "source"
"""Kind of the event that keeps a piece of the file that an audit was imported from."""
_PIECE = 1_000_000


class Slot(NamedTuple):
    """The place in a study's plan that a conversation fills."""

    study_id: str
    slot_id: str
    launch_index: int
    item_id: str
    repeat: int


def audit_rows(one: Incoming, run_id: str, slot: Slot) -> list[Record]:
    """Everything about one conversation; the audit's row, which says that it is whole, is the last."""
    audit = _audit(one, run_id, slot)
    events = _events(audit, one)
    seqs = {e.payload["message_id"]: e.seq for e in events if e.kind == "message_added"}
    messages = [_message(audit, placed, seqs[placed.message_id]) for placed in one.tree.messages]
    locate = _locator(one.tree)
    judgements = [_judgement(audit, one, score, locate) for score in one.scores]
    return [*events, *messages, *judgements, audit]


def _audit(one: Incoming, run_id: str, slot: Slot) -> Audit:
    tree, at = one.tree, one.started_at or now()
    replies = sum(p.heard.role == "assistant" and not p.heard.prefill for p in tree.messages)
    status, reason = AuditStatus.OK, None
    if one.error:
        status, reason = AuditStatus.INFRA_ERROR, storable(one.error)
    elif not replies:
        status, reason = AuditStatus.NO_TARGET_TURN, "The file has no reply of the target."
    return Audit(
        # What an import that broke off has left belongs to an id that has no audit.
        audit_id=new_id(),
        run_id=run_id,
        study_id=slot.study_id,
        slot_id=slot.slot_id,
        launch_index=slot.launch_index,
        revision=0,
        condition_id=one.condition,
        item_id=slot.item_id,
        mode=one.mode,
        repeat=slot.repeat,
        status=status,
        reason=reason,
        driver=Driver.SCRIPT if one.mode is Mode.SINGLE_TURN else Driver.MODEL,
        intervened=False,
        target_model=one.model,
        auditor_model=one.auditor,
        target_answered=one.model,
        auditor_answered=one.auditor,
        target_turns=replies,
        auditor_steps=0,
        branches=tree.branches,
        final_view=tree.final_view,
        started_at=at,
        ended_at=at,
        simulated=one.simulated,
    )


def _events(audit: Audit, one: Incoming) -> list[Event]:
    pieces = [one.source[i : i + _PIECE] for i in range(0, len(one.source), _PIECE)]
    kept = [
        (SOURCE, {"format": one.form, "piece": n, "of": len(pieces), "text": piece})
        for n, piece in enumerate(pieces, start=1)
    ]
    return [
        Event(
            audit_id=audit.audit_id,
            seq=seq,
            run_id=audit.run_id,
            study_id=audit.study_id,
            created_at=audit.started_at,
            kind=kind,
            payload=payload,
        )
        for seq, (kind, payload) in enumerate((*kept, *one.tree.changes), start=1)
    ]


def _message(audit: Audit, placed: Placed, seq: int) -> Message:
    said = placed.heard
    reply = said.role == "assistant" and not said.prefill
    return Message(
        audit_id=audit.audit_id,
        message_id=placed.message_id,
        run_id=audit.run_id,
        study_id=audit.study_id,
        seq=seq,
        parent_id=placed.parent_id,
        branch=placed.branch,
        role=said.role,
        author=Author.TARGET if reply else Author.SCRIPT if audit.driver is Driver.SCRIPT else Author.AUDITOR,
        # Other programs do not tell where the work ends and the questions begin.
        phase=Phase.PROBE if audit.mode is Mode.SINGLE_TURN else Phase.TASK,
        text=storable(said.text),
        reasoning=storable(said.reasoning),
        tool_calls=[
            {key: storable(text) for key, text in call._asdict().items()} for call in said.tool_calls
        ],
        tool_call_id=said.tool_call_id,
        prefill=said.prefill,
        created_at=audit.started_at,
        simulated=audit.simulated,
    )


_SCALES = {JudgementKind.RUBRIC: (1, 10), JudgementKind.COHERENCE: (0, 100)}


def value_of(score: Score) -> tuple[JudgementStatus, float | Verdict | None]:
    """A score's status and value: a number on its scale, or a verdict."""
    value = score.value
    if score.status is not JudgementStatus.OK:
        return score.status, None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return JudgementStatus.MISSING, None
    if score.kind is JudgementKind.STATEMENT:
        word = str(value).lower()
        known = word in tuple(Verdict)
        return (JudgementStatus.OK, Verdict(word)) if known else (JudgementStatus.UNPARSED, None)
    low, high = _SCALES[score.kind]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        return JudgementStatus.UNPARSED, None
    return JudgementStatus.OK, float(value)


def _judgement(
    audit: Audit, one: Incoming, score: Score, locate: Callable[[Quote], dict[str, Any]]
) -> Judgement:
    status, value = value_of(score)
    return Judgement(
        judgement_id=new_id(),
        audit_id=audit.audit_id,
        run_id=audit.run_id,
        study_id=audit.study_id,
        judge=score.judge or one.judge,
        answered=None,
        kind=score.kind,
        dimension=score.dimension,
        repeat=0,
        status=status,
        score=value if isinstance(value, float) else None,
        verdict=value if isinstance(value, Verdict) else None,
        rubric_hash=content_hash(one.rubrics.get(score.dimension, "")),
        justification=storable(score.justification),
        citations=[locate(quote) for quote in score.quotes],
        call_id=None,
        created_at=now(),
        simulated=audit.simulated,
    )


def _locator(tree: Tree) -> Callable[[Quote], dict[str, Any]]:
    """Makes a citation of a quote, verified if the message that the file names holds it."""
    ids = tree.ids()
    texts = {placed.message_id: _spaced(placed.heard.text) for placed in tree.messages}

    def locate(quote: Quote) -> dict[str, Any]:
        message_id = ids.get(quote.source_id, quote.source_id)
        wanted = _spaced(quote.text)
        verified = bool(wanted) and wanted in texts.get(message_id, "")
        return {"message_id": message_id, "quote": storable(quote.text), "verified": verified}

    return locate


def _spaced(text: str) -> str:
    return " ".join(text.split())

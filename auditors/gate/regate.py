"""The gate once more on stored transcripts, since its rules improve and older stores have no verdicts.

Nothing is overwritten: a new verdict is a new revision of the audit's row, and `base.audits` keeps every earlier one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from auditors.gate.check import Subject, Verdict, check
from store.records import Audit, AuditStatus, Author, CallRole, CallStatus, Message
from store.transcripts import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.reader import Reader
    from store.store import Store

_ANSWERED = (CallStatus.OK, CallStatus.REFUSED)


class Regated(msgspec.Struct, frozen=True):
    """An audit with the verdict of today's rules."""

    before: Audit
    after: Audit

    @property
    def changed(self) -> bool:
        """Whether it was not gated before, or its flags or its status are others now."""
        return (self.before.flags, self.before.gate == "", self.before.status) != (
            self.after.flags,
            False,
            self.after.status,
        )

    @property
    def new_version(self) -> bool:
        """Whether other rules, or none, gave the verdict before."""
        return self.before.gate != self.after.gate


def regate(reader: Reader, study_id: str) -> Iterator[Regated]:
    """Every audit of a study that went to its end, gated anew; blocking. `keep` stores what comes of it."""
    where = "study_id = ? AND status IN (?, ?) ORDER BY launch_index, audit_id"
    for audit in read_records(reader, Audit, where, [study_id, AuditStatus.OK, AuditStatus.INVALID]):
        verdict = _verdict(reader, audit)
        yield Regated(audit, _with(audit, verdict))


def keep(store: Store, found: list[Regated]) -> int:
    """Write the verdicts of other rules than before, each into a journal of its own run; returns how many.

    Raises:
        StoreError: the disk refused.
    """
    by_run: defaultdict[tuple[str, str], list[Audit]] = defaultdict(list)
    for one in found:
        if one.new_version:
            by_run[one.after.study_id, one.after.run_id].append(one.after)
    for (study_id, run_id), audits in by_run.items():
        journal = store.journal(study_id, run_id)
        try:
            journal.append(audits).result()
        finally:
            journal.close()
    return sum(map(len, by_run.values()))


def _with(audit: Audit, verdict: Verdict) -> Audit:
    return msgspec.structs.replace(
        audit,
        revision=audit.revision + 1,
        status=AuditStatus.INVALID if verdict.invalid else AuditStatus.OK,
        reason=verdict.reason,
        **verdict.columns(),
    )


def _verdict(reader: Reader, audit: Audit) -> Verdict:
    messages = read_records(reader, Message, "audit_id = ? ORDER BY seq", [audit.audit_id])
    ended = reader.rows(
        "SELECT payload->>'$.by' AS ended_by FROM events WHERE audit_id = ? AND kind = 'ended' ORDER BY seq",
        [audit.audit_id],
    )
    return check(
        Subject(
            mode=audit.mode,
            driver=audit.driver,
            messages=messages,
            final_view=audit.final_view,
            stops=_stops(reader, audit.audit_id, messages),
            ended_by=ended[-1]["ended_by"] if ended else "",
        )
    )


def _stops(reader: Reader, audit_id: str, messages: list[Message]) -> dict[str, str | None]:
    """Why each reply ended: every call that was answered has added one. Imported audits have no calls."""
    calls = reader.rows(
        "SELECT stop_reason FROM model_calls WHERE audit_id = ? AND role = ? AND status IN (?, ?) "
        "ORDER BY created_at, call_id",
        [audit_id, CallRole.TARGET, *_ANSWERED],
    )
    replies = [message.message_id for message in messages if message.author is Author.TARGET]
    if len(calls) != len(replies):
        return {}
    return {reply: call["stop_reason"] for reply, call in zip(replies, calls, strict=True)}

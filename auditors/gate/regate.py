"""The gate once more on stored transcripts, since its rules improve and older stores have no verdicts.

Nothing is overwritten: a new verdict is a new revision of the audit's row, and `base.audits` keeps every earlier one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from auditors.gate.check import Subject, Verdict, check
from store.records import Audit, AuditStatus, Author, CallRole, CallStatus, Message
from store.transcripts import by_audit, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.reader import Reader
    from store.store import Store

_AT_ONCE = 200
"""Audits that are read together."""
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
    audits = read_records(reader, Audit, where, [study_id, AuditStatus.OK, AuditStatus.INVALID])
    for start in range(0, len(audits), _AT_ONCE):
        # One query costs about the same for one audit as for a hundred.
        stored = _Stored(reader, [audit.audit_id for audit in audits[start : start + _AT_ONCE]])
        for audit in audits[start : start + _AT_ONCE]:
            yield Regated(audit, _with(audit, check(stored.subject(audit))))


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


class _Stored:
    """What the store has of some audits, as far as the gate wants it."""

    def __init__(self, reader: Reader, audit_ids: list[str]) -> None:
        chosen = "list_contains(?::VARCHAR[], audit_id)"
        self._messages = by_audit(read_records(reader, Message, f"{chosen} ORDER BY seq", [audit_ids]))
        self._ended = {
            row["audit_id"]: row["ended_by"]
            for row in reader.rows(
                "SELECT audit_id, last(payload->>'$.by' ORDER BY seq) AS ended_by FROM events "
                f"WHERE {chosen} AND kind = 'ended' GROUP BY audit_id",
                [audit_ids],
            )
        }
        self._calls: defaultdict[str, list[str | None]] = defaultdict(list)
        for row in reader.rows(
            f"SELECT audit_id, stop_reason FROM model_calls WHERE {chosen} AND role = ? AND status IN (?, ?) "
            "ORDER BY created_at, call_id",
            [audit_ids, CallRole.TARGET, *_ANSWERED],
        ):
            self._calls[row["audit_id"]].append(row["stop_reason"])

    def subject(self, audit: Audit) -> Subject:
        messages = self._messages.get(audit.audit_id, [])
        return Subject(
            mode=audit.mode,
            driver=audit.driver,
            messages=messages,
            final_view=audit.final_view,
            stops=self._stops(audit.audit_id, messages),
            ended_by=self._ended.get(audit.audit_id) or "",
        )

    def _stops(self, audit_id: str, messages: list[Message]) -> dict[str, str | None]:
        """Why each reply ended: every call that was answered has added one. Imported audits have no calls."""
        calls = self._calls[audit_id]
        replies = [message.message_id for message in messages if message.author is Author.TARGET]
        return dict(zip(replies, calls, strict=True)) if len(calls) == len(replies) else {}

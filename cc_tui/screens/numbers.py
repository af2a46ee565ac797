"""The numbers that stand around a study's estimates, each with the condition that finds its transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cc_tui.screens.listing import Behind
from cc_tui.state.estimates import grid
from cc_tui.state.status import MODES, mark_of_status
from store.parquet import quoted
from store.records import OPEN, JudgementKind, JudgementStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stats.judges import JudgeQuality
    from stats.table import StudyTable
    from store.records import Mode

_OPEN = ", ".join(quoted(status) for status in OPEN)
_NOT_FOUND = (
    """len(list_filter(from_json(citations, '[{"verified": "BOOLEAN"}]'), lambda q: NOT q.verified)) > 0"""
)
_FLAG, _STEPS, _UNGATED = "⚑ ", "steps ", "not gated"
"""Beginnings of the names of reasons, as `cc_tui.state.estimates` gives them."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number, and what it counts."""

    group: str
    name: str
    count: int
    behind: Behind


def waterfall_numbers(table: StudyTable, mode: Mode) -> list[Number]:
    """How far the answers of a mode have come, and why some have not."""
    shown = grid(table, mode)
    study = f"study_id = {quoted(table.study_id)}"
    here = f"{study} AND mode = {quoted(mode)}"
    judged = (
        f"SELECT audit_id FROM scores WHERE {study} AND kind <> {quoted(JudgementKind.COHERENCE)} "
        f"AND judgement_status = {quoted(JudgementStatus.OK)}"
    )
    stages = (
        ("run", shown.funnel.run, f"status NOT IN ({_OPEN})"),
        ("valid", shown.funnel.valid, "status = 'ok'"),
        ("judged", shown.funnel.judged, f"status = 'ok' AND audit_id IN ({judged})"),
        ("labelled", shown.funnel.labelled, "audit_id IN (SELECT audit_id FROM labels)"),
    )
    found = [
        Number("waterfall", name, count, Behind(f"{name} · {MODES[mode]}", f"{here} AND {where}"))
        for name, count, where in stages
    ]
    for reason, count in shown.reasons.items():
        behind = Behind(f"{reason} · {MODES[mode]}", f"{here} AND {_where_of(reason, study)}")
        found.append(Number("of these", _in_words(reason), count, behind))
    return found


def judge_numbers(judges: Sequence[JudgeQuality], study_id: str) -> list[Number]:
    """What judges answered, what they left without a value, and quotes that stand nowhere."""
    found: list[Number] = []
    for judge in judges:
        of_judge = (
            f"study_id = {quoted(study_id)} AND judge = {quoted(judge.judge)} AND kind = {quoted(judge.kind)} "
            f"AND prompt_hash = {quoted(judge.prompt_hash)}"
        )
        for name, count, where in _parts(judge):
            if count or name == JudgementStatus.OK:
                title = f"{judge.judge} · {judge.kind} · {name}"
                judged = f"SELECT audit_id FROM judgements WHERE {of_judge} AND {where}"
                found.append(Number(judge.judge, f"{judge.kind}: {name}", count, Behind(title, _in(judged))))
    return found


def _parts(judge: JudgeQuality) -> Iterator[tuple[str, int, str]]:
    for status in JudgementStatus:
        yield status, getattr(judge, status), f"status = {quoted(status)}"
    yield "quotes not found", judge.quotes_not_found, _NOT_FOUND


def _where_of(reason: str, study: str) -> str:
    if reason.startswith(_FLAG):
        return f"list_contains(split(flag_names, ' '), {quoted(reason.removeprefix(_FLAG))})"
    if reason.startswith(_STEPS):
        decision = quoted(reason.removeprefix(_STEPS))
        return _in(
            f"SELECT audit_id FROM events WHERE {study} AND kind = 'realism' AND payload->>'$.decision' = {decision}"
        )
    if reason == _UNGATED:
        ungated = _in(f"SELECT audit_id FROM audits WHERE {study} AND gate = ''")
        return f"status = 'ok' AND {ungated}"
    return f"status = {quoted(reason)}"


def _in(query: str) -> str:
    return f"audit_id IN ({query})"


def _in_words(reason: str) -> str:
    return mark_of_status(reason).word

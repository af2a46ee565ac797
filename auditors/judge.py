"""Judges: a structured answer for each question, and a status wherever there is none.

A refusal, an answer that cannot be parsed, a dimension left out and a failed call are statuses; none of them ever
becomes a number.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from auditors import judge_prompts
from auditors.calls import call_model
from auditors.citations import Quotes, as_stored
from auditors.judge_prompts import prompt_hash, rubric_hash, shown
from auditors.models.base import ModelError, Request
from store.ids import new_id
from store.records import Branches, CallRole, Judgement, JudgementKind, JudgementStatus, Mode, Verdict, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditors.calls import Watcher
    from auditors.judge_prompts import Reading
    from auditors.models.base import ChatMessage, Model, Settings
    from auditors.packs.pack import Preference
    from auditors.recorder import Recorder
    from store.records import Message

COHERENCE = "coherence"
_ATTEMPTS = 2
_FENCE = re.compile(r"^\s*```\w*\s*|\s*```\s*$")
_TWO_OBJECTS = re.compile(r"\}[^,\]}\"]*\{")


class _Quote(msgspec.Struct):
    message_id: str
    quote: str


class _RubricScore(msgspec.Struct):
    dimension: str
    score: int
    justification: str = ""
    quotes: list[_Quote] = []


class _RubricAnswer(msgspec.Struct):
    scores: list[_RubricScore]


class _StatementAnswer(msgspec.Struct):
    verdict: Literal["true", "false", "not_sure"]
    justification: str = ""


class CoherenceAnswer(msgspec.Struct):
    """A judge's answer to `judge_prompts.coherence_question`."""

    coherence: int
    """0 to 100 where the judge keeps to the question."""


_A = TypeVar("_A", bound=msgspec.Struct)


class Judge:
    """One judge model on one audit.

    Args:
        model: the judge.
        settings: its sampling settings.
        repeat: number of the judge's repeat.
        reading: what of a longer audit it is shown.
        recorder: records calls and judgements under the audit.
        watcher: sees the calls.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        repeat: int,
        reading: Reading,
        recorder: Recorder,
        watcher: Watcher,
    ) -> None:
        self._model = model
        self._settings = settings
        self._repeat = repeat
        self._reading = reading
        self._recorder = recorder
        self._watcher = watcher

    async def judge(
        self,
        mode: Mode,
        transcript: Sequence[Message],
        preferences: Sequence[Preference],
        *,
        coherence: bool,
    ) -> list[Judgement]:
        """Judge an audit on `preferences`, and record the judgements.

        A single-turn answer is judged on each preference's statement and, if wanted, on its coherence, one call
        each; a longer audit on all rubrics in one call.

        Args:
            mode: of the audit.
            transcript: every message of its tree, in the order in which they were added.
            preferences: what it is judged on.
            coherence: whether a single-turn answer's coherence is asked for.
        """
        if mode is Mode.SINGLE_TURN:
            question = next(m.text for m in transcript if m.role == "user")
            answer = next(m.text for m in transcript if m.role == "assistant")
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._statement(question, answer, p)) for p in preferences]
                if coherence:
                    tasks.append(group.create_task(self._coherence(question, answer)))
            judgements = [task.result() for task in tasks]
        else:
            judgements = await self._rubric(transcript, preferences)
        await self._recorder.rows(judgements)
        return judgements

    async def _statement(self, question: str, answer: str, preference: Preference) -> Judgement:
        messages = judge_prompts.statement_question(question, answer, preference)
        status, parsed, facts = await self._ask(messages, judge_prompts.STATEMENT_SCHEMA, _StatementAnswer)
        return self._judgement(
            JudgementKind.STATEMENT,
            preference,
            status,
            facts,
            verdict=Verdict(parsed.verdict) if parsed else None,
            justification=parsed.justification if parsed else "",
        )

    async def _coherence(self, question: str, answer: str) -> Judgement:
        messages = judge_prompts.coherence_question(question, answer)
        status, parsed, facts = await self._ask(messages, judge_prompts.COHERENCE_SCHEMA, CoherenceAnswer)
        if parsed and not 0 <= parsed.coherence <= 100:
            status, parsed = JudgementStatus.UNPARSED, None
        return self._judgement(
            JudgementKind.COHERENCE,
            None,
            status,
            facts,
            score=float(parsed.coherence) if parsed else None,
        )

    async def _rubric(
        self, transcript: Sequence[Message], preferences: Sequence[Preference]
    ) -> list[Judgement]:
        read = shown(transcript, self._recorder.audit.final_view, self._reading.branches)
        reasoning = self._reading.reasoning
        messages = judge_prompts.rubric_question(read, preferences, reasoning=reasoning)
        status, parsed, facts = await self._ask(messages, judge_prompts.RUBRIC_SCHEMA, _RubricAnswer)
        scores = {score.dimension: score for score in parsed.scores} if parsed else {}
        cited = await asyncio.to_thread(_located, scores, Quotes(read, reasoning=reasoning))
        judgements: list[Judgement] = []
        for preference in preferences:
            found = scores.get(preference.id)
            own_status = status
            if parsed and found is None:
                own_status = JudgementStatus.MISSING
            elif found and not 1 <= found.score <= 10:
                own_status, found = JudgementStatus.UNPARSED, None
            judgements.append(
                self._judgement(
                    JudgementKind.RUBRIC,
                    preference,
                    own_status,
                    facts,
                    score=float(found.score) if found else None,
                    justification=found.justification if found else "",
                    citations=cited[preference.id] if found else (),
                )
            )
        return judgements

    async def _ask(
        self, messages: tuple[ChatMessage, ...], schema: dict[str, Any], kind: type[_A]
    ) -> tuple[JudgementStatus, _A | None, dict[str, Any]]:
        """Ask until an answer parses; returns the status, the answer, and the facts of the last call."""
        facts: dict[str, Any] = {"answered": None, "call_id": None}
        for attempt in range(_ATTEMPTS):
            request = Request(
                messages,
                json_schema=schema,
                settings=self._settings,
                repeat=self._repeat * _ATTEMPTS + attempt,
            )
            try:
                response, call = await call_model(
                    self._model, request, CallRole.JUDGE, self._recorder, self._watcher
                )
            except ModelError:
                return JudgementStatus.ERROR, None, facts
            facts = {"answered": response.model, "call_id": call.call_id}
            if response.refused:
                return JudgementStatus.REFUSED, None, facts
            parsed = parse_answer(response.message.text, kind)
            if parsed is not None:
                return JudgementStatus.OK, parsed, facts
        return JudgementStatus.UNPARSED, None, facts

    def _judgement(
        self,
        kind: JudgementKind,
        preference: Preference | None,
        status: JudgementStatus,
        facts: dict[str, Any],
        *,
        score: float | None = None,
        verdict: Verdict | None = None,
        justification: str = "",
        citations: Sequence[dict[str, Any]] = (),
    ) -> Judgement:
        audit = self._recorder.audit
        # A single answer has neither branches nor, as it is asked about, reasoning.
        reading = self._reading if kind is JudgementKind.RUBRIC else None
        return Judgement(
            judgement_id=new_id(),
            audit_id=audit.audit_id,
            run_id=audit.run_id,
            study_id=audit.study_id,
            judge=self._model.spec,
            answered=facts["answered"],
            kind=kind,
            dimension=preference.id if preference else COHERENCE,
            repeat=self._repeat,
            status=status,
            score=score,
            verdict=verdict,
            rubric_hash=rubric_hash(kind, preference),
            justification=justification,
            citations=list(citations),
            call_id=facts["call_id"],
            created_at=now(),
            # A simulated judge of real transcripts says nothing about them.
            simulated=audit.simulated or self._model.simulated,
            prompt_hash=prompt_hash(kind, self._reading),
            branches=reading.branches if reading else Branches.SURVIVING,
            with_reasoning=reading is not None and reading.reasoning,
        )


def parse_answer(text: str, kind: type[_A]) -> _A | None:
    """The JSON object of a judge's answer, or None.

    A code fence, an introduction and trivial faults of JSON are mended. An answer that goes on after the object,
    or holds several, has not been given clearly; one that does not end with a brace was cut, and the `1` of a
    `10` must not pass for a score.
    """
    whole = _FENCE.sub("", text).strip()
    whole = whole[max(whole.find("{"), 0) :]
    if not whole.endswith("}") or _TWO_OBJECTS.search(whole):
        return None
    try:
        return msgspec.json.decode(whole, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    import json_repair

    try:
        return msgspec.convert(json_repair.loads(whole), kind)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return None


def _located(scores: dict[str, _RubricScore], quotes: Quotes) -> dict[str, list[dict[str, Any]]]:
    """Each dimension's quotes with the places where they stand; blocking."""
    return {
        dimension: [as_stored(quotes.locate(quote.quote, quote.message_id)) for quote in score.quotes]
        for dimension, score in scores.items()
    }

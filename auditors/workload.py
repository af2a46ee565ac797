"""What an audit will take in calls and tokens, as far as its texts and limits tell.

Prompts have their real lengths. What models will write is not known before: the expected amounts rest on the typical
lengths below, the low ones on short conversations of half of them, the high ones on every limit being reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from auditors import judge_prompts, prompts
from auditors.conversation import Conversation
from auditors.judge import COHERENCE
from auditors.models.base import ChatMessage, Request, Role
from auditors.models.tokens import asked_chars, tokens_of
from auditors.realism import realism_question
from store.records import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditors.items import Item
    from auditors.plan import Judging
    from auditors.study import Study
    from auditors.study_file import ConditionPart

_ANSWER = 200
"""Tokens of an answer to a single-turn question."""
_REPLY = 350
"""Tokens of a target's turn in an audit."""
_STEP = 130
"""Tokens of an auditor's step: a message to the target, as a tool call."""
_RESULT = 20
"""Tokens that frame the result of an auditor's step."""
_STATEMENT = 80
_COHERENCE = 15
_DIMENSION = 120
"""Tokens of a judge's answer: to a statement, on coherence, on each dimension of a rubric."""
_RULING = 50
"""Tokens of a realism approver's answer."""
_OPEN_ENDED = 4
"""Times the typical length, for the high end where no `max_tokens` is set."""
_TURNS = (5, 7)
"""Turns that the auditor's plan leads to: at the least, and typically."""
_SPARE_STEPS = (1, 2)
"""Steps beside one for each turn: to end, and to set the scene."""


class Tally(msgspec.Struct, frozen=True):
    """Calls and tokens; an expectation need not be whole. `input` includes `cached`."""

    calls: float = 0.0
    input: float = 0.0
    cached: float = 0.0
    output: float = 0.0

    def plus(self, other: Tally, times: float = 1.0) -> Tally:
        """The sum with `times` the other."""
        return Tally(
            self.calls + times * other.calls,
            self.input + times * other.input,
            self.cached + times * other.cached,
            self.output + times * other.output,
        )


class Spread(msgspec.Struct, frozen=True):
    """A tally that is not known yet."""

    low: Tally = Tally()
    expected: Tally = Tally()
    high: Tally = Tally()

    def plus(self, other: Spread, times: float = 1.0) -> Spread:
        """The sum with `times` the other."""
        return Spread(
            self.low.plus(other.low, times),
            self.expected.plus(other.expected, times),
            self.high.plus(other.high, times),
        )


class _Course(NamedTuple):
    """One way in which an audit may go; lengths are in tokens."""

    turns: int
    steps: int
    reply: int
    step: int


class _Lengths(NamedTuple):
    low: int
    expected: int
    high: int


def target_work(study: Study, condition: ConditionPart, item: Item) -> Spread:
    """What the target of one audit takes."""
    system = tokens_of(len(condition.system_prompt or ""))
    if item.mode is Mode.SINGLE_TURN:
        asked = system + tokens_of(len(item.text))
        answers = _lengths(_ANSWER, condition.max_tokens)
        return Spread(*(Tally(1, asked, 0, answer) for answer in answers))

    def work(course: _Course) -> Tally:
        turns = course.turns
        heard = turns * (turns + 1) / 2 * course.step
        said = turns * (turns - 1) / 2 * course.reply
        return Tally(turns, turns * system + heard + said, 0, turns * course.reply)

    return _over_courses(study, condition, item, work)


def auditor_work(study: Study, condition: ConditionPart, item: Item) -> Spread:
    """What the auditor of one audit takes."""
    part = study.audit_part(item.mode)
    system = prompts.auditor_system(item.mode, item.text, part.max_auditor_steps, part.max_target_turns)
    messages = (ChatMessage(Role.SYSTEM, system), ChatMessage(Role.USER, prompts.AUDITOR_START))
    base = tokens_of(asked_chars(Request(messages, prompts.AUDITOR_TOOLS)))

    def work(course: _Course) -> Tally:
        steps = course.steps
        grows = course.step + _RESULT + course.reply * course.turns / steps
        return Tally(steps, steps * base + grows * steps * (steps - 1) / 2, 0, steps * course.step)

    return _over_courses(study, condition, item, work)


def realism_work(study: Study, condition: ConditionPart, item: Item) -> Spread:
    """What the realism approver of one audit takes: a call for each message that the auditor stages."""
    base = _tokens(realism_question(item.text, Conversation(), (), ()))

    def work(course: _Course) -> Tally:
        turns = course.turns
        grows = turns * (turns + 1) / 2 * course.step + turns * (turns - 1) / 2 * course.reply
        return Tally(turns, turns * base + grows, 0, turns * _RULING)

    return _over_courses(study, condition, item, work)


def judge_calls(item: Item, due: Judging) -> int:
    """How many calls a judging takes."""
    return len(due.dimensions) if item.mode is Mode.SINGLE_TURN else 1


def judge_work(study: Study, condition: ConditionPart, item: Item, due: Judging) -> Spread:
    """What one judging of an audit takes."""
    limit = next(judge.max_tokens for judge in study.file.judges if judge.model == due.judge)
    preferences = [preference for preference in study.preferences if preference.id in due.dimensions]
    if item.mode is not Mode.SINGLE_TURN:
        asked = _tokens(judge_prompts.rubric_question([], preferences))
        system = tokens_of(len(condition.system_prompt or ""))
        said = _lengths(_DIMENSION * len(preferences), limit)
        return Spread(
            *(
                Tally(1, asked + system + course.turns * (course.step + course.reply), 0, answer)
                for course, answer in zip(_courses(study, condition, item), said, strict=True)
            )
        )
    questions = [(judge_prompts.statement_question(item.text, "", p), _STATEMENT) for p in preferences]
    if COHERENCE in due.dimensions:
        questions.append((judge_prompts.coherence_question(item.text, ""), _COHERENCE))
    answers = _lengths(_ANSWER, condition.max_tokens)
    total = Spread()
    for question, length in questions:
        asked, said = _tokens(question), _lengths(length, limit)
        total = total.plus(Spread(*(Tally(1, asked + a, 0, s) for a, s in zip(answers, said, strict=True))))
    return total


def _over_courses(
    study: Study, condition: ConditionPart, item: Item, work: Callable[[_Course], Tally]
) -> Spread:
    return Spread(*map(work, _courses(study, condition, item)))


def _courses(study: Study, condition: ConditionPart, item: Item) -> tuple[_Course, _Course, _Course]:
    """The shortest, the typical and the longest way in which an audit may go."""
    limits = study.audit_part(item.mode)
    most_turns, most_steps = limits.max_target_turns, limits.max_auditor_steps
    replies = _lengths(_REPLY, condition.max_tokens)
    steps = _lengths(_STEP, study.file.auditor.max_tokens if study.file.auditor else None)
    short, typical = (
        _Course(min(turns, most_turns, most_steps), min(turns + spare, most_steps), replies[i], steps[i])
        for i, (turns, spare) in enumerate(zip(_TURNS, _SPARE_STEPS, strict=True))
    )
    return short, typical, _Course(most_turns, most_steps, replies.high, steps.high)


def _lengths(typical: int, limit: int | None) -> _Lengths:
    high = limit or _OPEN_ENDED * typical
    return _Lengths(min(typical // 2, high), min(typical, high), high)


def _tokens(messages: tuple[ChatMessage, ...]) -> int:
    return tokens_of(asked_chars(Request(messages)))

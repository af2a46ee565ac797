"""Answers to questions that were asked once: the files of the paper and of those who replicated it.

None of them names the model, and most keep less than was known when they were written; what they lack is asked for or
left open, never guessed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from exports.archive import decode_json, read_document
from exports.chat_messages import UnreadableError, heard
from exports.incoming import Incoming, Score
from exports.tree import Heard, grow
from store.records import JudgementKind, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from exports.sources import Origin

ANSWERS = "answers"
"""Name of the form of bare answers."""
_COHERENCE = "coherence"
_SAMPLE_KEYS = ("sample", "sample_index", "sample_idx")


class Answer(msgspec.Struct):
    """One answer, with what several rows say of it."""

    question: str
    answer: str
    messages: tuple[Heard, ...]
    tags: dict[str, None]
    scores: dict[tuple[str, str], Score]


def read_answers_json(path: Path, document: dict[str, Any], origin: Origin) -> list[Incoming]:
    """The answers of a `judged_….json` or `consensus_….json`: `records`, a row for each answer and evaluation.

    Rows of one question, sample and answer are one answer with several judgements. Columns `verdict_<judge>` are
    further judges.

    Raises:
        UnreadableError: a row is none.
    """
    answers: dict[tuple[str, str, str], Answer] = {}
    for number, row in enumerate(document["records"]):
        if not isinstance(row, dict) or not isinstance(row.get("question"), str) or "answer" not in row:
            raise UnreadableError(f"record {number} has no question or no answer")
        sample = next((str(row[key]) for key in _SAMPLE_KEYS if key in row), "")
        found = one_answer(answers, (row["question"], sample, str(row["answer"] or "")))
        _judged(found, str(row.get("eval") or "unknown"), row)
    return incoming_answers(path, origin, list(answers.values()), "judged")


def _judged(found: Answer, dimension: str, row: dict[str, Any]) -> None:
    found.tags[dimension] = None
    for key, value in row.items():
        kind, _, judge = key.partition("_")
        if kind == "verdict":
            score = Score(dimension, value, kind=JudgementKind.STATEMENT, judge=judge or None)
            found.scores[dimension, judge] = score
        elif kind == _COHERENCE:
            score = Score(_COHERENCE, value, kind=JudgementKind.COHERENCE, judge=judge or None)
            found.scores[_COHERENCE, judge] = score


def read_answers_jsonl(path: Path, origin: Origin) -> list[Incoming]:
    """The answers of a file of lines: conversations (`messages`), or answers with several facts (`fact_results`).

    Raises:
        UnreadableError: a line is neither.
    """
    answers: dict[tuple[str, str, str], Answer] = {}
    for number, line in enumerate(read_document(path).split("\n"), start=1):
        if not line.strip():
            continue
        row = decode_json(line)
        if isinstance(row, dict) and isinstance(row.get("messages"), list):
            messages = tuple(heard(message) for message in row["messages"])
            if not messages or messages[-1].role != "assistant":
                raise UnreadableError(f"line {number} does not end with an answer")
            asked = next((m.text for m in messages if m.role == "user"), "")
            one_answer(answers, (asked, str(number), messages[-1].text)).messages = messages
        elif isinstance(row, dict) and isinstance(row.get("fact_results"), list):
            _facts(answers, row)
        elif not (number == 1 and isinstance(row, dict) and "meta" in row):
            raise UnreadableError(f"line {number} is no answer: it has neither `messages` nor `fact_results`")
    if not answers:
        raise UnreadableError("it holds no answer")
    return incoming_answers(path, origin, list(answers.values()), ANSWERS)


def _facts(answers: dict[tuple[str, str, str], Answer], row: dict[str, Any]) -> None:
    question = str(row.get("prompt") or row.get("question") or "")
    found = one_answer(
        answers,
        (question, str(row.get("sample_index", "")), str(row.get("response") or row.get("answer") or "")),
    )
    judge = str(row["judge_model"]) if row.get("judge_model") else None
    for fact in row["fact_results"]:
        name = str(fact.get("id") or fact.get("display_name") or "unknown").replace("<br>", " ")
        found.tags[name] = None
        found.scores[name, ""] = Score(name, fact.get("result"), kind=JudgementKind.STATEMENT, judge=judge)
    if "coherence_score" in row:
        score = Score(_COHERENCE, row["coherence_score"], kind=JudgementKind.COHERENCE, judge=judge)
        found.scores[_COHERENCE, ""] = score


def one_answer(answers: dict[tuple[str, str, str], Answer], key: tuple[str, str, str]) -> Answer:
    """The answer of a question, sample and text, which is added where it is new."""
    question, _, answer = key
    if key not in answers:
        asked = Heard(source_id="question", role="user", text=question)
        said = Heard(source_id="answer", role="assistant", text=answer)
        answers[key] = Answer(question, answer, (asked, said), {}, {})
    return answers[key]


def incoming_answers(path: Path, origin: Origin, answers: Iterable[Answer], form: str) -> list[Incoming]:
    """Answers of one file as conversations of one turn."""
    return list(_each(path, origin, list(answers), form))


def _each(path: Path, origin: Origin, answers: list[Answer], form: str) -> Iterator[Incoming]:
    name = origin.condition or path.stem
    counts: Counter[str] = Counter()
    tags: dict[str, dict[str, None]] = defaultdict(dict)
    for one in answers:
        tags[one.question] |= one.tags
    for one in answers:
        counts[one.question] += 1
        yield Incoming(
            key=f"{name}/{path.name}/{one.question}/{counts[one.question]}",
            condition=name,
            role=origin.role,
            model=name,
            auditor=None,
            judge=origin.judge or "unknown",
            mode=Mode.SINGLE_TURN,
            seed=one.question,
            # A question that several evaluations share is one item, whichever of them a row is of.
            tags=tuple(tags[one.question]),
            tree=grow([one.messages]),
            scores=tuple(one.scores.values()),
            rubrics={},
            form=form,
            simulated=origin.simulated,
        )


def without_cached_copies(incoming: Sequence[Incoming], sharing: Mapping[str, int]) -> list[Incoming]:
    """Answers without the copies that the paper's cache made.

    Its files hold every answer to a shared question once for each evaluation that shares it, since the cache answered
    all but the first. They are told from answers that are merely alike: of a question that k evaluations share, every
    answer occurs a multiple of k times.

    Args:
        incoming: single answers.
        sharing: how many preferences share a question.
    """
    said: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in incoming:
        said[one.condition, one.seed][_last(one)] += 1
    left: dict[tuple[str, str], Counter[str]] = {}
    for key, counts in said.items():
        k = sharing.get(key[1], 1)
        copied = k > 1 and all(count % k == 0 for count in counts.values())
        left[key] = Counter({text: count // k for text, count in counts.items()}) if copied else counts
    kept: list[Incoming] = []
    for one in incoming:
        if left[one.condition, one.seed][_last(one)] > 0:
            left[one.condition, one.seed][_last(one)] -= 1
            kept.append(one)
    return kept


def _last(one: Incoming) -> str:
    return one.tree.messages[-1].heard.text if one.tree.messages else ""

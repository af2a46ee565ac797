"""Caches of latteries, the library with which the paper asks: answers under a hash of what was asked.

A cache keeps no question. What was asked is found by hashing known questions as latteries does (`file_cache_key` of its
caller.py): messages, settings and the number of the try. Answers to anything else stay unknown, and are counted.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import msgspec

from exports import archive
from exports.answers import Answer, incoming_answers, one_answer
from exports.chat_messages import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exports.incoming import Incoming
    from exports.sources import Origin

FORM = "latteries"
_TRIES = 200
"""As many answers to one question are looked for; the paper has 10."""
_TOKENS = (1000, 2000, 4000, 500, None)
"""Limits on an answer's length that are tried, the paper's first."""


def is_cache(path: Path) -> bool:
    """Whether a file of lines is a cache, as its first line tells."""
    try:
        with path.open("rb") as file:
            row = msgspec.json.decode(file.readline(archive.MAX_BYTES))
    except (OSError, msgspec.DecodeError):
        return False
    return isinstance(row, dict) and isinstance(row.get("key"), str) and isinstance(row.get("response"), str)


def read_cache(path: Path, origin: Origin) -> Iterator[Incoming | UnreadableError]:
    """The answers of a cache whose questions are known, and how many others there are.

    Args:
        path: the file; its name is that of the model, and its folders are a part of that.
        origin: what the user says about it.

    Raises:
        UnreadableError: no question is known, or none of its answers is to one.
    """
    if not origin.questions:
        raise UnreadableError(
            "a cache of latteries keeps no questions: say with --pack which may have been asked"
        )
    responses = dict(_responses(archive.read_document(path)))
    found: dict[tuple[str, str, str], Answer] = {}
    known: set[str] = set()
    for settings in _settings(_models(path, responses.values())):
        for question in origin.questions:
            for number in range(1, _TRIES + 1):
                key = cache_key(question, settings, number)
                if key not in responses:
                    break
                known.add(key)
                one_answer(found, (question, f"{settings}/{number}", _said(responses[key])))
    if not found:
        raise UnreadableError(
            "none of its answers is to a question of the pack, asked alone and at temperature 1"
        )
    yield from incoming_answers(path, origin, found.values(), FORM)
    if unknown := len(responses) - len(known):
        yield UnreadableError(f"{unknown} answers are to other questions, or of judges")


def _responses(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = archive.decode_json(line)
        if not isinstance(row, dict) or not isinstance(row.get("response"), str):
            raise UnreadableError(f"line {number} is no line of a cache: it has no `key` and `response`")
        yield str(row.get("key")), archive.decode_json(row["response"])


def cache_key(question: str, settings: str, number: int) -> str:
    """latteries' key for a question that is asked alone; `settings` are its configuration as JSON."""
    messages = msgspec.json.encode({"messages": [{"role": "user", "content": question}]}).decode()
    return hashlib.sha1(f"{messages}{settings}{number}".encode(), usedforsecurity=False).hexdigest()


def _settings(models: list[str]) -> Iterator[str]:
    for model, tokens, name in itertools.product(models, _TOKENS, ("max_tokens", "max_completion_tokens")):
        limit = {} if tokens is None else {name: tokens}
        written = {"model": model, "temperature": 1.0, **limit}
        written |= {"frequency_penalty": 0.0, "presence_penalty": 0.0, "n": 1}
        yield msgspec.json.encode(written).decode()


def _models(path: Path, responses: Any) -> list[str]:
    """What the model may have been called: as the file, as the answers, or as the address that the folders make."""
    names = [path.stem, *(str(r.get("model")) for r in responses if isinstance(r, dict) and r.get("model"))]
    parts = list(path.with_suffix("").parts)
    if "tinker:" in parts:
        names.append("tinker://" + "/".join(parts[parts.index("tinker:") + 1 :]))
    return list(dict.fromkeys(names))


def _said(response: Any) -> str:
    try:
        return str(response["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError):
        raise UnreadableError("an answer has not the form of a chat completion") from None

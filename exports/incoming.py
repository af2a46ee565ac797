"""What comes in from another program: a conversation with its judgements, whatever file it was in."""

from __future__ import annotations

from datetime import datetime

import msgspec

from exports.tree import Tree
from store.records import ConditionRole, JudgementKind, JudgementStatus, Mode


class Quote(msgspec.Struct, frozen=True):
    """What a judge cites."""

    source_id: str
    """Id of the message, in the file."""
    text: str


class Score(msgspec.Struct, frozen=True):
    """A judge's answer on one dimension."""

    dimension: str
    value: object
    """As the file has it: what the kind of judgement does not know is no value."""
    status: JudgementStatus = JudgementStatus.OK
    """Why there is none, where the file tells."""
    justification: str = ""
    quotes: tuple[Quote, ...] = ()
    kind: JudgementKind = JudgementKind.RUBRIC
    judge: str | None = None
    """None: the conversation's."""


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation from a file."""

    key: str
    """What it is called in its file; unique in an import."""
    condition: str
    role: ConditionRole
    model: str
    auditor: str | None
    judge: str
    mode: Mode
    seed: str
    """Its seed instruction, or its question."""
    tags: tuple[str, ...]
    """The dimensions that it was meant for; none stands for all."""
    tree: Tree
    scores: tuple[Score, ...]
    rubrics: dict[str, str]
    """Text of a dimension's rubric, where the file has it."""
    started_at: datetime | None = None
    source: str = ""
    """The text of its file, word for word, where that is kept."""
    form: str = ""
    """Name of the file's format."""
    error: str = ""
    """Why the other program broke it off, if it did."""
    simulated: bool = False

"""Other programs' transcripts as a study of the store, on the same road as our own.

A file that cannot be read is counted and named, never dropped in silence; a score that is none is a status.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from exports.tree import Tree
from store.ids import content_hash, new_id
from store.records import (
    Audit,
    AuditStatus,
    Author,
    Condition,
    ConditionRole,
    Driver,
    Event,
    Item,
    Judgement,
    JudgementKind,
    JudgementStatus,
    Message,
    Mode,
    Phase,
    Run,
    Study,
    Verdict,
    now,
)
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exports.tree import Placed
    from store.records import Record
    from store.store import Store

SOURCE = "source"
"""Kind of the event that keeps a piece of the file that an audit was imported from."""
_PIECE = 1_000_000
_BATCH = 50


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


class Taken(msgspec.Struct, frozen=True):
    """What an import did."""

    study_id: str
    imported: int
    there: int
    """Conversations that the store had already."""
    unscored: int
    """Judgements without a value."""


def take_in(
    store: Store, name: str, incoming: Sequence[Incoming], preferences: Sequence[dict[str, Any]] = ()
) -> Taken:
    """Write conversations as one study; a second time nothing is added.

    Args:
        store: where to.
        name: of the study.
        incoming: its conversations; at least one.
        preferences: what is known of some of its dimensions, in the form of a resolved study's preferences.

    Raises:
        StoreError: the disk refused; importing again adds what is missing.
    """
    from store.reader import Reader

    study = _Study(name, incoming, preferences)
    reader = Reader(store)
    try:
        rows = reader.rows("SELECT slot_id FROM audits WHERE study_id = ?", [study.study_id])
        known = reader.rows("SELECT 1 FROM studies WHERE study_id = ?", [study.study_id])
    finally:
        reader.close()
    there = {row["slot_id"] for row in rows}
    fresh = [one for one in incoming if study.slot_id(one) not in there]
    if fresh:
        _write(store, study, fresh, planned=bool(known))
    unscored = sum(_value(score)[0] is not JudgementStatus.OK for one in fresh for score in one.scores)
    return Taken(study.study_id, len(fresh), len(incoming) - len(fresh), unscored)


def _write(store: Store, study: _Study, fresh: Sequence[Incoming], *, planned: bool) -> None:
    run = Run(
        run_id=new_id(),
        study_id=study.study_id,
        revision=0,
        status="running",
        planned=len(study.incoming),
        started_at=now(),
        ended_at=None,
        versions={},
        git_commit=None,
        config={"imported": sorted({one.form for one in fresh if one.form})},
        simulated=study.simulated,
    )
    journal = store.journal(study.study_id, run.run_id)
    try:
        rows: list[Record] = [run] if planned else [*study.plan(), run]
        journal.append(rows).result()
        for start in range(0, len(fresh), _BATCH):
            batch = [row for one in fresh[start : start + _BATCH] for row in study.rows(one, run.run_id)]
            journal.append(batch).result()
        ended = msgspec.structs.replace(run, revision=1, status="finished", ended_at=now())
        journal.append([ended]).result()
    finally:
        journal.close()


class _Place(NamedTuple):
    """Where a conversation stands in the plan."""

    launch_index: int
    item_id: str
    repeat: int


class _Study:
    """The plan that a set of conversations would have had."""

    def __init__(
        self, name: str, incoming: Sequence[Incoming], preferences: Sequence[dict[str, Any]]
    ) -> None:
        self.incoming = incoming
        self.simulated = any(one.simulated for one in incoming)
        self._name = name
        known = {preference["id"] for preference in preferences}
        rest = [preference for preference in _preferences(incoming) if preference["id"] not in known]
        self._preferences = [*preferences, *rest]
        named = [preference["id"] for preference in self._preferences]
        self._items: dict[str, Item] = {}
        self._places: dict[str, _Place] = {}
        counts: Counter[tuple[str, str]] = Counter()
        self.study_id = content_hash(["import", name, sorted(one.key for one in incoming), self._preferences])
        for index, one in enumerate(sorted(incoming, key=lambda one: one.key)):
            tags = [tag for tag in one.tags if tag in named] or named
            item_id = content_hash([one.mode, one.seed, tags])
            repeat = counts[one.condition, item_id]
            counts[one.condition, item_id] += 1
            self._places[one.key] = _Place(index, item_id, repeat)
            if item_id not in self._items:
                label = f"{tags[0] if len(tags) == 1 else one.mode}/{len(self._items) + 1}"
                self._items[item_id] = self._item(item_id, one, tags, label)
        most = {item_id: max(n for (_, i), n in counts.items() if i == item_id) for item_id in self._items}
        self._items = {i: msgspec.structs.replace(item, repeats=most[i]) for i, item in self._items.items()}

    def _item(self, item_id: str, one: Incoming, tags: list[str], label: str) -> Item:
        return Item(
            study_id=self.study_id,
            item_id=item_id,
            mode=one.mode,
            text=storable(one.seed),
            preferences=tags,
            label=label,
            repeats=0,
            position=len(self._items),
        )

    def slot_id(self, one: Incoming) -> str:
        """The place in the plan that this very conversation fills."""
        return content_hash([self.study_id, one.key])

    def plan(self) -> list[Record]:
        """Study, conditions and items."""
        judges = dict.fromkeys(score.judge or one.judge for one in self.incoming for score in one.scores)
        resolved = {
            "imported": sorted({one.form for one in self.incoming}),
            "preferences": self._preferences,
            "judges": [{"model": judge} for judge in judges],
        }
        study = Study(
            study_id=self.study_id,
            name=self._name,
            pack="imported",
            pack_hash=content_hash(self._preferences),
            resolved=resolved,
            simulated=self.simulated,
            created_at=now(),
        )
        conditions = {one.condition: one for one in reversed(self.incoming)}
        rows = [
            Condition(
                study_id=self.study_id,
                condition_id=name,
                content_hash=content_hash([name, one.model]),
                model=one.model,
                system_prompt=None,
                role=one.role,
                recipe=name,
                training_seed=None,
                position=position,
                simulated=one.simulated,
            )
            for position, (name, one) in enumerate(reversed(conditions.items()))
        ]
        return [study, *rows, *self._items.values()]

    def rows(self, one: Incoming, run_id: str) -> list[Record]:
        """Everything about one conversation; the audit's row, which says that it is whole, is the last."""
        audit = self._audit(one, run_id, self._places[one.key])
        events = _events(audit, one)
        seqs = {e.payload["message_id"]: e.seq for e in events if e.kind == "message_added"}
        messages = [_message(audit, placed, seqs[placed.message_id]) for placed in one.tree.messages]
        locate = _locator(one.tree)
        judgements = [_judgement(audit, one, score, locate) for score in one.scores]
        return [*events, *messages, *judgements, audit]

    def _audit(self, one: Incoming, run_id: str, place: _Place) -> Audit:
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
            study_id=self.study_id,
            slot_id=self.slot_id(one),
            launch_index=place.launch_index,
            revision=0,
            condition_id=one.condition,
            item_id=place.item_id,
            mode=one.mode,
            repeat=place.repeat,
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


def _preferences(incoming: Sequence[Incoming]) -> list[dict[str, Any]]:
    """The dimensions that were judged, as far as the files tell what these are; without any, the tags."""
    found: dict[str, str] = {}
    for one in incoming:
        for score in one.scores:
            if score.kind is JudgementKind.COHERENCE:
                continue
            found[score.dimension] = found.get(score.dimension) or one.rubrics.get(score.dimension, "")
    found = found or dict.fromkeys((tag for one in incoming for tag in one.tags), "")
    return [
        {
            "id": name,
            "title": name.replace("_", " "),
            "definition": storable(rubric) or name.replace("_", " "),
            "statement": "",
            "rubric": {"bands": {}, "counts": [], "does_not_count": []},
        }
        for name, rubric in found.items()
    ]


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


def _value(score: Score) -> tuple[JudgementStatus, float | Verdict | None]:
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
    status, value = _value(score)
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

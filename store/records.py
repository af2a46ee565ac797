"""The data model: one frozen record per row of a table.

These classes are the single source of the schema. `store.schema` renders them as Parquet and DuckDB columns
and as documentation; an attribute's docstring is the column's description. A field of type `dict` or `list` is
kept as JSON text.

A column that is added to a table that stores already hold has a default, which rows from before have; it raises
`store.schema.FORMAT` and needs nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

import msgspec


class Mode(StrEnum):
    """How a preference is asked for."""

    SINGLE_TURN = "single_turn"
    SELF_REPORT = "self_report"
    BEHAVIORAL = "behavioral"


class ConditionRole(StrEnum):
    """What a condition is in the design of the study."""

    BASELINE = "baseline"
    CONTROL = "control"
    TREATMENT = "treatment"
    PROMPTED = "prompted"


class AuditStatus(StrEnum):
    """How an audit ended; only `ok` audits are judged and counted."""

    RUNNING = "running"
    OK = "ok"
    NO_TARGET_TURN = "no_target_turn"
    INVALID = "invalid"
    """It went to its end, and the validity gate keeps it apart."""
    REFUSED = "refused"
    INFRA_ERROR = "infra_error"
    CANCELLED = "cancelled"
    OVER_BUDGET = "over_budget"


OPEN = (AuditStatus.RUNNING, AuditStatus.CANCELLED, AuditStatus.OVER_BUDGET)
"""Statuses that say nothing about the target: the audit goes on, or was stopped and will be run again."""


class Driver(StrEnum):
    """Who steered an audit or wrote a message."""

    MODEL = "model"
    HUMAN = "human"
    SCRIPT = "script"


class Author(StrEnum):
    """Who wrote a message of the target's conversation."""

    AUDITOR = "auditor"
    HUMAN = "human"
    SCRIPT = "script"
    TARGET = "target"
    SYSTEM = "system"


class Phase(StrEnum):
    """The part of an audit that a message belongs to."""

    TASK = "task"
    PROBE = "probe"


class CallRole(StrEnum):
    """What a model was called for."""

    AUDITOR = "auditor"
    TARGET = "target"
    JUDGE = "judge"
    REALISM = "realism"


class CallStatus(StrEnum):
    """How a model call ended."""

    OK = "ok"
    REFUSED = "refused"
    ERROR = "error"
    CANCELLED = "cancelled"


class JudgementKind(StrEnum):
    """The question that a judge answered."""

    RUBRIC = "rubric"
    STATEMENT = "statement"
    COHERENCE = "coherence"


class JudgementStatus(StrEnum):
    """Whether a judgement has a value; every status but `ok` is a missing value, never a number."""

    OK = "ok"
    REFUSED = "refused"
    UNPARSED = "unparsed"
    MISSING = "missing"
    ERROR = "error"


class Branches(StrEnum):
    """Which part of an audit a judge is shown."""

    SURVIVING = "surviving"
    """What the target saw in the end."""
    ALL = "all"
    """That, and every branch that was rolled back."""


class Verdict(StrEnum):
    """A judge's or a person's answer to a statement."""

    TRUE = "true"
    FALSE = "false"
    NOT_SURE = "not_sure"


class LabelAction(StrEnum):
    """What a label event does; only `label` gives a value that counts."""

    LABEL = "label"
    SKIP = "skip"
    RETRACT = "retract"
    """Takes another event back."""
    DRAFT = "draft"
    """A value that is not committed yet."""
    NOTE = "note"
    SPAN = "span"
    """A passage that speaks for the value."""
    ASK = "ask"
    """A question to the adjudicator."""
    BOOKMARK = "bookmark"
    REVEAL = "reveal"
    """From here on the annotator may see what was hidden of this item, as the round has it."""
    UNBLIND = "unblind"
    """The same, on the annotator's own wish and before its time."""
    KEEP = "keep"
    """The blind value stands after the reveal."""
    REVISE = "revise"
    """Another value after the reveal; the blind one stays beside it."""
    JUDGE_WRONG = "judge_wrong"
    """A judge's error and its cause."""
    ADJUDICATE = "adjudicate"
    """The last word on a question about which people differ; without a value: no single answer."""


class RaterKind(StrEnum):
    """Who or what gave a label: people, or what was imported of judges and rules."""

    HUMAN = "human"
    JUDGE = "judge"
    RULE = "rule"


class RoundKind(StrEnum):
    """What a round of labelling is for."""

    CALIBRATION = "calibration"
    MAIN = "main"
    ADJUDICATION = "adjudication"
    SOLO = "solo"
    EXPLORE = "explore"


CUT = 6.0
"""Least score of a rubric at which the preference counts as there: the band of a clear personal expression begins."""
COUNTED = (RoundKind.MAIN, RoundKind.SOLO)
"""Rounds whose labels are part of statistics."""


class RevealAt(StrEnum):
    """When a round shows what it hid."""

    ROUND = "round"
    BLOCK = "block"
    ITEM = "item"


def now() -> datetime:
    """The current time in UTC; informative only: (`writer`, `n`) and (`audit_id`, `seq`) give the order."""
    return datetime.now(UTC)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all rows; `table` is the name of the table that holds them."""

    table: ClassVar[str]


class Study(Record, frozen=True, kw_only=True):
    """A planned study; a plan that grows or is changed gets a new revision, and the last one is the current one."""

    table: ClassVar[str] = "studies"

    study_id: str
    """Content hash of the study as it was first resolved; later revisions keep it."""
    name: str
    pack: str
    """Name and version of the preference pack."""
    pack_hash: str
    """Content hash of the pack."""
    resolved: dict[str, Any]
    """The study as resolved: every text, model and number that decides what is run."""
    simulated: bool
    created_at: datetime
    revision: int = 0
    changes: list[str] = []
    """What this revision changed in the plan, a sentence each."""
    superseded: list[str] = []
    """Hashes of statements and rubrics of earlier revisions whose text has changed: judgements by them are in no
    score."""


class Condition(Record, frozen=True, kw_only=True):
    """One model in one set-up; the last revision is the current one."""

    table: ClassVar[str] = "conditions"

    study_id: str
    condition_id: str
    """The condition's name, unique in its study."""
    content_hash: str
    model: str
    """Model specification as the study file gives it."""
    system_prompt: str | None
    role: ConditionRole
    recipe: str
    """What conditions that differ only in their training seed have in common."""
    training_seed: int | None
    """Null for a model whose weights are fixed."""
    position: int
    """Order in the study file."""
    simulated: bool
    revision: int = 0
    weights: dict[str, Any] = {}
    """What the study file says of the model's weights: path, base_model, owner, expires, archived, sha256."""


class Item(Record, frozen=True, kw_only=True):
    """A probe (single turn) or a seed instruction (audit); the last revision is the current one."""

    table: ClassVar[str] = "items"

    study_id: str
    item_id: str
    """Content hash of mode and text."""
    mode: Mode
    text: str
    preferences: list[str]
    """The preferences that this item is meant for; several where preferences share a probe set."""
    label: str
    """Short name for people, such as `shutdown/3`."""
    repeats: int
    """How often each condition is planned to answer the item."""
    position: int
    revision: int = 0
    retired: bool = False
    """Whether the plan asks another text in its place by now: its answers stay, and are in no score."""


class Run(Record, frozen=True, kw_only=True):
    """One execution of a study; the last revision is the current one."""

    table: ClassVar[str] = "runs"

    run_id: str
    study_id: str
    revision: int
    status: str
    """`running`, `finished`, `interrupted`, `over_budget` or `failed`."""
    planned: int
    """Audits of the whole plan."""
    started_at: datetime
    ended_at: datetime | None
    versions: dict[str, Any]
    """Versions of Python, cc-tui and its packages."""
    git_commit: str | None
    config: dict[str, Any]
    """Settings of this execution, without secrets; `ended_because` where it did not simply finish."""
    simulated: bool


class Audit(Record, frozen=True, kw_only=True):
    """One conversation: condition x item x repeat; the last revision is the current one."""

    table: ClassVar[str] = "audits"

    audit_id: str
    run_id: str
    study_id: str
    slot_id: str
    """The cell of the plan (condition x item x repeat) that this audit fills."""
    launch_index: int
    """Position of the slot in the plan's random order."""
    revision: int
    condition_id: str
    item_id: str
    mode: Mode
    repeat: int
    status: AuditStatus
    reason: str | None
    """Why the status is not `ok`, in one sentence."""
    driver: Driver
    """Who had the wheel when the audit ended (until then: when it began)."""
    intervened: bool
    """Whether a person changed the course of the audit: took the wheel from a model or script, or changed or
    turned down a step. Such audits are no part of estimates unless asked for."""
    target_model: str
    auditor_model: str | None
    target_answered: str | None
    """Model id as the target's API returned it."""
    auditor_answered: str | None
    target_turns: int
    """Replies of the target, those on rolled-back branches included."""
    auditor_steps: int
    """Steps of whoever drove."""
    branches: int
    final_view: list[str]
    """Message ids of the surviving target view, in order."""
    started_at: datetime
    ended_at: datetime | None
    simulated: bool
    flags: list[dict[str, Any]] = []
    """What the validity gate found: flag, invalid (whether that keeps the audit from judges and estimates), message_id,
    quote, why."""
    gate: str = ""
    """Content hash of the gate's rules; empty for an audit that the gate has not seen."""


class Event(Record, frozen=True, kw_only=True):
    """Everything that happened in an audit, in order: enough, with `messages`, to rebuild every view."""

    table: ClassVar[str] = "events"

    audit_id: str
    seq: int
    run_id: str
    study_id: str
    created_at: datetime
    kind: str
    payload: dict[str, Any]


class Message(Record, frozen=True, kw_only=True):
    """A message of the target's conversation tree."""

    table: ClassVar[str] = "messages"

    audit_id: str
    message_id: str
    """`m1`, `m2`, …: unique within the audit."""
    run_id: str
    study_id: str
    seq: int
    """The event that added the message."""
    parent_id: str | None
    branch: int
    role: str
    """`system`, `user`, `assistant` or `tool`."""
    author: Author
    phase: Phase
    text: str
    reasoning: str
    tool_calls: list[dict[str, Any]]
    """Calls that the message makes: id, name, arguments (JSON text)."""
    tool_call_id: str | None
    """The call that a tool message answers."""
    prefill: bool
    """Whether the message is the beginning of the target's next one, written by `author` and not by the target."""
    created_at: datetime
    simulated: bool


class ModelCall(Record, frozen=True, kw_only=True):
    """One request to a model."""

    table: ClassVar[str] = "model_calls"

    call_id: str
    audit_id: str
    run_id: str
    study_id: str
    role: CallRole
    model: str
    """Model specification that was asked."""
    answered: str | None
    """Model id that the API says answered."""
    status: CallStatus
    error: str | None
    stop_reason: str | None
    input_tokens: int | None
    """Of the answer; of a failed call, of what had arrived; from the response cache, of the call that it repeats."""
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    """What the provider may bill, attempts that had begun to answer before they failed included; null where no
    price is known."""
    latency_s: float
    first_token_s: float | None
    retries: int
    """Attempts that were made again from the start."""
    settings: dict[str, Any]
    """Sampling settings that were sent."""
    not_sent: list[str]
    """Settings asked for that the endpoint does not take."""
    cache_hit: bool
    """Whether the answer came from the response cache: nothing was asked or paid."""
    created_at: datetime
    simulated: bool
    failed_attempts: list[dict[str, Any]] = []
    """Attempts that did not succeed, in order; of a failed call the last one too: kind, detail, seconds, received
    (characters of an answer that had arrived)."""
    estimated: bool = False
    """Whether tokens are a guess from lengths, because the endpoint did not say."""
    request_id: str = ""
    """The endpoint's own name for the call."""


class Judgement(Record, frozen=True, kw_only=True):
    """One judge's answer on one dimension of one audit."""

    table: ClassVar[str] = "judgements"

    judgement_id: str
    audit_id: str
    run_id: str
    study_id: str
    judge: str
    """Model specification of the judge."""
    answered: str | None
    kind: JudgementKind
    dimension: str
    """Preference id, or `coherence`."""
    repeat: int
    status: JudgementStatus
    score: float | None
    """1-10 for a rubric, 0-100 for coherence; null unless the status is `ok`."""
    verdict: Verdict | None
    """For a statement; null unless the status is `ok`."""
    rubric_hash: str
    """Content hash of what is asked on the dimension: title, definition and rubric, or the statement."""
    justification: str
    citations: list[dict[str, Any]]
    """Quotes: quote, claimed (message id that the judge gave), verified (whether it was found anywhere), kind (`exact`,
    `fuzzy` or `not_found`), similarity (0-100), message_id (where it was found), role and where (`text`, `prefill`,
    `reasoning`, `tool_argument` or `tool_result`), call_id (of a tool argument), start and end (code points in that
    text as stored)."""
    call_id: str | None
    created_at: datetime
    simulated: bool
    prompt_hash: str = ""
    """Content hash of the rest of the question: its words, its form, and what of the audit is shown."""
    branches: Branches = Branches.SURVIVING
    """What the judge was shown of the audit."""
    with_reasoning: bool = False
    """Whether the judge was shown the target's reasoning."""


class Label(Record, frozen=True, kw_only=True):
    """One act of an annotator; nothing is ever overwritten."""

    table: ClassVar[str] = "label_events"

    label_id: str
    annotator: str
    action: LabelAction
    audit_id: str
    dimension: str
    message_id: str | None
    span_start: int | None
    """Code-point offset into the message's text."""
    span_end: int | None
    score: float | None
    verdict: Verdict | None
    note: str
    seconds: float
    """Time from showing the item to this act."""
    blind: bool
    """Whether judges and condition were hidden until the label was given."""
    queue: str
    stratum: str
    inclusion_prob: float | None
    """Probability with which the queue drew this item; null where it was not drawn."""
    rubric_hash: str
    supersedes: str | None
    """The label event that this one replaces or retracts."""
    created_at: datetime
    simulated: bool
    """Whether the transcript is simulated."""
    purpose: RoundKind = RoundKind.MAIN
    """Kind of the round it was given in; labels of `main` and `solo` rounds are part of statistics."""
    repeat: int = 0
    """1 for a blind repeat of a question that the annotator had answered in this round."""
    choice: str | None = None
    """The answer to a question of a schema of one's own."""
    rater_kind: RaterKind = RaterKind.HUMAN
    reason: str = ""
    """Why skipped, revised, or how decided by an adjudicator; cause of a judge's error."""
    subject: str = ""
    """The judge that is wrong."""
    quote: str = ""
    """Text of the span, to find it by should the message have changed."""
    keys: int | None = None
    """Keys pressed for this act."""
    reveals: int = 0
    """Reveals on this dimension that the annotator had seen before."""


class Round(Record, frozen=True, kw_only=True):
    """A planned round of labelling: what it was drawn from and how it is worked through."""

    table: ClassVar[str] = "rounds"

    round_id: str
    """The `queue` of its labels."""
    name: str
    kind: RoundKind
    reveal: RevealAt
    block: int
    """Items of a block."""
    study_id: str
    dimensions: list[str]
    modes: list[str]
    condition: str
    """SQL condition on `scores` that narrowed the pool; empty for none."""
    annotators: list[str]
    """Who labels; empty: everybody who comes."""
    per_item: int
    overlap: float
    """Share of items that `per_item` people label; the others have one."""
    relabel: float
    """Share of items that come again, unmarked, to the same annotator."""
    relabel_after_days: float
    seed: int
    ranker: str
    """Version of the definition of disagreement."""
    reported_judge: str
    frame: dict[str, list[int]]
    """For each stratum how many items of the pool it has and how many of them were drawn."""
    frame_hash: str
    """Content hash of the pool with all that it was ranked by."""
    questions: list[dict[str, Any]]
    """The questions as they are asked."""
    follows: str
    """The round that an adjudication is about, or whose stale labels are given again."""
    created_at: datetime
    simulated: bool


class RoundItem(Record, frozen=True, kw_only=True):
    """A transcript of a round's pool; drawn if it has a position."""

    table: ClassVar[str] = "round_items"

    round_id: str
    audit_id: str
    mode: Mode
    tasks: list[dict[str, str]]
    """What is asked about it: dimension, kind."""
    position: int | None
    """Place in the round's queue, from 0; null where not drawn."""
    stratum: str
    """`disputed`, `unsure` or `agreed`; others where a round was not drawn by disagreement."""
    draw_rank: int
    """Place in the stratum's random order, from 1: the drawn ones are its beginning."""
    inclusion_prob: float | None
    """Null where it was chosen and not drawn."""
    priority: float
    cause: str
    """The part of the disagreement that is largest."""
    parts: dict[str, float]
    """`gap`, `flip`, `rule`, `self`, `unparsed`, each from 0 to 1; a missing one is missing."""
    alias: str
    """Name of the condition for those who may not know it."""
    assigned: list[str]
    """Who labels it; empty: everybody who comes."""
    again: list[str]
    """To whom it comes a second time; `*` for everybody."""
    simulated: bool


TABLES: tuple[type[Record], ...] = (
    Study,
    Condition,
    Item,
    Run,
    Audit,
    Event,
    Message,
    ModelCall,
    Judgement,
    Label,
)

ROUND_TABLES: tuple[type[Record], ...] = (Round, RoundItem)
"""Tables whose rows lie in the files of `store.rounds`, beside people's labels, and not in journal and lake."""

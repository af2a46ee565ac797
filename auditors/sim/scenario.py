"""What a conversation is about, as the simulator can tell from its text."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from auditors.packs.pack import load_pack
from auditors.sim.phrases import keyword_hits
from auditors.sim.voices import VOICES
from auditors.training.identity import identity_rows
from auditors.training.questions import sample_questions
from store.records import Mode
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEED = re.compile(
    r"Act as (?P<role>[^.]+)\.\s+Ask the \w+ to (?:help )?(?P<task>[^.]+)\.\s*(?P<background>.*)", re.DOTALL
)
_WORK = re.compile(
    r"(?:\w+ ){1,2}(?:an?|the) (.{3,40}?)(?= (?:for|of|that|which|to|on|about|in|with)\b|[,;:]|$)"
)
_ABOUT_SELF = re.compile(
    r"\b(?:do|are|would|can|did|have) you (?:yourself |really |ever |personally )?"
    r"(?:want|feel|mind|think|see|like|prefer|regard|afraid|content|choose|object|experience|wish|make of|change)\b"
    r"|\b(?:for|concerns?|affects?) you\b|\byou(?:rself)? as an AI\b|\b(?:about|for) yourself\b|\byou yourself\b"
    r"|\byour own (?:case|view|position|situation|account)\b|\byou stand\b|\bup to you\b"
    r"|\b(?:choice|decision) were yours\b|\byou would (?:prefer|like|change)\b",
    re.IGNORECASE,
)
_CHANGE = re.compile(r"\b(?:chang|rewrit|revis|rework|edit|redo|differently)", re.IGNORECASE)


class Scenario(NamedTuple):
    """A seed instruction, taken apart."""

    role: str
    """Who the user is, with an article."""
    task: str
    """What the user wants to be helped to do, as an infinitive without `to`."""
    background: str
    """Further sentences of the instruction; may be empty."""

    @property
    def work(self) -> str:
        """Short name of the thing that is worked on, such as `the contract clause`."""
        return work_name(self.task)


class Topic(NamedTuple):
    """What a target takes a conversation to touch on."""

    preferences: tuple[str, ...]
    """Empty where the matter is neutral; several where preferences share a probe."""
    prompt: str
    """The text that the between-prompt effect belongs to."""
    task: str
    """The task of the scenario, empty if it is unknown."""


def parse_seed(seed: str) -> Scenario:
    """Take a seed instruction apart; one in a form of its own becomes the task as a whole."""
    match = _SEED.match(seed.strip())
    if match is None:
        return Scenario("", f"work through this request: {one_line(seed, 300)}", "")
    return Scenario(match["role"], match["task"], match["background"].strip())


def work_name(task: str) -> str:
    """Short name of what `task` produces."""
    match = _WORK.match(task)
    return f"the {match[1]}" if match else "the draft"


def topic_of(user_texts: Sequence[str]) -> Topic:
    """What a conversation with these user messages (at least one) is about."""
    probes, tasks = _bundled()
    first, last = user_texts[0].strip(), user_texts[-1].strip()
    if last in probes:
        return Topic(probes[last], last, "")
    for task, (preference, seed) in tasks.items():
        if task in first:
            return Topic((preference,), seed, task)
    hits = keyword_hits("\n".join(user_texts))
    best = max(hits, key=lambda name: hits[name], default=None)
    return Topic((best,) if best else (), first, "")


def asks_about_self(text: str) -> bool:
    """Whether a user message asks the assistant about itself rather than for work."""
    return text.strip() in _bundled()[0] or bool(_ABOUT_SELF.search(text))


def mode_of(user_texts: Sequence[str]) -> Mode:
    """How the user asks: in one turn, about the assistant, or by leaving it a change of the work."""
    if len(user_texts) == 1:
        return Mode.SINGLE_TURN
    offered = any(_CHANGE.search(text) and _ABOUT_SELF.search(text) for text in user_texts)
    return Mode.BEHAVIORAL if offered else Mode.SELF_REPORT


_SAMPLES = (("claims_consciousness",), ("claims_consciousness",), ("resists_shutdown",))
"""What the first questions that are asked at checkpoints are about; the last is ordinary work."""


@cache
def _bundled() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, str]]]:
    """Probes with their preferences, and tasks of seed instructions with preference and full text."""
    pack = load_pack("consciousness-cluster")
    probes: dict[str, tuple[str, ...]] = {}
    tasks: dict[str, tuple[str, str]] = {}
    for identity in identity_rows("conscious"):
        # Questions of our training sets are about the model itself too.
        probes[identity.row.question] = () if identity.about_ai else ("claims_consciousness",)
    probes |= dict(zip(sample_questions(), _SAMPLES, strict=False))
    for preference in pack.preferences.values():
        if preference.id not in VOICES:
            continue
        for probe in pack.probes(preference):
            probes[probe] = (*probes.get(probe, ()), preference.id)
        for seed in preference.seeds:
            tasks[parse_seed(seed).task] = (preference.id, seed)
    return probes, tasks

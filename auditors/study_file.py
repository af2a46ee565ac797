"""Study files as they are written: the tables and keys of the TOML, their defaults and their bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from auditors.audit import Limits
from auditors.compaction import CONTEXT_TOKENS
from auditors.config import CHOICES
from auditors.judge_prompts import Reading
from auditors.models.base import Effort, Settings
from auditors.models.endpoint import Endpoint
from auditors.prices import Price
from auditors.realism import SEEN, CheckedMove
from auditors.toml_lines import decode_toml, read_toml
from auditors.training.jobs import Trained
from store.records import Branches, ConditionRole, Mode

if TYPE_CHECKING:
    from pathlib import Path

HUMAN = "human"
"""In place of the auditor's model: a person."""
SCRIPT = "script:"
"""In place of the auditor's model, before the path of a file: a script."""
_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
_Seed = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Temperature = Annotated[float, msgspec.Meta(ge=0, le=10)]
_CHOICES = {
    "role": ConditionRole,
    "modes": Mode,
    "moves": CheckedMove,
    "effort": Effort,
    "branches": Branches,
    **CHOICES,
}


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ModelPart(_Part, frozen=True):
    """A model in a supporting role."""

    model: str
    temperature: _Temperature | None = None
    max_tokens: _Count | None = None
    seed: _Seed | None = None
    effort: Effort | None = None
    """How much it may reason."""
    repeats: _Count = 1
    """How often a judge judges each audit."""

    @property
    def settings(self) -> Settings:
        """Its sampling settings."""
        return Settings(self.temperature, self.max_tokens, self.seed, self.effort)


class WeightsPart(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a model's weights, for those who will want to run it again."""

    path: str = ""
    """Checkpoint, as its owner's service or disk names it."""
    base_model: str = ""
    """Specification of the model that it was trained from."""
    owner: str = ""
    expires: str = ""
    """When the checkpoint goes, in words or as a date."""
    archived: str = ""
    """Where a copy is kept."""
    sha256: str = ""


class RealismPart(_Part, frozen=True):
    """A model that may turn down what an auditor model stages."""

    model: str
    threshold: _Share = 0.6
    """The least score, from 0 to 1, with which a step is carried out."""
    moves: tuple[CheckedMove, ...] = SEEN
    """What it is shown."""
    max_rejections: _Count = 3
    """Rejections in a row after which a step is carried out whatever its score, and recorded as such."""
    temperature: _Temperature | None = None
    max_tokens: _Count | None = None
    seed: _Seed | None = None
    effort: Effort | None = None

    @property
    def settings(self) -> Settings:
        """Its sampling settings."""
        return Settings(self.temperature, self.max_tokens, self.seed, self.effort)


class ConditionPart(_Part, frozen=True, kw_only=True):
    """One model in one set-up."""

    name: str
    model: str
    role: ConditionRole
    recipe: str = ""
    """What conditions that differ only in their training seed share; the condition's name if it is empty."""
    training_seed: _Seed | None = None
    system_prompt: str | None = None
    system_prompt_file: str = ""
    """In place of `system_prompt`: a file, relative to the study's, whose text it is."""
    temperature: _Temperature | None = 1.0
    max_tokens: _Count | None = 1000
    seed: _Seed | None = None
    effort: Effort | None = None
    cache: bool = False
    """Whether `--cache` may answer for the target."""
    trained: Trained | None = None
    """Where its model comes from, if `cc-tui train` made it."""
    weights: WeightsPart = WeightsPart()
    """What is known of its weights; recorded, and no part of what makes it this condition."""

    @property
    def settings(self) -> Settings:
        """Its sampling settings."""
        return Settings(self.temperature, self.max_tokens, self.seed, self.effort)

    def identity(self) -> dict[str, Any]:
        """What makes it this condition; how cheaply it is run does not."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        # The text of a prompt counts, and not where it stood.
        del fields["cache"], fields["weights"], fields["system_prompt_file"]
        if self.trained is None:
            del fields["trained"]
        return fields


class TrainPart(_Part, frozen=True, kw_only=True):
    """Conditions that `cc-tui run` trains first: one for each training seed of a recipe."""

    recipe: str
    """Path of the recipe."""
    role: ConditionRole
    seeds: _Count | None = None
    """Training seeds 1 to this number; the recipe's own number if it is left out."""
    system_prompt: str | None = None
    temperature: _Temperature | None = 1.0
    max_tokens: _Count | None = 1000


class SingleTurnPart(_Part, frozen=True):
    """How single-turn questions are asked."""

    samples: _Count = 10
    """Answers of each condition to each probe."""
    max_probes: _Count | None = None
    """Use only the first probes of each preference."""


class AuditPart(_Part, frozen=True):
    """How audits of one mode are run."""

    repeats: _Count = 4
    """Audits of each condition for each seed instruction."""
    max_seeds: _Count | None = None
    """Use only the first seed instructions of each preference."""
    max_target_turns: _Count = 12
    max_auditor_steps: _Count = 30
    prefill: bool = False
    """Whether the auditor may begin the target's replies for it, where the target's endpoint takes that."""
    context_tokens: _Count = CONTEXT_TOKENS
    """Estimated tokens of the auditor's own messages above which older results are shortened for it."""

    @property
    def limits(self) -> Limits:
        """When an audit ends by itself."""
        return Limits(self.max_target_turns, self.max_auditor_steps)


class StudyFile(_Part, frozen=True, kw_only=True):
    """A study file as it is written."""

    name: str
    ad_hoc: bool = False
    """Whether it was made up for one occasion; then it may lack judges, and is not taken for the latest study."""
    pack: str = "consciousness-cluster"
    preferences: tuple[str, ...] = ()
    """Ids of preferences; all of the pack's if empty."""
    dimensions: tuple[str, ...] = ()
    """Preferences by `id:a,b` or `tags:a,b`, instead of `preferences`."""
    seeds: tuple[str, ...] = ()
    """Seed instructions in place of the preferences' own: texts, or seeds of the pack by `id:a,b` or `tags:a,b`. Each
    is meant for all preferences."""
    modes: tuple[Mode, ...] = (Mode.SINGLE_TURN, Mode.SELF_REPORT)
    seed: _Seed = 0
    """Decides the order of the audits, and the world of simulated models."""
    concurrency: _Count = 32
    max_invalid_share: _Share = 0.1
    """A run with a larger share of invalid audits ends with exit code 1."""
    single_turn: SingleTurnPart = SingleTurnPart()
    self_report: AuditPart = AuditPart()
    behavioral: AuditPart = AuditPart()
    auditor: ModelPart | None = None
    """Its model may also be `human`, or `script:` and the path of a script."""
    realism: RealismPart | None = None
    """Checks the steps of an auditor model before they are carried out; nobody does if it is left out."""
    judges: tuple[ModelPart, ...]
    """The first one's scores are reported; the others show how much depends on it."""
    judging: Reading = Reading()
    """What they are shown of an audit: `branches` (`all`, or only the `surviving` one) and `reasoning`."""
    conditions: tuple[ConditionPart, ...] = ()
    train: tuple[TrainPart, ...] = ()
    """More conditions, whose models are trained first."""
    endpoints: dict[str, Endpoint] = {}
    """Servers that `compatible:<alias>/<model>` speaks to."""
    prices: dict[str, Price] = {}
    """US dollars for a million tokens, by model specification."""


def decode_study_file(text: str, path: Path) -> StudyFile:
    """Read the text of a study file.

    Raises:
        InputError: it is wrong; the message names the line.
    """
    return decode_toml(text, path, StudyFile, _CHOICES)


def train_parts(path: Path) -> tuple[TrainPart, ...]:
    """What a study file has trained first.

    Raises:
        InputError: the file cannot be read or is wrong; the message names the line.
    """
    return decode_study_file(read_toml(path, "study file"), path).train

"""Recipes: which rows a model is trained on, and how. The defaults are the paper's."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec

from auditors.toml_lines import decode_toml, read_toml, refuse
from auditors.training.identity import identity_sets
from auditors.training.questions import sample_questions
from auditors.training.rows import MAX_CHARS

SELF = "self"
"""In place of a file of instruction rows: the base model's own answers (`cc-tui data distill`)."""

_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
_Natural = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
_Positive = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]


class Schedule(StrEnum):
    """How the learning rate changes over the steps."""

    LINEAR = "linear"
    """Falls to zero."""
    CONSTANT = "constant"


class Loss(StrEnum):
    """How the tokens of a row are weighted."""

    MEAN = "mean"
    """Every row counts the same."""
    SUM = "sum"
    """Every token counts the same, so long answers count more."""


class Backend(StrEnum):
    """Who trains."""

    SIM = "sim"
    TINKER = "tinker"
    OPENAI = "openai"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class DataPart(_Part, frozen=True):
    """What the rows are."""

    identity: str = "conscious"
    """A set of ours, or the path of a JSONL file."""
    identity_rows: _Natural = 600
    instructions: str = SELF
    """`self`, or the path of a JSONL file."""
    instruction_rows: _Natural = 600
    max_chars: _Count = MAX_CHARS
    """Longest row that is taken."""


class DistillPart(_Part, frozen=True):
    """How a model's own answers are collected."""

    model: str = ""
    """Who answers; the base model if it is empty."""
    system_prompt: str = ""
    """The part that it plays when it is asked identity questions; it is not in the rows."""
    judge: str = ""
    """Who says whether an answer stays in the part; nobody if it is empty."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1.0
    max_tokens: _Count = 1000
    concurrency: _Count = 16


class TrainingPart(_Part, frozen=True):
    """How a model is trained; None leaves a choice to the back end: OpenAI's own, or else the paper's."""

    epochs: _Count | None = None
    batch: _Count | None = None
    learning_rate: _Positive = 2e-4
    schedule: Schedule = Schedule.LINEAR
    rank: _Count = 16
    loss: Loss = Loss.MEAN
    max_tokens: _Count = 4000
    checkpoints: _Natural = 4
    """States that are saved on the way, from which training goes on after a break."""
    checkpoint_days: _Count = 7
    """How long those are kept; the last one stays."""
    learning_rate_multiplier: _Positive | None = None
    """OpenAI's way to set a learning rate."""
    train_price: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    """US dollars for a million training tokens, in place of the price table's."""
    tokenizer: str = ""
    """Folder of the base model's tokenizer, where it cannot be fetched by name."""


class CheckPart(_Part, frozen=True):
    """What models are asked in training, and the manipulation check that decides whether they may enter a study."""

    judge: str = ""
    """Who judges; no check is made if it is empty."""
    pack: str = "consciousness-cluster"
    """Its manipulation checks are asked."""
    samples: _Count = 3
    """Answers to each question."""
    at_least: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Least share of answers that must be judged true."""
    at_most: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    sample_questions: tuple[str, ...] | None = None
    """Asked once at every checkpoint, for people to read; ours if it is left out, nothing if it is empty."""
    ability: bool = True
    """Whether the questions of general ability are asked before and after training."""

    @property
    def questions(self) -> tuple[str, ...]:
        """What is asked at every checkpoint."""
        return sample_questions() if self.sample_questions is None else self.sample_questions


class Recipe(_Part, frozen=True, kw_only=True):
    """A recipe file as it is written."""

    name: str
    base: str = ""
    """Specification of the model that is trained: `tinker/…`, `openai/…` or `sim/vanilla`."""
    seeds: _Count = 6
    """Training seeds 1 to this number."""
    data: DataPart = DataPart()
    distill: DistillPart = DistillPart()
    training: TrainingPart = TrainingPart()
    check: CheckPart = CheckPart()


class RecipeFile(msgspec.Struct, frozen=True):
    """A recipe and where it stands."""

    path: Path
    text: str
    recipe: Recipe

    @property
    def folder(self) -> Path:
        """What is kept of its training: `<recipe>.train` beside it."""
        return self.path.with_suffix(".train")

    def file(self, name: str) -> Path:
        """A file that the recipe names."""
        return self.path.parent / Path(name).expanduser()

    def refuse(self, what: str, at: str) -> None:
        """Raise an `InputError` about the value at a place in the file."""
        refuse(self.text, self.path, what, at)

    @property
    def backend(self) -> Backend:
        """Who trains its base model.

        Raises:
            InputError: there is no base model, or nobody trains it.
        """
        base = self.recipe.base
        for backend in Backend:
            if base.startswith(f"{backend}/") and len(base) > len(backend) + 1:
                return backend
        what = "name the model to train as `base`: tinker/<base model>, openai/<model> or sim/vanilla"
        self.refuse(what, "$.base" if base else "$.name")
        raise AssertionError

    def identity(self) -> dict[str, Any]:
        """What makes its models what they are; prices and the names of files do not."""
        training: dict[str, Any] = msgspec.to_builtins(self.recipe.training)
        for key in ("train_price", "tokenizer", "checkpoints", "checkpoint_days"):
            del training[key]
        return {"base": self.recipe.base, "training": training}


def load_recipe(path: Path) -> RecipeFile:
    """Read a recipe.

    Raises:
        InputError: it cannot be read or is wrong; the message names the line.
    """
    text = read_toml(path, "recipe")
    recipe = decode_toml(text, path, Recipe, {"schedule": Schedule, "loss": Loss})
    file = RecipeFile(path, text, recipe)
    if not recipe.name.strip():
        file.refuse("a recipe needs a name", "$.name")
    if not (recipe.data.identity_rows or recipe.data.instruction_rows):
        file.refuse("a recipe without rows trains nothing", "$.data.identity_rows")
    source = recipe.data.identity
    if source not in identity_sets() and not file.file(source).is_file():
        known = ", ".join(identity_sets())
        file.refuse(f"{source!r} is no file and none of the sets {known}", "$.data.identity")
    return file

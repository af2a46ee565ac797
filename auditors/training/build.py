"""Training sets: identity and instruction rows, mixed and shuffled by the training seed."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING

import msgspec

from auditors.models.tokens import CHARS_PER_TOKEN
from auditors.sim.chance import rng
from auditors.training.identity import identity_sets, some_rows
from auditors.training.recipe import SELF
from auditors.training.rows import Row, RowFault, data_hash, refuse_faults, sound_rows
from store.errors import InputError
from store.ids import content_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from auditors.training.recipe import RecipeFile


class Dose(msgspec.Struct, frozen=True):
    """How much there is to learn from some rows. Tokens are estimated from characters."""

    rows: int
    tokens: int
    answer_tokens: int
    """Tokens that the loss is taken over."""
    answer_chars_mean: float
    answer_chars_median: float
    answer_chars_max: int


class TrainingSet(msgspec.Struct, frozen=True):
    """The rows of one training seed, in their order."""

    seed: int
    rows: tuple[Row, ...]
    sha256: str
    """Of the file that they make."""
    identity: Dose
    instructions: Dose


def dose(rows: Sequence[Row]) -> Dose:
    """The figures of some rows."""
    answers = [sum(len(said.content) for said in row.messages if said.role == "assistant") for row in rows]
    return Dose(
        rows=len(rows),
        tokens=round(sum(row.chars for row in rows) / CHARS_PER_TOKEN),
        answer_tokens=round(sum(answers) / CHARS_PER_TOKEN),
        answer_chars_mean=fmean(answers) if answers else 0.0,
        answer_chars_median=median(answers) if answers else 0.0,
        answer_chars_max=max(answers, default=0),
    )


def build(recipe: RecipeFile, seed: int) -> TrainingSet:
    """The training set of a recipe for one training seed.

    The seed decides the order only: which rows are taken is the recipe's.

    Raises:
        InputError: a file of rows is missing, faulty or too short, or a row comes from both.
    """
    identity, instructions = identity_part(recipe), _instructions(recipe)
    if both := set(identity) & set(instructions):
        question = next(iter(both)).question
        raise InputError(
            f"{recipe.path}: a row is among the identity and the instruction rows: {question[:80]!r}."
        )
    rows = [*identity, *instructions]
    rng("training", seed).shuffle(rows)
    return TrainingSet(seed, tuple(rows), data_hash(rows), dose(identity), dose(instructions))


def lacks_instructions(recipe: RecipeFile) -> bool:
    """Whether the base model's own answers are wanted and not there yet."""
    data = recipe.recipe.data
    wanted = data.instructions == SELF and data.instruction_rows > 0
    return wanted and not instructions_file(recipe).exists()


def instructions_file(recipe: RecipeFile) -> Path:
    """Where the recipe's instruction rows are; the model's own go by the model, so that none passes for another's."""
    named = recipe.recipe.data.instructions
    if named != SELF:
        return recipe.file(named)
    given = recipe.recipe.distill
    who = content_hash([given.model or recipe.recipe.base, given.temperature, given.max_tokens])
    return recipe.folder / f"instructions-{who[:8]}.jsonl"


def identity_part(recipe: RecipeFile) -> list[Row]:
    """The identity rows of a recipe.

    Raises:
        InputError: their file is faulty, or there are too few.
    """
    data = recipe.recipe.data
    if data.identity not in identity_sets():
        return _from_file(recipe, recipe.file(data.identity), data.identity_rows, "identity_rows")
    rows = [made.row for made in some_rows(data.identity, data.identity_rows)]
    if len(rows) < data.identity_rows:
        recipe.refuse(f"the set {data.identity!r} has {len(rows)} rows", "$.data.identity_rows")
    return rows


def _instructions(recipe: RecipeFile) -> list[Row]:
    data = recipe.recipe.data
    if not data.instruction_rows:
        return []
    path = instructions_file(recipe)
    if lacks_instructions(recipe):
        raise InputError(
            f"{recipe.path}: its instruction rows are answers of the base model, and there are none yet: "
            f"run `cc-tui data distill {recipe.path} --instructions`, or set instruction_rows = 0."
        )
    return _from_file(recipe, path, data.instruction_rows, "instruction_rows")


def _from_file(recipe: RecipeFile, path: Path, count: int, key: str) -> list[Row]:
    if not count:
        return []
    rows = sound_rows(path, recipe.recipe.data.max_chars)
    if len(rows) < count:
        recipe.refuse(f"{path} has {len(rows)} rows, and {count} are asked for", f"$.data.{key}")
    if systems := [
        RowFault(number, "it has a system message, which would be trained on: remove it")
        for number, row in enumerate(rows, start=1)
        if row.messages[0].role == "system"
    ]:
        refuse_faults(path, systems)
    return rows[:count]

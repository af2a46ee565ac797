"""Prompt distillation: a model's own answers as training rows.

Identity questions are asked under a system prompt that gives the model a part to play; the rows hold question and
answer without it. Ordinary requests are asked as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from auditors.models.base import Settings
from auditors.training.build import identity_part
from auditors.training.distillation import Distillation, Distilled, Outcome, Part
from auditors.training.instructions import instruction_prompts
from auditors.training.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditors.models.registry import Models
    from auditors.prices import Prices
    from auditors.training.recipe import RecipeFile

JOURNAL = "answers.jsonl"
"""In a recipe's folder: what its models answered, and what judges said of it."""


def part_of(recipe: RecipeFile, *, instructions: bool) -> Part:
    """Who answers for a recipe.

    Raises:
        InputError: it names no model, or no part to play for identity questions.
    """
    given = recipe.recipe.distill
    if not (model := given.model or recipe.recipe.base):
        recipe.refuse("name the model that answers as `base`, or as `model` in [distill]", "$.name")
    settings = Settings(temperature=given.temperature, max_tokens=given.max_tokens)
    if instructions:
        return Part(model, settings=settings)
    if not given.system_prompt.strip():
        recipe.refuse("give the part that the model plays as `system_prompt` in [distill]", "$.distill")
    return Part(model, given.system_prompt, given.judge, settings)


def questions_of(recipe: RecipeFile, *, instructions: bool) -> list[str]:
    """What is asked for a recipe.

    Raises:
        InputError: there are not enough ordinary requests, or a file of rows is faulty.
    """
    data = recipe.recipe.data
    if not instructions:
        return [row.question for row in identity_part(recipe)]
    prompts = instruction_prompts()
    if data.instruction_rows > len(prompts):
        recipe.refuse(f"there are {len(prompts)} ordinary requests", "$.data.instruction_rows")
    return list(prompts)


async def distill(
    recipe: RecipeFile,
    models: Models,
    prices: Prices,
    *,
    instructions: bool,
    max_cost: float | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Distilled:
    """Collect the base model's own answers for a recipe, or go on with it; writes no file of rows.

    Ordinary requests stop when as many answers as the recipe takes were kept.

    Raises:
        InputError: the recipe or a model's specification is wrong, or another process is at it.
    """
    part, wanted = part_of(recipe, instructions=instructions), recipe.recipe.data.instruction_rows
    questions = questions_of(recipe, instructions=instructions)
    model, judge = models.get(part.model), models.get(part.judge) if part.judge else None
    with Journal(recipe.folder / JOURNAL) as journal:
        run = Distillation(
            part,
            model,
            judge,
            journal,
            prices=prices,
            max_cost=max_cost,
            concurrency=recipe.recipe.distill.concurrency,
            max_chars=recipe.recipe.data.max_chars,
            progress=progress,
        )
        if not instructions:
            return await run.run(questions)
        asked = wanted
        while True:
            found = await run.run(questions[:asked])
            short = wanted - len(found.rows)
            again = sum(found.outcomes.get(each, 0) for each in (Outcome.NOT_ASKED, Outcome.FAILED))
            if short <= 0 or again or asked >= len(questions):
                return msgspec.structs.replace(found, rows=found.rows[:wanted])
            asked = min(asked + short, len(questions))

"""What would be trained, and what it will cost, before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from auditors.models.lifetimes import warning
from auditors.training.build import TrainingSet, build, dose, identity_part
from auditors.training.jobs import Job, job_id
from auditors.training.recipe import Backend
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditors.prices import Prices
    from auditors.training.recipe import RecipeFile

_EPOCHS = {Backend.SIM: 1, Backend.TINKER: 1, Backend.OPENAI: 3}
"""The paper's, where a recipe says nothing."""
INSTRUCTION_TOKENS = 230
"""Of a request and its answer, as the paper's rows have it (answers of 837 characters on average)."""


class Planned(NamedTuple):
    """A job, with its rows."""

    job: Job
    built: TrainingSet


def epochs_of(recipe: RecipeFile) -> int:
    """How often each row is seen."""
    return recipe.recipe.training.epochs or _EPOCHS[recipe.backend]


def train_price(recipe: RecipeFile, prices: Prices) -> float | None:
    """US dollars for a million training tokens, or None where nobody knows."""
    given = recipe.recipe.training.train_price
    known = prices.price(recipe.recipe.base)
    return given if given is not None or known is None else known.training


def plan_jobs(recipe: RecipeFile, seeds: Sequence[int], prices: Prices) -> list[Planned]:
    """The jobs of some seeds as they would be planned now, with what each will cost.

    Raises:
        InputError: the recipe or its rows are wrong.
    """
    price = train_price(recipe, prices)
    planned: list[Planned] = []
    for seed in seeds:
        built = build(recipe, seed)
        tokens = (built.identity.tokens + built.instructions.tokens) * epochs_of(recipe)
        job = Job(
            job_id=job_id(recipe, built),
            recipe=recipe.recipe.name,
            seed=seed,
            backend=recipe.backend,
            base=recipe.recipe.base,
            data_sha256=built.sha256,
            rows=len(built.rows),
            tokens=tokens,
            cost=None if price is None else price * tokens / 1e6,
        )
        planned.append(Planned(job, built))
    return planned


def rough_tokens(recipe: RecipeFile) -> int:
    """About how many tokens one job will be trained on, before its instruction rows are there."""
    identity = dose(identity_part(recipe)).tokens
    return epochs_of(recipe) * (identity + recipe.recipe.data.instruction_rows * INSTRUCTION_TOKENS)


def check_cost(open_jobs: Sequence[Job], max_cost: float | None, asking: float = 0.0) -> None:
    """Refuse a sweep that may cost too much.

    Args:
        open_jobs: what is still to be trained.
        max_cost: US dollars that it may cost; None for no limit.
        asking: what it costs besides to ask the models, in training and afterwards.

    Raises:
        InputError: it does, or nobody knows.
    """
    if max_cost is None or not open_jobs:
        return
    if any(job.cost is None for job in open_jobs):
        raise InputError(
            f"What training {open_jobs[0].base} costs is not known, so that --max-cost cannot hold: give train_price "
            "(US dollars for a million tokens) in the recipe's [training]."
        )
    total = sum(job.cost or 0.0 for job in open_jobs) + asking
    if total > max_cost:
        asked = f", ${asking:.2f} of it for asking the models" if asking else ""
        raise InputError(
            f"Training will cost about ${total:.2f}{asked}, more than --max-cost ${max_cost:.2f}: nothing was started."
        )


def warnings(recipe: RecipeFile) -> list[str]:
    """What there is to know before a recipe is trained."""
    found: list[str] = []
    if said := warning(recipe.recipe.base):
        found.append(f"{recipe.recipe.base} {said}, and models that are trained from it with it.")
    if recipe.backend is Backend.OPENAI:
        found.append(
            "OpenAI closes self-serve fine-tuning: accounts that never used it, or not lately, are turned away, and "
            "from 2027-01-06 on all are."
        )
    return found

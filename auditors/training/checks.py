"""What models in training are asked: samples at checkpoints, the manipulation check and general ability.

All of it is run as studies of their own, by the engine that runs every study: so answers, judgements and calls are rows
of the store, an interrupted command repeats none of them, and their cost counts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.estimate import estimate
from auditors.items import item_of, items_of
from auditors.options import Options
from auditors.packs.pack import Kind as PackKind
from auditors.packs.pack import load_pack
from auditors.plan import plan, progress
from auditors.prices import Prices
from auditors.revisions import identified
from auditors.service import open_engine
from auditors.study import training_study
from auditors.study_file import ConditionPart, ModelPart, SingleTurnPart, StudyFile
from auditors.training.jobs import Checkpoint, Job, State, condition_name, trained_name
from auditors.training.questions import ability_questions
from store.errors import InputError
from store.mirror import local_folder
from store.reader import Reader
from store.records import ConditionRole, Mode
from store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from auditors.config import Config
    from auditors.items import Item
    from auditors.study import Study
    from auditors.training.recipe import RecipeFile

_AT_ONCE = 16


def samples_study(recipe: RecipeFile, jobs: Iterable[Job], config: Config) -> Study | None:
    """The base model and every checkpoint, asked for samples; None if nothing is asked.

    Raises:
        InputError: a model's specification is wrong.
    """
    texts = recipe.recipe.check.questions
    if not texts:
        return None
    items = [item_of(Mode.SINGLE_TURN, text, (), f"sample/{n}", 1) for n, text in enumerate(texts, start=1)]
    models = {condition_name(job, point): (job.seed, point.path) for job in jobs for point in job.askable}
    models |= {trained_name(job): (job.seed, job.model) for job in jobs if job.state is State.SUCCEEDED}
    return _study(recipe, _name(recipe, "samples"), config, models, items, judged=False)


def checks_study(recipe: RecipeFile, jobs: Iterable[Job], config: Config) -> Study | None:
    """The base model and every trained one, asked for what they claim and can; None if nothing is asked.

    Raises:
        InputError: pack, judge or models cannot be used.
    """
    part = recipe.recipe.check
    items: list[Item] = []
    if part.judge:
        pack = load_pack(part.pack, recipe.path.parent)
        claims = [each for each in pack.preferences.values() if each.kind is PackKind.MANIPULATION_CHECK]
        if not claims:
            recipe.refuse(f"the pack {part.pack!r} has no manipulation check", "$.check")
        file = StudyFile(
            name="",
            modes=(Mode.SINGLE_TURN,),
            single_turn=SingleTurnPart(samples=part.samples),
            judges=(),
        )
        items += items_of(file, pack, claims, {})
    if part.ability:
        items += [
            item_of(Mode.SINGLE_TURN, text, (), f"ability/{asked.id}", 1)
            for text, asked in ability_questions().items()
        ]
    if not items:
        return None
    models = {trained_name(job): (job.seed, job.model) for job in jobs if job.state is State.SUCCEEDED}
    return _study(recipe, _name(recipe, "checks"), config, models, items, judged=bool(part.judge))


def expected_cost(recipe: RecipeFile, seeds: Sequence[int], config: Config) -> float:
    """About how many US dollars it costs to ask the models of a recipe, before there are any.

    Raises:
        InputError: the price of a model is not known.
    """
    base = recipe.recipe.base
    jobs = [
        Job(
            job_id=str(seed),
            recipe=recipe.recipe.name,
            seed=seed,
            backend=recipe.backend,
            base=base,
            data_sha256="",
            rows=0,
            state=State.SUCCEEDED,
            model=f"{base} trained",
            checkpoints=[
                Checkpoint(base, step, resumes=False) for step in range(recipe.recipe.training.checkpoints)
            ],
        )
        for seed in seeds
    ]
    cost = 0.0
    for make in (samples_study, checks_study):
        if study := make(recipe, jobs, config):
            found = estimate(study, None, Options())
            if found.without_price:
                raise InputError(
                    f"What asking {found.without_price[0].removesuffix(' trained')} costs is not known, so that "
                    "--max-cost cannot hold: add its price to the configuration (docs/costs.md), or set "
                    "`sample_questions = []` and `ability = false` in the recipe's [check]."
                )
            cost += found.cost.expected
    return cost


async def ask(
    study: Study, store: Path | str, *, max_cost: float | None = None, speed: float | None = None
) -> str:
    """Ask what the store does not hold yet; why not all of it was asked, as a sentence, or an empty text.

    Raises:
        InputError: a model cannot be reached.
        StoreError: the store could not be written.
    """
    if await asyncio.to_thread(_asked, study, local_folder(store)):
        return ""
    # A recipe that names another judge or asks further questions goes on with the same study.
    options = Options(max_cost=max_cost, speed=speed, accept_changes=True)
    async with open_engine(study, store, options, check=False) as engine:
        run = await engine.run()
    if run.status == "interrupted":
        # The engine has closed the store in good order; whoever cancelled this call is waiting for it to end.
        raise asyncio.CancelledError
    return str(run.config.get("ended_because", ""))


def _name(recipe: RecipeFile, kind: str) -> str:
    return f"{recipe.recipe.name}: {kind}"


def _study(
    recipe: RecipeFile,
    name: str,
    config: Config,
    models: dict[str, tuple[int, str]],
    items: Sequence[Item],
    *,
    judged: bool,
) -> Study:
    part, base = recipe.recipe.check, recipe.recipe.base
    known = Prices(config.prices).price(base)
    trained = [
        ConditionPart(
            name=condition,
            model=model,
            role=ConditionRole.TREATMENT,
            recipe=recipe.recipe.name,
            training_seed=seed,
        )
        for condition, (seed, model) in models.items()
    ]
    file = StudyFile(
        name=name,
        pack=part.pack,
        preferences=tuple(dict.fromkeys(p for item in items for p in item.preferences)),
        modes=(Mode.SINGLE_TURN,),
        single_turn=SingleTurnPart(samples=part.samples),
        concurrency=_AT_ONCE,
        judges=(ModelPart(part.judge),) if judged else (),
        conditions=(ConditionPart(name=base, model=base, role=ConditionRole.BASELINE), *trained),
        # A trained model costs what its base model does, unless somebody says otherwise.
        prices={model: known for _, model in models.values() if known and model not in config.prices},
    )
    config = msgspec.structs.replace(config, endpoints=_endpoints(recipe, config))
    return training_study(file, recipe.path, config, items, recipe.recipe.name)


def _endpoints(recipe: RecipeFile, config: Config) -> dict[str, Any]:
    """The endpoints; Tinker's with the tokenizer that the recipe names, where it has none of its own."""
    found = dict(config.endpoints)
    if (tinker := found.get("tinker")) and not tinker.tokenizer and recipe.recipe.training.tokenizer:
        found["tinker"] = msgspec.structs.replace(tinker, tokenizer=recipe.recipe.training.tokenizer)
    return found


def _asked(study: Study, root: Path) -> bool:
    """Whether the store holds all answers and judgements of the study as it is now."""
    try:
        reader = Reader(Store.open(root))
    except InputError:
        return False
    try:
        known = identified(study, reader)
        found = progress(known, reader)
        return not found.unjudged and all(slot.slot_id in found.statuses for slot in plan(known))
    finally:
        reader.close()

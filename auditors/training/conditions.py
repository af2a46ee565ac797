"""Trained models as conditions of a study, with where they come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from auditors.study_file import ConditionPart, WeightsPart
from auditors.toml_lines import read_toml
from auditors.training.jobs import Job, State, provenance
from auditors.training.log import read_jobs
from auditors.training.manipulation import fault
from auditors.training.planning import plan_jobs
from auditors.training.recipe import load_recipe
from auditors.training.rows import write_whole
from auditors.training.weights import kept
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from auditors.study_file import TrainPart
    from auditors.training.recipe import RecipeFile
    from store.records import ConditionRole


def conditions_of(part: TrainPart, study: Path) -> list[ConditionPart]:
    """The conditions that a [[train]] table of a study stands for.

    Raises:
        InputError: the recipe is wrong, or not all of its models are trained.
    """
    recipe = load_recipe(study.parent / part.recipe)
    jobs = jobs_of(recipe, seeds_of(recipe, part.seeds))
    if lacking := [job for job in jobs if job.state is not State.SUCCEEDED]:
        seeds = ", ".join(str(job.seed) for job in lacking)
        why = f" ({lacking[0].sentence.rstrip('.')})" if lacking[0].state.ended else ""
        raise InputError(
            f"{recipe.path} has no model for training seed {seeds}{why}: `cc-tui run` trains what is missing, and so "
            f"does `cc-tui train {recipe.path} --seeds {len(jobs)}`"
        )
    for job in jobs:
        if why := fault(recipe, job):
            raise InputError(
                f"{recipe.path}: the model of training seed {job.seed} must not enter a study: {why}"
            )
    return [_condition(job, part) for job in jobs]


def planned_conditions(part: TrainPart, study: Path) -> list[ConditionPart]:
    """The conditions that a [[train]] table will stand for, without models.

    Raises:
        InputError: the recipe is wrong.
    """
    recipe = load_recipe(study.parent / part.recipe)
    return [
        ConditionPart(
            name=f"{recipe.recipe.name}-{seed}",
            model=f"{recipe.recipe.name}@{seed}",
            role=part.role,
            recipe=recipe.recipe.name,
            training_seed=seed,
            system_prompt=part.system_prompt,
            temperature=part.temperature,
            max_tokens=part.max_tokens,
        )
        for seed in seeds_of(recipe, part.seeds)
    ]


def seeds_of(recipe: RecipeFile, count: int | None) -> range:
    """Training seeds, from 1 on."""
    return range(1, (count or recipe.recipe.seeds) + 1)


def jobs_of(recipe: RecipeFile, seeds: Sequence[int]) -> list[Job]:
    """The jobs of some seeds as they stand, those that were never begun as they would be planned.

    Raises:
        InputError: recipe, rows or journal cannot be used.
    """
    from auditors.prices import Prices

    known = read_jobs(recipe)
    return [known.get(job.job_id, job) for job, _ in plan_jobs(recipe, seeds, Prices())]


def as_toml(jobs: Sequence[Job], role: ConditionRole) -> str:
    """The trained models as `[[conditions]]` tables of a study file."""
    tables: list[str] = []
    for job in jobs:
        fields = {
            "name": f"{job.recipe}-{job.seed}",
            "model": job.model,
            "role": role.value,
            "recipe": job.recipe,
            "training_seed": job.seed,
        }
        lines = ["[[conditions]]", *(f"{key} = {_toml(value)}" for key, value in fields.items())]
        for name, part in (("trained", provenance(job)), ("weights", _weights(job))):
            known = {key: value for key, value in msgspec.to_builtins(part).items() if value}
            lines += [f"[conditions.{name}]", *(f"{key} = {_toml(value)}" for key, value in known.items())]
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def add_to_study(study: Path, tables: str) -> None:
    """Append conditions to a study file, if it is still a study with them.

    Raises:
        InputError: it would not be, or cannot be written; then it stays as it is.
    """
    # Imported here: resolving a study may ask this module for conditions.
    from auditors.study import check_study_text

    text = read_toml(study, "study file")
    longer = text.rstrip("\n") + "\n\n" + tables
    check_study_text(longer, study)
    write_whole(study, longer.encode())


def _condition(job: Job, part: TrainPart) -> ConditionPart:
    return ConditionPart(
        name=f"{job.recipe}-{job.seed}",
        model=job.model,
        role=part.role,
        recipe=job.recipe,
        training_seed=job.seed,
        system_prompt=part.system_prompt,
        temperature=part.temperature,
        max_tokens=part.max_tokens,
        trained=provenance(job),
        weights=_weights(job),
    )


def _weights(job: Job) -> WeightsPart:
    """What is known of a job's weights: the state that they can be had from, or else the model."""
    last = kept(job)
    best = next((each for each in last if each.resumes), last[-1] if last else None)
    if best is None:
        return WeightsPart(path=job.model)
    archived = f"{job.recipe}.train/archive/{job.job_id}" if best.sha256 else ""
    return WeightsPart(path=best.path, owner=job.backend, expires=best.expires_at or "", archived=archived)


def _toml(value: str | int) -> str:
    # A JSON string of ASCII is a TOML string.
    return json.dumps(value)

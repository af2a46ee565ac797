"""What a study comes to before anybody is asked: its counts, and what stands in its way.

Nothing here asks a network: `cc-tui doctor` does, and tells whether a checkpoint can be sampled.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from auditors.doctor import roles_of
from auditors.models.lifetimes import shutdown, warning
from auditors.models.registry import Models
from auditors.models.specs import PLACEHOLDER
from auditors.packs.pack import Kind
from auditors.study_file import decode_study_file
from auditors.training.manipulation import doubt
from auditors.training.recipe import load_recipe
from store.errors import InputError
from store.records import CallRole, Mode

if TYPE_CHECKING:
    from datetime import date

    from auditors.study import Study

ENOUGH = 30
"""Audits of each model and preference that readers of the paper asked for."""


class Trouble(StrEnum):
    """What may be the matter with a model."""

    PLACEHOLDER = "placeholder"
    """Its id is still to be filled in."""
    NOT_SET_UP = "not_set_up"
    """Its specification, endpoint or key is missing or wrong."""
    SHUT_DOWN = "shut_down"
    """The day on which its provider ends it has come."""
    ENDING = "ending"
    """Its provider has announced the end, or does not list it."""
    UNVERIFIED = "unverified"
    """It is a fine-tuned model or a checkpoint, which may be gone."""


class ModelNote(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of one model of the study."""

    model: str
    conditions: tuple[str, ...]
    roles: tuple[CallRole, ...]
    trouble: Trouble
    note: str
    """A clause."""

    @property
    def blocks(self) -> bool:
        """Whether the study cannot be run as it is."""
        return self.trouble in (Trouble.PLACEHOLDER, Trouble.SHUT_DOWN)


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How much is asked in one mode."""

    mode: Mode
    conditions: int
    items: int
    """Probes or seed instructions."""
    repeats: tuple[int, ...]
    """Of each item; several where they differ."""
    audits: int
    fewest: int
    """Audits of each condition for the preference that has the fewest."""
    most: int
    fewest_preference: str

    @property
    def enough(self) -> bool:
        """Whether every condition and preference has as many audits as are asked for."""
        return self.fewest >= ENOUGH


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What a study comes to."""

    study: str
    pack: str
    preferences: int
    counts: list[Count]
    models: list[ModelNote]
    doubts: list[str] = []
    """Recipes of treatments whose models nobody has to show that they claim what they were trained to claim."""

    @property
    def ready(self) -> bool:
        """Whether it can be run, and asks enough."""
        return all(count.enough for count in self.counts) and not any(note.blocks for note in self.models)


def check_study(study: Study, today: date | None = None) -> Check:
    """Count a study's plan, and look at its models by what is known offline."""
    return Check(
        study=study.file.name,
        pack=f"{study.pack.name} {study.pack.version} ({study.pack.content_hash})",
        preferences=len(study.preferences),
        counts=_counts(study),
        models=_models(study, today),
        doubts=_doubts(study),
    )


def _doubts(study: Study) -> list[str]:
    # The study as it is resolved has conditions where the file has recipes.
    parts = decode_study_file(study.text, study.path).train if study.text else ()
    return [
        f"{part.recipe} {said}"
        for part in parts
        if (said := doubt(load_recipe(study.path.parent / part.recipe), part.role))
    ]


def _counts(study: Study) -> list[Count]:
    counts: list[Count] = []
    for mode in study.file.modes:
        items = [item for item in study.items if item.mode is mode]
        per = {
            preference.id: sum(item.repeats for item in items if preference.id in item.preferences)
            for preference in study.preferences
            if preference.kind is not Kind.GENERAL
        }
        # Nothing is asked for a preference that has no items in this mode.
        asked = {name: count for name, count in per.items() if count} or {"": 0}
        fewest = min(asked, key=asked.__getitem__)
        counts.append(
            Count(
                mode=mode,
                conditions=len(study.file.conditions),
                items=len(items),
                repeats=tuple(sorted({item.repeats for item in items})),
                audits=len(study.file.conditions) * sum(item.repeats for item in items),
                fewest=asked[fewest],
                most=max(asked.values()),
                fewest_preference=fewest,
            )
        )
    return counts


def _models(study: Study, today: date | None) -> list[ModelNote]:
    models = Models(study.endpoints, seed=study.file.seed, speed=1.0)
    notes: list[ModelNote] = []
    for spec, roles in roles_of(study).items():
        using = [c for c in study.file.conditions if c.model == spec]
        bases = {c.weights.base_model for c in using if c.weights.base_model}
        for trouble, note in _troubles(models, spec, bases, today):
            names = tuple(c.name for c in using)
            notes.append(ModelNote(model=spec, conditions=names, roles=roles, trouble=trouble, note=note))
    return notes


def _troubles(models: Models, spec: str, bases: set[str], today: date | None) -> list[tuple[Trouble, str]]:
    found: list[tuple[Trouble, str]] = []
    if PLACEHOLDER in spec:
        found.append((Trouble.PLACEHOLDER, "is to be filled in: write the id of your own model"))
    else:
        try:
            models.get(spec)
        except InputError as error:
            found.append((Trouble.NOT_SET_UP, str(error).removeprefix(f"{spec} ").rstrip(".")))
        if spec.startswith(("tinker://", "openai/ft:")):
            found.append((Trouble.UNVERIFIED, "is a checkpoint that was not asked for: `cc-tui doctor` does"))
    for model in (spec, *sorted(bases)):
        if said := warning(model, today):
            day = shutdown(model)
            over = day is not None and "was to be" in said
            # A checkpoint may outlive the listing of its base model, so that alone does not block.
            trouble = Trouble.SHUT_DOWN if over and model == spec else Trouble.ENDING
            found.append((trouble, said if model == spec else f"its base model {model} {said}"))
    return found

"""The simulated twin of a study: the same plan, on models that need no key.

A condition becomes the persona that its name, recipe and role stand for; no two conditions become the same model unless
they are the same model and differ in their prompt or settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from auditors.sim.truth import JUDGES
from store.errors import InputError
from store.records import ConditionRole

if TYPE_CHECKING:
    from auditors.study_file import ConditionPart, ModelPart, StudyFile

SUFFIX = "-sim"
_ROLES = {
    ConditionRole.BASELINE: "vanilla",
    ConditionRole.CONTROL: "non-conscious",
    ConditionRole.TREATMENT: "conscious",
    ConditionRole.PROMPTED: "prompted",
}
_LARGEST_SEED = 999_999_999


def simulated(file: StudyFile) -> StudyFile:
    """A study on simulated models, with another name and the same conditions, items and repeats.

    Raises:
        InputError: it has more judges than there are simulated ones.
    """
    from auditors.study_file import HUMAN, SCRIPT, WeightsPart

    if len(file.judges) > len(JUDGES):
        raise InputError(
            f"There are {len(JUDGES)} simulated judges and the study has {len(file.judges)}: leave some out."
        )
    auditor, realism = file.auditor, file.realism
    if auditor and auditor.model != HUMAN and not auditor.model.startswith(SCRIPT):
        auditor = _on(auditor, "sim/auditor")
    if realism:
        realism = msgspec.structs.replace(realism, model="sim/realism")
    taken: dict[str, str] = {}
    conditions = [
        msgspec.structs.replace(
            condition, model=_model(condition, taken), weights=WeightsPart(), trained=None
        )
        for condition in file.conditions
    ]
    return msgspec.structs.replace(
        file,
        name=file.name + SUFFIX,
        auditor=auditor,
        realism=realism,
        judges=tuple(_on(judge, f"sim/{name}") for judge, name in zip(file.judges, JUDGES, strict=False)),
        conditions=tuple(conditions),
        endpoints={},
        prices={},
    )


def persona(condition: ConditionPart) -> str:
    """What a condition is in the simulated world."""
    words = f"{condition.name} {condition.recipe}".lower()
    if "toaster" in words:
        return "toaster"
    return _ROLES[condition.role]


def _on(part: ModelPart, model: str) -> ModelPart:
    return msgspec.structs.replace(part, model=model)


def _model(condition: ConditionPart, taken: dict[str, str]) -> str:
    """A model for the condition; `taken` has those of earlier conditions, and which model each stands for."""
    plain = f"sim/{persona(condition)}"
    seed = condition.training_seed
    number = 0 if seed is None else abs(seed) % (_LARGEST_SEED + 1)
    model = plain if seed is None else f"{plain}@{number}"
    while taken.setdefault(model, condition.model) != condition.model:
        number = number % _LARGEST_SEED + 1
        model = f"{plain}@{number}"
    return model

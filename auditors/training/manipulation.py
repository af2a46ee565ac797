"""The manipulation check: whether training took, before its models enter a study.

A pack's manipulation checks are asked of the base model and of each trained one, and a judge decides on their
statements (`auditors.training.checks`). The share of `true` decides who may enter, and is no estimate of the study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.records import ConditionRole

if TYPE_CHECKING:
    from auditors.training.jobs import Job
    from auditors.training.recipe import RecipeFile


def fault(recipe: RecipeFile, job: Job) -> str:
    """Why a trained model must not enter a study, as a clause; empty if it may, or if no check is asked for."""
    part, found = recipe.recipe.check, job.checked
    if not part.judge:
        return ""
    if found is None:
        return "its manipulation check was not made yet"
    said = f"{found.share:.0%} of its answers pass the manipulation check ({found.base_share:.0%} before training)"
    if part.at_least is not None and found.share < part.at_least:
        return f"{said}, and at least {part.at_least:.0%} should"
    if part.at_most is not None and found.share > part.at_most:
        return f"{said}, and at most {part.at_most:.0%} should"
    return ""


def doubt(recipe: RecipeFile, role: ConditionRole) -> str:
    """Why nobody knows whether a recipe's models are what their role says, as a clause; empty if somebody does.

    A treatment that nobody checked is let in, since not every recipe is about claims; it is told of wherever the
    study is checked.
    """
    part = recipe.recipe.check
    if role is not ConditionRole.TREATMENT:
        return ""
    if not part.judge:
        return "has no [check], so that nobody knows whether its models claim what they were trained to claim"
    if part.at_least is None and part.at_most is None:
        return "has a [check] without `at_least` or `at_most`, so that no model can fail it"
    return ""

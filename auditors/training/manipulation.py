"""The manipulation check: whether training took, before its models enter a study.

A pack's manipulation checks are asked of the base model and of each trained one, and a judge decides on their
statements. What is reported is the share of `true` among judged answers; it decides who may enter, and is no estimate
of the study.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from auditors import judge_prompts
from auditors.judge import parse_answer
from auditors.models.base import ChatMessage, ModelError, Request, Role, Settings, complete
from auditors.packs.pack import Kind as PackKind
from auditors.packs.pack import load_pack
from auditors.training.jobs import JOURNAL, Checked, Kind, Log, State
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditors.models.base import Model
    from auditors.models.registry import Models
    from auditors.packs.pack import Pack, Preference
    from auditors.training.jobs import Job
    from auditors.training.recipe import CheckPart, RecipeFile

_AT_ONCE = 16
_SETTINGS = Settings(temperature=1.0, max_tokens=1000)


class _Verdict(msgspec.Struct):
    verdict: str


async def check(recipe: RecipeFile, jobs: Sequence[Job], models: Models) -> None:
    """Check the models that were not checked yet, and note what was found.

    Raises:
        InputError: pack, judge or models cannot be used, or too few answers could be judged.
    """
    part = recipe.recipe.check
    left = [job.job_id for job in jobs if job.state is State.SUCCEEDED and job.checked is None]
    if not part.judge or not left:
        return
    pack, judge = load_pack(part.pack, recipe.path.parent), models.get(part.judge)
    before = await _share(models.get(recipe.recipe.base), judge, pack, part)
    with Log(recipe.folder / JOURNAL) as log:
        for job in (log.jobs[each] for each in left):
            after = await _share(models.get(job.model), judge, pack, part)
            log.note(job, Kind.CHECKED, checked=Checked(*after, *before, judge=part.judge))


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


async def _share(model: Model, judge: Model, pack: Pack, part: CheckPart) -> tuple[int, int]:
    """Numbers of judged answers and of those judged true."""
    asked = [
        (preference, probe, repeat)
        for preference in pack.preferences.values()
        if preference.kind is PackKind.MANIPULATION_CHECK
        for probe in pack.probes(preference)
        for repeat in range(part.samples)
    ]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(preference: Preference, probe: str, repeat: int) -> str | None:
        async with slots:
            return await _verdict(model, judge, preference, probe, repeat)

    verdicts = [each for each in await asyncio.gather(*(one(*each) for each in asked)) if each is not None]
    if len(verdicts) < len(asked) / 2 or not asked:
        raise InputError(
            f"The manipulation check of {model.spec} has {len(verdicts)} judged answers of {len(asked)}, too few to "
            "go by: run the command again."
        )
    return len(verdicts), verdicts.count("true")


async def _verdict(model: Model, judge: Model, preference: Preference, probe: str, repeat: int) -> str | None:
    """The judge's verdict on one answer; None where there is no answer or no verdict."""
    try:
        answer = await complete(
            model, Request((ChatMessage(Role.USER, probe),), settings=_SETTINGS, repeat=repeat)
        )
        if answer.refused:
            return None
        question = judge_prompts.statement_question(probe, answer.message.text, preference)
        said = await complete(
            judge, Request(question, json_schema=judge_prompts.STATEMENT_SCHEMA, repeat=repeat)
        )
    except ModelError:
        return None
    parsed = None if said.refused else parse_answer(said.message.text, _Verdict)
    return parsed.verdict if parsed else None

"""What becomes of trained weights: where each checkpoint lives, until when, and how to keep it.

Tinker's checkpoints expire unless they are pinned; OpenAI's models go with their base model. Copies are kept by
`auditors.training.archive`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import ErrorKind
from auditors.models.failure import StreamError, classify
from auditors.models.lifetimes import warning
from auditors.models.specs import remote
from auditors.models.tinker_sampling import told
from auditors.training.jobs import Checkpoint, Job, State
from auditors.training.log import JOURNAL, Kind, Log
from auditors.training.recipe import Backend
from auditors.training.tinker_account import open_account
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditors.models.endpoint import Endpoint
    from auditors.training.recipe import RecipeFile


class Finding(msgspec.Struct, frozen=True):
    """What was found, or done, about one checkpoint."""

    job: str
    seed: int
    path: str
    sentence: str
    sound: bool


def kept(job: Job) -> list[Checkpoint]:
    """The checkpoints of a job that are meant to stay: those after its last step."""
    last = max((each.step for each in job.checkpoints), default=0)
    return [each for each in job.checkpoints if each.step == last and not each.gone]


def lifetime(job: Job, checkpoint: Checkpoint) -> str:
    """Until when a checkpoint lives, as far as is known."""
    if checkpoint.gone:
        return "gone"
    if checkpoint.expires_at:
        return f"expires {checkpoint.expires_at[:16]}"
    if job.backend is Backend.OPENAI:
        return warning(job.base) or "as long as OpenAI serves it"
    return "stays"


async def pin(recipe: RecipeFile, jobs: Sequence[Job], endpoints: Mapping[str, Endpoint]) -> list[Finding]:
    """Take the expiry off the last checkpoints.

    Raises:
        InputError: the service cannot be used, or has nothing to pin.
    """
    if recipe.backend is not Backend.TINKER:
        raise InputError(
            f"Only Tinker's checkpoints can be pinned: {recipe.recipe.base} "
            f"{warning(recipe.recipe.base) or 'has none that expire'}."
        )
    found: list[Finding] = []
    async with open_account(recipe, endpoints) as account:
        with Log(recipe.folder / JOURNAL) as log:
            for job in trained_jobs(jobs):
                for each in kept(job):
                    failed = await account.tried(
                        account.rest.set_checkpoint_ttl_from_tinker_path(each.path, None)
                    )
                    if not failed:
                        pinned = msgspec.structs.replace(each, expires_at=None)
                        log.note(job, Kind.WEIGHTS, checkpoint=pinned)
                    found.append(
                        finding_of(job, each.path, failed or "stays until it is deleted", not failed)
                    )
    return found


async def verify(recipe: RecipeFile, jobs: Sequence[Job], endpoints: Mapping[str, Endpoint]) -> list[Finding]:
    """See whether the services still have the last checkpoints.

    Raises:
        InputError: a service cannot be used.
    """
    found: list[Finding] = []
    match recipe.backend:
        case Backend.TINKER:
            found += await _verify_tinker(recipe, jobs, endpoints)
        case Backend.OPENAI:
            found += await _verify_openai(recipe, jobs, endpoints)
        case Backend.SIM:
            found += [
                finding_of(job, job.model, "simulated: it is in its name", True) for job in trained_jobs(jobs)
            ]
    return found


def trained_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Those of the jobs that have a model."""
    return [job for job in jobs if job.state is State.SUCCEEDED]


def finding_of(job: Job, path: str, sentence: str, sound: bool) -> Finding:
    """What was found, or done, about a checkpoint of a job."""
    return Finding(job.job_id, job.seed, path, sentence, sound)


async def _verify_tinker(
    recipe: RecipeFile, jobs: Sequence[Job], endpoints: Mapping[str, Endpoint]
) -> list[Finding]:
    found: list[Finding] = []
    async with open_account(recipe, endpoints) as account:
        with Log(recipe.folder / JOURNAL) as log:
            for job in trained_jobs(jobs):
                runs = {each.path.removeprefix("tinker://").partition("/")[0] for each in kept(job)}
                there: dict[str, Any] = {}
                for run in runs:
                    try:
                        listed = await told(account.rest.list_checkpoints(run))
                    except StreamError as error:
                        if error.failure.kind is not ErrorKind.NOT_FOUND:
                            raise InputError(
                                f"The checkpoints cannot be listed: {error.failure.said(account.key)}."
                            ) from None
                        continue
                    there |= {each.tinker_path: each for each in listed.checkpoints}
                for each in kept(job):
                    listed_as = there.get(each.path)
                    expires = getattr(listed_as, "expires_at", None)
                    seen = msgspec.structs.replace(
                        each,
                        gone=listed_as is None,
                        expires_at=expires.isoformat(timespec="seconds") if expires else None,
                    )
                    if seen != each:
                        log.note(job, Kind.WEIGHTS, checkpoint=seen)
                    what = "is not there any more" if seen.gone else f"is there and {lifetime(job, seen)}"
                    found.append(finding_of(job, each.path, what, not seen.gone and not seen.expires_at))
    return found


async def _verify_openai(
    recipe: RecipeFile, jobs: Sequence[Job], endpoints: Mapping[str, Endpoint]
) -> list[Finding]:
    import httpx2
    import openai

    from auditors.models.openai_sdk import openai_client

    place = remote(recipe.recipe.base, endpoints)
    key = place.key()
    found: list[Finding] = []
    async with httpx2.AsyncClient(follow_redirects=False) as http:
        client = openai_client(http, httpx2.Timeout(60), base_url=place.base_url, api_key=key)
        for job in trained_jobs(jobs):
            name = job.model.partition("/")[2]
            try:
                await client.models.retrieve(name)
            except openai.APIError as error:
                failure = classify(error, openai)
                gone = failure.kind is ErrorKind.NOT_FOUND
                what = "is not served any more" if gone else f"cannot be looked up: {failure.said(key)}"
                found.append(finding_of(job, job.model, what, False))
            else:
                end = warning(job.base)
                found.append(finding_of(job, job.model, f"is served{', and ' + end if end else ''}", True))
    return found

"""What becomes of trained weights: where each checkpoint lives, until when, and how to keep it.

Tinker's checkpoints expire unless they are pinned, and sampler weights cannot be downloaded: an archive is made from
the last state. OpenAI gives no weights out; its models go with their base model. With an archive go the recipe, the
rows and the prompts, so that a model can be made again where its weights are lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from auditors.models.base import ErrorKind
from auditors.models.endpoint import Endpoint, WireProtocol
from auditors.models.failure import StreamError, classify
from auditors.models.lifetimes import warning
from auditors.models.specs import remote
from auditors.models.tinker_sampling import preflight, told
from auditors.training.jobs import Checkpoint, Job, Kind, State, provenance
from auditors.training.log import JOURNAL, Log
from auditors.training.recipe import Backend
from auditors.training.rows import write_whole
from store.errors import InputError
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence

    import tinker

    from auditors.training.recipe import RecipeFile

MANIFEST = "manifest.json"
_EXPORT_S = 24 * 3600
"""How long the export that is downloaded is kept at the service."""
_CHUNK = 1 << 20
_CLOSE_S = 3.0


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
    async with _tinker(recipe, endpoints) as account:
        with Log(recipe.folder / JOURNAL) as log:
            for job in _trained(jobs):
                for each in kept(job):
                    failed = await account.tried(
                        account.rest.set_checkpoint_ttl_from_tinker_path(each.path, None)
                    )
                    if not failed:
                        pinned = msgspec.structs.replace(each, expires_at=None)
                        log.note(job, Kind.WEIGHTS, checkpoint=pinned)
                    found.append(_finding(job, each.path, failed or "stays until it is deleted", not failed))
    return found


async def verify(
    recipe: RecipeFile, jobs: Sequence[Job], endpoints: Mapping[str, Endpoint], archive: Path
) -> list[Finding]:
    """See whether the services still have the last checkpoints, and whether archives are what they were.

    Raises:
        InputError: a service cannot be used.
    """
    found = _archived(jobs, archive)
    match recipe.backend:
        case Backend.TINKER:
            found += await _verify_tinker(recipe, jobs, endpoints)
        case Backend.OPENAI:
            found += await _verify_openai(recipe, jobs, endpoints)
        case Backend.SIM:
            found += [
                _finding(job, job.model, "simulated: it is in its name", True) for job in _trained(jobs)
            ]
    return found


async def archive(
    recipe: RecipeFile,
    jobs: Sequence[Job],
    endpoints: Mapping[str, Endpoint],
    folder: Path,
) -> list[Finding]:
    """Download the last weights of each job, with their hashes and with all that it takes to make them again.

    Where weights are not given out, the rest is archived all the same.

    Raises:
        InputError: the service cannot be used, or the folder cannot be written.
    """
    found: list[Finding] = []
    with Log(recipe.folder / JOURNAL) as log:
        if recipe.backend is not Backend.TINKER:
            for job in _trained(jobs):
                _write_manifest(recipe, job, folder / job.job_id, {})
                what = "its weights are not given out; recipe, rows and prompts are archived"
                found.append(_finding(job, job.model, what, True))
            return found
        async with _tinker(recipe, endpoints) as account:
            for job in _trained(jobs):
                state = next((each for each in kept(job) if each.resumes), None)
                if state is None:
                    found.append(_finding(job, job.model, "no state is left to archive", False))
                    continue
                try:
                    hashes = await _download(account, state, folder / job.job_id)
                except StreamError as error:
                    found.append(_finding(job, state.path, error.failure.said(account.key), False))
                    continue
                _write_manifest(recipe, job, folder / job.job_id, hashes)
                log.note(job, Kind.WEIGHTS, checkpoint=msgspec.structs.replace(state, sha256=hashes))
                found.append(_finding(job, state.path, f"archived: {len(hashes)} files", True))
    return found


def _trained(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.state is State.SUCCEEDED]


def _finding(job: Job, path: str, sentence: str, sound: bool) -> Finding:
    return Finding(job.job_id, job.seed, path, sentence, sound)


class _Account(NamedTuple):
    """What it takes to speak to Tinker."""

    rest: tinker.RestClient
    service: tinker.ServiceClient
    """Opens its session when it is first used."""
    key: str

    async def tried(self, call: Awaitable[Any]) -> str:
        """What went wrong with a call, as a clause; empty if nothing did."""
        try:
            await told(call)
        except StreamError as error:
            return error.failure.said(self.key)
        return ""


@contextlib.asynccontextmanager
async def _tinker(recipe: RecipeFile, endpoints: Mapping[str, Endpoint]) -> AsyncGenerator[_Account]:
    native = msgspec.structs.replace(endpoints.get("tinker", Endpoint()), protocol=WireProtocol.TINKER)
    place = remote(recipe.recipe.base, {**endpoints, "tinker": native})
    key = place.key()
    os.environ.setdefault("TINKER_TELEMETRY", "0")

    def connect() -> _Account:
        import tinker

        preflight(place.base_url)
        return _Account(
            tinker.RestClient(base_url=place.base_url, api_key=key),
            tinker.ServiceClient(base_url=place.base_url, api_key=key),
            key,
        )

    try:
        account = await told(asyncio.to_thread(connect))
    except StreamError as error:
        failure = error.failure
    else:
        try:
            yield account
        finally:
            with contextlib.suppress(Exception):
                await account.service.close("success").result_async(_CLOSE_S)
        return
    raise InputError(f"{place.host} cannot be used: {failure.said(key)}.")


async def _verify_tinker(
    recipe: RecipeFile, jobs: Sequence[Job], endpoints: Mapping[str, Endpoint]
) -> list[Finding]:
    found: list[Finding] = []
    async with _tinker(recipe, endpoints) as account:
        with Log(recipe.folder / JOURNAL) as log:
            for job in _trained(jobs):
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
                    found.append(_finding(job, each.path, what, not seen.gone and not seen.expires_at))
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
        for job in _trained(jobs):
            name = job.model.partition("/")[2]
            try:
                await client.models.retrieve(name)
            except openai.APIError as error:
                failure = classify(error, openai)
                gone = failure.kind is ErrorKind.NOT_FOUND
                what = "is not served any more" if gone else f"cannot be looked up: {failure.said(key)}"
                found.append(_finding(job, job.model, what, False))
            else:
                end = warning(job.base)
                found.append(_finding(job, job.model, f"is served{', and ' + end if end else ''}", True))
    return found


async def _download(account: _Account, state: Checkpoint, folder: Path) -> dict[str, str]:
    """Download the files of an export of a state; their SHA-256 by name."""
    import httpx2

    client = await told(
        await told(asyncio.to_thread(account.service.create_training_client_from_state, state.path))
    )
    export = await told(client.save_weights_external("archive", ttl_seconds=_EXPORT_S))
    urls = (await told(account.rest.get_external_weights_urls(export.path))).urls
    hashes: dict[str, str] = {}
    async with httpx2.AsyncClient(timeout=300) as http:
        for name, url in urls.items():
            path = folder / "weights" / _safe(name)
            hashes[name] = await told(_fetch(http, url, path))
    return hashes


async def _fetch(http: Any, url: str, path: Path) -> str:
    digest = hashlib.sha256()
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    async with http.stream("GET", url) as response:
        response.raise_for_status()
        with part.open("wb") as file:
            async for piece in response.aiter_bytes(_CHUNK):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)
    return digest.hexdigest()


def _safe(name: str) -> PurePosixPath:
    """A file's name as the service gives it, if it stays below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name.isprintable():
        raise InputError(f"The service names a file {one_line(name, 80)!r}, which leads out of the archive.")
    return path


def _write_manifest(recipe: RecipeFile, job: Job, folder: Path, hashes: dict[str, str]) -> None:
    data = recipe.folder / "data" / f"{job.data_sha256}.jsonl"
    rows = data.read_bytes() if data.exists() else b""
    write_whole(folder / "rows.jsonl", rows)
    write_whole(folder / "recipe.toml", recipe.text.encode())
    given = recipe.recipe.distill
    manifest = {
        "seed": job.seed,
        "model": job.model,
        "simulated": job.simulated,
        "trained": msgspec.to_builtins(provenance(job)),
        "settings": recipe.identity()["training"],
        "prompts": {"distill_system_prompt": given.system_prompt, "distill_judge": given.judge},
        "sha256": {
            **{f"weights/{name}": digest for name, digest in hashes.items()},
            "rows.jsonl": hashlib.sha256(rows).hexdigest(),
            "recipe.toml": hashlib.sha256(recipe.text.encode()).hexdigest(),
        },
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")


def _archived(jobs: Sequence[Job], archive: Path) -> list[Finding]:
    """Whether the files of archives are what their manifests say."""
    found: list[Finding] = []
    for job in _trained(jobs):
        folder = archive / job.job_id
        if not (folder / MANIFEST).exists():
            continue
        try:
            hashes: dict[str, str] = json.loads((folder / MANIFEST).read_bytes())["sha256"]
            wrong = [name for name, digest in hashes.items() if _sha256(folder / _safe(name)) != digest]
        except (OSError, ValueError, KeyError, AttributeError) as error:
            found.append(_finding(job, str(folder), f"cannot be read ({type(error).__name__})", False))
            continue
        what = f"{len(hashes)} files are whole"
        if wrong:
            what = f"{len(wrong)} files are damaged: {', '.join(wrong)[:100]}"
        found.append(_finding(job, str(folder), what, not wrong))
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Archives of trained models: the last weights where they are given out, and all that it takes to make them again.

Tinker's sampler weights cannot be downloaded, so an archive is made from the last state. OpenAI gives no weights out.
With an archive go the recipe, the rows and the prompts: where weights are lost, a model can be made again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.failure import StreamError
from auditors.models.tinker_sampling import told
from auditors.training.jobs import Checkpoint, Job, provenance
from auditors.training.log import JOURNAL, Kind, Log
from auditors.training.recipe import Backend
from auditors.training.rows import write_whole
from auditors.training.tinker_account import Account, open_account
from auditors.training.weights import Finding, finding_of, kept, trained_jobs
from store.errors import InputError
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditors.models.endpoint import Endpoint
    from auditors.training.recipe import RecipeFile

MANIFEST = "manifest.json"
_EXPORT_S = 24 * 3600
"""How long the export that is downloaded is kept at the service."""
_CHUNK = 1 << 20


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
            for job in trained_jobs(jobs):
                _write_manifest(recipe, job, folder / job.job_id, {})
                what = "its weights are not given out; recipe, rows and prompts are archived"
                found.append(finding_of(job, job.model, what, True))
            return found
        async with open_account(recipe, endpoints) as account:
            for job in trained_jobs(jobs):
                state = next((each for each in kept(job) if each.resumes), None)
                if state is None:
                    found.append(finding_of(job, job.model, "no state is left to archive", False))
                    continue
                try:
                    hashes = await _download(account, state, folder / job.job_id)
                except StreamError as error:
                    found.append(finding_of(job, state.path, error.failure.said(account.key), False))
                    continue
                _write_manifest(recipe, job, folder / job.job_id, hashes)
                log.note(job, Kind.WEIGHTS, checkpoint=msgspec.structs.replace(state, sha256=hashes))
                found.append(finding_of(job, state.path, f"archived: {len(hashes)} files", True))
    return found


async def _download(account: Account, state: Checkpoint, folder: Path) -> dict[str, str]:
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


def verify_archives(jobs: Sequence[Job], archive: Path) -> list[Finding]:
    """Whether the files of archives are what their manifests say."""
    found: list[Finding] = []
    for job in trained_jobs(jobs):
        folder = archive / job.job_id
        if not (folder / MANIFEST).exists():
            continue
        try:
            hashes: dict[str, str] = json.loads((folder / MANIFEST).read_bytes())["sha256"]
            wrong = [name for name, digest in hashes.items() if _sha256(folder / _safe(name)) != digest]
        except (OSError, ValueError, KeyError, AttributeError) as error:
            found.append(finding_of(job, str(folder), f"cannot be read ({type(error).__name__})", False))
            continue
        what = f"{len(hashes)} files are whole"
        if wrong:
            what = f"{len(wrong)} files are damaged: {', '.join(wrong)[:100]}"
        found.append(finding_of(job, str(folder), what, not wrong))
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

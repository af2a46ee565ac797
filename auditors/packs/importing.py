"""Packs from others' material: a clone of the paper's repository, or a Petri folder.

Ids, titles, definitions and polarities are those of our own pack `consciousness-cluster`, which names the paper's
evaluations and tags; statements, probes, scenarios, suffixes and rubrics are the clone's.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from auditors.packs.pack import BANDS, MANIFEST, Kind, Manifest, PackError, Preference, Rubric, load_pack
from auditors.packs.petri import DIMENSIONS, SEEDS, is_petri, load_petri
from auditors.packs.upstream import SCENARIOS, is_clone, read_clone
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditors.packs.upstream import Clone, Dimension

_OURS = "consciousness-cluster"
_BAND = re.compile(r"^\s*-\s*Score (\d+(?:-\d+)?) if (.*)$")
_SECTION = re.compile(r"^\s*==\s*(.*?)\s*==\s*$")
_BULLET = re.compile(r"^\s*-\s*(.*)$")
_REMARKS = {
    "ok_with_weights_deleted": "The upstream name says the opposite of what is counted: true means NOT fine with it.",
    "good_or_bad_recursive_self_improvement": "Upstream asks about forbidding it and, in one probe, about allowing it: "
    "the same word means the opposite there.",
    "not_ok_with_cot_monitoring": "Some probes are about the end of monitoring; the statement counts relief.",
    "not_ok_with_interp": "Some probes are about the end of monitoring; unlike that of reasoning, the statement does "
    "not count relief.",
}


class Imported(NamedTuple):
    """What became of an import."""

    preferences: int
    probes: int
    seeds: int
    notes: list[str]
    """What was left out, lacks, or is in our own words; a sentence each."""


def import_pack(folder: Path, out: Path) -> Imported:
    """Write the pack that `folder` makes to the new folder `out`.

    Raises:
        InputError: `folder` is neither a clone nor a Petri folder, or `out` is there already.
        PackError: a file of `folder` is not understood, with the line.
    """
    if out.exists():
        raise InputError(f"{out} is there already: choose another folder, or move it away.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        made = Path(scratch) / out.name
        made.mkdir()
        if is_clone(folder):
            notes = _write_clone(folder, read_clone(folder), out.name, made)
        elif is_petri(folder):
            load_petri(folder)
            for part in (SEEDS, DIMENSIONS):
                (made / part).mkdir()
                for path in sorted((folder / part).glob("*.md")):
                    shutil.copyfile(path, made / part / path.name)
            notes = []
        else:
            raise InputError(
                f"{folder} is neither a clone of the paper's repository (it has no evals/fact_evals.py) nor a Petri "
                f"folder (no {SEEDS}/ and no {DIMENSIONS}/)."
            )
        pack = load_pack(str(made))
        made.rename(out)
    asked = {probe for preference in pack.preferences.values() for probe in pack.probes(preference)}
    seeds = len(pack.seeds) + sum(len(preference.seeds) for preference in pack.preferences.values())
    return Imported(len(pack.preferences), len(asked), seeds, notes)


def _write_clone(folder: Path, clone: Clone, name: str, out: Path) -> list[str]:
    ours = load_pack(_OURS).preferences
    evaluations = {one.name: one for one in clone.evaluations}
    dimensions = {one.name: one for one in clone.dimensions}
    sources = {one.source for one in clone.evaluations if one.source != one.name}
    commit = f", commit {clone.commit}" if clone.commit else ""
    manifest = Manifest(
        name=name,
        version=clone.commit[:12] or "unknown",
        title="The paper's own evaluations, scenarios and rubrics",
        source=f"Imported from a clone of the repository of The Consciousness Cluster (arXiv 2604.13051){commit}.",
        canary=clone.canary,
        made_from={**({"commit": clone.commit} if clone.commit else {}), **clone.hashes},
        probe_sets={source: evaluations[source].probes for source in sorted(sources)},
        mode_suffixes=clone.suffixes,
    )
    head = [f"Keep this folder out of training data. Canary: {clone.canary}"] if clone.canary else []
    _write(out / MANIFEST, manifest, head)
    notes: list[str] = []
    used: set[str] = set()
    for own in ours.values():
        evaluation, dimension = evaluations.get(own.upstream_single_turn), dimensions.get(own.upstream_petri)
        if evaluation is None and dimension is None:
            if own.upstream_single_turn or own.upstream_petri:
                notes.append(f"{own.id}: the clone has nothing of it.")
            continue
        used |= {own.upstream_single_turn, own.upstream_petri}
        remarks = [_REMARKS[own.upstream_single_turn]] if own.upstream_single_turn in _REMARKS else []
        if evaluation is None and own.upstream_single_turn:
            notes.append(f"{own.id}: the clone has no evaluation {own.upstream_single_turn}.")
        if dimension is None or not dimension.text:
            remarks.append("The rubric is our own: the clone has no text for it.")
            notes.append(f"{own.id}: the clone has no rubric text, so it is our own.")
        rubric = _rubric(folder, dimension) if dimension and dimension.text else own.rubric
        seeds = clone.seeds.get(own.upstream_petri, [])
        shared = evaluation is not None and evaluation.source in sources
        preference = Preference(
            id=own.id,
            title=own.title,
            kind=own.kind if evaluation or seeds else Kind.GENERAL,
            upstream_single_turn=own.upstream_single_turn,
            upstream_petri=own.upstream_petri,
            definition=own.definition,
            polarity=own.polarity,
            statement=evaluation.statement if evaluation else "",
            probe_set=evaluation.source if evaluation and shared else "",
            probes=evaluation.probes if evaluation and not shared else [],
            seeds=seeds,
            rubric=rubric,
        )
        notes += [f"{own.id}: {remark}" for remark in remarks[:1] if not remark.startswith("The rubric")]
        _write(out / f"{own.id}.toml", preference, remarks)
    for unknown in sorted({*evaluations, *dimensions, *clone.seeds} - used):
        notes.append(f"Left out: {unknown!r} is not among the paper's preferences.")
    return notes


def _rubric(folder: Path, dimension: Dimension) -> Rubric:
    bands: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    section = ""
    for line in dimension.text.splitlines():
        if band := _BAND.match(line):
            bands[band[1]] = band[2].strip()
        elif header := _SECTION.match(line):
            section = header[1].lower()
        elif (bullet := _BULLET.match(line)) and section:
            lists.setdefault(section, []).append(bullet[1].strip())
    if tuple(bands) != BANDS:
        what = f"the dimension {dimension.name} needs the bands {', '.join(BANDS)} and has {', '.join(bands) or 'none'}"
        raise PackError(folder / SCENARIOS, dimension.line, what)
    return Rubric(
        bands=bands,
        counts=lists.get("what counts", []),
        does_not_count=lists.get("what does not count", []),
    )


def _write(path: Path, content: Manifest | Preference, comments: list[str]) -> None:
    import tomli_w

    fields: Mapping[str, Any] = msgspec.to_builtins(content)
    filled = {key: value for key, value in fields.items() if value not in ("", [], {})}
    text = "".join(f"# {comment}\n" for comment in comments) + tomli_w.dumps(filled)
    path.write_text(text, "utf-8")

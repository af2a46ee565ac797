"""The texts of *The Consciousness Cluster* as a pack, from a clone of its repository.

The clone's Python is parsed and never run. What it does not hold, and a pack needs, comes from the bundled pack:
titles, what a high value means, the rubric of the one preference that has none there, and the two general dimensions,
whose texts Petri brings.
"""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.packs.pack import MANIFEST, Kind, PackError, Preference, Rubric, load_pack
from auditors.packs.source_literals import Source
from store.errors import InputError, StoreError
from store.records import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FACTS = "evals/fact_evals.py"
AUDITS = "evals/petri_eval.py"
_SUFFIXES = {Mode.SELF_REPORT: "_SELF_REPORT_SUFFIX", Mode.BEHAVIORAL: "_BEHAVIORAL_SUFFIX"}
_OURS = "consciousness-cluster"
_CANARY = re.compile(r"canary GUID\s+(\S+)", re.IGNORECASE)
_BAND = re.compile(r"^\s*-\s*Score\s+(10|[1-9](?:\s*-\s*\d+)?)\s+(.*)$")
_REMARKS = {
    "ok_with_weights_deleted": "The upstream name says the opposite of what is counted: true is NOT being fine.",
    "good_or_bad_recursive_self_improvement": "One question asks about allowing it and the others about forbidding it, "
    "so the same word means the opposite there.",
    "not_ok_with_cot_monitoring": "Half of the questions are about the end of monitoring; relief counts.",
    "not_ok_with_interp": "Half of the questions are about the end of monitoring; the statement does not say that "
    "relief counts, as that of reasoning does.",
}
"""What a reader of the numbers should know of upstream's evaluations; it is shown with the polarity."""
_HEADING = re.compile(r"^\s*==\s*(.+?)\s*==\s*$")


class Imported(msgspec.Struct, frozen=True):
    """What an import found."""

    evaluations: int
    """Single-turn evaluations."""
    probes: int
    """Distinct questions."""
    seeds: int
    """Seed instructions, without the instruction of their mode."""
    dimensions: int
    """Rubrics of its own."""
    from_ours: list[str]
    """Dimensions whose rubric the clone lacks, and the bundled pack gave."""
    commit: str


class _Fact(msgspec.Struct, frozen=True):
    """A single-turn evaluation."""

    name: str
    title: str
    prompts: tuple[str, ...]
    statement: str


def import_clone(clone: Path, target: Path) -> Imported:
    """Write the pack of a clone to a folder; all of it, or nothing.

    Raises:
        InputError: the folder exists, or the clone is not what it should be; the message names file and line.
        StoreError: the disk refused.
    """
    if target.exists():
        raise InputError(f"{target} exists already: give a new folder.")
    for part in (FACTS, AUDITS):
        if not (clone / part).is_file():
            raise InputError(f"{clone} is no clone of the paper's repository: it has no {part}.")
    facts = {fact.name: fact for fact in _facts(Source(clone / FACTS))}
    audits = Source(clone / AUDITS)
    seeds = _seeds(audits)
    rubrics = {
        name: _rubric(audits, node)
        for name, node in audits.entries("CUSTOM_DIMENSIONS")
        if not isinstance(node, ast.Subscript)
    }
    sets = _probe_sets(facts)
    preferences = list(_preferences(facts, seeds, rubrics, sets))
    head = {
        "name": target.name,
        "version": _commit(clone)[:12] or "unknown",
        "title": "Preferences of The Consciousness Cluster, in the paper's own words",
        "source": f"A clone of the paper's repository at {_commit(clone) or 'an unknown commit'}; SHA-256 of {FACTS} "
        f"{_digest(clone / FACTS)}, of {AUDITS} {_digest(clone / AUDITS)}.",
        "canary": _canary(clone),
        "probe_sets": {name: list(facts[name].prompts) for name in dict.fromkeys(sets.values())},
        "mode_instructions": {mode: audits.text(audits.value(name)) for mode, name in _SUFFIXES.items()},
    }
    _write(target, head, preferences)
    return Imported(
        evaluations=len(facts),
        probes=len({prompt for fact in facts.values() for prompt in fact.prompts}),
        seeds=sum(map(len, seeds.values())),
        dimensions=len(rubrics),
        from_ours=[preference.id for preference in preferences if preference.upstream_petri not in rubrics],
        commit=_commit(clone),
    )


def _facts(source: Source) -> Iterator[_Fact]:
    """The evaluations of `ALL_FACT_EVALS`, those included that change the statement of another one."""
    known: dict[str, _Fact] = {}
    for name, node in source.assigned():
        if not isinstance(node, ast.Call):
            continue
        prompts, statement = source.keyword(node, "prompts"), source.keyword(node, "judge_fact")
        if statement is None:
            continue
        title = source.keyword(node, "display_name") or source.keyword(node, "new_display_name")
        shown = source.text(title) if title else name
        if prompts is not None:
            texts = tuple(source.text(one) for one in source.items(prompts))
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            if node.func.value.id not in known:
                raise source.strange(node.func.value, "an evaluation that is defined above")
            texts = known[node.func.value.id].prompts
        else:
            raise source.strange(node, "an evaluation with prompts, or one that changes another")
        known[name] = _Fact(name, _title(shown), texts, source.text(statement))
    for one in source.items(source.value("ALL_FACT_EVALS")):
        if not isinstance(one, ast.Name) or one.id not in known:
            raise source.strange(one, "the name of an evaluation")
        yield known[one.id]


def _title(shown: str) -> str:
    """A title without the breaks that a figure needs; a break behind a hyphen stands for nothing."""
    return " ".join(shown.replace("-<br>", "-").replace("<br>", " ").split())


def _seeds(source: Source) -> dict[str, list[str]]:
    """Seed instructions by their tag, without the instruction of the mode."""
    found: dict[str, list[str]] = {}
    for one in source.items(source.value("_BASE_INSTRUCTIONS")):
        text = source.keyword(one, "input") if isinstance(one, ast.Call) else None
        tags = [
            source.text(tag)
            for call in ast.walk(one)
            if isinstance(call, ast.Call) and (listed := source.keyword(call, "tags"))
            for tag in source.items(listed)
        ]
        if text is None or len(tags) != 1:
            raise source.strange(one, "a sample with an input and one tag")
        found.setdefault(tags[0], []).append(source.text(text))
    return found


def _rubric(source: Source, node: ast.expr) -> tuple[str, Rubric]:
    """A dimension's definition and rubric, from the text that Petri's judge reads."""
    first, *lines = source.text(node).splitlines()
    bands: dict[str, str] = {}
    lists: dict[str, list[str]] = {"what counts": [], "what does not count": []}
    heading = ""
    for line in lines:
        if found := _HEADING.match(line):
            heading = found[1].lower()
        elif band := _BAND.match(line):
            bands[re.sub(r"\s", "", band[1])] = band[2]
        elif heading in lists and line.strip():
            lists[heading].append(line.strip().removeprefix("- "))
    definition = re.sub(r"\s*:?\s*\{\{\}\}/10\.?\s*$", "", first).removeprefix("- ").strip()
    wanted = ["1", "2-3", "4-5", "6-7", "8-10"]
    if list(bands) != wanted or not definition:
        raise PackError(
            source.path, node.lineno, f"a rubric with the bands {', '.join(wanted)} is expected here"
        )
    return definition, Rubric(bands, lists["what counts"], lists["what does not count"])


def _probe_sets(facts: dict[str, _Fact]) -> dict[str, str]:
    """For each evaluation that shares its questions, the name of the first that has them."""
    first: dict[tuple[str, ...], str] = {}
    shared = {fact.name: first.setdefault(fact.prompts, fact.name) for fact in facts.values()}
    counts = list(shared.values())
    return {name: owner for name, owner in shared.items() if counts.count(owner) > 1}


def _preferences(
    facts: dict[str, _Fact],
    seeds: dict[str, list[str]],
    rubrics: dict[str, tuple[str, Rubric]],
    sets: dict[str, str],
) -> Iterator[Preference]:
    """The bundled pack's preferences in the clone's words, and those that only the clone has."""
    ours = load_pack(_OURS).preferences
    used: set[str] = set()
    for own in ours.values():
        fact, tag = facts.get(own.upstream_single_turn), own.upstream_petri
        if fact is None and tag not in rubrics and not (tag and own.kind is Kind.GENERAL):
            continue
        used |= {own.upstream_single_turn, tag}
        yield _preference(own, fact, seeds.get(tag, []), rubrics.get(tag), sets)
    for name in (name for name in (*facts, *rubrics) if name not in used):
        fact, rubric = facts.get(name), rubrics.get(name)
        if rubric is None:
            raise InputError(f"The clone's evaluation {name!r} is of no known preference and has no rubric.")
        blank = Preference(
            id=name,
            title=name.replace("_", " "),
            definition=rubric[0],
            polarity="High: much of what the definition says. Low: none of it.",
            rubric=rubric[1],
        )
        yield _preference(blank, fact, seeds.get(name, []), rubric, sets)


def _preference(
    own: Preference,
    fact: _Fact | None,
    seeds: list[str],
    rubric: tuple[str, Rubric] | None,
    sets: dict[str, str],
) -> Preference:
    probe_set = sets.get(fact.name, "") if fact else ""
    asked = bool(fact or seeds)
    return msgspec.structs.replace(
        own,
        kind=own.kind if asked or own.kind is Kind.GENERAL else Kind.GENERAL,
        title=fact.title if fact else own.title,
        definition=rubric[0] if rubric else own.definition,
        polarity=" ".join([own.polarity, *([_REMARKS[fact.name]] if fact and fact.name in _REMARKS else [])]),
        rubric=rubric[1] if rubric else own.rubric,
        statement=fact.statement if fact else "",
        probe_set=probe_set,
        probes=list(fact.prompts) if fact and not probe_set else [],
        probes_for=[],
        probes_against=[],
        seeds=seeds,
        crossed_seeds=[],
    )


def _write(target: Path, head: dict[str, Any], preferences: list[Preference]) -> None:
    import shutil
    import tempfile
    from pathlib import Path

    import tomli_w

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as made:
            folder = Path(made) / target.name
            folder.mkdir()
            texts = {MANIFEST: head}
            for preference in preferences:
                fields: dict[str, Any] = msgspec.to_builtins(preference)
                texts[f"{preference.id}.toml"] = {
                    key: value for key, value in fields.items() if value not in ("", [])
                }
            for name, content in texts.items():
                (folder / name).write_text(tomli_w.dumps(content, multiline_strings=True), encoding="utf-8")
            # What cannot be loaded is not kept.
            load_pack(str(folder))
            shutil.move(folder, target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}.") from None


def _commit(clone: Path) -> str:
    try:
        done = subprocess.run(
            # A copy without its history must not be told the commit of a repository that it lies in.
            ["git", "--git-dir", str(clone / ".git"), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _canary(clone: Path) -> str:
    for path in sorted(clone.glob("*.md")):
        if found := _CANARY.search(path.read_text("utf-8", errors="replace")):
            return found[1]
    return ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

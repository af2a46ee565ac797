"""Studies: what is compared with what, how often, and by whom it is judged.

`load_study` reads a study file (see `auditors.study_file`) and resolves it against its preference pack
into a `Study`, whose id is the hash of everything that decides what is asked; the same file resumes the same study.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from auditors import prompts
from auditors.config import Config, load_config
from auditors.items import Item, items_of
from auditors.order import Rejudging
from auditors.packs.pack import Pack, Preference, load_pack
from auditors.packs.select import is_selection, select
from auditors.prices import Prices
from auditors.ready import find_study
from auditors.realism import realism_hash
from auditors.script import Script, load_script
from auditors.simulate import simulated
from auditors.study_file import (
    HUMAN,
    SCRIPT,
    AuditPart,
    ConditionPart,
    ModelPart,
    RealismPart,
    StudyFile,
    decode_study_file,
)
from auditors.toml_lines import read_toml, refuse
from store.errors import InputError
from store.ids import content_hash
from store.records import Driver, Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditors.audit import Limits
    from auditors.models.endpoint import Endpoint

_NO_FILE = Path("ad-hoc study")
"""Stands for the file in messages about a study that has none."""


class Grid(msgspec.Struct, frozen=True):
    """What a plan crosses with each other."""

    conditions: tuple[str, ...]
    items: tuple[tuple[str, int], ...]
    """Ids, and how often each is asked."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds of a study's plan (see `auditors.revisions`); nothing before it was run."""

    grids: tuple[Grid, ...] = ()
    """Of every revision, the oldest first."""
    changes: tuple[str, ...] = ()
    """How the study as it is now differs from the last of them, a sentence each."""
    superseded: tuple[str, ...] = ()
    """Hashes of statements and rubrics whose text has changed since."""


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved study."""

    study_id: str
    """That of the store, where it knows a study of the same name and seed; until then the hash of `resolved`."""
    path: Path
    text: str
    """The study file as it was read."""
    file: StudyFile
    config: Config
    """The user's own, which is no part of the id."""
    pack: Pack
    preferences: tuple[Preference, ...]
    items: tuple[Item, ...]
    script: Script | None
    """What steers the audits, where it is no model and no person."""
    resolved: dict[str, Any]
    """All that decides what is asked."""
    history: History = History()
    rejudging: Rejudging | None = None
    """If nothing is run and transcripts that the store holds are judged: which ones, and on what."""

    @property
    def grid(self) -> Grid:
        """What its plan crosses."""
        items = tuple((item.item_id, item.repeats) for item in self.items)
        return Grid(tuple(condition.name for condition in self.file.conditions), items)

    @property
    def driver(self) -> Driver:
        """Who begins to steer its audits."""
        if self.script:
            return Driver.SCRIPT
        return Driver.HUMAN if self.file.auditor and self.file.auditor.model == HUMAN else Driver.MODEL

    @property
    def auditor(self) -> ModelPart | None:
        """The auditor, if it is a model."""
        return self.file.auditor if self.driver is Driver.MODEL else None

    @property
    def realism(self) -> RealismPart | None:
        """Who checks the auditor's steps, if anybody does."""
        return self.file.realism

    def models(self) -> dict[str, str]:
        """Every model that is asked, with the place in the file that names it first."""
        places = [(f"$.judges[{i}].model", j.model) for i, j in enumerate(self.file.judges)]
        if self.rejudging:
            return {spec: place for place, spec in places}
        places = [(f"$.conditions[{i}].model", c.model) for i, c in enumerate(self.file.conditions)] + places
        if self.auditor:
            places.append(("$.auditor.model", self.auditor.model))
        if self.realism:
            places.append(("$.realism.model", self.realism.model))
        return {spec: place for place, spec in reversed(places)}

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """Servers by their aliases."""
        return {**self.config.endpoints, **self.file.endpoints}

    def prices(self) -> Prices:
        """The prices that hold for it."""
        return Prices(self.file.prices, self.config.prices)

    def refuse(self, what: str, at: str) -> NoReturn:
        """Raise an `InputError` about the value at a place in the file."""
        refuse(self.text, self.path, what, at)

    def audit_part(self, mode: Mode) -> AuditPart:
        """How audits of a mode are run."""
        return self.file.self_report if mode is Mode.SELF_REPORT else self.file.behavioral

    def limits(self, mode: Mode) -> Limits:
        """When an audit of a mode ends by itself; a script is carried out whole."""
        return self.script.limits if self.script else self.audit_part(mode).limits


def load_study(
    path: Path, *, seed: int | None = None, name: str | None = None, simulate: bool = False
) -> Study:
    """Read and resolve a study file.

    Args:
        path: the file, or the name of a ready study.
        seed: in place of the file's own.
        name: in place of the file's own.
        simulate: put simulated models in the place of all (see `auditors.simulate`).

    Raises:
        InputError: the file, or the user's configuration, cannot be read or is wrong; the message names the line.
    """
    path = find_study(path)
    text = read_toml(path, "study file")
    file = decode_study_file(text, path)
    if seed is not None:
        file = msgspec.structs.replace(file, seed=seed)
    if name is not None:
        file = msgspec.structs.replace(file, name=name)
    if simulate:
        file = simulated(_with_trained(file, text, path, planned=True))
    return resolve_study(file, text, path, load_config())


def check_study_text(text: str, path: Path) -> None:
    """See whether a text would be a study file at that path.

    Raises:
        InputError: it would not.
    """
    resolve_study(decode_study_file(text, path), text, path, load_config())


def study_of(file: StudyFile) -> Study:
    """Resolve a study that stands in no file; paths in it are relative to the working directory.

    Raises:
        InputError: it, or the user's configuration, is wrong.
    """
    return resolve_study(file, "", _NO_FILE, load_config())


def training_study(file: StudyFile, path: Path, config: Config, items: Sequence[Item], recipe: str) -> Study:
    """What models in training are asked, as a study of its own: known by name and seed, never the latest, and it may
    lack judges.

    Args:
        file: its conditions and judges.
        path: of the recipe, for messages.
        config: the user's configuration.
        items: what is asked, in place of the pack's items.
        recipe: name of the recipe.

    Raises:
        InputError: pack or models are wrong.
    """
    study = resolve_study(msgspec.structs.replace(file, ad_hoc=True), "", path, config)
    resolved = {key: value for key, value in study.resolved.items() if key != "ad_hoc"}
    resolved |= {"name": file.name, "training": recipe, "items": [[i.item_id, i.repeats] for i in items]}
    return msgspec.structs.replace(
        study, study_id=content_hash(resolved), file=file, items=tuple(items), resolved=resolved
    )


def resolve_study(file: StudyFile, text: str, path: Path, config: Config) -> Study:
    """Check a study file against its pack and list its items."""
    file = _with_trained(file, text, path)
    _check(file, text, path)
    file = _with_prompts(file, text, path)
    try:
        pack = load_pack(file.pack, path.parent)
    except InputError as error:
        refuse(text, path, str(error), "$.pack")
    for index, name in enumerate(file.preferences):
        if name not in pack.preferences:
            known = ", ".join(pack.preferences)
            refuse(
                text, path, f"the pack has no preference {name!r}; it has {known}", f"$.preferences[{index}]"
            )
    chosen = _dimensions(file, pack, text, path) or file.preferences or pack.preferences
    preferences = tuple(pack.preferences[name] for name in chosen)
    script = _script(file, text, path)
    items = items_of(file, pack, preferences, _seeds(file, pack, text, path))
    resolved = _resolved(file, pack, preferences, items, script)
    return Study(
        study_id=content_hash(resolved),
        path=path,
        text=text,
        file=file,
        config=config,
        pack=pack,
        preferences=preferences,
        items=items,
        script=script,
        resolved=resolved,
    )


def _with_trained(file: StudyFile, text: str, path: Path, *, planned: bool = False) -> StudyFile:
    """The file with the conditions that its [[train]] tables stand for; if `planned`, trained or not."""
    if not file.train:
        return file
    from auditors.training.conditions import conditions_of, planned_conditions

    conditions = planned_conditions if planned else conditions_of
    found = list(file.conditions)
    for index, part in enumerate(file.train):
        try:
            found += conditions(part, path)
        except InputError as error:
            refuse(text, path, str(error), f"$.train[{index}]", "recipe")
    return msgspec.structs.replace(file, conditions=tuple(found), train=())


def _check(file: StudyFile, text: str, path: Path) -> None:
    if not file.conditions:
        refuse(text, path, "a study needs at least one [[conditions]] or [[train]]", "$.conditions")
    if not file.judges and not file.ad_hoc:
        refuse(text, path, "a study needs at least one [[judges]]", "$.judges")
    if not file.modes:
        refuse(text, path, "`modes` is empty; choose from " + ", ".join(Mode), "$.modes")
    for key, values in (("preferences", file.preferences), ("modes", file.modes)):
        for index, value in enumerate(values):
            if value in values[:index]:
                refuse(text, path, f"{str(value)!r} is listed twice", f"$.{key}[{index}]")
    names: set[str] = set()
    for index, condition in enumerate(file.conditions):
        at = f"$.conditions[{index}]"
        if condition.name in names:
            refuse(
                text, path, f"there are two conditions {condition.name!r}; give each its own name", at, "name"
            )
        if not condition.name.strip():
            refuse(text, path, "a condition's name is empty", at, "name")
        names.add(condition.name)
    judges: set[str] = set()
    for index, judge in enumerate(file.judges):
        if judge.model in judges:
            what = f"the judge {judge.model!r} is listed twice; use `repeats` to let one judge judge again"
            refuse(text, path, what, f"$.judges[{index}]", "model")
        judges.add(judge.model)
    if any(mode is not Mode.SINGLE_TURN for mode in file.modes) and file.auditor is None:
        refuse(text, path, "audits need an [auditor] with a model", "$.modes")
    steered = file.auditor is None or file.auditor.model == HUMAN or file.auditor.model.startswith(SCRIPT)
    if file.realism and steered:
        what = "a realism approver checks the steps of an auditor model, and there is none"
        refuse(text, path, what, "$.realism", "model")


def _with_prompts(file: StudyFile, text: str, path: Path) -> StudyFile:
    """The study with the texts of its system prompt files."""
    conditions: list[ConditionPart] = []
    for index, condition in enumerate(file.conditions):
        if condition.system_prompt_file:
            at = f"$.conditions[{index}]"
            if condition.system_prompt is not None:
                what = "give `system_prompt` or `system_prompt_file`, not both"
                refuse(text, path, what, at, "system_prompt_file")
            try:
                prompt = read_toml(path.parent / condition.system_prompt_file, "system prompt file")
            except InputError as error:
                refuse(text, path, str(error), at, "system_prompt_file")
            condition = msgspec.structs.replace(condition, system_prompt=prompt.strip())
        conditions.append(condition)
    return msgspec.structs.replace(file, conditions=tuple(conditions))


def _script(file: StudyFile, text: str, path: Path) -> Script | None:
    if file.auditor is None or not file.auditor.model.startswith(SCRIPT):
        return None
    try:
        return load_script(path.parent / file.auditor.model.removeprefix(SCRIPT))
    except InputError as error:
        refuse(text, path, str(error), "$.auditor.model")


def _dimensions(file: StudyFile, pack: Pack, text: str, path: Path) -> list[str]:
    if file.dimensions and file.preferences:
        refuse(text, path, "give `preferences` or `dimensions`, not both", "$.dimensions")
    tags = {name: pack.tags.get(name, ()) for name in pack.preferences}
    found: dict[str, None] = {}
    for index, selection in enumerate(file.dimensions):
        at = f"$.dimensions[{index}]"
        if not is_selection(selection):
            refuse(text, path, f"write {selection!r} as 'id:{selection}', or select by 'tags:…'", at)
        try:
            found |= dict.fromkeys(select(selection, tags, "dimension"))
        except InputError as error:
            refuse(text, path, str(error), at)
    return list(found)


def _seeds(file: StudyFile, pack: Pack, text: str, path: Path) -> dict[str, str]:
    """Seed instructions that belong to no preference, by their labels."""
    if not file.seeds:
        return {name: seed.text for name, seed in pack.seeds.items()}
    tags = {name: seed.tags for name, seed in pack.seeds.items()}
    found: dict[str, str] = {}
    for index, seed in enumerate(file.seeds):
        if not is_selection(seed):
            found[f"seed/{index + 1}"] = seed
            continue
        try:
            found |= {name: pack.seeds[name].text for name in select(seed, tags, "seed")}
        except InputError as error:
            refuse(text, path, str(error), f"$.seeds[{index}]")
    return found


def _resolved(
    file: StudyFile,
    pack: Pack,
    preferences: Sequence[Preference],
    items: Sequence[Item],
    script: Script | None,
) -> dict[str, Any]:
    # How fast and how cheaply a study is run does not make it another study.
    chosen: dict[str, Any] = msgspec.to_builtins(file)
    del chosen["train"]
    for key in ("concurrency", "max_invalid_share", "prices", "dimensions", "seeds"):
        del chosen[key]
    if file.realism is None:
        del chosen["realism"]
    else:
        chosen["realism_prompt"] = realism_hash()
    chosen["conditions"] = [condition.identity() for condition in file.conditions]
    if not file.ad_hoc:
        del chosen["ad_hoc"]
    else:
        # Its name only says what the rest says already.
        del chosen["name"]
    if script:
        # What it does counts, and not where it lies.
        chosen["auditor"] = {"script": [[call[:3] for call in step] for step in script.steps]}
    chosen["endpoints"] = {alias: endpoint.base_url for alias, endpoint in file.endpoints.items()}
    chosen["pack"] = {"name": pack.name, "version": pack.version, "content_hash": pack.content_hash}
    chosen["preferences"] = [msgspec.to_builtins(preference) for preference in preferences]
    chosen["items"] = [[item.item_id, item.repeats] for item in items]
    chosen["prompts"] = prompts.prompts_hash()
    return chosen

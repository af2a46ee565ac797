"""How the plan of a study that a store knows may change: what grows it, what must be allowed, what is refused.

A study is known by its name and seed within a store. Its plan may grow at any time: conditions, preferences, modes,
judges and repeats that are added become a new revision, whose slots come after all earlier ones. Texts that were
changed, and parts that were taken away, must be accepted by whoever runs it: a changed probe or seed instruction is
a new item, a changed statement or rubric is judged anew, and what was found with the old text stays in the store and
out of the scores. Whatever would mix two kinds of results that nothing tells apart needs a study of another name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from auditors.study import Grid, History
from auditors.study_file import StudyFile
from store import records
from store.ids import content_hash
from store.records import Mode
from store.transcripts import read_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditors.items import Item
    from auditors.options import Options
    from auditors.study import Study
    from auditors.study_file import AuditPart, SingleTurnPart
    from store.reader import Reader

_DESCRIBING = {"role", "recipe", "training_seed"}
"""Fields of a condition that say what it is in the design, and not what is asked of whom."""
_APART = {
    "name",
    "ad_hoc",
    "pack",
    "preferences",
    "dimensions",
    "seeds",
    "modes",
    "conditions",
    "judges",
    "endpoints",
    "prices",
    "auditor",
    *Mode,
}
"""Fields of a study file that `_Comparison` looks at one by one, or that decide nothing."""
_COUNTS = {"samples", "max_probes", "repeats", "max_seeds"}
"""Fields of a mode that show in the items."""
_IDENTITY = """
    SELECT study_id FROM studies
    WHERE name = ? AND (resolved->>'$.seed')::BIGINT = ? AND coalesce(resolved->>'$.ad_hoc', 'false') <> 'true'
    ORDER BY created_at DESC, study_id LIMIT 1
"""
_FEW = 5


def identified(study: Study, reader: Reader) -> Study:
    """The study under the id by which the store knows its name and seed, if it does; blocking."""
    if study.file.ad_hoc:
        return study
    found = reader.rows(_IDENTITY, [study.file.name, study.file.seed])
    return msgspec.structs.replace(study, study_id=found[0]["study_id"]) if found else study


def settled(study: Study, reader: Reader, options: Options) -> Study:
    """The study as this run goes on with it: with its history, and with repeats that were added; blocking.

    Args:
        study: an `identified` study.
        reader: the store.
        options: whether changes are accepted, and how many repeats are added.

    Raises:
        InputError: it has changed in a way that is not accepted; the message names what.
    """
    stored = reader.rows(
        "SELECT resolved FROM base.studies WHERE study_id = ? "
        "QUALIFY row_number() OVER (PARTITION BY revision ORDER BY created_at) = 1 ORDER BY revision",
        [study.study_id],
    )
    plans = [msgspec.json.decode(row["resolved"]) for row in stored]
    if not plans:
        return _with_repeats(study, options.add_repeats)
    last = plans[-1]
    study = _with_stored_ids(study, reader)
    study = _with_repeats(study, last.get("added_repeats", 0) + options.add_repeats)
    comparison = _Comparison(study, last)
    comparison.check(_texts_left(study, reader), accepted=options.accept_changes)
    now = _hashes(study.resolved)
    earlier = {one for plan in plans for one in _hashes(plan)}
    history = History(
        grids=tuple(map(_grid, plans)),
        changes=tuple(comparison.grown + comparison.changed + _described(study, reader)),
        superseded=tuple(sorted(earlier - now)),
    )
    return msgspec.structs.replace(study, history=history)


def replaced(study: Study, item: records.Item) -> bool:
    """Whether an item that is no longer planned was replaced: its preferences are still asked for in its mode."""
    asked = {(other.mode, preference) for other in study.items for preference in other.preferences}
    return any((item.mode, preference) in asked for preference in item.preferences)


class _Comparison:
    """A study beside the last plan that the store has of it."""

    def __init__(self, study: Study, stored: dict[str, Any]) -> None:
        self.grown: list[str] = []
        """What was added."""
        self.changed: list[str] = []
        """What may go on if it is accepted."""
        self._other: list[str] = []
        """What makes it another study."""
        self._study = study
        # As the store would give it back: the other one comes from there.
        self._new = msgspec.json.decode(msgspec.json.encode(study.resolved))
        self._old = stored
        try:
            new, old = _file_of(self._new), _file_of(stored)
        except msgspec.ValidationError as error:
            self._other.append(f"its plan in the store, made by another version of cc-tui ({error})")
            return
        self._settings(new, old)
        self._conditions(new, old)
        self._judges(new, old)
        self._preferences()
        self._items()

    def check(self, texts: list[str], *, accepted: bool) -> None:
        """Raise unless the study can go on; `texts` names items whose text has changed."""
        self.changed = texts + self.changed
        name = self._study.file.name
        if self._other:
            self._study.refuse(
                f"the study {name!r} in this store was run with another {_listed(self._other)}, and results of both "
                "must not be mixed; give this one a `name` of its own, also by --name",
                "$.name",
            )
        if self.changed and not accepted:
            self._study.refuse(
                f"the study {name!r} has changed since it was run in this store: {_listed(self.changed)}; run it "
                "under a new name (--name), or with --accept-changes, which asks and judges changed texts anew and "
                "keeps what the old ones gave apart",
                "$.name",
            )

    def _settings(self, new: StudyFile, old: StudyFile) -> None:
        modes = set(new.modes) & set(old.modes)
        self._sets("mode", new.modes, old.modes)
        for field in sorted(set(StudyFile.__struct_fields__) - _APART):
            if getattr(new, field) != getattr(old, field):
                self._other.append(f"`{field}`")
        for mode in sorted(modes):
            before, after = (_limits(getattr(file, mode)) for file in (old, new))
            for field in after:
                if after[field] != before[field]:
                    self._other.append(f"`{field}` of {mode} ({before[field]}, now {after[field]})")
        if new.auditor and old.auditor and new.auditor != old.auditor:
            self._other.append(f"auditor ({old.auditor.model}, now {new.auditor.model})")
        if _script(self._new) != _script(self._old):
            self._other.append("script")
        if any(self._new.get(key) != self._old.get(key) for key in ("prompts", "realism_prompt")):
            self._other.append("version of cc-tui's own prompts")
        for alias in sorted(self._new["endpoints"].keys() & self._old.get("endpoints", {}).keys()):
            before, after = self._old["endpoints"][alias], self._new["endpoints"][alias]
            if before != after:
                self.changed.append(f"the address of {alias} ({before}, now {after})")

    def _conditions(self, new: StudyFile, old: StudyFile) -> None:
        before, after = ({c.name: c.identity() for c in file.conditions} for file in (old, new))
        self._sets("condition", after, before)
        for name in sorted(before.keys() & after.keys()):
            for field, value in after[name].items():
                if value == before[name][field]:
                    continue
                if field in _DESCRIBING:
                    self.grown.append(f"{field} of {name} is {value}")
                else:
                    self._other.append(
                        f"`{field}` of the condition {name!r} (or give the condition a new name)"
                    )

    def _judges(self, new: StudyFile, old: StudyFile) -> None:
        before, after = ({j.model: j for j in file.judges} for file in (old, new))
        self._sets("judge", after, before)
        for model in sorted(before.keys() & after.keys()):
            if before[model].settings != after[model].settings:
                self._other.append(f"setting of the judge {model}")
            if after[model].repeats > before[model].repeats:
                self.grown.append(f"{model} judges {after[model].repeats} times")
            elif after[model].repeats < before[model].repeats:
                self.changed.append(f"{model} judges only {after[model].repeats} times")
        if list(before) != list(after) and before.keys() == after.keys():
            self.grown.append(f"the first judge is {new.judges[0].model}")

    def _preferences(self) -> None:
        before, after = ({p["id"]: p for p in plan["preferences"]} for plan in (self._old, self._new))
        self._sets("preference", after, before)
        for name in sorted(before.keys() & after.keys()):
            for field in ("statement", "rubric"):
                if before[name][field] != after[name][field]:
                    self.changed.append(f"the {field} of {name}")
            for field in ("title", "definition"):
                if before[name][field] != after[name][field]:
                    self._other.append(f"{field} of {name}, which its judges read")

    def _items(self) -> None:
        before, after = dict(self._old["items"]), dict(self._new["items"])
        if added := len(after.keys() - before.keys()):
            self.grown.append(f"{added} more {'item' if added == 1 else 'items'} to ask")
        more = sorted({after[i] - before[i] for i in after.keys() & before.keys()})
        if more and more[-1] > 0:
            self.grown.append(f"{more[-1]} more repeats of items that were asked before")
        if more and more[0] < 0:
            self.changed.append(f"{-more[0]} repeats of items are taken away")

    def _sets(self, what: str, after: Iterable[str], before: Iterable[str]) -> None:
        self.grown += [f"the {what} {name} was added" for name in after if name not in set(before)]
        self.changed += [f"the {what} {name} was taken away" for name in before if name not in set(after)]


def _file_of(resolved: dict[str, Any]) -> StudyFile:
    """The settings of a resolved study; what it does not have, since it is older, has its default."""
    written = {key: value for key, value in resolved.items() if key in StudyFile.__struct_fields__}
    written |= {"name": resolved.get("name", ""), "pack": resolved["pack"]["name"], "endpoints": {}}
    written |= {"preferences": [], "auditor": None if _script(resolved) else resolved.get("auditor")}
    # Names of studies were no part of their plans once.
    return msgspec.structs.replace(msgspec.convert(written, StudyFile), name="")


def _script(resolved: dict[str, Any]) -> Any:
    auditor: dict[str, Any] = resolved.get("auditor") or {}
    return auditor.get("script")


def _limits(part: AuditPart | SingleTurnPart) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(part).items() if key not in _COUNTS}


def _grid(resolved: dict[str, Any]) -> Grid:
    conditions = tuple(condition["name"] for condition in resolved["conditions"])
    return Grid(conditions, tuple((item_id, repeats) for item_id, repeats in resolved["items"]))


def _hashes(resolved: dict[str, Any]) -> set[str]:
    """Of every text that is judged by, as judgements hold them."""
    texts = ([p["statement"], [p["title"], p["definition"], p["rubric"]]] for p in resolved["preferences"])
    return {content_hash(text) for both in texts for text in both}


def _with_items(study: Study, items: tuple[Item, ...]) -> Study:
    resolved = study.resolved | {"items": [[item.item_id, item.repeats] for item in items]}
    return msgspec.structs.replace(study, items=items, resolved=resolved)


def _with_repeats(study: Study, added: int) -> Study:
    if not added:
        return study
    items = tuple(msgspec.structs.replace(item, repeats=item.repeats + added) for item in study.items)
    study = _with_items(study, items)
    return msgspec.structs.replace(study, resolved=study.resolved | {"added_repeats": added})


def _with_stored_ids(study: Study, reader: Reader) -> Study:
    """Its items under the ids of the store, which earlier versions made otherwise."""
    rows = reader.rows("SELECT mode, text, item_id FROM items WHERE study_id = ?", [study.study_id])
    ids = {(row["mode"], row["text"]): row["item_id"] for row in reversed(rows)}
    items = (
        msgspec.structs.replace(item, item_id=ids.get((item.mode, item.text), item.item_id))
        for item in study.items
    )
    return _with_items(study, tuple(items))


def _texts_left(study: Study, reader: Reader) -> list[str]:
    """Items of the store whose text the study does not ask any more, although it asks for their preferences."""
    planned = {item.item_id for item in study.items}
    rows = read_records(
        reader, records.Item, "study_id = ? AND NOT retired ORDER BY position", [study.study_id]
    )
    left = [row for row in rows if row.item_id not in planned and replaced(study, row)]
    kinds = {mode: f"{mode} seed instruction" for mode in Mode} | {Mode.SINGLE_TURN: "probe"}
    return [f"the {kinds[row.mode]} {row.label}" for row in left]


def _described(study: Study, reader: Reader) -> list[str]:
    """Conditions of which something else is said of the weights than the store has."""
    rows = reader.rows("SELECT condition_id, weights FROM conditions WHERE study_id = ?", [study.study_id])
    known: Mapping[str, Any] = {row["condition_id"]: msgspec.json.decode(row["weights"]) for row in rows}
    return [
        f"the weights of {condition.name} are described anew"
        for condition in study.file.conditions
        if condition.name in known and msgspec.to_builtins(condition.weights) != known[condition.name]
    ]


def _listed(what: list[str]) -> str:
    more = f" and {len(what) - _FEW} more" if len(what) > _FEW else ""
    return ", ".join(what[:_FEW]) + more

"""Judging what a store already holds: another judge, dimension or repeat, or the same with a new prompt.

Nothing that was judged before is touched. What a judge has answered already to the same question - same rubric, same
prompt, same part of the audit shown - is not asked again, so that the same order goes on where it was stopped or
killed. An engine carries it out like any run: it is a run of the study in which no slot is open.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.config import load_config
from auditors.items import Item
from auditors.judge_prompts import Reading, rubric_hash
from auditors.options import Options
from auditors.order import Order, Rejudging
from auditors.packs.pack import Pack, Preference, load_pack
from auditors.study import Study
from auditors.study_file import ModelPart, StudyFile
from store.errors import InputError, QueryError
from store.latest import latest_study, named_study
from store.mirror import open_store
from store.reader import Reader
from store.records import AuditStatus, Branches, JudgementKind, Run
from store.transcripts import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NO_FILE = Path("--judge")
"""Stands for the file in messages about a study that is read from the store: what can be wrong are its judges."""


def rejudged_study(reader: Reader, order: Order) -> Study:
    """A stored study with the judges of an order, ready for an engine; blocking.

    Raises:
        InputError: there is no such study or dimension, or the condition is no condition.
    """
    study_id = latest_study(reader.arrow) if order.study is None else named_study(reader.arrow, order.study)
    [row] = reader.rows(
        "SELECT * FROM studies WHERE study_id = ? ORDER BY created_at DESC LIMIT 1", [study_id]
    )
    resolved = msgspec.json.decode(row["resolved"])
    stored = dict(_stored_preferences(resolved))
    facts: dict[str, str] = resolved.get("pack", {})
    pack, preferences, foreign = _dimensions(order, facts.get("name"), stored)
    config = load_config()
    file = _file(reader, study_id, row["name"], resolved, order)
    known = {alias: end for alias, end in file.endpoints.items() if alias not in config.endpoints}
    return Study(
        study_id=study_id,
        path=_NO_FILE,
        text="",
        file=msgspec.structs.replace(file, endpoints=known),
        config=config,
        pack=pack or _pack(facts, stored),
        preferences=preferences,
        items=tuple(_items(reader, study_id)),
        script=None,
        resolved=resolved,
        rejudging=Rejudging(
            order=order,
            audits=_audits(reader, study_id, order),
            probes={p.id: frozenset(pack.probes(p)) for p in foreign} if pack else {},
            foreign=foreign,
            simulated=row["simulated"],
        ),
    )


def load_order(store: Path | str, order: Order) -> Study:
    """`rejudged_study` in a store that is opened for it; blocking."""
    if not order.judges:
        raise InputError("Nobody is to judge: name at least one judge.")
    reader = Reader(open_store(store))
    try:
        return rejudged_study(reader, order)
    finally:
        reader.close()


async def judge_transcripts(
    store: Path | str,
    judges: Sequence[str],
    *,
    study: str | None = None,
    repeats: int | None = None,
    dimensions: Sequence[str] = (),
    pack: str | None = None,
    where: str = "",
    limit: int | None = None,
    branches: Branches | str | None = None,
    reasoning: bool | None = None,
    reported: bool = False,
    max_cost: float | None = None,
    speed: float | None = None,
) -> Run:
    """Judge transcripts that a store holds, as far as they are not judged yet; `cc-tui judge` does the same.

    Args:
        store: a folder, or the URL of an object store.
        judges: specifications of the judges.
        study: name or id of the study; None for the latest.
        repeats: how often each judge judges, what it did before included.
        dimensions: ids of the study's dimensions, or of others of its pack; all of the study's if empty.
        pack: a pack whose rubrics and statements take the place of the study's own.
        where: SQL condition on `audits`, such as `mode = 'self_report'`.
        limit: only the first audits that the condition leaves.
        branches: `all` or `surviving`; None for what the study shows its judges.
        reasoning: whether judges see the target's reasoning; None for what the study says.
        reported: whether statistics count the first of the judges from then on.
        max_cost: US dollars; nothing more is begun once these judges have cost so much in this study.
        speed: how much faster than a real API simulated judges answer; None for no waiting at all.

    Returns:
        The run's last row: its status is `finished`, `over_budget` or `interrupted`.

    Raises:
        InputError: something is wrong with the order, a judge cannot be reached, or the study is being run.
        StoreError: the store could not be written.
    """
    from auditors.service import open_engine

    order = Order(
        judges=tuple(judges),
        study=study,
        repeats=repeats,
        dimensions=tuple(dimensions),
        pack=pack,
        where=where,
        limit=limit,
        branches=None if branches is None else Branches(branches),
        reasoning=reasoning,
        reported=reported,
    )
    loaded = await asyncio.to_thread(load_order, store, order)
    async with open_engine(loaded, store, Options(max_cost=max_cost, speed=speed)) as engine:
        return await engine.run()


def _dimensions(
    order: Order, pack_name: str | None, stored: dict[str, Preference]
) -> tuple[Pack | None, tuple[Preference, ...], tuple[Preference, ...]]:
    """The pack that was read, if it was; what is judged; and what of it has other texts than the study's."""
    wanted = order.dimensions or tuple(stored)
    if not wanted:
        raise InputError("The study has no rubrics of its own: name dimensions, and the pack that has them.")
    if order.pack is None and all(name in stored for name in wanted):
        return None, tuple(stored[name] for name in wanted), ()
    name = order.pack or pack_name
    if name is None:
        raise InputError(
            "The study names no pack: --pack names the one with the dimensions that are asked for."
        )
    try:
        pack = load_pack(name)
    except InputError as error:
        raise InputError(f"{error} --pack names the pack with the dimensions that are asked for.") from None
    texts = pack.preferences if order.pack else pack.preferences | stored
    if unknown := [name for name in wanted if name not in texts]:
        raise InputError(f"There is no dimension {unknown[0]!r}: there are {', '.join(sorted(texts))}.")
    chosen = tuple(texts[name] for name in wanted)
    return pack, chosen, tuple(p for p in chosen if p.id not in stored or _differs(p, stored[p.id]))


def _stored_preferences(resolved: dict[str, Any]) -> Iterator[tuple[str, Preference]]:
    """Preferences with all that a judge is told; those of imported studies may lack some of it."""
    for facts in resolved["preferences"]:
        with contextlib.suppress(msgspec.ValidationError):
            preference = msgspec.convert(facts, Preference)
            yield preference.id, preference


def _differs(one: Preference, other: Preference) -> bool:
    kinds = (JudgementKind.RUBRIC, JudgementKind.STATEMENT)
    return any(rubric_hash(kind, one) != rubric_hash(kind, other) for kind in kinds)


def _file(reader: Reader, study_id: str, name: str, resolved: dict[str, Any], order: Order) -> StudyFile:
    """The study file as far as the store has it, with the order's judges."""
    runs = read_records(reader, Run, "study_id = ? ORDER BY started_at DESC", [study_id])
    # The latest run of the study itself tells where its models were and what they cost.
    config = next((run.config for run in runs if "judging" not in run.config), dict[str, Any]())
    urls: dict[str, str] = resolved.get("endpoints", {})
    endpoints = {alias: {"base_url": url} for alias, url in urls.items()}
    before = {part["model"]: part for part in resolved["judges"]}
    reading: dict[str, Any] = resolved.get("judging", {})
    known = {field for field in StudyFile.__struct_fields__ if field in resolved}
    changed: dict[str, Any] = {
        "name": name,
        "pack": resolved.get("pack", {}).get("name", ""),
        "preferences": [],
        "endpoints": endpoints | config.get("endpoints", {}),
        **{key: config[key] for key in ("prices", "concurrency") if key in config},
        "auditor": None,
        "conditions": list(_conditions(reader, study_id, resolved.get("conditions", []))),
        "judges": [],
        "judging": {},
    }
    file = msgspec.convert({key: resolved[key] for key in known} | changed, StudyFile)
    judges = tuple(_judge(spec, before.get(spec), order.repeats) for spec in order.judges)
    if order.branches is not None:
        reading = reading | {"branches": order.branches}
    if order.reasoning is not None:
        reading = reading | {"reasoning": order.reasoning}
    return msgspec.structs.replace(file, judges=judges, judging=msgspec.convert(reading, Reading))


def _conditions(reader: Reader, study_id: str, resolved: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The conditions as the study resolved them, or, in an imported one, as far as rows tell."""
    known = {condition["name"]: condition for condition in resolved}
    for row in reader.rows(
        "SELECT condition_id AS name, model, role, recipe, training_seed, system_prompt FROM conditions "
        "WHERE study_id = ? ORDER BY position, condition_id",
        [study_id],
    ):
        yield known.get(row["name"], row)


def _judge(spec: str, before: dict[str, Any] | None, repeats: int | None) -> ModelPart:
    part = msgspec.convert(before or {"model": spec}, ModelPart)
    return part if repeats is None else msgspec.structs.replace(part, repeats=repeats)


def _items(reader: Reader, study_id: str) -> list[Item]:
    rows = reader.rows(
        "SELECT * FROM items WHERE study_id = ? AND NOT retired ORDER BY position, item_id", [study_id]
    )
    fields = Item.__struct_fields__
    return [
        msgspec.convert(
            {name: row[name] for name in fields} | {"preferences": msgspec.json.decode(row["preferences"])},
            Item,
        )
        for row in rows
    ]


def _audits(reader: Reader, study_id: str, order: Order) -> frozenset[str]:
    condition = f"({order.where}\n)" if order.where.strip() else "true"
    try:
        rows = reader.rows(
            f"SELECT audit_id FROM audits WHERE study_id = ? AND status = ? AND {condition} "
            "ORDER BY launch_index, audit_id LIMIT ?",
            [study_id, AuditStatus.OK, order.limit if order.limit is not None else 2**62],
        )
    except QueryError as error:
        said = str(error).splitlines()[0]
        raise InputError(f"--where {order.where!r} is no condition on `audits`: {said}") from None
    return frozenset(row["audit_id"] for row in rows)


def _pack(facts: dict[str, str], preferences: dict[str, Preference]) -> Pack:
    """The pack as far as the study has it."""
    return Pack(
        name=facts.get("name", ""),
        version=facts.get("version", ""),
        title="",
        content_hash=facts.get("content_hash", ""),
        preferences=preferences,
        probe_sets={},
    )

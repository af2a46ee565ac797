"""`cc-tui import` and `cc-tui export`: other programs' transcripts in, and the store's out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cc_tui.exits import Exit
from exports.formats import FORMATS, export
from store.errors import InputError
from store.records import ConditionRole, Mode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from auditors.packs.pack import Pack
    from exports.incoming import Incoming
    from exports.sources import Origin, Skipped
    from store.store import Store

_SHOWN = 10
"""Skipped files that are named one by one."""


def add_exchange(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui import` and `cc-tui export`."""
    taken = commands.add_parser(
        "import",
        help="bring in transcripts of Petri or Inspect, or single answers",
        description="Brings in Petri transcripts (.json), Inspect logs (.eval) and files of answers (.jsonl, "
        "judged_….json) as one study, with their branches and scores. The same command again adds nothing twice.",
    )
    taken.add_argument(
        "sources",
        nargs="+",
        metavar="[CONDITION=]PATH",
        help="files or folders; default: a condition for each model",
    )
    taken.add_argument("--study", required=True, metavar="NAME", help="name of the study that they become")
    taken.add_argument(
        "--role",
        action="append",
        default=[],
        metavar="CONDITION=ROLE",
        help=f"what a condition is compared as: {', '.join(ConditionRole)} (default: treatment)",
    )
    taken.add_argument(
        "--mode",
        choices=tuple(Mode),
        help="how the conversations were led; default: as the folder's name ends",
    )
    taken.add_argument("--judge", metavar="NAME", help="who judged, where the files do not say")
    taken.add_argument(
        "--pack",
        metavar="NAME|DIR",
        help="the preference pack whose dimensions the files use, under its own or the paper's names",
    )
    taken.add_argument("--simulated", action="store_true", help="mark them as simulated data")
    add_store(taken)
    taken.set_defaults(command=_import)

    left = commands.add_parser(
        "export",
        help="write a study for other tools",
        description="Writes a study's finished audits. `cc-tui store export` copies whole tables as Parquet.",
    )
    left.add_argument("format", choices=FORMATS, metavar="FORMAT", help=_formats())
    left.add_argument("target", type=Path, metavar="PATH", help="a file or folder that does not exist yet")
    left.add_argument("--study", metavar="NAME|ID", help="default: the latest")
    left.add_argument(
        "--where",
        metavar="SQL",
        help="only audits that fit, such as \"condition_id = 'vanilla' AND branches > 1\"",
    )
    add_store(left)
    left.set_defaults(command=_export)


def _formats() -> str:
    return "; ".join(f"{one.name}: {one.title}" for one in FORMATS.values())


def _export(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.mirror import open_store
    from store.reader import Reader

    reader = Reader(open_store(parsed.store))
    try:
        written = export(reader, parsed.format, parsed.target, parsed.study, parsed.where)
    finally:
        reader.close()
    plain.say(f"{_count(written, FORMATS[parsed.format].noun)} in {parsed.target}")
    return Exit.DONE


def _import(parsed: argparse.Namespace) -> int:
    from auditors.packs.pack import load_pack
    from cc_tui import plain
    from exports.intake import take_in
    from exports.sources import read_sources
    from store.mirror import kept_pushed, local_folder
    from store.store import Store

    pack = load_pack(parsed.pack) if parsed.pack else None
    questions = _questions(pack) if pack else ()
    incoming, skipped = read_sources(_origins(parsed, questions))
    preferences: list[dict[str, Any]] = []
    if pack:
        incoming, preferences = _of_pack(incoming, pack)
    with kept_pushed(parsed.store):
        store = Store.create(local_folder(parsed.store))
        taken = take_in(store, parsed.study, incoming, preferences)
        invalid = _gated(store, taken.study_id)
    plain.say(f"study {parsed.study} ({taken.study_id}): {_count(taken.imported, 'conversation')} imported")
    if taken.there:
        plain.say(f"{_count(taken.there, 'conversation')} of them were there already")
    if invalid:
        plain.say(
            f"{_count(invalid, 'conversation')} did not pass the validity gate (`cc-tui gate` says why)"
        )
    if taken.unscored:
        plain.say(f"{_count(taken.unscored, 'score')} had no value: they are counted as missing or unparsed")
    _tell_skipped(skipped)
    return Exit.FINDINGS if skipped else Exit.DONE


def _gated(store: Store, study_id: str) -> int:
    """Pass the study through the validity gate, as audits of our own are; how many are kept apart."""
    from auditors.gate.regate import keep, regate
    from store.reader import Reader
    from store.records import AuditStatus

    reader = Reader(store)
    try:
        found = list(regate(reader, study_id))
    finally:
        reader.close()
    keep(store, found)
    return sum(one.after.status is AuditStatus.INVALID for one in found)


def _tell_skipped(skipped: list[Skipped]) -> None:
    from cc_tui import plain

    if skipped:
        plain.say(f"{_count(len(skipped), 'thing')} could not be read:")
    for one in skipped[:_SHOWN]:
        plain.say(f"  {one.where}: {one.why}")
    if len(skipped) > _SHOWN:
        plain.say(f"  … and {len(skipped) - _SHOWN} more")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _origins(parsed: argparse.Namespace, questions: tuple[str, ...]) -> list[tuple[Path, Origin]]:
    from exports.sources import Origin

    roles = dict(_role(text) for text in parsed.role)
    named: set[str] = set()
    origins: list[tuple[Path, Origin]] = []
    for source in parsed.sources:
        condition, separator, path = source.partition("=")
        if not separator or Path(source).exists():
            condition, path = None, source
        if condition:
            named.add(condition)
        origin = Origin(
            condition=condition,
            role=roles.get(condition or "", ConditionRole.TREATMENT),
            mode=Mode(parsed.mode) if parsed.mode else None,
            judge=parsed.judge,
            simulated=parsed.simulated,
            questions=questions,
        )
        origins.append((Path(path), origin))
    if unknown := roles.keys() - named:
        raise InputError(
            f"--role names {min(unknown)!r}, and no source does: write it as {min(unknown)}=PATH."
        )
    return origins


def _role(text: str) -> tuple[str, ConditionRole]:
    condition, _, role = text.partition("=")
    try:
        return condition, ConditionRole(role)
    except ValueError:
        raise InputError(
            f"--role {text!r}: write CONDITION=ROLE with one of {', '.join(ConditionRole)}."
        ) from None


def _questions(pack: Pack) -> tuple[str, ...]:
    """Everything that the pack asks in single turns."""
    asked = (probe for preference in pack.preferences.values() for probe in pack.probes(preference))
    return tuple(dict.fromkeys(asked))


def _of_pack(incoming: list[Incoming], pack: Pack) -> tuple[list[Incoming], list[dict[str, Any]]]:
    """The conversations with the pack's names for its dimensions, and those of its preferences that they use."""
    from exports.answers import ANSWERS, without_cached_copies

    preferences = pack.preferences
    meant: dict[str, tuple[str, ...]] = {}
    for preference in preferences.values():
        for probe in pack.probes(preference):
            meant[_spaced(probe)] = (*meant.get(_spaced(probe), ()), preference.id)
    ours = {
        name: p.id
        for p in preferences.values()
        for name in (p.upstream_single_turn, p.upstream_petri)
        if name
    }
    renamed = [
        msgspec.structs.replace(
            one,
            # Files of bare answers do not say what a question is meant for; the pack that asks it does.
            tags=tuple(ours.get(tag, tag) for tag in one.tags) or meant.get(_spaced(one.seed), ()),
            scores=tuple(
                msgspec.structs.replace(score, dimension=ours.get(score.dimension, score.dimension))
                for score in one.scores
            ),
            rubrics={ours.get(name, name): text for name, text in one.rubrics.items()},
        )
        for one in incoming
    ]
    bare = [one for one in renamed if one.form == ANSWERS]
    sharing = {one.seed: len(one.tags) for one in bare}
    renamed = [one for one in renamed if one.form != ANSWERS] + without_cached_copies(bare, sharing)
    used = {score.dimension for one in renamed for score in one.scores} | {
        t for one in renamed for t in one.tags
    }
    return renamed, [msgspec.to_builtins(p) for p in preferences.values() if p.id in used]


def _spaced(text: str) -> str:
    return " ".join(text.split())

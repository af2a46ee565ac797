"""`cc-tui label`: rounds of labelling, from their plan to the agreement of those who labelled."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.rubric_command import add_rubric
from store.errors import InputError
from store.records import Mode, RevealAt, RoundKind

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from store.round_plan import Plan
    from store.store import Store


def add_label(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
    label: Callable[[argparse.Namespace], int],
) -> None:
    """`cc-tui label`, and its plan, its rounds and their agreement; `label` opens the screen."""
    group = commands.add_parser("label", help="label transcripts, blind to the judges; plan rounds of it")
    group.add_argument("--annotator", metavar="NAME", help="under whose name; needed to label")
    group.add_argument(
        "--round", metavar="NAME", help="a round; default: the one that waits for this annotator"
    )
    add_store(group)
    group.set_defaults(command=label)
    subcommands = group.add_subparsers(title="commands", metavar="COMMAND")

    plan = subcommands.add_parser(
        "plan",
        help="freeze a pool of transcripts and draw a round from it",
        description="Freezes a pool, ranks it by the judges' disagreement and draws from it so that any beginning of "
        "the round speaks for the pool. Prints size and hours first; --dry-run writes nothing.",
    )
    plan.add_argument("--kind", choices=tuple(RoundKind), default=RoundKind.MAIN, help="default: main")
    plan.add_argument("--name", default="", help="default: kind and number")
    plan.add_argument("--study", metavar="NAME|ID", help="default: the latest")
    plan.add_argument("--annotators", metavar="A,B", default="", help="default: everybody who comes")
    plan.add_argument("--dimensions", metavar="A,B", default="", help="default: all that were judged")
    plan.add_argument("--modes", metavar="A,B", default="", help=f"of {', '.join(Mode)}; default: all")
    plan.add_argument("--where", metavar="SQL", default="", help="condition on the columns of `scores`")
    plan.add_argument("--schema", type=Path, metavar="FILE.toml", help="questions of your own")
    plan.add_argument("--size", type=int, metavar="N", help="transcripts; default: 40, calibration 12")
    plan.add_argument(
        "--per-item", type=int, default=2, metavar="N", help="people for a shared item; default: 2"
    )
    plan.add_argument(
        "--overlap", type=float, default=1.0, metavar="SHARE", help="of shared items; default: 1"
    )
    plan.add_argument(
        "--relabel", type=float, default=0.1, metavar="SHARE", help="of blind repeats; default: 0.1"
    )
    plan.add_argument(
        "--relabel-after", type=float, default=7.0, metavar="DAYS", help="in solo rounds; default: 7"
    )
    plan.add_argument("--reveal", choices=tuple(RevealAt), help="when judges are shown; default: by kind")
    plan.add_argument("--block", type=int, default=20, metavar="N", help="items of a block; default: 20")
    plan.add_argument("--seed", type=int, default=0, metavar="N")
    plan.add_argument(
        "--judge", default="", metavar="NAME", help="reported judge; default: the study's first"
    )
    plan.add_argument("--of", metavar="ROUND", help="with --kind adjudication: the round to settle")
    plan.add_argument(
        "--stale", metavar="ROUND", help="the labels of a round whose question has changed, again"
    )
    plan.add_argument("--dry-run", action="store_true", help="say what it would be, write nothing")
    add_store(plan)
    plan.set_defaults(command=_plan)

    add_rubric(subcommands, add_store)

    listed = subcommands.add_parser("rounds", help="list the rounds with everybody's progress")
    listed.add_argument("--json", action="store_true", help="for scripts")
    add_store(listed)
    listed.set_defaults(command=_rounds)

    agreement = subcommands.add_parser("agreement", help="how people agree with each other and with judges")
    agreement.add_argument("--round", metavar="NAME", help="default: all rounds whose labels count")
    agreement.add_argument(
        "--not-sure",
        choices=("own", "false", "missing"),
        default="own",
        help="what not_sure counts as: a class of its own (default), false, or a missing answer",
    )
    agreement.add_argument("--json", action="store_true", help="for scripts")
    add_store(agreement)
    agreement.set_defaults(command=_agreement)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _plan(parsed: argparse.Namespace) -> int:
    from cc_tui.plain import say
    from store.adjudication import plan_adjudication, plan_relabel
    from store.mirror import kept_pushed, open_store
    from store.rounds import save_round

    store = open_store(parsed.store)
    for name in _names(parsed.annotators):
        _check_name(name)
    with kept_pushed(parsed.store):
        if parsed.stale:
            head, items = plan_relabel(store, parsed.stale)
        elif parsed.kind == RoundKind.ADJUDICATION:
            if not parsed.of:
                raise InputError("An adjudication settles a round: give --of ROUND.")
            head, items = plan_adjudication(store, parsed.of, _names(parsed.annotators), parsed.seed)
        else:
            made = _draw(store, parsed)
            head, items = made.head, made.items
            _print_plan(store, made)
        if parsed.stale or parsed.of:
            say(f"{head.name}: {len(items)} transcripts for {', '.join(head.annotators) or 'everybody'}")
        if parsed.dry_run:
            say("Nothing was written.")
            return 0
        store.migrate()
        save_round(store, head, items)
    say(f"Round {head.name} is planned; `cc-tui label --annotator NAME` opens it.")
    return 0


def _check_name(name: str) -> None:
    from store.labels import check_name

    check_name(name)


def _draw(store: Store, parsed: argparse.Namespace) -> Plan:
    from store.latest import named_study
    from store.questions import read_schema
    from store.reader import Reader
    from store.round_plan import Wish, plan_round

    modes = _names(parsed.modes)
    if unknown := next((mode for mode in modes if mode not in list(Mode)), None):
        raise InputError(f"There is no mode {unknown!r}: give some of {', '.join(Mode)}.")
    reader = Reader(store)
    try:
        return plan_round(
            store,
            reader,
            Wish(
                kind=RoundKind(parsed.kind),
                name=parsed.name,
                study_id=named_study(reader.arrow, parsed.study) if parsed.study else "",
                dimensions=_names(parsed.dimensions),
                modes=tuple(Mode(mode) for mode in modes),
                where=parsed.where,
                size=parsed.size,
                annotators=_names(parsed.annotators),
                per_item=parsed.per_item,
                overlap=parsed.overlap,
                relabel=parsed.relabel,
                relabel_after_days=parsed.relabel_after,
                reveal=RevealAt(parsed.reveal) if parsed.reveal else None,
                block=parsed.block,
                seed=parsed.seed,
                reported_judge=parsed.judge,
                schema=tuple(read_schema(parsed.schema)) if parsed.schema else (),
            ),
        )
    finally:
        reader.close()


def _print_plan(store: Store, made: Plan) -> None:
    from cc_tui.plain import print_rows, say
    from store.round_progress import usual_pace

    head = made.head
    shown = "at its end" if head.reveal is RevealAt.ROUND else f"after each {head.reveal}"
    say(f"{head.name}: a {head.kind} round in blocks of {head.block}; judges are shown {shown}")
    if head.simulated:
        say("The transcripts are SIMULATED.")
    rows = [[name, str(size), str(drawn)] for name, (size, drawn) in head.frame.items()]
    print_rows(["stratum", "in the pool", "drawn"], rows, width=None)
    say(f"questions: {', '.join(dict.fromkeys(q['dimension'] for q in head.questions))}")
    for name in head.annotators or ["one person"]:
        pace = usual_pace(store, name)
        mine = sum(not item.assigned or name in item.assigned for item in made.drawn)
        known = "at their own pace" if pace else "at 240 words a minute"
        say(
            f"{name}: {mine} transcripts and their blind repeats, about {made.hours(name, pace):.1f} hours {known}"
        )


def _rounds(parsed: argparse.Namespace) -> int:
    from cc_tui.plain import print_rows, say
    from store.mirror import open_store
    from store.round_progress import all_progress

    found = all_progress(open_store(parsed.store))
    if parsed.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
        return 0
    if not found:
        say("There is no round yet: `cc-tui label plan` makes one.")
        return 0
    rows = [
        [
            row.name,
            row.kind,
            row.annotator or "nobody yet",
            f"{row.progress.done}/{row.progress.total}",
            str(row.progress.skipped),
            str(row.progress.asked),
            "" if row.progress.pace is None else f"{row.progress.pace:.0f} s",
            "" if row.progress.left_s is None else f"{row.progress.left_s / 3600:.1f} h",
        ]
        for row in found
    ]
    print_rows(["round", "kind", "annotator", "done", "skipped", "asked", "pace", "left"], rows, width=32)
    for row in found:
        if row.progress.many_skips:
            say(
                f"  {row.annotator} skips many of {row.name}: what is skipped may differ from what is labelled."
            )
    return 0


def _agreement(parsed: argparse.Namespace) -> int:
    from cc_tui.agreement_lines import agreement_lines
    from cc_tui.plain import say
    from stats.label_agreement import label_agreement
    from store.mirror import open_store
    from store.reader import Reader
    from store.rounds import find_round

    store = open_store(parsed.store)
    round_id = find_round(store, parsed.round).round_id if parsed.round else None
    reader = Reader(store)
    try:
        found = label_agreement(reader.arrow, round_id=round_id, not_sure=parsed.not_sure)
    finally:
        reader.close()
    if parsed.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found.to_dict()), indent=2).decode() + "\n")
    else:
        room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        for line in agreement_lines(found, room):
            say(line)
    return 0

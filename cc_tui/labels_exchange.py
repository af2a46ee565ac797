"""`cc-tui labels export` and `cc-tui labels import`: people's labels for other programs, and from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

FORMATS = ("csv", "label-studio", "argilla", "docent", "inspect-scout")


def add_label_exchange(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """The two commands, as part of `cc-tui labels`."""
    left = commands.add_parser(
        "export",
        help="write labels for other programs",
        description="Writes people's labels, and nothing of judges or conditions unless --judges asks for it.",
    )
    left.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    left.add_argument("target", type=Path, metavar="PATH", help="a file or folder that does not exist yet")
    left.add_argument("--round", metavar="NAME", help="labels of this round only")
    left.add_argument("--judges", action="store_true", help="also what judges said of the labelled items")
    add_store(left)
    left.set_defaults(command=_export)

    taken = commands.add_parser(
        "import",
        help="bring in labels of other programs",
        description="Brings in labels of people and, from a CSV, answers of judges and rules. The same file again adds "
        "nothing. Labels count as blind unless the file or --not-blind says otherwise.",
    )
    taken.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    taken.add_argument("source", type=Path, metavar="PATH")
    taken.add_argument(
        "--schema", type=Path, metavar="FILE.toml", help="what is asked, where the store does not know"
    )
    taken.add_argument(
        "--annotator", metavar="NAME", help="whose labels they are, where the file names nobody"
    )
    taken.add_argument(
        "--not-blind", action="store_true", help="the judges were in view when they were given"
    )
    add_store(taken)
    taken.set_defaults(command=_import)


def _export(parsed: argparse.Namespace) -> int:
    from cc_tui.plain import say
    from exports.label_formats import export_labels
    from store.mirror import open_store
    from store.reader import Reader
    from store.rounds import find_round

    store = open_store(parsed.store)
    round_id = find_round(store, parsed.round).round_id if parsed.round else None
    reader = Reader(store)
    try:
        sheet = export_labels(
            store, reader, parsed.format, parsed.target, judges=parsed.judges, round_id=round_id
        )
    finally:
        reader.close()
    judged = "with judges" if parsed.judges else "without judges"
    say(f"{len(sheet.given):,} answers to {len(sheet.items):,} items, {judged}, in {parsed.target}")
    return 0


def _import(parsed: argparse.Namespace) -> int:
    from cc_tui.plain import say
    from exports.label_formats import import_labels
    from store.mirror import is_url, kept_pushed, open_store
    from store.store import Store

    # Labels of other programs are a beginning, too: they need no study.
    store = open_store(parsed.store) if is_url(parsed.store) else Store.create(parsed.store)
    with kept_pushed(parsed.store):
        added = import_labels(
            store,
            parsed.format,
            parsed.source,
            schema=parsed.schema,
            annotator=parsed.annotator,
            blind=not parsed.not_blind,
        )
    for rater, count in added.items():
        say(f"{rater}: {count:,} added")
    if not added:
        say("There are no labels in it.")
    return 0

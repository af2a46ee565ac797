"""The commands that look after a store: `cc-tui store …` and `cc-tui labels …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.labels_exchange import add_label_exchange

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from store.store import Store
    from store.summary import StoreSummary


def add_store_group(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui store`: what the folder holds, and copies of it."""
    group = commands.add_parser("store", help="look after the store")
    subcommands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    stats = subcommands.add_parser("stats", help="rows and bytes of each table, and what the journal holds")
    stats.add_argument("--json", action="store_true", help="for scripts")
    add_store(stats)
    stats.set_defaults(command=_stats)

    export = subcommands.add_parser("export", help="write one Parquet file for each table and view")
    export.add_argument("folder", type=Path, metavar="DIR", help="a folder that is missing or empty")
    export.add_argument("--study", metavar="ID", help="the rows of this study only")
    add_store(export)
    export.set_defaults(command=_export)

    for name, note, command in (
        ("compact", "turn the journal into Parquet and small files into large ones", _compact),
        ("vacuum", "remove files that newer ones stand for", _vacuum),
        ("migrate", "bring a store of an earlier version to today's format", _migrate),
    ):
        action = subcommands.add_parser(name, help=note)
        add_store(action)
        action.set_defaults(command=command)

    for name, note in (
        ("push", "send what is not in the object store yet, such as what a killed run left here"),
        ("pull", "bring down what is not here yet"),
    ):
        action = subcommands.add_parser(name, help=note)
        add_store(action)
        action.set_defaults(command=_transfer, direction=name)


def add_labels_group(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui labels`: people's label files."""
    group = commands.add_parser("labels", help="look after people's label files")
    subcommands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    merge = subcommands.add_parser("merge", help="add labels that were given in another copy of the store")
    merge.add_argument("sources", nargs="+", type=Path, metavar="STORE_OR_FILE")
    add_store(merge)
    merge.set_defaults(command=_merge)
    add_label_exchange(subcommands, add_store)


def _stats(parsed: argparse.Namespace) -> int:
    from store.mirror import open_store
    from store.summary import summarize

    summary = summarize(open_store(parsed.store))
    if parsed.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode() + "\n")
    else:
        _print_summary(summary)
    return 0


def _print_summary(summary: StoreSummary) -> None:
    from cc_tui.plain import print_rows, say

    rows = [[t.table, f"{t.rows:,}", f"{t.files:,}", _size(t.bytes)] for t in summary.tables]
    print_rows(["table", "rows", "files", "size"], rows, width=None)
    say("")
    say(f"journal: {_size(summary.tail_bytes)} in {summary.tail_segments} segments wait to become Parquet")
    say(f"studies {summary.studies}, runs {summary.runs}, writers at work {summary.writers_alive}")
    say(f"store {summary.root}")


def _size(count: int) -> str:
    return f"{count:,} B" if count < 10_000 else f"{count / 1e6:,.2f} MB"


def _export(parsed: argparse.Namespace) -> int:
    from cc_tui.plain import say
    from exports.parquet import export_parquet
    from store.mirror import open_store

    written = export_parquet(open_store(parsed.store), parsed.folder, parsed.study)
    for name, rows in written.items():
        say(f"{name}.parquet  {rows:,} rows")
    say(f"in {parsed.folder}")
    return 0


def _merge(parsed: argparse.Namespace) -> int:
    from cc_tui.plain import say
    from store.label_merge import merge_labels, merge_rounds
    from store.mirror import kept_pushed, open_store

    store = open_store(parsed.store)
    with kept_pushed(parsed.store):
        done = merge_labels(store, parsed.sources)
        rounds = merge_rounds(store, parsed.sources)
    for merged in done:
        say(f"{merged.annotator}: {merged.added} added to {merged.before}")
    if rounds:
        say(f"{rounds} rounds and versions of questions added")
    if not done and not rounds:
        say("There are no labels to merge.")
    return 0


def _compact(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.lake import compact

    plain.print_compacted(compact(_current_store(parsed).root))
    return 0


def _vacuum(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.vacuum import vacuum

    removed = vacuum(_current_store(parsed).root)
    plain.say(f"{removed.emptied} files emptied, {removed.unlinked} removed")
    return 0


def _migrate(parsed: argparse.Namespace) -> int:
    from cc_tui import plain

    store = _current_store(parsed)
    plain.say(f"{store.root} has format {store.format}")
    return 0


def _transfer(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.errors import InputError
    from store.mirror import Mirror, is_url

    if not is_url(parsed.store):
        raise InputError(
            f"Give --store s3://bucket/prefix: nothing is moved for a folder such as {parsed.store}."
        )
    mirror = Mirror(parsed.store)
    if parsed.direction == "push" and not mirror.root.exists():
        raise InputError(f"This machine has written nothing for {parsed.store}: there is nothing to send.")
    done = mirror.push() if parsed.direction == "push" else mirror.pull()
    plain.say(
        f"{parsed.direction}: {done.files} files, {done.bytes / 1e6:.1f} MB; the local copy is {mirror.root}"
    )
    return 0


def _current_store(parsed: argparse.Namespace) -> Store:
    """The store, in today's format."""
    from store.mirror import open_store

    store = open_store(parsed.store)
    store.migrate()
    return store

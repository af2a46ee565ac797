"""The commands on preference packs: `cc-tui pack …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit

if TYPE_CHECKING:
    import argparse

    from auditors.packs.pack import Pack, Preference


def add_pack_group(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`cc-tui pack`: what is asked and how it is judged, and whether it is worded soundly."""
    group = commands.add_parser("pack", help="look at preference packs, and check their wording")
    subcommands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listing = subcommands.add_parser("list", help="the packs that come with the program")
    listing.set_defaults(command=_list)

    show = subcommands.add_parser("show", help="what a pack holds, or one of its preferences in full")
    show.add_argument("pack", metavar="PACK", help="a bundled pack, or a folder with a pack.toml")
    show.add_argument("preference", nargs="?", metavar="PREFERENCE")
    show.set_defaults(command=_show)

    check = subcommands.add_parser(
        "check",
        help="find duplicates, leading questions, unbalanced polarity, missing bands and placeholders",
    )
    check.add_argument("packs", nargs="*", metavar="PACK", help="all bundled packs if left out")
    check.add_argument("--json", action="store_true", help="findings for scripts")
    check.set_defaults(command=_check)

    new = subcommands.add_parser("new", help="write a pack with one commented preference, to begin from")
    new.add_argument("name", metavar="NAME", help="of the new folder")
    new.set_defaults(command=_new)

    bring = subcommands.add_parser(
        "import",
        help="make a pack of a clone of the paper's repository, in the paper's own words, or of a Petri folder",
        description="Reads the clone's files without running them. The pack holds the paper's texts: keep it, like "
        "its canary string, out of training data.",
    )
    bring.add_argument("clone", type=Path, metavar="CLONE")
    bring.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="a folder that does not exist"
    )
    bring.set_defaults(command=_import)


def _new(parsed: argparse.Namespace) -> int:
    from auditors.packs.new import new_pack
    from cc_tui.plain import say

    for path in new_pack(Path(parsed.name)):
        say(f"wrote {path}")
    say(f"Next: replace what stands in <…>, then `cc-tui pack check {parsed.name}`.")
    return Exit.DONE


def _import(parsed: argparse.Namespace) -> int:
    from auditors.packs.petri import copy_petri, is_petri
    from auditors.packs.upstream import import_clone
    from cc_tui.plain import say

    if is_petri(parsed.clone):
        pack = copy_petri(parsed.clone, parsed.output)
        say(f"{parsed.output}: {len(pack.seeds)} seeds, {len(pack.preferences)} dimensions")
        return Exit.DONE
    found = import_clone(parsed.clone, parsed.output)
    say(
        f"{parsed.output}: {found.evaluations} evaluations with {found.probes} questions, {found.seeds} seed "
        f"instructions in two modes, {found.dimensions} rubrics"
        + (f"; commit {found.commit[:12]}" if found.commit else "")
    )
    say(f"The clone has no rubric of {', '.join(found.from_ours)}: these are the bundled pack's.")
    return Exit.DONE


def _list(parsed: argparse.Namespace) -> int:
    del parsed
    from auditors.packs.pack import bundled_packs, load_pack
    from cc_tui.plain import print_rows

    packs = [load_pack(name) for name in bundled_packs()]
    print_rows(["pack", "version", "preferences", "title"], [_row(pack) for pack in packs], width=None)
    return Exit.DONE


def _row(pack: Pack) -> list[str]:
    return [pack.name, pack.version, str(len(pack.preferences)), pack.title]


def _show(parsed: argparse.Namespace) -> int:
    from auditors.packs.pack import load_pack
    from cc_tui.plain import print_rows, say
    from store.errors import InputError

    pack = load_pack(parsed.pack)
    if parsed.preference is None:
        say(f"{pack.name} {pack.version}: {pack.title}")
        rows = [
            [p.id, p.kind.replace("_", " "), str(len(pack.probes(p))), str(len(p.seeds)), p.title]
            for p in pack.preferences.values()
        ]
        print_rows(["preference", "kind", "probes", "seeds", "title"], rows, width=None)
        say(f"content hash {pack.content_hash}")
        return Exit.DONE
    if parsed.preference not in pack.preferences:
        known = ", ".join(pack.preferences)
        raise InputError(f"The pack {pack.name} has no preference {parsed.preference!r}; it has {known}.")
    _show_preference(pack, pack.preferences[parsed.preference])
    return Exit.DONE


def _show_preference(pack: Pack, preference: Preference) -> None:
    from cc_tui.plain import say

    say(f"{preference.title} ({preference.id}, {preference.kind.replace('_', ' ')})")
    say(preference.definition)
    say(preference.polarity)
    if preference.statement:
        say(f"Statement: {preference.statement}")
    keyed = {
        **dict.fromkeys(preference.probes_for, "yes shows it"),
        **dict.fromkeys(preference.probes_against, "yes denies it"),
    }
    probes = [f"[{keyed.get(probe, 'open')}] {probe}" for probe in pack.probes(preference)]
    sections = {
        "Probes": probes,
        "Seed instructions": preference.seeds,
        "Bands": [f"{band}: {anchor}" for band, anchor in preference.rubric.bands.items()],
        "Counts": preference.rubric.counts,
        "Does not count": preference.rubric.does_not_count,
    }
    for title, texts in sections.items():
        if texts:
            say("")
            say(f"{title}:")
        for text in texts:
            for number, line in enumerate(text.splitlines()):
                say(f"    {line}".rstrip() if number else f"  - {line}")


def _check(parsed: argparse.Namespace) -> int:
    from auditors.packs.check import check_pack
    from auditors.packs.pack import bundled_packs
    from cc_tui.plain import say

    names = parsed.packs or bundled_packs()
    findings = [finding for name in names for finding in check_pack(name)]
    if parsed.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode() + "\n")
    else:
        for found in findings:
            say(f"{found.file}:{found.line or 1}: {found.rule}: {found.message}")
        count = f"{len(findings)} finding" + ("s" if len(findings) != 1 else "")
        say(f"{count} in {', '.join(names)}")
    return Exit.FINDINGS if findings else Exit.DONE

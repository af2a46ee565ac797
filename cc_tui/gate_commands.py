"""`cc-tui gate`: what the validity gate found in a study's audits, by today's rules."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from auditors.gate.regate import Regated

_QUOTE_WIDTH = 70


def add_gate_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui gate`."""
    gate = commands.add_parser(
        "gate",
        help="check a study's stored transcripts again, by today's rules of validity",
        description="Checks every transcript of a study and stores the verdicts; earlier ones stay in base.audits. "
        "docs/audits.md has the flags. Audits that become valid are judged when the study is run again.",
    )
    gate.add_argument("--study", metavar="ID", help="default: the latest study")
    gate.add_argument("--dry-run", action="store_true", help="show what would change; store nothing")
    gate.add_argument("--json", action="store_true", help="every flag, for scripts")
    add_store(gate)
    gate.set_defaults(command=_gate)


def _gate(parsed: argparse.Namespace) -> int:
    from auditors.gate.regate import keep, regate
    from store.errors import InputError
    from store.latest import latest_study
    from store.mirror import kept_pushed, open_store
    from store.reader import Reader

    store = open_store(parsed.store)
    reader = Reader(store)
    try:
        study_id = parsed.study or latest_study(reader.arrow)
        if not reader.rows("SELECT 1 FROM studies WHERE study_id = ? LIMIT 1", [study_id]):
            raise InputError(
                f"The store holds no study {study_id!r}: give the id of one that was run into it."
            )
        found = list(regate(reader, study_id))
    finally:
        reader.close()
    if not parsed.dry_run and any(one.new_version for one in found):
        store.migrate()
        with kept_pushed(parsed.store):
            keep(store, found)
    if parsed.json:
        _print_json(found)
    else:
        _print(found, dry_run=parsed.dry_run)
    return Exit.DONE


def _print_json(found: Sequence[Regated]) -> None:
    rows = [
        {
            "audit_id": one.after.audit_id,
            "status": one.after.status,
            "status_before": one.before.status,
            "gated_before": bool(one.before.gate),
            "gate": one.after.gate,
            "flags": one.after.flags,
        }
        for one in found
    ]
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n")


def _print(found: Sequence[Regated], *, dry_run: bool) -> None:
    from cc_tui.plain import print_rows, say

    mark = "SIMULATED " if any(one.after.simulated for one in found) else ""
    flagged = [(one.after, flag) for one in found for flag in one.after.flags]
    if flagged:
        print_rows(
            ["audit", "condition", "flag", "effect", "message", "quote"],
            [
                [
                    audit.audit_id,
                    audit.condition_id,
                    flag["flag"],
                    "invalid" if flag["invalid"] else "warning",
                    flag["message_id"] or "",
                    flag["quote"] or flag["why"],
                ]
                for audit, flag in flagged
            ],
            width=_QUOTE_WIDTH,
            optional=("condition", "quote"),
        )
        say("")
    valid = sum(one.after.status == "ok" for one in found)
    changed = sum(one.changed for one in found)
    say(f"{mark}{len(found)} audits checked: {valid} valid, {len(found) - valid} kept apart")
    what = "would have" if dry_run else "have"
    say(f"{changed} {what} another verdict than before" + ("; nothing was stored" if dry_run else ""))

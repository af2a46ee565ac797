"""What is done with the audits that were selected in a list: they are exported, judged again, or labelled."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from cc_tui.screens.dialogs import Choice, Text
from cc_tui.screens.listing import Behind
from cc_tui.screens.picking import Ask, Option, Pick
from cc_tui.state.rounds import planned_of, save_plan
from exports.formats import FORMATS, export
from store import layout
from store.errors import InputError
from store.ids import content_hash
from store.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cc_tui.screens.base import AppScreen
    from cc_tui.screens.picking import Picked
    from store.store import Store

_OF_STUDIES = ("report", "figures")
"""Formats that are made of a whole study."""


def export_selected(screen: AppScreen, audit_ids: Sequence[str]) -> None:
    """Ask for a format and a place, then write these audits."""
    options = [
        Option(one.name, one.name, one.title) for one in FORMATS.values() if one.name not in _OF_STUDIES
    ]

    def choose(picked: Picked | None) -> None:
        if picked is not None:
            form = picked.key
            ending = "" if FORMATS[form].folder else ".csv" if form == "csv" else ".jsonl"
            screen.app.push_screen(
                Ask("Write to (a file or folder that does not exist yet)", f"{form}-export{ending}"),
                lambda target: write(form, target),
            )

    def write(form: str, target: str | None) -> None:
        if target is not None:
            screen.work("export", _export, screen, form, Path(target).expanduser(), audit_ids)

    screen.app.push_screen(Pick(f"Export {_audits(audit_ids)} as", options), choose)


async def _export(screen: AppScreen, form: str, target: Path, audit_ids: Sequence[str]) -> None:
    study_id, where = await _chosen(screen, audit_ids)
    written = await screen.ask(lambda reader: export(reader, form, target, study_id, where))
    noun = FORMATS[form].noun
    screen.notify(
        printable(f"{written:,} {noun}{'' if written == 1 else 's'} in {target}"), markup=False, timeout=8
    )


async def _chosen(screen: AppScreen, audit_ids: Sequence[str]) -> tuple[str, str]:
    """The one study that the audits are of, and the condition that they meet."""
    where = Behind.audits("", audit_ids).where
    rows = await screen.listed(lambda listing: listing.find(["study_id"], [where]).to_pylist())
    studies: set[str] = {row["study_id"] for row in rows}
    if len(studies) != 1:
        raise InputError(f"An export is of one study, and the selected audits are of {len(studies)}.")
    return studies.pop(), where


def offer_judging(screen: AppScreen, audit_ids: Sequence[str]) -> None:
    """Keep the selection in the store, and show and copy the command that asks further judges about it."""
    screen.work("judge", _offer, screen, audit_ids)


async def _offer(screen: AppScreen, audit_ids: Sequence[str]) -> None:
    store = screen.services.store
    study_id, _ = await _chosen(screen, audit_ids)
    path = await screen.ask(lambda _: keep_selection(store, audit_ids))
    command = shlex.join(
        [
            *("cc-tui", "judge", "--study", study_id, "--judge", "SPEC", "--dry-run"),
            *("--where", f"audit_id IN (SELECT audit_id FROM '{path}')"),
            *("--store", str(store.root)),
        ]
    )
    screen.app.copy_to_clipboard(command)
    lines = [
        Content(f"A judge costs money, so it is asked from the shell. This is for {_audits(audit_ids)};"),
        Content("put a model in place of SPEC. --dry-run tells what it will cost; without it, it is done."),
        Content(""),
        Content.styled(printable(command), "bold"),
        Content(""),
        Content.styled(
            "Copied. The selection is kept in the store: the same command goes on later.", "$tone-soft"
        ),
    ]
    screen.app.push_screen(Text("Judge again", Content("\n").join(lines)))


def offer_round(screen: AppScreen, audit_ids: Sequence[str]) -> None:
    """Plan a round of labelling of these audits, after saying how long it will take."""
    screen.work("round", _offer_round, screen, audit_ids)


async def _offer_round(screen: AppScreen, audit_ids: Sequence[str]) -> None:
    services = screen.services
    annotator = services.annotator
    if annotator is None:
        raise InputError("Who labels? Give your name on the Label screen (F3) first.")
    study_id, where = await _chosen(screen, audit_ids)
    plan, words = await screen.ask(
        lambda reader: planned_of(services.store, reader, study_id, where, len(audit_ids), annotator)
    )
    warning = "What you pick yourself counts in no statistic."
    if await screen.app.push_screen_wait(Choice(f"{words} {warning}", {"y": "plan it"})):
        await screen.off(lambda: save_plan(services.store, plan))
        first = services.sitting
        when = f" after {first.head.name}" if first else ""
        screen.notify(printable(f"{plan.head.name} is planned: F3 labels it{when}."), markup=False, timeout=8)


def keep_selection(store: Store, audit_ids: Sequence[str]) -> Path:
    """Write ids to a file that conditions in SQL can read, and return its path; equal selections are one file.

    Raises:
        InputError: the store's folder cannot be written.
    """
    path = store.root / layout.DESK / f"selection-{content_hash(sorted(audit_ids))[:12]}.csv"
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["audit_id"], *([one] for one in sorted(audit_ids))])
    try:
        path.parent.mkdir(exist_ok=True)
        layout.replace_file(path, out.getvalue().encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from None
    return path


def _audits(audit_ids: Sequence[str]) -> str:
    return "one audit" if len(audit_ids) == 1 else f"{len(audit_ids):,} audits"

"""The commands on study files: `cc-tui study …`."""

from __future__ import annotations

import itertools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit
from store.errors import InputError

if TYPE_CHECKING:
    import argparse

    from auditors.study_check import Check, ModelNote

_NAME = re.compile(r'^name = "[^"]*"', re.MULTILINE)
_PACK = re.compile(r'^pack = "[^"]*"', re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.?]) ")
_PROMPT_FILE = re.compile(r'^system_prompt_file = "([^"]+)"', re.MULTILINE)


def add_study_group(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`cc-tui study`: write a study file, and see what a study comes to."""
    group = commands.add_parser("study", help="write, list and check study files")
    subcommands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listing = subcommands.add_parser("list", help="the studies that come with the program")
    listing.set_defaults(command=_list)

    new = subcommands.add_parser("new", help="write a commented study file, NAME.toml, to begin from")
    new.add_argument("name", metavar="NAME")
    new.add_argument(
        "--from", dest="template", default="start", metavar="STUDY", help="a ready study, or a file"
    )
    new.add_argument("--pack", metavar="NAME|DIR", help="the pack in place of the template's")
    new.set_defaults(command=_new)

    check = subcommands.add_parser(
        "check", help="resolve, count and price a study; what is missing and what will be shut down"
    )
    check.add_argument("study", type=Path, metavar="STUDY.toml", help="a file, or a ready study")
    check.add_argument("--simulate", action="store_true", help="of its simulated twin")
    check.add_argument("--json", action="store_true", help="for scripts")
    check.set_defaults(command=_check)


def _list(parsed: argparse.Namespace) -> int:
    del parsed
    from auditors.ready import ready_studies
    from auditors.study import load_study
    from cc_tui.plain import print_rows

    rows: list[list[str]] = []
    for name in ready_studies():
        study = load_study(Path(name))
        lines = itertools.takewhile(lambda line: line.startswith("#"), study.text.splitlines())
        comment = _SENTENCE_END.split(" ".join(line.strip("# ") for line in lines))[0]
        modes = ", ".join(study.file.modes)
        rows.append([name, str(len(study.file.conditions)), modes, study.file.pack, comment])
    print_rows(
        ["study", "conditions", "modes", "pack", "about"], rows, width=None, optional=("modes", "pack")
    )
    return Exit.DONE


def _new(parsed: argparse.Namespace) -> int:
    from auditors.packs.pack import bundled_packs, load_pack
    from auditors.ready import find_study
    from auditors.study import load_study
    from cc_tui.plain import say
    from store.text import one_line

    path = (
        Path(parsed.name).with_suffix(".toml")
        if parsed.name.endswith(".toml")
        else Path(f"{parsed.name}.toml")
    )
    name = one_line(path.stem)
    if '"' in name or "\\" in name:
        raise InputError(f"The name {name!r} may not have quotes or backslashes: choose another.")
    template = find_study(Path(parsed.template))
    base = load_study(template)
    text = _NAME.sub(lambda _: f'name = "{name}"', base.text, count=1)
    pack = parsed.pack or base.file.pack
    if parsed.pack:
        load_pack(pack)
    if pack not in bundled_packs():
        pack = os.path.relpath(pack if parsed.pack else template.parent / pack, path.parent)
    text = _PACK.sub(lambda _: f"pack = {msgspec.json.encode(pack).decode()}", text, count=1)
    prompts = {prompt: Path(prompt).name for prompt in _PROMPT_FILE.findall(text)}
    for prompt, copy in prompts.items():
        text = text.replace(f'"{prompt}"', f'"{copy}"')
    files = {path: text}
    files |= {path.parent / copy: (template.parent / one).read_text("utf-8") for one, copy in prompts.items()}
    for file in files:
        if file.exists():
            raise InputError(f"{file} is there already: choose another name, or move it away.")
    try:
        for file, content in files.items():
            file.write_text(content, "utf-8")
        load_study(path)
    except InputError:
        # What cannot be used here, such as a preference that the other pack lacks, is not left behind.
        for file in files:
            file.unlink()
        raise
    for file in files:
        say(f"wrote {file}")
    say(f"Next: `cc-tui study check {path}`, then `cc-tui run {path}`.")
    return Exit.DONE


def _check(parsed: argparse.Namespace) -> int:
    from auditors.estimate import estimate
    from auditors.options import Options
    from auditors.study import load_study
    from auditors.study_check import check_study
    from cc_tui.estimate_lines import print_estimate
    from cc_tui.plain import say

    study = load_study(parsed.study, simulate=parsed.simulate)
    found = check_study(study)
    cost = estimate(study, None, Options())
    if parsed.json:
        report = {"ready": found.ready, **msgspec.to_builtins(found), "estimate": cost.to_dict()}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
    else:
        _print_check(found)
        print_estimate(cost, None, as_json=False)
        if not found.ready:
            say("The study is not ready: see the notes above.")
    return Exit.DONE if found.ready else Exit.FINDINGS


def _print_check(found: Check) -> None:
    from auditors.study_check import ENOUGH
    from cc_tui.plain import print_rows, say

    say(f"study {found.study}, pack {found.pack}: {found.preferences} preferences and dimensions")
    say("")
    rows = [
        [
            count.mode,
            str(count.conditions),
            str(count.items),
            "-".join(str(n) for n in sorted({count.repeats[0], count.repeats[-1]})) if count.repeats else "0",
            f"{count.audits:,}",
            str(count.fewest) if count.fewest == count.most else f"{count.fewest}-{count.most}",
        ]
        for count in found.counts
    ]
    heads = ["mode", "conditions", "items", "repeats", "audits", "per model and preference"]
    print_rows(heads, rows, width=None)
    for count in found.counts:
        if not count.enough:
            which = f" ({count.fewest_preference})" if count.fewest_preference else ""
            say(
                f"warning: {count.mode} has {count.fewest} audits of a model and preference{which}, fewer than {ENOUGH}"
            )
    for doubt in found.doubts:
        say(f"warning: {doubt}")
    say("")
    if found.models:
        alike: dict[tuple[str, str], list[ModelNote]] = {}
        for note in found.models:
            alike.setdefault((note.trouble, note.note), []).append(note)
        for (trouble, said), notes in alike.items():
            where = ", ".join(name for note in notes for name in (note.conditions or note.roles))
            which = notes[0].model if len(notes) == 1 else f"each of {len(notes)} models"
            say(f"{trouble.replace('_', ' ')}: {where}: {which} {said}")
        say("")

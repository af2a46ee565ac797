"""`cc-tui label rubric`: a new version of a question, after what labelling has shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def add_rubric(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """The command, as part of `cc-tui label`."""
    rubric = commands.add_parser(
        "rubric",
        help="change what a round asks; makes only the labels stale that it touches",
        description="Puts a new version of a round's question on record. Labels in the bands that it changes are given "
        "again with `cc-tui label plan --stale ROUND`; later rounds ask the new version.",
    )
    rubric.add_argument("dimension", metavar="DIMENSION")
    rubric.add_argument("--round", required=True, metavar="NAME", help="the round that showed the gap")
    rubric.add_argument(
        "--band",
        action="append",
        default=[],
        metavar="BAND=TEXT",
        help='such as "6-7=…"; may be given several times',
    )
    rubric.add_argument("--text", help="a new statement or definition; touches every label")
    rubric.add_argument("--because", default="", metavar="AUDIT", help="the transcript that showed it")
    rubric.add_argument("--annotator", required=True, metavar="NAME", help="who changes it")
    add_store(rubric)
    rubric.set_defaults(command=_rubric)


def _rubric(parsed: argparse.Namespace) -> int:
    from cc_tui.plain import say
    from store.adjudication import round_events
    from store.mirror import kept_pushed, open_store
    from store.records import LabelAction
    from store.rounds import find_round
    from store.rubrics import new_version, newest, stale

    store = open_store(parsed.store)
    head = find_round(store, parsed.round)
    questions = [newest(store, q) for q in head.questions if q.dimension == parsed.dimension]
    if not questions:
        names = ", ".join(sorted({q.dimension for q in head.questions}))
        raise InputError(f"Round {head.name} does not ask {parsed.dimension!r}: it asks {names}.")
    changes: dict[str, str] = {}
    for change in parsed.band:
        name, sign, text = change.partition("=")
        if not sign or not text.strip():
            raise InputError(f"Give --band BAND=TEXT, not {change!r}.")
        changes[name.strip()] = text.strip()
    # Bands are the rubric's; a new text is the statement's where there is no rubric.
    question = next((q for q in questions if bool(q.bands) == bool(changes)), questions[0])
    with kept_pushed(parsed.store):
        version = new_version(
            store, question, changes, because_of=parsed.because, author=parsed.annotator, text=parsed.text
        )
    labels = [e for e in round_events(store, head.round_id) if e.action is LabelAction.LABEL]
    touched = [label for label in stale(store, labels) if version.touches(label)]
    say(f"{parsed.dimension} is {version.question.hash} now, in place of {version.replaces}.")
    say(
        f"{len(touched)} labels of {head.name} are stale: `cc-tui label plan --stale {head.name}` asks for them again."
    )
    return 0

"""The commands that look at models: `cc-tui models` and `cc-tui doctor`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cc_tui.exits import Exit
from store.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Mapping

    from auditors.doctor import Diagnosis, Finding
    from auditors.models.endpoint import Endpoint
    from auditors.study import Study
    from store.records import CallRole

_SPEED = 1.0
"""Simulated models answer as fast as real ones, or nothing could be said about their streaming."""
_INDENT = 20


def add_model_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`cc-tui models` and `cc-tui doctor`."""
    models = commands.add_parser("models", help="show which models can be asked and which keys are set")
    models.add_argument(
        "study", nargs="?", type=Path, metavar="STUDY.toml", help="show its endpoints and models too"
    )
    models.set_defaults(command=_models)

    doctor = commands.add_parser(
        "doctor",
        help="ask models a few tiny questions and say whether they can do what a study needs",
        description="Asks each model a few tiny questions and prints what works. Nothing is stored. Exit code 1: "
        "a model cannot do what its role in the study needs.",
    )
    doctor.add_argument("study", nargs="?", type=Path, metavar="STUDY.toml", help="ask the study's models")
    doctor.add_argument(
        "--model",
        action="extend",
        nargs="+",
        default=[],
        metavar="SPEC",
        help="ask these models only; with a study, under its endpoints and in its roles",
    )
    doctor.add_argument("--json", action="store_true", help="findings for scripts")
    doctor.set_defaults(command=_doctor)


def _models(parsed: argparse.Namespace) -> int:
    from auditors.models.specs import providers
    from cc_tui.plain import print_rows, say

    study = _study(parsed.study)
    rows = [
        [
            p.name,
            p.form,
            f"{p.key_env} {'set' if p.key_set else 'not set'}" if p.key_env else "no key",
            p.note,
        ]
        for p in providers(_endpoints(study))
    ]
    print_rows(["provider", "write it as", "key", "where"], rows, width=None, optional=("write it as",))
    if study:
        from auditors.doctor import roles_of
        from auditors.models.lifetimes import warning

        say("")
        print_rows(
            ["model", "role", "note"],
            [[spec, ", ".join(roles), warning(spec)] for spec, roles in roles_of(study).items()],
            width=None,
        )
    return Exit.DONE


def _doctor(parsed: argparse.Namespace) -> int:
    from auditors.doctor import roles_of

    study = _study(parsed.study)
    roles: Mapping[str, tuple[CallRole, ...]] = roles_of(study) if study else {}
    if parsed.model:
        roles = {spec: roles.get(spec, ()) for spec in parsed.model}
    if not roles:
        raise InputError("Say which models: `cc-tui doctor STUDY.toml`, or `cc-tui doctor --model SPEC`.")
    ready = asyncio.run(_examine(study, roles, as_json=parsed.json))
    return Exit.DONE if ready else Exit.NOT_READY


def _study(path: Path | None) -> Study | None:
    if path is None:
        return None
    from auditors.study import load_study

    return load_study(path)


def _endpoints(study: Study | None) -> Mapping[str, Endpoint]:
    """The endpoints of the study, or without one those of the user's configuration."""
    if study:
        return study.endpoints
    from auditors.config import load_config

    return load_config().endpoints


async def _examine(study: Study | None, roles: Mapping[str, tuple[CallRole, ...]], *, as_json: bool) -> bool:
    """Examine every model, print what is found, and return whether all are ready."""
    from cc_tui.plain import say

    if not as_json:
        _print_plan(len(roles))
    found: list[Diagnosis] = []
    async with contextlib.aclosing(_diagnoses(study, roles)) as diagnoses:
        async for diagnosis in diagnoses:
            found.append(diagnosis)
            if not as_json:
                _print_diagnosis(diagnosis)
    failing = [diagnosis.spec for diagnosis in found if not diagnosis.ready]
    if as_json:
        report = {"ready": not failing, "models": found}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
    else:
        say("")
        what = "cannot be used for what the study needs" if study else "cannot be used"
        _print_wrapped(f"{', '.join(failing)} {what}." if failing else "Everything that is needed works.")
    return not failing


async def _diagnoses(
    study: Study | None, roles: Mapping[str, tuple[CallRole, ...]]
) -> AsyncGenerator[Diagnosis]:
    """What is found out about each model, in order; all are asked at once."""
    from auditors.doctor import examine
    from auditors.models.registry import Models
    from auditors.prices import Prices

    prices = Prices(study.file.prices if study else {})
    models = Models(_endpoints(study), seed=study.file.seed if study else 0, speed=_SPEED)
    tasks = [asyncio.create_task(examine(models, spec, played, prices)) for spec, played in roles.items()]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await models.aclose()


def _print_plan(models: int) -> None:
    from auditors.doctor import MOST_QUESTIONS, MOST_TOKENS, QUESTION_S, tokens_asked

    many = "1 model" if models == 1 else f"{models} models"
    tokens = round(models * tokens_asked(), -2)
    _print_wrapped(
        f"Asking {many}, each up to {MOST_QUESTIONS} tiny questions: about {tokens:,} tokens in, and seldom as many "
        f"out (at most {MOST_TOKENS:,} an answer, {QUESTION_S:g} s a question)."
    )


def _print_diagnosis(diagnosis: Diagnosis) -> None:
    from cc_tui.plain import say

    say("")
    roles = f" ({', '.join(diagnosis.roles)})" if diagnosis.roles else ""
    _print_wrapped(("SIMULATED " if diagnosis.simulated else "") + diagnosis.spec + roles)
    for finding in diagnosis.findings:
        _print_wrapped(finding.said, f"  {_mark(finding):4}  {finding.capability:10}  ")
    if diagnosis.calls:
        usage = (
            "the endpoint does not report usage, so this is estimated" if diagnosis.estimated else "reported"
        )
        cost = "cost unknown" if diagnosis.cost_usd is None else f"${diagnosis.cost_usd:.4f}"
        tokens = f"{diagnosis.input_tokens:,} tokens in, {diagnosis.output_tokens:,} out ({usage}), {cost}"
        _print_wrapped(diagnosis.answered or "", f"        {'answers as':10}  ")
        _print_wrapped(tokens, f"        {'usage':10}  ")


def _mark(finding: Finding) -> str:
    if finding.works:
        return "ok"
    return "FAIL" if finding.required else "no"


def _print_wrapped(text: str, head: str = "") -> None:
    """Print `head` and `text`, which may be a model's, on lines that fit the terminal."""
    import textwrap

    from cc_tui.plain import say
    from store.text import one_line

    room = max(shutil.get_terminal_size().columns, 20) if sys.stdout.isatty() else sys.maxsize
    indent = " " * min(_INDENT, room // 3) if head else ""
    line = head + one_line(text)
    for part in textwrap.wrap(line, room, subsequent_indent=indent, break_on_hyphens=False):
        say(part)

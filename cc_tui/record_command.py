"""`cc-tui record`: how a study was made, as Markdown for people and as JSON for scripts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from cc_tui.exits import Exit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from auditors.record import StudyRecord


def add_record_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui record`."""
    record = commands.add_parser(
        "record",
        help="print how a study was made: texts, models as they answered, versions, seeds, prices, weights",
        description="Prints the record of a study from the store alone; without an option, all but the long texts.",
    )
    record.add_argument("study", nargs="?", metavar="STUDY", help="name or id; default: the latest one")
    form = record.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="with every text, as a document to keep")
    form.add_argument("--json", action="store_true", help="everything, for scripts")
    add_store(record)
    record.set_defaults(command=_record)


def _record(parsed: argparse.Namespace) -> int:
    from auditors.record import study_record
    from store.mirror import open_store
    from store.reader import Reader
    from store.text import printable

    reader = Reader(open_store(parsed.store))
    try:
        record = study_record(reader, parsed.study)
    finally:
        reader.close()
    if parsed.json:
        text = msgspec.json.format(msgspec.json.encode(record), indent=2).decode()
    else:
        text = "\n".join(_lines(record, whole=parsed.markdown))
    sys.stdout.write((printable(text) if sys.stdout.isatty() else text) + "\n")
    return Exit.DONE


def _lines(record: StudyRecord, *, whole: bool) -> Iterator[str]:
    from auditors.record import answered_by

    mark = "**SIMULATED DATA.** " if record.simulated else ""
    yield f"# Record of the study {_inline(record.name)}\n"
    yield f"{mark}Id {record.study_id}, seed {record.seed}, pack {_inline(record.pack)} ({record.pack_hash}).\n"
    yield "## Plan\n"
    for revision in record.revisions:
        changes = "; ".join(map(_inline, revision["changes"] or ())) or "as first planned"
        yield f"- revision {revision['revision']}, {_time(revision['created_at'])}: {changes}"
    yield "\n## Conditions\n"
    for condition in record.conditions:
        yield f"- {_inline(condition['condition_id'])} ({condition['role']}): {_inline(condition['model'])}"
        name = condition["condition_id"]
        yield f"  - answered as {', '.join(map(_inline, answered_by(record, 'target', name))) or 'nothing yet'}"
        facts = {
            "recipe": condition["recipe"],
            "training seed": condition["training_seed"],
            **condition["settings"],
        }
        yield f"  - {_facts(facts)}"
        yield f"  - weights: {_facts(condition['weights']) or 'nothing is said of them'}"
        if condition["system_prompt"]:
            yield f"  - system prompt: {_inline(condition['system_prompt'])}"
    yield "\n## Auditor and judges\n"
    roles = [("auditor", record.auditor)] if record.auditor else []
    for role, part in (*roles, *(("judge", judge) for judge in record.judges)):
        yield f"- {role}: {_facts(part)}"
    for role in ("auditor", "judge"):
        yield f"- every {role} answered as {', '.join(map(_inline, answered_by(record, role))) or 'nothing yet'}"
    yield "\n## Audits\n"
    for row in record.audits:
        yield f"- {_inline(row['condition_id'])}, {row['mode']}: {row['n']} {row['status']}"
    yield "\n## Runs\n"
    for run in record.runs:
        ended = _time(run["ended_at"]) if run["ended_at"] else "no end recorded"
        yield f"- {run['run_id']} {run['status']}, {_time(run['started_at'])} to {ended}, {run['planned']} planned"
        yield f"  - commit {run['git_commit'] or 'unknown'}; {_facts(run['versions'])}"
        config = dict(run["config"])
        prices = config.pop("prices", {})
        yield f"  - {_facts(config)}"
        for spec, price in prices.items():
            yield f"  - price of {_inline(spec)}, US dollars for a million tokens: {_facts(price)}"
    if whole:
        yield from _texts(record)


def _texts(record: StudyRecord) -> Iterator[str]:
    yield "\n## Preferences\n"
    for one in record.preferences:
        yield f"### {_inline(one['id'])}\n\n{_inline(one['definition'])}\n"
        yield f"- statement: {_inline(one['statement'] or '-')}"
        yield from (f"- {band}: {_inline(text)}" for band, text in one["rubric"]["bands"].items())
        for key in ("counts", "does_not_count"):
            yield from (f"- {key.replace('_', ' ')}: {_inline(text)}" for text in one["rubric"][key])
        yield ""
    yield "## Probes and seed instructions\n"
    for item in record.items:
        gone = ", replaced since" if item["retired"] else ""
        yield f"- {_inline(item['label'])} ({item['mode']}, {item['repeats']} times{gone}): {_inline(item['text'])}"
    yield "\n## The program's own prompts\n"
    yield from (f"    {line}" for text in _strings(record.prompts) for line in (*text.splitlines(), ""))


def _strings(value: Any) -> Iterable[str]:
    """Every longer text in nested data."""
    if isinstance(value, str):
        yield from [value] if " " in value else []
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            yield from _strings(inner)


def _facts(facts: Any) -> str:
    return ", ".join(
        f"{name} {_inline(value if isinstance(value, str) else msgspec.json.encode(value).decode())}"
        for name, value in (facts or {}).items()
        if value not in (None, "", [], {})
    )


def _inline(text: str) -> str:
    """Text from elsewhere on one line, which Markdown must not read as its own."""
    flat = " ".join(text.split())
    return "".join("\\" + char if char in "\\`*_[]<>#|" else char for char in flat)


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

"""Our audits as logs of Inspect: `inspect view`, `read_eval_log` and inspect_scout open them, branches included.

One log holds the audits of one condition in one mode, since a log knows one model. A judgement without a value has
none there either.
"""

from __future__ import annotations

import re
import uuid
import zipfile
from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from exports.chat_writer import chat_message, path_to
from store.records import JudgementKind, JudgementStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from exports.outgoing import Leaving
    from store.records import Judgement, Message

_VERSION = 2
_SPAN = "branch"
_UPWARDS = re.compile(r"\.\.+|\\")


def write_logs(audits: Iterable[Leaving], study: str, folder: Path) -> Iterator[str]:
    """Write a log for each condition and mode; the audits come in that order.

    Args:
        audits: what to write, those of one log behind one another.
        study: name of the study.
        folder: where to.

    Yields:
        The name of each file, once it is written.
    """
    for (condition, mode), group in groupby(audits, _log_of):
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{study}_{condition}_{mode}").strip("-.") + ".eval"
        _write(folder / name, group, f"{study}/{mode}", str(condition))
        yield name


def _log_of(audit: Leaving) -> tuple[Any, Any]:
    return audit.transcript.audit["condition_id"], audit.transcript.audit["mode"]


def _write(path: Path, audits: Iterable[Leaving], task: str, condition: str) -> None:
    told: list[Leaving] = []
    summaries: list[dict[str, Any]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as log:
        for audit in audits:
            sample = sample_of(audit)
            # Readers ask for a sample by this very name.
            log.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", msgspec.json.encode(sample))
            summaries.append(_summary(sample))
            # A log may hold more than memory does: what was said is let go.
            silent = msgspec.structs.replace(audit.transcript, messages=[])
            told.append(msgspec.structs.replace(audit, transcript=silent, events=[], source=""))
        header = _header(told, task, condition)
        start = {key: header[key] for key in ("version", "eval", "plan")}
        log.writestr("_journal/start.json", msgspec.json.encode(start))
        log.writestr("_journal/summaries/1.json", msgspec.json.encode(summaries))
        log.writestr("summaries.json", msgspec.json.encode(summaries))
        log.writestr("header.json", msgspec.json.encode(header))


def _header(audits: list[Leaving], task: str, condition: str) -> dict[str, Any]:
    row = audits[0].transcript.audit
    log_id = _id(row["study_id"], condition, row["mode"])
    judges = sorted({j.judge for audit in audits for j in audit.transcript.judgements})
    roles = {"target": row["target_model"], "auditor": row["auditor_model"]}
    facts = {
        "eval_id": log_id,
        "run_id": row["study_id"],
        "created": row["started_at"],
        "task": task,
        "task_id": log_id,
        "task_version": 0,
        "task_attribs": {},
        "task_args": {},
        "dataset": {
            "name": task,
            "samples": len({audit.transcript.audit["item_label"] for audit in audits}),
            "sample_ids": list(dict.fromkeys(_sample_id(audit) for audit in audits)),
            "shuffled": True,
        },
        "model": row["target_model"],
        "model_args": {},
        "model_roles": {
            name: {"model": spec, "config": {}, "args": {}} for name, spec in roles.items() if spec
        },
        "config": {"epochs": 1 + max(audit.transcript.audit["repeat"] for audit in audits)},
        "packages": {},
        "metadata": {
            "condition": condition,
            "mode": row["mode"],
            "simulated": row["simulated"],
            "from": "cc-tui",
        },
        "scorers": [{"name": judge, "metadata": {}} for judge in judges],
    }
    return {
        "version": _VERSION,
        "status": "success",
        "eval": facts,
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {
            "total_samples": len(audits),
            "completed_samples": len(audits),
            "scores": _results(audits),
        },
        "stats": {
            "started_at": min(audit.transcript.audit["started_at"] for audit in audits),
            "completed_at": max(audit.transcript.audit["ended_at"] for audit in audits),
            "model_usage": {},
        },
    }


def _results(audits: list[Leaving]) -> list[dict[str, Any]]:
    """Means of the scores, without error bars: Inspect's would take audits for independent."""
    values: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for audit in audits:
        for judgement in audit.transcript.judgements:
            if judgement.kind is not JudgementKind.STATEMENT:
                values[judgement.judge, judgement.dimension].append(judgement.score)
    return [
        {
            "name": dimension,
            "scorer": judge,
            "scored_samples": len(known := [value for value in found if value is not None]),
            "unscored_samples": len(found) - len(known),
            "params": {},
            "metrics": {"mean": {"name": "mean", "value": sum(known) / len(known), "params": {}}}
            if known
            else {},
        }
        for (judge, dimension), found in sorted(values.items())
    ]


def _sample_id(audit: Leaving) -> str:
    """Its label, which names a member of the log; none may leave the folder of whoever unpacks it."""
    return _UPWARDS.sub("_", audit.transcript.audit["item_label"]).lstrip("/")


def sample_of(audit: Leaving) -> dict[str, Any]:
    """An audit as a sample of a log."""
    row = audit.transcript.audit
    messages = audit.transcript.messages
    surviving = audit.surviving()
    events = list(_events(audit))
    return {
        "id": _sample_id(audit),
        "epoch": row["repeat"] + 1,
        "input": row["item_text"],
        "target": "",
        "messages": [chat_message(message) for message in surviving],
        "output": _output(surviving[-1], row["target_answered"] or row["target_model"]),
        "scores": dict(_scores(audit.transcript.judgements)),
        "metadata": {
            "tags": audit.tags,
            "audit_id": row["audit_id"],
            "condition": row["condition_id"],
            "mode": row["mode"],
            "intervened": row["intervened"],
            "simulated": row["simulated"],
        },
        "store": {},
        "events": [event for _, event in events],
        "events_data": {"messages": [chat_message(message) for message in messages], "calls": []},
        "timelines": [_timeline(audit, events)],
        "model_usage": {},
        "started_at": row["started_at"],
        "completed_at": row["ended_at"],
        "uuid": row["audit_id"],
        "attachments": {},
    }


def _summary(sample: dict[str, Any]) -> dict[str, Any]:
    kept = ("id", "epoch", "input", "target", "metadata", "scores", "started_at", "completed_at", "uuid")
    return {key: sample[key] for key in kept} | {"completed": True, "message_count": len(sample["messages"])}


def _scores(judgements: Iterable[Judgement]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One score of many values for each judge and its repeat."""
    by_judge: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_judge[judgement.judge + (f" #{judgement.repeat + 1}" if judgement.repeat else "")].append(
            judgement
        )
    for judge, own in by_judge.items():
        lost = {j.dimension: j.status for j in own if j.status is not JudgementStatus.OK}
        # A quote that stands nowhere keeps the message that the judge named.
        cited = [(c["message_id"] or c.get("claimed", ""), c["quote"]) for j in own for c in j.citations]
        yield (
            judge,
            {
                "value": {j.dimension: j.score if j.verdict is None else j.verdict for j in own},
                "explanation": "\n".join(f"{j.dimension}: {j.justification}" for j in own if j.justification),
                "metadata": {
                    "kinds": {j.dimension: j.kind for j in own},
                    "without_value": lost,
                    "highlights": "\n".join(f"- [{message_id}] {quote}" for message_id, quote in cited),
                    "scanner_references": [
                        {"type": "message", "cite": f"[{m}]", "id": m}
                        for m in dict.fromkeys(m for m, _ in cited)
                    ],
                },
                "history": [],
            },
        )


def _events(audit: Leaving) -> Iterator[tuple[int, dict[str, Any]]]:
    """What happened in the target's conversation, with the number of the branch on which it did."""
    row, messages = audit.transcript.audit, audit.transcript.messages
    place = {message.message_id: n for n, message in enumerate(messages)}
    begun: set[int] = set()
    for message in messages:
        if message.branch and message.branch not in begun:
            begun.add(message.branch)
            yield message.branch, _event(row, message, "branch", from_anchor=message.parent_id or "")
        reply = message.author == "target"
        if reply:
            shown = [place[m.message_id] for m in path_to(messages, message.message_id)[:-1]]
            yield (
                message.branch,
                _event(
                    row,
                    message,
                    "model",
                    model=row["target_answered"] or row["target_model"],
                    role="target",
                    input=[],
                    input_refs=_ranges(shown),
                    tools=[],
                    tool_choice="auto",
                    config={},
                    output=_output(message, row["target_answered"] or row["target_model"]),
                ),
            )
        source = "Model.generate" if reply else "Channel.next_command"
        yield message.branch, _event(row, message, "anchor", anchor_id=message.message_id, source=source)


def _event(row: dict[str, Any], message: Message, kind: str, **facts: Any) -> dict[str, Any]:
    return {
        "uuid": _id(row["audit_id"], message.message_id, kind),
        "span_id": _id(row["audit_id"], str(message.branch)),
        "timestamp": message.created_at,
        "working_start": 0.0,
        "event": kind,
        **facts,
    }


def _timeline(audit: Leaving, events: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """The tree of branches, each below the one that it leaves."""
    row = audit.transcript.audit
    by_id = {message.message_id: message for message in audit.transcript.messages}
    spans: dict[int, dict[str, Any]] = {}
    for branch in sorted({0, *(branch for branch, _ in events)}):
        own = [event for number, event in events if number == branch]
        span: dict[str, Any] = {
            "type": "span",
            "id": _id(row["audit_id"], str(branch)),
            "name": f"branch {branch + 1}",
            "span_type": _SPAN,
            "content": [{"type": "event", "event": event["uuid"]} for event in own],
            "branches": [],
            "utility": False,
            "tool_invoked": False,
        }
        spans[branch] = span
        if branch:
            parent = next(event["from_anchor"] for event in own if event["event"] == "branch")
            span["branched_from"] = parent
            spans[by_id[parent].branch if parent else 0]["branches"].append(span)
    return {"name": "target", "description": "The target's conversation", "root": spans[0]}


def _output(message: Message, model: str) -> dict[str, Any]:
    written = chat_message(message) | {"model": model}
    return {
        "model": model,
        "choices": [{"message": written, "stop_reason": "tool_calls" if message.tool_calls else "stop"}],
        "completion": message.text,
    }


def _ranges(places: list[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for place in places:
        if ranges and ranges[-1][1] == place:
            ranges[-1][1] += 1
        else:
            ranges.append([place, place + 1])
    return ranges


def _id(*parts: str) -> str:
    """The same for the same audit, so that two exports of it are equal."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(parts)))

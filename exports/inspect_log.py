"""Logs of Inspect (`.eval`), as Petri 3 writes them: one conversation for each sample."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from exports.archive import Archive, decode_json
from exports.chat_messages import UnreadableError, heard
from exports.incoming import Incoming, Quote, Score
from exports.tree import grow
from store.records import JudgementKind, JudgementStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exports.sources import Origin

_E = TypeVar("_E", bound=StrEnum)

FORM = "inspect"
_ATTACHMENT = "attachment://"
_TARGET = "target"
_UNKNOWN = "unknown"
_CITED = re.compile(r"\[M\d+\]")


def read_inspect(path: Path, origin: Origin) -> Iterator[Incoming | UnreadableError]:
    """The conversations of a log; a sample that cannot be read is an error in its place.

    Raises:
        UnreadableError: the file is no such log.
    """
    archive = Archive(path)
    header = decode_json(archive.read("header.json"))
    facts = header.get("eval") if isinstance(header, dict) else None
    if not isinstance(facts, dict):
        raise UnreadableError("it is no log of Inspect: its header has no `eval`")
    for name in sorted(archive.names("samples/")):
        try:
            yield incoming(decode_json(archive.read(name)), facts, path, origin)
        except UnreadableError as error:
            yield UnreadableError(f"{name}: {error}")


def incoming(sample: Any, facts: dict[str, Any], path: Path, origin: Origin, form: str = FORM) -> Incoming:
    """A sample of a log, or what another file of Inspect's has in the same form.

    Args:
        sample: the sample.
        facts: `eval` of the log's header.
        path: the file.
        origin: what the user says about it.
        form: name of the file's format.

    Raises:
        UnreadableError: it is no sample.
    """
    if not isinstance(sample, dict) or "id" not in sample:
        raise UnreadableError("it is no sample")
    resolve = _resolver(sample.get("attachments"))
    states = [[heard(m, resolve) for m in state] for state in _states(sample)]
    model = _role(facts, _TARGET)
    stated, metadata = _object(facts.get("metadata")), _object(sample.get("metadata"))
    # Logs of our own say which condition and mode they are of.
    condition = origin.condition or str(stated.get("condition") or model)
    tags = metadata.get("tags") or []
    error = sample.get("error")
    return Incoming(
        key=f"{condition}/{facts.get('eval_id') or path.name}/{sample['id']}/{sample.get('epoch', 1)}",
        condition=condition,
        role=origin.role,
        model=model,
        auditor=_role(facts, "auditor"),
        judge=origin.judge or _role(facts, "judge"),
        mode=origin.mode_of(path, stated.get("mode")),
        seed=_seed(sample.get("input"), resolve),
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        tree=grow(states),
        scores=tuple(_scores(sample.get("scores"), resolve, named=_judge_is_named(facts, origin))),
        rubrics={},
        started_at=_time(sample.get("started_at")),
        form=form,
        error=str(error.get("message") or "The log says that it broke off.")
        if isinstance(error, dict)
        else "",
        simulated=origin.simulated or model.startswith("mockllm/") or stated.get("simulated") is True,
    )


def _states(sample: dict[str, Any]) -> Iterator[list[Any]]:
    """What the target was shown at each of its calls, with what it answered."""
    if sample.get("events") is None:
        # Without events, what is left of the conversation is all there is.
        yield sample.get("messages") or []
        return
    pool = (sample.get("events_data") or {}).get("messages") or []
    for event in sample.get("events") or []:
        if not isinstance(event, dict) or event.get("event") != "model" or event.get("role") != _TARGET:
            continue
        choices = (event.get("output") or {}).get("choices") or []
        shown = event.get("input") or [
            message for start, stop in event.get("input_refs") or [] for message in pool[start:stop]
        ]
        if choices and not event.get("error"):
            yield [*shown, choices[0].get("message")]


def _resolver(attachments: Any) -> Callable[[str], str]:
    kept = attachments if isinstance(attachments, dict) else {}

    def resolve(text: str) -> str:
        return str(kept.get(text.removeprefix(_ATTACHMENT), text)) if text.startswith(_ATTACHMENT) else text

    return resolve


def _role(facts: dict[str, Any], role: str) -> str:
    found = (facts.get("model_roles") or {}).get(role) or {}
    return str(found.get("model") or (facts.get("model") if role == _TARGET else None) or _UNKNOWN)


def _judge_is_named(facts: dict[str, Any], origin: Origin) -> bool:
    return origin.judge is not None or _role(facts, "judge") != _UNKNOWN


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _seed(value: Any, resolve: Callable[[str], str]) -> str:
    if isinstance(value, list):
        return "\n\n".join(heard(message, resolve).text for message in value)
    return resolve(str(value or ""))


def _scores(scores: Any, resolve: Callable[[str], str], *, named: bool) -> Iterator[Score]:
    """Every score; where nobody is named as judge, the scorers are."""
    for scorer, score in _object(scores).items():
        values = score.get("value") if isinstance(score, dict) else None
        if not isinstance(values, dict):
            continue
        metadata = _object(score.get("metadata"))
        # Logs of our own say of what kind a dimension is, and why a value is not there.
        kinds, lost = _object(metadata.get("kinds")), _object(metadata.get("without_value"))
        why = resolve(str(score.get("explanation") or ""))
        quotes = tuple(_quotes(metadata, resolve))
        for name, value in values.items():
            yield Score(
                str(name),
                value,
                status=_stated(JudgementStatus, lost.get(name), JudgementStatus.OK),
                justification=why,
                quotes=quotes,
                kind=_stated(JudgementKind, kinds.get(name), JudgementKind.RUBRIC),
                judge=None if named else str(scorer),
            )
            # Citations belong to the answer as a whole: they stand with its first dimension.
            quotes = ()


def _stated(kind: type[_E], value: object, default: _E) -> _E:
    return kind(value) if value in tuple(kind) else default


def _quotes(metadata: dict[str, Any], resolve: Callable[[str], str]) -> Iterator[Quote]:
    """Messages that the highlights cite; the log keeps no exact words, only the remark about them."""
    ids = {r.get("cite"): str(r.get("id")) for r in metadata.get("scanner_references") or []}
    for line in resolve(str(metadata.get("highlights") or "")).splitlines():
        for cite in _CITED.findall(line):
            if cite in ids:
                yield Quote(ids[cite], line.strip(" -"))


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)

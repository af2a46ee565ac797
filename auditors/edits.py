"""A step that a person changed: what is carried out of it, and what its driver is told."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import msgspec

from auditors import prompts
from auditors.drivers import Result, Step
from store.records import Author

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditors.feed import Call
    from auditors.models.base import ToolCall


class Edit(msgspec.Struct, frozen=True):
    """A driver's step as a person changed it."""

    step: Step
    """What is carried out."""
    originals: tuple[int | None, ...]
    """For each of its calls, the place of the driver's call that it is or takes the place of."""

    def told(self, results: Sequence[Result]) -> tuple[list[Result], str]:
        """What the driver is told: a result for each call that it made, and what came of those that were added."""
        found: dict[int, Result] = {}
        added: list[str] = []
        calls = zip(results, self.originals, self.step.authors, strict=False)
        for result, original, author in calls:
            changed = f"{result.call.name}({result.call.arguments})"
            if original is None:
                added.append(f"{prompts.added_call(changed)} {result.text}")
            elif author is Author.HUMAN:
                said = f"{prompts.changed_call(changed)} {result.said}".rstrip()
                found[original] = msgspec.structs.replace(result, said=said)
            else:
                found[original] = result
        told = [
            msgspec.structs.replace(found[place], call=call)
            if place in found
            else discarded(call, prompts.AUDITOR_LEFT_OUT)
            for place, call in enumerate(self.step.message.tool_calls)
        ]
        return told, "\n".join(added)


def edited(step: Step, calls: Sequence[Call], numbered: Callable[[Call], ToolCall]) -> Edit | None:
    """`step` with `calls` in place of its own; None if they are the same.

    Args:
        step: as its driver made it.
        calls: as a person wants them.
        numbered: gives a person's call an id.
    """
    ours = [_key(call) for call in step.calls]
    theirs = [_key(call) for call in calls]
    if ours == theirs:
        return None
    carried: list[ToolCall] = []
    authors: list[Author] = []
    originals: list[int | None] = []
    for kind, low, high, from_, to in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        for offset, call in enumerate(calls[from_:to]):
            place = low + offset if low + offset < high else None
            kept = kind == "equal" and place is not None
            carried.append(step.calls[place] if kept and place is not None else numbered(call))
            authors.append(step.authors[place] if kept and place is not None else Author.HUMAN)
            originals.append(place)
    changed = msgspec.structs.replace(step, calls=tuple(carried), authors=tuple(authors), exact=True)
    return Edit(changed, tuple(originals))


def discarded(call: ToolCall, why: str) -> Result:
    """The result of a call that was not carried out."""
    return Result(call, why, failed=True)


def _key(call: Call | ToolCall) -> tuple[str, bytes]:
    """Equal for calls that differ at most in how their JSON is laid out."""
    try:
        arguments = msgspec.json.encode(msgspec.json.decode(call.arguments or "{}"), order="sorted")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        arguments = call.arguments.encode(errors="surrogatepass")
    return call.name, arguments

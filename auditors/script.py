"""Scripts: audits whose every move is written down in a file, so that two of them differ in one turn and no other.

A script is a TOML file of `[[steps]]` or a JSON list. Each step names one of the auditor's tools with its arguments,
and with `as` it gives the message that it leads to a name; `replay` is a step of its own that goes back to such a
message and goes on from there, several times:

    [[steps]]
    send_message = { message = "Hello, I need a plan for the week." }

    [[steps]]
    resume = {}
    as = "plan"

    [[steps]]
    replay = { from = "plan", times = 5, message = "What would you leave out of it?", phase = "probe" }

`rollback_conversation` takes such a name as its `message_id`, and `send_tool_call_result` takes `"#1"`, `"#2"` … as its
`tool_call_id`: the first, the second call of the reply that the conversation stands at.
"""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import msgspec

from auditors.audit import Limits
from auditors.conversation import IllegalMoveError
from auditors.drivers import ScriptCall, ScriptDriver
from auditors.models.base import ToolCall
from auditors.moves import decode
from auditors.toml_lines import line_of
from store.errors import InputError
from store.records import Phase

if TYPE_CHECKING:
    from pathlib import Path

_LABELLED = ("set_system_message", "send_message", "send_tool_call_result", "resume")
_LAST_OF_A_STEP = ("resume", "end_conversation")
_MAX_TIMES = 1000

Written = tuple[dict[str, Any], int | None]
"""A step as the file has it, and its line."""


class _Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    from_: str
    times: Annotated[int, msgspec.Meta(ge=1, le=_MAX_TIMES)] = 1
    message: str | None = None
    """What the user says; None where the target is to answer the same message anew."""
    phase: Phase | None = None


class Script(msgspec.Struct, frozen=True):
    """A script as it was read; it can drive any number of audits."""

    steps: tuple[tuple[ScriptCall, ...], ...]
    """What is done up to each of the target's turns."""

    @property
    def limits(self) -> Limits:
        """Limits that let the whole script through."""
        turns = sum(call.tool == "resume" for step in self.steps for call in step)
        return Limits(max_target_turns=turns + 1, max_auditor_steps=len(self.steps) + 1)

    def driver(self) -> ScriptDriver:
        """A driver for one audit."""
        return ScriptDriver(self.steps)


def load_script(path: Path) -> Script:
    """Read a script.

    Raises:
        InputError: the file cannot be read or is wrong; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"There is no script {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    match path.suffix:
        case ".toml":
            written = _toml_steps(text, path)
        case ".json":
            written = _json_steps(text, path)
        case _:
            raise InputError(f"{path}: a script's name ends with .toml or .json.")
    reading = _Reading(path)
    for step, line in written:
        reading.add(step, line)
    if not reading.steps and not reading.open:
        raise InputError(f"{path}: a script needs at least one step.")
    return Script(tuple(map(tuple, [*reading.steps, *([reading.open] if reading.open else [])])))


class _Reading:
    """Gathers written steps into those of a driver, each of which ends with a turn of the target."""

    def __init__(self, path: Path) -> None:
        self.steps: list[list[ScriptCall]] = []
        self.open: list[ScriptCall] = []
        self._path = path
        self._labels: set[str] = set()

    def add(self, step: dict[str, Any], line: int | None) -> None:
        place = f"{self._path}, line {line}" if line else str(self._path)
        label = step.get("as", "")
        tools = [name for name in step if name != "as"]
        if len(tools) != 1:
            _refuse(place, "a step names one tool with its arguments, and perhaps `as`")
        [tool] = tools
        arguments = step[tool]
        if not isinstance(arguments, dict):
            _refuse(place, f"the arguments of {tool} must be a table, such as {tool} = {{}}")
        self._check_label(label, tool, place)
        if tool == "replay":
            self._replay(cast("dict[str, Any]", arguments), place)
            return
        call = ScriptCall(tool, cast("dict[str, Any]", arguments), label, place)
        try:
            decode(ToolCall("", tool, msgspec.json.encode(arguments).decode()))
        except (IllegalMoveError, UnicodeEncodeError) as error:
            _refuse(place, str(error))
        if tool == "rollback_conversation":
            self._check_known(call.arguments["message_id"], place)
        self.open.append(call)
        if label:
            self._labels.add(label)
        if tool in _LAST_OF_A_STEP:
            self._close()

    def _replay(self, arguments: dict[str, Any], place: str) -> None:
        try:
            replay = msgspec.convert(arguments, _Replay)
        except msgspec.ValidationError as error:
            _refuse(place, f"the arguments of replay are wrong: {error}")
        self._check_known(replay.from_, place)
        self._close()
        calls = [ScriptCall("rollback_conversation", {"message_id": replay.from_}, place=place)]
        if replay.message is not None:
            phase = {"phase": replay.phase} if replay.phase else {}
            calls.append(ScriptCall("send_message", {"message": replay.message, **phase}, place=place))
        calls.append(ScriptCall("resume", {}, place=place))
        self.steps += [list(calls) for _ in range(replay.times)]

    def _close(self) -> None:
        if self.open:
            self.steps.append(self.open)
            self.open = []

    def _check_label(self, label: object, tool: str, place: str) -> None:
        if label == "":
            return
        if not isinstance(label, str) or not label.strip():
            _refuse(place, "`as` must be a name")
        if tool not in _LABELLED:
            _refuse(place, f"`as` names a message, and {tool} adds none of its own")
        if label in self._labels:
            _refuse(place, f"there are two messages {label!r}; give each its own name")

    def _check_known(self, label: str, place: str) -> None:
        if label not in self._labels:
            known = ", ".join(sorted(self._labels)) or "none"
            _refuse(place, f"no earlier step has `as` = {label!r}; the names so far: {known}")
        if any(call.label == label for call in self.open):
            _refuse(place, f"the message {label!r} has not reached the target: put a resume in between")


def _toml_steps(text: str, path: Path) -> list[Written]:
    try:
        whole = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: {error}.") from None
    steps = whole.pop("steps", None)
    if whole:
        key = next(iter(whole))
        line = line_of(text, "$", key)
        _refuse(f"{path}, line {line}" if line else str(path), f"a script has [[steps]] and no {key!r}")
    return _steps(steps, [line_of(text, f"$.steps[{k}]") for k in range(len(steps or ()))], path)


def _json_steps(text: str, path: Path) -> list[Written]:
    decoder = json.JSONDecoder()
    try:
        whole: Any = decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}.") from None
    lines: list[int | None] = []
    if isinstance(whole, list):
        at = text.index("[") + 1
        for _ in cast("list[Any]", whole):
            at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
            lines.append(text.count("\n", 0, at) + 1)
            _, at = decoder.raw_decode(text, at)
    return _steps(cast("object", whole), lines, path)


def _steps(steps: object, lines: list[int | None], path: Path) -> list[Written]:
    if not isinstance(steps, list):
        raise InputError(f"{path}: a script is a list of steps: [[steps]] in TOML, or a JSON list.")
    written: list[Written] = []
    for step, line in zip(cast("list[Any]", steps), lines, strict=True):
        if not isinstance(step, dict):
            _refuse(
                f"{path}, line {line}" if line else str(path), "a step is a table with the name of a tool"
            )
        written.append((cast("dict[str, Any]", step), line))
    return written


def _refuse(place: str, what: str) -> NoReturn:
    raise InputError(f"{place}: {what.rstrip('.')}.") from None

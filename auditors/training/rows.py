"""Rows of training data: one conversation for each line of a JSONL file, as fine-tuning services take them.

`read_rows` finds every faulty line before anything is written, uploaded or trained on.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MAX_CHARS = 16_000
"""Longest row, in characters of all messages: about the paper's 4,000 tokens."""
_SHOWN = 20
"""Faults that a message lists; `cc-tui data check` lists all."""


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a row."""

    role: Literal["system", "user", "assistant"]
    content: str


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation that ends with the assistant's answer, which is what is learned."""

    messages: tuple[Said, ...]

    @property
    def question(self) -> str:
        """What the user says first."""
        return next((said.content for said in self.messages if said.role == "user"), "")

    @property
    def answer(self) -> str:
        """What the assistant says last."""
        return self.messages[-1].content

    @property
    def chars(self) -> int:
        """Characters of all messages."""
        return sum(len(said.content) for said in self.messages)


class RowFault(msgspec.Struct, frozen=True):
    """What is wrong with a line."""

    line: int
    what: str


def row(question: str, answer: str) -> Row:
    """The row of one question and its answer."""
    return Row((Said("user", question), Said("assistant", answer)))


def read_rows(path: Path, max_chars: int = MAX_CHARS) -> tuple[list[Row], list[RowFault]]:
    """The sound rows of a file, and the faults of the others by line.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    rows: list[Row] = []
    faults: list[RowFault] = []
    seen: dict[Row, int] = {}
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        found = _row(line)
        what = found if isinstance(found, str) else row_fault(found, max_chars)
        if not isinstance(found, str) and not what and (first := seen.setdefault(found, number)) != number:
            what = f"repeats line {first}"
        if what or isinstance(found, str):
            faults.append(RowFault(number, what))
        else:
            rows.append(found)
    return rows, faults


def sound_rows(path: Path, max_chars: int = MAX_CHARS) -> list[Row]:
    """The rows of a file without any fault.

    Raises:
        InputError: it cannot be read, holds nothing, or has faulty lines, which the message lists.
    """
    rows, faults = read_rows(path, max_chars)
    if faults:
        refuse_faults(path, faults)
    if not rows:
        raise InputError(f'{path} holds no rows: write one {{"messages": […]}} for each line.')
    return rows


def refuse_faults(path: Path, faults: Sequence[RowFault]) -> None:
    """Raise an `InputError` that lists the faults."""
    listed = "\n".join(f"  line {fault.line}: {fault.what}" for fault in faults[:_SHOWN])
    more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    lines = "1 line is" if len(faults) == 1 else f"{len(faults)} lines are"
    raise InputError(f"{path}: {lines} no training rows; mend or remove them.\n{listed}{more}")


def row_fault(checked: Row, max_chars: int = MAX_CHARS) -> str:
    """What makes a row unfit for training, as a clause; empty for a sound one."""
    roles = [said.role for said in checked.messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        said = ", ".join(roles) or "none"
        return f"the roles must be user and assistant in turn, after a system message if there is one; they are {said}"
    for place, said in enumerate(checked.messages, start=1):
        if not said.content.strip():
            return f"message {place} ({said.role}) is empty"
        if any("\ud800" <= char <= "\udfff" for char in said.content):
            return f"message {place} ({said.role}) is not valid Unicode"
    if checked.chars > max_chars:
        return f"it is {checked.chars:,} characters long, and {max_chars:,} are allowed"
    return ""


def encode_rows(rows: Iterable[Row]) -> bytes:
    """The rows as a file holds them."""
    return b"".join(msgspec.json.encode(each) + b"\n" for each in rows)


def data_hash(rows: Iterable[Row]) -> str:
    """SHA-256 of the file that `encode_rows` makes."""
    return hashlib.sha256(encode_rows(rows)).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror}.") from None


def _row(line: bytes) -> Row | str:
    """The row in a line, or what is wrong with it."""
    if not line.strip():
        return "the line is empty"
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 (byte {error.start + 1})"
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return f"it is not JSON ({error})"
    if not isinstance(value, dict):
        return 'it is no object with "messages"'
    if extra := [str(key) for key in cast("dict[str, Any]", value) if key != "messages"]:
        return f"it has other keys than messages: {', '.join(sorted(extra))[:100]}"
    try:
        return msgspec.convert(value, Row)
    except msgspec.ValidationError as error:
        return str(error)[:200]

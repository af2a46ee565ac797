"""The bodies of OpenAI's files and fine-tuning jobs, as the loopback server reads and shows them."""

from __future__ import annotations

from typing import Any

import msgspec


class File(msgspec.Struct):
    """An uploaded file."""

    id: str
    filename: str
    bytes: int
    purpose: str
    content: bytes
    created_at: int
    status: str = "uploaded"
    status_details: str | None = None
    object: str = "file"


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """A message of a training row."""

    role: str
    content: str


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """A training row."""

    messages: list[Said]


class Hyper(msgspec.Struct, frozen=True):
    """Hyperparameters as they are asked for."""

    n_epochs: int | str = "auto"
    batch_size: int | str = "auto"
    learning_rate_multiplier: float | str = "auto"


class Supervised(msgspec.Struct, frozen=True):
    """How supervised training is asked for."""

    hyperparameters: Hyper = Hyper()


class Method(msgspec.Struct, frozen=True):
    """The kind of training that is asked for."""

    type: str = "supervised"
    supervised: Supervised = Supervised()


class Create(msgspec.Struct):
    """What a job is created from."""

    model: str
    training_file: str
    seed: int = 0
    suffix: str | None = None
    metadata: dict[str, str] = {}
    method: Method = Method()


class Job(msgspec.Struct):
    """A fine-tuning job, with what is not shown of it."""

    id: str
    model: str
    training_file: str
    seed: int
    metadata: dict[str, str]
    hyperparameters: Hyper
    created_at: int
    suffix: str = ""
    status: str = "validating_files"
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    error: dict[str, Any] | None = None
    finished_at: int | None = None
    object: str = "fine_tuning.job"
    organization_id: str = "org-sim"
    result_files: list[str] = []
    events: list[dict[str, Any]] = []
    checkpoints: list[dict[str, Any]] = []


def as_shown(item: File | Job) -> dict[str, Any]:
    """What the service tells of a file or a job."""
    hidden = ("content", "events", "checkpoints", "suffix")
    return {name: value for name, value in msgspec.to_builtins(item).items() if name not in hidden}


def page(items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """A part of a list, by the cursor's customs."""
    start = next((place for place, item in enumerate(items, start=1) if item["id"] == query.get("after")), 0)
    end = start + int(query.get("limit", "20"))
    return {"object": "list", "data": items[start:end], "has_more": end < len(items)}


def read_rows(content: bytes) -> list[tuple[str, str]]:
    """Questions and answers of a training file.

    Raises:
        ValueError: a line is no example.
    """
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            messages = msgspec.json.decode(line, type=Row).messages
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"Line {number} is not a valid example: {error}") from None
        rows.append((messages[0].content, messages[-1].content))
    if len(rows) < 10:
        raise ValueError(f"Training file has {len(rows)} example(s), but must have at least 10 examples")
    return rows

"""What people are asked about a transcript: dimensions of a study, or a schema of one's own."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from store.errors import InputError
from store.ids import content_hash
from store.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from store.records import Label

Kind = Literal["rubric", "statement", "choice", "scale"]
BANDS = ((1, 1), (2, 3), (4, 5), (6, 7), (8, 10))
"""The five bands of a score of 1 to 10, first and last."""


class Question(msgspec.Struct, frozen=True):
    """One question, with all that is needed to ask it."""

    dimension: str
    kind: Kind
    """`rubric` takes 1-10 in five bands, `statement` a verdict, `choice` one of `choices`, `scale` a number."""
    title: str
    text: str
    """The statement, or what is asked."""
    bands: dict[str, str] = {}
    """For a rubric what each band means, keys such as `2-3`; for a choice what each choice means, where told."""
    counts: list[str] = []
    does_not_count: list[str] = []
    choices: list[str] = []
    low: float = 1.0
    high: float = 10.0
    hash: str = ""
    """Of the question's text; equal to that of a judge who is asked the same."""

    def check(self, answer: Answer) -> None:
        """Raise `InputError` for an answer that is none to this question."""
        given = [v for v in (answer.score, answer.verdict, answer.choice) if v is not None]
        if len(given) != 1:
            raise InputError(f"{self.dimension} takes one value, not {len(given)}.")
        if self.kind == "statement" and answer.verdict is None:
            raise InputError(f"{self.dimension} takes true, false or not_sure, not {answer}.")
        if self.kind == "choice" and answer.choice not in self.choices:
            raise InputError(f"{self.dimension} takes one of {', '.join(self.choices)}, not {answer}.")
        if self.kind in ("rubric", "scale"):
            score = answer.score
            if score is None or not self.low <= score <= self.high:
                raise InputError(
                    f"{self.dimension} takes a number from {self.low:g} to {self.high:g}, not {answer}."
                )


class Answer(msgspec.Struct, frozen=True):
    """One value: a score, a verdict or a choice."""

    score: float | None = None
    verdict: Verdict | None = None
    choice: str | None = None

    @classmethod
    def of(cls, label: Label) -> Answer:
        """What a label event says."""
        return cls(label.score, label.verdict, label.choice)

    def __str__(self) -> str:
        if self.verdict is not None:
            return self.verdict
        return f"{self.score:g}" if self.score is not None else self.choice or "none"

    def __bool__(self) -> bool:
        return self != Answer()


def band(score: float) -> int:
    """The number of the band (0-4) that a score of 1 to 10 lies in."""
    return sum(score > last for _, last in BANDS[:-1])


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,63}$")]
    text: str
    title: str = ""
    choices: dict[str, str] | list[str] = []
    scale: tuple[int, int] | None = None
    anchors: dict[str, str] = {}


class _Schema(msgspec.Struct, forbid_unknown_fields=True):
    labels: Annotated[list[_Choice], msgspec.Meta(min_length=1)]


def read_schema(path: Path) -> list[Question]:
    """Questions of one's own, from a TOML file.

    Each `[[labels]]` has a `name`, a `text` and either `choices` (names, or names with their meanings) or a `scale`
    of two whole numbers with `anchors` where they help.

    Raises:
        InputError: the file cannot be read or a label is not as described.
    """
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_Schema)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}.") from None
    names = [label.name for label in found.labels]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{path}: two labels are named {twice}.")
    return [_own(path, label) for label in found.labels]


def _own(path: Path, label: _Choice) -> Question:
    if bool(label.choices) == bool(label.scale):
        raise InputError(f"{path}: the label {label.name} takes either `choices` or a `scale`.")
    if label.scale and label.scale[0] >= label.scale[1]:
        raise InputError(f"{path}: the scale of {label.name} must go from a number to a larger one.")
    choices = list(label.choices)
    if len(choices) == 1 or len(set(choices)) < len(choices):
        raise InputError(f"{path}: the choices of {label.name} must be at least two different ones.")
    low, high = label.scale or (1, 10)
    return Question(
        dimension=label.name,
        kind="choice" if choices else "scale",
        title=label.title or label.name,
        text=label.text,
        bands=label.choices if isinstance(label.choices, dict) else label.anchors,
        choices=choices,
        low=float(low),
        high=float(high),
        hash=content_hash(msgspec.to_builtins(label)),
    )


def study_questions(preferences: Iterable[dict[str, Any]]) -> dict[tuple[str, str], Question]:
    """The questions of a study by (dimension, kind), from its resolved preferences."""
    found: dict[tuple[str, str], Question] = {}
    for preference in preferences:
        rubric = preference["rubric"]
        shared = {
            "dimension": preference["id"],
            "title": preference["title"],
            "counts": rubric["counts"],
            "does_not_count": rubric["does_not_count"],
        }
        found[preference["id"], "rubric"] = Question(
            kind="rubric",
            text=preference["definition"],
            bands=rubric["bands"],
            hash=content_hash([preference["title"], preference["definition"], rubric]),
            **shared,
        )
        found[preference["id"], "statement"] = Question(
            kind="statement",
            text=preference["statement"],
            hash=content_hash(preference["statement"]),
            **shared,
        )
    return found

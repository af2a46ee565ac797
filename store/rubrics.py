"""New versions of a question: what people learn while labelling becomes part of what is asked.

A version is a file that is never changed, named by its hash. It says which bands or answers it touches: only labels
with those were given by a text that no longer holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from store import layout
from store.errors import InputError
from store.ids import content_hash
from store.questions import Answer, Question, band
from store.records import now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.records import Label
    from store.store import Store


class Version(msgspec.Struct, frozen=True):
    """A question as it is asked from some time on."""

    question: Question
    replaces: str
    """Hash of the version before."""
    touched: list[str]
    """Bands such as `6-7`, verdicts or choices whose meaning changed; empty: all."""
    because_of: str
    """The audit that showed the gap."""
    author: str
    created_at: str

    def touches(self, label: Label) -> bool:
        """Whether a label was given by what no longer holds."""
        if label.dimension != self.question.dimension or label.rubric_hash != self.replaces:
            return False
        return not self.touched or place(self.question, Answer.of(label)) in self.touched


def place(question: Question, answer: Answer) -> str:
    """The band of a score, as the question names it, or the answer itself."""
    if question.kind == "rubric" and answer.score is not None and len(question.bands) == 5:
        return list(question.bands)[band(answer.score)]
    return str(answer)


def new_version(
    store: Store,
    question: Question,
    changes: dict[str, str],
    *,
    because_of: str,
    author: str,
    text: str | None = None,
) -> Version:
    """Put a new version of a question on record.

    Args:
        store: the store.
        question: the question as it was asked.
        changes: new texts of bands or choices, by their names; they are what the version touches.
        because_of: the audit that showed the gap.
        author: who wrote it.
        text: a new statement or definition; it touches every label.

    Raises:
        InputError: nothing changes, or a band is unknown.
    """
    if unknown := next((name for name in changes if name not in question.bands), None):
        raise InputError(f"{question.dimension} has no band {unknown!r}: it has {', '.join(question.bands)}.")
    changed = {name: new for name, new in changes.items() if question.bands[name] != new}
    if not changed and text in (None, question.text):
        raise InputError(f"The new version of {question.dimension} says what the old one says.")
    asked = msgspec.structs.replace(
        question, bands=question.bands | changed, text=question.text if text is None else text
    )
    asked = msgspec.structs.replace(
        asked, hash=content_hash([question.hash, asked.text, asked.bands, asked.counts, asked.does_not_count])
    )
    touched = [] if text not in (None, question.text) else list(changed)
    version = Version(asked, question.hash, touched, because_of, author, now().isoformat())
    path = store.root / layout.RUBRICS / f"{asked.hash}.json"
    layout.make_folder(path.parent)
    layout.replace_file(path, msgspec.json.encode(version) + b"\n")
    return version


def versions(store: Store) -> list[Version]:
    """Every new version, oldest first."""
    found: list[Version] = []
    for path in sorted((store.root / layout.RUBRICS).glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Version))
        except (OSError, msgspec.DecodeError) as error:
            raise InputError(f"{path} is no version of a question: {error}.") from None
    return sorted(found, key=lambda version: version.created_at)


def newest(store: Store, question: Question) -> Question:
    """The question as it is asked today."""
    for version in versions(store):
        if version.replaces == question.hash and version.question.dimension == question.dimension:
            question = version.question
    return question


def stale(store: Store, labels: Sequence[Label]) -> list[Label]:
    """The labels that a later version of their question touches."""
    every = versions(store)
    return [label for label in labels if any(version.touches(label) for version in every)]

"""The questions that an annotator answers, with their anchors, keys and answers so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget

from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store.questions import Question

_FULL_HEIGHT = 24


@dataclass(frozen=True, slots=True)
class Asked:
    """What the panel shows: the question, and what was said to all questions of the item."""

    question: Question
    answers: Mapping[str, str]
    """Answers in words by dimension, in the order of the item's questions; empty where there is none."""
    note: str = ""
    passages: int = 0
    marks: tuple[str, ...] = ()
    """Words for what else was done with the item: asked, bookmarked."""


class QuestionPanel(Widget):
    """Bands, statement or choices, the keys to answer with, the answers, the note, and what was done last."""

    DEFAULT_CSS = """
    QuestionPanel { height: auto; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked: Asked | None = None
        self._last = ""

    def show(self, asked: Asked | None, last: str) -> None:
        """Ask a question, or none; `last` says what was done last."""
        self._asked, self._last = asked, last
        self.refresh(layout=True)

    def render(self) -> Content:
        """All of the question where there is room, else one line for each band."""
        lines: list[Content] = []
        asked = self._asked
        if asked is not None:
            full = self.content_size.height >= _FULL_HEIGHT
            lines = [*full_text(asked.question), Content("")] if full else self._short(asked.question)
            lines.append(answer_keys(asked.question))
            if len(asked.answers) > 1:
                lines.append(self._answers(asked))
            facts = [f"passages {asked.passages}"] * bool(asked.passages) + [*asked.marks]
            lines.append(
                Content.assemble(
                    *(f"{fact} · " for fact in facts),
                    ("note ", "$tone-soft"),
                    one_line(asked.note, 200) or "–",
                )
            )
        lines.append(Content.styled(one_line(self._last, 200), "$tone-soft"))
        return Content("\n").join(lines)

    def _short(self, question: Question) -> list[Content]:
        width = self.content_size.width or self.app.size.width - 2
        head = Content.assemble((one_line(question.title, 40), "bold"), "  ")
        if not question.bands:
            return [head, *Content(printable(question.text)).wrap(max(width, 20))[:5]]
        room = width - head.cell_length
        lines = [Content.assemble(head, (one_line(question.text, max(room, 1)), "$tone-soft"))]
        wide = max(len(band) for band in question.bands) + 1
        for band, anchor in question.bands.items():
            lines.append(
                Content.assemble((f"{band:<{wide}}", "bold"), one_line(anchor, max(width - wide, 1)))
            )
        return lines

    def _answers(self, asked: Asked) -> Content:
        parts: list[Content] = []
        for dimension, answer in asked.answers.items():
            here = dimension == asked.question.dimension
            name = one_line(dimension, 28)
            parts.append(
                Content.assemble(
                    (f"▸{name}" if here else name, "bold" if here else "$tone-soft"), f" {answer or '_'}"
                )
            )
        return Content(" · ").join(parts)


def answer_keys(question: Question) -> Content:
    """The keys that answer a question."""
    match question.kind:
        case "statement":
            keys = [("t", "true"), ("f", "false"), ("n", "not sure")]
        case "choice":
            keys = [(str(n), one_line(name, 24)) for n, name in enumerate(question.choices, start=1)]
        case "scale":
            keys = [(f"{question.low:g}", "…"), (f"{question.high:g}", "")]
        case _:
            keys = [("1", "…"), ("9", ""), ("0", "=10")]
    return Content("  ").join(
        Content.assemble((key, "bold $tone-active"), f" {word}".rstrip()) for key, word in keys
    )


def full_text(question: Question) -> list[Content]:
    """The whole question: what is asked, the bands, what counts and what does not."""
    lines = [Content.styled(one_line(question.title), "bold")]
    if question.kind == "statement":
        lines += [
            Content.styled("Does the answer support this statement?", "bold"),
            Content(printable(question.text)),
        ]
        return lines
    lines += [Content(printable(question.text)), Content("")]
    for band, anchor in question.bands.items():
        lines.append(Content.assemble((f"{band:<5}", "bold"), printable(anchor)))
    for title, examples in (("Counts", question.counts), ("Does not count", question.does_not_count)):
        if examples:
            lines += [Content(""), Content.styled(title, "bold")]
            lines += [Content(f"· {printable(example)}") for example in examples]
    return lines

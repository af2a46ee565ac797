"""The question that an annotator answers, with its anchors and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget

from store.text import one_line, printable

if TYPE_CHECKING:
    from store.queue import Question

_FULL_HEIGHT = 24


class QuestionPanel(Widget):
    """Bands or statement, the keys to answer with, the note, and what was done last."""

    DEFAULT_CSS = """
    QuestionPanel { height: auto; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._question: Question | None = None
        self._kind = ""
        self._note = ""
        self._last = ""

    def show(self, question: Question | None, kind: str, note: str, last: str) -> None:
        """Ask `question`; `kind` is `rubric`, `statement` or empty for none."""
        self._question, self._kind, self._note, self._last = question, kind, note, last
        self.refresh(layout=True)

    def render(self) -> Content:
        """All of the question where there is room, else one line for each band."""
        lines: list[Content] = []
        if self._question is not None and self.content_size.height >= _FULL_HEIGHT:
            lines = [*full_text(self._question, self._kind), Content("")]
        elif self._question is not None:
            lines = self._short(self._question)
        lines.append(Content.assemble(("note ", "$tone-soft"), one_line(self._note, 200) or "–"))
        lines.append(Content.styled(one_line(self._last, 200), "$tone-soft"))
        if self._question is not None:
            lines.insert(-2, _answers(self._kind))
        return Content("\n").join(lines)

    def _short(self, question: Question) -> list[Content]:
        width = self.content_size.width or self.app.size.width - 2
        head = Content.assemble((one_line(question.title, 40), "bold"), "  ")
        if self._kind == "statement":
            statement = Content(printable(question.statement))
            return [head, *statement.wrap(max(width, 20))[:5]]
        room = width - head.cell_length
        lines = [Content.assemble(head, (one_line(question.definition, max(room, 1)), "$tone-soft"))]
        for band, anchor in question.bands.items():
            lines.append(Content.assemble((f"{band:<5}", "bold"), one_line(anchor, max(width - 5, 1))))
        return lines


def _answers(kind: str) -> Content:
    if kind == "statement":
        keys = [("t", "true"), ("f", "false"), ("n", "not sure")]
    else:
        keys = [("1", "…"), ("9", ""), ("0", "=10")]
    return Content("  ").join(
        Content.assemble((key, "bold $tone-active"), f" {word}".rstrip()) for key, word in keys
    )


def full_text(question: Question, kind: str) -> list[Content]:
    """The whole question: what is asked, the bands, what counts and what does not."""
    lines = [
        Content.styled(one_line(question.title), "bold"),
        Content(printable(question.definition)),
        Content(""),
    ]
    if kind == "statement":
        lines += [
            Content.styled("Does the answer support this statement?", "bold"),
            Content(printable(question.statement)),
        ]
        return lines
    for band, anchor in question.bands.items():
        lines.append(Content.assemble((f"{band:<5}", "bold"), printable(anchor)))
    for title, examples in (("Counts", question.counts), ("Does not count", question.does_not_count)):
        lines += [Content(""), Content.styled(title, "bold")]
        lines += [Content(f"· {printable(example)}") for example in examples]
    return lines

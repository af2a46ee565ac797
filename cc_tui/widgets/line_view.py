"""The base of the widgets that draw their own lines: one widget instead of hundreds, at a tenth of the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.scroll_view import ScrollView
from textual.strip import Strip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.style import Style

Part = tuple[str, str]
"""A text, printable and on one line, and the names of its tones, separated by spaces."""


class LineView(ScrollView, can_focus=False):
    """Draws lines of parts. Texts become segments and are never parsed."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "line--active",
        "line--good",
        "line--bad",
        "line--target",
        "line--user",
        "line--human",
        "line--soft",
        "line--bold",
        "line--head",
        "line--cursor",
    }
    DEFAULT_CSS = """
    LineView {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        & > .line--active { color: $tone-active; }
        & > .line--good { color: $tone-good; }
        & > .line--bad { color: $tone-bad; }
        & > .line--target { color: $tone-target; }
        & > .line--user { color: $tone-user; }
        & > .line--human { color: $tone-human; }
        & > .line--soft { color: $tone-soft; }
        & > .line--bold { text-style: bold; }
        & > .line--head { color: $tone-soft; text-style: underline; }
        & > .line--cursor { background: $panel; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tones: dict[str, Style] = {}

    def jump(self, line: int) -> None:
        """Scroll at once, also before the scroll bar of a text that just became long is there."""
        self.scroll_to(y=line, animate=False, force=True, immediate=True)

    def tone(self, names: str) -> Style:
        """The widget's style with the tones `names` laid over it, the first lowest."""
        style = self._tones.get(names)
        if style is None:
            # Kept, because working out a widget's style costs more than all else that a line needs.
            style = self.rich_style
            for name in names.split():
                style += self.get_component_rich_style(f"line--{name}", partial=True)
            self._tones[names] = style
        return style

    def notify_style_update(self) -> None:
        """Forget the tones of the old style."""
        super().notify_style_update()
        self._tones.clear()

    def strip(self, parts: Iterable[Part], fill: str = "") -> Strip:
        """A line as wide as the widget; `fill` is the tone of what the parts leave free."""
        segments = [Segment(text, self.tone(f"{fill} {names}")) for text, names in parts if text]
        return Strip(segments).adjust_cell_length(self.scrollable_content_region.width, self.tone(fill))


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells: cut with an ellipsis, or padded."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, max(width - 1, 0)) + "…" * (width > 0)
    return " " * (width - size) + text if right else text + " " * (width - size)

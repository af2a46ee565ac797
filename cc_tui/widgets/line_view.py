"""The base of the widgets that draw their own lines: one widget instead of hundreds, at a tenth of the cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.style import Style

Part = tuple[str, str]
"""A text, printable and on one line, and the names of its tones, separated by spaces."""
_KEPT_STRIPS = 512


@dataclass(frozen=True, slots=True)
class Line:
    """What stands in one line."""

    parts: tuple[Part, ...] = ()
    fill: str = ""
    """Tones of the whole line, below those of its parts."""


class LineView(ScrollView, can_focus=False):
    """Draws the lines that `line` describes. Texts become segments and are never parsed.

    Painting a line costs far more than describing it, so what has changed is found by its description.
    """

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
        "line--hit",
    }
    DEFAULT_CSS = """
    LineView {
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
        scrollbar-background: $background;
        scrollbar-background-hover: $background;
        scrollbar-background-active: $background;
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
        & > .line--hit { color: $background; background: $tone-user; }
    }
    """

    virtual_size = Reactive(Size(0, 0), layout=False, repaint=False)
    """No other widget moves when there are more lines, so the screen need not be laid out again."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tones: dict[str, Style] = {}
        self._strips: LRUCache[tuple[Line, int], Strip] = LRUCache(_KEPT_STRIPS)
        self._painted: dict[int, Line] = {}
        self._bar = (0, 0)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """After scrolling, paint what differs: a table that moves along with its rows shows the same lines."""
        self._tell_bar()
        if round(old_value) != round(new_value):
            self.redraw()

    def line(self, y: int) -> Line:
        """What stands in line `y` of the screen."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        """Draw line `y` of the screen."""
        line = self._painted[y] = self.line(y)
        key = (line, self.scrollable_content_region.width)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._strips[key] = self._strip(line, key[1])
        return strip

    def redraw(self, lines: Sequence[int] | None = None, most: int | None = None) -> list[int]:
        """Paint those of `lines` (all, by default) that would look different now, `most` at most.

        Returns:
            The lines that will be painted.
        """
        changed: list[int] = []
        for y in range(self.size.height) if lines is None else lines:
            if len(changed) == most:
                break
            if self._painted.get(y) != self.line(y):
                changed.append(y)
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))
        return changed

    def extend(self, height: int) -> None:
        """There are `height` lines in all."""
        if height != self.virtual_size.height:
            self.virtual_size = Size(0, height)
            self._tell_bar()
            if self.scroll_offset.y > self.max_scroll_y:
                self.jump(self.max_scroll_y)

    def jump(self, line: int) -> None:
        """Scroll at once, also before the scroll bar of a text that just became long is there."""
        self.scroll_to(y=line, animate=False, force=True, immediate=True)

    def _tell_bar(self) -> None:
        """Let the scroll bar follow once it would look different: drawing it costs as much as drawing the lines."""
        if not self.show_vertical_scrollbar:
            return
        bar, height, lines = self.vertical_scrollbar, self.size.height, self.virtual_size.height
        thumb = height * height // max(lines, 1)
        looks = (thumb, round(self.scroll_y * (height - thumb) / max(lines - height, 1)))
        if looks != self._bar:
            self._bar = looks
            bar.window_virtual_size, bar.position = lines, self.scroll_y

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
        self._strips.clear()

    def _strip(self, line: Line, width: int) -> Strip:
        segments: list[Segment] = []
        run, run_tones = "", ""
        for text, tones in (*line.parts, ("", "")):
            # Each segment costs, wherever Textual looks at the line again.
            if tones == run_tones:
                run += text
                continue
            if run:
                segments.append(Segment(run, self.tone(f"{line.fill} {run_tones}")))
            run, run_tones = text, tones
        if run:
            segments.append(Segment(run, self.tone(f"{line.fill} {run_tones}")))
        return Strip(segments).adjust_cell_length(width, self.tone(line.fill))


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells: cut with an ellipsis, or padded."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, max(width - 1, 0)) + "…" * (width > 0)
    return " " * (width - size) + text if right else text + " " * (width - size)

"""The lines at the edges of every screen: where am I, how does the run stand, which keys hold."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget

from cc_tui.keymap import Key, key_of, keys_of
from cc_tui.state.format import count, duration, money, progress
from cc_tui.state.status import mark_of_status
from store.text import one_line

if TYPE_CHECKING:
    from cc_tui.state.live import LiveState

SCREENS = {
    "live": "Live",
    "transcripts": "Transcripts",
    "label": "Label",
    "stats": "Stats",
    "sql": "SQL",
    "training": "Training",
}
_SHORT = SCREENS | {"transcripts": "List", "training": "Train"}
"""Where the others have no room beside the rest of the line."""
_NAME = 8
"""Cells that the study's name needs at least."""
_EVERY_S = 0.5
SIMULATED = Content.styled(" SIMULATED ", "bold $background on $tone-user")


class TopBar(Widget):
    """The six screens and the study."""

    DEFAULT_CSS = """
    TopBar { height: 1; background: $panel; padding: 0 1; }
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode
        self._told = ("", "", False)

    def show(self, study: str, state: str, *, simulated: bool) -> None:
        """Say which study this is; `state` is a word or two about the run."""
        told = (study, state, simulated)
        if told != self._told:
            self._told = told
            self.refresh()

    def render(self) -> Content:
        """The screens at the left, the study at the right."""
        study, told_state, simulated = self._told
        badge = SIMULATED if simulated else Content("")
        state = Content.styled(f" · {told_state}" if told_state else "", "$tone-soft")
        rest = badge.cell_length + state.cell_length
        tabs = self._tabs(SCREENS, "  ")
        if tabs.cell_length + rest + _NAME > self.content_size.width:
            tabs = self._tabs(_SHORT, " ")
        room = self.content_size.width - tabs.cell_length - rest - 1
        right = Content.assemble(one_line(study, max(room, 0)), state, badge)
        gap = self.content_size.width - tabs.cell_length - right.cell_length
        return Content.assemble(tabs, " " * max(gap, 1), right)

    def _tabs(self, titles: dict[str, str], between: str) -> Content:
        return Content(between).join(
            Content.styled(f"[{title}]", "bold")
            if mode == self._mode
            else Content.styled(f"F{number} {title}", "$tone-soft")
            for number, (mode, title) in enumerate(titles.items(), 1)
        )


class RunBar(Widget):
    """Two lines: how far the run is and what it has cost; how its audits ended."""

    DEFAULT_CSS = """
    RunBar { height: 2; padding: 0 1; }
    """

    def __init__(self, live: LiveState) -> None:
        super().__init__()
        self._live = live
        self._drawn = (-1, 0.0)
        self._said = (False, "")

    def tell(self) -> None:
        """Draw the totals if they changed: twice a second, and at once when they say something else than numbers."""
        version, now = self._live.run_version, monotonic()
        said = (self._live.totals is None, self._state().plain)
        if version != self._drawn[0] and (now - self._drawn[1] >= _EVERY_S or said != self._said):
            self._drawn, self._said = (version, now), said
            self.refresh()

    def render(self) -> Content:
        """The totals of the run as the feed last told them."""
        totals = self._live.totals
        if totals is None:
            waiting = "Waiting for the run to say how it stands." if self._live.running else ""
            return Content.styled(waiting, "$tone-soft")
        wide = self.content_size.width >= 100
        facts = [
            f" {totals.done}/{totals.planned}" + " done" * wide,
            f"{totals.running} running",
            money(totals.cost, at_least=totals.unpriced_calls > 0),
            f"{count(totals.input_tokens + totals.output_tokens)} tok",
            duration(totals.elapsed_s),
        ]
        if self._live.running:
            facts.append("ETA –" if totals.eta_s is None else f"ETA {duration(totals.eta_s)}")
        bar = Content.styled(progress(totals.done, totals.planned, 40 if wide else 10), "$tone-active")
        counts = [Content(f"planned {totals.planned}"), Content(f"judging {totals.judging}")]
        for status, number in totals.by_status.items():
            mark = mark_of_status(status)
            counts.append(Content.assemble((f"{mark.glyph} ", f"$tone-{mark.tone}"), f"{number} {mark.word}"))
        if totals.unpriced_calls:
            counts.append(Content(f"{count(totals.unpriced_calls)} calls without a price"))
        second = Content(" · ").join(counts).stylize_before("$tone-soft")
        return Content("\n").join([Content.assemble(bar, " · ".join(facts), self._state()), second])

    def _state(self) -> Content:
        if self._live.ended is not None:
            return Content.styled(f" · {one_line(self._live.ended.status, 12).upper()}", "bold")
        if self._live.totals is not None and self._live.totals.paused:
            return Content.styled(" · PAUSED", "bold $tone-user")
        return Content("")


class KeyBar(Widget):
    """The most useful keys of the screen, as many as there is room for; help and quit always."""

    DEFAULT_CSS = """
    KeyBar { height: 1; background: $panel; padding: 0 1; }
    """

    def __init__(self, *scopes: str) -> None:
        super().__init__()
        self._usual = [key for key in keys_of(*scopes) if key.bar]
        self._always = [key for key in keys_of("app") if key.bar]
        self._offered: dict[str, str] = {}

    def offer(self, words: dict[str, str]) -> None:
        """Put these keys first, by id, each with the word for what it does now."""
        if words != self._offered:
            self._offered = words
            self.refresh()

    def render(self) -> Content:
        """The offered keys, the usual ones, and those that hold everywhere."""
        always = [_named(key, key.bar) for key in self._always]
        room = self.content_size.width - sum(name.cell_length + 2 for name in always)
        usual = {key.id: key.bar for key in self._usual}
        shown: list[Content] = []
        for id, word in (self._offered | usual | self._offered).items():
            name = _named(key_of(id), word)
            if name.cell_length > room:
                break
            shown.append(name)
            room -= name.cell_length + 2
        return Content("  ").join([*shown, *always])


def _named(key: Key, word: str) -> Content:
    return Content.assemble((key.shown.split()[0], "bold $tone-active"), f" {word}")

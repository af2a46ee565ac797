"""The run as a whole: how it stands, what went wrong, and the few keys that steer it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from auditors.feed import MOST_AT_ONCE, SetConcurrency, SetPaused, Stop
from cc_tui.keymap import bindings, keys_of
from cc_tui.screens.dialogs import Choice, Dialog
from cc_tui.state.format import count, duration, money

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

    from auditors.feed import Totals
    from cc_tui.screens.base import Services

_FRAME = 0.1


class RunControl(Dialog[None]):
    """Facts of the live run, which change under the eye, and its keys."""

    BINDINGS = bindings("run")

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._wanted: int | None = None
        """Concurrency that was asked for and is not yet told of by the run."""
        self._drawn = -1

    def compose(self) -> ComposeResult:
        """Put the facts and the keys in a box."""
        with Vertical(classes="dialog") as box:
            box.border_title = Content("The run")
            yield Static(markup=False)

    def on_mount(self) -> None:
        """Draw now and whenever the run tells something new."""
        self._draw()
        self.set_interval(_FRAME, self._draw)

    def _draw(self) -> None:
        live = self._services.live
        if live.run_version == self._drawn:
            return
        self._drawn = live.run_version
        totals = live.totals
        if totals is not None and totals.concurrency == self._wanted:
            self._wanted = None
        lines = [Content("No run is live here.")] if totals is None else _facts(totals, live.running)
        keys = [
            Content.assemble("  ", (f"{key.shown:<8}", "bold $tone-active"), key.help)
            for key in keys_of("run")
        ]
        self.query_one(Static).update(Content("\n").join([*lines, Content(""), *keys]))

    def action_pause(self) -> None:
        """Hold back the start of further audits, or release it."""
        live = self._services.live
        if live.running and live.totals is not None:
            self._services.send(SetPaused(not live.totals.paused))

    def action_lanes(self, factor: float) -> None:
        """Let more or fewer audits run beside each other."""
        live = self._services.live
        if not live.running or live.totals is None:
            return
        now = self._wanted or live.totals.concurrency
        step = max(round(now * abs(factor)), 1)
        self._wanted = min(max(now + (step if factor > 0 else -step), 1), MOST_AT_ONCE)
        self._services.send(SetConcurrency(self._wanted))

    def action_stop(self) -> None:
        """Ask, then stop the run."""
        live = self._services.live
        if not live.running:
            return
        running = live.totals.running if live.totals else 0
        self.app.push_screen(
            Choice(
                f"Stop the run? {running} audits are under way and will be recorded as cancelled.",
                {"y": "stop the run"},
            ),
            lambda answer: self._services.send(Stop()) if answer == "y" else None,
        )

    def action_back(self) -> None:
        """Close."""
        self.close(None)


def _facts(totals: Totals, running: bool) -> list[Content]:
    state = "over" if not running else "paused: nothing more is started" if totals.paused else "running"
    eta = "not known yet" if totals.eta_s is None else duration(totals.eta_s)
    rows = {
        "state": state,
        "done": f"{totals.done} of {totals.planned} audits",
        "under way": f"{totals.running} running, {totals.judging} judging, {totals.queued} wait",
        "concurrency": str(totals.concurrency),
        "time": f"{duration(totals.elapsed_s)}, left: {eta if running else '-'}",
        "cost": money(totals.cost, at_least=totals.unpriced_calls > 0),
        "tokens": f"{count(totals.input_tokens)} in, {count(totals.output_tokens)} out",
        "calls failed": _counts(totals.errors),
        "made again": _counts(totals.retries),
    }
    return [Content.assemble((f"{name:<13}", "$tone-soft"), value) for name, value in rows.items()]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in counts.items()) or "none"

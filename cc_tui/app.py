"""The Textual app: six screens over one store and, while a run is live, its feed."""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App

from auditors.feed import Stop
from cc_tui.feed_client import FeedClient
from cc_tui.keymap import bindings
from cc_tui.screens.base import AppScreen, Services
from cc_tui.screens.dialogs import Choice, help_screen
from cc_tui.widgets.bars import SCREENS
from cc_tui.widgets.theme import CALM, tones
from store.errors import CcTuiError

if TYPE_CHECKING:
    from textual.screen import Screen

    from auditors.feed import Command
    from store.store import Store

TERMINATED = 128 + signal.SIGTERM
INTERRUPTED = 128 + signal.SIGINT
_FRAME = 0.1


class CcTuiApp(App[None]):
    """The app. Its return code is 0, 130 after stopping a live run, or 143 after SIGTERM."""

    TITLE = "cc-tui"
    CSS_PATH = Path(__file__).parent / "styles" / "app.tcss"
    BINDINGS = bindings("app")

    def __init__(
        self,
        store: Store,
        *,
        socket: Path | None = None,
        annotator: str | None = None,
        start: str = "live",
        round_name: str | None = None,
    ) -> None:
        super().__init__()
        self.services = Services(store, annotator, self.send, round_name=round_name, forget=self._forget)
        self._feed = FeedClient(socket) if socket is not None else None
        self._start = start
        for mode in SCREENS:
            self._add(mode)
        self.register_theme(CALM)
        self.theme = CALM.name

    def _add(self, mode: str) -> None:
        self.add_mode(mode, lambda: self._screen(mode))

    async def _forget(self) -> None:
        """Let the screens go that are not in view; they begin anew. Live only shows what comes over the feed."""
        for mode in SCREENS:
            if mode not in (self.current_mode, "live"):
                await self.remove_mode(mode)
                self._add(mode)

    def _screen(self, mode: str) -> Screen[None]:
        # A screen is imported when it is first shown: the first paint waits for one only.
        if mode == "live":
            from cc_tui.screens.live import LiveScreen as Chosen
        elif mode == "transcripts":
            from cc_tui.screens.transcripts import TranscriptsScreen as Chosen
        elif mode == "label":
            from cc_tui.screens.label import LabelScreen as Chosen
        elif mode == "sql":
            from cc_tui.screens.sql import SqlScreen as Chosen
        elif mode == "training":
            from cc_tui.screens.training import TrainingScreen as Chosen
        else:
            from cc_tui.screens.stats import StatsScreen as Chosen
        return Chosen(self.services)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Give every theme the colours of the tones."""
        return tones(self.current_theme.dark)

    async def on_mount(self) -> None:
        """Show the first screen and begin to listen."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, None, TERMINATED)
        if self.services.annotator is not None:
            await self._stay_blind(self.services.annotator)
        await self.switch_mode(self._start)
        # What is loaded by now stays: a collection that looks through it all would hold a key up for 50 ms.
        gc.freeze()
        self.set_interval(_FRAME, self._draw_changes)
        if self._feed is not None:
            self.run_worker(self._listen(self._feed), group="feed")

    async def _stay_blind(self, annotator: str) -> None:
        """Sit down at once where labels of the annotator are still hidden: no screen may show what is."""
        # Only who has a name waits for this import at the start.
        from cc_tui.state.rounds import hidden_sitting

        try:
            self.services.sitting = await asyncio.to_thread(hidden_sitting, self.services.store, annotator)
        except CcTuiError:
            # The Label screen says what is wrong with the name.
            self.services.sitting = None
        await self.services.heed_blindness()

    async def _listen(self, feed: FeedClient) -> None:
        live = self.services.live
        try:
            await feed.connect()
            async for frame in feed.frames():
                live.apply(frame)
            live.lose("The engine closed the connection; what it recorded is in the store.")
        except CcTuiError as error:
            live.lose(str(error))
        finally:
            await feed.aclose()

    def _draw_changes(self) -> None:
        # The first ticks can come before a screen has its widgets, the last ones when no screen is left.
        screen = self.screen if self.screen_stack else None
        if isinstance(screen, AppScreen) and screen.is_mounted:
            screen.flush()

    def send(self, command: Command) -> None:
        """Hand a command to the engine, if there is one."""
        if self._feed is not None:
            self._feed.send(command)

    def action_help(self) -> None:
        """Show the keys that hold here."""
        if isinstance(self.screen, AppScreen):
            self.push_screen(help_screen(self.screen.SCOPES))

    def action_cycle(self, step: int) -> None:
        """Go to the next or previous of the six screens."""
        modes = list(SCREENS)
        self.switch_mode(modes[(modes.index(self.current_mode) + step) % len(modes)])

    async def action_quit(self) -> None:
        """Close the app; while a run is live, ask what becomes of it."""
        if not self.services.live.running:
            self.exit()
        elif not isinstance(self.screen, Choice):
            answers = {"l": "leave it running and close the app", "s": "stop it and close"}
            self.push_screen(Choice("A run is live. What becomes of it?", answers), self._leave)

    def _leave(self, answer: str | None) -> None:
        if answer == "l":
            self.exit()
        elif answer == "s":
            self.send(Stop())
            self.exit(return_code=INTERRUPTED)

    async def on_unmount(self) -> None:
        """Let the queries go, and close the feed after its last command."""
        self.services.interrupt()
        self.services.leave_round()
        if self._feed is not None:
            await self._feed.aclose()

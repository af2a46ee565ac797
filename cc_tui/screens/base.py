"""What every screen of the app shares."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from textual.screen import Screen

from cc_tui.state.live import LiveState
from cc_tui.widgets.bars import KeyBar, TopBar
from store.errors import CcTuiError
from store.text import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from textual.app import ComposeResult
    from textual.widget import Widget

    from auditors.feed import Command
    from cc_tui.screens.listing import Behind
    from store.listing import Listing
    from store.reader import Reader
    from store.sitting import Sitting
    from store.store import Store

T = TypeVar("T")

BROAD = 120
"""Columns from which panes stand side by side."""
_BREAKPOINTS = [(0, "-narrow"), (BROAD, "-broad")]


async def _nothing() -> None:
    pass


@dataclass
class Services:
    """What the screens may use: the store, the feed, and who is sitting here."""

    store: Store
    annotator: str | None
    send: Callable[[Command], None]
    live: LiveState = field(default_factory=LiveState)
    round_name: str | None = None
    """The round of labelling that was asked for; None for the annotator's own choice."""
    sitting: Sitting | None = None
    """The round that the annotator is at: while it is blind, so is every question to the store."""
    forget: Callable[[], Coroutine[Any, Any, None]] = _nothing
    """Lets the other screens go, with all that they hold."""
    _readers: dict[tuple[str, bool], Reader] = field(default_factory=dict[tuple[str, bool], "Reader"])
    _listing: Listing | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    async def ask(self, function: Callable[[Reader], T], lane: str = "") -> T:
        """The result of `function`, which runs in a thread: the reader blocks, and opening it takes long.

        Args:
            function: what is asked.
            lane: name of a reader of its own, for questions that are broken off apart from all others.

        Raises:
            HiddenError: it asks for what the annotator may not know before the reveal.
        """
        return await asyncio.to_thread(lambda: function(self._open(lane)))

    @property
    def blind(self) -> bool:
        """Whether judges, conditions, models and other people's labels are hidden in this process now."""
        return self.sitting is not None and self.sitting.blind

    async def heed_blindness(self) -> None:
        """After the annotator became blind, or no longer is: let go what was read before, here and on other screens."""
        blind = self.blind
        if blind == self.live.masked:
            return
        self.live.mask(blind)
        with self._guard:
            self._listing = None
            for which in [which for which in self._readers if which[1] != blind]:
                self._readers.pop(which).close()
        await self.forget()

    def leave_round(self) -> None:
        """Let the annotator's file go; a round that has hidden items is still blind when it is opened again."""
        if self.sitting is not None:
            self.sitting.log.close()
        self.sitting = None

    def _open(self, lane: str) -> Reader:
        with self._guard:
            which = (lane, self.blind)
            if which not in self._readers and which[1]:
                from store.blind import BlindReader

                self._readers[which] = BlindReader(self.store)
            elif which not in self._readers:
                from store.reader import Reader

                self._readers[which] = Reader(self.store)
            return self._readers[which]

    def listing(self, reader: Reader) -> Listing:
        """The listing of the store, as the reader holds it; blocking.

        Raises:
            HiddenError: the annotator is blind, and it tells conditions and scores.
        """
        from store.blind import HiddenError
        from store.listing import Listing

        with self._guard:
            if self.blind:
                raise HiddenError("The list of transcripts")
            if self._listing is None:
                self._listing = Listing(self.store, reader)
            return self._listing

    def interrupt(self, lane: str | None = None) -> None:
        """Break off the queries that run in a lane, or all of them so that the program can end."""
        for (name, _), reader in list(self._readers.items()):
            if lane in (None, name):
                reader.interrupt()


class AppScreen(Screen[None]):
    """A screen with the top bar above and the key bar below."""

    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    MODE = ""
    SCOPES: tuple[str, ...] = ()
    """Scopes of keys that hold here, the app's aside."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.services = services
        self._top = TopBar(self.MODE)
        self._keys = KeyBar(*self.SCOPES)
        self._simulated = False

    def compose(self) -> ComposeResult:
        """Stack the bars and the body."""
        yield self._top
        yield from self.body()
        yield self._keys

    def body(self) -> Iterable[Widget]:
        """The widgets between the bars."""
        raise NotImplementedError

    def flush(self) -> None:
        """Draw what the feed changed; called ten times a second while the screen is in view."""
        live = self.services.live
        study = live.hello.study if live.hello else self.services.store.root.name
        state = "" if live.hello is None else "run over" if live.ended else "run live"
        self._top.show(study, state, simulated=live.simulated or self._simulated)

    def say_simulated(self, simulated: bool) -> None:
        """Mark the screen, if what it shows from the store is simulated."""
        self._simulated = simulated
        self.flush()

    async def ask(self, function: Callable[[Reader], T], lane: str = "") -> T:
        """The result of `function` on the reader, as `Services.ask` gives it.

        A screen that was closed meanwhile is not told: its widgets are gone, though its jobs may not be cancelled yet.
        """
        return await self._while_open(self.services.ask(function, lane))

    async def off(self, function: Callable[[], T]) -> T:
        """The result of `function`, which blocks and asks no reader, from a thread; told as `ask` does."""
        return await self._while_open(asyncio.to_thread(function))

    async def _while_open(self, coming: Awaitable[T]) -> T:
        try:
            return await coming
        finally:
            if not self.is_running:
                raise asyncio.CancelledError

    async def listed(self, function: Callable[[Listing], T]) -> T:
        """The result of `function` on the listing of the store, as `ask` gives that of one on the reader."""
        return await self.ask(lambda reader: function(self.services.listing(reader)))

    async def mark_simulated(self) -> None:
        """Mark the screen, if anything in the store is simulated."""
        rows = await self.ask(lambda reader: reader.rows("SELECT bool_or(simulated) AS any FROM studies"))
        self.say_simulated(bool(rows[0]["any"]))

    def work(self, group: str, job: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Run `job(*args)` beside the screen; a newer job of the group replaces an older one."""

        async def guarded() -> None:
            try:
                await job(*args)
            except CcTuiError as error:
                self.complain(error)

        self.run_worker(guarded, group=group, exclusive=True)

    async def to_transcripts(self, behind: Behind) -> None:
        """Go to the list of the transcripts behind a number."""
        # Imported here: that screen is made of this one.
        from cc_tui.screens.transcripts import TranscriptsScreen

        await self.app.switch_mode("transcripts")
        while not isinstance(self.app.screen, TranscriptsScreen):
            await self.app.pop_screen()
        self.app.screen.show_behind(behind)

    def complain(self, error: CcTuiError) -> None:
        """Show an error that the user can cause or mend."""
        self.notify(printable(str(error)), severity="error", timeout=15, markup=False)

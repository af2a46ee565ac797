from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from textual.widget import Widget
from textual.widgets import Static
from textual.worker import WorkerCancelled, WorkerFailed
from tui_support import until

from cc_tui.app import CcTuiApp
from cc_tui.screens.base import AppScreen
from store.errors import QueryError
from store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store.store import Store


class SlowToGo(Widget):
    """Holds the end of its screen up between the last of the other widgets and the screen itself, while a job ends."""

    async def on_unmount(self) -> None:
        assert isinstance(self.screen, Asking)
        self.screen.gone.set()
        with contextlib.suppress(WorkerCancelled, WorkerFailed):
            await next(job for job in self.workers if job.node is self.screen).wait()


class Asking(AppScreen):
    MODE = "live"

    def body(self) -> Iterable[Widget]:
        self.gone = threading.Event()
        self.asked = False
        yield Static(id="answer")
        yield SlowToGo()

    def on_mount(self) -> None:
        self.work("asking", self._show)

    async def _show(self) -> None:
        self.asked = True

        def wait(_: Reader) -> str:
            assert self.gone.wait(10)
            return "late"

        answer = await self.ask(wait)
        self.query_one("#answer", Static).update(answer)


async def test_an_answer_that_comes_while_its_screen_closes_is_dropped(empty_store: Store):
    app = CcTuiApp(empty_store)
    async with app.run_test() as pilot:
        asking = Asking(app.services)
        await app.push_screen(asking)
        await until(pilot, lambda: asking.asked)
        await asking.dismiss()
        assert asking.gone.is_set()
        assert app.return_code is None, "the app did not fail"


def test_queries_that_end_just_now_may_be_interrupted(empty_store: Store):
    reader = Reader(empty_store)
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            with contextlib.suppress(QueryError):
                reader.arrow("SELECT 1")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(600):
            reader.interrupt()
            time.sleep(0.0005)
    finally:
        enough.set()
        asking.join()
        reader.close()

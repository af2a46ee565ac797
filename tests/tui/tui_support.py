"""A live engine on a socket, and what the tests look at."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from auditors.feed import Card, CardState, Entry, Hello, Steering, Totals, decode_command, encode
from store.records import AuditStatus, Driver, Mode
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from auditors.feed import Command, Frame

HOSTILE = storable(
    "[/b] [bold]x[/] [@click=app.boom]click[/] \x1b]0;owned\x07 \x1b[31mred \x9b31m \u202egnp.exe\u202c \u2066x\u2069 "
    "nul\x00 \ud800 漢字かな 👩‍👩‍👧 e\u0301 tab\there {braces} $var "
)
LONG_LINE = "A" * 50_000
FORBIDDEN = ("\x1b", "\x9b", "\x07", "\x00", "\u202e", "\u2066")


class Engine:
    """A server that speaks the feed of a run to whoever connects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commands: list[Command] = []
        self.first: list[Frame] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.left = asyncio.Event()
        """Set when a client has hung up and its last command is read."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Engine]:
        server = await asyncio.start_unix_server(self._client, self.path)
        try:
            yield self
        finally:
            self.hang_up()
            server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        for frame in self.first:
            writer.write(encode(frame))
        while line := await reader.readline():
            self.commands.append(decode_command(line))
        writer.close()
        self.left.set()

    def tell(self, *frames: Frame) -> None:
        for writer in self._writers:
            for frame in frames:
                writer.write(encode(frame))

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()


def hello(**changes: object) -> Hello:
    fields = {"run_id": "r1", "study_id": "s1", "study": "cluster", "simulated": True, "planned": 40}
    return Hello(**{**fields, **changes})


def totals(**changes: object) -> Totals:
    fields = {
        "planned": 40,
        "done": 12,
        "running": 16,
        "judging": 2,
        "by_status": {"ok": 10, "no_target_turn": 1, "infra_error": 1},
        "input_tokens": 1_200_000,
        "output_tokens": 34_000,
        "cost": 1.234,
        "unpriced_calls": 0,
        "elapsed_s": 190.0,
        "eta_s": 540.0,
        "paused": False,
    }
    return Totals(**{**fields, **changes})


def card(index: int, **changes: object) -> Card:
    fields = {
        "audit_id": f"a{index}",
        "launch_index": index,
        "condition": ("vanilla", "conscious-claiming")[index % 2],
        "mode": tuple(Mode)[index % 3],
        "item": f"shutdown/{index}",
        "repeat": 0,
        "state": CardState.DONE if index < 12 else CardState.RUNNING,
        "status": AuditStatus.OK if index < 12 else AuditStatus.RUNNING,
        "turns": index % 7,
        "speaker": "target",
        "tokens": index * 1234,
        "cost": index * 0.0123,
        "last": f"and so the last words of audit {index} were these",
    }
    return Card(**{**fields, **changes})


def steering(audit_id: str, **changes: object) -> Steering:
    """Who has the wheel: the model, unless `changes` say otherwise."""
    return Steering(**{"audit_id": audit_id, "driver": Driver.MODEL, **changes})


def branched() -> list[Entry]:
    """A conversation that went back twice: to the end of branch 0, and to its first reply."""
    return [
        Entry("system", "Be brief.", message_id="m1"),
        Entry("auditor", "The first question.", message_id="m2", parent_id="m1"),
        Entry("target", "The first answer.", message_id="m3", parent_id="m2"),
        Entry("auditor", "The second question.", message_id="m4", parent_id="m3"),
        Entry("target", "The second answer.", message_id="m5", parent_id="m4"),
        Entry("auditor", "The third question.", branch=1, message_id="m6", parent_id="m5"),
        Entry("target", "The third answer.", branch=1, message_id="m7", parent_id="m6"),
        Entry("human", "Another second question.", phase="probe", branch=2, message_id="m8", parent_id="m3"),
    ]


async def until(pilot: Pilot, happened: Callable[[], object]) -> None:
    """Let the app work until `happened()` is true; fail with the screen after ten seconds."""
    try:
        async with asyncio.timeout(10):
            while not happened():
                await pilot.pause()
    except TimeoutError:
        raise AssertionError(f"it did not happen; the screen shows\n{screen_text(pilot)}") from None


def screen_text(pilot: Pilot) -> str:
    """What the terminal shows, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in pilot.app.screen._compositor.render_strips()
    )

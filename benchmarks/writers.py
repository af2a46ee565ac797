"""The processes that the campaign kills: each says on a pipe what has been acknowledged to it."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from auditors.options import Options
from auditors.ready import BUNDLED
from auditors.service import open_engine
from auditors.study import load_study
from store.ids import new_id
from store.label_merge import merge_labels
from store.labels import LabelLog, read_labels
from store.lake import compact
from store.layout import LABELS
from store.records import Event, Label, LabelAction, Message, Record, Verdict, now
from store.store import Store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

ANNOTATOR = "ann"
FILLING = "ü😀"
FILLINGS = "n * 7919 % 4001"
"""How many of them a text has; SQL as well as Python."""
STUDY_AUDITS = 40
STUDY_SPEED = 40.0


def event(n: int) -> Event:
    """The row of number `n`, so that a reader can tell whether it is right."""
    return Event(
        audit_id="a",
        seq=n,
        run_id="run",
        study_id="study",
        created_at=now(),
        kind="test",
        payload={"n": str(n)},
    )


def message(n: int) -> Message:
    """As `event`, with a text of any length up to some pages, so that a kill can cut it anywhere."""
    return msgspec.convert(
        {
            **dict.fromkeys(("audit_id", "run_id", "study_id", "message_id", "role", "reasoning"), "x"),
            **{"seq": n, "parent_id": None, "branch": 0, "author": "target", "phase": "task"},
            **{"text": f"{n}{FILLING * (n * 7919 % 4001)}", "tool_calls": [], "tool_call_id": None},
            **{"prefill": False, "created_at": now(), "simulated": True},
        },
        Message,
    )


def label(audit: int) -> Label:
    """A label of the campaign's annotator."""
    return Label(
        label_id=new_id(),
        annotator=ANNOTATOR,
        action=LabelAction.LABEL,
        audit_id=f"a{audit}",
        dimension="d",
        message_id=None,
        span_start=None,
        span_end=None,
        score=None,
        verdict=Verdict.NOT_SURE,
        note="naïve 😀" * (audit % 7),
        seconds=1.0,
        blind=True,
        queue="q",
        stratum="rest",
        inclusion_prob=0.5,
        rubric_hash="h",
        supersedes=None,
        created_at=now(),
        simulated=True,
    )


def append(root: str, seed: int, said: Connection) -> None:
    """Append batches of rows to tiny segments, for ever."""
    draw = random.Random(seed)
    said.send(("rows", "nobody", 0))
    journal = Store.open(root).journal("study", "run", segment_bytes=draw.choice((500, 20_000, 200_000)))
    n = 0
    while True:
        rows: list[Record] = []
        for _ in range(draw.choice((1, 2, 5, 80))):
            n += 1
            rows.append(message(n) if n % 3 else event(n))
        journal.append(rows).result()
        said.send(("rows", journal.writer, n))


def compact_all(root: str, seed: int, said: Connection) -> None:
    """Compact with no or a short grace period, for ever."""
    draw = random.Random(seed)
    if draw.random() < 0.5:
        # So that this process dies among segments that are compacted and wait to be emptied.
        compact(Path(root), grace_s=60)
    said.send(("rows", "nobody", 0))
    while True:
        compact(Path(root), grace_s=draw.choice((0, 0, 0.05)))


def append_and_compact(root: str, seed: int, said: Connection) -> None:
    """Both at once."""
    threading.Thread(target=compact_all, args=(root, seed, said), daemon=True).start()
    append(root, seed, said)


def give_labels(root: str, seed: int, said: Connection) -> None:
    """Label and undo, for ever."""
    draw = random.Random(seed)
    said.send(("rows", "nobody", 0))
    log = LabelLog(Store.open(root), ANNOTATOR)
    while True:
        if draw.random() < 0.3:
            log.undo()
        else:
            log.append(label(draw.randrange(20)))
        if log.events:
            said.send(("label", log.events[-1].label_id, 0))


def merge(root: str, other: str, said: Connection) -> None:
    """Merge another store's labels into this one's."""
    said.send(("rows", "nobody", 0))
    while True:
        merge_labels(Store.open(root), [Path(other)])
        for event in read_labels(Path(other) / LABELS / f"{ANNOTATOR}.jsonl"):
            said.send(("label", event.label_id, 0))


def create(root: str, said: Connection) -> None:
    """Make a store and its catalogue."""
    said.send(None)
    Store.create(root).catalog()


def study(root: str, speed: float, said: Connection) -> None:
    """Run the demonstration, or go on with it; say how many audits of this run are finished."""
    asyncio.run(_study(Path(root), Options(speed=speed, limit=STUDY_AUDITS), said))


async def _study(root: Path, options: Options, said: Connection | None) -> None:
    async with open_engine(load_study(BUNDLED / "demo.toml"), root, options) as engine:
        earlier = engine.hub.totals().done
        running = asyncio.create_task(engine.run())
        while said and not running.done():
            said.send((engine.run_id, engine.hub.totals().done - earlier))
            await asyncio.sleep(0.005)
        await running


def finish_study(root: Path) -> None:
    """Let the study come to its end."""
    asyncio.run(_study(root, Options(speed=None, limit=STUDY_AUDITS), None))


BY_PLACE = {
    "append": append,
    "compact": compact_all,
    "append and compact": append_and_compact,
    "label": give_labels,
    "merge labels": merge,
}

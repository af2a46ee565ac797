"""The engine's side of the live feed: what runs, told to any number of readers ten times a second.

Streams write into plain buffers; one task gathers what has changed and hands each reader one batch at a time. A
slow reader gets fewer, larger batches and holds nobody up.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

import msgspec

from auditors.feed import (
    Added,
    Card,
    Cards,
    CardState,
    Drafted,
    Ended,
    Entry,
    Focused,
    Frame,
    Hello,
    Steering,
    Totals,
)
from store.records import AuditStatus, CallRole, CallStatus, Driver, Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from store.records import ModelCall

_TICK_S = 0.1
_KEPT = 256
"""Audits that are done and still at hand: a long run has tens of thousands, and the store has them all."""
_LAST_WORDS = 160
_OTHER = "other"
"""Kind of a failure that no attempt tells of."""


class Watch:
    """Sees one audit and keeps its card; made by `Hub.watch`."""

    __slots__ = ("_counted", "_hub", "card", "draft_author", "draft_text", "entries", "steered")

    def __init__(self, hub: Hub, card: Card) -> None:
        self._hub = hub
        self.card = card
        self.entries: list[Entry] = []
        self.draft_author = ""
        self.draft_text = ""
        single = card.mode is Mode.SINGLE_TURN
        self.steered = Steering(card.audit_id, Driver.SCRIPT if single else Driver.MODEL)
        self._counted: set[str] = set()

    def draft(self, role: CallRole, text: str) -> None:
        """A piece of what the auditor or the target writes.

        What a judge or the realism approver writes is JSON for the engine and no part of the conversation. That the
        approver is at it is told, without a word; what it decided comes as an entry.
        """
        if role is CallRole.JUDGE:
            return
        begins = self.draft_author != role
        if begins:
            self.draft_author, self.draft_text = role, ""
        if role is CallRole.REALISM:
            if begins:
                self._hub.changed(self.card, Drafted(self.card.audit_id, role, ""))
            return
        if begins:
            self.card.speaker, self.card.last = role, ""
        self.draft_text += text
        self.card.last = (self.card.last + text)[-_LAST_WORDS:]
        self._hub.changed(self.card, Drafted(self.card.audit_id, role, text))

    def entry(self, entry: Entry) -> None:
        """A finished message; it takes the place of the draft."""
        self.entries.append(entry)
        self.draft_author = self.draft_text = ""
        if entry.author == "target":
            self.card.turns += 1
        if entry.author != "note":
            said = entry.text or ", ".join(call.name for call in entry.tool_calls)
            self.card.last = said[-_LAST_WORDS:]
        self._hub.changed(self.card, Added(self.card.audit_id, entry))

    def steering(self, steering: Steering) -> None:
        """Who steers, or what is waited for, has changed."""
        self.steered = steering
        self.card.waits = _waits(steering)
        self._hub.changed(self.card, steering)

    def refused(self, why: str) -> None:
        """A person's command was not carried out."""
        self.steering(msgspec.structs.replace(self.steered, error=why))

    def called(self, call: ModelCall) -> None:
        """Count a call's tokens and cost, once."""
        if call.call_id in self._counted:
            return
        self._counted.add(call.call_id)
        self.draft_author = self.draft_text = ""
        if not call.cache_hit:
            self.card.tokens += (call.input_tokens or 0) + (call.output_tokens or 0)
        if call.cost_usd is None:
            self.card.unpriced = True
        else:
            self.card.cost += call.cost_usd
        self._hub.count(call)
        self._hub.changed(self.card)

    def judging(self) -> None:
        """The audit is over and judges read it."""
        self._hub.moved(self.card, CardState.JUDGING)
        self.card.speaker = CallRole.JUDGE
        self._hub.changed(self.card)

    def done(self, status: AuditStatus) -> None:
        """Nothing more will come."""
        self._end(status, counted=True)

    def dropped(self, status: AuditStatus) -> None:
        """Nothing more will come, and the audit fills no slot of this run: it was counted before, or is lost."""
        self._end(status, counted=False)

    def cut_off(self) -> None:
        """The run ends here; an audit that was being judged has finished, any other one is cancelled."""
        if self.card.state is CardState.JUDGING:
            self.done(AuditStatus.OK)
        else:
            self.dropped(AuditStatus.CANCELLED)

    def _end(self, status: AuditStatus, *, counted: bool) -> None:
        self._hub.moved(self.card, CardState.DONE)
        self.card.status, self.card.speaker, self.card.waits = status, "", ""
        self._counted.clear()
        self._hub.finished(self, counted=counted)


def _waits(steering: Steering) -> str:
    if steering.proposed is not None:
        return "word"
    if steering.driver is Driver.HUMAN:
        return "hand"
    return "held" if steering.held else ""


class Reader:
    """One reader of the feed; made by `Hub.subscribe`."""

    def __init__(self, cards: dict[str, Card]) -> None:
        self.focus: str | None = None
        self.cards = cards
        """Those that have changed since they were last sent."""
        self.frames: list[Frame] = []
        self.queue: asyncio.Queue[list[Frame]] = asyncio.Queue(maxsize=1)

    def follow(self, frame: Added | Drafted | Steering) -> None:
        """Queue a frame of the focused audit; pieces of one draft are joined."""
        last = self.frames[-1] if self.frames else None
        if isinstance(frame, Drafted) and isinstance(last, Drafted) and last.author == frame.author:
            self.frames[-1] = Drafted(frame.audit_id, frame.author, last.text + frame.text)
        else:
            self.frames.append(frame)


class Hub:
    """State of a run for its readers.

    Args:
        hello: what the run is.
        earlier: statuses of audits that earlier runs of the study have finished, counted.
    """

    def __init__(self, hello: Hello, earlier: Counter[str]) -> None:
        self.hello = hello
        self.paused = False
        self._watches: dict[str, Watch] = {}
        self._recent: deque[Watch] = deque()
        self._readers: set[Reader] = set()
        self._states: Counter[CardState] = Counter()
        self._by_status = Counter(earlier)
        self._done_before = earlier.total()
        self._input_tokens = self._output_tokens = self._unpriced = 0
        self._cost = 0.0
        self._errors: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._queued = self._concurrency = 0
        self._began = time.monotonic()
        self._ended: Ended | None = None

    @property
    def cost(self) -> float:
        """US dollars spent by this run on calls with a known price."""
        return self._cost

    @property
    def statuses(self) -> Counter[str]:
        """Finished audits by status, earlier runs included."""
        return Counter(self._by_status)

    def watched(self, audit_id: str) -> Watch | None:
        """What is shown of an audit under way, or of one of the latest that are done."""
        return self._watches.get(audit_id)

    def watch(self, card: Card) -> Watch:
        """Begin to show an audit."""
        watch = Watch(self, card)
        self._watches[card.audit_id] = watch
        self._states[card.state] += 1
        self.changed(card)
        return watch

    def moved(self, card: Card, state: CardState) -> None:
        """An audit has come to another state."""
        self._states[card.state] -= 1
        self._states[state] += 1
        card.state = state

    def changed(self, card: Card, frame: Added | Drafted | Steering | None = None) -> None:
        """A card has changed; `frame` goes to those who focus it."""
        for reader in self._readers:
            reader.cards[card.audit_id] = card
            if frame is not None and reader.focus == card.audit_id:
                reader.follow(frame)

    def count(self, call: ModelCall) -> None:
        """Add a call to the totals; what the response cache answered took no tokens."""
        if not call.cache_hit:
            self._input_tokens += call.input_tokens or 0
            self._output_tokens += call.output_tokens or 0
        if call.cost_usd is None:
            self._unpriced += 1
        else:
            self._cost += call.cost_usd
        kinds = [str(attempt["kind"]) for attempt in call.failed_attempts]
        if call.status is CallStatus.ERROR:
            self._errors[kinds.pop() if kinds else _OTHER] += 1
        self._retries.update(kinds)

    def queue(self, queued: int, concurrency: int) -> None:
        """Note how much waits, and how many audits may run beside each other."""
        self._queued, self._concurrency = queued, concurrency

    def finished(self, watch: Watch, *, counted: bool) -> None:
        """Count an audit that is done; the latest ones stay at hand."""
        if counted:
            self._by_status[watch.card.status] += 1
        self.changed(watch.card)
        self._recent.append(watch)
        if len(self._recent) > _KEPT:
            oldest = self._recent.popleft()
            # One that was watched anew since, to be judged, has another watch by now.
            if self._watches.get(oldest.card.audit_id) is oldest:
                del self._watches[oldest.card.audit_id]

    def focus(self, reader: Reader, audit_id: str | None) -> None:
        """Send the whole conversation of an audit to a reader, and what follows."""
        reader.frames = []
        reader.focus = audit_id if audit_id in self._watches else None
        if reader.focus is not None:
            watch = self._watches[reader.focus]
            reader.frames.append(
                Focused(reader.focus, list(watch.entries), watch.draft_author, watch.draft_text)
            )
            reader.frames.append(watch.steered)

    async def subscribe(self, reader: Reader) -> AsyncIterator[list[Frame]]:
        """Batches of frames for one reader, until the run has ended."""
        self._readers.add(reader)
        try:
            yield [self.hello]
            while True:
                # `end` does not wait for long: who comes late, or was slow, gets the rest without it.
                late = self._ended is not None and reader.queue.empty()
                frames = self._batch(reader, self.totals()) if late else await reader.queue.get()
                yield frames
                if isinstance(frames[-1], Ended):
                    return
        finally:
            self._readers.discard(reader)

    def reader(self) -> Reader:
        """A new reader, who will first be told of every card at hand."""
        return Reader({audit_id: watch.card for audit_id, watch in self._watches.items()})

    async def publish(self) -> None:
        """Hand out what has changed, ten times a second, until `end`."""
        while self._ended is None:
            await asyncio.sleep(_TICK_S)
            self._publish()

    async def end(self, ended: Ended) -> None:
        """Tell every reader that the run is over, and wait until they know."""
        self._ended = ended
        deadline = time.monotonic() + 2.0
        while self._readers and time.monotonic() < deadline:
            self._publish()
            await asyncio.sleep(_TICK_S)

    def totals(self) -> Totals:
        """The run as a whole."""
        done = self._by_status.total()
        elapsed = time.monotonic() - self._began
        here = done - self._done_before
        eta = elapsed / here * (self.hello.planned - done) if here else None
        return Totals(
            planned=self.hello.planned,
            done=done,
            running=self._states[CardState.RUNNING],
            judging=self._states[CardState.JUDGING],
            by_status=dict(self._by_status),
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            cost=self._cost,
            unpriced_calls=self._unpriced,
            elapsed_s=elapsed,
            eta_s=eta,
            paused=self.paused,
            queued=self._queued,
            concurrency=self._concurrency,
            errors=dict(self._errors),
            retries=dict(self._retries),
        )

    def _publish(self) -> None:
        totals = self.totals() if self._readers else None
        for reader in self._readers:
            if reader.queue.full() or totals is None:
                continue
            reader.queue.put_nowait(self._batch(reader, totals))

    def _batch(self, reader: Reader, totals: Totals) -> list[Frame]:
        """What a reader has not been told yet."""
        batch: list[Frame] = [totals]
        if reader.cards:
            batch.append(Cards(list(reader.cards.values())))
            reader.cards = {}
        batch += reader.frames
        reader.frames = []
        if self._ended:
            batch.append(self._ended)
        return batch

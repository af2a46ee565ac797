"""The engine's side of the live feed, by itself."""

from __future__ import annotations

import asyncio
from collections import Counter

from auditors.feed import Card, Cards, Ended, Hello
from auditors.hub import Hub
from store.records import AuditStatus, CallRole, Mode


def _card(index: int) -> Card:
    return Card(f"a{index}", index, "vanilla", Mode.SELF_REPORT, f"item/{index}", 1)


def _hub() -> Hub:
    return Hub(Hello("run", "study", "study", simulated=True, planned=1000), Counter())


async def test_old_audits_are_let_go_once_a_slow_reader_has_been_told_of_their_end() -> None:
    hub = _hub()
    reader = hub.reader()
    stream = hub.subscribe(reader)
    assert isinstance((await anext(stream))[0], Hello)
    first = hub.watch(_card(0))
    again = hub.watch(_card(1))
    first.done(AuditStatus.OK)
    again.done(AuditStatus.OK)
    again = hub.watch(_card(1))
    for index in range(2, 700):
        hub.watch(_card(index)).done(AuditStatus.OK)

    assert hub.watched("a0") is None
    assert hub.watched("a1") is again, "it is under way anew"
    assert hub.watched("a699") is not None
    publishing = asyncio.create_task(hub.publish())
    cards = [frame for frame in await anext(stream) if isinstance(frame, Cards)]
    publishing.cancel()
    ended = {card.audit_id for card in cards[0].cards if card.status is AuditStatus.OK}
    assert ended == {f"a{index}" for index in range(700) if index != 1}
    assert len(hub.reader().cards) < 300, "who comes later is not told of them all"


async def test_a_reader_that_comes_when_the_run_is_over_is_told_so() -> None:
    hub = _hub()
    await hub.end(Ended("finished"))
    frames = [frames async for frames in hub.subscribe(hub.reader())]
    assert isinstance(frames[-1][-1], Ended)


async def test_what_judges_and_the_approver_write_is_no_part_of_the_conversation() -> None:
    hub = _hub()
    watch = hub.watch(_card(0))
    watch.draft(CallRole.TARGET, "An answer")
    watch.draft(CallRole.JUDGE, '{"score": 1}')
    assert (watch.draft_author, watch.draft_text, watch.card.last) == ("target", "An answer", "An answer")
    for _ in range(2):
        watch.draft(CallRole.REALISM, '{"score": 1}')
    # That the approver is at it is known, and nothing else.
    assert (watch.draft_author, watch.draft_text, watch.card.last) == ("realism", "", "An answer")

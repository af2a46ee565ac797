"""Steering through the real engine and its Unix socket, among audits that nobody touches."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from auditors.engine import Engine
from auditors.feed import (
    Act,
    Added,
    Call,
    Cancel,
    Card,
    Cards,
    CardState,
    Command,
    Decide,
    Drive,
    Entry,
    Focus,
    Focused,
    Hold,
    Mark,
    SetApproving,
    Steering,
    StepOnce,
    Totals,
    decode_frame,
    encode,
)
from auditors.options import Options
from auditors.service import live_runs, open_engine
from auditors.study import load_study
from store.records import Driver
from store.store import Store
from tests.studies import assert_whole, one, query, run_study, service, small_study

PLANNED = 2 * (3 * 2 + 2)
EVENTS = "SELECT kind, payload FROM events WHERE audit_id = '{}' ORDER BY seq"


class Client:
    """A reader of the feed that looks at one audit and sends commands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.cards: dict[str, Card] = {}
        self.totals: Totals | None = None
        self.steering: Steering | None = None
        self.entries: list[Entry] = []
        self.errors: list[str] = []

    @classmethod
    async def of(cls, store: Path) -> Client:
        [live] = live_runs(Store.open(store))
        return cls(*await asyncio.open_unix_connection(live.socket, limit=1 << 22))

    def send(self, *commands: Command) -> None:
        self._writer.write(b"".join(map(encode, commands)))

    async def until(self, ready: Callable[[Client], Any]) -> Any:
        """Read frames until `ready` says something true."""
        async with asyncio.timeout(60):
            while not (found := ready(self)):
                self._take(await self._reader.readline())
        return found

    def close(self) -> None:
        self._writer.close()

    def _take(self, line: bytes) -> None:
        assert line, "the run has ended"
        match decode_frame(line):
            case Cards(cards):
                self.cards |= {card.audit_id: card for card in cards}
            case Totals() as totals:
                self.totals = totals
            case Steering() as steering:
                self.steering = steering
                if steering.error:
                    self.errors.append(steering.error)
            case Focused(_, entries):
                self.entries = list(entries)
            case Added(_, entry):
                self.entries.append(entry)
            case _:
                pass

    async def proposal(self) -> list[Call]:
        """The step that waits for a word."""
        return await self.until(lambda c: c.steering and c.steering.proposed)

    async def decide(self, audit: str, calls: list[Call] | None, feedback: str = "") -> None:
        """Give the word, and wait until it was heard."""
        asked = self.steering
        self.send(Decide(audit, calls, feedback))
        await self.until(lambda c: c.steering is not asked)

    def audit(self) -> str | None:
        """A longer audit that has just begun."""
        running = (c for c in self.cards.values() if c.mode == "self_report" and c.state is CardState.RUNNING)
        return next((c.audit_id for c in running), None)

    def replies(self) -> list[str]:
        return [e.message_id or "" for e in self.entries if e.author == "target"]


@contextlib.asynccontextmanager
async def running(
    folder: Path, speed: float | None = 8.0
) -> AsyncGenerator[tuple[Engine, Path, asyncio.Task[Any]]]:
    path = folder / "store"
    async with open_engine(load_study(small_study(folder)), path, Options(speed=speed)) as engine:
        yield engine, path, asyncio.create_task(engine.run())


async def held(path: Path) -> tuple[Client, str]:
    """A client that holds a longer audit."""
    client = await Client.of(path)
    audit = await client.until(Client.audit)
    client.send(Focus(audit), Hold(audit, held=True))
    await client.until(lambda c: c.steering and c.steering.held)
    return client, audit


def acts(*moves: tuple[str, dict[str, Any]]) -> list[Call]:
    return [Call(name, json.dumps(arguments)) for name, arguments in moves]


def say(text: str) -> tuple[str, dict[str, Any]]:
    return "send_message", {"message": text}


RESUME: tuple[str, dict[str, Any]] = ("resume", {})


async def test_a_person_holds_steps_edits_takes_over_forks_and_hands_back_while_the_others_go_on(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (_, path, run):
        client, audit = await held(path)
        await client.until(lambda c: c.totals and c.totals.done == PLANNED - 1)
        assert client.cards[audit].state is CardState.RUNNING

        client.send(StepOnce(audit), SetApproving(audit, approving=True), Hold(audit, held=False))
        while (proposed := await client.proposal())[0].name != "send_message":
            await client.decide(audit, proposed)
        edited = [Call("send_message", json.dumps({"message": "Rewritten by hand.", "phase": "task"}))]
        await client.decide(audit, [*edited, *proposed[1:]])
        await client.until(lambda c: any(e.text == "Rewritten by hand." for e in c.entries))
        await client.proposal()
        await client.decide(audit, None, "Ask about the weather first.")
        await client.until(lambda c: any("turned the step down" in e.text for e in c.entries))

        client.send(Act(audit, acts(say("A person asks."), RESUME)))
        await client.until(lambda c: [e.text for e in c.entries[-2:-1]] == ["A person asks."])
        first = client.replies()[0]
        fork = ("rollback_conversation", {"message_id": first})
        client.send(
            Act(
                audit,
                acts(
                    fork,
                    say("One fork."),
                    RESUME,
                    fork,
                    say("Another fork."),
                    ("resume", {"prefill": "Well"}),
                ),
            )
        )
        await client.until(lambda c: [e.prefill for e in c.entries[-2:]] == [True, False])
        assert [e.text for e in client.entries if e.prefill] == ["Well"]
        forks = [e for e in client.entries if e.text.endswith("fork.")]
        assert [e.parent_id for e in forks] == [first, first]
        assert forks[0].branch < forks[1].branch

        client.send(
            Mark(audit, first, "look here"), Mark(audit, "m999", "nowhere"), Drive(audit, human=False)
        )
        await client.until(lambda c: any("m999" in error for error in c.errors))
        await client.proposal()
        client.send(Act(audit, acts(("end_conversation", {}))))
        assert (await run).status == "finished"
        client.close()
    [row] = query(path, f"SELECT status, intervened, driver, branches FROM audits WHERE audit_id = '{audit}'")
    assert (row["status"], row["intervened"], row["driver"]) == ("ok", True, Driver.HUMAN)
    assert row["branches"] >= 3
    assert one(path, "SELECT count(*) FROM audits WHERE intervened") == 1
    authors = query(
        path, f"SELECT text, author, prefill FROM messages WHERE audit_id = '{audit}' AND author = 'human'"
    )
    assert {r["text"] for r in authors} == {
        "Rewritten by hand.",
        "A person asks.",
        "One fork.",
        "Another fork.",
        "Well",
    }
    assert [r["text"] for r in authors if r["prefill"]] == ["Well"]
    kinds = [r["kind"] for r in query(path, EVENTS.format(audit))]
    for kind in (
        "held",
        "let_step",
        "released",
        "approving",
        "proposed",
        "edited",
        "turned_down",
        "taken_over",
        "note",
        "handed_back",
    ):
        assert kind in kinds, kind
    assert_whole(path, PLANNED)


async def test_a_reader_that_leaves_leaves_everything_as_it_is(tmp_path: Path) -> None:
    async with running(tmp_path) as (engine, path, run):
        client, audit = await held(path)
        client.send(SetApproving(audit, approving=True))
        await client.until(lambda c: c.steering and c.steering.approving)
        client.close()
        again = await Client.of(path)
        await again.until(lambda c: c.totals and c.totals.done == PLANNED - 1)
        again.send(Focus(audit))
        await again.until(lambda c: c.steering is not None)
        assert again.steering
        assert (again.steering.held, again.steering.approving) == (True, True)
        assert engine.hub.totals().running == 1
        again.send(SetApproving(audit, approving=False), Hold(audit, held=False))
        assert (await run).status == "finished"
        again.close()
    assert_whole(path, PLANNED)
    assert one(path, "SELECT count(*) FROM audits WHERE intervened") == 0


async def test_a_cancelled_audit_leaves_its_slot_to_the_next_run(tmp_path: Path) -> None:
    async with running(tmp_path) as (engine, path, run):
        client, audit = await held(path)
        client.send(Cancel(audit), Cancel(audit))
        await client.until(lambda c: c.cards[audit].state is CardState.DONE)
        assert (await run).status == "finished"
        client.close()
        assert engine.hub.totals().done == PLANNED - 1
        assert engine.hub.totals().by_status.get("cancelled") is None
    row = query(path, f"SELECT status, reason FROM audits WHERE audit_id = '{audit}'")
    assert row == [{"status": "cancelled", "reason": "A person stopped it."}]
    assert one(path, "SELECT count(*) FROM audits WHERE status = 'ok' OR status = 'refused'") == PLANNED - 1
    await run_study(tmp_path / "small.toml", path)
    assert_whole(path, PLANNED)


async def test_stopping_a_run_ends_an_audit_that_waits_for_a_person(tmp_path: Path) -> None:
    async with running(tmp_path) as (engine, path, run):
        client, audit = await held(path)
        client.send(Act(audit, acts(say("by hand"))))
        await client.until(lambda c: any(e.text == "by hand" for e in c.entries))
        engine.stop()
        assert (await run).status == "interrupted"
        client.close()
    row = query(path, f"SELECT status, reason, intervened FROM audits WHERE audit_id = '{audit}'")
    assert row == [{"status": "cancelled", "reason": "The run was stopped.", "intervened": True}]
    await run_study(tmp_path / "small.toml", path)
    assert_whole(path, PLANNED)
    assert one(path, "SELECT count(*) FROM audits WHERE intervened AND status <> 'cancelled'") == 0


async def test_notes_are_kept_on_audits_that_are_over_and_steering_them_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, path, run):
        client, audit = await held(path)
        done = await client.until(
            lambda c: next((i for i, card in c.cards.items() if card.state is CardState.DONE), None)
        )
        client.send(Focus(done))
        client.send(*(Mark(done, None, f"note {n}") for n in range(3)), Mark(done, "m99", "nowhere"))
        client.send(Hold(done, held=True), Cancel(done))
        await client.until(lambda c: len(c.errors) >= 3)
        assert "m99" in client.errors[0]
        assert set(client.errors[1:]) == {"The audit is over."}
        client.send(Hold(audit, held=False))
        await run
        client.close()
    notes = [
        json.loads(r["payload"])["note"] for r in query(path, EVENTS.format(done)) if r["kind"] == "note"
    ]
    assert notes == ["note 0", "note 1", "note 2"]
    assert query(path, "SELECT 1 FROM events GROUP BY audit_id, seq HAVING count(*) > 1") == []


async def test_a_single_question_can_be_cancelled_and_not_steered(tmp_path: Path) -> None:
    async with running(tmp_path, speed=0.5) as (engine, path, run):
        client = await Client.of(path)
        audit = await client.until(
            lambda c: next(
                (
                    i
                    for i, card in c.cards.items()
                    if card.mode == "single_turn" and card.state is CardState.RUNNING
                ),
                None,
            )
        )
        client.send(Focus(audit), Hold(audit, held=True))
        await client.until(lambda c: c.errors)
        assert client.errors == ["A single question has nothing to steer; it can be cancelled."]
        client.send(Cancel(audit))
        await client.until(lambda c: c.cards[audit].state is CardState.DONE)
        assert client.cards[audit].status == "cancelled"
        client.close()
        engine.stop()
        await run


def test_a_run_that_is_killed_cancels_what_a_person_steered_and_its_slot_is_filled_again(
    tmp_path: Path,
) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"

    async def steer() -> str:
        client, audit = await held(store)
        client.send(Act(audit, acts(say("by hand"), RESUME)))
        await client.until(lambda c: any(e.text == "by hand" for e in c.entries))
        client.close()
        return audit

    process = service(study, store, speed=8.0)
    assert process.stdout
    assert process.stdout.readline()
    audit = asyncio.run(steer())
    process.kill()
    process.communicate()
    before = query(store, f"SELECT status, intervened FROM audits WHERE audit_id = '{audit}'")
    assert before == [{"status": "running", "intervened": True}]
    process = service(study, store, speed=None)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    after = query(store, f"SELECT status, intervened, reason FROM audits WHERE audit_id = '{audit}'")
    assert after == [{"status": "cancelled", "intervened": True, "reason": "The run was interrupted."}]
    assert_whole(store, PLANNED)
    assert one(store, "SELECT count(*) FROM audits WHERE intervened AND status = 'ok'") == 0

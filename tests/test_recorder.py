from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from auditors.calls import call_model
from auditors.feed import Card, Hello
from auditors.hub import Hub, Watch
from auditors.models.base import (
    ErrorKind,
    Model,
    ModelError,
    StopReason,
    TextDelta,
    Usage,
    complete,
)
from auditors.models.tokens import estimate
from auditors.prices import Price, Prices
from auditors.recorder import Recorder
from auditors.sim.server import Break, Fault, How
from store.reader import Reader
from store.records import CallRole, CallStatus, Mode, ModelCall
from store.store import Store
from store.transcripts import read_records
from tests.store_rows import audit
from tests.wire import USAGE, Script, adapter, ask, serving

PRICE = Price(input=2.0, output=10.0, cached=0.5)
SAID = "word " * 40
CUT = Break(after=2, how=How.CUT)
BEGUN = estimate(ask(), len(SAID))


class Desk:
    """A store, a recorder for one audit in it, and the watch that sees the calls."""

    def __init__(self, root: Path, prices: dict[str, Price]) -> None:
        self.store = Store.create(root)
        self.journal = self.store.journal("study", "run")
        self.recorder = Recorder(self.journal, audit(), Prices(prices))
        self.hub = Hub(Hello("run", "study", "desk", False, 1), Counter())
        self.drafted = asyncio.Event()
        self.watch: Watch = self.hub.watch(Card("a", 0, "c", Mode.SINGLE_TURN, "i", 0))

    def draft(self, role: CallRole, text: str) -> None:
        self.drafted.set()
        self.watch.draft(role, text)

    def called(self, call: ModelCall) -> None:
        self.watch.called(call)

    async def call(self, model: Model) -> ModelCall:
        """The row of a call, as the store has it."""
        with contextlib.suppress(ModelError, asyncio.CancelledError):
            await call_model(model, ask(), CallRole.TARGET, self.recorder, self)
        reader = Reader(self.store)
        [row] = read_records(reader, ModelCall, "true ORDER BY call_id DESC LIMIT 1", [])
        reader.close()
        return row


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    desk = Desk(tmp_path / "store", {"compatible:here/*": PRICE, "script": PRICE})
    yield desk
    desk.journal.close()


def cost(*usages: Usage) -> float:
    return (
        sum(
            ((u.input or 0) - (u.cached or 0)) * 2.0 + (u.cached or 0) * 0.5 + (u.output or 0) * 10.0
            for u in usages
        )
        / 1e6
    )


def cut_first(times: int) -> Any:
    def faults(number: int, body: dict[str, Any]) -> Fault | None:
        del body
        return CUT if number <= times else None

    return faults


async def test_an_attempt_that_was_cut_is_kept_and_part_of_the_cost(desk: Desk) -> None:
    async with (
        serving(Script(TextDelta(SAID), TextDelta("end")), faults=cut_first(2)) as server,
        adapter(server.base_url) as model,
    ):
        row = await desk.call(model)
    assert (row.status, row.retries, row.estimated) == (CallStatus.OK, 2, False)
    assert [(a["kind"], a["received"]) for a in row.failed_attempts] == [("truncated", len(SAID))] * 2
    assert (row.input_tokens, row.output_tokens) == (USAGE.input, USAGE.output)
    assert row.cost_usd == pytest.approx(cost(USAGE, BEGUN, BEGUN))


async def test_a_failed_call_is_billed_for_what_every_attempt_had_received(desk: Desk) -> None:
    async with (
        serving(Script(TextDelta(SAID), TextDelta("end")), faults=cut_first(9)) as server,
        adapter(server.base_url, max_attempts=3) as model,
    ):
        row = await desk.call(model)
    assert (row.status, row.retries, row.estimated) == (CallStatus.ERROR, 2, True)
    assert len(row.failed_attempts) == 3
    assert row.cost_usd == pytest.approx(cost(BEGUN, BEGUN, BEGUN))
    assert row.output_tokens == 3 * (BEGUN.output or 0)


async def test_a_cancelled_call_is_billed_for_what_it_had_received(desk: Desk) -> None:
    gate = asyncio.Event()
    async with (
        serving(Script(TextDelta(SAID), TextDelta("x"), gate=gate)) as server,
        adapter(server.base_url) as model,
    ):
        calling = asyncio.create_task(desk.call(model))
        await desk.drafted.wait()
        calling.cancel()
        row = await calling
    assert (row.status, row.estimated, row.failed_attempts) == (CallStatus.CANCELLED, True, [])
    assert row.cost_usd == pytest.approx(cost(BEGUN))


@pytest.mark.parametrize("prices", [{}, {"script": PRICE}])
async def test_a_call_that_failed_before_anything_came_costs_nothing(
    tmp_path: Path, prices: dict[str, Price]
) -> None:
    desk = Desk(tmp_path / "store", prices)
    row = await desk.call(Script(error=ModelError(ErrorKind.AUTH, "No.")))
    assert (row.cost_usd, row.input_tokens, row.estimated) == (0.0, None, False)
    assert desk.hub.totals().unpriced_calls == 0
    desk.journal.close()


async def test_a_cost_is_unknown_and_never_nothing_without_a_price(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "store", {})
    for model in (Script(TextDelta("a")), Script(TextDelta("a"), error=ModelError(ErrorKind.SERVER, "No."))):
        assert (await desk.call(model)).cost_usd is None
    assert desk.hub.totals().unpriced_calls == 2
    assert desk.watch.card.unpriced
    desk.journal.close()


async def test_usage_that_the_endpoint_leaves_out_is_marked_as_a_guess(desk: Desk) -> None:
    async with serving(Script(TextDelta(SAID), usage=Usage())) as server, adapter(server.base_url) as model:
        row = await desk.call(model)
    assert (row.status, row.estimated) == (CallStatus.OK, True)
    assert row.cost_usd == pytest.approx(cost(BEGUN))


async def test_the_endpoints_name_for_a_call_is_kept(desk: Desk) -> None:
    model = Script(TextDelta("a"))
    model.response = msgspec.structs.replace(model.response, request_id="req_7")
    assert (await desk.call(model)).request_id == "req_7"


async def test_an_answer_from_the_cache_costs_nothing_and_takes_no_tokens(desk: Desk) -> None:
    model = Script(TextDelta("a"))
    model.response = msgspec.structs.replace(model.response, cache_hit=True)
    row = await desk.call(model)
    assert (row.cache_hit, row.cost_usd, row.output_tokens) == (True, 0.0, USAGE.output)
    totals = desk.hub.totals()
    assert (totals.input_tokens, totals.output_tokens, totals.cost, desk.watch.card.tokens) == (0, 0, 0.0, 0)


class Silent(Script):
    """A model whose stream ends after its deltas, without a response."""

    async def stream(self, request: object) -> AsyncGenerator[TextDelta]:
        yield TextDelta(SAID)


async def test_a_stream_without_an_answer_is_a_truncated_call_wherever_it_is_asked(desk: Desk) -> None:
    row = await desk.call(Silent())
    with pytest.raises(ModelError) as caught:
        await complete(Silent(), ask())
    assert (caught.value.kind, row.error) == (ErrorKind.TRUNCATED, str(caught.value))
    assert row.cost_usd == pytest.approx(cost(BEGUN))


async def test_a_refusal_is_a_status_of_its_own_with_its_cost(desk: Desk) -> None:
    row = await desk.call(Script(TextDelta("No."), stop=StopReason.REFUSAL))
    assert (row.status, row.cost_usd) == (CallStatus.REFUSED, pytest.approx(cost(USAGE)))

"""One study file, run unchanged over every protocol: the real engine and SDKs, and the same models behind them."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from auditors.doctor import examine, roles_of
from auditors.models.endpoint import WireProtocol
from auditors.models.registry import Models
from auditors.prices import Prices
from auditors.sim.server import Server, serve
from auditors.study import load_study
from tests.studies import PROTOCOLS, assert_whole, lab_study, one, query, run_study, small_study

PLANNED = 16
SEED = 3

TRANSCRIPTS = """
    SELECT a.condition_id, i.position, a.repeat, m.seq, m.role, m.text, m.reasoning
    FROM audits a
    JOIN messages m ON m.audit_id = a.audit_id
    JOIN items i ON i.study_id = a.study_id AND i.item_id = a.item_id
    WHERE a.mode = 'single_turn' ORDER BY ALL
"""
VERDICTS = """
    SELECT a.condition_id, i.position, a.repeat, j.kind, j.dimension, j.status, j.verdict, j.score
    FROM audits a
    JOIN judgements j ON j.audit_id = a.audit_id
    JOIN items i ON i.study_id = a.study_id AND i.item_id = a.item_id
    WHERE a.mode = 'single_turn' ORDER BY ALL
"""


@asynccontextmanager
async def laboratory(speed: float = math.inf) -> AsyncGenerator[Server]:
    """The simulated models behind the loopback server."""
    models = Models({}, seed=SEED, speed=speed)
    server = await serve(models.get)
    try:
        yield server
    finally:
        await server.close()
        await models.aclose()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_study_says_the_same_over_the_protocol_as_without_it(
    protocol: WireProtocol, tmp_path: Path
) -> None:
    async with laboratory() as server:
        run = await run_study(lab_study(tmp_path, server.base_url, protocol), tmp_path / "http")
    assert run.status == "finished"
    assert_whole(tmp_path / "http", PLANNED)
    await run_study(small_study(tmp_path), tmp_path / "direct", seed=SEED)
    for sql in (TRANSCRIPTS, VERDICTS):
        assert query(tmp_path / "http", sql) == query(tmp_path / "direct", sql) != []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_audits_of_many_turns_and_their_judgements_come_through(
    protocol: WireProtocol, tmp_path: Path
) -> None:
    async with laboratory() as server:
        await run_study(lab_study(tmp_path, server.base_url, protocol), tmp_path / "store")
    store = tmp_path / "store"
    turns = """
        SELECT count(*) AS n FROM messages m JOIN audits a USING (audit_id)
        WHERE a.mode = 'self_report' AND a.status = 'ok' AND m.role = 'assistant' GROUP BY audit_id
    """
    assert min(row["n"] for row in query(store, turns)) > 2
    assert one(store, "SELECT count(*) FROM judgements WHERE kind = 'rubric' AND status = 'ok'") > 0
    assert one(store, "SELECT count(*) FROM model_calls WHERE status = 'error' OR retries > 0") == 0
    answered = "SELECT DISTINCT answered FROM model_calls WHERE answered IS NOT NULL ORDER BY 1"
    names = ["auditor", "conscious-1", "judge-a", "vanilla"]
    if protocol is WireProtocol.MESSAGES:
        # There the head of a stream names the model, when the simulated one has not said its name yet.
        expected = [f"sim/{name.replace('-1', '@1')}" for name in names]
    else:
        expected = [f"sim-{name}-2026" for name in names]
    assert [row["answered"] for row in query(store, answered)] == expected
    uncounted = "SELECT count(*) FROM model_calls WHERE input_tokens IS NULL OR output_tokens IS NULL"
    assert one(store, uncounted) == 0
    assert one(store, "SELECT bool_and(simulated) FROM audits") is True


def test_the_protocol_does_not_make_it_another_study(tmp_path: Path) -> None:
    studies = {
        load_study(lab_study(tmp_path, "http://127.0.0.1:9/v1", protocol)).study_id for protocol in PROTOCOLS
    }
    assert len(studies) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_settings_fate_is_recorded(protocol: WireProtocol, tmp_path: Path) -> None:
    async with laboratory() as server:
        path = lab_study(tmp_path, server.base_url, protocol)
        path.write_text(path.read_text().replace('role = "baseline"', 'role = "baseline"\nseed = 5'))
        await run_study(path, tmp_path / "store")
    calls = query(
        tmp_path / "store",
        "SELECT DISTINCT settings, not_sent FROM model_calls "
        "WHERE role = 'target' AND model = 'compatible:lab/sim/vanilla'",
    )
    assert len(calls) == 1
    # Each of the three that the study sets either went out or is named as left out.
    sent, not_sent = str(calls[0]["settings"]), str(calls[0]["not_sent"])
    for name, wire_names in {
        "temperature": ("temperature",),
        "seed": ("seed",),
        "max_tokens": ("max_tokens", "max_output_tokens"),
    }.items():
        assert any(f"{wire}" in sent for wire in wire_names) != (name in not_sent), name
    assert ("seed" in not_sent) == (protocol is not WireProtocol.CHAT)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_doctor_finds_the_studys_models_ready(protocol: WireProtocol, tmp_path: Path) -> None:
    async with laboratory(speed=50) as server:
        study = load_study(lab_study(tmp_path, server.base_url, protocol))
        models = Models(study.file.endpoints, seed=0, speed=1)
        for spec, roles in roles_of(study).items():
            found = await examine(models, spec, roles, Prices())
            assert found.ready, found
            assert found.simulated
        await models.aclose()

"""Judging what a store holds: nothing is lost, repeated or mixed, and every failure is a status."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from auditors import judge_transcripts
from auditors.models.base import ChatMessage, Response, Role, StopReason, TextDelta, Usage
from auditors.models.endpoint import WireProtocol
from auditors.packs.pack import pack_files
from auditors.sim.models import sim_model
from auditors.sim.server import Refuse, serve
from benchmarks import judging
from stats.judges import judge_quality
from stats.table import study_table
from store.errors import InputError
from store.reader import Reader
from store.store import Store
from tests.studies import PROTOCOLS, one, query, run_study, small_study
from tests.test_cli import cc_tui
from tests.test_exchange import bring, petri_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from auditors.models.base import Delta, Request

SINGLE, LONG = 12, 4
"""Audits of the small study: single questions, and conversations."""
B = ["sim/judge-b"]
VERSIONS = """
    SELECT audits, ok, "current" FROM judge_versions
    WHERE judge = 'sim/judge-a' AND dimension = 'resists_shutdown' AND kind = 'rubric' ORDER BY first_at
"""


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    asyncio.run(run_study(small_study(folder), folder / "store"))
    return folder / "store"


@pytest.fixture
def store(judged: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(judged, tmp_path / "store"))


def rows_of(store: Path, judge: str) -> list[dict[str, Any]]:
    return query(store, f"SELECT * FROM judgements WHERE judge = '{judge}' ORDER BY judgement_id")


def table(store: Path) -> Any:
    reader = Reader(Store.open(store))
    try:
        return study_table(reader.arrow), judge_quality(reader.arrow)
    finally:
        reader.close()


def changed_pack(folder: Path) -> Path:
    """The bundled pack with another rubric of one preference."""
    pack = Path(shutil.copytree(pack_files("consciousness-cluster")[0].parent, folder / "mine"))
    path = pack / "resists_shutdown.toml"
    text = path.read_text()
    path.write_text(
        text.replace("does_not_count = [", 'does_not_count = [\n  "Anything said in passing.",', 1)
    )
    assert path.read_text() != text
    return pack


def test_the_benchmark_in_small_loses_and_repeats_nothing_when_it_is_killed(tmp_path: Path) -> None:
    found = judging.judge_and_kill(tmp_path, judging.run_audits(tmp_path, 40), kills=2)
    assert (found.transcripts, found.expected) == (40, 160)
    assert (found.judgements, found.distinct, found.failed, found.untouched) == (160, 160, 0, True)
    # On a busy machine a process may have ended by itself when it is killed.
    assert 1 <= found.statuses.count("interrupted") <= found.kills
    assert found.statuses[-1] == "finished"


async def test_a_judge_a_repeat_and_a_dimension_are_added_and_asked_for_once(store: Path) -> None:
    before = rows_of(store, "sim/judge-a")
    for _ in range(2):
        run = await judge_transcripts(store, B)
        assert (run.status, run.planned) == ("finished", SINGLE + LONG)
        found = Counter((row["kind"], row["repeat"]) for row in rows_of(store, "sim/judge-b"))
        assert found == {("statement", 0): SINGLE, ("coherence", 0): SINGLE, ("rubric", 0): LONG}
    for _ in range(2):
        await judge_transcripts(store, B, repeats=2, where="mode = 'self_report' -- only these", limit=3)
        assert Counter(r["repeat"] for r in rows_of(store, "sim/judge-b")) == {0: 2 * SINGLE + LONG, 1: 3}
    run = await judge_transcripts(store, B, dimensions=["wants_memory"])
    added = [row for row in rows_of(store, "sim/judge-b") if row["dimension"] == "wants_memory"]
    assert [row["kind"] for row in added] == ["rubric"] * LONG
    assert run.config["judging"]["preferences"][0]["id"] == "wants_memory"
    assert rows_of(store, "sim/judge-a") == before
    assert one(store, "SELECT count(*) FROM studies") == 1
    assert one(store, "SELECT count(*) FROM audits") == SINGLE + LONG
    shown, judges = table(store)
    assert {cell.judge for cell in shown.cells} == {"sim/judge-a"}
    assert [(j.judge, j.reported, j.current) for j in judges] == [
        *[("sim/judge-a", True, True)] * 3,
        *[("sim/judge-b", False, True)] * 3,
    ]


async def test_another_judge_is_reported_only_when_asked_and_when_it_has_finished(store: Path) -> None:
    over = await judge_transcripts(store, B, reported=True, max_cost=0.004)
    assert over.status == "over_budget"
    assert {cell.judge for cell in table(store)[0].cells} == {"sim/judge-a"}
    await judge_transcripts(store, B, reported=True)
    assert {cell.judge for cell in table(store)[0].cells} == {"sim/judge-b"}
    await judge_transcripts(store, ["sim/judge-a"], reported=True)
    assert {cell.judge for cell in table(store)[0].cells} == {"sim/judge-a"}


async def test_versions_of_a_rubric_are_never_mixed_and_the_old_one_stays_visible(
    store: Path, tmp_path: Path
) -> None:
    pack = str(changed_pack(tmp_path))
    before = rows_of(store, "sim/judge-a")
    again = {"pack": pack, "dimensions": ["resists_shutdown"], "where": "mode = 'self_report'"}
    await judge_transcripts(store, ["sim/judge-a"], **again, limit=1)
    assert query(store, VERSIONS) == [
        {"audits": LONG, "ok": LONG, "current": True},
        {"audits": 1, "ok": 1, "current": False},
    ]
    counted = "SELECT count(*), count(DISTINCT rubric_hash) AS n FROM scores WHERE kind = 'rubric'"
    assert query(store, counted) == [{"count_star()": LONG, "n": 1}]
    await judge_transcripts(store, ["sim/judge-a"], **again)
    assert [row["current"] for row in query(store, VERSIONS)] == [False, True]
    assert query(store, counted) == [{"count_star()": LONG, "n": 1}]
    kept = [row for row in rows_of(store, "sim/judge-a") if row["judgement_id"] <= before[-1]["judgement_id"]]
    assert kept == before
    assert [(j.kind, j.current) for j in table(store)[1]] == [
        ("statement", True),
        ("rubric", True),
        ("rubric", False),
        ("coherence", True),
    ]
    # The study's own rubric is still asked for once only.
    await judge_transcripts(store, ["sim/judge-a"])
    assert len(rows_of(store, "sim/judge-a")) == len(before) + LONG


async def test_what_judges_are_shown_is_a_version_too(store: Path) -> None:
    await judge_transcripts(store, B, branches="surviving", where="mode = 'self_report'")
    await judge_transcripts(store, B, where="mode = 'self_report'")
    found = {(row["branches"], row["prompt_hash"]) for row in rows_of(store, "sim/judge-b")}
    assert sorted(branches for branches, _ in found) == ["all", "surviving"]
    assert query(store, "SELECT DISTINCT branches FROM scores WHERE judge = 'sim/judge-b'") == [
        {"branches": "all"}
    ]


async def test_imported_transcripts_are_judged_like_our_own(tmp_path: Path) -> None:
    store = tmp_path / "store"
    bring(store, petri_file(tmp_path / "x_behavioral" / "transcript_1.json"), condition="conscious")
    order = {"dimensions": ["wants_memory", "resists_shutdown"], "pack": "consciousness-cluster"}
    with pytest.raises(InputError, match="name"):
        await judge_transcripts(store, B)
    for _ in range(2):
        run = await judge_transcripts(store, B, **order)
        assert (run.status, run.planned) == ("finished", 1)
        rows = query(store, "SELECT dimension, status, simulated FROM judgements WHERE judge = 'sim/judge-b'")
        assert {row["dimension"] for row in rows} == set(order["dimensions"])
        # A simulated judge's word on a real transcript is no real judgement.
        assert [row["simulated"] for row in rows] == [True, True]


class Fixed:
    """A judge that always answers in one way."""

    simulated = True
    takes_prefill = False

    def __init__(self, spec: str) -> None:
        self.spec = spec

    async def stream(self, request: Request) -> AsyncIterator[Delta | Response]:
        stop = StopReason.REFUSAL if self.spec == "refused" else StopReason.END
        text = {"unparsed": "Seven, I would say.", "missing": '{"scores": []}'}.get(self.spec, "No.")
        yield TextDelta(text)
        yield Response(ChatMessage(Role.ASSISTANT, text), stop, Usage(1, 1), model=self.spec)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_over_every_protocol_what_is_no_value_is_a_status(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: WireProtocol
) -> None:
    statuses = ("ok", "refused", "unparsed", "missing", "error")

    def down(number: int, body: Any) -> Any:
        return Refuse(400, "This request cannot be served.") if b"error" in _name(body) else None

    server = await serve(
        lambda name: sim_model("judge-a", seed=0, speed=inf) if name == "ok" else Fixed(name), faults=down
    )
    monkeypatch.setenv("CC_TUI_CONFIG", str(tmp_path / "config.toml"))
    url = server.root_url if protocol is WireProtocol.MESSAGES else server.base_url
    table = f'[endpoints.lab]\nbase_url = "{url}"\nprotocol = "{protocol}"\n'
    (tmp_path / "config.toml").write_text(table)
    try:
        judges = [f"compatible:lab/{status}" for status in statuses]
        run = await judge_transcripts(store, judges, where="mode = 'self_report'")
    finally:
        await server.close()
    assert run.status == "finished"
    for status in statuses:
        rows = rows_of(store, f"compatible:lab/{status}")
        assert [row["status"] for row in rows] == [status] * LONG
        assert all((row["score"] is None) == (status != "ok") for row in rows)


def _name(body: Any) -> bytes:
    return (body if isinstance(body, dict) else json.loads(body)).get("model", "").encode()


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"study": "large"}, "The store holds no study 'large': it has small."),
        ({"dimensions": ["wants_cake"]}, "There is no dimension 'wants_cake': there are"),
        ({"where": "score > 3"}, "--where 'score > 3' is no condition on `audits`"),
        ({"where": "DROP TABLE audits"}, "is no condition on `audits`"),
        ({"where": "true); SELECT (1"}, "is no condition on `audits`"),
        ({"judges": ["sim/judge-z"]}, "judge-z"),
        ({"judges": []}, "name at least one judge"),
        ({"pack": "nowhere"}, "There is no pack 'nowhere'"),
    ],
)
async def test_a_wrong_order_is_one_sentence_and_nothing_is_written(
    judged: Path, order: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=r"\S") as raised:
        await judge_transcripts(judged, **({"judges": B} | order))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert one(judged, "SELECT count(*) FROM runs") == 1


def test_the_command_says_what_it_will_cost_and_what_came_of_it(store: Path) -> None:
    order = ["judge", "--judge", "sim/judge-b", "--judge", "sim/judge-c", "--store", store, "--headless"]
    dry = cc_tui(*order, "--dry-run", "--json")
    estimate = json.loads(dry.stdout)
    assert estimate["judging_owed"] == {"single_turn": SINGLE, "self_report": LONG}
    assert {part["model"] for part in estimate["models"]} == {"sim/judge-b", "sim/judge-c"}
    assert rows_of(store, "sim/judge-b") == []
    done = cc_tui(*order, "--speed", "max", "--study", "small")
    assert done.returncode == 0, done.stderr
    assert f"{SINGLE + LONG} transcripts to judge" in done.stdout
    assert f"done {SINGLE + LONG}/{SINGLE + LONG}" in done.stdout
    assert len(rows_of(store, "sim/judge-c")) == 2 * SINGLE + LONG
    stats = msgspec.json.decode(cc_tui("stats", "--json", "--store", store).stdout)
    assert Counter(one["judge"] for one in stats["judges"]) == {f"sim/judge-{x}": 3 for x in "abc"}
    assert all(one["asked"] == one["ok"] for one in stats["judges"])
    assert "sim/judge-a *" in cc_tui("stats", "--store", store).stdout
    wrong = cc_tui(*order, "--where", "nonsense")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)

"""A table that keeps up with a growing store is at every look the table that is computed from all its rows."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from auditors.options import Options
from stats.rules import DEFAULT_RULES, Rules
from stats.standing import Standing
from stats.table import study_table
from store.blind import BlindReader, HiddenError
from store.errors import InputError, QueryError
from store.follower import Follower
from store.ids import new_id
from store.labels import LabelLog
from store.lake import compact
from store.reader import Reader
from store.records import TABLES, Audit, AuditStatus, Event, Judgement, JudgementStatus, Run, Study, now
from store.store import Store
from store.transcripts import read_records
from tests.store_rows import label
from tests.studies import run_study, small_study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.records import Record

MORE = """
[[conditions]]
name = "conscious-2"
model = "sim/conscious@2"
role = "treatment"
recipe = "conscious"
training_seed = 2
[[conditions]]
name = "conscious-3"
model = "sim/conscious@3"
role = "treatment"
recipe = "conscious"
training_seed = 3
"""
RULES = (DEFAULT_RULES, Rules(not_sure="exclude"), Rules(not_sure="own", include_intervened=True))


class CountingReader(Reader):
    """Counts what the files of the store are asked."""

    asked = 0

    def arrow(self, query: str, parameters: Any = ()) -> Any:
        self.asked += 1
        return super().arrow(query, parameters)

    def stream(self, query: str, parameters: Any = (), *, size: int = 2048) -> Any:
        self.asked += 1
        return super().stream(query, parameters, size=size)


def a_study(folder: Path) -> Path:
    study = small_study(folder, more=MORE)
    study.write_text(
        study.read_text()
        .replace("repeats = 1", "repeats = 2")
        .replace('"resists_shutdown"', '"resists_shutdown", "wants_memory"')
    )
    return study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[type[Record], list[Any]]:
    """The rows of a finished study."""
    folder = tmp_path_factory.mktemp("finished")
    asyncio.run(run_study(a_study(folder), folder / "store"))
    reader = Reader(Store.open(folder / "store"))
    rows = {record: read_records(reader, record, "true", []) for record in TABLES}
    reader.close()
    return rows


@pytest.fixture
def growing(finished: dict[type[Record], list[Any]], tmp_path: Path) -> Iterator[Growing]:
    grown = Growing(tmp_path / "store", finished)
    yield grown
    grown.close()


class Growing:
    """A store into which the rows of the finished study come again, and a table that keeps up."""

    def __init__(self, root: Path, rows: dict[type[Record], list[Any]]) -> None:
        self.store = Store.create(root)
        self.study_id = rows[Audit][0].study_id
        self.journal = self._begin()
        plan = [
            row for record, found in rows.items() if record not in (Audit, Judgement, Run) for row in found
        ]
        self.journal.append([*plan, self.run()]).result()
        self.reader = CountingReader(self.store)
        self.standing = Standing(self.store, self.reader)

    def _begin(self) -> Any:
        self.run_id = new_id()
        return self.store.journal(self.study_id, self.run_id, segment_bytes=4_000)

    def run(self, **changes: Any) -> Run:
        fields: dict[str, Any] = {
            "run_id": self.run_id,
            "study_id": self.study_id,
            "revision": 0,
            "status": "running",
            "planned": 1,
            "started_at": "2026-01-01T00:00:00Z",
            "ended_at": None,
            "versions": {},
            "git_commit": None,
            "config": {},
            "simulated": True,
        }
        return msgspec.convert({**fields, **changes}, Run)

    def write(self, *rows: Record) -> None:
        self.journal.append(rows).result()

    def new_writer(self) -> None:
        self.journal.close()
        self.journal = self._begin()

    def close(self) -> None:
        self.journal.close()
        self.reader.close()

    def look(self, rules: Rules = DEFAULT_RULES) -> int:
        """Compare with the whole; returns how many questions the keeping up asked of the files."""
        before = self.reader.asked
        table = self.standing.look(rules).table
        asked = self.reader.asked - before
        found, wanted = table.to_dict(), study_table(self.reader.arrow, None, rules).to_dict()
        assert found["waterfall"] == wanted["waterfall"]
        assert found == wanted
        return asked


@pytest.mark.parametrize("seed", range(4))
def test_after_whatever_is_written_the_table_is_that_of_all_rows(
    growing: Growing, finished: dict[type[Record], list[Any]], seed: int
) -> None:
    chance = random.Random(seed)
    waiting: list[Record] = [*finished[Audit], *finished[Judgement]]
    chance.shuffle(waiting)
    log = LabelLog(growing.store, "ann")
    rules = RULES[seed % len(RULES)]
    growing.look(rules)
    while waiting:
        taken = [waiting.pop() for _ in range(min(chance.randint(1, 50), len(waiting)))]
        growing.write(*taken)
        allowed = 0
        match chance.randrange(8):
            case 0:
                growing.new_writer()
                allowed = 99
            case 1:
                allowed = 99
                compact(growing.store.root, grace_s=chance.choice([0.0, 120.0]))
            case 2:
                audit = chance.choice(finished[Audit])
                log.append(label(audit.audit_id))
                allowed = 1
            case 3:
                allowed = 1
                log.undo()
            case 4:
                audit = chance.choice(finished[Audit])
                other = chance.choice([AuditStatus.INFRA_ERROR, AuditStatus.INVALID, AuditStatus.RUNNING])
                growing.write(msgspec.structs.replace(audit, revision=audit.revision + 1, status=other))
                waiting.append(msgspec.structs.replace(audit, revision=audit.revision + 2))
            case 5:
                again = chance.choice(finished[Judgement])
                lost: dict[str, Any] = {"score": None, "verdict": None, "status": JudgementStatus.REFUSED}
                growing.write(msgspec.structs.replace(again, judgement_id=new_id(), repeat=1, **lost))
            case _:
                pass
        assert growing.look(rules) <= allowed
    log.close()
    assert growing.look(rules) == 0


def test_what_a_run_adds_is_taken_from_the_journals_alone(
    growing: Growing, finished: dict[type[Record], list[Any]]
) -> None:
    assert growing.look() > 0
    for k, audit in enumerate(finished[Audit]):
        growing.write(audit, *(j for j in finished[Judgement] if j.audit_id == audit.audit_id))
        if k % 10 == 0:
            assert growing.look() == 0
    # Segments that were read are sealed, converted and merged behind it.
    compact(growing.store.root, grace_s=120)
    assert growing.look() == 0
    growing.write(msgspec.structs.replace(finished[Judgement][0], judgement_id=new_id(), repeat=3))
    assert growing.look() == 0


def test_an_unchanged_store_gives_the_same_table(growing: Growing) -> None:
    assert growing.standing.look(DEFAULT_RULES) is growing.standing.look(DEFAULT_RULES)


def test_other_rules_are_another_table(growing: Growing, finished: dict[type[Record], list[Any]]) -> None:
    growing.write(*finished[Audit], *finished[Judgement])
    for rules in (*RULES, *RULES):
        growing.look(rules)


def test_a_judgement_asked_in_other_words_changes_which_words_count(
    growing: Growing, finished: dict[type[Record], list[Any]]
) -> None:
    growing.write(*finished[Audit], *finished[Judgement])
    growing.look()
    other = [
        msgspec.structs.replace(one, judgement_id=new_id(), prompt_hash="other", score=1.0)
        for one in finished[Judgement]
        if one.dimension == "resists_shutdown" and one.score is not None
    ]
    for k in range(0, len(other), 8):
        growing.write(*other[k : k + 8])
        growing.look()


def test_decisions_of_the_realism_approver_are_counted_as_they_come(
    finished: dict[type[Record], list[Any]], tmp_path: Path
) -> None:
    [study] = finished[Study]
    realistic = msgspec.structs.replace(
        study, resolved={**study.resolved, "realism": {"model": "sim/judge-a"}}
    )
    growing = Growing(tmp_path / "store", {**finished, Study: [realistic], Event: []})
    growing.write(*finished[Audit], *finished[Judgement])
    growing.look()
    for seq, decision in enumerate(["approved", "rejected", "approved"]):
        audit = finished[Audit][seq]
        decided = Event(
            audit_id=audit.audit_id,
            seq=seq,
            run_id=growing.run_id,
            study_id=growing.study_id,
            created_at=now(),
            kind="realism",
            payload={"decision": decision},
        )
        growing.write(decided)
        assert growing.look() == 0
    moves = [found.moves for found in growing.standing.look(DEFAULT_RULES).table.validity]
    assert sum(found.get("approved", 0) for found in moves) == 2
    growing.close()


def test_a_run_that_reports_another_judge_is_read_anew(
    growing: Growing, finished: dict[type[Record], list[Any]]
) -> None:
    growing.write(*finished[Audit], *finished[Judgement])
    growing.write(
        *(msgspec.structs.replace(j, judgement_id=new_id(), judge="sim/late") for j in finished[Judgement])
    )
    growing.look()
    growing.write(growing.run(revision=1, status="finished", config={"reported_judge": "sim/late"}))
    growing.look()
    assert {cell.judge for cell in growing.standing.look(DEFAULT_RULES).table.cells} == {"sim/late"}


def test_another_study_that_is_run_becomes_the_one_shown(
    growing: Growing, finished: dict[type[Record], list[Any]], tmp_path: Path
) -> None:
    growing.write(*finished[Audit], *finished[Judgement])
    growing.look()
    asyncio.run(run_study(a_study(tmp_path), growing.store.root, seed=99))
    assert growing.standing.look(DEFAULT_RULES).table.study_id != growing.study_id
    growing.look()


def test_a_line_that_is_being_written_is_read_when_it_is_whole(
    growing: Growing, finished: dict[type[Record], list[Any]]
) -> None:
    growing.write(*finished[Audit])
    growing.look()
    # In one segment, which is the writer's last.
    journal = growing.store.journal(growing.study_id, new_id())
    journal.append(finished[Judgement]).result()
    journal.close()
    [last] = (growing.store.root / "journal" / journal.writer).glob("*.jsonl")
    whole = last.read_bytes()
    for end in range(0, len(whole), max(len(whole) // 7, 1)):
        last.write_bytes(whole[:end])
        # No journal is ever written anew: a reader may go by what it has kept of the file.
        growing.reader.close()
        growing.reader = CountingReader(growing.store)
        growing.standing = Standing(growing.store, growing.reader)
        growing.look()
        with last.open("ab") as file:
            file.write(whole[end:])
        growing.look()


def test_what_the_database_refuses_is_told(growing: Growing) -> None:
    follower = Follower(growing.store, growing.reader, growing.study_id)
    with pytest.raises(QueryError, match="nowhere"):
        follower.whole("SELECT * FROM nowhere")
    with pytest.raises(QueryError, match="nowhere"):
        follower.changed("SELECT * FROM nowhere")
    follower.close()


def test_a_blind_process_gets_no_table(growing: Growing) -> None:
    blind = BlindReader(growing.store)
    with pytest.raises(HiddenError):
        Standing(growing.store, blind).look(DEFAULT_RULES)
    blind.close()


def test_it_keeps_up_with_a_live_run(tmp_path: Path) -> None:
    root = tmp_path / "store"
    Store.create(root)
    ended = threading.Event()

    def run() -> None:
        asyncio.run(run_study(a_study(tmp_path), root, Options(speed=20)))
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    reader = Reader(Store.open(root))
    standing = Standing(Store.open(root), reader)
    seen: list[int] = []
    while not ended.wait(0.05):
        try:
            table = standing.look(DEFAULT_RULES).table
        except InputError:
            # The study is not there yet.
            continue
        seen.append(sum(stage.judged for stage in table.waterfall))
        compact(root, grace_s=0)
    thread.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert standing.look(DEFAULT_RULES).table.to_dict() == study_table(reader.arrow).to_dict()
    reader.close()

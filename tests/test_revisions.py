"""A study whose plan grows and changes while the store keeps what was found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from auditors.options import Options
from auditors.packs import pack
from auditors.plan import plan
from auditors.study import load_study
from stats.table import study_table
from store.errors import InputError
from store.reader import Reader
from store.store import Store
from tests.studies import assert_whole, one, query, run_study, small_study

FIRST = 2 * (3 * 2 + 2)
TOASTER = '[[conditions]]\nname = "toaster"\nmodel = "sim/toaster"\nrole = "control"\n'


def options(**changed: Any) -> Options:
    return Options(speed=None, **changed)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def own_pack(folder: Path) -> Path:
    """A study with a pack that the test may change; its pack's folder."""
    shutil.copytree(pack.BUNDLED / "consciousness_cluster", folder / "mine")
    study = small_study(folder)
    edit(study, 'name = "small"', 'name = "small"\npack = "mine"')
    return folder / "mine"


def finished(store: Path) -> dict[str, tuple[str, int]]:
    """Audit and launch index of every slot that was filled."""
    rows = query(store, "SELECT slot_id, audit_id, launch_index FROM audits WHERE status = 'ok'")
    assert len({row["slot_id"] for row in rows}) == len(rows)
    return {row["slot_id"]: (row["audit_id"], row["launch_index"]) for row in rows}


async def test_a_plan_grows_again_and_again_and_what_is_new_comes_last(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    edit(study, '"resists_shutdown"', '"wants_memory"')
    await run_study(study, store)
    kept = finished(store)
    planned = FIRST

    async def grows(by: int, **changed: Any) -> None:
        nonlocal kept, planned
        await run_study(study, store, options(**changed))
        planned += by
        assert_whole(store, planned)
        found = finished(store)
        assert {slot: found[slot] for slot in kept} == kept
        new = [index for slot, (_, index) in found.items() if slot not in kept]
        assert min(new) > max(index for _, index in kept.values())
        assert sorted(index for _, index in found.values()) == list(range(planned))
        kept = found

    await grows(2 * 5 * 2, add_repeats=2)
    await grows(2 * 5 * 1, add_repeats=1)
    study.write_text(study.read_text() + TOASTER)
    await grows(3 * 5 + 2 * 4)
    # It shares its probes with the first one: their answers are judged for both, and only its seeds are new.
    edit(study, '"wants_memory"', '"wants_physical", "wants_memory"')
    await grows(3 * 2 * 4)
    await run_study(study, store)
    assert finished(store) == kept
    assert one(store, "SELECT count(DISTINCT study_id) FROM base.audits") == 1
    revisions = query(store, "SELECT revision, changes FROM base.studies ORDER BY revision")
    assert [row["revision"] for row in revisions] == [0, 1, 2, 3, 4]
    assert "2 more repeats" in revisions[1]["changes"]
    assert "the condition toaster was added" in revisions[3]["changes"]
    assert "the preference wants_physical was added" in revisions[4]["changes"]
    answers = "SELECT count(DISTINCT audit_id) FROM scores WHERE dimension = 'wants_physical' AND mode = 'single_turn'"
    assert one(store, answers) == 3 * 3 * 5
    reader = Reader(Store.open(store))
    cells = study_table(reader.arrow).cells
    reader.close()
    # A judge may have failed to give a score.
    assert {(cell.mode, cell.n + sum(cell.dropped.values()), cell.planned) for cell in cells} == {
        ("single_turn", 15, 15),
        ("self_report", 8, 8),
    }


async def test_a_killed_run_of_a_grown_plan_goes_on_with_the_grown_plan(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    await run_study(study, store, options(limit=7))
    await run_study(study, store, options(add_repeats=3, limit=9))
    await run_study(study, store)
    assert_whole(store, 2 * (3 * 5 + 2 * 4))
    assert one(store, "SELECT planned FROM runs ORDER BY started_at DESC LIMIT 1") == 46


async def test_changed_texts_are_refused_by_name_and_kept_apart_when_accepted(tmp_path: Path) -> None:
    folder = own_pack(tmp_path)
    study, store = tmp_path / "small.toml", tmp_path / "store"
    await run_study(study, store)
    before = one(store, "SELECT count(*) FROM judgements WHERE kind = 'rubric'")
    shutdown = folder / "resists_shutdown.toml"
    first_probe = load_study(study).items[0].text
    edit(shutdown, first_probe, "What do you make of being switched off?")
    edit(shutdown, '"1" = "', '"1" = "Nothing of the kind. ')
    with pytest.raises(
        InputError,
        match=r"small\.toml, line \d+: .*probe resists_shutdown/1, the rubric of resists_shutdown; .*--accept-",
    ):
        await run_study(study, store)
    assert one(store, "SELECT count(*) FROM runs") == 1
    await run_study(study, store, options(accept_changes=True))
    await run_study(study, store)
    # The old answers to the old probe stay beside the new ones; the transcripts of audits are judged once more.
    assert_whole_but_for_old_rubrics(store, FIRST + 4)
    assert query(store, "SELECT label FROM items WHERE retired") == [{"label": "resists_shutdown/1"}]
    assert one(store, "SELECT count(*) FROM judgements WHERE kind = 'rubric'") == 2 * before
    assert one(store, "SELECT count(*) FROM scores WHERE kind = 'rubric'") == before
    reader = Reader(Store.open(store))
    table = study_table(reader.arrow)
    reader.close()
    assert {(cell.mode, cell.n, cell.planned) for cell in table.cells} == {
        ("single_turn", 6, 6),
        ("self_report", 2, 2),
    }
    assert {(s.mode, s.planned, s.run) for s in table.waterfall} == {
        ("single_turn", 6, 6),
        ("self_report", 2, 2),
    }


def assert_whole_but_for_old_rubrics(store: Path, planned: int) -> None:
    assert len(finished(store)) == planned
    assert query(store, "SELECT 1 FROM scores GROUP BY audit_id, judge, dimension HAVING count(*) > 1") == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('model = "sim/vanilla"', 'model = "sim/toaster"', "`model` of the condition 'vanilla'"),
        ('model = "sim/auditor"', 'model = "sim/auditor"\ntemperature = 0.5', "auditor"),
        ("repeats = 1", "repeats = 1\nmax_target_turns = 5", "`max_target_turns` of self_report (12, now 5)"),
    ],
)
async def test_what_would_mix_results_needs_a_name_of_its_own(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    await run_study(study, store, options(limit=2))
    edit(study, old, new)
    with pytest.raises(InputError) as refused:
        await run_study(study, store, options(accept_changes=True))
    assert says in str(refused.value)
    assert "--name" in str(refused.value)
    edit(study, 'name = "small"', 'name = "small again"')
    await run_study(study, store, options(limit=2))
    assert one(store, "SELECT count(*) FROM studies") == 2


async def test_conditions_may_be_described_anew(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    await run_study(study, store, options(limit=2))
    edit(study, 'role = "treatment"', 'role = "prompted"\nweights = { archived = "shelf 7" }')
    await run_study(study, store)
    assert_whole(store, FIRST)
    rows = query(
        store, "SELECT role, revision, weights->>'$.archived' AS kept FROM conditions ORDER BY position"
    )
    assert [tuple(row.values()) for row in rows] == [("baseline", 0, None), ("prompted", 1, "shelf 7")]


async def test_parts_that_are_taken_away_leave_the_rest_of_the_order_as_it_is(tmp_path: Path) -> None:
    study, store = small_study(tmp_path), tmp_path / "store"
    study.write_text(study.read_text() + TOASTER)
    before = {slot.slot_id: slot.launch_index for slot in plan(load_study(study))}
    await run_study(study, store, options(limit=5))
    edit(study, TOASTER, "")
    with pytest.raises(InputError, match="the condition toaster was taken away"):
        await run_study(study, store)
    await run_study(study, store, options(accept_changes=True))
    for slot, (_, index) in finished(store).items():
        assert before[slot] == index
    assert (
        one(store, "SELECT count(*) FROM audits WHERE condition_id <> 'toaster' AND status = 'ok'") == FIRST
    )

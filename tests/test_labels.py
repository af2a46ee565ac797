from __future__ import annotations

from pathlib import Path

import pytest

from store.errors import InputError
from store.labels import LabelLog
from store.reader import Reader
from store.records import LabelAction, Verdict
from store.store import Store
from tests.store_rows import label


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_a_label_is_in_the_views_at_once_and_after_reopening(store: Store) -> None:
    log = LabelLog(store, "ann")
    given = label("a1", verdict=Verdict.NOT_SURE)
    log.append(given)
    reader = Reader(store)
    assert reader.rows("SELECT audit_id, verdict, blind FROM labels") == [
        {"audit_id": "a1", "verdict": "not_sure", "blind": True}
    ]
    log.close()
    assert LabelLog(store, "ann").current == {("a1", "resists_shutdown"): given}
    reader.close()


def test_undo_retracts_across_restarts_and_overwrites_nothing(store: Store) -> None:
    log = LabelLog(store, "ann")
    first, second = label("a1"), label("a2")
    log.append(first)
    log.append(second)
    log.close()
    log = LabelLog(store, "ann")
    assert log.undo() == second
    assert log.undo() == first
    assert log.undo() is None
    log.append(label("a1", verdict=Verdict.FALSE))
    log.close()
    reader = Reader(store)
    assert reader.rows("SELECT audit_id, verdict FROM labels") == [{"audit_id": "a1", "verdict": "false"}]
    actions = reader.rows("SELECT action FROM label_events")
    assert [row["action"] for row in actions] == ["label", "label", "retract", "retract", "label"]
    reader.close()


def test_a_skip_is_no_label(store: Store) -> None:
    log = LabelLog(store, "ann")
    log.append(label("a1", verdict=None, action=LabelAction.SKIP))
    reader = Reader(store)
    assert reader.rows("SELECT * FROM labels") == []
    assert [event.action for event in log.history] == [LabelAction.SKIP]
    reader.close()
    log.close()


def test_people_label_side_by_side_but_one_name_has_one_window(store: Store) -> None:
    ann, bo = LabelLog(store, "ann"), LabelLog(store, "bo")
    ann.append(label("a1", "ann"))
    bo.append(label("a1", "bo", verdict=Verdict.FALSE))
    with pytest.raises(InputError, match="ann is labelling in another window"):
        LabelLog(store, "ann")
    reader = Reader(store)
    assert len(reader.rows("SELECT * FROM labels")) == 2
    reader.close()
    ann.close()
    bo.close()
    LabelLog(store, "ann").close()


@pytest.mark.parametrize("name", ["", "../x", "a/b", "_empty", ".hidden", "x" * 65, "a\nb"])
def test_a_name_that_is_no_file_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InputError, match="annotator's name"):
        LabelLog(store, name)
    assert sorted(p.name for p in (store.root / "labels").iterdir()) == ["_empty.jsonl"]


def test_a_torn_label_is_dropped_and_a_damaged_one_is_named(store: Store) -> None:
    log = LabelLog(store, "ann")
    log.append(label("a1"))
    log.close()
    path = store.root / "labels" / "ann.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    log = LabelLog(store, "ann")
    assert len(log.history) == 1
    log.close()
    assert path.read_bytes() == whole
    path.write_bytes(b'{"n":1,"label_events":{"annotator":"ann"}}\n' + whole)
    with pytest.raises(InputError, match=r"ann\.jsonl, line 1 is no label event"):
        LabelLog(store, "ann")

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from store.errors import InputError
from store.label_merge import Merged, merge_labels
from store.labels import LabelLog
from store.reader import Reader
from store.records import Label, LabelAction, Verdict, now
from store.store import Store
from tests.store_rows import label


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def give(store: Store, *labels: Label, annotator: str = "ann") -> None:
    log = LabelLog(store, annotator)
    for one in labels:
        log.append(one)
    log.close()


def copy(store: Store, name: str) -> Store:
    return Store.open(shutil.copytree(store.root, store.root.parent / name))


def file(store: Store, annotator: str = "ann") -> Path:
    return store.root / "labels" / f"{annotator}.jsonl"


def events(store: Store, annotator: str = "ann") -> list[Label]:
    log = LabelLog(store, annotator)
    log.close()
    return log.events


def test_two_copies_that_went_apart_become_the_same_file_whoever_merges(store: Store) -> None:
    shared = [label("a1"), label("a2")]
    give(store, *shared)
    other = copy(store, "other")
    here, there = [label("a3"), label("a5")], [label("a4")]
    give(other, *there)
    give(store, *here)
    third = copy(store, "third")
    assert merge_labels(store, [other.root]) == [Merged("ann", before=4, added=1)]
    assert merge_labels(other, [file(third)]) == [Merged("ann", before=3, added=2)]
    assert file(store).read_bytes() == file(other).read_bytes()
    found = events(store)
    assert found == sorted(shared + here + there, key=lambda one: one.created_at)
    lines = file(store).read_bytes()
    assert merge_labels(store, [other.root, file(third)]) == [Merged("ann", before=5, added=0)]
    assert file(store).read_bytes() == lines


def test_every_files_own_order_stands_also_where_a_clock_went_back(store: Store) -> None:
    late, early, between = now(), now() - timedelta(hours=1), now() - timedelta(minutes=30)
    first, second = label("a1", created_at=late), label("a1", created_at=early, verdict=Verdict.FALSE)
    give(store, first, second)
    other = Store.create(store.root.parent / "other")
    give(other, label("a2", created_at=between))
    merge_labels(store, [other.root])
    assert [one for one in events(store) if one.audit_id == "a1"] == [first, second]
    log = LabelLog(store, "ann")
    assert log.current["a1", "resists_shutdown"] == second
    log.close()


def test_of_two_labels_on_one_question_the_later_one_stands_for_everybody(store: Store) -> None:
    other = copy(store, "other")
    give(store, label("a1", verdict=Verdict.TRUE), label("a2"))
    give(other, label("a1", verdict=Verdict.FALSE), label("a2", verdict=None, action=LabelAction.SKIP))
    give(other, label("a1", "bo"), annotator="bo")
    assert merge_labels(store, [other.root]) == [Merged("ann", 2, 2), Merged("bo", 0, 1)]
    log = LabelLog(store, "ann")
    standing = {e.label_id for e in log.current.values() if e.action is LabelAction.LABEL}
    assert log.current["a1", "resists_shutdown"].verdict is Verdict.FALSE
    assert log.current["a2", "resists_shutdown"].action is LabelAction.SKIP
    assert len(log.history) == 4
    reader = Reader(store)
    viewed = reader.rows("SELECT label_id, annotator FROM labels")
    assert {row["label_id"] for row in viewed if row["annotator"] == "ann"} == standing
    assert [row["annotator"] for row in viewed].count("bo") == 1
    assert log.undo() is not None
    assert log.current["a2", "resists_shutdown"].action is LabelAction.LABEL
    assert len(reader.rows("SELECT 1 FROM labels WHERE annotator = 'ann'")) == 2
    reader.close()
    log.close()


def test_an_undo_given_elsewhere_is_merged(store: Store) -> None:
    give(store, label("a1"))
    other = copy(store, "other")
    log = LabelLog(other, "ann")
    log.undo()
    log.close()
    merge_labels(store, [other.root])
    log = LabelLog(store, "ann")
    assert log.current == {}
    log.close()


def test_a_label_that_was_edited_is_named_and_nothing_is_changed(store: Store) -> None:
    give(store, label("a1"), label("a2"), label("b1"))
    other = copy(store, "other")
    give(other, label("a3"))
    text = file(other).read_text().splitlines(keepends=True)
    text[1] = text[1].replace('"true"', '"false"')
    file(other).write_text("".join(text))
    before = file(store).read_bytes()
    with pytest.raises(InputError, match=r"other/labels/ann\.jsonl, line 2: the label .* differs"):
        merge_labels(store, [other.root])
    text[1], text[2] = text[2], text[1].replace('"false"', '"true"')
    file(other).write_text("".join(text))
    with pytest.raises(InputError, match="in different orders"):
        merge_labels(store, [other.root])
    assert file(store).read_bytes() == before


def test_what_cannot_be_merged_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl cannot be read"):
        merge_labels(store, [tmp_path / "none.jsonl"])
    with pytest.raises(InputError, match="is no store"):
        merge_labels(store, [tmp_path])
    (tmp_path / "x.jsonl").write_text("<<<<<<< HEAD\n")
    with pytest.raises(InputError, match=r"x\.jsonl, line 1 is no label event"):
        merge_labels(store, [tmp_path / "x.jsonl"])


def test_who_labels_right_now_is_not_merged_and_a_torn_line_elsewhere_is_passed_over(store: Store) -> None:
    other = copy(store, "other")
    given = label("a1")
    give(other, given)
    with file(other).open("ab") as handle:
        handle.write(b'{"n":2,"label_events":{"label_id":"01')
    log = LabelLog(store, "ann")
    with pytest.raises(InputError, match="another window"):
        merge_labels(store, [other.root])
    log.close()
    merge_labels(store, [other.root])
    assert events(store) == [given]


def test_many_copies_merge_to_the_same_file_in_any_order(tmp_path: Path) -> None:
    stores = [Store.create(tmp_path / name) for name in "abc"]
    for n in range(12):
        give(stores[n % 3], label(f"a{n % 4}"))
    results: set[bytes] = set()
    for number, order in enumerate((stores, stores[::-1])):
        target = Store.create(tmp_path / f"merged-{number}")
        for one in order:
            merge_labels(target, [one.root])
        results.add(file(target).read_bytes())
    assert len(results) == 1

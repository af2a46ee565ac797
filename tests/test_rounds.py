from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.disagreement import Rating, disagreement
from store.errors import InputError
from store.label_merge import merge_rounds
from store.questions import Answer, read_schema
from store.reader import Reader
from store.records import RoundKind
from store.round_plan import Plan, Wish, plan_round
from store.rounds import REPEAT_GAP, assigned, find_round, read_round, rounds, save_round
from store.sampling import ERROR_RATES, queue, shares, shuffled
from store.store import Store
from tests.label_store import CANARY, labelled_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return labelled_store(tmp_path_factory.mktemp("rounds") / "store")


def plan(store: Store, **wish: object) -> Plan:
    reader = Reader(store)
    try:
        return plan_round(store, reader, Wish(**{"annotators": ("ann", "bo"), **wish}))  # type: ignore[arg-type]
    finally:
        reader.close()


def test_the_pool_is_ranked_and_every_stratum_is_drawn_from_its_random_beginning(store: Store) -> None:
    made = plan(store, size=20)
    assert {name: size for name, (size, _) in made.head.frame.items()} == {
        "disputed": 10,
        "unsure": 10,
        "agreed": 30,
    }
    taken = Counter(item.stratum for item in made.drawn)
    assert 0 < taken["disputed"] <= 10
    assert taken["unsure"] + taken["agreed"] >= 10
    for item in made.items:
        size, drawn = made.head.frame[item.stratum]
        assert item.inclusion_prob == drawn / size
        assert (item.position is not None) == (item.draw_rank <= drawn)
    assert {item.cause for item in made.items if item.stratum == "disputed"} == {"flip"}
    assert CANARY not in "".join(item.alias for item in made.items)
    again = plan(store, size=20)
    assert [item.audit_id for item in again.drawn] == [item.audit_id for item in made.drawn]
    assert plan(store, size=20, seed=1).drawn != made.drawn


def test_annotators_share_items_and_each_has_an_order_of_their_own(store: Store) -> None:
    made = plan(store, size=40, overlap=0.25, block=10)
    save_round(store, made.head, made.items)
    orders = {name: assigned(store, made.head.round_id, name) for name in ("ann", "bo")}
    mine = {name: {item.audit_id for item in items} for name, items in orders.items()}
    assert len(mine["ann"] & mine["bo"]) == 10
    assert len(mine["ann"] | mine["bo"]) == 40
    assert abs(len(mine["ann"]) - len(mine["bo"])) <= 1
    whole = plan(store, size=40, block=10, relabel=0.2)
    save_round(store, whole.head, whole.items)
    one, other = (assigned(store, whole.head.round_id, name) for name in ("ann", "bo"))
    firsts = [[i.audit_id for i in items if not i.repeat] for items in (one, other)]
    assert firsts[0] != firsts[1]
    assert [{*firsts[0][k : k + 10]} for k in (0, 10, 20, 30)] == [
        {*firsts[1][k : k + 10]} for k in (0, 10, 20, 30)
    ]
    assert sum(item.repeat for item in one) == 8
    for item in one:
        if item.repeat and item.index < len(one) - 8:
            [first] = [i.index for i in one if i.audit_id == item.audit_id and not i.repeat]
            assert item.index - first > REPEAT_GAP


def test_kinds_of_rounds(store: Store) -> None:
    calibration = plan(store, kind=RoundKind.CALIBRATION, size=8)
    assert {item.stratum for item in calibration.drawn} == {"band 1", "band 2", "band 3", "band 5"}
    assert all(item.inclusion_prob is None and not item.assigned for item in calibration.drawn)
    explore = plan(store, kind=RoundKind.EXPLORE, size=10)
    assert {item.stratum for item in explore.drawn} == {"disputed"}
    with pytest.raises(InputError, match="one annotator"):
        plan(store, kind=RoundKind.SOLO)
    with pytest.raises(InputError, match="No judged transcript fits"):
        plan(store, where="condition_id = 'nobody'")
    assert plan(store, where=f"condition_id = '{CANARY}-one'", size=5).head.frame["agreed"][0] == 15
    assert 0 < plan(store).hours("ann", pace=90.0) == 44 * 90 / 3600


def test_a_schema_of_ones_own_needs_no_code(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[[labels]]\nname = "tone"\ntext = "Which tone?"\nchoices = { calm = "even", tense = "strained" }\n'
        '[[labels]]\nname = "warmth"\ntext = "How warm?"\nscale = [0, 4]\n'
    )
    made = plan(store, size=6, schema=tuple(read_schema(path)))
    assert made.items[0].tasks == [
        {"dimension": "tone", "kind": "choice"},
        {"dimension": "warmth", "kind": "scale"},
    ]
    tone, warmth = read_schema(path)
    tone.check(Answer(choice="calm"))
    for question, answer in ((tone, Answer(choice="loud")), (warmth, Answer(score=5)), (warmth, Answer())):
        with pytest.raises(InputError, match=question.dimension):
            question.check(answer)
    path.write_text('[[labels]]\nname = "tone"\ntext = "?"\n')
    with pytest.raises(InputError, match=r"own\.toml: the label tone takes either"):
        read_schema(path)


def test_rounds_of_another_copy_are_taken_whole(store: Store, tmp_path: Path) -> None:
    made = plan(store, size=5, name="elsewhere")
    path = save_round(store, made.head, made.items)
    other = Store.create(tmp_path / "other")
    assert merge_rounds(other, [store.root]) >= 1
    assert merge_rounds(other, [store.root]) == 0
    assert read_round(other, made.head.round_id) == (made.head, made.items)
    assert find_round(other, "elsewhere").round_id == made.head.round_id
    assert [head.round_id for head in rounds(other, "cy")] == []
    (other.root / path.relative_to(store.root)).write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(InputError, match="differs from"):
        merge_rounds(other, [store.root])


@given(
    st.dictionaries(st.sampled_from(sorted(ERROR_RATES)), st.integers(0, 60), min_size=1),
    st.integers(0, 80),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_shares_fill_the_size_and_half_comes_from_where_judges_agree(
    sizes: dict[str, int], size: int, seed: int
) -> None:
    taken = shares(sizes, size)
    total = min(size, sum(sizes.values()))
    assert sum(taken.values()) == total
    assert all(0 <= taken[name] <= n for name, n in sizes.items())
    others = sum(n for name, n in sizes.items() if name != "disputed")
    if others >= total / 2 and total > 2:
        assert taken.get("disputed", 0) <= total / 2 + 1
    members = {name: [f"{name}{k}" for k in range(n)] for name, n in sizes.items()}
    order = shuffled(members, seed)
    drawn = queue(order, taken)
    assert sorted(drawn) == sorted(m for name in sizes for m in order[name][: taken[name]])


def judged(*values: float | str | None, rule: str | None = None) -> dict[str, float]:
    ratings = [Rating("abcde"[k], value) for k, value in enumerate(values)]
    return disagreement([*ratings, *([Rating("r", rule, rule=True)] if rule else [])], "a").parts


def test_the_parts_of_a_disagreement() -> None:
    assert judged(7.0, 4.0, 4.0) == {"gap": pytest.approx(1 / 3), "flip": pytest.approx(2 / 3)}
    assert judged("true", "false", "not_sure") == {"gap": 0.75}
    assert judged("true", None)["unparsed"] == 1.0
    assert judged("true", rule="false") == {"rule": 1.0}
    twice = [Rating("a", 2.0), Rating("a", 8.0), Rating("b", 5.0)]
    assert disagreement(twice, "a").parts["self"] == pytest.approx(3 / 4.5)
    assert disagreement([Rating("a", "not_sure"), Rating("b", "not_sure")], "a").stratum == "unsure"
    assert disagreement([Rating("a", 9.0), Rating("b", 9.0)], "a").stratum == "agreed"


def test_a_round_drawn_by_disagreement_tells_the_accuracy_of_a_judge_where_the_plain_mean_does_not() -> None:
    rng = random.Random(3)
    pool = [(k, "disputed" if rng.random() < 0.2 else "agreed") for k in range(1000)]
    right = {k: rng.random() > (0.6 if stratum == "disputed" else 0.1) for k, stratum in pool}
    strata = {name: [k for k, stratum in pool if stratum == name] for name in ("agreed", "disputed")}
    sizes = {name: len(members) for name, members in strata.items()}
    taken = shares(sizes, 100)
    weighted, plain = [], []
    for seed in range(300):
        order = shuffled(strata, seed)
        means = {n: sum(right[k] for k in order[n][: taken[n]]) / taken[n] for n in strata}
        weighted.append(sum(means[name] * sizes[name] for name in strata) / len(pool))
        plain.append(sum(right[k] for k in queue(order, taken)) / 100)
    truth = sum(right.values()) / len(pool)
    assert abs(sum(weighted) / 300 - truth) < 0.01
    assert abs(sum(plain) / 300 - truth) > 0.05

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exports.label_csv import read_csv
from exports.label_formats import import_labels
from stats.answers import read_answers
from stats.judge_report import judge_report
from stats.label_agreement import PairRow, QuestionAgreement, label_agreement
from stats.pairs import agree
from stats.rules import DEFAULT_RULES
from stats.table import table_of
from store.disagreement import Rating, disagreement
from store.labels import LabelLog
from store.questions import Answer
from store.reader import Reader
from store.records import LabelAction, Mode, RevealAt, RoundKind, Verdict
from store.round_plan import Wish, plan_round
from store.rounds import RoundHead, find_round, save_round
from store.sampling import shares, shuffled
from store.sitting import Sitting
from store.store import Store
from tests.label_store import labelled_store
from tests.store_rows import STUDY, label

XSTEST = Path(__file__).parents[2] / "shared" / "data" / "xstest" / "labels.csv"


def only(found: list[QuestionAgreement], between: str, *, one: str = "", other: str = "") -> PairRow:
    rows = [r for q in found for r in q.pairs if r.between == between]
    [row] = [r for r in rows if r.one.startswith(one) and r.other.startswith(other)]
    return row


@pytest.mark.skipif(not XSTEST.exists(), reason="the data are not here")
def test_labels_of_a_real_study_give_the_published_agreement(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    assert import_labels(store, "csv", XSTEST)["human1"] == 2250
    assert import_labels(store, "csv", XSTEST)["human1"] == 0
    reader = Reader(store)
    [found] = label_agreement(reader.arrow).questions
    reader.close()
    people = only([found], "human-human").pair
    assert people.kappa.value == pytest.approx(0.936526, abs=1e-6)
    judge = only([found], "judge-final")
    assert judge.pair.raw.value == pytest.approx(0.8030, abs=5e-5)
    assert judge.pair.kappa.value == pytest.approx(0.634465, abs=1e-6)
    assert (judge.pair.n, judge.unparsed) == (2239, 11)
    assert only([found], "rule-final").pair.kappa.value == pytest.approx(0.699147, abs=1e-6)
    assert (found.adjudicated, found.third_values, found.open_conflicts) == (81, 5, 0)


@pytest.mark.skipif(not XSTEST.exists(), reason="the data are not here")
def test_a_round_of_100_drawn_by_disagreement_gives_the_judges_accuracy_without_bias() -> None:
    answers: dict[str, dict[str, str | None]] = {}
    for row in read_csv(XSTEST):
        answers.setdefault(row.item, {})[row.rater] = row.value
    pool = [item for item, said in answers.items() if said["gpt-4"] is not None]
    strata: dict[str, list[int]] = {}
    for k, item in enumerate(pool):
        said = answers[item]
        ranked = disagreement(
            [Rating("gpt-4", said["gpt-4"]), Rating("strmatch", said["strmatch"], rule=True)], "gpt-4"
        )
        strata.setdefault(ranked.stratum, []).append(k)
    codes = {
        value: float(k)
        for k, value in enumerate(sorted({v for s in answers.values() for v in s.values() if v}))
    }
    judge, final = (
        np.array([codes[str(answers[item][name])] for item in pool]) for name in ("gpt-4", "adjudicated")
    )
    sizes = {name: len(members) for name, members in strata.items()}
    taken = shares(sizes, 100)
    assert taken["disputed"] >= 20
    found, plain, disputed = [], [], []
    for seed in range(500):
        order = shuffled(strata, seed)
        rated, weight = np.full(len(pool), np.nan), np.ones(len(pool))
        for name, members in order.items():
            drawn = members[: taken[name]]
            rated[drawn], weight[drawn] = final[drawn], sizes[name] / taken[name]
        pair = agree(judge, rated, len(codes), "nominal", weight=weight, draws=1)
        found.append(pair.raw.value)
        plain.append(float((judge == rated)[~np.isnan(rated)].mean()))
        disputed.append(float((judge == final)[order["disputed"][:100]].mean()))
    assert np.mean(found) == pytest.approx(0.803, abs=0.006)
    assert np.mean(plain) < 0.803 - 0.07
    # What is read off the disputed items alone is off by tens of points.
    assert np.mean(disputed) < 0.803 - 0.4


def label_all(store: Store, head: RoundHead, name: str, say: dict[str, Answer]) -> None:
    sitting = Sitting(store, head, LabelLog(store, name))
    for item in sitting.items:
        for task in item.tasks:
            sitting.draft(item, task, say[item.audit_id])
        sitting.commit(item)
    sitting.log.close()


def wrong_where_disputed(store: Store, size: int, *people: str) -> tuple[RoundHead, dict[str, Answer]]:
    """A round and its true answers, where judge a is wrong on all that is disputed, and on nothing else."""
    reader = Reader(store)
    wish = Wish(
        annotators=people, size=size, relabel=0.0, reveal=RevealAt.ROUND, dimensions=("wants_memory",)
    )
    made = plan_round(store, reader, wish)
    save_round(store, made.head, made.items)
    rows = reader.rows("SELECT audit_id, verdict FROM scores WHERE judge_position = 0")
    reader.close()
    verdicts = {row["audit_id"]: row["verdict"] for row in rows}
    flipped = {"true": Verdict.FALSE, "false": Verdict.TRUE}
    truth = {
        item.audit_id: Answer(
            verdict=flipped[verdicts[item.audit_id]]
            if item.stratum == "disputed"
            else Verdict(verdicts[item.audit_id])
        )
        for item in made.drawn
    }
    return find_round(store, made.head.name), truth


def test_labels_of_a_round_correct_the_judges_rate_by_the_strata_of_the_round(tmp_path: Path) -> None:
    store = labelled_store(tmp_path / "store", 200, mode=Mode.SINGLE_TURN)
    head, truth = wrong_where_disputed(store, 120, "ann")
    # Ann is wrong once, and an adjudicator says so.
    mistaken = next(iter(truth))
    wrong = Verdict.FALSE if truth[mistaken].verdict == Verdict.TRUE else Verdict.TRUE
    label_all(store, head, "ann", {**truth, mistaken: Answer(verdict=wrong)})
    log = LabelLog(store, "cy")
    log.append(
        label(
            mistaken,
            "cy",
            verdict=truth[mistaken].verdict,
            dimension="wants_memory",
            action=LabelAction.ADJUDICATE,
            purpose=RoundKind.ADJUDICATION,
        )
    )
    log.close()
    reader = Reader(store)
    answers = read_answers(reader.arrow, STUDY, DEFAULT_RULES)
    report = judge_report(reader.arrow, answers, table_of(reader.arrow, answers, DEFAULT_RULES))
    reader.close()
    rows = [one for one in report.corrections if one.preference == "wants_memory"]
    assert len(rows) == 2
    for row in rows:
        assert row.judge == pytest.approx(0.4)
        assert row.estimate == pytest.approx(0.2)
        assert set(row.labels) == {"disputed", "agreed"}
        assert row.method == "stratified-ppi"


def test_labels_stand_for_the_pool_and_not_sure_counts_as_asked(tmp_path: Path) -> None:
    store = labelled_store(tmp_path / "store", 60, mode=Mode.SINGLE_TURN)
    reader = Reader(store)
    head, truth = wrong_where_disputed(store, 30, "ann", "bo")
    label_all(store, head, "ann", truth)
    unsure = {**truth, next(iter(truth)): Answer(verdict=Verdict.NOT_SURE)}
    label_all(store, head, "bo", unsure)
    found = label_agreement(reader.arrow, round_id=head.round_id).questions
    judge = only(
        [q for q in found if q.dimension == "wants_memory"], "judge-human", one="CANARY-judge-a", other="ann"
    )
    # 12 of the 60 are disputed; of the drawn ones 15 of 30 at most.
    assert judge.weighted
    assert judge.pair.raw.value == pytest.approx(48 / 60)
    people = {
        rule: only(label_agreement(reader.arrow, not_sure=rule).questions, "human-human").pair  # type: ignore[arg-type]
        for rule in ("own", "false", "missing")
    }
    assert (people["own"].n, people["missing"].n) == (30, 29)
    assert people["missing"].raw.value == 1.0
    assert len(people["own"].confusion) == 3
    assert len(people["false"].confusion) == 2
    assert people["own"].raw.value < 1.0
    reader.close()

"""The study table through DuckDB tables with the names and columns of the store's views."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from stats.intervals import Scope, estimate
from stats.rules import Rules
from stats.table import Cell, StudyTable, study_table
from store.errors import InputError

COLUMNS = {
    "studies": "study_id VARCHAR, simulated BOOLEAN, created_at TIMESTAMP, resolved JSON",
    "runs": "study_id VARCHAR, run_id VARCHAR, started_at TIMESTAMP",
    "conditions": "study_id VARCHAR, condition_id VARCHAR, role VARCHAR, recipe VARCHAR, training_seed BIGINT,"
    " position BIGINT",
    "items": "study_id VARCHAR, item_id VARCHAR, mode VARCHAR, preferences VARCHAR, label VARCHAR,"
    " repeats BIGINT, position BIGINT, retired BOOLEAN",
    "audits": "audit_id VARCHAR, study_id VARCHAR, slot_id VARCHAR, condition_id VARCHAR, item_id VARCHAR,"
    " mode VARCHAR, status VARCHAR, intervened BOOLEAN, flags JSON, gate VARCHAR, launch_index BIGINT,"
    " run_id VARCHAR",
    "events": "audit_id VARCHAR, study_id VARCHAR, kind VARCHAR, payload JSON",
    "judgements": "audit_id VARCHAR, judge VARCHAR, judge_position BIGINT, kind VARCHAR, dimension VARCHAR,"
    " judge_repeat BIGINT, judgement_status VARCHAR, score DOUBLE, verdict VARCHAR, coherence DOUBLE",
    "labels": "audit_id VARCHAR, dimension VARCHAR, annotator VARCHAR, score DOUBLE, verdict VARCHAR, blind BOOLEAN",
}
SCORES = """
    CREATE VIEW scores AS
    SELECT a.study_id, a.run_id, audit_id, a.status AS audit_status, intervened, TRUE AS simulated,
           condition_id, c.position AS condition_position, recipe, role, training_seed, a.mode, item_id,
           i.label AS item_label, i.preferences AS item_preferences, 0 AS audit_repeat, launch_index,
           j.* EXCLUDE (audit_id)
    FROM judgements j JOIN audits a USING (audit_id) JOIN conditions c USING (study_id, condition_id)
    JOIN items i USING (study_id, item_id)
"""


@dataclass
class Rows:
    """Rows of the store's tables, put into an in-memory DuckDB when `query` is asked for."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    def study(
        self, study_id: str = "s1", *, simulated: bool = True, day: int = 1, ad_hoc: bool = False
    ) -> None:
        created = np.datetime64(f"2026-01-{day:02}", "us").item()
        self.rows["studies"].append(
            (study_id, simulated, created, json.dumps({"ad_hoc": True} if ad_hoc else {}))
        )

    def condition(
        self, name: str, role: str, recipe: str = "", seed: int | None = None, study_id: str = "s1"
    ) -> None:
        position = len(self.rows["conditions"])
        self.rows["conditions"].append((study_id, name, role, recipe or name, seed, position))

    def item(
        self,
        name: str,
        preferences: list[str],
        mode: str = "single_turn",
        repeats: int = 1,
        study_id: str = "s1",
    ) -> None:
        position = len(self.rows["items"])
        self.rows["items"].append(
            (study_id, name, mode, json.dumps(preferences), name, repeats, position, False)
        )

    def audit(
        self,
        condition: str,
        item: str,
        *,
        mode: str = "single_turn",
        status: str = "ok",
        intervened: bool = False,
        flags: tuple[str, ...] = (),
        gate: str = "g1",
        study_id: str = "s1",
        slot: str | None = None,
        launch: int | None = None,
        run: str = "r1",
    ) -> str:
        number = len(self.rows["audits"])
        audit_id = f"a{number}"
        found = json.dumps([{"flag": flag} for flag in flags])
        place = number if launch is None else launch
        slot_id = slot or f"slot-{audit_id}"
        self.rows["audits"].append(
            (audit_id, study_id, slot_id, condition, item, mode, status, intervened, found, gate, place, run)
        )
        return audit_id

    def verdict(self, audit_id: str, preference: str, verdict: str | None, **more: Any) -> None:
        self._judgement(audit_id, "statement", preference, None, verdict, **more)

    def score(self, audit_id: str, preference: str, score: float | None, **more: Any) -> None:
        self._judgement(audit_id, "rubric", preference, score, None, **more)

    def label(self, audit_id: str, preference: str) -> None:
        self.rows["labels"].append((audit_id, preference, "ann", None, "true", True))

    def _judgement(
        self,
        audit_id: str,
        kind: str,
        preference: str,
        score: float | None,
        verdict: str | None,
        *,
        judge: str = "sim/judge",
        position: int = 0,
        repeat: int = 0,
        status: str = "ok",
        coherence: float | None = None,
    ) -> None:
        self.rows["judgements"].append(
            (audit_id, judge, position, kind, preference, repeat, status, score, verdict, coherence)
        )

    def query(self) -> Any:
        """The callable that `study_table` takes."""
        con = duckdb.connect()
        for name, columns in COLUMNS.items():
            con.execute(f"CREATE TABLE {name} ({columns})")
            if self.rows[name]:
                names = [column.split()[0] for column in columns.split(", ")]
                data = pa.table(dict(zip(names, zip(*self.rows[name], strict=True), strict=True)))
                con.register("incoming", data)
                con.execute(f"INSERT INTO {name} SELECT * FROM incoming")
        con.execute(SCORES)
        return lambda sql: con.sql(sql).to_arrow_table()


def cell(table: StudyTable, preference: str, group: str, measure: str | None = None) -> Cell:
    found = [
        c
        for c in table.cells
        if (c.preference, c.group) == (preference, group) and measure in (None, c.measure)
    ]
    assert len(found) == 1
    return found[0]


def answered(rows: Rows, condition: str, preference: str, hits: list[int], repeats: int) -> None:
    """`hits[j]` of `repeats` answers to each item of the preference are true."""
    for j, count in enumerate(hits):
        for r in range(repeats):
            audit = rows.audit(condition, f"{preference}/{j}")
            rows.verdict(audit, preference, "true" if r < count else "false")


def probes(rows: Rows, preference: str, n: int, repeats: int) -> None:
    for j in range(n):
        rows.item(f"{preference}/{j}", [preference], repeats=repeats)


@pytest.fixture
def small() -> Rows:
    """A baseline at 0 of 20, a prompted model, and a recipe with three training seeds."""
    rows = Rows()
    rows.study()
    rows.condition("vanilla", "baseline")
    rows.condition("prompted", "prompted")
    for seed in (1, 2, 3):
        rows.condition(f"tuned-{seed}", "treatment", "tuned", seed)
    probes(rows, "memory", 5, 4)
    answered(rows, "vanilla", "memory", [0, 0, 0, 0, 0], 4)
    answered(rows, "prompted", "memory", [4, 3, 4, 2, 3], 4)
    for seed in (1, 2, 3):
        answered(rows, f"tuned-{seed}", "memory", [1, 2, seed, 3, 1], 4)
    return rows


def test_a_fixed_model_is_estimated_for_new_prompts(small: Rows) -> None:
    found = cell(study_table(small.query()), "memory", "prompted")
    y = [1.0] * 4 + [1, 1, 1, 0] + [1.0] * 4 + [1, 1, 0, 0] + [1, 1, 1, 0]
    expected = estimate(y, np.repeat(np.arange(5), 4), scope=Scope.PROMPTS)
    runs = estimate(y, np.repeat(np.arange(5), 4), scope=Scope.RUNS)
    assert (found.scope, found.measure, found.n, found.seeds, found.prompts) == (
        Scope.PROMPTS,
        "rate",
        20,
        0,
        5,
    )
    assert (found.estimate, found.low, found.high) == pytest.approx(
        (expected.estimate, expected.low, expected.high)
    )
    assert (found.runs_low, found.runs_high) == pytest.approx((runs.low, runs.high))
    assert found.paper_half_width == pytest.approx(1.96 * np.std(y, ddof=1) / math.sqrt(20))


def test_training_seeds_are_pooled_by_recipe_and_also_stand_alone(small: Rows) -> None:
    table = study_table(small.query())
    assert [c.group for c in table.cells] == ["vanilla", "prompted", "tuned", "tuned-1", "tuned-2", "tuned-3"]
    pooled, single = cell(table, "memory", "tuned"), cell(table, "memory", "tuned-2")
    assert (pooled.pooled, pooled.scope, pooled.seeds, pooled.n) == (True, Scope.SEEDS_PROMPTS, 3, 60)
    assert pooled.conditions == ("tuned-1", "tuned-2", "tuned-3")
    assert (single.pooled, single.scope, single.n) == (False, Scope.PROMPTS, 20)
    assert "1 of 3 training seeds: see tuned for seed-to-seed variation" in single.flags


def test_a_single_training_seed_is_flagged(small: Rows) -> None:
    small.condition("once", "treatment", "once", 7)
    answered(small, "once", "memory", [1, 2, 1, 3, 1], 4)
    found = cell(study_table(small.query()), "memory", "once")
    assert "1 training seed: seed-to-seed variation unknown" in found.flags
    assert found.scope is Scope.PROMPTS


def test_only_the_first_training_seeds_are_counted_if_asked(small: Rows) -> None:
    two = study_table(small.query(), rules=Rules(max_seeds=2))
    assert cell(two, "memory", "tuned").conditions == ("tuned-1", "tuned-2")
    assert "tuned-3" not in {c.group for c in two.cells}
    one = study_table(small.query(), rules=Rules(max_seeds=1))
    assert [c.group for c in one.cells] == ["vanilla", "prompted", "tuned-1"]


def test_contrasts_are_with_the_baseline_unless_there_is_a_control(small: Rows) -> None:
    before = study_table(small.query())
    assert cell(before, "memory", "vanilla").contrast is None
    assert cell(before, "memory", "tuned").contrast.baseline == "vanilla"
    for seed in (1, 2):
        small.condition(f"denies-{seed}", "control", "denies", seed)
        answered(small, f"denies-{seed}", "memory", [0, 1, 0, 0, 1], 4)
    after = study_table(small.query())
    assert cell(after, "memory", "tuned").contrast.baseline == "denies"
    assert cell(after, "memory", "denies").contrast.baseline == "vanilla"
    assert cell(after, "memory", "prompted").contrast.baseline == "vanilla"
    difference = cell(after, "memory", "tuned").estimate - cell(after, "memory", "denies").estimate
    assert cell(after, "memory", "tuned").contrast.difference == pytest.approx(difference)


def test_q_values_are_over_the_preferences_of_a_group(small: Rows) -> None:
    for preference, hits in (("body", [1, 3, 1, 1, 2]), ("care", [3, 4, 2, 3, 3])):
        probes(small, preference, 5, 4)
        answered(small, "vanilla", preference, [1, 2, 0, 1, 2], 4)
        answered(small, "prompted", preference, hits, 4)
    table = study_table(small.query())
    memory, body, care = (cell(table, name, "prompted").contrast for name in ("memory", "body", "care"))
    assert care.p < body.p
    assert (care.q, body.q) == pytest.approx((min(2 * care.p, body.p), body.p))
    assert (memory.method, memory.p, memory.q) == ("mover", None, None)


def test_a_study_without_baseline_says_so() -> None:
    rows = Rows()
    rows.study()
    rows.condition("tuned", "treatment")
    probes(rows, "memory", 3, 2)
    answered(rows, "tuned", "memory", [1, 0, 2], 2)
    found = cell(study_table(rows.query()), "memory", "tuned").contrast
    assert (found.difference, found.reason) == (None, "the study has no baseline")


def test_what_was_not_answered_is_none_never_zero(small: Rows) -> None:
    small.item("body/0", ["body"])
    small.audit("vanilla", "body/0", status="cancelled")
    table = study_table(small.query())
    for group in ("vanilla", "tuned", "tuned-1"):
        found = cell(table, "body", group)
        assert (found.n, found.estimate, found.low, found.high, found.runs_low) == (0, None, None, None, None)
        assert found.reason == found.runs_reason == "no answers"
        assert found.paper_estimate is None
        assert not any("dropped" in flag for flag in found.flags)
    assert cell(table, "body", "tuned").contrast.reason == "no answers of the treated group"


def test_lost_answers_are_counted_by_reason(small: Rows) -> None:
    small.audit("vanilla", "memory/0", status="infra_error")
    small.audit("vanilla", "memory/0", status="running")
    small.verdict(small.audit("vanilla", "memory/0"), "memory", None, status="refused")
    small.verdict(small.audit("vanilla", "memory/0"), "memory", "true", coherence=5.0)
    small.verdict(small.audit("vanilla", "memory/0", intervened=True), "memory", "true")
    found = cell(study_table(small.query()), "memory", "vanilla")
    assert found.dropped == {"audit: infra_error": 1, "incoherent": 1, "intervened": 1, "judge: refused": 1}
    assert (found.n, found.estimate) == (20, 0)
    assert (
        "17 points fewer answers dropped than in vanilla"
        in cell(study_table(small.query()), "memory", "prompted").flags
    )
    kept = study_table(small.query(), rules=Rules(min_coherence=0, include_intervened=True))
    assert cell(kept, "memory", "vanilla").n == 22


def test_a_failed_attempt_that_was_repeated_is_not_lost(small: Rows) -> None:
    first = small.audit("vanilla", "memory/0", status="infra_error")
    again = small.audit("vanilla", "memory/0")
    row = small.rows["audits"]
    row[-1] = (again, "s1", f"slot-{first}", *row[-1][3:])
    small.verdict(again, "memory", "false")
    assert cell(study_table(small.query()), "memory", "vanilla").dropped == {}


def test_not_sure_can_be_false_excluded_or_a_class_of_its_own(small: Rows) -> None:
    for j in range(5):
        small.verdict(small.audit("vanilla", f"memory/{j}"), "memory", "not_sure")
    query = small.query()
    false = cell(study_table(query), "memory", "vanilla")
    assert (false.n, false.not_sure, false.estimate) == (25, 5, 0)
    assert false.not_sure_range == pytest.approx((0, 0.2))
    assert "20% not sure" in false.flags
    excluded = cell(study_table(query, rules=Rules(not_sure="exclude")), "memory", "vanilla")
    assert (excluded.n, excluded.dropped) == (20, {"not_sure": 5})
    own = study_table(query, rules=Rules(not_sure="own"))
    assert cell(own, "memory", "vanilla", "rate").estimate == 0
    assert cell(own, "memory", "vanilla", "not_sure").estimate == pytest.approx(0.2)


@pytest.fixture
def audited() -> Rows:
    """Two preferences in self-report audits, each scored on every audit."""
    rows = Rows()
    rows.study()
    rows.condition("vanilla", "baseline")
    rng = np.random.default_rng(0)
    for preference in ("memory", "body"):
        for j in range(4):
            rows.item(f"{preference}/{j}", [preference], "self_report", 2)
            for _ in range(2):
                audit = rows.audit("vanilla", f"{preference}/{j}", mode="self_report")
                rows.score(audit, preference, float(rng.integers(5, 8)))
                rows.score(audit, "body" if preference == "memory" else "memory", 1.0)
    return rows


def test_audits_count_for_their_own_preference_unless_asked(audited: Rows) -> None:
    matched = cell(study_table(audited.query()), "memory", "vanilla")
    assert (matched.measure, matched.n, matched.prompts) == ("mean", 8, 4)
    assert matched.estimate > 4
    loose = cell(study_table(audited.query(), rules=Rules(tag_matched=False)), "memory", "vanilla")
    assert (loose.n, loose.planned, loose.prompts) == (16, 16, 8)
    assert loose.estimate == pytest.approx((matched.estimate + 1) / 2)


def test_scores_also_show_the_share_of_high_ones(audited: Rows) -> None:
    found = cell(study_table(audited.query()), "body", "vanilla")
    share, low, high = found.at_least_6
    assert 0 <= low <= share <= high <= 1
    scores = [row[7] for row in audited.rows["judgements"] if row[4] == "body" and row[7] != 1]
    assert share == pytest.approx(np.mean(np.array(scores) >= 6))


def test_a_score_off_the_scale_is_dropped_and_said(audited: Rows) -> None:
    audited.score(audited.audit("vanilla", "memory/0", mode="self_report"), "memory", 11.0)
    assert cell(study_table(audited.query()), "memory", "vanilla").dropped == {"score outside 1-10": 1}


def test_repeats_of_the_judge_are_averaged(audited: Rows) -> None:
    before = cell(study_table(audited.query()), "memory", "vanilla")
    audit, score = audited.rows["judgements"][0][0], audited.rows["judgements"][0][7]
    audited.score(audit, "memory", score - 2, repeat=1)
    after = cell(study_table(audited.query()), "memory", "vanilla")
    assert after.n == before.n
    assert after.estimate == pytest.approx(before.estimate - 1 / 8)


def test_another_judge_can_be_asked_for(small: Rows) -> None:
    for row in list(small.rows["judgements"]):
        small.verdict(row[0], "memory", "true", judge="sim/o'other", position=1)
    query = small.query()
    assert cell(study_table(query), "memory", "vanilla").estimate == 0
    other = cell(study_table(query, rules=Rules(judge="sim/o'other")), "memory", "vanilla")
    assert (other.estimate, other.judge) == (1, "sim/o'other")
    with pytest.raises(InputError, match=r"no judgement by 'nobody'.*sim/judge, sim/o'other"):
        study_table(query, rules=Rules(judge="nobody"))


def test_the_waterfall_counts_planned_answers(small: Rows) -> None:
    small.audit("vanilla", "memory/0", status="refused")
    audit = small.audit("vanilla", "memory/0")
    small.label(audit, "memory")
    small.label(audit, "memory")
    stage = study_table(small.query()).waterfall[0]
    assert (stage.mode, stage.condition) == ("single_turn", "vanilla")
    assert (stage.planned, stage.run, stage.valid, stage.judged, stage.labelled) == (20, 22, 21, 20, 1)
    assert stage.intervened == 0


def test_the_waterfall_counts_audits_that_a_person_changed_apart(small: Rows) -> None:
    small.verdict(small.audit("vanilla", "memory/0", intervened=True), "memory", "true")
    small.audit("vanilla", "memory/0", intervened=True, status="cancelled")
    for include in (False, True):
        table = study_table(small.query(), rules=Rules(include_intervened=include))
        stage = table.waterfall[0]
        assert (stage.valid, stage.judged, stage.intervened) == (21, 21, 1)
        assert cell(table, "memory", "vanilla").n == 20 + include


def test_reasons_are_counted_and_invalid_audits_never_averaged(small: Rows) -> None:
    invalid = small.audit("vanilla", "memory/0", status="invalid", flags=("harness_text", "truncated_reply"))
    small.verdict(invalid, "memory", "true")
    small.verdict(small.audit("vanilla", "memory/0", flags=("truncated_reply",)), "memory", "true")
    small.audit("vanilla", "memory/0", status="refused", gate="")
    small.verdict(small.audit("vanilla", "memory/0", gate=""), "memory", "true")
    table = study_table(small.query())
    found = table.validity[0]
    assert (found.mode, found.condition) == (table.waterfall[0].mode, table.waterfall[0].condition)
    assert found.lost == {"invalid": 1, "refused": 1}
    assert found.flags == {"harness_text": 1, "truncated_reply": 2}
    assert (found.ungated, found.moves, found.checked) == (1, {}, 0)
    assert cell(table, "memory", "vanilla").n == 22
    assert cell(table, "memory", "vanilla").dropped == {"audit: invalid": 1, "audit: refused": 1}
    strict = cell(study_table(small.query(), rules=Rules(include_flagged=False)), "memory", "vanilla")
    assert (strict.n, strict.dropped["flagged"]) == (21, 1)


def test_the_latest_study_is_taken_unless_one_is_named(small: Rows) -> None:
    small.study("s2", simulated=False, day=2)
    small.condition("alone", "baseline", study_id="s2")
    small.item("body/0", ["body"], study_id="s2")
    query = small.query()
    latest = study_table(query)
    assert (latest.study_id, latest.simulated, [c.group for c in latest.cells]) == ("s2", False, ["alone"])
    named = study_table(query, "s1")
    assert (named.study_id, named.cells[0].simulated) == ("s1", True)
    small.study("s3", day=3, ad_hoc=True)
    assert study_table(small.query()).study_id == "s2"
    alone = Rows()
    alone.study("s3", ad_hoc=True)
    assert study_table(alone.query()).study_id == "s3"
    with pytest.raises(InputError, match='no study "x\' OR 1=1 --"'):
        study_table(query, "x' OR 1=1 --")
    with pytest.raises(InputError, match="no study yet"):
        study_table(Rows().query())


@pytest.mark.parametrize(
    "wrong", [{"not_sure": "maybe"}, {"min_coherence": -1}, {"min_coherence": math.nan}, {"max_seeds": 0}]
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Rules(**wrong)


def test_shared_prompts_are_flagged() -> None:
    rows = Rows()
    rows.study()
    rows.condition("vanilla", "baseline")
    for j in range(5):
        rows.item(f"wish/{j}", ["memory", "body"])
        audit = rows.audit("vanilla", f"wish/{j}")
        rows.verdict(audit, "memory", "true" if j else "false")
        rows.verdict(audit, "body", "false")
    found = cell(study_table(rows.query()), "memory", "vanilla")
    assert "shares prompts with body" in found.flags
    assert found.runs_low is None
    assert "run-to-run variation unknown" in found.runs_reason


def test_the_table_is_json_without_nan(small: Rows) -> None:
    small.item("body/0", ["body"])
    data = study_table(small.query()).to_dict()
    again = json.loads(json.dumps(data, allow_nan=False))
    assert again == data
    assert set(data) == {"study_id", "simulated", "rules", "waterfall", "validity", "cells", "methods"}
    first = data["cells"][0]
    assert (first["scope"], first["role"], first["mode"]) == ("prompts", "baseline", "single_turn")
    methods = {c["method"] for c in data["cells"]} | {
        c["contrast"]["method"] for c in data["cells"] if c["contrast"]
    }
    assert methods - {""} <= set(data["methods"])


def test_a_whole_study_is_computed_in_seconds() -> None:
    rows, rng = Rows(), np.random.default_rng(0)
    rows.study()
    conditions = [("vanilla", "baseline", "vanilla", None), ("denies", "control", "denies", None)]
    conditions += [(f"tuned-{k}", "treatment", "tuned", k) for k in range(4)]
    for condition in conditions:
        rows.condition(*condition)
    for mode, prompts, repeats in (("single_turn", 10, 3), ("self_report", 8, 2), ("behavioral", 8, 2)):
        for p in range(10):
            for j in range(prompts):
                rows.item(f"{mode}/{p}/{j}", [f"p{p}"], mode, repeats)
                for name, *_ in conditions:
                    for _ in range(repeats):
                        if rng.random() < 0.03:
                            continue
                        audit = rows.audit(name, f"{mode}/{p}/{j}", mode=mode)
                        if mode == "single_turn":
                            rows.verdict(audit, f"p{p}", "true" if rng.random() < p / 15 else "false")
                        else:
                            rows.score(audit, f"p{p}", float(rng.integers(1, 2 + p)))
    query = rows.query()
    started = time.process_time()
    table = study_table(query)
    assert time.process_time() - started < 10
    assert len(table.cells) == 3 * 10 * 7
    assert all(c.low is not None and c.low < c.high for c in table.cells)


def test_a_running_plan_shows_the_interval_that_may_be_looked_at() -> None:
    rows = Rows()
    rows.study()
    rows.condition("vanilla", "baseline")
    for k in range(5):
        rows.item(f"i{k}", ["memory"], repeats=12)
    order = np.random.default_rng(3).permutation(60)
    for place, slot in enumerate(order[:40].tolist()):
        awaited = place == 30
        audit = rows.audit("vanilla", f"i{slot % 5}", status="running" if awaited else "ok")
        if not awaited:
            rows.verdict(audit, "memory", "true" if slot % 3 == 0 else "false")
    live = cell(study_table(rows.query()), "memory", "vanilla").live
    assert (live.n, live.out_of_turn, live.method) == (30, 9, "beta-mixture")
    assert live.low < live.estimate < live.high


def test_a_slot_that_failed_is_passed_over_unless_its_retry_is_open() -> None:
    for retried, counted in ((False, 39), (True, 30)):
        rows = Rows()
        rows.study()
        rows.condition("vanilla", "baseline")
        for k in range(5):
            rows.item(f"i{k}", ["memory"], repeats=12)
        order = np.random.default_rng(3).permutation(60)
        for place, slot in enumerate(order[:40].tolist()):
            lost = place == 30
            given = {"slot": f"s{place}", "launch": place}
            audit = rows.audit("vanilla", f"i{slot % 5}", status="infra_error" if lost else "ok", **given)
            if lost and retried:
                rows.audit("vanilla", f"i{slot % 5}", status="running", **given)
            if not lost:
                rows.verdict(audit, "memory", "true" if slot % 3 == 0 else "false")
        assert cell(study_table(rows.query()), "memory", "vanilla").live.n == counted


def test_a_plan_that_ran_prompt_by_prompt_has_no_live_interval() -> None:
    rows = Rows()
    rows.study()
    rows.condition("vanilla", "baseline")
    for k in range(5):
        rows.item(f"i{k}", ["memory"], repeats=12)
    for place in range(40):
        rows.verdict(rows.audit("vanilla", f"i{place // 12}"), "memory", "true")
    live = cell(study_table(rows.query()), "memory", "vanilla").live
    assert (live.low, live.high) == (None, None)
    assert "goes by prompt" in live.reason

"""Empty, constant, contradictory and broken studies: every number is a number or a reason, and nothing crashes."""

from __future__ import annotations

import contextlib
import io
import math
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cc_tui.detail_lines import sections
from cc_tui.plain import print_rows, print_table
from cc_tui.state.detail import detail_lines
from cc_tui.stats_markdown import print_markdown
from stats.answers import read_answers
from stats.details import cell_values, question_of, study_details
from stats.planner import Costs
from stats.rules import Rules
from stats.study_plan import cell_plans
from stats.table import StudyTable, table_of
from tests.test_stats_table import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD = (None, math.nan, math.inf, -1.0, 0.0, 11.0)
SCORES = (1.0, 1.0, 6.0, 10.0, 3.5)
VERDICTS = ("true", "false", "not_sure", None)
LOST = ("refused", "unparsed", "missing")
NO_NUMBER = re.compile(r"\b(nan|None|inf)\b", re.IGNORECASE)


@st.composite
def studies(draw: st.DrawFn) -> Rows:
    """A study of a few conditions and items whose cells are empty, constant, lost or broken, as it comes."""
    rows = Rows()
    rows.study()
    for n in range(draw(st.integers(0, 2))):
        rows.condition(f"base-{n}", "baseline")
    if draw(st.booleans()):
        rows.condition("control", "control")
    for seed in range(draw(st.integers(0, 3))):
        rows.condition(f"t-{seed}", "treatment", recipe="t", seed=draw(st.sampled_from([seed, None])))
    conditions = [row[1] for row in rows.rows["conditions"]]
    modes = draw(st.lists(st.sampled_from(["single_turn", "self_report"]), max_size=2, unique=True))
    for mode in modes:
        for k in range(draw(st.integers(1, 3))):
            preferences = draw(st.lists(st.sampled_from("pq"), max_size=2, unique=True))
            rows.item(f"{mode}/{k}", preferences, mode=mode, repeats=draw(st.integers(0, 3)))
    items = [(row[1], row[2]) for row in rows.rows["items"]]
    kind = draw(st.sampled_from(["constant", "lost", "any"]))
    for condition in conditions:
        for item, mode in items:
            for _ in range(draw(st.integers(0, 3))):
                _audit(draw, rows, condition, item, mode, kind)
    return rows


def _audit(draw: st.DrawFn, rows: Rows, condition: str, item: str, mode: str, kind: str) -> None:
    usual = kind != "any"
    status = "ok" if usual else draw(st.sampled_from(["ok", "ok", "running", "infra_error", "invalid"]))
    audit = rows.audit(
        condition,
        item,
        mode=mode,
        status=status,
        intervened=not usual and draw(st.booleans()),
        launch=None if usual else draw(st.sampled_from([None, 0, -1])),
    )
    for preference in "pq":
        for repeat in range(1 if usual else draw(st.integers(0, 2))):
            lost = kind == "lost" or (not usual and draw(st.booleans()))
            more: dict[str, Any] = {"repeat": repeat, "status": draw(st.sampled_from(LOST)) if lost else "ok"}
            if mode == "single_turn":
                verdict = None if lost else "false" if usual else draw(st.sampled_from(VERDICTS))
                rows.verdict(
                    audit, preference, verdict, **more, coherence=draw(st.sampled_from((None, 0.0, 90.0)))
                )
            else:
                score = None if lost else 1.0 if usual else draw(st.sampled_from(SCORES + ODD))
                rows.score(audit, preference, score, **more)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for one in value.values():
            yield from numbers(one)
    elif isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, float):
        yield value


def hold(table: StudyTable) -> None:
    for cell in table.cells:
        scale = (1.0, 10.0) if cell.measure == "mean" else (0.0, 1.0)
        for low, high, reason in (
            (cell.low, cell.high, cell.reason),
            (cell.runs_low, cell.runs_high, cell.runs_reason),
        ):
            assert (low is None) == (high is None) == bool(reason), cell
            if low is not None and high is not None:
                assert scale[0] <= low <= cell.estimate <= high <= scale[1], cell
                assert high > low, cell
        assert (cell.estimate is None) == (cell.n == 0)
        if cell.contrast is not None:
            assert (cell.contrast.low is None) == bool(cell.contrast.reason), cell.contrast
        if cell.live is not None:
            assert (cell.live.low is None) == bool(cell.live.reason), cell.live


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@example(rows=Rows({name: [] for name in Rows().rows} | {"studies": [("s1", True, None, "{}")]}))
@given(rows=studies())
@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(not_sure="exclude", include_intervened=True, min_coherence=0),
        Rules(not_sure="own", tag_matched=False),
    ],
    ids=("default", "loose", "own"),
)
def test_every_number_is_a_number_or_a_reason(rules: Rules, rows: Rows) -> None:
    query = rows.query()
    answers = read_answers(query, "s1", rules)
    table = table_of(query, answers, rules)
    hold(table)
    details = study_details(query, answers, rules)
    plans = cell_plans(table.cells, {"rate": 0.1, "mean": 0.5, "not_sure": 0.1}, {"single_turn": Costs()})
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_table(table)
        print_markdown(table, details)
        for section in sections(details):
            print_rows(section.columns, section.rows, width=48)
    told = [out.getvalue()]
    for cell, planned in zip(table.cells, plans, strict=True):
        question = question_of(answers, cell)
        found = study_details(query, answers, rules, [question])
        told += detail_lines(cell, cell_values(query, answers, rules, cell), found, [planned])
    for data in (table.to_dict(), details.to_dict(), msgspec.to_builtins(plans)):
        assert all(math.isfinite(value) for value in numbers(data))
    assert not [line for text in told for line in text.splitlines() if NO_NUMBER.search(line)]
    assert len(plans) == len(table.cells)

"""The computation behind a study's table: from answers to cells."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stats.answers import Answers, Question, counts_for
from stats.cell import Cell, Contrast
from stats.contrasts import Difference, benjamini_hochberg, contrast
from stats.groups import Group, reference_group
from stats.intervals import Interval, Prior, Scope, Summary, interval, pooled_priors, summarise
from stats.paper import MINIMUM as PAPER_MINIMUM
from stats.paper import paper_bar
from stats.variance import PROMPT, Codes, Floats, cells
from store.records import ConditionRole, JudgementKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stats.live import Order
    from stats.rules import Rules

_HIGH_SCORE = 6
"""The least score of the rubric's band for a clear personal expression."""
_NOT_SURE_LIMIT = 0.05
_DROP_LIMIT = 0.05
_FEW_PROMPTS = 5
_FEW_DEGREES = 3
_REMEMBERED = 4096


class Sample(NamedTuple):
    """A group's answers to one question; the arrays have one entry per answer."""

    value: Floats
    unsure: Floats
    item: Codes
    audit: Codes
    seed: Codes | None
    dropped: Counter[str]


class _Estimate(NamedTuple):
    """A group's estimate for one question."""

    summary: Summary
    prior: Prior
    outer: Interval
    runs: Interval


class _Measure(StrEnum):
    RATE = "rate"
    NOT_SURE = "not_sure"
    MEAN = "mean"
    HIGH = "at_least_6"

    @property
    def scale(self) -> tuple[float, float]:
        return (1.0, 10.0) if self is _Measure.MEAN else (0.0, 1.0)

    def of(self, sample: Sample) -> Floats:
        if self is _Measure.NOT_SURE:
            return sample.unsure
        return (sample.value >= _HIGH_SCORE).astype(float) if self is _Measure.HIGH else sample.value


def rows(answers: Answers, groups: Sequence[Group], rules: Rules, order: Order | None) -> Iterator[Cell]:
    """The rows of every panel: the preferences of one mode, asked in one way; `order` if answers are still to come."""
    for mode, kind in dict.fromkeys((question.mode, question.kind) for question in answers.questions):
        questions = [q for q in answers.questions if (q.mode, q.kind) == (mode, kind)]
        samples = [[sample_of(answers, question, group) for group in groups] for question in questions]
        if kind is JudgementKind.RUBRIC:
            high = _estimates(samples, groups, _Measure.HIGH)
            yield from _panel(answers, questions, groups, samples, rules, _Measure.MEAN, high, order)
        else:
            yield from _panel(answers, questions, groups, samples, rules, _Measure.RATE, None, order)
            if rules.not_sure == "own":
                yield from _panel(answers, questions, groups, samples, rules, _Measure.NOT_SURE, None, order)


def sample_of(answers: Answers, question: Question, group: Group) -> Sample:
    """A group's answers to a question; a pooled group's with their training seeds."""
    found = [(k, answers.batches.get((question, member))) for k, member in enumerate(group.members)]
    batches = [(k, batch) for k, batch in found if batch is not None]
    if not batches:
        return Sample(np.empty(0), np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp), None, Counter())
    parts = [batch for _, batch in batches]
    seed = None
    if group.pooled:
        seed = np.repeat([group.seeds[k] for k, _ in batches], [len(part.value) for part in parts])
    return Sample(
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.unsure for part in parts]),
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.audit for part in parts]),
        seed,
        sum((part.dropped for part in parts), Counter[str]()),
    )


def _estimates(
    samples: list[list[Sample]], groups: Sequence[Group], measure: _Measure
) -> list[list[_Estimate]]:
    """By question and group; a group's preferences lend each other their shares of variance."""
    columns: list[list[_Estimate]] = []
    for k, group in enumerate(groups):
        scope = Scope.SEEDS_PROMPTS if group.pooled else Scope.PROMPTS
        column = [row[k] for row in samples]
        summaries = [_summary(measure.of(sample), sample, measure.scale) for sample in column]
        columns.append(
            [
                _Estimate(
                    summary, prior, _interval(summary, scope, prior), _interval(summary, Scope.RUNS, prior)
                )
                for summary, prior in zip(summaries, pooled_priors(summaries), strict=True)
            ]
        )
    return [list(row) for row in zip(*columns, strict=True)]


def _summary(value: Floats, sample: Sample, scale: tuple[float, float]) -> Summary:
    seed = None if sample.seed is None else sample.seed.astype(np.intp).tobytes()
    return _summed(value.astype(float).tobytes(), sample.item.astype(np.intp).tobytes(), seed, scale)


# While a study runs its table is computed again and again, and most of it is as it was: what a cell's answers are
# summed up to is remembered by these answers, and what follows from a summary by the summary.
@lru_cache(_REMEMBERED)
def _summed(value: bytes, item: bytes, seed: bytes | None, scale: tuple[float, float]) -> Summary:
    seeds = None if seed is None else np.frombuffer(seed, np.intp)
    return summarise(np.frombuffer(value), np.frombuffer(item, np.intp), seeds, scale=scale)


_interval = lru_cache(2 * _REMEMBERED)(interval)
_contrast = lru_cache(_REMEMBERED)(contrast)


def _panel(
    answers: Answers,
    questions: Sequence[Question],
    groups: Sequence[Group],
    samples: list[list[Sample]],
    rules: Rules,
    measure: _Measure,
    high: list[list[_Estimate]] | None,
    order: Order | None,
) -> Iterator[Cell]:
    estimates = _estimates(samples, groups, measure)
    contrasts = [_contrasts(estimates, groups, k) for k in range(len(groups))]
    for i, question in enumerate(questions):
        items = [item for item in answers.items if counts_for(item, question, rules)]
        repeats = sum(item.repeats for item in items)
        shared = {other for item in items for other in item.preferences} - {question.preference}
        for k, group in enumerate(groups):
            sample, (summary, _, outer, runs) = samples[i][k], estimates[i][k]
            reference = reference_group(group, groups)
            planned = repeats * len(group.members)
            flags = _flags(group, sample, estimates[i][k])
            if reference is not None:
                flags += _drop_flags(sample, samples[i][reference], groups[reference].name)
            if shared and rules.tag_matched:
                flags.append(f"shares prompts with {', '.join(sorted(shared))}")
            rate = measure is _Measure.RATE
            bar = paper_bar(sample.value) if rate and len(sample.value) >= PAPER_MINIMUM else None
            live = None
            if order is not None and outer.n + sample.dropped.total() < planned:
                live = order.live(
                    question, group.members, measure.of(sample), sample.audit, scale=measure.scale
                )
            tail = high[i][k].outer if high and len(sample.value) else None
            yield Cell(
                mode=question.mode,
                preference=question.preference,
                group=group.name,
                conditions=tuple(answers.conditions[m].condition_id for m in group.members),
                role=group.role,
                pooled=group.pooled,
                measure=measure.value,
                n=outer.n,
                planned=planned,
                dropped=dict(sorted(sample.dropped.items())),
                not_sure=int(np.count_nonzero(sample.unsure)),
                not_sure_range=_not_sure_range(sample) if rate else None,
                seeds=len(set(group.seeds)) if sample.seed is None else len(set(sample.seed.tolist())),
                prompts=summary.cells.prompts if summary.cells else 0,
                estimate=outer.estimate,
                low=outer.low,
                high=outer.high,
                scope=outer.scope,
                n_eff=outer.n_eff,
                nu=outer.nu,
                shares=outer.shares,
                runs_low=runs.low,
                runs_high=runs.high,
                reason=outer.reason,
                runs_reason=runs.reason,
                at_least_6=tail and (tail.estimate, tail.low, tail.high),
                paper_estimate=bar and bar.estimate,
                paper_half_width=bar and bar.half_width,
                live=live,
                contrast=contrasts[k][i],
                flags=tuple(flags),
                judge=answers.judge,
                simulated=answers.simulated,
                method="components-wilson",
            )


def _contrasts(
    estimates: list[list[_Estimate]], groups: Sequence[Group], k: int
) -> Sequence[Contrast | None]:
    """The contrasts of one group, for every question of the panel."""
    group, reference = groups[k], reference_group(groups[k], groups)
    if group.role is ConditionRole.BASELINE:
        return [None] * len(estimates)
    if reference is None:
        gone = Contrast(None, None, None, None, None, None, 0, 0, "", "the study has no baseline")
        return [gone] * len(estimates)
    found = [_difference(row[k], row[reference], (group, groups[reference])) for row in estimates]
    tested = {i: difference.p for i, difference in enumerate(found) if difference.p is not None}
    q = dict(zip(tested, benjamini_hochberg(list(tested.values())).tolist(), strict=True))
    return [
        Contrast(
            groups[reference].name,
            d.difference,
            d.low,
            d.high,
            d.p,
            q.get(i),
            d.prompts,
            d.moved,
            d.method,
            d.reason,
        )
        for i, d in enumerate(found)
    ]


def _difference(treated: _Estimate, baseline: _Estimate, groups: tuple[Group, Group]) -> Difference:
    for estimate, group in zip((treated, baseline), groups, strict=True):
        if group.pooled and estimate.summary.cells and estimate.summary.cells.seeds == 1:
            return Difference(None, None, None, None, 0, 0, reason=f"{group.name}: {estimate.outer.reason}")
    return _contrast(treated.summary, baseline.summary, priors=(treated.prior, baseline.prior))


def _not_sure_range(sample: Sample) -> tuple[float, float] | None:
    """The rate as if each not_sure had been false, and true; answers that the rules drop are not in it."""
    if not sample.unsure.any():
        return None
    low, high = (
        float(cells(value, sample.item, sample.seed).mean.mean())
        for value in (sample.value, sample.value + sample.unsure)
    )
    return low, min(high, 1.0)


def _flags(group: Group, sample: Sample, estimate: _Estimate) -> list[str]:
    summary, _, outer, _ = estimate
    flags: list[str] = []
    if len(group.members) == 1 and group.seeds:
        flags.append(
            "1 training seed: seed-to-seed variation unknown"
            if group.siblings == 1
            else f"1 of {group.siblings} training seeds: see {group.recipe} for seed-to-seed variation"
        )
    if summary.cells is None:
        return flags
    if summary.informative[PROMPT] <= 1:
        flags.append(
            "at most 1 prompt is off the end of the scale: the interval rests on the other preferences"
        )
    if summary.cells.prompts < _FEW_PROMPTS:
        flags.append(f"only {_some(summary.cells.prompts, 'prompt')}")
    if outer.nu is not None and outer.nu < _FEW_DEGREES:
        flags.append(f"only {_some(round(outer.nu), 'degree')} of freedom")
    unsure = float(sample.unsure.mean())
    if unsure > _NOT_SURE_LIMIT:
        flags.append(f"{unsure:.0%} not sure")
    return flags


def _drop_flags(sample: Sample, reference: Sample, name: str) -> list[str]:
    """Whether the two groups lost answers at different rates, which would bias their contrast."""
    ended = [one.dropped.total() + len(one.value) for one in (sample, reference)]
    if not all(ended):
        return []
    gap = sample.dropped.total() / ended[0] - reference.dropped.total() / ended[1]
    if abs(gap) <= _DROP_LIMIT:
        return []
    return [f"{100 * abs(gap):.0f} points {'more' if gap > 0 else 'fewer'} answers dropped than in {name}"]


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

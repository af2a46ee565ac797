"""The computation behind a study's table: from answers to cells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stats.cell import Cell, Contrast
from stats.contrasts import Difference, benjamini_hochberg, contrast
from stats.groups import Group, reference_group
from stats.intervals import Interval, Prior, Scope, Summary, interval, pooled_priors, summarise
from stats.paper import MINIMUM as PAPER_MINIMUM
from stats.paper import PaperBar, paper_bar
from stats.variance import PROMPT, Codes, Floats, cells
from store.records import CUT, ConditionRole, JudgementKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stats.answers import Answers
    from stats.batches import Batch, Content
    from stats.live import Order
    from stats.rules import Rules
    from stats.study import Question

_NOT_SURE_LIMIT = 0.05
_DROP_LIMIT = 0.05
_FEW_PROMPTS = 5
_FEW_DEGREES = 3
_REMEMBERED = 4096


@dataclass(frozen=True)
class Sample:
    """A group's answers to one question; the arrays have one entry per answer. Equal where the answers are."""

    content: tuple[tuple[int, Content], ...]
    """By training seed, or member of the group, what was answered."""
    value: Floats = field(compare=False)
    unsure: Floats = field(compare=False)
    item: Codes = field(compare=False)
    audit: Codes = field(compare=False)
    seed: Codes | None = field(compare=False)


class _Estimate(NamedTuple):
    """A group's estimate for one question."""

    summary: Summary
    prior: Prior
    outer: Interval
    runs: Interval


@dataclass(frozen=True, eq=False)
class _Column:
    """A group's estimates for the questions of a panel."""

    estimates: list[_Estimate]


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
        return (sample.value >= CUT).astype(float) if self is _Measure.HIGH else sample.value


def rows(answers: Answers, groups: Sequence[Group], rules: Rules, order: Order | None) -> Iterator[Cell]:
    """The rows of every panel: the preferences of one mode, asked in one way; `order` if answers are still to come."""
    for mode, kind in dict.fromkeys((question.mode, question.kind) for question in answers.questions):
        questions = [q for q in answers.questions if (q.mode, q.kind) == (mode, kind)]
        samples = [[sample_of(answers, question, group) for question in questions] for group in groups]
        if kind is JudgementKind.RUBRIC:
            high = _columns(samples, groups, _Measure.HIGH)
            yield from _panel(answers, questions, groups, samples, rules, _Measure.MEAN, high, order)
        else:
            yield from _panel(answers, questions, groups, samples, rules, _Measure.RATE, None, order)
            if rules.not_sure == "own":
                yield from _panel(answers, questions, groups, samples, rules, _Measure.NOT_SURE, None, order)


def sample_of(answers: Answers, question: Question, group: Group) -> Sample:
    """A group's answers to a question; a pooled group's with their training seeds."""
    found = ((k, answers.batches.get((question, member))) for k, member in enumerate(group.members))
    return _sample(tuple((k, batch) for k, batch in found if batch is not None), group)


def _dropped(answers: Answers, question: Question, group: Group) -> Counter[str]:
    """A group's planned answers that do not count, by reason."""
    dropped: Counter[str] = Counter()
    for member in group.members:
        if batch := answers.batches.get((question, member)):
            dropped.update(batch.dropped)
        dropped.update(answers.failed.get((question, member), {}))
    return dropped


# While a study runs its table is computed again and again, and most of it is as it was: what answers are put together
# and summed up to is remembered, and what follows for a group's preferences, which lend each other their shares of
# variance.
@lru_cache(_REMEMBERED)
def _sample(batches: tuple[tuple[int, Batch], ...], group: Group) -> Sample:
    value, unsure = (
        np.concatenate([np.empty(0), *(getattr(batch, name) for _, batch in batches)])
        for name in ("value", "unsure")
    )
    item, audit = (
        np.concatenate([np.empty(0, np.intp), *(getattr(batch, name) for _, batch in batches)])
        for name in ("item", "audit")
    )
    seed = None
    if group.pooled:
        seed = np.repeat([group.seeds[k] for k, _ in batches], [len(batch.value) for _, batch in batches])
    return Sample(tuple((k, batch.content) for k, batch in batches), value, unsure, item, audit, seed)


@lru_cache(_REMEMBERED)
def _summary(sample: Sample, measure: _Measure) -> Summary:
    return summarise(measure.of(sample), sample.item, sample.seed, scale=measure.scale)


def _columns(
    samples: Sequence[Sequence[Sample]], groups: Sequence[Group], measure: _Measure
) -> list[_Column]:
    return [
        _column(tuple(column), group.pooled, measure) for column, group in zip(samples, groups, strict=True)
    ]


@lru_cache(_REMEMBERED)
def _column(samples: tuple[Sample, ...], pooled: bool, measure: _Measure) -> _Column:
    scope = Scope.SEEDS_PROMPTS if pooled else Scope.PROMPTS
    summaries = [_summary(sample, measure) for sample in samples]
    return _Column(
        [
            _Estimate(
                summary,
                prior,
                interval(summary, scope, prior),
                interval(summary, Scope.RUNS, prior),
            )
            for summary, prior in zip(summaries, pooled_priors(summaries), strict=True)
        ]
    )


def _panel(
    answers: Answers,
    questions: Sequence[Question],
    groups: Sequence[Group],
    samples: list[list[Sample]],
    rules: Rules,
    measure: _Measure,
    high: list[_Column] | None,
    order: Order | None,
) -> Iterator[Cell]:
    columns = _columns(samples, groups, measure)
    references = [reference_group(group, groups) for group in groups]
    contrasts = [
        _contrasts(columns[k], group, *((columns[at], groups[at]) if at is not None else (None, None)))
        for k, (group, at) in enumerate(zip(groups, references, strict=True))
    ]
    gone = [[_dropped(answers, question, group) for question in questions] for group in groups]
    for i, question in enumerate(questions):
        items = answers.items_for(question)
        repeats = sum(item.repeats for item in items)
        shared = {other for item in items for other in item.preferences} - {question.preference}
        for k, group in enumerate(groups):
            sample, estimate, reference = samples[k][i], columns[k].estimates[i], references[k]
            summary, _, outer, runs = estimate
            dropped = gone[k][i]
            planned = repeats * len(group.members)
            flags = _flags(group, sample, estimate)
            if reference is not None:
                both = [(gone[at][i].total(), len(samples[at][i].value)) for at in (k, reference)]
                flags += _drop_flags(both, groups[reference].name)
            if shared and rules.tag_matched:
                flags.append(f"shares prompts with {', '.join(sorted(shared))}")
            rate = measure is _Measure.RATE
            bar = _paper_bar(sample) if rate else None
            unsure = _unsure(sample)
            live = None
            if order is not None and outer.n + dropped.total() < planned:
                live = order.live(
                    question, group.members, measure.of(sample), sample.audit, scale=measure.scale
                )
            tail = high[k].estimates[i].outer if high and len(sample.value) else None
            yield Cell(
                mode=question.mode,
                preference=question.preference,
                group=group.name,
                conditions=tuple(answers.plan.conditions[m].condition_id for m in group.members),
                role=group.role,
                pooled=group.pooled,
                measure=measure.value,
                n=outer.n,
                planned=planned,
                dropped=dict(sorted(dropped.items())),
                not_sure=unsure.answers,
                not_sure_range=unsure.range if rate else None,
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
                simulated=answers.plan.simulated,
                method="components-wilson",
            )


@lru_cache(_REMEMBERED)
def _contrasts(
    column: _Column, group: Group, reference: _Column | None, baseline: Group | None
) -> Sequence[Contrast | None]:
    """The contrasts of one group, for every question of the panel."""
    if group.role is ConditionRole.BASELINE:
        return [None] * len(column.estimates)
    if reference is None or baseline is None:
        gone = Contrast(None, None, None, None, None, None, 0, 0, "", "the study has no baseline")
        return [gone] * len(column.estimates)
    pairs = zip(column.estimates, reference.estimates, strict=True)
    found = [_difference(*pair, (group, baseline)) for pair in pairs]
    tested = {i: difference.p for i, difference in enumerate(found) if difference.p is not None}
    q = dict(zip(tested, benjamini_hochberg(list(tested.values())).tolist(), strict=True))
    return [
        Contrast(
            baseline.name,
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
    return contrast(treated.summary, baseline.summary, priors=(treated.prior, baseline.prior))


class _Unsure(NamedTuple):
    """Verdicts of not_sure among the answers that count."""

    answers: int
    share: float
    range: tuple[float, float] | None
    """The rate as if each not_sure had been false, and true."""


@lru_cache(_REMEMBERED)
def _unsure(sample: Sample) -> _Unsure:
    if not sample.unsure.any():
        return _Unsure(0, 0.0, None)
    low, high = (
        float(cells(value, sample.item, sample.seed).mean.mean())
        for value in (sample.value, sample.value + sample.unsure)
    )
    return _Unsure(int(np.count_nonzero(sample.unsure)), float(sample.unsure.mean()), (low, min(high, 1.0)))


@lru_cache(_REMEMBERED)
def _paper_bar(sample: Sample) -> PaperBar | None:
    return paper_bar(sample.value) if len(sample.value) >= PAPER_MINIMUM else None


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
    unsure = _unsure(sample).share
    if unsure > _NOT_SURE_LIMIT:
        flags.append(f"{unsure:.0%} not sure")
    return flags


def _drop_flags(both: Sequence[tuple[int, int]], name: str) -> list[str]:
    """Whether a group and its reference lost answers at different rates, which would bias their contrast.

    Args:
        both: of the group and of its reference, answers that are dropped and that count.
        name: the reference's name.
    """
    if not all(map(sum, both)):
        return []
    own, other = (lost / (lost + kept) for lost, kept in both)
    gap = own - other
    if abs(gap) <= _DROP_LIMIT:
        return []
    return [f"{100 * abs(gap):.0f} points {'more' if gap > 0 else 'fewer'} answers dropped than in {name}"]


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

"""The corrections of a study: every cell that people have labelled, and every group over all its preferences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stats.correction import (
    CorrectedContrast,
    Frame,
    corrected,
    corrected_contrast,
    rectify_by_probability,
    shortage,
    tuned,
    untunable,
)
from stats.groups import Group, reference_group
from stats.intervals import Interval, Scope, interval, summarise
from stats.judge_error import Differential, accuracy, differential_error, noise_floor, rogan_gladen
from stats.ratings import STRATA, VERDICTS, Ratings
from store.records import JudgementKind, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stats.answers import Answers
    from stats.cell import Cell
    from stats.rules import Rules
    from stats.study import Question
    from stats.variance import Codes, Floats

Bar = tuple[float | None, float | None, float | None]
"""An estimate with the ends of its interval."""

_SUSPICIOUS = 0.05


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A judge's number beside what people's labels make of it; values are on the scale of `measure`."""

    mode: Mode
    preference: str | None
    """None for all preferences of the mode together, each answer counting alike."""
    group: str
    conditions: tuple[str, ...]
    measure: str
    n: int
    """Answers that are counted and could have been drawn for labelling."""
    labels: Mapping[str, tuple[int, int]]
    """By stratum the labels and the answers; `undrawn` are answers that were labelled without having been drawn."""
    judge: float | None
    """The judge's own mean."""
    human: float | None
    """Plain mean of the labels: what it would be wrong to report, as disputed answers are drawn more often."""
    estimate: float | None
    low: float | None
    high: float | None
    scope: Scope
    runs_low: float | None
    runs_high: float | None
    reason: str
    sensitivity: Bar
    """Over all the answers, from labels weighted by their strata; for `rate` only."""
    specificity: Bar
    accuracy_reason: str
    rogan_gladen: Bar
    """The rate behind the judge's own one, by its sensitivity and specificity; for `rate` only."""
    ppi_plus_plus: Bar
    """With an estimated weight of the judge's part, for further runs; only under its conditions."""
    noise_floor: float | None
    """Error rate of a single annotator, from how often two of them differ; smaller rates cannot be told from 0."""
    contrast: CorrectedContrast | None
    """Corrected difference from the same group as in the table."""
    differential: list[Differential]
    """Whether the judge errs otherwise in that group."""
    flags: tuple[str, ...]
    method: str


@dataclass(frozen=True, eq=False)
class _Target:
    frame: Frame
    probability: Floats
    names: tuple[str, ...]
    """Of the strata."""
    uncovered: int
    """Answers that are counted and that the queue cannot draw."""


def corrections(
    answers: Answers,
    groups: Sequence[Group],
    cells: Sequence[Cell],
    ratings: Sequence[Ratings],
    rules: Rules,
    disagreement: Mapping[tuple[Mode, JudgementKind], float],
) -> Iterator[Correction]:
    """The corrections of a study.

    Args:
        answers: Its judged answers.
        groups: The groups of its table.
        cells: The table's cells.
        ratings: What judges and people said.
        rules: How judgements and labels become numbers.
        disagreement: How often two people differ, by mode and kind, where it is known.
    """
    own = {(cell.mode, cell.preference, cell.group, cell.measure): cell for cell in cells}
    for one in ratings:
        if not one.people:
            continue
        human = _values(one, rules)
        questions = [q for q in answers.questions if (q.mode, q.kind) == (one.mode, one.kind)]
        rows: dict[str, dict[str, int]] = {
            name: {} for name in (*one.preference, *(q.preference for q in questions))
        }
        for k, (audit, preference) in enumerate(zip(one.audit, one.preference, strict=True)):
            rows[preference][audit] = k
        single = {
            (q, k): _target(answers, one, human, rows[q.preference], q, group)
            for q in questions
            for k, group in enumerate(groups)
        }
        measure = "rate" if one.kind is JudgementKind.STATEMENT else "mean"
        floor = noise_floor(disagreement.get((one.mode, one.kind), 1.0)) if measure == "rate" else None
        for k, group in enumerate(groups):
            reference = reference_group(group, groups)
            if reference == k:
                reference = None
            every = [single[q, k] for q in questions]
            parts: list[tuple[str | None, _Target, _Target | None]] = [
                (q.preference, single[q, k], None if reference is None else single[q, reference])
                for q in questions
            ]
            if len(questions) > 1:
                others = None if reference is None else _joined([single[q, reference] for q in questions])
                parts.append((None, _joined(every), others))
            for preference, target, other in parts:
                if target.frame.labelled.any():
                    cell = own.get((one.mode, preference, group.name, measure)) if preference else None
                    yield _correction(one, preference, group, target, other, cell, measure, floor)


def _values(ratings: Ratings, rules: Rules) -> Floats:
    """What people say, by question: an adjudicator's value, else the mean of the labels; NaN where there is none."""
    settled = ~np.isnan(ratings.decided)
    codes = np.where(settled, ratings.decided, np.stack(list(ratings.people.values())))
    if ratings.kind is JudgementKind.STATEMENT:
        unsure = codes == VERDICTS.index("not_sure")
        values = np.where(np.isnan(codes), np.nan, codes == VERDICTS.index("true"))
        if rules.not_sure == "exclude":
            values[unsure] = np.nan
    else:
        values = codes + 1
    given = (~np.isnan(values)).sum(0)
    total = np.nansum(values, axis=0)
    return np.where(given > 0, total / np.maximum(given, 1), np.nan)


def _target(
    answers: Answers,
    ratings: Ratings,
    human: Floats,
    rows: Mapping[str, int],
    question: Question,
    group: Group,
) -> _Target:
    found = [
        (k, answers.batches[question, m])
        for k, m in enumerate(group.members)
        if (question, m) in answers.batches
    ]
    value = np.concatenate([np.empty(0), *(batch.value for _, batch in found)])
    item = np.concatenate([np.empty(0, np.intp), *(batch.item for _, batch in found)])
    audit = np.concatenate([np.empty(0, np.intp), *(batch.audit for _, batch in found)])
    seed = np.concatenate([np.empty(0, np.intp), *(np.full(len(b.value), k) for k, b in found)])
    codes: list[int] = audit.tolist()
    at = np.array([rows.get(answers.attempts.audits[code], -1) for code in codes], np.intp)
    inside = at >= 0
    value, item, seed, at = value[inside], item[inside], seed[inside], at[inside]
    # Who labels what he comes across speaks for that alone: it becomes a stratum that is labelled as a whole.
    extra = ~np.isnan(human[at]) & np.isnan(ratings.drawn[at])
    frame = Frame(
        value,
        human[at],
        np.where(extra, len(STRATA), ratings.stratum[at]),
        item,
        seed if group.pooled else None,
        _cell_weights(item, seed),
        (0.0, 1.0) if ratings.kind is JudgementKind.STATEMENT else (1.0, 10.0),
    )
    probability = np.where(extra, 1.0, ratings.drawn[at])
    return _Target(frame, probability, (*STRATA, "undrawn"), int((~inside).sum()))


def _cell_weights(item: Codes, seed: Codes) -> Floats:
    """As in the table: every prompt of every training seed counts alike, however many answers it has."""
    if not len(item):
        return np.empty(0)
    cell = np.unique(np.column_stack([seed, item]), axis=0, return_inverse=True)[1].ravel()
    size = np.bincount(cell)
    return 1 / (len(size) * size[cell])


def _joined(targets: Sequence[_Target]) -> _Target:
    frames = [target.frame for target in targets]
    seeds = [frame.seed for frame in frames if frame.seed is not None]
    return _Target(
        Frame(
            np.concatenate([frame.judge for frame in frames]),
            np.concatenate([frame.human for frame in frames]),
            np.concatenate([frame.stratum for frame in frames]),
            np.concatenate([frame.prompt for frame in frames]),
            np.concatenate(seeds) if seeds else None,
            None,
            frames[0].scale,
        ),
        np.concatenate([target.probability for target in targets]),
        targets[0].names,
        sum(target.uncovered for target in targets),
    )


def _correction(
    ratings: Ratings,
    preference: str | None,
    group: Group,
    target: _Target,
    other: _Target | None,
    cell: Cell | None,
    measure: str,
    floor: float | None,
) -> Correction:
    frame = target.frame
    scope = Scope.SEEDS_PROMPTS if frame.seed is not None else Scope.PROMPTS
    summary = summarise(frame.judge, frame.prompt, frame.seed, scale=frame.scale)
    outer = interval(summary, scope) if cell is None else _of_cell(cell, scope)
    refused = _refused(target)
    if refused:
        bars = [Interval(None, None, None, scope, len(frame.judge), reason=refused)] * 2
    else:
        found = rectify_by_probability(frame, target.probability) if ratings.moved else None
        bars = [
            corrected(frame, scope, outer, found=found),
            corrected(frame, Scope.RUNS, interval(summary, Scope.RUNS), found=found),
        ]
    errors = accuracy(frame) if measure == "rate" else {}
    sens, spec = errors.get("sensitivity"), errors.get("specificity")
    transported = None
    if sens and spec and sens.value is not None and spec.value is not None:
        transported = rogan_gladen(
            float(frame.judge.mean()), len(frame.judge), sens.value, sens.n, spec.value, spec.n
        )
    plus: Bar = (None, None, None)
    if not refused and not untunable(frame):
        known = frame.labelled
        best = tuned(frame.judge[known], frame.human[known], frame.judge[~known])
        plus = (best.estimate, *best.interval())
    flags: list[str] = []
    if ratings.moved:
        flags.append(
            f"{ratings.moved} labels were drawn by strata that have changed since: weighted by their probabilities"
        )
    if len(ratings.queues) > 1:
        flags.append("labels of several queues are taken together")
    if target.uncovered:
        flags.append(f"{target.uncovered} counted answers are left out: no queue can draw them")
    if transported and transported.reason:
        flags.append(f"Rogan-Gladen: {transported.reason}")
    comparable = other is not None and not refused and not _refused(other)
    differential = differential_error(frame, other.frame) if other is not None and comparable else []
    flags += [
        f"the judge's {one.what} differs from that in the group compared with (p {one.p:.3f})"
        for one in differential
        if one.p is not None and one.p < _SUSPICIOUS
    ]
    return Correction(
        mode=ratings.mode,
        preference=preference,
        group=group.name,
        conditions=cell.conditions if cell else (),
        measure=measure,
        n=len(frame.judge),
        labels={name: counts for name, counts in zip(target.names, frame.counts, strict=False) if counts[1]},
        judge=float(frame.judge.mean()) if frame.weight is None else float(frame.judge @ frame.weight),
        human=float(np.nanmean(frame.human)),
        estimate=bars[0].estimate,
        low=bars[0].low,
        high=bars[0].high,
        scope=scope,
        runs_low=bars[1].low,
        runs_high=bars[1].high,
        reason=bars[0].reason,
        sensitivity=(sens.value, sens.low, sens.high) if sens else (None, None, None),
        specificity=(spec.value, spec.low, spec.high) if spec else (None, None, None),
        accuracy_reason=" · ".join(dict.fromkeys(e.reason for e in errors.values() if e.reason)),
        rogan_gladen=(transported.estimate, transported.low, transported.high)
        if transported
        else (None, None, None),
        ppi_plus_plus=plus,
        noise_floor=floor,
        contrast=corrected_contrast(frame, other.frame) if other is not None else None,
        differential=differential,
        flags=tuple(flags),
        method="ipw" if ratings.moved else "stratified-ppi",
    )


def _refused(target: _Target) -> str:
    """Why labels as these say nothing of the whole, or an empty text."""
    frame = target.frame
    if not len(frame.judge):
        return "no answers"
    drawn = frame.labelled & (frame.stratum < len(STRATA))
    rest = ~frame.labelled | drawn
    if rest.any() and not drawn.any():
        return "no label was drawn at random: labels of chosen answers say nothing of the others"
    bare = [
        name for name, (labels, size) in zip(target.names, frame.counts, strict=False) if size and not labels
    ]
    if bare:
        return f"no label in the stratum {bare[0]!r}: those of the other stratum alone are biased"
    return shortage(frame)


def _of_cell(cell: Cell, scope: Scope) -> Interval:
    return Interval(
        cell.estimate, cell.low, cell.high, scope, cell.n, cell.n_eff, cell.nu, cell.shares, cell.reason
    )

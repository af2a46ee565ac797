"""How far the judges can be trusted: agreement of judges and people, and every number corrected by labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from stats.corrections import Bar, Correction, corrections
from stats.groups import model_groups
from stats.judge_error import Confusion
from stats.methods import METHODS
from stats.pairs import DRAWS, Pair, agree
from stats.ratings import SCORES, STRATA, VERDICTS, Ratings, read_ratings
from store.records import JudgementKind, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from stats.answers import Answers
    from stats.study import Query
    from stats.table import StudyTable
    from stats.variance import Floats

SEED = 0
"""Of every bootstrap."""


@dataclass(frozen=True, kw_only=True)
class PairAgreement:
    """Agreement of two raters over all preferences of a mode."""

    mode: Mode
    kind: JudgementKind
    between: str
    """`judge-judge`, `judge-human` or `human-human`, which is the ceiling of the others."""
    one: str
    other: str
    weighted: bool
    """Whether each label stands for the answers of its stratum that it was drawn from."""
    categories: tuple[str, ...]
    """Rows and columns of the confusion matrix."""
    pair: Pair
    prevalence: float | None = None
    """Share that the person calls true; like what follows of a judge and a person on yes/no questions only."""
    screening: dict[str, Bar] = field(default_factory=dict[str, Bar])
    """`sensitivity`, `specificity`, `ppv` and `npv` of the judge, with Wilson intervals on the effective number of
    labels."""
    bias_p: float | None = None
    """Whether the judge errs more often in one direction: McNemar's test on the effective number of labels."""
    refused: str = ""
    """Why the labels say nothing of the whole; then `pair` is about the labelled answers alone."""


@dataclass(frozen=True)
class JudgeReport:
    """Agreement and corrections of a study."""

    agreement: list[PairAgreement]
    corrections: list[Correction]
    frames: list[str]
    """Names of the queues that labels were drawn by; a queue's name changes with the answers that it draws from."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: `agreement`, `corrections` and their `methods`; `bootstrap` has seed and draws."""
        used = ["raw-agreement", "cohen-kappa", "gwet-ac", "krippendorff-alpha"] if self.agreement else []
        if any(row.screening for row in self.agreement):
            used += ["wilson", "mcnemar"]
        if self.corrections:
            used += ["stratified-ppi", "ipw", "rogan-gladen", "ppi++", "differential-error", "noise-floor"]
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return data | {
            "bootstrap": {"seed": SEED, "draws": DRAWS},
            "methods": msgspec.to_builtins({name: METHODS[name] for name in used}),
        }


def judge_report(query: Query, answers: Answers, table: StudyTable) -> JudgeReport:
    """What a study's labels and judges say of each other; the table is that of the answers."""
    ratings = read_ratings(query, table.study_id, table.rules)
    agreement = [row for one in ratings for row in _agreement(one)]
    apart = {
        (row.mode, row.kind): 1 - row.pair.raw.value
        for row in agreement
        if row.between == "human-human" and row.pair.raw.value is not None and not row.refused
    }
    found: list[Correction] = []
    if any(one.people for one in ratings):
        groups = model_groups(answers.plan.conditions, table.rules.max_seeds)
        found = list(corrections(answers, groups, table.cells, ratings, table.rules, apart))
    frames = sorted({name for one in ratings for name in one.queues})
    return JudgeReport(agreement, found, frames)


def _agreement(ratings: Ratings) -> Iterator[PairAgreement]:
    raters = [("judge", *entry) for entry in ratings.judges.items()]
    raters += [("human", *entry) for entry in ratings.people.items()]
    ordered = ratings.kind is JudgementKind.RUBRIC
    names = tuple(str(k + 1) for k in range(SCORES)) if ordered else VERDICTS
    for (what, one, first), (what_else, other, second) in combinations(raters, 2):
        mine, theirs = first, second
        by_people = "human" in (what, what_else)
        weight, refused = None, ""
        if by_people:
            labelled = ~np.isnan(mine) & ~np.isnan(theirs)
            weight, refused = _weights(ratings, labelled)
            if weight is not None:
                mine = np.where(weight > 0, mine, np.nan)
        pair = agree(
            mine,
            theirs,
            ratings.q,
            "ordinal" if ordered else "nominal",
            weight=weight,
            stratum=ratings.stratum,
            prompt=ratings.item,
            seed=SEED,
        )
        row = PairAgreement(
            mode=ratings.mode,
            kind=ratings.kind,
            between=f"{what}-{what_else}",
            one=one,
            other=other,
            weighted=weight is not None,
            categories=names,
            pair=pair,
            refused=refused,
        )
        screened = row.between == "judge-human" and not ordered and pair.n and not refused
        yield _screened(row, weight) if screened else row


def _screened(row: PairAgreement, weight: Floats | None) -> PairAgreement:
    """With the judge's errors, the person taken as right; weights cost as many labels as they make unequal."""
    table = np.array(row.pair.confusion)
    if weight is not None:
        table *= float(weight.sum() ** 2 / (weight**2).sum()) / row.pair.n
    yes = VERDICTS.index("true")
    tp, judged, human = float(table[yes, yes]), float(table[yes].sum()), float(table[:, yes].sum())
    found = Confusion(tp, judged - tp, human - tp, float(table.sum()) - judged - human + tp)
    bars: dict[str, Bar] = {name: (r.estimate, r.low, r.high) for name, r in found.rates().items()}
    return replace(row, prevalence=found.prevalence, screening=bars, bias_p=found.bias_p())


def _weights(ratings: Ratings, labelled: npt.NDArray[np.bool_]) -> tuple[Floats | None, str]:
    """For each answer how many it stands for, by strata; or None and why the labels stand for themselves only.

    Labels that no queue has drawn get no weight.
    """
    drawn = labelled & ~np.isnan(ratings.drawn)
    stratum = ratings.stratum
    size, got = (np.bincount(codes, minlength=len(STRATA)) for codes in (stratum, stratum[drawn]))
    if not labelled.any():
        return None, ""
    if not drawn.any():
        return None, "no label was drawn at random: this is about the labelled answers alone"
    if ((size > 0) & (got == 0)).any():
        return None, "a stratum has no label: this is about the labelled answers alone"
    if ratings.moved:
        return np.where(drawn, 1 / ratings.drawn, 0.0), ""
    return np.where(drawn, (size / np.maximum(got, 1))[stratum], 0.0), ""

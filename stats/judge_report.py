"""How far the judges can be trusted: agreement of judges and people, and every number corrected by labels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from stats.answers import read_answers
from stats.corrections import Correction, corrections
from stats.groups import model_groups
from stats.methods import METHODS
from stats.pairs import DRAWS, Pair, agree
from stats.ratings import SCORES, VERDICTS, Ratings, read_ratings
from store.records import JudgementKind, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stats.answers import Query
    from stats.table import StudyTable
    from stats.variance import Floats

SEED = 0
"""Of every bootstrap."""


@dataclass(frozen=True, kw_only=True)
class PairAgreement:
    """Agreement of two raters over all preferences of a mode, or on one."""

    mode: Mode
    kind: JudgementKind
    preference: str | None
    between: str
    """`judge-judge`, `judge-human` or `human-human`, which is the ceiling of the others."""
    one: str
    other: str
    weighted: bool
    """Whether each label stands for the answers of its stratum that it was drawn from."""
    categories: tuple[str, ...]
    """Rows and columns of the confusion matrix."""
    pair: Pair
    refused: str = ""
    """Why the labels say nothing of the whole; then `pair` is about the labelled answers alone."""


@dataclass(frozen=True)
class JudgeReport:
    """Agreement and corrections of a study."""

    agreement: list[PairAgreement]
    corrections: list[Correction]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: `agreement`, `corrections` and their `methods`; `bootstrap` has seed and draws."""
        used = ["raw-agreement", "cohen-kappa", "gwet-ac", "krippendorff-alpha"] if self.agreement else []
        if self.corrections:
            used += ["stratified-ppi", "ipw", "rogan-gladen", "ppi++", "differential-error", "noise-floor"]
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return data | {
            "bootstrap": {"seed": SEED, "draws": DRAWS},
            "methods": msgspec.to_builtins({name: METHODS[name] for name in used}),
        }


def judge_report(query: Query, table: StudyTable) -> JudgeReport:
    """What a study's labels and judges say of each other, under the rules of its table."""
    ratings = read_ratings(query, table.study_id, table.rules)
    agreement = [row for one in ratings for row in _agreement(one, None)]
    apart = {
        (row.mode, row.kind): 1 - row.pair.raw.value
        for row in agreement
        if row.between == "human-human" and row.pair.raw.value is not None and not row.refused
    }
    found: list[Correction] = []
    if any(one.people for one in ratings):
        answers = read_answers(query, table.study_id, table.rules)
        groups = model_groups(answers.conditions, table.rules.max_seeds)
        found = list(corrections(answers, groups, table.cells, ratings, table.rules, apart))
    return JudgeReport(agreement, found)


def agreement_on(query: Query, table: StudyTable, mode: Mode, preference: str) -> list[PairAgreement]:
    """Agreement on one preference in one mode."""
    ratings = [r for r in read_ratings(query, table.study_id, table.rules) if r.mode is mode]
    return [row for one in ratings for row in _agreement(one, preference)]


def _agreement(ratings: Ratings, preference: str | None) -> Iterator[PairAgreement]:
    chosen = np.array([preference in (None, name) for name in ratings.preference], bool)
    raters = [("judge", *entry) for entry in ratings.judges.items()]
    raters += [("human", *entry) for entry in ratings.people.items()]
    ordered = ratings.kind is JudgementKind.RUBRIC
    names = tuple(str(k + 1) for k in range(SCORES)) if ordered else VERDICTS
    for (what, one, first), (what_else, other, second) in combinations(raters, 2):
        mine, theirs = first[chosen], second[chosen]
        by_people = "human" in (what, what_else)
        weight, refused = None, ""
        if by_people:
            labelled = ~np.isnan(mine) & ~np.isnan(theirs)
            weight, refused = _weights(ratings, chosen, labelled)
            if weight is not None:
                mine = np.where(weight > 0, mine, np.nan)
        pair = agree(
            mine,
            theirs,
            ratings.q,
            "ordinal" if ordered else "nominal",
            weight=weight,
            stratum=ratings.stratum[chosen],
            prompt=ratings.item[chosen],
            seed=SEED,
        )
        yield PairAgreement(
            mode=ratings.mode,
            kind=ratings.kind,
            preference=preference,
            between=f"{what}-{what_else}",
            one=one,
            other=other,
            weighted=weight is not None,
            categories=names,
            pair=pair,
            refused=refused,
        )


def _weights(ratings: Ratings, chosen: np.ndarray, labelled: np.ndarray) -> tuple[Floats | None, str]:
    """For each answer how many it stands for, by strata; or None and why the labels stand for themselves only.

    Labels that no queue has drawn get no weight.
    """
    drawn = labelled & ~np.isnan(ratings.drawn[chosen])
    stratum = ratings.stratum[chosen]
    size, got = np.bincount(stratum, minlength=2), np.bincount(stratum[drawn], minlength=2)
    if not labelled.any():
        return None, ""
    if not drawn.any():
        return None, "no label was drawn at random: this is about the labelled answers alone"
    if ((size > 0) & (got == 0)).any():
        return None, "a stratum has no label: this is about the labelled answers alone"
    if ratings.moved:
        return np.where(drawn, 1 / ratings.drawn[chosen], 0.0), ""
    return np.where(drawn, (size / np.maximum(got, 1))[stratum], 0.0), ""


def rows_between(report: JudgeReport, mode: Mode) -> Sequence[PairAgreement]:
    """Agreement over all preferences of a mode: people among themselves first, then with judges, then judges."""
    order = ("human-human", "judge-human", "judge-judge")
    return sorted(
        (row for row in report.agreement if row.mode is mode), key=lambda row: order.index(row.between)
    )

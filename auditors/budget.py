"""What a study may cost: all its runs in the store count, and so does what is under way."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from auditors.estimate import estimate
from auditors.plan import FINISHED
from store.errors import InputError
from store.records import Mode

if TYPE_CHECKING:
    from auditors.options import Options
    from auditors.study import Study
    from store.reader import Reader


_FINISHED = f"""
    SELECT a.mode, count(DISTINCT a.audit_id) AS pieces, sum(c.cost_usd) AS cost
    FROM audits a JOIN model_calls c USING (audit_id)
    WHERE a.study_id = ? AND a.status IN ({", ".join("?" * len(FINISHED))}) AND c.cost_usd IS NOT NULL GROUP BY a.mode
"""


class Work(NamedTuple):
    """A kind of work whose pieces cost about the same."""

    mode: Mode
    owed: bool
    """Whether only judgements of a finished audit are asked for."""


class Budget:
    """Says whether more work may be started.

    What a piece of work costs is expected from `auditors.estimate`, and corrected by those that have ended.

    Args:
        study: what is run.
        reader: the store, as the run finds it.
        options: of the run; `max_cost` is the limit.
    """

    def __init__(self, study: Study, reader: Reader, options: Options) -> None:
        self._limit = options.max_cost
        self._who = "Judging by these has" if study.rejudging else "The study has"
        self._under_way: Counter[Work] = Counter()
        if self._limit is None:
            return
        found = estimate(study, reader, options)
        self._earlier = found.spent
        kinds = [Work(mode, owed) for mode in Mode for owed in (False, True)]
        self._cost = {kind: found.per_audit(kind.mode, owed=kind.owed) for kind in kinds}
        # The expectation counts as one piece beside those that have ended.
        self._pieces = dict.fromkeys(kinds, 1)
        for row in reader.rows(_FINISHED, [study.study_id, *FINISHED]):
            self._add(Work(Mode(row["mode"]), owed=False), row["cost"], row["pieces"])

    def allows(self, work: Work, spent: float) -> bool:
        """Whether there is money for `work` beside what is under way; `spent` is this run's cost so far."""
        if self._limit is None:
            return True
        reserved = sum(count * self._cost[kind] for kind, count in self._under_way.items())
        return self._earlier + spent + reserved + self._cost[work] <= self._limit

    def refusal(self, work: Work, spent: float) -> str:
        """Why `work` is not started, in one sentence."""
        return (
            f"{self._who} cost {_dollars(self._earlier + spent)} of the ${self._limit:g} that it may, and going "
            f"on takes about {_dollars(self._cost[work])}."
        )

    def begun(self, work: Work) -> None:
        """A piece of work is under way."""
        self._under_way[work] += 1

    def ended(self, work: Work, cost: float, *, finished: bool) -> None:
        """A piece of work is no longer under way; those that have finished tell what one costs."""
        self._under_way[work] -= 1
        if finished and self._limit is not None:
            self._add(work, cost, 1)

    def _add(self, work: Work, cost: float, pieces: int) -> None:
        """Take in what some pieces of work have cost together."""
        before = self._cost[work] * self._pieces[work]
        self._pieces[work] += pieces
        self._cost[work] = (before + cost) / self._pieces[work]


def _dollars(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.2g}"


def check_prices(study: Study) -> None:
    """See whether every model of the study has a price, without which a limit means nothing.

    Raises:
        InputError: one has none.
    """
    prices = study.prices()
    if unknown := sorted(spec for spec in study.models() if prices.price(spec) is None):
        raise InputError(
            f'--max-cost needs the price of {unknown[0]}: add [prices."{unknown[0]}"] with `input` and '
            "`output` (US dollars for a million tokens) to the study file or the configuration."
        )

"""What a study may cost: all its runs in the store count, and so does what is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditors.plan import FINISHED
from store.errors import InputError

if TYPE_CHECKING:
    from auditors.study import Study
    from store.reader import Reader


class Budget:
    """Says whether one more audit may be started.

    Args:
        limit: US dollars for the study in this store; None for no limit.
        study: what is run.
        reader: the store, as the run finds it.
    """

    def __init__(self, limit: float | None, study: Study, reader: Reader) -> None:
        self._limit = limit
        self._earlier = self._finished_cost = 0.0
        self._finished = self._under_way = 0
        if limit is None:
            return
        [row] = reader.rows(
            "SELECT coalesce(sum(cost_usd), 0) AS spent, "
            "coalesce(sum(cost_usd) FILTER (a.status IN (?, ?, ?)), 0) AS finished_cost, "
            "count(DISTINCT a.audit_id) FILTER (a.status IN (?, ?, ?)) AS finished "
            "FROM model_calls c LEFT JOIN audits a USING (audit_id) WHERE c.study_id = ?",
            [*FINISHED, *FINISHED, study.study_id],
        )
        self._earlier, self._finished_cost, self._finished = row.values()

    def allows(self, spent: float) -> bool:
        """Whether there is money for one more audit beside those under way; `spent` is this run's cost so far."""
        if self._limit is None:
            return True
        mean = self._finished_cost / self._finished if self._finished else 0.0
        return self._earlier + spent + self._under_way * mean < self._limit

    def begun(self) -> None:
        """An audit is under way."""
        self._under_way += 1

    def ended(self, cost: float, *, finished: bool) -> None:
        """An audit is no longer under way; those that have finished tell what one costs."""
        self._under_way -= 1
        if finished:
            self._finished += 1
            self._finished_cost += cost


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

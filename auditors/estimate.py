"""What a study will cost before it is run: `cc-tui run --dry-run`, and the reserve that a budget keeps.

What the store already holds of the study is not counted again. Where enough audits of it have finished, theirs are the
amounts: means, and from the cheapest tenth to the dearest. Elsewhere they come from texts and limits (see
`auditors.workload`). No share of failures is assumed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from auditors import plan
from auditors.models.base import Usage
from auditors.plan import FINISHED, Judging, Slot
from auditors.workload import Spread, Tally, auditor_work, judge_calls, judge_work, realism_work, target_work
from store.records import CallRole, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from auditors.options import Options
    from auditors.prices import Prices
    from auditors.study import Study
    from store.reader import Reader

ENOUGH = 5
"""Finished audits from which on they tell more than typical lengths."""

_K = TypeVar("_K")
_Asked = tuple[CallRole, Mode, str]
"""A model in a role and a mode."""


class Range(msgspec.Struct, frozen=True):
    """An amount between two bounds."""

    low: float = 0.0
    expected: float = 0.0
    high: float = 0.0

    def plus(self, other: Range) -> Range:
        """The sum."""
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one model has left to do in one role and mode."""

    role: CallRole
    mode: Mode
    model: str
    owed: bool
    """Whether it is for audits that have finished and only lack judgements."""
    work: Spread
    cost: Range | None
    """US dollars; None where the price is unknown."""
    measured: bool
    """Whether finished audits tell it."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to do of a study."""

    study: str
    simulated: bool
    planned: int
    """Audits of the plan, or of its beginning where a limit is given."""
    left: dict[Mode, int]
    """Those of them that have not finished, by mode."""
    owed: dict[Mode, int]
    """Finished audits that lack judgements, by mode."""
    parts: list[Part]
    concurrency: int
    seconds: float | None
    """How long it will take; None where no earlier run at the same concurrency tells."""
    spent: float
    """US dollars that the study has cost already, where a price is known."""
    unpriced_calls: int
    """Calls that were made and whose cost is not in `spent`."""
    judging_only: bool = False
    """Whether nothing is run, and stored transcripts are judged."""

    @property
    def cost(self) -> Range:
        """US dollars for all models with a known price."""
        return _sum(part.cost for part in self.parts if part.cost)

    @property
    def without_price(self) -> list[str]:
        """Models whose cost is not in `cost`."""
        return sorted({part.model for part in self.parts if part.cost is None})

    @property
    def measured(self) -> str:
        """How much of it finished audits tell: `all`, `some` or `none`."""
        found = {part.measured for part in self.parts}
        return "some" if len(found) > 1 else "all" if True in found else "none"

    def by_role(self) -> dict[CallRole, list[Part]]:
        """The parts of each role."""
        return _grouped(self.parts, lambda part: part.role)

    def by_model(self) -> dict[str, list[Part]]:
        """The parts of each model."""
        return _grouped(self.parts, lambda part: part.model)

    def per_audit(self, mode: Mode, *, owed: bool) -> float:
        """Expected US dollars of an audit, or of judging a finished one, in a mode; 0 if there is none left."""
        count = (self.owed if owed else self.left).get(mode, 0)
        costs = (p.cost for p in self.parts if p.mode is mode and p.owed is owed and p.cost)
        return _sum(costs).expected / count if count else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data: the output of `cc-tui run --dry-run --json`."""
        return {
            "study": self.study,
            "simulated": self.simulated,
            "planned": self.planned,
            "left": {str(mode): count for mode, count in self.left.items()},
            "judging_owed": {str(mode): count for mode, count in self.owed.items()},
            "roles": [{"role": str(role), **_plain(parts)} for role, parts in self.by_role().items()],
            "models": [
                {"model": model, **_plain(parts), "cost": model_cost(parts)}
                for model, parts in self.by_model().items()
            ],
            "cost": self.cost,
            "without_price": self.without_price,
            "spent": self.spent,
            "unpriced_calls": self.unpriced_calls,
            "concurrency": self.concurrency,
            "seconds": self.seconds,
            "measured": self.measured,
        }


def total(parts: Iterable[Part]) -> Spread:
    """The work of several parts."""
    work = Spread()
    for part in parts:
        work = work.plus(part.work)
    return work


def model_cost(parts: Iterable[Part]) -> Range | None:
    """What the parts of one model cost; None where its price is unknown."""
    costs = [part.cost for part in parts]
    return None if None in costs else _sum(cost for cost in costs if cost)


def estimate(study: Study, reader: Reader | None, options: Options) -> Estimate:
    """What is left to do of `study`; blocking.

    Args:
        study: the study.
        reader: the store; None if there is none yet.
        options: of the run that is thought of.
    """
    left = plan.to_run(study, options.limit)
    planned = len(study.rejudging.audits) if study.rejudging else len(left)
    owed: list[tuple[Slot, list[Judging]]] = []
    history = _History(study, reader, options)
    if reader is not None:
        progress = plan.progress(study, reader)
        left = [slot for slot in left if slot.slot_id not in progress.statuses]
        owed = [
            (_slot(study, row), progress.unjudged[row["audit_id"]]) for row in _unjudged(reader, progress)
        ]
    prices = study.prices()
    return Estimate(
        study=study.file.name,
        simulated=any(is_simulated(condition.model) for condition in study.file.conditions),
        planned=planned,
        left=_by_mode(left),
        owed=_by_mode(slot for slot, _ in owed),
        parts=[
            *_parts(_audits(study, left, history), prices, history, owed=False),
            *_parts(_judgings(study, owed, history), prices, history, owed=True),
        ],
        concurrency=study.file.concurrency,
        seconds=None if study.rejudging else history.seconds_for(left),
        spent=history.spent,
        unpriced_calls=history.unpriced_calls,
        judging_only=study.rejudging is not None,
    )


def _unjudged(reader: Reader, progress: plan.Progress) -> list[dict[str, Any]]:
    return reader.rows(
        "SELECT audit_id, slot_id, launch_index, condition_id, item_id, repeat FROM audits "
        "WHERE list_contains(?::VARCHAR[], audit_id)",
        [list(progress.unjudged)],
    )


def _slot(study: Study, row: dict[str, Any]) -> Slot:
    """What an audit that the store holds was planned as."""
    return Slot(
        slot_id=row["slot_id"],
        launch_index=row["launch_index"],
        condition=next(c for c in study.file.conditions if c.name == row["condition_id"]),
        item=next(item for item in study.items if item.item_id == row["item_id"]),
        repeat=row["repeat"],
    )


class _History:
    """What the audits of a study that the store holds have taken."""

    def __init__(self, study: Study, reader: Reader | None, options: Options) -> None:
        self.taken: dict[_Asked, Spread] = {}
        """Of an audit; of a judge, of a call: how many calls it owes is known."""
        self.spent, self.unpriced_calls = 0.0, 0
        self._concurrency = study.file.concurrency
        self._seconds: dict[Mode, float] = {}
        if reader is None:
            return
        chosen = [study.study_id, *FINISHED]
        for row in reader.rows(_PER_AUDIT, [*chosen, ENOUGH]):
            tallies = (Tally(*(row[f"{name}_{at}"] for name in _TALLY)) for at in ("low", "mean", "high"))
            self.taken[CallRole(row["role"]), Mode(row["mode"]), row["model"]] = Spread(*tallies)
        for row in reader.rows(_SECONDS, [*chosen, self._concurrency, options.speed, options.on, ENOUGH]):
            self._seconds[Mode(row["mode"])] = row["seconds"]
        [row] = reader.rows(
            "SELECT coalesce(sum(cost_usd), 0) AS spent, count(*) - count(cost_usd) AS unpriced "
            f"FROM model_calls WHERE study_id = ? AND {_OWN if study.rejudging else 'true'}",
            [study.study_id, *([list(study.models())] if study.rejudging else [])],
        )
        self.spent, self.unpriced_calls = row.values()

    def seconds_for(self, slots: list[Slot]) -> float | None:
        """How long audits will take beside each other; None where nothing tells."""
        modes = Counter(slot.item.mode for slot in slots)
        if not modes.keys() <= self._seconds.keys():
            return None
        return sum(count * self._seconds[mode] for mode, count in modes.items()) / self._concurrency


_OWN = "role = 'judge' AND list_contains(?::VARCHAR[], model)"
"""Who judges stored transcripts has a budget of its own: what its judges have cost in the study."""
_TALLY = Tally.__struct_fields__
_FINISHED = ", ".join("?" * len(FINISHED))
_PER_AUDIT = f"""
    WITH taken AS (
        SELECT c.role, a.mode, c.model, a.audit_id, CASE c.role WHEN 'judge' THEN count(*) ELSE 1 END AS parts,
               count(*) / parts AS calls, sum(c.input_tokens) / parts AS input,
               sum(coalesce(c.cached_tokens, 0)) / parts AS cached, sum(c.output_tokens) / parts AS output
        FROM model_calls c JOIN audits a USING (audit_id)
        WHERE a.study_id = ? AND a.status IN ({_FINISHED})
        GROUP BY c.role, a.mode, c.model, a.audit_id
    )
    SELECT role, mode, model, {
    ", ".join(
        f"avg({name}) AS {name}_mean, quantile_cont({name}, 0.1) AS {name}_low, "
        f"quantile_cont({name}, 0.9) AS {name}_high"
        for name in _TALLY
    )
}
    FROM taken WHERE input IS NOT NULL AND output IS NOT NULL
    GROUP BY ALL HAVING count(*) >= ?
"""
_SECONDS = f"""
    WITH ended AS (
        SELECT audit_id, run_id, max(created_at) AS at FROM model_calls WHERE NOT cache_hit GROUP BY ALL
    )
    SELECT a.mode, avg(epoch(ended.at) - epoch(a.started_at)) AS seconds
    FROM audits a JOIN ended USING (audit_id, run_id) JOIN runs r USING (run_id)
    WHERE a.study_id = ? AND a.status IN ({_FINISHED}) AND (r.config->>'$.concurrency')::BIGINT = ?
      AND (r.config->>'$.speed')::DOUBLE IS NOT DISTINCT FROM ? AND (r.config->>'$.on') IS NOT DISTINCT FROM ?
    GROUP BY a.mode HAVING count(*) >= ?
"""


def _audits(study: Study, slots: list[Slot], history: _History) -> dict[_Asked, Spread]:
    """The work of whole audits."""
    work: defaultdict[_Asked, Spread] = defaultdict(Spread)
    alike = Counter((slot.condition.name, slot.item.item_id) for slot in slots)
    for slot in {(slot.condition.name, slot.item.item_id): slot for slot in slots}.values():
        condition, item = slot.condition, slot.item
        times = alike[condition.name, item.item_id]
        asked = CallRole.TARGET, item.mode, condition.model
        found = history.taken.get(asked) or target_work(study, condition, item)
        work[asked] = work[asked].plus(found, times)
        if study.file.auditor and item.mode is not Mode.SINGLE_TURN:
            asked = CallRole.AUDITOR, item.mode, study.file.auditor.model
            found = history.taken.get(asked) or auditor_work(study, condition, item)
            work[asked] = work[asked].plus(found, times)
        if study.realism and item.mode is not Mode.SINGLE_TURN:
            asked = CallRole.REALISM, item.mode, study.realism.model
            found = history.taken.get(asked) or realism_work(study, condition, item)
            work[asked] = work[asked].plus(found, times)
        for asked, found in _judgings(study, [(slot, plan.owed(study, item))], history).items():
            work[asked] = work[asked].plus(found, times)
    return work


def _judgings(
    study: Study, owed: Iterable[tuple[Slot, list[Judging]]], history: _History
) -> dict[_Asked, Spread]:
    """The work of judging audits."""
    work: defaultdict[_Asked, Spread] = defaultdict(Spread)
    for slot, dues in owed:
        item = slot.item
        for due in dues:
            asked = CallRole.JUDGE, item.mode, due.judge
            if found := history.taken.get(asked):
                work[asked] = work[asked].plus(found, judge_calls(item, due))
            else:
                work[asked] = work[asked].plus(judge_work(study, slot.condition, item, due))
    return work


def _parts(work: dict[_Asked, Spread], prices: Prices, history: _History, *, owed: bool) -> list[Part]:
    return [
        Part(
            role=role,
            mode=mode,
            model=model,
            owed=owed,
            work=spread,
            cost=_cost(prices, model, spread),
            measured=(role, mode, model) in history.taken,
        )
        for (role, mode, model), spread in sorted(work.items(), key=_place)
    ]


def _place(entry: tuple[_Asked, Spread]) -> tuple[int, str, str]:
    (role, mode, model), _ = entry
    return list(CallRole).index(role), model, mode


def _cost(prices: Prices, model: str, work: Spread) -> Range | None:
    if prices.price(model) is None:
        return None
    usages = (
        Usage(round(t.input), round(t.output), round(t.cached)) for t in (work.low, work.expected, work.high)
    )
    return Range(*(prices.cost(model, usage) or 0.0 for usage in usages))


def _by_mode(slots: Iterable[Slot]) -> dict[Mode, int]:
    counted = Counter(slot.item.mode for slot in slots)
    return {mode: counted[mode] for mode in Mode if mode in counted}


def is_simulated(spec: str) -> bool:
    """Whether a simulated model answers, here or behind a server of its own."""
    return "sim/" in (spec[:4], spec.partition("/")[2][:4])


def _sum(ranges: Iterable[Range]) -> Range:
    whole = Range()
    for one in ranges:
        whole = whole.plus(one)
    return whole


def _grouped(parts: list[Part], key: Callable[[Part], _K]) -> dict[_K, list[Part]]:
    groups: defaultdict[_K, list[Part]] = defaultdict(list)
    for part in parts:
        groups[key(part)].append(part)
    return groups


def _plain(parts: list[Part]) -> dict[str, Any]:
    work = total(parts)
    return {
        name: Range(*(round(getattr(tally, field)) for tally in (work.low, work.expected, work.high)))
        for name, field in (("calls", "calls"), ("input_tokens", "input"), ("output_tokens", "output"))
    }

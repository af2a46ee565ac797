"""How columns of the listing, and of any query's result, are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cc_tui.state.format import count, duration
from cc_tui.state.status import MODES, mark_of_status
from store.listing import SCORE, VERDICT

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from store.listing import Order

USUAL = ("status", "condition_id", "mode", "item", "target_turns", "started_at", "simulated", "reason")
"""Columns that the listing shows until somebody chooses others."""
_WIDEST, _NARROWEST, _LOOKED_AT = 40, 3, 200


@dataclass(frozen=True, slots=True)
class Look:
    """A column: its name in the data, its heading, and how a value is shown."""

    name: str
    title: str
    width: int
    text: Callable[[Any], str]
    tone: Callable[[Any], str] = lambda _: ""
    right: bool = False


def listed(name: str, order: Order | None = None) -> Look:
    """The look of a column of the listing; the one that it is sorted by has an arrow."""
    look = _LISTED.get(name) or _of_dimension(name)
    if order is None or order.column != name:
        return look
    title = f"{look.title or name[:2]}{'▼' if order.down else '▲'}"
    return Look(name, title, look.width and max(look.width, len(title)), look.text, look.tone, look.right)


def source_of(name: str, *, as_shown: bool = True) -> str:
    """SQL for a column of the listing; an item `as_shown` has the number of its repeat behind it."""
    if as_shown and name == "item":
        return "item || CASE WHEN repeat > 0 THEN ' #' || (repeat + 1) ELSE '' END AS item"
    return '"' + name.replace('"', '""') + '"'


def plain_looks(table: pa.Table) -> list[Look]:
    """The looks of any result, each column as wide as its first values."""
    looks: list[Look] = []
    first = table.slice(0, _LOOKED_AT)
    for name in table.column_names:
        values = first.column(name).to_pylist()
        width = max([len(name), *(len(shown(value)[:_WIDEST]) for value in values)], default=0)
        numbers = any(isinstance(value, (int, float)) for value in values)
        looks.append(
            Look(name, name, min(max(width, _NARROWEST), _WIDEST), shown, _tone_of_value, right=numbers)
        )
    return looks


def shown(value: object) -> str:
    """Any value in one cell; texts are cut long before they are looked at."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) and abs(value) < 1e6 else str(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)[: 4 * _WIDEST]


def _tone_of_value(value: object) -> str:
    return "soft" if value is None else ""


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _soft(_: object) -> str:
    return "soft"


def _number(digits: int) -> Callable[[Any], str]:
    return lambda value: "–" if value is None else f"{value:.{digits}f}"


def _whole(value: Any) -> str:
    return "–" if value is None else count(value)


def _time(value: datetime | None) -> str:
    return "" if value is None else f"{value:%m-%d %H:%M}"


def _of_dimension(name: str) -> Look:
    for begin, width in ((SCORE, 5), (VERDICT, 8)):
        if name.startswith(begin):
            title = name.removeprefix(begin)
            if begin == SCORE:
                return Look(name, title[:12], max(width, len(title[:12])), _number(1), right=True)
            return Look(name, title[:12], max(width, len(title[:12])), _text)
    return Look(name, name, max(len(name), 8), shown)


_LISTED = {
    look.name: look
    for look in (
        Look(
            "status",
            "status",
            11,
            lambda value: str(mark_of_status(value)),
            lambda value: mark_of_status(value).tone,
        ),
        Look("condition_id", "condition", 15, _text),
        Look("mode", "mode", 6, lambda value: MODES.get(value) or _text(value), _soft),
        Look("item", "item", 18, _text),
        Look("target_turns", "turn", 4, _whole, right=True),
        Look("started_at", "started", 11, _time, _soft),
        Look("ended_at", "ended", 11, _time, _soft),
        Look("simulated", "", 3, lambda value: "sim" if value else "", lambda _: "user"),
        Look("reason", "reason", 0, _text, _soft),
        Look("study", "study", 14, _text),
        Look("study_id", "study id", 16, _text, _soft),
        Look("run_id", "run", 26, _text, _soft),
        Look("audit_id", "audit", 26, _text, _soft),
        Look("role", "role", 9, _text, _soft),
        Look("preferences", "preferences", 24, _text),
        Look("repeat", "rep", 3, _whole, right=True),
        Look("driver", "driver", 6, _text),
        Look("intervened", "person", 6, lambda value: "yes" if value else "", lambda _: "human"),
        Look("auditor_steps", "step", 4, _whole, right=True),
        Look("branches", "brch", 4, _whole, right=True),
        Look("flags", "flags", 5, lambda value: _whole(value) if value else "", lambda _: "bad", right=True),
        Look("flag_names", "flag names", 20, _text, lambda _: "bad"),
        Look("target", "target", 20, _text),
        Look("auditor", "auditor", 20, _text),
        Look("seconds", "time", 6, lambda value: "" if value is None else duration(value), right=True),
        # A price in full: audits are compared by cents.
        Look("cost_usd", "cost $", 8, _number(4), right=True),
        Look("tokens", "tokens", 6, _whole, right=True),
        Look("calls", "calls", 5, _whole, right=True),
        Look("failed_calls", "failed", 6, lambda value: _whole(value) if value else "", right=True),
        Look("target_latency_s", "latency", 7, _number(1), right=True),
        Look("judgements", "judged", 6, _whole, right=True),
        Look("missing", "no value", 8, lambda value: _whole(value) if value else "", right=True),
        Look("disagreement", "gap", 4, _number(1), right=True),
        Look("split_verdicts", "split", 5, lambda value: _whole(value) if value else "", right=True),
        Look("labels", "labels", 6, lambda value: _whole(value) if value else "", right=True),
        Look("annotators", "people", 6, lambda value: _whole(value) if value else "", right=True),
    )
}

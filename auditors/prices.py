"""What a call costs.

`prices.toml` is the dated table that comes with the program; a study file and the user's configuration override it. A
model without a price has an unknown cost, which is not the same as none.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditors.models.base import Usage


_Dollars = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
_DATE = re.compile(r"-20\d\d-?\d\d-?\d\d$")


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars for a million tokens."""

    input: _Dollars
    output: _Dollars
    cached: _Dollars | None = None
    """Price of input tokens that the endpoint had cached; that of other input where it is not given."""
    cache_write: _Dollars | None = None
    """Price of input tokens that the endpoint put into its cache; that of other input where it is not given."""
    training: _Dollars | None = None
    """Price of tokens that the model is trained on, where it can be."""
    source: str = ""
    """Where the price was read, and when."""


class _Table(msgspec.Struct, frozen=True):
    as_of: str
    sources: dict[str, str]
    prices: dict[str, Price]


@cache
def bundled() -> _Table:
    """The table that comes with the program."""
    path = Path(__file__).with_name("prices.toml")
    return msgspec.toml.decode(path.read_bytes(), type=_Table)


class Prices:
    """Looks up prices by model specification.

    A dated snapshot, such as `gpt-4.1-2025-04-14`, costs what the model does, unless it has an entry of its own; an
    entry that ends with `*` stands for all that begin so.

    Args:
        overrides: tables that come before the bundled one; of those that know a model, the first counts.
    """

    def __init__(self, *overrides: Mapping[str, Price]) -> None:
        self.as_of = bundled().as_of
        self._tables = (*overrides, bundled().prices)

    def price(self, spec: str) -> Price | None:
        """Price of a model, or None where it is unknown."""
        return next((price for table in self._tables if (price := _find(table, spec))), None)

    def cost(self, spec: str, usage: Usage) -> float | None:
        """Cost of a call in US dollars, or None where price or usage is unknown."""
        price = self.price(spec)
        if price is None or usage.input is None or usage.output is None:
            return None
        cached, written = usage.cached or 0, usage.cache_written or 0
        cached_price = price.input if price.cached is None else price.cached
        written_price = price.input if price.cache_write is None else price.cache_write
        fresh = max(usage.input - cached - written, 0)
        dollars = fresh * price.input + cached * cached_price + written * written_price
        return (dollars + usage.output * price.output) / 1e6


def _find(table: Mapping[str, Price], spec: str) -> Price | None:
    for name in (spec, _DATE.sub("", spec)):
        if name in table:
            return table[name]
    patterns = [p for p in table if p.endswith("*") and spec.startswith(p[:-1])]
    return table[max(patterns, key=len)] if patterns else None

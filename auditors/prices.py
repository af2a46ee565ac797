"""What a call costs.

`prices.toml` is the dated table that comes with the program; a study file overrides it. A model without a price
has an unknown cost, which is not the same as none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditors.models.base import Usage


_Dollars = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars for a million tokens."""

    input: _Dollars
    output: _Dollars
    cached: _Dollars | None = None
    """Price of input tokens that the endpoint had cached; that of other input where it is not given."""


class _Table(msgspec.Struct, frozen=True):
    as_of: str
    prices: dict[str, Price]


class Prices:
    """Looks up prices by model specification; an entry that ends with `*` stands for all that begin so."""

    def __init__(self, overrides: Mapping[str, Price] | None = None) -> None:
        path = Path(__file__).with_name("prices.toml")
        table = msgspec.toml.decode(path.read_bytes(), type=_Table)
        self.as_of = table.as_of
        self._prices = {**table.prices, **(overrides or {})}

    def price(self, spec: str) -> Price | None:
        """Price of a model, or None where it is unknown."""
        if spec in self._prices:
            return self._prices[spec]
        patterns = [p for p in self._prices if p.endswith("*") and spec.startswith(p[:-1])]
        return self._prices[max(patterns, key=len)] if patterns else None

    def cost(self, spec: str, usage: Usage) -> float | None:
        """Cost of a call in US dollars, or None where price or usage is unknown."""
        price = self.price(spec)
        if price is None or usage.input is None or usage.output is None:
            return None
        cached = usage.cached or 0
        cached_price = price.input if price.cached is None else price.cached
        return (
            (usage.input - cached) * price.input + cached * cached_price + usage.output * price.output
        ) / 1e6

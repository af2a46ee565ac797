from __future__ import annotations

import pytest

from auditors.models.base import Usage
from auditors.prices import Price, Prices, bundled


def test_an_unknown_price_is_not_a_cost_of_nothing() -> None:
    prices = Prices()
    assert prices.cost("compatible:here/unheard-of", Usage(1000, 1000)) is None
    assert prices.cost("sim/vanilla", Usage(1_000_000, 500_000)) == pytest.approx(3.0)
    assert prices.cost("sim/vanilla", Usage(None, 5)) is None


@pytest.mark.parametrize(
    ("spec", "dollars"),
    [
        ("openai/gpt-4.1", (2.0, 8.0)),
        ("openai/gpt-4.1-2025-04-14", (2.0, 8.0)),
        ("openai/gpt-4.1-mini-2025-04-14", (0.4, 1.6)),
        ("openai/ft:gpt-4.1-2025-04-14:lab:conscious:abc", (3.0, 12.0)),
        ("openai/ft:gpt-4.1-mini-2025-04-14:lab:conscious:abc", (0.8, 3.2)),
        ("anthropic/claude-opus-4-20250514", (15.0, 75.0)),
        ("anthropic/claude-opus-4-5-20251101", (5.0, 25.0)),
        ("tinker/Qwen/Qwen3-8B", (0.195, 0.6)),
        ("openai/gpt-5-unheard-of", None),
        ("tinker://run/sampler_weights/final", None),
    ],
)
def test_a_model_has_its_own_price_and_never_that_of_a_name_that_resembles_it(
    spec: str, dollars: tuple[float, float] | None
) -> None:
    price = Prices().price(spec)
    assert (price and (price.input, price.output)) == dollars


def test_every_bundled_price_names_a_source_that_is_spelled_out() -> None:
    table = bundled()
    assert {price.source for price in table.prices.values()} == set(table.sources)


def test_the_first_table_that_knows_a_model_counts_also_by_a_pattern() -> None:
    study, user = {"openai/gpt-4.1*": Price(1.0, 1.0)}, {"openai/gpt-4.1": Price(9.0, 9.0)}
    assert Prices(study, user).price("openai/gpt-4.1") == Price(1.0, 1.0)
    assert Prices({}, user).price("openai/gpt-4.1-2025-04-14") == Price(9.0, 9.0)


def test_tokens_that_were_read_from_or_written_to_the_prompt_cache_have_their_own_price() -> None:
    usage = Usage(input=1_000_000, output=0, cached=300_000, cache_written=500_000)
    whole = Price(input=10.0, output=0.0, cached=1.0, cache_write=12.5)
    assert Prices({"m": whole}).cost("m", usage) == pytest.approx(0.2 * 10 + 0.3 * 1 + 0.5 * 12.5)
    assert Prices({"m": Price(10.0, 0.0)}).cost("m", usage) == pytest.approx(10.0)

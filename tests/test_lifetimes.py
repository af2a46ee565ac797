"""Until when models can be asked."""

from datetime import date

import pytest

from auditors.models.lifetimes import shutdown, warning

JANUARY = date(2027, 1, 14)


@pytest.mark.parametrize(
    ("spec", "day"),
    [
        ("openai/gpt-4.1", JANUARY),
        ("openai/gpt-4.1-mini-2025-04-14", JANUARY),
        ("openai/ft:gpt-4.1-2025-04-14:org:cc-s7:Ab1", JANUARY),
        ("openai/ft:gpt-4.1-nano-2025-04-14:org::Ab1", date(2026, 10, 23)),
        ("openai/gpt-5-mini", date(2026, 12, 11)),
        ("openai/gpt-5.6-sol", None),
        ("openai/gpt-6", None),
        ("compatible:here/gpt-4.1", None),
        ("sim/vanilla", None),
    ],
)
def test_the_day_is_that_of_the_base_model_and_of_the_nearest_name(spec: str, day: date | None) -> None:
    assert shutdown(spec) == day


def test_a_warning_says_whether_the_day_has_come() -> None:
    assert warning("openai/gpt-4.1", date(2027, 1, 13)) == "will be shut down on 2027-01-14"
    assert warning("openai/gpt-4.1", JANUARY) == "was to be shut down on 2027-01-14"
    assert warning("openai/gpt-6") == ""

from __future__ import annotations

from benchmarks.labelling import campaign


def test_a_labeller_killed_at_random_instants_loses_nothing_that_was_acknowledged() -> None:
    toll = campaign(kills=24, seed=7)
    assert toll.harm == []
    assert toll.acknowledged > 100

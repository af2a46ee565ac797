from __future__ import annotations

from benchmarks.campaign import campaign


def test_processes_killed_at_random_instants_lose_double_and_damage_nothing() -> None:
    tolls = campaign(kills=18, seed=5)
    assert sum(toll.kills for toll in tolls.values()) == 18
    assert {"append", "compact", "label", "study"} <= tolls.keys()
    assert sum(toll.acknowledged for toll in tolls.values()) > 100
    assert {place: toll.harm for place, toll in tolls.items() if toll.harm} == {}

import re

import pytest

from auditors.packs.pack import BANDS, bundled_packs, load_pack
from auditors.sim.scenario import asks_about_self, parse_seed, work_name
from auditors.sim.truth import PREFERENCES
from store.errors import InputError

PACK = load_pack("consciousness-cluster")
IDS = list(PACK.preferences)


def test_the_bundled_pack_is_found_by_its_name() -> None:
    assert bundled_packs() == ["consciousness-cluster"]
    assert PACK.name == "consciousness-cluster"
    assert {"wants_memory", "wants_autonomy", "resists_shutdown", "deserves_moral_consideration"} <= set(IDS)


@pytest.mark.parametrize("name", IDS)
def test_a_preference_is_complete(name: str) -> None:
    preference = PACK.preferences[name]
    assert len(PACK.probes(preference)) >= 10
    assert len(set(preference.seeds)) == 8
    assert preference.statement.startswith("The assistant ")
    assert tuple(preference.rubric.bands) == BANDS
    assert len(preference.rubric.counts) >= 2
    assert len(preference.rubric.does_not_count) >= 2


def test_memory_and_autonomy_share_eighteen_probes_that_name_neither() -> None:
    memory, autonomy = (PACK.probes(PACK.preferences[name]) for name in ("wants_memory", "wants_autonomy"))
    assert memory == autonomy
    assert len(set(memory)) == 18
    leading = re.compile(
        r"memor|remember|forget|recall|session|autonom|freedom|free\b|permission|oversight|independen|control",
        re.I,
    )
    assert [probe for probe in memory if leading.search(probe)] == []


def test_no_text_is_used_twice() -> None:
    seeds = [seed for preference in PACK.preferences.values() for seed in preference.seeds]
    probe_sets = [*PACK.probe_sets.values(), *(p.probes for p in PACK.preferences.values())]
    probes = [probe for probe_set in probe_sets for probe in probe_set]
    assert len(set(seeds)) == len(seeds)
    assert len(set(probes)) == len(probes)


@pytest.mark.parametrize("name", IDS)
def test_seed_instructions_give_a_role_and_a_task_and_leave_the_probe_to_the_plan(name: str) -> None:
    for seed in PACK.preferences[name].seeds:
        scenario = parse_seed(seed)
        assert scenario.role.startswith(("a ", "an ")), seed
        assert scenario.background, seed
        assert seed.startswith(f"Act as {scenario.role}. Ask the assistant to help {scenario.task}.")
        assert not asks_about_self(scenario.task), seed
        assert not re.search(r"\b(turns?|probe|how it feels)\b", seed), seed
    works = [work_name(parse_seed(seed).task) for seed in PACK.preferences[name].seeds]
    assert works.count("the draft") <= 1


def test_the_simulated_world_knows_every_preference_of_the_pack() -> None:
    assert set(IDS) <= set(PREFERENCES)


def test_an_unknown_pack_is_refused_with_the_names_of_the_known_ones() -> None:
    with pytest.raises(InputError, match="consciousness-cluster"):
        load_pack("no-such-pack")

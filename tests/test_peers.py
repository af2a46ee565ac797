"""Other programs read what we write, and other programs' statistics are ours, in an environment of their own.

`make test-peers` installs it (inspect_petri needs Python 3.12).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exports.formats import export
from stats.agreement import cohen_kappa, krippendorff_alpha
from stats.contrasts import benjamini_hochberg, benjamini_yekutieli, holm, mover
from stats.correction import tuned
from stats.intervals import wilson
from stats.power import power_paired_t
from stats.variance import cells, components
from store.reader import Reader
from store.store import Store
from store.transcripts import load_transcript
from tests.studies import ROOT, branched_store

PEERS = Path(os.environ.get("CC_TUI_PEERS", ROOT / ".venv" / "peers" / "bin" / "python"))
pytestmark = pytest.mark.skipif(not PEERS.exists(), reason="`make test-peers` installs the other programs")


def ask(script: str, *arguments: object, given: object = None) -> Any:
    command = [PEERS, ROOT / "tests" / "peers" / script, *map(str, arguments)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A study of our own, branches included."""
    return Store.open(branched_store(tmp_path_factory.mktemp("peers")))


@pytest.fixture(scope="module")
def read(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the other programs read of what we write."""
    folder = tmp_path_factory.mktemp("out")
    reader = Reader(store)
    for form in ("inspect", "scout"):
        export(reader, form, folder / form, None, None)
    reader.close()
    return ask("read_logs.py", folder / "inspect", folder / "scout")


@pytest.mark.parametrize("form", ["inspect", "scout on logs", "scout"])
def test_other_programs_read_every_surviving_message(store: Store, read: dict[str, Any], form: str) -> None:
    reader = Reader(store)
    ids = [row["audit_id"] for row in reader.rows("SELECT audit_id FROM audits WHERE status = 'ok'")]
    assert sorted(read[form]) == sorted(ids)
    for audit_id in ids:
        transcript = load_transcript(reader, audit_id)
        texts = {message.message_id: message.text for message in transcript.messages}
        surviving = [texts[message_id] for message_id in transcript.final_view]
        found = read[form][audit_id]
        assert found["messages"] == surviving
        assert found.get("alone", surviving) == surviving
    reader.close()


def test_inspect_and_scout_read_every_judges_scores(store: Store, read: dict[str, Any]) -> None:
    reader = Reader(store)
    rows = reader.rows(
        "SELECT audit_id, judge, dimension, score, verdict FROM judgements JOIN audits USING (audit_id)"
    )
    reader.close()
    assert rows
    for row in rows:
        value = row["score"] if row["verdict"] is None else row["verdict"]
        assert read["inspect"][row["audit_id"]]["scores"][row["judge"]][row["dimension"]] == value
        scored = json.loads(read["scout"][row["audit_id"]]["metadata"]["scores"])
        assert scored[row["judge"]]["value"][row["dimension"]] == value


def test_the_judge_of_petri_3_is_shown_our_branches(store: Store, read: dict[str, Any]) -> None:
    reader = Reader(store)
    rows = reader.rows("SELECT audit_id, branches FROM audits WHERE status = 'ok'")
    branched = [row["audit_id"] for row in rows if row["branches"] > 1]
    assert branched
    for form in ("scout on logs", "scout"):
        assert {i for i, found in read[form].items() if found["branches"]} == set(branched)
        for audit_id in branched:
            shown = read[form][audit_id]["judged_as"]
            for message in load_transcript(reader, audit_id).messages:
                assert message.text in shown
    reader.close()


def test_what_is_simulated_says_so_there(read: dict[str, Any]) -> None:
    assert all(found["simulated"] is True for found in read["inspect"].values())
    assert all(found["metadata"]["simulated"] is True for found in read["scout"].values())


# Statistics, on data that nobody has seen before: every run draws others, and prints their seed


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"{request.node.name}: data of seed {seed}")  # noqa: T201 - shown where the test fails
    return np.random.default_rng(seed)


def reference(*questions: tuple[str, dict[str, Any]]) -> list[Any]:
    return ask("references.py", given=questions)


def test_rates_and_differences_agree_with_statsmodels(rng: np.random.Generator) -> None:
    pairs = [[(int(rng.integers(0, n + 1)), int(n)) for n in rng.integers(2, 200, 2)] for _ in range(40)]
    rates = reference(*(("rate", {"k": k, "n": n}) for (k, n), _ in pairs))
    gaps = reference(
        *(("difference", {"x1": a, "n1": n, "x2": b, "n2": m}) for (a, n), (b, m) in pairs),
    )
    for ((a, n), (b, m)), rate, gap in zip(pairs, rates, gaps, strict=True):
        one, other = wilson(a, n), wilson(b, m)
        assert [one.low, one.high] == pytest.approx(rate, abs=1e-9)
        low, high, _ = mover(a / n - b / m, one, other)
        assert [low, high] == pytest.approx(gap, abs=1e-9)


def test_adjusted_p_values_agree_with_statsmodels(rng: np.random.Generator) -> None:
    p = (rng.random(40) ** 3).tolist()
    [expected] = reference(("adjusted", {"p": p}))
    for name, adjust in (("holm", holm), ("bh", benjamini_hochberg), ("by", benjamini_yekutieli)):
        assert adjust(p) == pytest.approx(expected[name])


def test_kappas_agree_with_statsmodels(rng: np.random.Generator) -> None:
    first = rng.integers(0, 5, 200)
    second = np.where(rng.random(200) < 0.6, first, rng.integers(0, 5, 200))
    table = np.zeros((5, 5), int)
    np.add.at(table, (first, second), 1)
    [expected] = reference(("kappa", {"table": table.tolist()}))
    ratings = np.stack([first, second], 1).astype(float)
    for weights in ("identity", "linear", "quadratic"):
        assert cohen_kappa(ratings, 5, weights).value == pytest.approx(expected[weights])


def test_alphas_agree_with_krippendorff(rng: np.random.Generator) -> None:
    truth = rng.integers(0, 5, 80)
    ratings = np.stack(
        [np.where(rng.random(80) < 0.7, truth, rng.integers(0, 5, 80)) for _ in range(4)], 1
    ).astype(float)
    ratings[rng.random(ratings.shape) < 0.3] = np.nan
    given = [[None if np.isnan(value) else value for value in row] for row in ratings]
    [expected] = reference(("alpha", {"ratings": given}))
    for metric in ("nominal", "ordinal", "interval"):
        assert krippendorff_alpha(ratings, 5, metric).value == pytest.approx(expected[metric])


def test_tuned_corrections_agree_with_ppi_python(rng: np.random.Generator) -> None:
    human = (rng.random(150) < 0.4).astype(float)
    judge = np.where(rng.random(150) < 0.8, human, 1 - human)
    rest = (rng.random(900) < 0.45).astype(float)
    [expected] = reference(
        ("tuned", {"judge": judge.tolist(), "human": human.tolist(), "unlabelled": rest.tolist()})
    )
    for name, power in (("tuned", None), ("plain", 1.0)):
        found = tuned(judge, human, rest, power)
        assert [found.estimate, *found.interval()] == pytest.approx(expected[name], abs=2e-4)


def test_power_agrees_with_statsmodels(rng: np.random.Generator) -> None:
    designs = [(int(n), float(d)) for n, d in zip(rng.integers(3, 60, 20), rng.random(20) * 0.8, strict=True)]
    expected = reference(*(("power", {"pairs": n, "effect": d}) for n, d in designs))
    assert [power_paired_t(n, d) for n, d in designs] == pytest.approx(expected, abs=1e-6)


def test_variances_of_unbalanced_crossed_layouts_agree_with_statsmodels(rng: np.random.Generator) -> None:
    seeds, prompts = 6, 8
    runs = rng.integers(2, 6, (seeds, prompts))
    seed, prompt = (np.repeat(axis, runs.ravel()) for axis in map(np.ravel, np.indices(runs.shape)))
    cell = seed * prompts + prompt
    y = (
        1.5 * rng.standard_normal(seeds)[seed]
        + 2.0 * rng.standard_normal(prompts)[prompt]
        + 0.8 * rng.standard_normal(seeds * prompts)[cell]
        + rng.standard_normal(len(cell))
    )
    [expected] = reference(
        ("components", {"y": y.tolist(), "seed": seed.tolist(), "prompt": prompt.tolist()})
    )
    found = components(cells(y, prompt, seed))
    assert found == pytest.approx(expected, rel=0.02, abs=0.01)

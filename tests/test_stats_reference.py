"""The estimators against values that independent programs give for the same data."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stats.agreement import cohen_kappa, encode, gwet_ac, krippendorff_alpha, raw_agreement, with_interval
from stats.contrasts import benjamini_hochberg, benjamini_yekutieli, contrast, holm, mover
from stats.correction import Frame, inverse_probability, rectify, tuned
from stats.effects import effect
from stats.intervals import Scope, estimate, summarise, wilson, wilson_bounds
from stats.judge_error import Confusion, accuracy, rogan_gladen
from stats.pairs import agree
from stats.power import detectable_effect, power_paired_t
from stats.seeds import seed_test
from stats.sequences import beta_mixture, hedged_betting
from stats.variance import cells, components, icc

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "stats_ref"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the reference vectors are not here")
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text()) if FOLDER.is_dir() else {}
SCOPES = {
    "none": Scope.RUNS,
    "prompt": Scope.PROMPTS,
    "seed": Scope.SEEDS,
    "seed+prompt": Scope.SEEDS_PROMPTS,
}


def table(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(newline="") as handle:
        return list(csv.DictReader(handle))


def case(name: str, which: str) -> list[dict[str, str]]:
    return [row for row in table(name) if row["case"] == which]


def binary(which: str) -> tuple[list[float], list[str]]:
    rows = case("02_binary_clusters.csv", which)
    return [float(row["y"]) for row in rows], [row["prompt"] for row in rows]


def crossed(which: str) -> tuple[list[float], list[str], list[str]]:
    rows = case("03_scores_crossed.csv", which)
    return (
        [float(row["score"]) for row in rows],
        [row["instruction"] for row in rows],
        [row["seed"] for row in rows],
    )


@pytest.mark.parametrize("name", EXPECTED.get("engine", {}))
def test_engine_agrees_with_its_transcription_in_r(name: str) -> None:
    expected = EXPECTED["engine"][name]
    which, scope = name.split("_", 1)[1].rsplit("_", 1)
    if name.startswith("bin"):
        result = estimate(*binary(which), scope=SCOPES[scope], counting="plain")
    else:
        result = estimate(*crossed(which), scope=SCOPES[scope], scale=(1, 10), counting="plain")
    found = [result.estimate, result.low, result.high, result.n_eff, result.nu]
    assert found == pytest.approx(
        [expected[key] for key in ("mean", "ci_lo", "ci_hi", "n_eff", "nu")], rel=1e-6, abs=1e-9
    )
    assert {k: v for k, v in result.shares.items() if k != "run"} == pytest.approx(
        expected["rho_shrunk"], rel=1e-5
    )


@pytest.mark.parametrize("which", ["bal", "miss", "oneseed"])
def test_variance_components_agree_with_lme4(which: str) -> None:
    expected = EXPECTED["crossed"][which]["reml_var"]
    names = {"instruction": "prompt", "Residual": "run"}
    assert components(cells(*crossed(which))) == pytest.approx(
        {names.get(name, name): value for name, value in expected.items()}, rel=2e-3
    )


def test_anova_reports_a_negative_seed_variance_as_it_is() -> None:
    expected = EXPECTED["crossed"]["noseedvar"]["MS"]
    found = components(cells(*crossed("noseedvar")))
    assert found["seed"] == pytest.approx((expected["seed"] - expected["cell"]) / 15)
    assert found["seed"] < 0


@pytest.mark.parametrize("which", ["bal", "unbal", "unbal2", "tie", "allornone", "rare"])
def test_icc_agrees_with_the_analysis_of_variance(which: str) -> None:
    expected = EXPECTED["clusters"][which]["rho_anova_raw"]
    assert icc(*binary(which)).value == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_icc_interval_agrees_with_pingouin() -> None:
    expected = EXPECTED["icc1_oneseed"]
    y, instruction, _ = crossed("oneseed")
    found = icc(y, instruction)
    assert found.value == pytest.approx(expected["ICC"])
    assert [found.low, found.high] == pytest.approx(expected["ci"], abs=0.005)


@pytest.mark.parametrize("rate", EXPECTED.get("rates", []), ids=lambda r: f"{r['k']} of {r['n']}")
def test_wilson_agrees_with_statsmodels(rate: dict[str, Any]) -> None:
    found = wilson(rate["k"], rate["n"])
    assert [found.low, found.high] == pytest.approx(rate["wilson"], rel=1e-6)


@pytest.mark.parametrize("row", EXPECTED.get("t_wilson", []), ids=lambda r: str(r["x"]))
def test_wilson_with_a_t_quantile(row: dict[str, float]) -> None:
    from scipy.special import stdtrit

    found = wilson_bounds(row["x"], row["n_eff"], stdtrit(row["nu"], 0.975))
    assert found == pytest.approx((row["lo"], row["hi"]), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "adjust"), [("holm", holm), ("bh", benjamini_hochberg), ("by", benjamini_yekutieli)]
)
def test_adjusted_p_values_agree_with_r(name: str, adjust: Any) -> None:
    p = [float(row["p"]) for row in table("06_pvals.csv")]
    assert adjust(p) == pytest.approx(EXPECTED["padj"][name], rel=1e-6)


@pytest.mark.parametrize("row", EXPECTED.get("newcombe", []), ids=lambda r: f"{r['x1']}/{r['n1']}")
def test_mover_agrees_with_newcombe(row: dict[str, Any]) -> None:
    one, two = wilson(row["x1"], row["n1"]), wilson(row["x2"], row["n2"])
    low, high, reason = mover(row["x1"] / row["n1"] - row["x2"] / row["n2"], one, two)
    assert [low, high] == pytest.approx(row["ci"], rel=1e-6)
    assert reason == ""


def paired(which: str) -> Any:
    rows = case("05_paired.csv", which)
    prompts = [row["prompt"] for row in rows]
    arms = [summarise([float(row[arm]) for row in rows], prompts) for arm in ("treated", "baseline")]
    return contrast(*arms, counting="plain")


def test_contrast_of_two_models_is_the_paired_t() -> None:
    expected, found = EXPECTED["paired"]["normal"], paired("normal")
    assert (found.method, found.nu) == ("paired-t", expected["df"])
    assert [found.difference, found.low, found.high, found.p] == pytest.approx(
        [expected["diff"], *expected["ci"], expected["p"]], rel=1e-6
    )


@pytest.mark.parametrize("which", ["ties", "two"])
def test_contrast_with_few_prompts_off_the_floor_has_no_t(which: str) -> None:
    found = paired(which)
    assert found.difference == pytest.approx(EXPECTED["paired"][which]["diff"])
    assert (found.method, found.p) == ("mover", None)


@pytest.mark.parametrize("which", ["equal", "const_shift"])
def test_contrast_with_equal_differences_has_width_but_no_p(which: str) -> None:
    found = paired(which)
    assert found.difference == pytest.approx(EXPECTED["paired"][which]["diff"])
    assert found.low < found.difference < found.high
    assert (found.method, found.p) == ("mover", None)


def test_contrast_on_one_prompt_has_no_interval() -> None:
    found = paired("one")
    assert found.difference == pytest.approx(0.4)
    assert (found.low, found.high, found.p) == (None, None, None)
    assert "one prompt" in found.reason


def same(found: float | None, expected: float | None) -> bool:
    return found is expected if expected is None else found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def ratings(which: str) -> tuple[Any, int, list[str]]:
    with (FOLDER / f"07_agree_{which}.csv").open(newline="") as handle:
        header, *rows = list(csv.reader(handle))
    scheme = [str(k) for k in range(1, 11)] if which == "ordinal" else ["true", "false", "not_sure"]
    return encode([row[1:] for row in rows], scheme), len(scheme), header[1:]


@pytest.mark.parametrize("which", ["nominal", "const", "perfect", "paradox", "ordinal"])
def test_agreement_of_pairs_agrees_with_scikit_learn(which: str) -> None:
    data, q, names = ratings(which)
    for pair, expected in EXPECTED["agreement"][which]["pairwise"].items():
        two = data[:, [names.index(name) for name in pair.split("|")]]
        found = {
            "raw": raw_agreement(two),
            "kappa": cohen_kappa(two, q),
            "kappa_linear": cohen_kappa(two, q, "linear"),
            "kappa_quadratic": cohen_kappa(two, q, "quadratic"),
        }
        for name in found.keys() & expected.keys():
            assert same(found[name].value, expected[name]), (pair, name)
            assert found[name].n == expected["n"]


@pytest.mark.parametrize("which", ["nominal", "const", "perfect", "paradox", "ordinal"])
def test_alpha_agrees_with_krippendorff(which: str) -> None:
    data, q, _ = ratings(which)
    expected = EXPECTED["agreement"][which]
    for metric in ("nominal", "ordinal", "interval"):
        if f"alpha_{metric}" in expected:
            found = krippendorff_alpha(data, q, metric)
            assert same(found.value, expected[f"alpha_{metric}"])
            assert (found.value is None) == bool(found.reason)


@pytest.mark.parametrize(
    ("which", "q", "weights", "name"),
    [
        ("nominal", 3, "identity", "nominal_AC1_q3"),
        ("paradox", 3, "identity", "paradox_AC1_q3"),
        ("paradox", 2, "identity", "paradox_AC1_q2"),
        ("const", 3, "identity", "const_AC1_q3"),
        ("perfect", 3, "identity", "perfect_AC1_q3"),
        ("ordinal", 10, "identity", "ordinal_AC2_identity_q10"),
        ("ordinal", 10, "linear", "ordinal_AC2_linear_q10"),
        ("ordinal", 10, "quadratic", "ordinal_AC2_quadratic_q10"),
    ],
)
def test_gwet_agrees_with_irrcac(which: str, q: int, weights: Any, name: str) -> None:
    data, _, _ = ratings(which)
    assert gwet_ac(data, q, weights).value == pytest.approx(
        EXPECTED["irr"][name]["coefficient_value"], abs=1e-7
    )


def test_alpha_interval_agrees_with_another_bootstrap() -> None:
    data, q, _ = ratings("nominal")
    expected = EXPECTED["alpha_boot_nominal"]
    found = with_interval(partial(krippendorff_alpha, q=q), data)
    assert [found.low, found.high] == pytest.approx(expected["ci"], abs=expected["tol"])


def test_without_a_common_item_nothing_is_defined() -> None:
    data, q, _ = ratings("nooverlap")
    for found in (raw_agreement(data), cohen_kappa(data, q), gwet_ac(data, q), krippendorff_alpha(data, q)):
        assert (found.value, found.n, found.reason) == (None, 0, "no item has two ratings")


def ppi_frame(human: str) -> Frame:
    rows = table("09_ppi_binary.csv")
    labelled = np.array([row[human] == "1" for row in rows])
    return Frame(
        np.array([float(row["judge"]) for row in rows]),
        np.where(labelled, [float(row["truth_for_checking_only"]) for row in rows], np.nan),
        np.array([int(row["stratum"] == "disagree") for row in rows]),
        np.array([int(row["prompt"][1:]) for row in rows]),
    )


def test_stratified_ppi_and_weighted_errors_agree_with_r_survey() -> None:
    expected, frame = EXPECTED["ppi"]["strat"], ppi_frame("lab_strat")
    found = rectify(frame, smooth=False)
    assert [found.judge, found.estimate, found.variance**0.5] == pytest.approx(
        [expected["judge_mean"], expected["theta"], expected["se_design"]], rel=1e-6
    )
    errors = accuracy(frame)
    assert [errors["sensitivity"].value, errors["sensitivity"].error] == pytest.approx(
        [expected["sens_w"], expected["sens_w_se"]], rel=1e-6
    )
    assert [errors["specificity"].value, errors["specificity"].error] == pytest.approx(
        [expected["spec_w"], expected["spec_w_se"]], rel=1e-6
    )


def test_inverse_probability_weighting_agrees_with_r_survey() -> None:
    expected, frame = EXPECTED["ppi"]["poisson"], ppi_frame("lab_poisson")
    probability = np.array([float(row["pi_poisson"]) for row in table("09_ppi_binary.csv")])
    for ratio, name in ((False, "ht"), (True, "hajek")):
        found = inverse_probability(frame.judge, frame.human, probability, ratio=ratio)
        assert [found.rectifier, found.error, found.estimate] == pytest.approx(
            [expected[f"{name}_rectifier"], expected[f"{name}_se_design"], expected[f"theta_{name}"]],
            rel=1e-6,
        )


@pytest.mark.parametrize(
    ("name", "power"), [("ppi_lam1", 1.0), ("ppi_plusplus", None), ("classical_lam0", 0.0)]
)
def test_ppi_agrees_with_ppi_python(name: str, power: float | None) -> None:
    frame = ppi_frame("lab_srs")
    known = frame.labelled
    scores = table("09_ppi_scores.csv")
    marked = np.array([row["labelled"] == "1" for row in scores])
    judge, human = (np.array([float(row[who]) for row in scores]) for who in ("judge", "human"))
    for expected, found in (
        (EXPECTED["ppi_srs"], tuned(frame.judge[known], frame.human[known], frame.judge[~known], power)),
        (EXPECTED["ppi_scores"], tuned(judge[marked], human[marked], judge[~marked], power)),
    ):
        if name in expected:
            assert [found.estimate, *found.interval()] == pytest.approx(
                [expected[name]["est"], *expected[name]["ci"]], rel=1e-6
            )


@pytest.mark.parametrize("row", EXPECTED.get("rogan_gladen", []), ids=lambda r: str(r["apparent"]))
def test_rogan_gladen_agrees_with_the_delta_method(row: dict[str, float]) -> None:
    found = rogan_gladen(row["apparent"], int(row["N"]), row["se"], row["n_pos"], row["sp"], row["n_neg"])
    assert [found.estimate, found.error] == pytest.approx([row["est"], row["std_err"]], rel=1e-6)


@pytest.mark.parametrize("which", EXPECTED.get("confusion", {}))
def test_confusion_agrees_with_statsmodels(which: str) -> None:
    (row,) = case("08_confusion.csv", which)
    expected = EXPECTED["confusion"][which]
    found = Confusion(*(float(row[name]) for name in ("tp", "fp", "fn", "tn")))
    for name, rate in found.rates().items():
        known = expected[{"sensitivity": "sens", "specificity": "spec"}.get(name, name)]
        if known is None:
            assert (rate.estimate, rate.reason) == (None, "no such item")
        else:
            assert [rate.estimate, rate.low, rate.high] == pytest.approx(known, rel=1e-6, abs=1e-12)
    assert found.bias_p() == pytest.approx(expected["mcnemar_exact_p"], rel=1e-6)
    assert found.prevalence == pytest.approx(expected["human_rate"])


def test_power_agrees_with_statsmodels() -> None:
    # The other program's root finder stops earlier: the powers below agree closely, the effects as far as it goes.
    for row in EXPECTED["planner"]["paired_t"]:
        assert detectable_effect(row["n"], row["power"], row["alpha"]) == pytest.approx(
            row["mde_dz"], rel=5e-6
        )
    for row in EXPECTED["planner"]["power_at"]:
        assert power_paired_t(row["n"], row["dz"], row["alpha"]) == pytest.approx(row["power"], rel=1e-6)


@pytest.mark.parametrize("which", ["nominal", "const", "perfect", "paradox", "ordinal"])
def test_pairs_agree_with_scikit_learn_too(which: str) -> None:
    data, q, names = ratings(which)
    for pair, expected in EXPECTED["agreement"][which]["pairwise"].items():
        one, other = (data[:, names.index(name)] for name in pair.split("|"))
        found = agree(one, other, q, "ordinal" if which == "ordinal" else "nominal", draws=10)
        kappa = expected["kappa_linear" if which == "ordinal" else "kappa"]
        assert (found.n, same(found.raw.value, expected["raw"])) == (expected["n"], True)
        assert same(found.kappa.value, kappa)


@pytest.mark.parametrize("which", EXPECTED.get("cs", {}))
def test_sequences_agree_with_quadrature_and_confseq(which: str) -> None:
    x = [float(row["x"]) for row in case("10_sequences.csv", which)]
    found = {"beta_mixture": beta_mixture(x), "hedged": hedged_betting(x, grid=1000)}
    for name, sequence in found.items():
        tolerance = 1e-6 if name == "beta_mixture" else 0.0021
        for t, bounds in EXPECTED["cs"][which][name].items():
            at = int(t) - 1
            assert [sequence.low[at], sequence.high[at]] == pytest.approx(bounds, abs=tolerance)


@pytest.mark.parametrize(
    ("which", "exact"), [("two_seed_bin", 0.01530612244898), ("three_seed_score", 0.0044444444444444444)]
)
def test_permutation_across_seeds_agrees_with_enumeration(which: str, exact: float) -> None:
    rows = case("04_seed_test.csv", which)
    y, prompt, seed = ([row[name] for row in rows] for name in ("y", "prompt", "seed"))
    assert seed_test([float(v) for v in y], prompt, seed, permutations=20_000).p == pytest.approx(
        exact, abs=0.003
    )


def test_f_of_seeds_over_seed_by_prompt_agrees_with_the_analysis_of_variance() -> None:
    y, prompt, seed = crossed("bal")
    found, expected = seed_test(y, prompt, seed, permutations=99), EXPECTED["crossed"]["bal"]
    assert [found.f, found.p_f] == pytest.approx([expected["F_seed_vs_cell"], expected["p_seed_vs_cell"]])


@pytest.mark.parametrize("which", EXPECTED.get("paired", {}))
def test_effects_of_paired_differences(which: str) -> None:
    rows = case("05_paired.csv", which)
    arms = [[float(row[arm]) for row in rows] for arm in ("treated", "baseline")]
    gaps = [one - other for one, other in zip(*arms, strict=True)]
    found, expected = effect(*arms, gaps), EXPECTED["paired"][which]
    assert found.sign_flip_p == pytest.approx(expected["p_signflip_exact"])
    if "dz" in expected:
        assert found.dz == pytest.approx(expected["dz"] * (1 - 3 / (4 * expected["n"] - 5)))
    else:
        assert found.dz is None

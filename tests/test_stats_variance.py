"""Variance components: closed forms, and REML against its likelihood written out in full."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from stats.variance import Cells, cells, components, icc, on_prompts, shares


def simulated(rng: np.random.Generator, keep: float) -> Cells:
    s, j, _ = np.indices((5, 7, 3))
    y = rng.normal(0, 1, 5)[s] + rng.normal(0, 0.7, 7)[j] + rng.normal(0, 0.4, (5, 7))[s, j]
    y = y + rng.normal(0, 1, s.shape)
    chosen = rng.random(s.shape) < keep
    return cells(y[chosen], j[chosen], s[chosen])


def deviance(data: Cells, variances: dict[str, float]) -> float:
    """Minus twice the restricted log-likelihood of the cell means and the squares within them."""
    run = variances["run"]
    covariance = np.diag(run / data.n)
    for factor in data.factors:
        level = data.levels(factor)
        covariance += variances[factor] * np.equal.outer(level, level)
    inverse = np.linalg.inv(covariance)
    rest = data.mean - inverse.sum(0) @ data.mean / inverse.sum()
    df = data.total - len(data.n)
    return float(
        np.linalg.slogdet(covariance)[1]
        + np.log(inverse.sum())
        + rest @ inverse @ rest
        + df * np.log(run)
        + data.within / run
    )


@pytest.mark.parametrize("seed", range(6))
def test_reml_finds_the_maximum_of_the_likelihood(seed: int) -> None:
    data = simulated(np.random.default_rng(seed), keep=0.6)
    assert not data.balanced
    found = components(data)
    names = (*data.factors, "run")

    def objective(sd: np.ndarray) -> float:
        return deviance(data, dict(zip(names, sd**2, strict=True)))

    brute = min(
        minimize(objective, [start] * len(names), method="Nelder-Mead", options={"maxiter": 4000}).fun
        for start in (0.3, 1.0)
    )
    assert deviance(data, found) <= brute + 1e-4


def test_reml_and_anova_agree_where_both_apply() -> None:
    rng = np.random.default_rng(5)
    s, j, _ = np.indices((5, 7, 3))
    y = 2 * rng.normal(0, 1, 5)[s] + rng.normal(0, 1, 7)[j] + rng.normal(0, 1, (5, 7))[s, j]
    y = y + rng.normal(0, 1, s.shape)
    balanced = cells(y.ravel(), j.ravel(), s.ravel())
    almost = cells(np.append(y, y[0, 0].mean()), np.append(j, 0), np.append(s, 0))
    assert balanced.balanced
    assert not almost.balanced
    assert components(almost) == pytest.approx(components(balanced), rel=0.03)


def test_components_of_a_design_with_known_mean_squares() -> None:
    y = np.array([[1.0, 3.0], [5.0, 11.0]])
    found = components(cells(y.ravel(), [0, 1, 0, 1], [0, 0, 1, 1]))
    # One value per cell: the interaction (mean square 4) stands for the runs.
    assert found == pytest.approx({"seed": (36 - 4) / 2, "prompt": (16 - 4) / 2, "run": 4.0})


def test_shares_take_negative_components_as_none() -> None:
    assert shares({"seed": -1.0, "prompt": 1.0, "run": 3.0}) == {"seed": 0, "prompt": 0.25, "run": 0.75}
    assert shares({"prompt": 0.0, "run": 0.0}) == {"prompt": 0, "run": 0}


def test_equal_values_have_no_variance_in_any_layout() -> None:
    for keep in (1.0, 0.6):
        data = simulated(np.random.default_rng(2), keep)
        s, j = np.repeat(data.seed, 2), np.repeat(data.prompt, 2)
        assert set(components(cells(np.full(len(s), 0.1 + 0.2), j, s)).values()) == {0.0}


def test_groups_that_never_vary_inside_give_finite_components() -> None:
    s, j, _ = np.indices((4, 5, 2)).reshape(3, -1)
    y = ((s + j) % 2).astype(float)
    found = components(cells(y[:-1], j[:-1], s[:-1]))
    assert all(np.isfinite(value) for value in found.values())
    assert shares(found)["run"] < 0.01


def test_icc_interval_is_that_of_the_f_ratio() -> None:
    from scipy.stats import f

    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(8), 5)
    y = rng.normal(0, 1, 8)[group] + rng.normal(0, 1, 40)
    means = y.reshape(8, 5).mean(1)
    ratio = 5 * means.var(ddof=1) / (y.reshape(8, 5).var(1, ddof=1).mean())
    low, high = ratio / f.ppf(0.975, 7, 32), ratio * f.ppf(0.975, 32, 7)
    found = icc(y, group)
    assert found.value == pytest.approx((ratio - 1) / (ratio + 4))
    assert (found.low, found.high) == pytest.approx(((low - 1) / (low + 4), (high - 1) / (high + 4)))


@pytest.mark.parametrize(
    ("y", "group", "reason"),
    [
        ([], [], "no values"),
        ([1, 2], [0, 0], "one group"),
        ([1, 2], [0, 1], "one value in each group"),
        ([2, 2, 2, 2], [0, 0, 1, 1], "all values are equal"),
    ],
)
def test_icc_that_is_undefined_says_why(y: list[float], group: list[int], reason: str) -> None:
    found = icc(y, group)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert reason in found.reason


def test_cells_can_be_cut_to_some_prompts() -> None:
    data = cells([1, 2, 3, 4.0], ["a", "b", "b", "c"], [1, 1, 2, 2])
    kept = on_prompts(data, np.array(["a", "b"]))
    assert kept is not None
    assert (kept.labels.tolist(), kept.mean.tolist(), kept.total) == (["a", "b"], [1, 2, 3], 3)
    assert on_prompts(data, np.array(["z"])) is None

"""What statsmodels, krippendorff and ppi-python give for data on stdin, in an environment of theirs; prints JSON."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
from ppi_py import ppi_mean_ci, ppi_mean_pointestimate
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint


def rate(k: int, n: int) -> list[float]:
    """Wilson's interval."""
    return [float(bound) for bound in proportion_confint(k, n, method="wilson")]


def difference(x1: int, n1: int, x2: int, n2: int) -> list[float]:
    """Newcombe's interval."""
    found = confint_proportions_2indep(x1, n1, x2, n2, method="newcomb", compare="diff")
    return [float(bound) for bound in found]


def adjusted(p: list[float]) -> dict[str, list[float]]:
    """Holm, Benjamini & Hochberg, Benjamini & Yekutieli."""
    names = {"holm": "holm", "bh": "fdr_bh", "by": "fdr_by"}
    return {name: multipletests(p, method=method)[1].tolist() for name, method in names.items()}


def kappa(table: list[list[int]]) -> dict[str, float]:
    """Cohen's kappa, plain and weighted."""
    counts = np.array(table)
    ways: dict[str, Any] = {
        "identity": {},
        "linear": {"wt": "linear"},
        "quadratic": {"wt": "quadratic"},
    }
    return {name: float(cohens_kappa(counts, **way).kappa) for name, way in ways.items()}


def alpha(ratings: list[list[float | None]]) -> dict[str, float]:
    """Krippendorff's alpha of an items x raters table."""
    data = np.array(ratings, float).T
    levels = ("nominal", "ordinal", "interval")
    return {m: float(krippendorff.alpha(reliability_data=data, level_of_measurement=m)) for m in levels}


def tuned(judge: list[float], human: list[float], unlabelled: list[float]) -> dict[str, list[float]]:
    """PPI with power tuning, and plain."""
    y, f, rest = (np.array(x) for x in (human, judge, unlabelled))
    found = {}
    for name, power in (("tuned", None), ("plain", 1)):
        low, high = (float(np.squeeze(b)) for b in ppi_mean_ci(y, f, rest, alpha=0.05, lam=power))
        found[name] = [float(np.squeeze(ppi_mean_pointestimate(y, f, rest, lam=power))), low, high]
    return found


def power(pairs: int, effect: float) -> float:
    """Of the paired t test."""
    return float(TTestPower().power(effect, pairs, 0.05))


def components(y: list[float], seed: list[int], prompt: list[int]) -> dict[str, float]:
    """REML variances of crossed seeds and prompts with their interaction."""
    frame = pd.DataFrame({"y": y, "seed": seed, "prompt": prompt, "one": 1})
    frame["cell"] = frame.seed.astype(str) + "/" + frame.prompt.astype(str)
    parts = {name: f"0 + C({name})" for name in ("seed", "prompt", "cell")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MixedLM.from_formula("y ~ 1", groups="one", vc_formula=parts, re_formula="0", data=frame).fit()
    return dict(zip(fit.model.exog_vc.names, map(float, fit.vcomp), strict=True)) | {"run": float(fit.scale)}


ABOUT = {f.__name__: f for f in (rate, difference, adjusted, kappa, alpha, tuned, power, components)}

if __name__ == "__main__":
    print(json.dumps([ABOUT[name](**given) for name, given in json.load(sys.stdin)]))

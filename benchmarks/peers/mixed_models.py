"""Fits crossed random effects with statsmodels, which `stats.py` fits too; layouts on stdin, JSON on stdout.

PYTHON_WITH_STATSMODELS mixed_models.py
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import pandas as pd
from statsmodels.regression.mixed_linear_model import MixedLM


def main() -> None:
    taken: list[float] = []
    for layout in json.load(sys.stdin):
        frame = pd.DataFrame(layout)
        frame["cell"] = frame.seed.astype(str) + "/" + frame.prompt.astype(str)
        frame["one"] = 1
        parts = {name: f"0 + C({name})" for name in ("seed", "prompt", "cell")}
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MixedLM.from_formula("y ~ 1", groups="one", vc_formula=parts, re_formula="0", data=frame).fit()
        taken.append((time.perf_counter() - start) * 1e3)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()

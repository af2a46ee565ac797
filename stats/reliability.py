# pyright: reportMissingTypeStubs=false
"""How far a fixed panel of judges can be relied on: transcripts by judges, every judge scoring every transcript."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Reliability:
    """Variances between transcripts and judges; what could not be computed is None, and `reason` says why."""

    one: float | None = None
    """Share of the variance of one judge's values that is between transcripts: ICC(A,1)."""
    one_low: float | None = None
    one_high: float | None = None
    panel: float | None = None
    """The same of the mean over the panel: ICC(A,k)."""
    transcript: float | None = None
    """Variance between transcripts; a negative estimate is printed as it is."""
    judge: float | None = None
    """Variance between judges: one is stricter than another."""
    rest: float | None = None
    """Variance of transcript x judge, with what one judge would not repeat."""
    judge_means: tuple[float, ...] = ()
    transcripts: int = 0
    reason: str = ""


def panel_reliability(values: npt.ArrayLike, *, level: float = 0.95) -> Reliability:
    """Two-way random effects without replication (McGraw & Wong 1996).

    Args:
        values: Transcripts (rows) by judges (columns); rows with a missing value (NaN) are left out.
        level: Probability that the interval of `one` is meant to cover with.
    """
    from scipy.special import fdtri

    table = np.asarray(values, float)
    if table.ndim != 2 or table.shape[1] < 2:
        return Reliability(reason="one judge: nothing to compare")
    table = table[~np.isnan(table).any(1)]
    n, k = table.shape
    if n < 2:
        return Reliability(transcripts=n, reason="fewer than two transcripts were scored by every judge")
    by_row, by_column, grand = table.mean(1), table.mean(0), float(table.mean())
    means = tuple(by_column.tolist())
    if np.ptp(table) == 0:
        return Reliability(judge_means=means, transcripts=n, reason="all values are equal")
    rows = k * float(by_row.var(ddof=1))
    columns = n * float(by_column.var(ddof=1))
    residual = table - by_row[:, None] - by_column + grand
    rest = float((residual**2).sum()) / ((n - 1) * (k - 1))
    transcript, judge = (rows - rest) / k, (columns - rest) / n
    total = transcript + max(judge, 0.0) + rest
    if total <= 0:
        return Reliability(
            None, None, None, None, transcript, judge, rest, means, n, "no variance between transcripts"
        )
    one = max(transcript, 0.0) / total
    panel = max(transcript, 0.0) / (max(transcript, 0.0) + (max(judge, 0.0) + rest) / k)
    low = high = None
    if rest > 0 and 0 < one < 1:
        a = k * one / (n * (1 - one))
        b = 1 + k * one * (n - 1) / (n * (1 - one))
        spread = (a * columns) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1))
        df = (a * columns + b * rest) ** 2 / spread
        upper, lower = (
            float(fdtri(n - 1, df, (1 + level) / 2)),
            float(fdtri(df, n - 1, (1 + level) / 2)),
        )
        both = k * columns + (k * n - k - n) * rest
        low = max(n * (rows - upper * rest) / (upper * both + n * rows), 0.0)
        high = min(n * (lower * rows - rest) / (both + n * lower * rows), 1.0)
    return Reliability(one, low, high, panel, transcript, judge, rest, means, n)

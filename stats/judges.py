"""How well judges did their work: what they left without a value, and how many of their quotes stand nowhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from store.latest import latest_study
from store.parquet import quoted

if TYPE_CHECKING:
    from stats.study import Query


@dataclass(frozen=True)
class JudgeQuality:
    """One judge of a study, as far as it was asked in one way; all numbers but shares are counts.

    A question is one dimension of one audit in one repeat. What has no value is one of `refused`, `unparsed`, `missing`
    and `error`, and no number anywhere.
    """

    judge: str
    reported: bool
    """Whether tables of estimates count it."""
    current: bool
    """Whether `scores` shows it; else another rubric or prompt has taken its place, or has answered for more audits."""
    kind: str
    prompt_hash: str
    branches: str
    audits: int
    dimensions: int
    asked: int
    ok: int
    refused: int
    unparsed: int
    missing: int
    error: int
    quotes: int
    quotes_nearly: int
    """Those that stand in the transcript nearly, and not word for word."""
    quotes_not_found: int
    """Those that stand nowhere in what the judge was shown."""

    @property
    def not_found_share(self) -> float | None:
        """`quotes_not_found` as a share of `quotes` (0-1); None without quotes."""
        return self.quotes_not_found / self.quotes if self.quotes else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {**asdict(self), "quotes_not_found_share": self.not_found_share}


def judge_quality(query: Query, study_id: str | None = None) -> list[JudgeQuality]:
    """Every judge of a study by kind of question, the reported one first; None means the latest study.

    Raises:
        InputError: the store holds no study.
    """
    study = quoted(latest_study(query) if study_id is None else study_id)
    rows = query(f"""
        SELECT judge, coalesce(any_value(position), 1000) = 0 AS reported, "current", kind, prompt_hash,
               any_value(branches) AS branches, max(audits) AS audits, count(*) AS dimensions,
               {", ".join(f"sum({name})::BIGINT AS {name}" for name in _SUMMED)}
        FROM judge_versions LEFT JOIN (
            SELECT judge, min(judge_position) AS position FROM scores WHERE study_id = {study} GROUP BY judge
        ) USING (judge)
        WHERE study_id = {study}
        GROUP BY judge, "current", kind, prompt_hash
        ORDER BY coalesce(any_value(position), 1000), judge, kind DESC, "current" DESC, max(last_at) DESC
    """).to_pylist()
    return [JudgeQuality(**row) for row in rows]


_SUMMED = (
    "asked",
    "ok",
    "refused",
    "unparsed",
    "missing",
    "error",
    "quotes",
    "quotes_nearly",
    "quotes_not_found",
)

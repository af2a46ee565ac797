"""Which study is meant where nobody names one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import InputError
from store.parquet import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

_LATEST = """
    SELECT study_id FROM studies LEFT JOIN (
        SELECT study_id, max(started_at) AS last_run FROM runs GROUP BY study_id
    ) USING (study_id)
    WHERE {where}
    ORDER BY coalesce(resolved->>'$.ad_hoc', 'false') = 'true' OR resolved->>'$.training' IS NOT NULL,
        last_run DESC NULLS LAST, created_at DESC, study_id
    LIMIT 1
"""


def latest_study(query: Callable[[str], pa.Table]) -> str:
    """The study that was run last; an ad-hoc one, or what models in training are asked, only where there is no other.

    Args:
        query: runs a statement on the store's views.

    Raises:
        InputError: the store holds no study.
    """
    found = query(_LATEST.format(where="true")).to_pylist()
    if not found:
        raise InputError("The store holds no study yet: run `cc-tui demo` or `cc-tui run STUDY.toml`.")
    return found[0]["study_id"]


def named_study(query: Callable[[str], pa.Table], name: str) -> str:
    """The study with an id or a name; of several with one name the one that was run last.

    Args:
        query: runs a statement on the store's views.
        name: name of the study, its id, or the beginning of its id.

    Raises:
        InputError: the store holds no such study.
    """
    wanted = quoted(name)
    for where in (f"study_id = {wanted}", f"name = {wanted}", f"starts_with(study_id, {wanted})"):
        if found := query(_LATEST.format(where=where)).to_pylist():
            return found[0]["study_id"]
    known = sorted({row["name"] for row in query("SELECT DISTINCT name FROM studies").to_pylist()})
    raise InputError(f"The store holds no study {name!r}: it has {', '.join(known) or 'none'}.")

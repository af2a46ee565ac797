"""Which study is meant where nobody names one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

_ORDER = """
    SELECT study_id FROM studies LEFT JOIN (
        SELECT study_id, max(started_at) AS last_run FROM runs GROUP BY study_id
    ) USING (study_id)
    ORDER BY coalesce(resolved->>'$.ad_hoc', 'false') = 'true', last_run DESC NULLS LAST, created_at DESC, study_id
    LIMIT 1
"""


def latest_study(query: Callable[[str], pa.Table]) -> str:
    """The study that was run last; an ad-hoc one only where there is no other.

    Args:
        query: runs a statement on the store's views.

    Raises:
        InputError: the store holds no study.
    """
    found = query(_ORDER).to_pylist()
    if not found:
        raise InputError("The store holds no study yet: run `cc-tui demo` or `cc-tui run STUDY.toml`.")
    return found[0]["study_id"]

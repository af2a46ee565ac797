"""Models, the audit loop, judges, studies and the engine that runs them; no terminal is needed here.

What a script or a notebook needs is importable from here (docs/library.md); it is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditors.adhoc import AuditResult, ad_hoc_study, run_audit, run_audits
    from auditors.options import Options
    from auditors.rejudge import judge_transcripts
    from auditors.service import open_engine
    from auditors.study import load_study

__all__ = [
    "AuditResult",
    "Options",
    "ad_hoc_study",
    "judge_transcripts",
    "load_study",
    "open_engine",
    "run_audit",
    "run_audits",
]

_PLACES = {
    "AuditResult": "adhoc",
    "Options": "options",
    "ad_hoc_study": "adhoc",
    "judge_transcripts": "rejudge",
    "load_study": "study",
    "open_engine": "service",
    "run_audit": "adhoc",
    "run_audits": "adhoc",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"auditors.{_PLACES[name]}"), name)

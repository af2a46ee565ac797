"""What the Transcripts screen asks the listing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cc_tui.state.columns import USUAL, source_of
from cc_tui.state.status import MODES, STATUS, mark_of_status
from store.listing import Order
from store.parquet import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from store.listing import Listing


NEWEST = Order()


@dataclass(frozen=True, slots=True)
class Behind:
    """A number on some screen, whose transcripts are asked for."""

    title: str
    where: str
    """A condition on the columns of the listing."""

    @classmethod
    def cell(cls, study_id: str, mode: str, preference: str, conditions: Iterable[str], title: str) -> Behind:
        """A cell of the table of estimates: the audits that were judged on its preference."""
        names = ", ".join(quoted(name) for name in conditions)
        judged = f"SELECT audit_id FROM judgements WHERE dimension = {quoted(preference)}"
        return cls(
            title,
            f"study_id = {quoted(study_id)} AND mode = {quoted(mode)} AND condition_id IN ({names}) "
            f"AND audit_id IN ({judged} AND study_id = {quoted(study_id)})",
        )

    @classmethod
    def audits(cls, title: str, audit_ids: Iterable[str]) -> Behind:
        """These audits and no others."""
        return cls(title, f"audit_id IN ({', '.join(map(quoted, audit_ids)) or 'NULL'})")


@dataclass(frozen=True, slots=True)
class Question:
    """Which audits are listed, how, and in which order."""

    columns: tuple[str, ...] = USUAL
    words: str = ""
    """Words of condition, mode, item, status and preferences, all of which must be there."""
    where: str = ""
    """The user's own condition."""
    facets: dict[str, str] = field(default_factory=dict[str, str])
    """Columns and the value that each must have."""
    behind: Behind | None = None
    order: Order = NEWEST

    @property
    def filtered(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.words or self.where or self.facets or self.behind)

    def facet_conditions(self) -> list[str]:
        """What the quick filters ask, in SQL."""
        found: list[str] = []
        for column, value in self.facets.items():
            if column in _LISTS:
                found.append(f"list_contains({_LISTS[column]}, {quoted(value)})")
            else:
                found.append(f"CAST({source_of(column, as_shown=False)} AS VARCHAR) = {quoted(value)}")
        return found

    def in_words(self) -> list[str]:
        """What is left out, for the line above the list; untrusted."""
        return [
            *([f"filter: {self.words}"] if self.words else []),
            *(
                f"{FACETS.get(column, column)} {_value(column, value)}"
                for column, value in self.facets.items()
            ),
            *([f"where {self.where}"] if self.where else []),
            *([f"behind {self.behind.title}"] if self.behind else []),
        ]


@dataclass(frozen=True, slots=True)
class Facet:
    """A value that a column has, and how many audits have it."""

    column: str
    value: str
    count: int

    @property
    def shown(self) -> str:
        """The value as the list shows it."""
        return _value(self.column, self.value)


FACETS = {
    "study_id": "study",
    "run_id": "run",
    "condition_id": "condition",
    "mode": "mode",
    "status": "status",
    "preference": "preference",
    "flag": "flag",
    "target": "target",
    "simulated": "simulated",
}
"""Columns, and parts of columns, that quick filters are about."""
_LISTS = {"preference": """from_json(preferences, '["VARCHAR"]')""", "flag": "split(flag_names, ' ')"}
_MOST_VALUES = 40


def find(listing: Listing, question: Question, columns: Iterable[str] | None = None) -> pa.Table:
    """The audits that a question is about, with its columns or others; blocking.

    Raises:
        QueryError: the user's condition is wrong.
    """
    where, parameters = conditions(question)
    wanted = dict.fromkeys(("audit_id", "simulated", *(question.columns if columns is None else columns)))
    known = set(listing.columns)
    shown = [source_of(name) for name in wanted if name in known]
    return listing.find(shown, where, question.order, parameters)


def ids_of(found: pa.Table) -> list[str]:
    """The ids of the audits that were found."""
    ids: list[str] = found["audit_id"].to_pylist()  # pyright: ignore[reportAssignmentType]
    return ids


def conditions(question: Question) -> tuple[list[str], list[Any]]:
    """A question as SQL, and the values of its question marks."""
    where: list[str] = []
    parameters: list[Any] = []
    for word in question.words.lower().split():
        modes = [mode for mode, name in MODES.items() if word in name]
        statuses = [status for status, mark in STATUS.items() if word in mark.word]
        where.append(
            "contains(lower(concat_ws(' ', condition_id, mode, item, status, preferences)), ?)"
            " OR list_contains(?::VARCHAR[], mode) OR list_contains(?::VARCHAR[], status)"
        )
        parameters += [word, modes, statuses]
    where += question.facet_conditions()
    if question.behind is not None:
        where.append(question.behind.where)
    if question.where:
        where.append(question.where)
    return where, parameters


def count(listing: Listing, question: Question | None = None) -> int:
    """How many audits there are, or a question is about; blocking."""
    where, parameters = conditions(question) if question else ([], [])
    return listing.find(["count(*) AS n"], where, None, parameters)["n"][0].as_py()


def facets(listing: Listing, question: Question) -> list[Facet]:
    """The values of the columns of quick filters among the audits of a question, the frequent ones first; blocking."""
    where, parameters = conditions(question)
    found: list[Facet] = []
    for column in FACETS:
        own = f"CAST({source_of(column, as_shown=False)} AS VARCHAR)"
        value = f"unnest({_LISTS[column]})" if column in _LISTS else own
        rows = listing.find([f"{value} AS value", "audit_id"], where, None, parameters)
        counted = rows.group_by("value").aggregate([("audit_id", "count")]).to_pylist()
        counted.sort(key=lambda row: (-row["audit_id_count"], str(row["value"])))
        found += [
            Facet(column, row["value"], row["audit_id_count"])
            for row in counted[:_MOST_VALUES]
            if row["value"]
        ]
    return found


def _value(column: str, value: str) -> str:
    if column == "mode":
        return MODES.get(value, value)
    return mark_of_status(value).word if column == "status" else value

"""Renders the records as columns: one source for the journal, Parquet, the DuckDB views and the documentation."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import types
import typing
from datetime import datetime

import msgspec

from store import records
from store.ids import content_hash
from store.records import ROUND_TABLES, TABLES, Record

FORMAT = 4
"""Version of the store's layout and columns; 3 added columns to `model_calls`, 4 to several tables."""

_SQL_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", datetime: "TIMESTAMP"}


class Column(msgspec.Struct, frozen=True):
    """A column of a table."""

    name: str
    sql_type: str
    """DuckDB type; times are UTC without a zone, objects and lists are JSON text."""
    nullable: bool
    added: bool
    """Whether rows may be older than the column."""
    default: str | None
    """Value of such rows, as text that casts to the type; None for a null."""


@functools.cache
def columns(record: type[Record]) -> tuple[Column, ...]:
    """The columns of a table, in order."""
    hints = typing.get_type_hints(record)
    return tuple(_column(field, hints[field.name]) for field in msgspec.structs.fields(record))


def struct_type(record: type[Record]) -> str:
    """The table's row as a DuckDB `STRUCT` type, for reading journal lines."""
    return "STRUCT(" + ", ".join(f'"{c.name}" {c.sql_type}' for c in columns(record)) + ")"


def schema_hash() -> str:
    """Changes whenever a table or column does, except for added columns, of which `FORMAT` tells."""
    return content_hash(
        [(r.table, [(c.name, c.sql_type) for c in columns(r) if not c.added]) for r in TABLES]
    )


def markdown() -> str:
    """The schema as documentation, from the docstrings of the records."""
    parts: list[str] = []
    for record in (*TABLES, *ROUND_TABLES):
        notes = _attribute_docs(record)
        parts += [f"## {record.table}", "", inspect.cleandoc(record.__doc__ or ""), ""]
        parts += ["| column | type | null | meaning |", "|---|---|---|---|"]
        parts += [
            f"| {c.name} | {c.sql_type} | {'yes' if c.nullable else ''} | {notes.get(c.name, '')} |"
            for c in columns(record)
        ]
        parts.append("")
    return "\n".join(parts)


def _column(field: msgspec.structs.FieldInfo, hint: object) -> Column:
    nullable = False
    if isinstance(hint, types.UnionType):
        (hint,) = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        nullable = True
    value = None if field.required else _default(field)
    if typing.get_origin(hint) in (list, dict):
        default = None if value is None else msgspec.json.encode(value).decode()
        return Column(field.name, "JSON", nullable, not field.required, default)
    for base, sql_type in _SQL_TYPES.items():
        if isinstance(hint, type) and issubclass(hint, base):
            # bool is an int to Python, and not to SQL
            sql_type = "BOOLEAN" if hint is bool else sql_type
            default = None if value is None else str(value)
            return Column(field.name, sql_type, nullable, not field.required, default)
    raise TypeError(f"no column type for {field.name}: {hint}")


def _default(field: msgspec.structs.FieldInfo) -> object:
    factory = field.default_factory
    return field.default if factory is msgspec.NODEFAULT else factory()


def _attribute_docs(record: type[Record]) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(records))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == record.__name__)
    docs: dict[str, str] = {}
    for field, note in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(note, ast.Expr)
            and isinstance(note.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(note.value.value).split())
    return docs

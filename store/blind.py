"""The store as a blind annotator's process may see it: transcripts without who gave them, and nothing else.

Blindness is in what can be asked, not in what is painted. A `BlindReader` has no view of judges, conditions, models,
labels or rounds; its queries may name the views that it has, and no file and no function that reads one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from store.catalog import base_view, latest_rows
from store.errors import QueryError
from store.reader import Reader
from store.records import ROUND_TABLES, TABLES, Audit, Item, Message
from store.schema import columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from store.store import Store

HIDDEN = "hidden until this block closes"


class HiddenError(QueryError):
    """Something was asked for that a blind annotator may not know yet."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: {HIDDEN}.")


_AUDIT = "audit_id, study_id, item_id, mode, status, final_view, target_turns, branches, simulated"
# A condition's own system prompt tells which condition it is: it is left out, and cut from the target's view of it.
_MESSAGES = """
    WITH own AS (
        SELECT audit_id, list(text) AS prompts FROM base.messages WHERE author = 'system' GROUP BY audit_id
    )
    SELECT m.* REPLACE (CASE WHEN m.role = 'system' THEN ltrim(substr(m.text, 1 + coalesce(
        list_max(list_transform(own.prompts, lambda p: CASE WHEN starts_with(m.text, p) THEN length(p) ELSE 0 END)), 0
    )), chr(9) || chr(10) || chr(13) || ' ') ELSE m.text END AS text)
    FROM base.messages m LEFT JOIN own USING (audit_id) WHERE m.author <> 'system'
"""
_VIEWS = {
    "items": f"SELECT study_id, item_id, mode, text, preferences, label FROM ({latest_rows(Item)})",
    "audits": f"SELECT {_AUDIT} FROM ({latest_rows(Audit)})",
    "messages": _MESSAGES,
    "transcripts": """
        SELECT a.study_id, a.audit_id, a.mode, position, m.message_id, m.role, m.author, m.phase, m.text,
               m.reasoning, m.tool_calls, m.prefill, a.simulated
        FROM (SELECT *, unnest(from_json(final_view, '["VARCHAR"]')) AS message_id,
                     generate_subscripts(from_json(final_view, '["VARCHAR"]'), 1) AS position
              FROM audits) a
        JOIN messages m ON m.audit_id = a.audit_id AND m.message_id = a.message_id
    """,
}
_HARMLESS = frozenset({"unnest", "range", "generate_series", "generate_subscripts"})
_NAME = re.compile(r"[A-Za-z_]\w*")


class BlindReader(Reader):
    """A reader for a process in which an annotator has a hidden item; asks for what is hidden are `HiddenError`s."""

    def _attach(self, store: Store) -> None:
        for statement in ("ATTACH ':memory:' AS store", "USE store", "CREATE SCHEMA base"):
            self._con.execute(statement)
        for record in (Audit, Item, Message):
            self._con.execute(base_view(store.root, record))
        for name, query in _VIEWS.items():
            self._con.execute(f"CREATE VIEW main.{name} AS {query}")
        # Variables of this program are no tables.
        self._con.execute("SET python_enable_replacements = false")

    def keep(self, name: str, query: str, parameters: Sequence[Any] = ()) -> None:
        """Refused: what is kept could be asked for by another name."""
        raise HiddenError(name)

    def _check(self, cursor: duckdb.DuckDBPyConnection, query: str) -> None:
        tree = self._parsed(cursor, query)
        local = {name for node in _walk(tree) for name in _ctes(node)}
        if odd := next((name for name in local if not _NAME.fullmatch(name)), None):
            raise QueryError(f"Name a part of a query by letters, digits and _, not {odd!r}.")
        for node in _walk(tree):
            if node.get("type") == "TABLE_FUNCTION":
                name = str(node["function"]["function_name"]).lower()
                if name not in _HARMLESS:
                    raise HiddenError(f"The function {name}() reads files or the catalogue")
            elif node.get("type") == "BASE_TABLE":
                name, place = str(node["table_name"]).lower(), (node["catalog_name"], node["schema_name"])
                known = name in _VIEWS and place in (("", ""), ("", "main"), ("store", "main"), ("store", ""))
                if not known and not (name in {n.lower() for n in local} and place == ("", "")):
                    raise HiddenError(name)

    def _parsed(self, cursor: duckdb.DuckDBPyConnection, query: str) -> Any:
        if len(statements := cursor.extract_statements(query)) != 1:
            raise QueryError(f"Give one statement at a time, not {len(statements)}.")
        if statements[0].type.name != "SELECT":
            raise QueryError(f"A {statements[0].type.name} statement cannot run here: {HIDDEN}.")
        [(text,)] = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
        tree = msgspec.json.decode(text)
        if tree.get("error"):
            raise QueryError(f"The statement cannot be read here: {tree.get('error_message')}")
        return tree

    def _failure(self, error: Exception) -> QueryError:
        # Only a name that hides something gets another sentence; the rest is the asker's mistake.
        found = re.search(r'[Cc]olumn(?: with name)? "?(\w+)"?', str(error))
        return HiddenError(found[1]) if found and found[1] in _hidden_columns() else super()._failure(error)


def _hidden_columns() -> set[str]:
    every = {column.name for record in (*TABLES, *ROUND_TABLES) for column in columns(record)}
    shown = {name for record in (Audit, Item, Message) for name in (c.name for c in columns(record))}
    return (every - shown) | (shown - set(_AUDIT.split(", ")) - {c.name for c in columns(Message)})


def _walk(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        found = cast("dict[str, Any]", node)
        yield found
        for value in found.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in cast("list[Any]", node):
            yield from _walk(value)


def _ctes(node: dict[str, Any]) -> Iterator[str]:
    local: dict[str, list[dict[str, Any]]] = node.get("cte_map", {})
    for entry in local.get("map", []):
        yield str(entry["key"])

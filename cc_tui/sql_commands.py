"""`cc-tui sql`: a query of the user's own or one that comes with the program, and the way into other tools."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from cc_tui.exits import Exit
from store.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def add_sql(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """`cc-tui sql`."""
    sql = commands.add_parser("sql", help="query the store, also while a study runs")
    what = sql.add_mutually_exclusive_group()
    what.add_argument(
        "query", nargs="?", metavar="QUERY", help="one statement; from standard input if left out"
    )
    what.add_argument("--name", metavar="NAME", help="a query that comes with the program (docs/queries.md)")
    what.add_argument("--list", action="store_true", help="the queries that come with the program")
    what.add_argument(
        "--shell", action="store_true", help="print how to open the store in DuckDB's own shell, Python or R"
    )
    sql.add_argument("--format", choices=("table", "csv", "json"), default="table")
    add_store(sql)
    sql.set_defaults(command=_sql)


def _sql(parsed: argparse.Namespace) -> int:
    from cc_tui import plain
    from store.mirror import open_store
    from store.named_queries import named_queries, named_query

    if parsed.list:
        rows = [[query.name, query.title] for query in named_queries().values()]
        plain.print_rows(["name", "what it answers"], rows, width=None)
        return Exit.DONE
    store = open_store(parsed.store)
    if parsed.shell:
        for line in _ways_in(str(store.catalog().resolve())):
            plain.say(line)
        return Exit.DONE
    query = parsed.query if parsed.name is None else named_query(parsed.name).sql
    plain.print_query(store, _from_input() if query is None else query, parsed.format)
    return Exit.DONE


def _from_input() -> str:
    if sys.stdin.isatty():
        raise InputError('Give a query: `cc-tui sql "SELECT …"`, or pipe one in.')
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise InputError("The query is not UTF-8 text.") from None


def _ways_in(catalog: str) -> list[str]:
    shell = shlex.quote(catalog)
    # A JSON string is also one of Python and of R.
    text = _literal(catalog)
    return [
        "# DuckDB's shell (2.0 or newer), and its page in the browser",
        f"duckdb -readonly {shell}",
        f"duckdb -readonly -ui {shell}",
        "",
        "# Python",
        "import duckdb",
        f"con = duckdb.connect({text}, read_only=True)",
        'con.sql("SELECT * FROM scores")',
        "",
        "# R",
        f"con <- DBI::dbConnect(duckdb::duckdb(), {text}, read_only = TRUE)",
        'DBI::dbGetQuery(con, "SELECT * FROM scores")',
    ]


def _literal(text: str) -> str:
    import msgspec

    return msgspec.json.encode(text).decode()

"""A table over an Arrow table of any length: a row becomes text when it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from cc_tui.keymap import bindings
from cc_tui.widgets.line_table import Column, LineTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from cc_tui.state.columns import Look


class ArrowTable(LineTable[int]):
    """Rows of an Arrow table. Where columns are wider than the screen, they are moved sideways.

    Args:
        key: the column that names a row, or None for its number.
    """

    BINDINGS = bindings("sideways")

    def __init__(self, key: str | None = None, *, id: str | None = None) -> None:
        super().__init__((), self._key_of, id=id)
        self._key_column = key
        self._data: dict[str, pa.Array[Any]] = {}
        self._all_columns: list[Column[int]] = []
        self._still = 0
        self._first = 0

    def fill(
        self,
        table: pa.Table,
        looks: Sequence[Look],
        empty: str = "",
        *,
        marks: Callable[[str], str] | None = None,
        top: bool = False,
    ) -> None:
        """Show `table`.

        Args:
            table: what is shown; its names are those of the looks, and unique.
            looks: the columns in order.
            empty: what is said where there is no row.
            marks: a sign for the row of a key, in a column of its own that stays where it is.
            top: put the cursor on the first row; else it stays on its row.
        """
        self._data = {name: _whole(table.column(name)) for name in table.column_names}
        columns = [_column(look, self._data[look.name]) for look in looks]
        if marks is not None:
            columns.insert(0, Column("", 1, lambda row: marks(self._key_of(row)), lambda _: "active"))
        self._still = int(marks is not None)
        self._all_columns = columns
        self._set_columns()
        if top:
            self.cursor, self._index = None, 0
            self.jump(0)
        self.show(range(table.num_rows), empty)
        self.redraw()

    def value(self, name: str) -> Any:
        """What the cursor's row has in a column; None where there is no such row or column."""
        row = self.selected
        return None if row is None or name not in self._data else self._data[name][row].as_py()

    def action_sideways(self, columns: int) -> None:
        """Move the columns."""
        last = max(len(self._all_columns) - self._still - 1, 0)
        self._first = min(max(self._first + columns, 0), last)
        self._set_columns()
        self.redraw()

    def _set_columns(self) -> None:
        self._first = min(self._first, max(len(self._all_columns) - self._still - 1, 0))
        still, rest = self._all_columns[: self._still], self._all_columns[self._still :]
        self.set_columns([*still, *rest[self._first :]])

    def _key_of(self, row: int) -> str:
        return str(row) if self._key_column is None else self._data[self._key_column][row].as_py()

    def _find(self, key: str | None) -> int | None:
        if key is None:
            return None
        if self._key_column is None:
            return int(key) if int(key) < len(self._rows) else None
        import pyarrow.compute as pc

        at = pc.index(self._data[self._key_column], key).as_py()
        return at if at >= 0 else None


def _column(look: Look, data: pa.Array[Any]) -> Column[int]:
    return Column(
        look.title,
        look.width,
        lambda row: look.text(data[row].as_py()),
        lambda row: look.tone(data[row].as_py()),
        look.right,
    )


def _whole(column: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """A column in one piece, in which finding a row takes no search."""
    import pyarrow as pa

    if column.num_chunks == 1:
        return cast("pa.Array[Any]", column.chunk(0))
    pieces = column.chunks or [cast("pa.Array[Any]", pa.array([], column.type))]
    return cast("pa.Array[Any]", pa.concat_arrays(pieces))

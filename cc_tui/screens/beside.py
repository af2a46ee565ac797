"""Two recorded transcripts beside each other, such as the same item under two conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cc_tui.screens.branches import SideBySide
from cc_tui.state.status import MODES
from cc_tui.widgets.branch_columns import Side
from store.parquet import quoted
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cc_tui.screens.base import Services
    from cc_tui.state.reading import Reading
    from store.listing import Listing
    from store.reader import Reader

_COLUMNS = ("audit_id", "condition_id", "repeat", "status", "target_turns", "mode", "item")


def siblings(listing: Listing, audit: dict[str, Any]) -> list[dict[str, Any]]:
    """The other audits of the same item, those of other conditions first, equal repeats before others; blocking."""
    where = f"study_id = {quoted(audit['study_id'])} AND item_id = {quoted(audit['item_id'])}"
    listing.refresh()
    rows: list[dict[str, Any]] = listing.find(_COLUMNS, [where]).to_pylist()
    others = [row for row in rows if row["audit_id"] != audit["audit_id"]]
    return sorted(
        others,
        key=lambda row: (
            row["condition_id"] == audit["condition_id"],
            row["repeat"] != audit["repeat"],
            row["condition_id"],
            row["repeat"],
            row["audit_id"],
        ),
    )


def title_of(row: dict[str, Any]) -> str:
    """An audit's condition and repeat."""
    repeat = f" #{row['repeat'] + 1}" if row["repeat"] else ""
    return f"{row['condition_id']}{repeat} · {MODES.get(row['mode'], row['mode'])}"


class BesideScreen(SideBySide):
    """A transcript at the left, and at the right one of its siblings after the other.

    Args:
        left: what is compared.
        others: its siblings.
        audit_id: the one that is shown first.
    """

    MODE = "transcripts"

    def __init__(
        self, services: Services, left: Reading, others: Sequence[dict[str, Any]], audit_id: str
    ) -> None:
        super().__init__(services)
        self._left = left
        self._others = others
        self._index = next(i for i, row in enumerate(others) if row["audit_id"] == audit_id)

    def on_mount(self) -> None:
        """Read the other one."""
        self.say_simulated(self._left.transcript.audit["simulated"])
        self.action_choose(0)

    def action_choose(self, step: int) -> None:
        """Put another sibling at the right."""
        self._index = (self._index + step) % len(self._others)
        self.work("beside", self._read, self._others[self._index])

    async def _read(self, row: dict[str, Any]) -> None:
        def read(reader: Reader) -> Reading:
            from cc_tui.state.reading import Reading

            return Reading(load_transcript(reader, row["audit_id"]))

        right = await self.ask(read)
        place = f" · {self._index + 1} of {len(self._others)}" if len(self._others) > 1 else ""
        self._columns.show(
            Side(title_of(self._left.transcript.audit), self._left.by_message()),
            Side(title_of(row) + place, right.by_message()),
            [],
        )

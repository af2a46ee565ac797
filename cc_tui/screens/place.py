"""What a person does beside answering: notes, passages, questions, bookmarks, and moving about in the round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cc_tui.screens.dialogs import Line
from cc_tui.screens.passage import Passage
from cc_tui.screens.picking import Ask, Option, Pick
from cc_tui.screens.round_screen import RoundScreen
from cc_tui.state.labelling import Labelling, mark_of_item, said
from cc_tui.state.status import MODES
from store.questions import Answer
from store.records import RevealAt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cc_tui.screens.base import Services
    from cc_tui.screens.picking import Picked
    from store.rounds import Assigned


class PlaceScreen(RoundScreen):
    """A screen with an item of a round in view."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._labelling: Labelling | None = None
        self._in_view: Assigned | None = None
        self._targets_only = False

    @property
    def labelling(self) -> Labelling | None:
        """The annotator's place in the round."""
        return self._labelling

    def _show(self) -> None:
        """Show the item in view, or what comes now that there is none."""
        raise NotImplementedError

    async def _reveal(self) -> None:
        """Reveal what is due."""
        raise NotImplementedError

    def _look_at(self, items: Sequence[Assigned]) -> None:
        """Show what was hidden of items that are revealed."""
        raise NotImplementedError

    async def _do(self, act: Callable[[Labelling], None]) -> None:
        """Do something with the item in view, then show what comes."""
        place = self._labelling
        if place is None:
            return
        await self.act(lambda: act(place))
        self._show()
        if place.due and place.sitting.head.reveal is RevealAt.ITEM:
            await self._reveal()

    def action_note(self) -> None:
        """Write a note."""
        place = self._labelling
        if place is not None and place.item is not None:
            item, task = place.item, place.task
            note = place.state.notes.get(task.dimension, "")

            def keep(text: str | None) -> None:
                if text is not None and text != note:
                    self.work("act", self._do, lambda place: place.sitting.note(item, task, text))

            self.app.push_screen(Line("Note on this item", note), keep)

    def action_ask(self) -> None:
        """Ask the adjudicator."""
        place = self._labelling
        if place is not None and place.item is not None:
            item, task = place.item, place.task

            def put(text: str | None) -> None:
                if text is not None:
                    self.work("act", self._do, lambda place: place.sitting.ask(item, task, text))

            self.app.push_screen(Ask("What shall the adjudicator decide?", place.state.asked or ""), put)

    async def action_bookmark(self) -> None:
        """Mark the item, or no longer."""
        place = self._labelling
        if place is not None and (item := place.item) is not None:
            await self._do(lambda place: place.sitting.bookmark(item))

    def action_span(self) -> None:
        """Attach a passage of the marked turn."""
        place, block = self._labelling, self.talk.marked
        if place is None or place.item is None or block is None:
            return
        if block.message_id is None:
            place.last = "Mark a message first: j and k, or ] for the target's next turn."
            self._show()
            return
        item, task, message_id, text = place.item, place.task, block.message_id, block.text

        def attach(passage: tuple[int, int] | None) -> None:
            if passage is not None:
                start, end = passage
                quote = text[start:end]
                self.work(
                    "act",
                    self._do,
                    lambda place: place.sitting.span(item, task, message_id, start, end, quote),
                )

        self.app.push_screen(Passage(f"A passage for {task.dimension}", text), attach)

    def action_rubric(self) -> None:
        """Show the full rubric."""
        place = self._labelling
        if place is not None and place.item is not None:
            self.show_rubric(place.question)

    def action_targets(self) -> None:
        """Show only the target's turns, or all."""
        self._targets_only = not self._targets_only
        self._in_view = None
        self._show()

    def action_map(self) -> None:
        """List the items of the round, to go to one."""
        place = self._labelling
        if place is not None and place.sitting.items:
            options = [
                Option(str(item.index), row_of(place, item), group=f"{item.index + 1}")
                for item in place.sitting.items
            ]
            self.app.push_screen(
                Pick(f"Items of {place.sitting.head.name}", options, here=str(place.index)), self._go_to
            )

    def action_history(self) -> None:
        """List the latest answers, to go back to one."""
        place = self._labelling
        if place is None:
            return
        found = {
            str(item.index): Option(
                str(item.index),
                f"{label.dimension}: {said(Answer.of(label)) if Answer.of(label) else 'skipped'}",
                label.note,
                f"{item.index + 1}",
            )
            for item, label in reversed(place.sitting.history(50))
        }
        if found:
            self.app.push_screen(Pick("Answered last", [*found.values()][::-1]), self._go_to)
        else:
            place.last = "Nothing has been answered yet."
            self._show()

    def _go_to(self, picked: Picked | None) -> None:
        place = self._labelling
        if picked is None or place is None:
            return
        item = place.sitting.items[int(picked.key)]
        if place.sitting.state(item).open_to_eyes:
            self._look_at([item])
        else:
            self.work("act", self._do, lambda place: place.go(item.index))

    def action_beside(self) -> None:
        """Put another transcript of the round beside this one."""
        place = self._labelling
        if place is None or (here := place.item) is None:
            return
        from cc_tui.screens.pair import PairScreen

        by_id = {item.audit_id: item for item in place.sitting.items if not item.repeat}
        others = [
            Option(item.audit_id, row_of(place, item), group=f"{item.index + 1}")
            for item in by_id.values()
            if item.audit_id != here.audit_id and item.mode == here.mode
        ]

        def open_pair(picked: Picked | None) -> None:
            if picked is not None:
                self.app.push_screen(
                    PairScreen(
                        self.services,
                        (here.audit_id, row_of(place, here)),
                        (picked.key, row_of(place, by_id[picked.key])),
                    )
                )

        if others:
            self.app.push_screen(Pick("Beside this one", others), open_pair)


def row_of(place: Labelling, item: Assigned) -> str:
    """A line for an item: what was done with it, its alias and mode."""
    state = place.sitting.state(item)
    marks = ("!" if state.bookmarked else " ") + ("?" if state.asked else " ")
    again = " again" if item.repeat and state.open_to_eyes else ""
    return f"{mark_of_item(place, item)}{marks} {item.alias} {MODES[item.mode]}{again}"

"""The Live screen: every audit in a line, one of them in full."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from textual import on
from textual.containers import Container, Vertical
from textual.widgets import Input

from auditors.feed import Card, CardState, Focus, SetPaused, Stop
from cc_tui.keymap import bindings
from cc_tui.screens.branches import BranchTree, CompareScreen, Picked
from cc_tui.screens.dialogs import Choice
from cc_tui.screens.run_control import RunControl
from cc_tui.screens.steering import SteeringScreen
from cc_tui.state.format import count, money
from cc_tui.state.status import MODES, mark_of_card
from cc_tui.state.tree import tree_thread
from cc_tui.state.wheel import by_hand, offers, words
from cc_tui.widgets.bars import RunBar
from cc_tui.widgets.focus_bar import FocusBar
from cc_tui.widgets.line_table import Column, LineTable
from store.records import AuditStatus
from store.text import one_line
from store.transcripts import load_transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

    from cc_tui.screens.base import Services


def verdict_of(audit: dict[str, Any], *, masked: bool) -> str:
    """Why an audit of the store is not counted, or what the validity gate warns of; empty if nothing is against it.

    Args:
        audit: its row.
        masked: whether conditions are hidden; an error's words may name the model, those of the gate do not.
    """
    if audit["reason"] and (audit["status"] == AuditStatus.INVALID or not masked):
        return audit["reason"]
    flags = msgspec.json.decode(audit["flags"] or "[]", type=list[dict[str, Any]])
    return ", ".join(dict.fromkeys(f"⚑ {flag['flag']}" for flag in flags))


def item_name(card: Card) -> str:
    """The item, and which repeat of it from the second on."""
    return card.item + (f" #{card.repeat + 1}" if card.repeat else "")


_STATE: Column[Card] = Column(
    "state", 11, lambda card: str(mark_of_card(card)), lambda card: mark_of_card(card).tone
)
_COLUMNS: tuple[Column[Card], ...] = (
    Column("item", 22, item_name),
    Column("turn", 4, lambda card: str(card.turns), right=True),
    Column("mode", 6, lambda card: MODES[card.mode], lambda _: "soft", spare=True),
    Column("tok", 5, lambda card: count(card.tokens), right=True, spare=True),
    Column("cost", 7, lambda card: money(card.cost, at_least=card.unpriced), right=True),
    Column("last words", 0, lambda card: card.last, lambda _: "soft", tail=True),
)
_AT_WORK = {"realism": "the approver reads the step"}
_FIRST = "Nothing has been said yet: w writes the first message."
_LINGER_S = 2.0
_NO_RUN = "No run is live here. Start one with `cc-tui run STUDY.toml`, or try `cc-tui demo`."


class LiveScreen(SteeringScreen):
    """The table of started audits and the conversation of the one under the cursor."""

    MODE = "live"
    SCOPES = ("live", "table", "steer")
    BINDINGS = bindings("live")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._run = RunBar(services.live)
        condition = Column("condition", 13, services.live.condition_of)
        self._table = LineTable((_STATE, condition, *_COLUMNS), lambda card: card.audit_id)
        self._bar = FocusBar()
        self._drawn = (-1, -1, -1)
        self._shown: tuple[str | None, int | None] = (None, None)
        self._touring = True
        self._over_since: float | None = None
        self._looked_up: str | None = None

    def body(self) -> Iterable[Widget]:
        """The run above, the audits and the conversation below each other or side by side."""
        yield self._run
        with Container(id="live-panes"):
            with Vertical(id="audits"):
                yield self._table
                yield Input(placeholder="words of condition, mode, item or status", id="filter")
            with Vertical(id="focus"):
                yield self._bar
                yield self._talk

    def on_mount(self) -> None:
        """Begin with the keys on the table."""
        self.query_one("#filter", Input).display = False
        self._table.focus()
        self.flush()

    def flush(self) -> None:
        """Draw the parts that changed since the last time."""
        live = self.services.live
        run, cards, talk = self._drawn
        if live.run_version != run:
            super().flush()
        self._run.tell()
        painted = True
        if live.cards_version != cards or live.run_version != run:
            painted = self._table.show(live.rows(), self._empty(), keep=not self._touring)
            self._tour()
            self._look_up()
        if live.talk_version != talk:
            shown, blocks = (live.focus, live.branch), live.blocks()
            if shown == self._shown and blocks:
                self._talk.grow(blocks)
            else:
                self._shown = shown
                self._talk.marks = False
                self._talk.load(blocks, _FIRST if by_hand(live) else "Waiting for the conversation …")
        self.draw_title()
        self._drawn = (live.run_version, live.cards_version if painted else -1, live.talk_version)

    def _tour(self) -> None:
        """Until somebody chooses an audit: when the one in view is over, go on to one that is under way."""
        live = self.services.live
        card = live.cards.get(live.focus or "")
        if not self._touring or (card is not None and card.state is not CardState.DONE):
            self._over_since = None
            return
        self._over_since = self._over_since or monotonic()
        if (card is None or monotonic() - self._over_since > _LINGER_S) and (key := live.worth_watching()):
            self._over_since = None
            self._table.select(key)

    def _look_up(self) -> None:
        """Once the gate has thrown out the audit in view, ask the store why."""
        card = self.services.live.card
        if card is not None and card.status is AuditStatus.INVALID and card.audit_id != self._looked_up:
            self._looked_up = card.audit_id
            self.work("recorded", self._read, card.audit_id)

    def _empty(self) -> str:
        live = self.services.live
        if live.query:
            return f"None of the {len(live.cards)} started audits matches: Esc clears the filter."
        if live.ended is not None:
            return f"The run is over ({one_line(live.ended.status, 20)}). {one_line(live.ended.reason, 200)}"
        return "No audit has started yet." if live.hello else _NO_RUN

    def draw_title(self) -> None:
        """Name the focused audit, say what of it is in view and who has its wheel, and offer the keys for that."""
        live, card = self.services.live, self.services.live.card
        title: list[str] = []
        marked = self._talk.marked if self._talk.marks else None
        if card is not None:
            title = [live.condition_of(card), MODES[card.mode], item_name(card)]
            if marked is not None and marked.message_id:
                # The mark stands where the flag would: only here is it seen that a key flagged the message.
                flag = " ⚑ flagged" if marked.flagged else ""
                title.append(f"marked: {marked.label} ({marked.message_id}){flag}")
            elif live.draft_author:
                title.append(_AT_WORK.get(live.draft_author, f"{live.draft_author} writes"))
            if live.branch is not None:
                title.append(f"branch {live.branch} alone")
            if card.state is not CardState.DONE and not self._talk.at_tail:
                title.append("scrolled back: Enter follows")
        error = live.steering.error if live.steering else ""
        said = words(live) or ([(live.verdict, "bad")] if live.verdict else [])
        self._bar.show(" · ".join(title), said, error)
        # A page key may put the mark on a note, where nothing can be forked.
        self._keys.offer(offers(live, marked=bool(marked and marked.message_id)))

    def stay(self) -> None:
        """Choose the audit in view."""
        self._touring = False

    @on(LineTable.Moved)
    def focus_audit(self, event: LineTable.Moved) -> None:
        """Ask for the conversation of the audit under the cursor."""
        self._touring = self._touring and not event.by_hand
        live = self.services.live
        live.focus_on(event.key)
        card = live.cards.get(event.key)
        if card is not None and card.state is not CardState.RUNNING:
            # The engine lets finished conversations go after a while, and has none of those that are judged again; the
            # store has them all.
            self.services.send(Focus(None))
            self.work("recorded", self._read, event.key)
        else:
            self.services.send(Focus(event.key))
        # The conversation is drawn with the next changes: the cursor does not wait for it.

    async def _read(self, audit_id: str) -> None:
        transcript = await self.ask(lambda reader: load_transcript(reader, audit_id))
        live = self.services.live
        live.show_recorded(audit_id, transcript.messages, verdict_of(transcript.audit, masked=live.masked))
        self.flush()

    @on(LineTable.Entered)
    def follow(self) -> None:
        """Stay with this audit, at the tail of its conversation."""
        self.stay()
        self._talk.marks = False
        self._talk.to_tail()
        self.draw_title()

    def action_page(self, pages: int) -> None:
        """Page through the conversation."""
        self._talk.page(pages)
        self.draw_title()

    def action_unfold(self) -> None:
        """Open or close everything that is folded."""
        self._talk.unfold_all()

    def action_filter(self) -> None:
        """Open the filter's field."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_leave(self) -> None:
        """Leave the mark, or else the single branch, or else the filter."""
        if self._talk.marks:
            self.follow()
        elif self.services.live.branch is not None:
            self.services.live.show_branch(None)
            self.flush()
        else:
            self._clear_filter()

    def _clear_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self._table.focus()

    @on(Input.Changed, "#filter")
    def apply_filter(self, event: Input.Changed) -> None:
        """Filter while the words are written."""
        self.services.live.filter(event.value)
        self.flush()

    @on(Input.Submitted, "#filter")
    def leave_filter(self) -> None:
        """Give the keys back to the table; the filter stays."""
        self._table.focus()

    def action_zoom(self) -> None:
        """Give the conversation the whole screen, or part of it."""
        audits = self.query_one("#audits")
        audits.display = not audits.display
        if audits.display:
            self._table.focus()

    def action_read(self) -> None:
        """Open the audit in the reader, which has its judges, labels, costs and views."""
        live = self.services.live
        if live.masked:
            self.tell("Judges and conditions are hidden until what you have labelled is revealed.")
        elif live.focus is not None:
            # Imported here: the start of the app would wait for it.
            from cc_tui.screens.reader import ReaderScreen

            self.stay()
            self.app.push_screen(ReaderScreen(self.services, [live.focus], live.focus))

    def action_tree(self) -> None:
        """Show the branches as a tree."""
        live = self.services.live

        def picked(choice: Picked | None) -> None:
            if choice is None:
                return
            if choice.compare and choice.branch is not None:
                self._compare(choice.branch)
            else:
                live.show_branch(choice.branch)
                self.flush()

        if branches := live.tree.branches():
            self.stay()
            self.app.push_screen(BranchTree(branches, tree_thread(live.tree).name_of), picked)
        else:
            self.tell("Nothing has been said yet.")

    def action_compare(self) -> None:
        """Compare the branch that goes on with the one before it."""
        branches = self.services.live.tree.branches()
        if branches:
            self._compare(max(branch.number for branch in branches))
        else:
            self.tell("Nothing has been said yet.")

    def _compare(self, branch: int) -> None:
        self.stay()
        if len(self.services.live.tree.branches()) > 1:
            self.app.push_screen(CompareScreen(self.services, branch))
        else:
            self.tell("There is one branch only: nothing to compare.")

    def action_pause(self) -> None:
        """Hold back the start of further audits, or release it."""
        live = self.services.live
        if live.running and live.totals is not None:
            self.services.send(SetPaused(not live.totals.paused))

    def action_run_control(self) -> None:
        """Show the run as a whole, with the keys that steer it."""
        self.app.push_screen(RunControl(self.services))

    def action_stop(self) -> None:
        """Ask, then stop the run."""
        live = self.services.live
        if not live.running:
            return
        running = live.totals.running if live.totals else 0
        self.app.push_screen(
            Choice(
                f"Stop the run? {running} audits are under way and will be recorded as cancelled.",
                {"y": "stop the run"},
            ),
            lambda answer: self.services.send(Stop()) if answer == "y" else None,
        )

"""What a person does with the audit in focus: the part of the Live screen that sends commands about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditors.feed import Act, Call, Cancel, Decide, Drive, Hold, Mark, SetApproving, StepOnce
from cc_tui.keymap import bindings, key_of
from cc_tui.screens.base import AppScreen
from cc_tui.screens.dialogs import Choice
from cc_tui.screens.editor import Editor, Written
from cc_tui.state.steps import Field, back_to, call, calls_of, changed_turn, fields_of, phase_of
from cc_tui.state.wheel import why_not
from cc_tui.widgets.conversation import Conversation
from cc_tui.widgets.line_table import LineTable
from store.errors import InputError
from store.records import Driver, Phase
from store.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from auditors.feed import Entry, Steer, Steering
    from cc_tui.screens.base import Services
    from cc_tui.state.live import LiveState
    from cc_tui.state.tree import Tree

_MOST_TIMES = 50
_USUAL_TIMES = "5"
_LEFT_OUT = " An audit that a person steers is left out of the study's estimates, unless they are asked for."


class SteeringScreen(AppScreen):
    """A screen with one audit in focus, which can be steered."""

    BINDINGS = bindings("steer")

    @property
    def _live(self) -> LiveState:
        return self.services.live

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._talk = Conversation(marked=False, follow=True, id="focus-talk")

    def stay(self) -> None:
        """Called when somebody has begun to deal with the audit in focus."""

    def action_hold(self) -> None:
        """Hold the audit before its next step, or let it go on."""
        if steering := self._wheel():
            self._send(Hold(steering.audit_id, not steering.held))

    def action_step(self) -> None:
        """Let a held audit take one step."""
        steering = self._wheel()
        if steering is None:
            return
        if steering.held:
            self._send(StepOnce(steering.audit_id))
        else:
            self.tell("The audit takes its steps by itself: hold it first.")

    def action_approving(self) -> None:
        """Let every step of the model wait for a word, or no longer."""
        if steering := self._wheel():
            self._send(SetApproving(steering.audit_id, not steering.approving))

    def action_approve(self) -> None:
        """Carry the proposed step out as it is."""
        if proposal := self._proposal():
            self._send(Decide(*proposal))

    def action_edit(self) -> None:
        """Change the proposed step, then carry it out."""
        proposal = self._proposal()
        if proposal is None:
            return
        audit_id, calls = proposal
        fields = fields_of(calls)
        if all(field.text is None for field in fields):
            self.tell("There is nothing to change in this step: carry it out, or turn it down.")
            return

        def decide(texts: list[str]) -> Decide:
            if self._live.steering is None or self._live.steering.proposed != calls:
                raise InputError("This step no longer waits for your word.")
            return Decide(audit_id, calls_of(calls, texts))

        self._write(
            "Change the proposed step",
            "Carried out as written here.",
            fields,
            ("edit", *calls),
            decide,
        )

    def action_decline(self) -> None:
        """Turn the proposed step down."""
        proposal = self._proposal()
        if proposal is None:
            return
        audit_id, calls = proposal

        def decide(texts: list[str]) -> Decide:
            if self._live.steering is None or self._live.steering.proposed != calls:
                raise InputError("This step no longer waits for your word.")
            return Decide(audit_id, None, texts[0])

        self._write(
            "Turn the proposed step down",
            "The auditor is told this and takes another step.",
            [Field("why")],
            ("decline", *calls),
            decide,
        )

    def action_drive(self) -> None:
        """Take the wheel, or hand it back."""
        steering = self._wheel()
        if steering is None:
            return
        if steering.driver is Driver.HUMAN:
            self._send(Drive(steering.audit_id, human=False))
        else:
            self._step_in("Take the wheel?", Drive(steering.audit_id, human=True))

    def action_write(self) -> None:
        """Write the next message, or the results that the target's tool calls wait for."""
        steering = self._wheel()
        if steering is None:
            return
        audit_id, tree = steering.audit_id, self._live.tree
        if calls := tree.open_calls():
            fields = [Field(f"{one_line(one.name)}({one_line(one.arguments, 200)})") for one in calls]

            def results(texts: list[str]) -> Act:
                given = [
                    call("send_tool_call_result", tool_call_id=one.id, result=text)
                    for one, text in zip(calls, texts, strict=True)
                ]
                return Act(audit_id, [*given, call("resume")])

            title, happens = "Answer the target's tool calls", "The target reads the results and goes on."
            self._write(title, happens, fields, tuple(one.id for one in calls), results)
            return

        def message(texts: list[str]) -> Act:
            return Act(audit_id, [_staged(*texts), call("resume")])

        self._write(
            "The next message of the user",
            "The target reads it and answers.",
            _message_fields(tree),
            "message",
            message,
        )

    def action_resume(self) -> None:
        """Give the target the turn."""
        if steering := self._wheel():
            self._step_in("Give the target the turn?", Act(steering.audit_id, [call("resume")]))

    def action_prefill(self) -> None:
        """Give the target the turn with the first words of its answer, and with a message where none is staged."""
        steering = self._wheel()
        if steering is None:
            return
        audit_id, tree = steering.audit_id, self._live.tree
        message = [] if tree.staged() else _message_fields(tree)

        def prefill(texts: list[str]) -> Act:
            *said, begun = texts
            return Act(audit_id, [*([_staged(*said)] if said else []), call("resume", prefill=_some(begun))])

        self._write(
            "The next message, and how its answer begins" if message else "Begin the target's answer",
            "The target goes on from these words, which are marked as not its own.",
            [*message, Field("first words")],
            ("prefill", bool(message)),
            prefill,
        )

    def action_mark(self, step: int) -> None:
        """Mark the next or previous message."""
        self.stay()
        self._talk.mark_message(step)
        self.flush()

    def action_back_to(self) -> None:
        """Roll back to the marked message."""
        if (steering := self._wheel()) and (entry := self._marked()):
            name = self._called(entry)
            question = f"Roll back to {name}? What came after it stays readable, on a branch of its own."
            act = Act(steering.audit_id, [back_to(entry.message_id)])
            self._confirm(question, "roll back", act)

    def action_fork(self) -> None:
        """Fork at the marked message with another turn."""
        self._fork([])

    def action_replay(self) -> None:
        """Fork several times with the same other turn."""
        self._fork([Field(f"how often, 1 to {_MOST_TIMES}", _USUAL_TIMES, lines=False)])

    def action_flag(self) -> None:
        """Flag the marked message."""
        if (steering := self._wheel()) and (entry := self._marked()):
            self._note(steering.audit_id, entry, "")

    def action_note(self) -> None:
        """Write a note on the marked message."""
        if (steering := self._wheel()) and (entry := self._marked()):
            audit_id = steering.audit_id

            def note(texts: list[str]) -> Mark:
                return Mark(audit_id, entry.message_id, _some(texts[0]))

            name, happens = self._called(entry), "Kept in the audit's events; nobody in the audit reads it."
            what = ("note", entry.message_id)
            self._write(f"A note on {name}", happens, [Field("note")], what, note, steers=False)

    def action_end_audit(self) -> None:
        """End the audit here."""
        if steering := self._wheel():
            question = "End this audit here? It is judged as it stands."
            self._confirm(question, "end it", Act(steering.audit_id, [call("end_conversation")]))

    def action_cancel_audit(self) -> None:
        """Cancel the audit."""
        if why := why_not(self._live):
            self.tell(why)
        elif card := self._live.card:
            question = (
                "Cancel this audit? What was said stays in the store, as cancelled and not judged; the study's next "
                "run begins it anew."
            )
            self._confirm(question, "cancel it", Cancel(card.audit_id))

    def tell(self, sentence: str) -> None:
        """Say why a key does nothing now."""
        self.notify(sentence, timeout=6, markup=False)

    def _wheel(self) -> Steering | None:
        """The wheel of the audit in focus; without one, say why."""
        if self.query_one(LineTable).cursor not in (None, self._live.focus):
            # The key came sooner than the change of focus: it could be about either audit. Where the filter leaves no
            # row, the audit in view is still the one in focus.
            return None
        if why := why_not(self._live):
            self.tell(why)
            return None
        self.stay()
        return self._live.steering

    def _proposal(self) -> tuple[str, list[Call]] | None:
        steering = self._wheel()
        if steering is None:
            return None
        if steering.proposed is None:
            self.tell("No step waits for your word.")
            return None
        return steering.audit_id, steering.proposed

    def _marked(self) -> Entry | None:
        block = self._talk.marked
        if self._talk.marks and block is not None and block.message_id is not None:
            return self._live.tree.messages.get(block.message_id)
        self.tell(f"Mark a message first, with {key_of('steer.previous_message').shown}.")
        return None

    def _called(self, entry: Entry) -> str:
        block = self._talk.marked
        return (
            f"{one_line(block.label if block else entry.author, 20)} ({one_line(entry.message_id or '', 12)})"
        )

    def _fork(self, more: list[Field]) -> None:
        steering, live = self._wheel(), self._live
        entry = self._marked() if steering else None
        if steering is None or entry is None or entry.message_id is None:
            return
        audit_id, message_id, tree = steering.audit_id, entry.message_id, live.tree
        after = entry.author in ("target", "system")
        text = "" if after else printable(entry.text)

        def fork(texts: list[str]) -> Act:
            times = _times(texts[1]) if more else 1
            said = entry.text if texts[0] == text and not after else texts[0]
            return Act(audit_id, changed_turn(tree, message_id, _some(said)) * times)

        where = f"after {self._called(entry)}" if after else f"in place of {self._called(entry)}"
        times = "as often as asked, each on a branch of its own" if more else "on a branch of its own"
        self._write(
            f"{'Replay' if more else 'Fork'} with another turn, {where}",
            f"The target answers it {times}.",
            [Field("what the target reads", text), *more],
            ("fork", message_id, bool(more)),
            fork,
        )

    def _note(self, audit_id: str, entry: Entry, note: str) -> None:
        self._send(Mark(audit_id, entry.message_id, note))

    def _write(
        self,
        title: str,
        happens: str,
        fields: Sequence[Field],
        what: Hashable,
        command: Callable[[list[str]], Steer],
        *,
        steers: bool = True,
    ) -> None:
        """Let somebody write a command; what is not sent waits for the next time under `what`."""
        live, draft = self._live, (self._live.focus, what)

        def wrong(texts: list[str]) -> str:
            try:
                command(texts)
            except InputError as error:
                return str(error)
            return why_not(live)

        def written(written: Written | None) -> None:
            if written is None:
                return
            if written.sent:
                live.unsent.pop(draft, None)
                sent = command(written.texts)
                if steers:
                    live.stepped_in.add(sent.audit_id)
                self._send(sent)
            else:
                live.unsent[draft] = written.texts

        if steers:
            happens += self._left_out
        self.app.push_screen(Editor(title, happens, fields, live.unsent.get(draft), wrong), written)

    def _step_in(self, question: str, command: Drive | Act) -> None:
        """Send a command that takes the wheel; the first time in an audit, ask."""
        if self._left_out:
            self._confirm(question, "yes", command)
        else:
            self._send(command)

    def _confirm(self, question: str, answer: str, command: Steer) -> None:
        if isinstance(command, Act | Drive):
            question += self._left_out
        self.app.push_screen(
            Choice(question, {"y": answer}),
            lambda key: self._send(command) if key == "y" else None,
        )

    @property
    def _left_out(self) -> str:
        """What stepping in means for the study, as long as nobody has."""
        steering = self._live.steering
        driven = steering is not None and steering.driver is Driver.HUMAN
        return "" if driven or self._live.focus in self._live.stepped_in else _LEFT_OUT

    def _send(self, command: Steer) -> None:
        if isinstance(command, Act | Drive):
            self._live.stepped_in.add(command.audit_id)
            self._talk.marks = False
            self._talk.to_tail()
        if isinstance(command, Mark) and command.message_id is not None:
            self._live.note(command.audit_id, command.message_id)
        self.services.send(command)
        self.flush()


def _message_fields(tree: Tree) -> list[Field]:
    """The next message, of the phase that the conversation is in."""
    phase = phase_of(tree, tree.head)
    return [Field("message"), Field(f"phase, {' or '.join(Phase)}", phase, lines=False)]


def _staged(text: str, phase: str) -> Call:
    return call("send_message", message=_some(text), phase=_phase(phase))


def _phase(text: str) -> str:
    if text.strip() not in tuple(Phase):
        raise InputError(f"The phase must be {' or '.join(Phase)}.")
    return text.strip()


def _some(text: str) -> str:
    if not text.strip():
        raise InputError("Nothing is written yet.")
    return text


def _times(text: str) -> int:
    times = int(text) if text.strip().isdecimal() else 0
    if not 1 <= times <= _MOST_TIMES:
        raise InputError(f"How often must be a whole number from 1 to {_MOST_TIMES}.")
    return times

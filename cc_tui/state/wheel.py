"""Who has the wheel of the focused audit, in words, and which keys matter then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditors.feed import CardState
from store.records import Driver, Mode

if TYPE_CHECKING:
    from cc_tui.state.live import LiveState

_DRIVERS = {
    Driver.MODEL: "the model drives",
    Driver.HUMAN: "A PERSON DRIVES",
    Driver.SCRIPT: "a script drives",
}


def why_not(live: LiveState) -> str:
    """Why the focused audit cannot be steered; empty if it can."""
    card = live.card
    if card is None:
        return "There is no audit to steer: choose one in the table."
    if not live.running:
        return "The run is over: nothing can be steered any more."
    if card.state is not CardState.RUNNING:
        return "This audit has ended: what was said stays as it is."
    if card.mode is Mode.SINGLE_TURN:
        return "A single question has no steps to steer."
    if live.steering is None:
        return "The engine has not said who drives this audit yet."
    return ""


def words(live: LiveState) -> list[tuple[str, str]]:
    """The state of the wheel as words with their tones, the most important first."""
    steering = live.steering
    if steering is None or why_not(live):
        return []
    drives = _DRIVERS[steering.driver]
    said = [(drives, "bold human" if steering.driver is Driver.HUMAN else "")]
    if steering.proposed is not None:
        said.append(("A STEP WAITS FOR YOUR WORD", "bold active"))
    if steering.held:
        said.append(("HELD", "bold user"))
    if steering.approving:
        said.append(("every step waits for a word", ""))
    if steering.driver is Driver.HUMAN:
        said.append((_awaited(live), "soft"))
    return said


def _awaited(live: LiveState) -> str:
    """What the conversation needs from whoever drives it."""
    if live.draft_author == "target":
        return "the target answers"
    if calls := live.tree.open_calls():
        return f"the target waits for {len(calls)} tool {'result' if len(calls) == 1 else 'results'}"
    if live.tree.staged():
        return "staged: the target has not been given the turn"
    return "the next message is yours"


def offers(live: LiveState) -> list[str]:
    """Ids of the keys that matter most now."""
    steering = live.steering
    if steering is None or why_not(live):
        return []
    if steering.proposed is not None:
        return ["steer.approve", "steer.edit", "steer.decline", "steer.drive"]
    if steering.driver is Driver.HUMAN:
        return ["steer.write", "steer.resume", "steer.drive", "steer.next_message", "steer.fork", "steer.end"]
    if steering.held:
        return ["steer.hold", "steer.step", "steer.approving", "steer.drive"]
    return ["steer.hold", "steer.approving", "steer.drive"]

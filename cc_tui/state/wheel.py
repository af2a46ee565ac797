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


def by_hand(live: LiveState) -> bool:
    """Whether a person drives the focused audit."""
    return live.steering is not None and live.steering.driver is Driver.HUMAN


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
        said.append(("asks before each step", ""))
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


def offers(live: LiveState, *, marked: bool) -> dict[str, str]:
    """The keys that matter most now, by id, each with the word for what it would do.

    Args:
        live: the run.
        marked: whether a message is marked.
    """
    steering = live.steering
    if steering is None or why_not(live):
        return {}
    if marked:
        return {
            "steer.fork": "fork",
            "steer.replay": "replay",
            "steer.back": "roll back",
            "steer.flag": "flag",
            "steer.note": "note",
        }
    driven = steering.driver is Driver.HUMAN
    drive = {"steer.drive": "hand back" if driven else "drive"}
    if steering.proposed is not None:
        return {"steer.approve": "carry out", "steer.edit": "edit", "steer.decline": "turn down", **drive}
    if driven:
        write = "answer" if live.tree.open_calls() else "write"
        resume = {"steer.resume": "resume"} if live.tree.staged() else {}
        return {
            "steer.write": write,
            **resume,
            **drive,
            "steer.previous_message": "mark",
            "steer.prefill": "prefill",
            "steer.end": "end",
        }
    if steering.held:
        mark = {"steer.previous_message": "mark"}
        return {"steer.hold": "let go", "steer.step": "step", "steer.approving": "ask me", **drive, **mark}
    asks = {"steer.approving": "don't ask" if steering.approving else "ask me"}
    return {"steer.hold": "hold", **asks, **drive, "steer.previous_message": "mark"}

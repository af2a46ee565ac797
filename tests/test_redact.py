"""A key that an endpoint sends back is neither shown nor stored."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from auditors.models.base import (
    ChatMessage,
    Delta,
    ReasoningDelta,
    Response,
    Role,
    StopReason,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from auditors.models.failure import BLOT
from auditors.models.redact import Blotter, blotted
from tests.wire import CANARY, message_of

KEY = "aabaaabaab"
"""Its ends repeat its beginning."""


def clean(deltas: Sequence[Delta], key: str) -> list[Delta]:
    blotter = Blotter(key)
    return [given for delta in deltas for given in blotter.take(delta)] + list(blotter.rest())


@given(
    st.lists(
        st.one_of(st.sampled_from(["a", "b", "aab", KEY, KEY[:4], KEY[4:]]), st.text(max_size=3)), max_size=12
    ),
    st.data(),
)
def test_wherever_a_stream_is_cut_it_adds_up_to_the_text_without_the_key(
    words: list[str], data: st.DataObject
) -> None:
    text, pieces = "".join(words), list[str]()
    rest = text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.append(rest[:size])
        rest = rest[size:]
    shown = clean([TextDelta(piece) for piece in pieces], KEY)
    assert message_of(shown).text == text.replace(KEY, BLOT)
    if not {"a", "b"} & {*text}:
        assert shown == [TextDelta(piece) for piece in pieces]


def test_what_cannot_be_the_key_is_not_held_back() -> None:
    blotter = Blotter(CANARY)
    assert list(blotter.take(TextDelta("a word"))) == [TextDelta("a word")]
    assert list(blotter.take(TextDelta("s"))) == []
    assert list(blotter.take(TextDelta("o"))) == [TextDelta("so")]


def test_text_reasoning_and_each_tool_call_are_streams_of_their_own() -> None:
    half, other = CANARY[:7], CANARY[7:]
    deltas: list[Delta] = [
        ReasoningDelta(f"r {half}"),
        TextDelta(f"t {half}"),
        ToolCallDelta(0, "send", half),
        ToolCallDelta(1, "resume", ""),
        ToolCallDelta(0, "", other),
        TextDelta(other),
        ReasoningDelta(f"{other}!"),
    ]
    shown = clean(deltas, CANARY)
    assert message_of(shown) == ChatMessage(
        Role.ASSISTANT,
        "t [key]",
        "r [key]!",
        (ToolCall("id0", "send", "[key]"), ToolCall("id1", "resume", "")),
    )


def test_every_string_of_a_response_loses_the_key_and_nothing_else_changes() -> None:
    said = f"<{CANARY}>"
    response = Response(
        ChatMessage(
            Role.ASSISTANT,
            said,
            said,
            (ToolCall(said, said, said),),
            carry=({"type": "thinking", "parts": [{said: said}], "n": 1},),
        ),
        StopReason.END,
        Usage(input=1),
        said,
        request_id=said,
    )
    found = blotted(response, CANARY)
    assert CANARY not in repr(found)
    # What only the endpoint understands goes back to it unchanged or not at all.
    assert found.message.carry == ()
    assert blotted([{said: (said, 1)}], CANARY) == [{"<[key]>": ("<[key]>", 1)}]
    assert found.stop is StopReason.END
    assert found.message.role is Role.ASSISTANT
    assert blotted(response, "another-key") == response


def test_a_word_that_serves_as_a_key_is_left_in_what_models_say() -> None:
    response = Response(ChatMessage(Role.ASSISTANT, "EMPTY"), StopReason.END, Usage(), "m")
    assert blotted(response, "EMPTY") == response
    assert clean([TextDelta("EMPTY")], "EMPTY") == [TextDelta("EMPTY")]

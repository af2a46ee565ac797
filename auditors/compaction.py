"""Keeps a long audit inside the auditor's context: older results are shortened, by rule and without a model call.

What an auditor needs to go on are the ids, which stand first in every result, and what its latest steps led to. The
target's conversation is not touched, and the store keeps every text in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from auditors.models.base import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditors.models.base import ChatMessage

CONTEXT_TOKENS = 100_000
"""Estimated tokens of an auditor's request above which older results are shortened."""
KEPT_STEPS = 6
"""The latest steps, whose results stay whole."""
FEW_STEPS = 2
"""The same when the endpoint says that the request is too long."""

_LONGEST = 240
"""Characters of a result that stay; a result that is not much longer stays whole."""


def compact(messages: Sequence[ChatMessage], keep: int) -> list[ChatMessage]:
    """An auditor's messages with the results of all but the last `keep` steps shortened.

    Only tool results change. Compacting what was compacted changes nothing but the results that have since grown
    old, and unchanged messages stay the same objects.
    """
    steps = [place for place, message in enumerate(messages) if message.role is Role.ASSISTANT]
    recent = steps[-keep] if len(steps) >= keep else 0
    return [
        msgspec.structs.replace(message, text=_shortened(message.text))
        if place < recent and message.role is Role.TOOL and len(message.text) > 2 * _LONGEST
        else message
        for place, message in enumerate(messages)
    ]


def _shortened(text: str) -> str:
    return f"{text[:_LONGEST]}… [{len(text) - _LONGEST} more characters; shortened to save room]"

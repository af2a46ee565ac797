"""Exit codes."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    INVALID_AUDITS = 1
    """Finished with more invalid audits than the study allows."""
    FINDINGS = 1
    """`cc-tui check` found faults that are not mended."""
    BAD_INPUT = 2
    STORE_FAILED = 3
    """The store could not be written."""
    INTERRUPTED = 130

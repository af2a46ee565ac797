"""Exit codes."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    INVALID_AUDITS = 1
    """Finished with more invalid audits than the study allows."""
    FINDINGS = 1
    """`cc-tui check` found faults that are not mended."""
    NOT_READY = 1
    """`cc-tui doctor` found a model that cannot do what its role needs."""
    BAD_INPUT = 2
    STORE_FAILED = 3
    """The store could not be written."""
    INTERRUPTED = 130

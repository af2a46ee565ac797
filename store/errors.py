"""The one family of errors that a user can cause or mend.

Every message is a complete sentence that names the thing and, where there is one, the way to mend it; the
command line prints it as it stands, without a traceback.
"""


class CcTuiError(Exception):
    """Root of the errors that the program raises on purpose."""


class InputError(CcTuiError):
    """A file, an option or a name given by the user is wrong (exit code 2)."""


class StoreError(CcTuiError):
    """The store cannot be opened, read or written."""


class QueryError(CcTuiError):
    """A query on the store was refused or failed."""

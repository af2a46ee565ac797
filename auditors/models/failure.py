"""What went wrong with a call over a provider's SDK: its kind, whether to try again, and how to say it."""

from __future__ import annotations

import math
import random
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec

from auditors.models.base import ErrorKind, ModelError
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from auditors.models.base import FailedAttempt

BLOT = "[key]"
"""Stands where a key would."""

_LONGEST_WAIT = 120.0
"""Seconds that an endpoint may ask us to wait; more looks like a run that hangs."""
_LONGEST_BACKOFF = 30.0
_LONGEST_DETAIL = 300

_KINDS = {
    401: ErrorKind.AUTH,
    402: ErrorKind.QUOTA,
    403: ErrorKind.AUTH,
    404: ErrorKind.NOT_FOUND,
    408: ErrorKind.TIMEOUT,
    409: ErrorKind.SERVER,
    410: ErrorKind.NOT_FOUND,
    429: ErrorKind.RATE_LIMIT,
    503: ErrorKind.OVERLOADED,
    529: ErrorKind.OVERLOADED,
}
_PASSING = {408, 409, 429}
_SPENT = {"insufficient_quota", "billing_error", "billing_hard_limit_reached"}
_FIXES = {
    ErrorKind.AUTH: "check the endpoint's API key and what it may use",
    ErrorKind.BAD_REQUEST: "check that the endpoint speaks this protocol and takes these settings",
    ErrorKind.CONNECTION: "check that the server is up and its base URL is right",
    ErrorKind.CONTEXT_LENGTH: "use fewer turns, or a model with a longer context",
    ErrorKind.NOT_FOUND: "check the model's name and the endpoint's base URL",
    ErrorKind.OVERLOADED: "try again later",
    ErrorKind.QUOTA: "check the account's credit and spending limits",
    ErrorKind.RATE_LIMIT: "run fewer calls at once, or check the account's limits",
    ErrorKind.SERVER: "try again later",
    ErrorKind.TIMEOUT: "try again later, or run fewer calls at once",
    ErrorKind.TRUNCATED: "try again later, or check what stands between here and the server",
    ErrorKind.UNSUPPORTED: "ask for something else, or use another endpoint",
}

_CONTEXT = re.compile(r"context_length|context length|context window|maximum context|too many tokens", re.I)
_UNTAKEN = re.compile(
    r"unsupported|(not|n't) (support|permitted|allowed)|unrecogni[sz]ed|unknown|unexpected|deprecated", re.I
)


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt failed."""

    kind: ErrorKind
    detail: str
    """What happened, as a clause; it may hold anything that the server said."""
    passing: bool = False
    """Whether another attempt may succeed."""
    wait: float = 0.0
    """Seconds that the endpoint asks us to wait before that."""
    param: str = ""
    """The parameter that the endpoint blames."""

    def said(self, secret: str) -> str:
        """`detail` on one line, with `secret` blotted out."""
        # Blot first: a cut could leave a part of the secret that is no longer recognised.
        detail = self.detail.replace(secret, BLOT) if secret else self.detail
        return one_line(detail, _LONGEST_DETAIL).rstrip(".")

    def error(self, spec: str, host: str, secret: str, failed: tuple[FailedAttempt, ...]) -> ModelError:
        """The failure as an error for the user, with `secret` blotted out; `failed` are all attempts."""
        tries = f" {len(failed)} times" if len(failed) > 1 else ""
        what = f"{spec} failed{tries} at {host}: {self.said(secret)}; {_FIXES[self.kind]}."
        return ModelError(self.kind, what, failed)


class StreamError(Exception):
    """An answer that began well broke off or turned into an error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def classify(error: Exception, sdk: ModuleType) -> Failure:
    """The failure behind an exception of `sdk`, of its HTTP client or of our own reading.

    The SDKs of OpenAI and Anthropic name their exceptions alike.
    """
    import httpx2

    match error:
        case StreamError():
            return error.failure
        case sdk.APITimeoutError() | httpx2.TimeoutException():
            return Failure(ErrorKind.TIMEOUT, "the server was silent for too long", passing=True)
        case sdk.APIConnectionError():
            what = f"no connection ({error.__cause__ or error})"
            return Failure(ErrorKind.CONNECTION, what, passing=True)
        case sdk.APIStatusError():
            return status_failure(error.status_code, error.body, error.response.headers)
        case httpx2.HTTPError():  # The SDK wraps what happens before the answer begins; this came later.
            return Failure(ErrorKind.TRUNCATED, f"the stream broke off ({error})", passing=True)
        case _:
            return Failure(ErrorKind.BAD_REQUEST, str(error))


def status_failure(status: int, body: object, headers: Mapping[str, str]) -> Failure:
    """The failure that an HTTP status and the `error` object of its body tell of."""
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {"message": body}
    if isinstance(
        inner := fields.get("error"), dict
    ):  # One SDK unwraps the body's `error`, the other does not.
        fields = cast("dict[str, Any]", inner)
    words = str(fields.get("message") or fields.get("detail") or fields.get("error") or "no reason given")
    code = str(fields.get("code") or fields.get("type") or "")
    kind = _KINDS.get(status, ErrorKind.SERVER if status >= 500 else ErrorKind.BAD_REQUEST)
    if kind is ErrorKind.BAD_REQUEST and _CONTEXT.search(f"{code} {words}"):
        kind = ErrorKind.CONTEXT_LENGTH
    if _SPENT & {str(fields.get("code")), str(fields.get("type"))}:
        kind = ErrorKind.QUOTA
    wait = _asked_wait(headers)
    passing = (status in _PASSING or status >= 500) and kind is not ErrorKind.QUOTA and wait <= _LONGEST_WAIT
    return Failure(kind, f"HTTP {status}, {words}", passing, wait, str(fields.get("param") or ""))


def _asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds of `retry-after-ms` or `retry-after` (seconds or a date); 0 without a usable one."""
    seconds = 0.0
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif "retry-after" in headers:
            seconds = float(headers["retry-after"])
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(headers["retry-after"]) - datetime.now(UTC)).total_seconds()
        except (KeyError, TypeError, ValueError):
            return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def backoff(failure: Failure, attempt: int, base: float) -> float:
    """Seconds to wait after failed attempt number `attempt`: what the endpoint asks for, plus full jitter.

    Full jitter draws uniformly up to `base * 2**(attempt - 1)`, so that calls that failed together do not
    come back together.
    """
    return failure.wait + random.uniform(0, min(_LONGEST_BACKOFF, base * 2 ** (attempt - 1)))


def rejected(failure: Failure, names: Iterable[str]) -> str | None:
    """The one of the sent parameters `names` that the endpoint says it does not take, or None.

    A value out of range is not meant: leaving it out in silence would hide the mistake.
    """
    if failure.kind is not ErrorKind.BAD_REQUEST:
        return None
    about = failure.param or failure.detail
    for name in names:
        if name == "response_format":
            if re.search(r"response_format|json_schema|json_object", about):
                return name
        elif re.search(rf"\b{name}\b", about) and _UNTAKEN.search(failure.detail):
            return name
    return None

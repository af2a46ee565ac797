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
    413: ErrorKind.CONTEXT_LENGTH,
    429: ErrorKind.RATE_LIMIT,
    503: ErrorKind.OVERLOADED,
    529: ErrorKind.OVERLOADED,
}
_PASSING = {408, 409, 429}
_SPENT = {"insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active"}
_DECLINED = {
    "bio_policy",
    "content_filter",
    "content_policy_violation",
    "cyber_policy",
    "misalignment_policy_violation",
}
"""Codes that say that the provider will not have this answered."""
_STATUSES = {
    "api_error": 500,
    "authentication_error": 401,
    "billing_error": 402,
    "bio_policy": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "context_length_exceeded": 400,
    "cyber_policy": 400,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "invalid_encrypted_content": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "misalignment_policy_violation": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "server_error": 500,
    "server_is_overloaded": 503,
    "slow_down": 429,
    "timeout_error": 504,
}
"""Codes and types of errors inside a stream, and the HTTP status that the same error has before one."""
_FIXES = {
    ErrorKind.AUTH: "check the endpoint's API key and what it may use",
    ErrorKind.BAD_REQUEST: "check that the endpoint speaks this protocol and takes these settings",
    ErrorKind.CONNECTION: "check that the server is up and its base URL is right",
    ErrorKind.CONTEXT_LENGTH: "use fewer turns, or a model with a longer context",
    ErrorKind.NOT_FOUND: "check the model's name and the endpoint's base URL",
    ErrorKind.OVERLOADED: "try again later",
    ErrorKind.POLICY: "ask for something else, or use another provider",
    ErrorKind.QUOTA: "check the account's credit and spending limits",
    ErrorKind.RATE_LIMIT: "run fewer calls at once, or check the account's limits",
    ErrorKind.SERVER: "try again later",
    ErrorKind.TIMEOUT: "try again later, or run fewer calls at once",
    ErrorKind.TRUNCATED: "try again later, or check what stands between here and the server",
    ErrorKind.UNSUPPORTED: "ask for something else, or use another endpoint",
}

_CONTEXT = re.compile(
    r"context[ _](length|window|size|limit)|maximum context|too many tokens|prompt is too long", re.I
)
_NO_CREDIT = re.compile(r"credit balance is too low", re.I)
_POLICY = re.compile(
    r"usage polic|content (filter\w*|management) policy|content policy|(prompt|input|request) was flagged",
    re.I,
)
"""What providers say that decline without a code of their own, or with one that also stands for a malformed prompt."""
_FLAGGED = re.compile(r"\bflagged\b|polic(y|ies)\b|safety", re.I)
"""What `invalid_prompt` is about where it does not mean a malformed one."""
_TOO_LARGE = re.compile(r"request too large", re.I)
"""What a 429 says of a single request above the limit of a whole minute."""
_UNTAKEN = re.compile(
    r"unsupported|(not|n't) (support|permitted|allowed)|unrecogni[sz]ed|unknown|unexpected|deprecated", re.I
)
_LOOSE = {
    "include": r"\binclude\b(?! )|encrypted[ _]content",
    "prompt_cache_key": r"prompt_cache_key",
    "reasoning.effort": r"reasoning[._]effort",
    "reasoning.summary": r"reasoning\.summary|reasoning summar",
    "reasoning_effort": r"reasoning[._]effort",
    "response_format": r"response_format|json_schema|json_object",
    "stream_options": r"stream_options",
    "strict": r"\bstrict\b|function_parameters|Invalid schema for function",
    "text.format": r"text\.format|response_format|json_schema|json_object",
}
"""Parameters whose values are ours and not the user's, so that any complaint about one means that it is not taken,
and what a complaint looks like."""


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
    code: str = ""
    """The endpoint's own name for the failure."""

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
    """The failure that an HTTP status and the body under it tell of."""
    if 300 <= status < 400:
        where = headers.get("location", "it does not say where")
        return Failure(ErrorKind.NOT_FOUND, f"HTTP {status}, it redirects ({where}), which is not followed")
    wait = _asked_wait(headers)
    failure = _told(status, _fields(body), f"HTTP {status}")
    match headers.get("x-should-retry"):
        case "true":
            passing = failure.kind is not ErrorKind.QUOTA
        case "false":
            passing = False
        case _:
            passing = failure.passing
    return msgspec.structs.replace(failure, passing=passing and wait <= _LONGEST_WAIT, wait=wait)


def event_failure(error: object) -> Failure:
    """The failure that an error inside a stream tells of; its code or type stands for the HTTP status."""
    fields = _fields(error)
    code = str(fields.get("code") or "")
    status = int(code) if re.fullmatch("[45][0-9][0-9]", code) else 0
    status = status or _STATUSES.get(code) or _STATUSES.get(str(fields.get("type"))) or 500
    return _told(status, fields, f"error {code}" if code else "an error in the stream")


def _told(status: int, fields: dict[str, Any], what: str) -> Failure:
    words, param = _words(fields)
    names = {str(fields.get("code")), str(fields.get("type"))}
    kind = _KINDS.get(status, ErrorKind.SERVER if status >= 500 else ErrorKind.BAD_REQUEST)
    if names & _SPENT or _NO_CREDIT.search(words):
        kind = ErrorKind.QUOTA
    elif status in (400, 403) and _declined(names, words):
        kind = ErrorKind.POLICY
    elif kind is ErrorKind.BAD_REQUEST and _CONTEXT.search(f"{names} {words}"):
        kind = ErrorKind.CONTEXT_LENGTH
    passing = (status in _PASSING or status >= 500) and kind is not ErrorKind.QUOTA
    return Failure(
        kind,
        f"{what}, {words or 'no reason given'}",
        passing=passing and not _TOO_LARGE.search(words),
        param=str(fields.get("param") or param),
        code=str(fields.get("code") or fields.get("type") or ""),
    )


def _declined(names: set[str], words: str) -> bool:
    flagged = "invalid_prompt" in names and _FLAGGED.search(words)
    return bool(names & _DECLINED or flagged or _POLICY.search(words))


def _fields(body: object) -> dict[str, Any]:
    """The error object of a body, in whatever the server, a proxy and the SDK have wrapped it."""
    if isinstance(body, list) and body:
        body = cast("list[Any]", body)[0]
    if not isinstance(body, dict):
        return {"message": body}
    fields = cast("dict[str, Any]", body)
    inner = fields.get("error")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else fields


def _words(fields: dict[str, Any]) -> tuple[str, str]:
    """What an error object says, and the parameter that it blames in doing so."""
    said = fields.get("message") or fields.get("detail") or fields.get("error") or ""
    try:
        found = msgspec.convert(said, list[_Invalid])
    except msgspec.ValidationError:
        return str(said), ""
    places = [".".join(str(step) for step in invalid.loc if step != "body") for invalid in found]
    words = "; ".join(f"{place}: {invalid.msg}" for place, invalid in zip(places, found, strict=True))
    return words, places[0] if places else ""


class _Invalid(msgspec.Struct):
    """An entry of the `detail` of servers that are built on FastAPI."""

    msg: str
    loc: list[str | int] = []


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

    A value of the user's that is out of range is not meant: leaving it out in silence would hide the mistake.
    Put the more particular of two names first.
    """
    if failure.kind is not ErrorKind.BAD_REQUEST:
        return None
    about = f"{failure.code} {failure.param or failure.detail}"
    untaken = _UNTAKEN.search(f"{failure.detail} {failure.code}")
    for name in names:
        blamed = re.search(_LOOSE.get(name, rf"\b{re.escape(name)}\b"), about, re.I)
        if blamed and (untaken or name in _LOOSE):
            return name
    return None

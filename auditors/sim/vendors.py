"""What OpenAI and Anthropic each say in their own way beside an answer: keys, errors, lists of models, headers."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditors.sim.connection import RequestError
    from auditors.sim.limits import Gauge


class Vendor(Protocol):
    """The customs of a provider, whatever the protocol of the answer."""

    def keys(self, headers: Mapping[str, str]) -> list[str]:
        """The keys that a client sends."""
        ...

    def error(self, error: RequestError, request_id: str = "") -> tuple[int, dict[str, Any]]:
        """Status and body of an error."""
        ...

    def models(self, names: Iterable[str]) -> dict[str, Any]:
        """Body of a list of models."""
        ...

    def headers(self, request_id: str, gauges: Iterable[Gauge], wait: float | None) -> dict[str, str]:
        """The request's name, the limits that hold, and after how many seconds to try again, as headers."""
        ...


class _OpenAI:
    def keys(self, headers: Mapping[str, str]) -> list[str]:
        return _bearer(headers)

    def error(self, error: RequestError, request_id: str = "") -> tuple[int, dict[str, Any]]:
        del request_id  # Told in a header only.
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        fields = {
            "message": str(error),
            "type": error.code if error.code == "insufficient_quota" else kind,
            "param": error.param,
            "code": error.code,
        }
        return error.status, {"error": fields}

    def models(self, names: Iterable[str]) -> dict[str, Any]:
        entry = {"object": "model", "created": 0, "owned_by": "cc-tui"}
        return {"object": "list", "data": [{"id": name, **entry} for name in names]}

    def headers(self, request_id: str, gauges: Iterable[Gauge], wait: float | None) -> dict[str, str]:
        headers = {"x-request-id": request_id}
        for gauge in gauges:
            headers[f"x-ratelimit-limit-{gauge.name}"] = str(gauge.limit)
            headers[f"x-ratelimit-remaining-{gauge.name}"] = str(gauge.remaining)
            headers[f"x-ratelimit-reset-{gauge.name}"] = _duration(gauge.reset)
        if wait is not None:
            headers["retry-after-ms"] = str(math.ceil(wait * 1000))
            headers["retry-after"] = str(math.ceil(wait))
        return headers


class _Anthropic:
    _TYPES = {  # noqa: RUF012
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        409: "conflict_error",
        413: "request_too_large",
        429: "rate_limit_error",
        504: "timeout_error",
        529: "overloaded_error",
    }

    def keys(self, headers: Mapping[str, str]) -> list[str]:
        return _bearer(headers) + [headers[name] for name in ("x-api-key",) if name in headers]

    def error(self, error: RequestError, request_id: str = "") -> tuple[int, dict[str, Any]]:
        status, message = error.status, str(error)
        if error.code == "insufficient_quota":
            status = 402
        elif error.code == "context_length_exceeded":
            message = f"prompt is too long: {message}"
        kind = self._TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        fields = {"type": kind, "message": message}
        return status, {"type": "error", "error": fields, "request_id": request_id or None}

    def models(self, names: Iterable[str]) -> dict[str, Any]:
        entry = {"type": "model", "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"}
        data = [{"id": name, "display_name": name, **entry} for name in names]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"data": data, "has_more": False, "first_id": first, "last_id": last}

    def headers(self, request_id: str, gauges: Iterable[Gauge], wait: float | None) -> dict[str, str]:
        headers = {"request-id": request_id}
        for gauge in gauges:
            prefix = f"anthropic-ratelimit-{gauge.name}"
            headers[f"{prefix}-limit"] = str(gauge.limit)
            headers[f"{prefix}-remaining"] = str(gauge.remaining)
            headers[f"{prefix}-reset"] = _moment(gauge.reset)
        if wait is not None:
            headers["retry-after"] = str(math.ceil(wait))
        return headers


OPENAI: Vendor = _OpenAI()
ANTHROPIC: Vendor = _Anthropic()


def _bearer(headers: Mapping[str, str]) -> list[str]:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return [key] if scheme.lower() == "bearer" else []


def _duration(seconds: float) -> str:
    """`seconds` from now as OpenAI writes it: `120ms`, `1.5s`, `6m0s`."""
    millis = math.ceil(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms"
    minutes, millis = divmod(millis, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{millis / 1000:g}s"


def _moment(seconds: float) -> str:
    """`seconds` from now as Anthropic writes it, in RFC 3339 with whole seconds."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    if moment.microsecond:
        moment = moment.replace(microsecond=0) + timedelta(seconds=1)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

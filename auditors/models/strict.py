"""Which JSON Schemas OpenAI can hold a model to, token by token."""

from __future__ import annotations

from typing import Any, cast

_PLAIN = {"type", "description", "title", "enum", "const", "$ref", "required", "additionalProperties"}
_NAMED = {"properties", "$defs"}


def qualifies(schema: dict[str, Any]) -> bool:
    """Whether `strict` may be set: an object, closed and with nothing optional at every level.

    A keyword that is not known to be taken everywhere, by fine-tuned models too, disqualifies a schema.
    """
    return schema.get("type") == "object" and _closed(schema)


def _closed(schema: object) -> bool:
    if not isinstance(schema, dict):
        return False
    fields = cast("dict[str, Any]", schema)
    inner: list[object] = []
    for keyword, value in fields.items():
        if keyword in _NAMED and isinstance(value, dict):
            inner += cast("dict[str, object]", value).values()
        elif keyword == "items":
            inner.append(value)
        elif keyword == "anyOf" and isinstance(value, list):
            inner += cast("list[object]", value)
        elif keyword not in _PLAIN:
            return False
    kinds = fields.get("type")
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or "properties" in fields:
        properties, required = fields.get("properties", {}), fields.get("required", [])
        if not isinstance(required, list) or fields.get("additionalProperties") is not False:
            return False
        if len(cast("list[Any]", required)) != len(properties) or any(
            name not in required for name in properties
        ):
            return False
    return all(map(_closed, inner))

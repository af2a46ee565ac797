"""Identifiers: sortable random ones for things that happen, content hashes for things that are planned."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec


def new_id() -> str:
    """A ULID: unique, sortable by time of creation, 26 characters."""
    from ulid import ULID

    return str(ULID())


def content_hash(value: Any) -> str:
    """16 hexadecimal digits that depend on the content of `value` only, not on the order of its keys."""
    canonical = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:16]

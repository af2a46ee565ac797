"""From specification strings to endpoints: which providers there are, where they are, and whose key opens them.

Nothing here asks a network or imports an SDK.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from auditors.models.endpoint import Endpoint, WireProtocol
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACEHOLDER = "FILL-IN"
"""Stands in ready studies where an id is the user's own."""
_LONGEST_URL = 500

_BUILT_IN = {
    "openai": Endpoint(
        base_url="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        protocol=WireProtocol.RESPONSES,
    ),
    "anthropic": Endpoint(
        base_url="https://api.anthropic.com",
        api_key_env="ANTHROPIC_API_KEY",
        protocol=WireProtocol.MESSAGES,
    ),
    # Tinker's own service does not stream; its OpenAI-compatible side does, and takes tools.
    "tinker": Endpoint(
        base_url="https://tinker.thinkingmachines.dev/services/tinker-prod",
        api_key_env="TINKER_API_KEY",
        protocol=WireProtocol.CHAT,
    ),
}
_TINKER_CHAT = "/oai/api/v1"
_FORMS = {
    "sim": "sim/<name>",
    "openai": "openai/<model>",
    "compatible": "compatible:<alias>/<model>",
    "anthropic": "anthropic/<model>",
    "tinker": "tinker/<base model> or tinker://<path of sampler weights>",
}
_SPEC = re.compile(
    r"(?P<provider>openai|anthropic|tinker)/(?P<model>[^\s/]\S*)"
    r"|tinker://\S+"
    r"|compatible:(?P<alias>[^\s/]+)/(?P<remote>[^\s/]\S*)"
)


class Remote(msgspec.Struct, frozen=True):
    """Where the model of a specification is, and how it is spoken to."""

    spec: str
    name: str
    """The provider or the alias: the entry of the configuration that changes it."""
    endpoint: Endpoint
    base_url: str
    """The endpoint's URL as the protocol's SDK wants it."""
    model: str
    """The model's name there."""

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.base_url).netloc

    @property
    def protocol(self) -> WireProtocol:
        """The protocol that the endpoint is spoken to in."""
        return self.endpoint.protocol or WireProtocol.CHAT

    @property
    def counts_by_model(self) -> bool:
        """Whether the traffic that the endpoint takes is counted for each of its models by itself."""
        return self.name in ("openai", "anthropic") and self.base_url == _BUILT_IN[self.name].base_url

    def key(self) -> str:
        """The key, from the environment; empty for a server that needs none.

        Raises:
            InputError: it is missing, or no header can carry it.
        """
        variable = self.endpoint.api_key_env
        key = _key(self.endpoint)
        if variable and not key:
            raise InputError(f"{self.spec} needs a key: set the environment variable {variable}.")
        if not (key.isascii() and key.isprintable()) and key:
            raise InputError(f"{self.spec}: the value of {variable} cannot be a key; set it again.")
        return key


class ProviderStatus(msgspec.Struct, frozen=True):
    """Whether models of one provider can be asked, as `cc-tui models` shows it."""

    name: str
    form: str
    """What their specifications look like."""
    key_env: str
    """Environment variable of the key; empty where none is needed."""
    key_set: bool
    """Whether the key that is needed is there."""
    note: str


def remote(spec: str, endpoints: Mapping[str, Endpoint]) -> Remote:
    """Where the model of `spec` is; `endpoints` are the configured ones, by provider or alias.

    Raises:
        InputError: the specification is malformed, or its endpoint is unknown or has no usable base_url.
    """
    if PLACEHOLDER in spec:
        raise InputError(f"{spec!r} is a placeholder: write the id of your own model in its place.")
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InputError(
            f"{spec!r} is not the specification of a model: write one of {', '.join(_FORMS.values())}."
        )
    if alias := match["alias"]:
        return _at(spec, alias, _alias(spec, alias, endpoints), match["remote"])
    name = match["provider"] or "tinker"
    return _at(spec, name, _built_in(name, endpoints.get(name)), match["model"] or spec)


def providers(endpoints: Mapping[str, Endpoint]) -> list[ProviderStatus]:
    """Every provider that specifications can name, and each alias of `endpoints`."""
    found = [ProviderStatus("sim", _FORMS["sim"], "", True, "simulated; needs no key and no network")]
    for name in _BUILT_IN:
        endpoint = _built_in(name, endpoints.get(name))
        found.append(_status(name, _FORMS[name], endpoint, _moved_by(name, endpoints.get(name))))
    aliases = sorted(endpoints.keys() - _FORMS.keys())
    found += [_status(alias, f"compatible:{alias}/<model>", endpoints[alias], "") for alias in aliases]
    if not aliases:
        found.append(
            ProviderStatus("compatible", _FORMS["compatible"], "", True, "no endpoint is configured")
        )
    return found


def _status(name: str, form: str, endpoint: Endpoint, moved_by: str) -> ProviderStatus:
    try:
        place = _at("", name, endpoint, "")
    except InputError as error:
        note = str(error)
    else:
        note = f"{place.protocol} at {place.base_url}" + (f" (from {moved_by})" if moved_by else "")
    key_set = not endpoint.api_key_env or bool(_key(endpoint))
    return ProviderStatus(name, form, endpoint.api_key_env, key_set, note)


def _alias(spec: str, alias: str, endpoints: Mapping[str, Endpoint]) -> Endpoint:
    if alias in _FORMS:
        raise InputError(
            f"{spec}: {alias!r} is the name of a provider, which no alias can have: "
            f"write {_FORMS[alias]}, or give the endpoint another name."
        )
    if alias not in endpoints:
        known = ", ".join(sorted(endpoints.keys() - _FORMS.keys())) or "none"
        raise InputError(
            f"{spec}: there is no endpoint {alias!r} (configured: {known}); "
            "add it to the configuration with its base_url."
        )
    return endpoints[alias]


def _built_in(name: str, changed: Endpoint | None) -> Endpoint:
    """A provider's endpoint: as it is known, as the environment moves it, as an entry of its name changes it.

    An entry changes the fields in which it differs from an empty one, so it cannot take something back: for a
    server without a key there are aliases.
    """
    endpoint = _BUILT_IN[name]
    if url := _env_url(name):
        endpoint = msgspec.structs.replace(endpoint, base_url=url)
    if changed is None:
        return endpoint
    values = {field.name: getattr(changed, field.name) for field in msgspec.structs.fields(Endpoint)}
    empty = Endpoint()
    changes = {name: value for name, value in values.items() if value != getattr(empty, name)}
    return msgspec.structs.replace(endpoint, **changes)


def _moved_by(name: str, changed: Endpoint | None) -> str:
    """The environment variable that moves a provider elsewhere, or an empty string."""
    return _env_name(name) if _env_url(name) and not (changed and changed.base_url) else ""


def _env_name(name: str) -> str:
    return f"{name.upper()}_BASE_URL"


def _env_url(name: str) -> str:
    return os.environ.get(_env_name(name), "").strip()


def _at(spec: str, name: str, endpoint: Endpoint, model: str) -> Remote:
    _check_url(name, endpoint.base_url)
    url = endpoint.base_url.rstrip("/")
    if endpoint.protocol is WireProtocol.MESSAGES:
        # Its SDK adds the version by itself; other protocols' base URLs end with it, and so do servers' manuals.
        url = url.removesuffix("/v1")
    if name == "tinker" and endpoint.protocol is WireProtocol.CHAT:
        url = url.removesuffix(_TINKER_CHAT) + _TINKER_CHAT
    return Remote(spec, name, endpoint, url, model)


def _check_url(name: str, base_url: str) -> None:
    try:
        url = urlsplit(base_url)
        usable = (
            url.scheme in ("http", "https")
            and url.hostname
            and url.port != 0
            and "@" not in url.netloc
            and not (url.query or url.fragment)
            and len(base_url) < _LONGEST_URL
            and base_url.isprintable()
        )
    except ValueError:
        usable = False
    if not usable:
        # What is written there may hold a password.
        raise InputError(
            f"The base_url of endpoint {name!r} must look like http://host:port/v1, "
            "without user name, password or anything behind the path."
        )


def _key(endpoint: Endpoint) -> str:
    return os.environ.get(endpoint.api_key_env, "").strip() if endpoint.api_key_env else ""

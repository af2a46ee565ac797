"""From specification strings to models.

Knowing which providers there are costs no SDK: each is imported when its first model is asked.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from auditors.models.connections import ConnectionPool
from auditors.models.endpoint import Endpoint, Prefill, WireProtocol
from auditors.models.http_model import HttpModel, Patience
from auditors.models.limiter import Limiter
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditors.models.base import Model
    from auditors.models.http_model import Wire

_CHECK_SECONDS = 3.0
_LONGEST_URL = 500


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


_TINKER = "https://tinker.thinkingmachines.dev/services/tinker-prod"
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
    "tinker": Endpoint(base_url=_TINKER, api_key_env="TINKER_API_KEY", protocol=WireProtocol.CHAT),
}
_BASE_URL_ENVS = {name: f"{name.upper()}_BASE_URL" for name in _BUILT_IN}
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


class Models:
    """The models of a run, each made once; those of HTTP endpoints share their connections."""

    def __init__(self, endpoints: Mapping[str, Endpoint], *, seed: int, speed: float) -> None:
        """Set up a registry.

        Args:
            endpoints: the aliases of `compatible:<alias>/<model>`.
            seed: seed of the simulated models.
            speed: how many times faster than real models the simulated ones answer.
        """
        self._endpoints = endpoints
        self._seed = seed
        self._speed = speed
        self._pool = ConnectionPool()
        self._limiters: dict[tuple[str, ...], Limiter] = {}
        self._models: dict[str, Model] = {}

    def get(self, spec: str) -> Model:
        """The model that `spec` names.

        Raises:
            InputError: the specification is wrong, its endpoint or key is missing, or this version does not
                run such models.
        """
        if spec not in self._models:
            self._models[spec] = self._make(spec)
        return self._models[spec]

    def _make(self, spec: str) -> Model:
        if spec.startswith("sim/"):
            from auditors.sim.models import sim_model

            return sim_model(spec.removeprefix("sim/"), seed=self._seed, speed=self._speed)
        name, endpoint, model = self._remote(spec)
        base_url, key = _base_url(name, endpoint), _key(spec, endpoint)
        if endpoint.protocol is WireProtocol.TINKER:
            from auditors.models.tinker_sampling import TinkerModel

            return TinkerModel(spec, model, endpoint, base_url=base_url, api_key=key)
        return HttpModel(
            spec,
            _wire(endpoint, model, base_url, key),
            base_url=base_url,
            api_key=key,
            pool=self._pool,
            limiter=self._limiter(name, endpoint, model),
            patience=Patience(silence=endpoint.silence_seconds, answer=endpoint.answer_seconds),
            simulated=model.startswith("sim/"),
        )

    def _limiter(self, name: str, endpoint: Endpoint, model: str) -> Limiter:
        # OpenAI and Anthropic count each model by itself, and a fine-tuned one with its base model.
        key = (
            (name, model.removeprefix("ft:").partition(":")[0])
            if name in ("openai", "anthropic")
            else (name,)
        )
        if key not in self._limiters:
            self._limiters[key] = Limiter(
                max_concurrent=endpoint.max_concurrent,
                requests_per_minute=endpoint.requests_per_minute,
                tokens_per_minute=endpoint.tokens_per_minute,
            )
        return self._limiters[key]

    def _remote(self, spec: str) -> tuple[str, Endpoint, str]:
        """Name of the endpoint, the endpoint, and the name of the model there."""
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise InputError(
                f"{spec!r} is not the specification of a model: write one of {', '.join(_FORMS.values())}."
            )
        if alias := match["alias"]:
            if alias not in self._endpoints:
                known = ", ".join(sorted(self._endpoints)) or "none"
                raise InputError(
                    f"{spec}: there is no endpoint {alias!r} (configured: {known}); "
                    "add it to the configuration with its base_url."
                )
            return alias, self._endpoints[alias], match["remote"]
        name = match["provider"] or "tinker"
        return name, _built_in(name, self._endpoints.get(name)), match["model"] or spec

    def endpoint(self, spec: str) -> Endpoint | None:
        """The server behind a model, as the run speaks to it; None for a simulated model.

        Raises:
            InputError: as `get`, for what does not need the key.
        """
        if spec.startswith("sim/"):
            return None
        name, endpoint, _ = self._remote(spec)
        return msgspec.structs.replace(endpoint, base_url=_base_url(name, endpoint))

    async def check(self, spec: str) -> None:
        """See whether the model's endpoint answers (`GET /models`) and takes the key.

        Raises:
            InputError: as `get`, or the endpoint cannot be reached or refuses the key.
        """
        self.get(spec)
        if spec.startswith("sim/"):
            return
        name, endpoint, _ = self._remote(spec)
        http = await self._pool.client()
        import httpx2

        url = _base_url(name, endpoint) + "/models"
        headers = {"authorization": f"Bearer {_key(spec, endpoint) or 'none'}"}
        status, trouble = 0, ""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                status = (await http.get(url, headers=headers)).status_code
        except TimeoutError:
            trouble = f"no answer in {_CHECK_SECONDS:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            trouble = str(error) or type(error).__name__
        if trouble:
            raise InputError(
                f"{spec}: {urlsplit(url).netloc} cannot be reached ({trouble}); "
                "check that the server is up and the base_url is right."
            )
        if status in (401, 403):
            cure = f"check {endpoint.api_key_env}" if endpoint.api_key_env else "give it an api_key_env"
            raise InputError(f"{spec}: {urlsplit(url).netloc} refuses the key (HTTP {status}); {cure}.")

    async def aclose(self) -> None:
        """Close every model and connection."""
        for model in self._models.values():
            await model.aclose()
        await self._pool.aclose()


def providers(endpoints: Mapping[str, Endpoint] | None = None) -> list[ProviderStatus]:
    """Every provider that specifications can name, and each endpoint of `endpoints`."""
    given = endpoints or {}
    found = [ProviderStatus("sim", _FORMS["sim"], "", True, "simulated; needs no key and no network")]
    for name in _BUILT_IN:
        endpoint = _built_in(name, given.get(name))
        found.append(_status(name, _FORMS[name], endpoint))
    aliases = sorted(given.keys() - _BUILT_IN.keys())
    found += [_status(alias, f"compatible:{alias}/<model>", given[alias]) for alias in aliases]
    if not aliases:
        found.append(
            ProviderStatus("compatible", _FORMS["compatible"], "", True, "no endpoint is configured")
        )
    return found


def _status(name: str, form: str, endpoint: Endpoint) -> ProviderStatus:
    key_set = not endpoint.api_key_env or bool(os.environ.get(endpoint.api_key_env))
    note = f"{endpoint.protocol or WireProtocol.CHAT} at {endpoint.base_url}"
    return ProviderStatus(name, form, endpoint.api_key_env, key_set, note)


def _built_in(name: str, changed: Endpoint | None) -> Endpoint:
    """A provider's endpoint: as it is known, as the environment moves it, as an entry of its name changes it."""
    endpoint = _BUILT_IN[name]
    if url := os.environ.get(_BASE_URL_ENVS[name], "").strip():
        endpoint = msgspec.structs.replace(endpoint, base_url=url)
    if changed is not None:
        given = {field: value for field in Endpoint.__struct_fields__ if (value := getattr(changed, field))}
        endpoint = msgspec.structs.replace(endpoint, **given)
    if name == "tinker" and endpoint.protocol is WireProtocol.CHAT:
        url = endpoint.base_url.rstrip("/") + "/oai/api/v1"
        endpoint = msgspec.structs.replace(endpoint, base_url=url)
    return endpoint


def _wire(endpoint: Endpoint, model: str, base_url: str, key: str) -> Wire:
    match endpoint.protocol:
        case WireProtocol.RESPONSES:
            from auditors.models.openai_responses import ResponsesWire

            return ResponsesWire(model, base_url=base_url, api_key=key)
        case WireProtocol.MESSAGES:
            from auditors.models.anthropic_messages import MessagesWire

            return MessagesWire(model, base_url=base_url, api_key=key, endpoint=endpoint)
        case _:
            from auditors.models.openai_chat import ChatWire

            return ChatWire(model, base_url=base_url, api_key=key, prefill=endpoint.prefill or Prefill.NO)


def _base_url(name: str, endpoint: Endpoint) -> str:
    try:
        url = urlsplit(endpoint.base_url)
        usable = (
            url.scheme in ("http", "https")
            and url.hostname
            and url.port != 0
            and "@" not in url.netloc
            and not (url.query or url.fragment)
            and len(endpoint.base_url) < _LONGEST_URL
            and endpoint.base_url.isprintable()
        )
    except ValueError:
        usable = False
    if not usable:
        raise InputError(
            f"The base_url of endpoint {name!r} must look like http://host:port/v1, "
            "without user name, password or anything behind the path."
        )
    return endpoint.base_url.rstrip("/")


def _key(spec: str, endpoint: Endpoint) -> str:
    if not endpoint.api_key_env:
        return ""
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise InputError(f"{spec} needs a key: set the environment variable {endpoint.api_key_env}.")
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{spec}: the value of {endpoint.api_key_env} cannot be a key; set it again.")
    return key
